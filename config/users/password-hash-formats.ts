/** Hashes of passwords that come from other hubs. */

/** Two to the power of 16 rounds take four seconds; what costs more was written to hold the hub up. */
const bcrypt = /^\$2[aby]\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}$/

/** Whether it is a hash of bcrypt, which JupyterHub's authenticators keep, and one that can be checked in time. */
export function isBcrypt(hash: string): boolean {
  return bcrypt.test(hash)
}
