/**
 * Every route of the hub, found by walking what it registers, and for each a request that is as right as it can be. A route that is added
 * without one fails the tests, so none can be forgotten.
 */

import { createApp } from '../../hub/app.ts'
import type { Hub } from '../../hub/parts.ts'

export interface Route {
  method: string
  /** As registered: `/hub/visit/:name`. */
  url: string
}

/** A request that would do something, if it were let: names and numbers in the address, fields of the form (the token is added). */
export interface Example {
  path: string
  form?: Record<string, string>
}

export function nameOf({ method, url }: Route): string {
  return `${method} ${url}`
}

/** HEAD follows GET everywhere; what follows from it is not told twice. */
export async function routesOfTheHub(): Promise<Route[]> {
  const routes = new Map<string, Route>()
  const app = await createApp(registrationOnly(), new Map(), route => {
    if (route.method !== 'HEAD') routes.set(nameOf(route), route)
  })
  await app.close()
  return [...routes.values()].toSorted((a, b) => nameOf(a).localeCompare(nameOf(b)))
}

/** A hub of which nothing is asked but to be registered: no request ever reaches it. */
function registrationOnly(): Hub {
  const anything: unknown = new Proxy(() => anything, {
    get: (_target, key) => (key === 'baseUrl' ? '/' : key === Symbol.toPrimitive ? () => '' : anything),
    apply: () => anything,
  })
  return anything as Hub
}

/** Of `ann`, a student whose server runs; nothing in them is of consequence if it is done. */
export const examples: Record<string, Example> = {
  'GET /': { path: '/' },
  'GET /.well-known/acme-challenge/:token': { path: '/.well-known/acme-challenge/none' },
  'GET /hub': { path: '/hub' },
  'GET /hub/': { path: '/hub/' },
  'GET /hub/account': { path: '/hub/account' },
  'POST /hub/account/password': {
    path: '/hub/account/password',
    form: { password: 'x', new_password: 'y', repeated: 'z' },
  },
  'POST /hub/account/sessions': { path: '/hub/account/sessions', form: { password: 'not the password' } },
  'POST /hub/account/second-factor': { path: '/hub/account/second-factor', form: { code: '000000' } },
  'POST /hub/account/second-factor/new': {
    path: '/hub/account/second-factor/new',
    form: { password: 'not the password' },
  },
  'POST /hub/account/second-factor/off': {
    path: '/hub/account/second-factor/off',
    form: { password: 'not the password', code: '000000' },
  },
  'GET /hub/admin': { path: '/hub/admin' },
  'GET /hub/admin/import': { path: '/hub/admin/import' },
  'POST /hub/admin/import': { path: '/hub/admin/import', form: { step: 'apply', text: 'username\nzoe\n' } },
  'POST /hub/admin/users': { path: '/hub/admin/users', form: { action: 'disable', user: 'ann' } },
  'GET /hub/admin/config': { path: '/hub/admin/config' },
  'POST /hub/admin/config': { path: '/hub/admin/config', form: { step: 'apply', text: 'users: {}', version: '0' } },
  'POST /hub/admin/config/check': { path: '/hub/admin/config/check', form: { text: 'users: {}', version: '0' } },
  'GET /hub/admin/config/history': { path: '/hub/admin/config/history' },
  'GET /hub/admin/config/history/:number': { path: '/hub/admin/config/history/1' },
  'GET /hub/api/users/:name/server/progress': { path: '/hub/api/users/ann/server/progress' },
  'GET /hub/confirm': { path: '/hub/confirm' },
  'POST /hub/confirm': { path: '/hub/confirm', form: { password: 'not the password' } },
  'GET /hub/enter': { path: '/hub/enter?server=ann' },
  'GET /hub/health': { path: '/hub/health' },
  'GET /hub/home': { path: '/hub/home' },
  'GET /hub/login': { path: '/hub/login' },
  'POST /hub/login': { path: '/hub/login', form: { username: 'nobody', password: 'not the password' } },
  'GET /hub/logout': { path: '/hub/logout' },
  'POST /hub/logout': { path: '/hub/logout', form: {} },
  'GET /hub/metrics': { path: '/hub/metrics' },
  'GET /hub/oauth_callback': { path: '/hub/oauth_callback?state=none' },
  'GET /hub/oauth_login': { path: '/hub/oauth_login?provider=github' },
  'GET /hub/second-factor': { path: '/hub/second-factor' },
  'POST /hub/second-factor': { path: '/hub/second-factor', form: { code: '000000' } },
  'GET /hub/signup': { path: '/hub/signup' },
  'POST /hub/signup': { path: '/hub/signup', form: { username: 'ann', password: 'x', repeated: 'y' } },
  'GET /hub/spawn': { path: '/hub/spawn' },
  'GET /hub/user-redirect/*': { path: '/hub/user-redirect/lab/tree/a.ipynb?b=%2F' },
  'POST /hub/spawn': { path: '/hub/spawn', form: {} },
  'GET /hub/spawn-pending/:name': { path: '/hub/spawn-pending/ann' },
  'GET /hub/static/:name': { path: '/hub/static/hub.css' },
  'POST /hub/stop': { path: '/hub/stop', form: {} },
  'POST /hub/temporary': { path: '/hub/temporary', form: {} },
  'GET /hub/visit/:name': { path: '/hub/visit/ann' },
  'POST /hub/visit/:name': { path: '/hub/visit/ann', form: {} },
  'GET /hub/welcome': { path: '/hub/welcome' },
  'POST /hub/welcome': {
    path: '/hub/welcome',
    form: { username: 'ann', code: 'none', password: 'a good password', repeated: 'a good password' },
  },
  'GET /user/*': { path: '/user/ann/api/status' },
  'POST /user/*': { path: '/user/ann/api/kernels', form: {} },
  'PUT /user/*': { path: '/user/ann/api/contents/none' },
  'PATCH /user/*': { path: '/user/ann/api/contents/none' },
  'DELETE /user/*': { path: '/user/ann/api/contents/none' },
  'OPTIONS /user/*': { path: '/user/ann/api/status' },
}
