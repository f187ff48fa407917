/**
 * All code of ours that the hub's process ever runs: what it starts with, and what it loads when somebody needs it.
 *
 * Whoever must know it beforehand loads this: the compile cache (installer/installation/compile-cache.ts), because a module that is not in it brings
 * Node.js's program that takes types out into the hub, 20 MB that it never gives back; and `check-version`, because a version
 * with a module that cannot be read is not to be put in force.
 */
import './hub.ts'
import './authenticators/github.ts'
import './authenticators/ldap-connection.ts'
import './authenticators/openid-connect.ts'
import './credentials/bcrypt-thread.ts'
import './out-of-service.ts'
import '../systemd/audit/thread-main.ts'
