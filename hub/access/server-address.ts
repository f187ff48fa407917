import type { FastifyRequest } from 'fastify'
import type { ConfigFile } from '../../config/change/in-force.ts'
import type { UserName } from '../../config/users/names.ts'
import type { Origins } from './origins.ts'

export interface ServerAddressNeeds {
  baseUrl: string
  config: ConfigFile
  origins: Origins
}

/** Where `visitor` finds what a user's server shows first: a path, or a whole address where that is on another origin. */
export function serverAddress(
  { baseUrl, config, origins }: ServerAddressNeeds,
  request: FastifyRequest,
  owner: UserName,
  visitor: UserName = owner,
): string {
  return `${origins.serverOrigin(request.raw, owner, visitor)}${baseUrl}user/${owner}${config.current().defaultUrl}`
}
