import type { FastifyRequest } from 'fastify'
import type { UserName } from '../../config/users/names.ts'
import type { Hub } from '../parts.ts'

/** Where `visitor` finds what a user's server shows first: a path, or a whole address where that is on another origin. */
export function serverAddress(
  { baseUrl, config, origins }: Hub,
  request: FastifyRequest,
  owner: UserName,
  visitor: UserName = owner,
): string {
  return `${origins.serverOrigin(request.raw, owner, visitor)}${baseUrl}user/${owner}${config.current().defaultUrl}`
}
