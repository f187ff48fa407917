/** Comparing what somebody sent with a secret of the configuration. */
import { createHash, timingSafeEqual } from 'node:crypto'

/** Takes as long for every text. Nothing is the same as a secret that is not there. */
export function isSameSecret(typed: string, wanted: string | null | undefined): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(typed), hash(wanted ?? '')) && Boolean(wanted)
}
