/**
 * The same text, to be kept: V8 would keep the whole of what a text was cut from, or all the pieces that it was put together from.
 * @param text one character a byte
 */
export function detached(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}
