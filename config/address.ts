/** Where the hub is to be found by a browser, as far as this machine can tell. */
import { hostname } from 'node:os'
import { runCommand } from '../commands.ts'
import type { Config } from './config.ts'

/** Ends with a slash. The machine's first address, where the configuration names none. */
export async function hubAddress({ baseUrl, http }: Pick<Config, 'baseUrl' | 'http'>): Promise<string> {
  const { stdout } = await runCommand('hostname', ['--all-ip-addresses'])
  const host = http.address || stdout.split(' ')[0]?.trim() || hostname()
  return `http://${host}${http.port === 80 ? '' : `:${http.port}`}${baseUrl}`
}

/** The page on which somebody with a one-time code chooses a password. */
export function welcomeLink(address: string, user: string, code: string): string {
  return `${address}hub/welcome?${new URLSearchParams({ user, code })}`
}
