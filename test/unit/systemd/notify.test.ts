/** Whether a service has a watchdog is read from what systemd sets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createNotifier, watchdogPeriodMs } from '../../../systemd/notify.ts'

test('the watchdog is that of the process that systemd means', () => {
  assert.equal(watchdogPeriodMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' }, 7), 30_000)
  assert.equal(watchdogPeriodMs({ WATCHDOG_USEC: '30000000' }, 7), 30_000)
  assert.equal(watchdogPeriodMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' }, 7), undefined)
  for (const WATCHDOG_USEC of [undefined, '', '0', '-1', 'x'])
    assert.equal(watchdogPeriodMs({ WATCHDOG_USEC }, 7), undefined)
})

test('without a socket nothing is sent', async () => {
  using notifier = createNotifier({ WATCHDOG_USEC: '1000' }, () => assert.fail())
  notifier.startWatchdog(() => assert.fail('nobody asks'))
  await notifier.ready()
  await notifier.status('up')
  await notifier.stopping()
})
