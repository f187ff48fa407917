import type { UserName } from '../../config/users/names.ts'

/** How somebody comes in for the first time. */
export type Credential =
  | { kind: 'code'; user: UserName; code: string; expires: number }
  | { kind: 'password'; user: UserName; password: string }
  /** Nothing was given: they have something already, or come by a way that needs none of ours. */
  | { kind: 'none'; user: UserName; why: 'password' | 'code' | 'elsewhere' | 'banned' }
