/**
 * Where the version before this one has the program of spawner/accounts/home-task-main.ts: an archive that it is making goes on after an upgrade. To be
 * removed with the next version.
 */
import './accounts/home-task-main.ts'
