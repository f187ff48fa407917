/** Addresses with ports: which are the same, which are in the way of which, and who listens. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import { parseConfig, readConfig } from '../../../config/meaning/config.ts'
import { isLoopback, readNetwork } from '../../../config/schema/networks.ts'
import { otherListeners } from '../../../installer/status/ports.ts'
import {
  type Endpoint,
  isInTheWay,
  listeners,
  listenersIn,
  obstacleTo,
  ownAddresses,
  ownAddressesIn,
  readEndpoint,
  showEndpoint,
} from '../../../machine/endpoints.ts'
import { isListening, placesOf, readSocketStates } from '../../../systemd/hub-sockets.ts'

const at = (text: string): Endpoint => readEndpoint(text) ?? assert.fail(text)

/** As `systemctl show` describes units that are up, with the streams of each. */
function statesOf(...units: string[][]) {
  const blocks = units.map(
    (streams, index) =>
      `Id=tljh-${index}.socket\nActiveState=active\n${streams.map(one => `Listen=${one} (Stream)\n`).join('')}`,
  )
  return readSocketStates(blocks.join('\n'))
}

function lostOf(config: string, states: ReturnType<typeof statesOf>): string[] {
  const { http, visitPort } = parseConfig(config)
  return placesOf({ ...http, visitPort })
    .filter(place => !isListening(place, states))
    .map(({ stream }) => stream)
}

test('an address is the same in each of its forms', () => {
  for (const text of ['[::1]:80', '[0:0::1]:80', '[0000:0000:0000:0000:0000:0000:0000:0001]:80']) {
    assert.deepEqual(at(text), { address: '::1', port: 80 })
  }
  assert.equal(showEndpoint(at('[2001:DB8:0:0::7]:443')), '[2001:db8::7]:443')
  assert.deepEqual(at('8080'), { address: '', port: 8080 })
  assert.equal(readEndpoint('/run/tljh/front.sock'), undefined)
  assert.equal(isLoopback(readNetwork('0:0:0:0:0:0:0:1') ?? assert.fail()), true)
})

test('the hub is found where systemd listens, however its address is written, and on a machine without IPv6', () => {
  const long = 'http: {address: "2001:0DB8:0:0:0::7", port: 8080}\nadmins: {visit_port: 8081}\n'
  const short = statesOf(['[2001:db8::7]:8080'], ['[2001:db8::7]:8081'])
  assert.deepEqual(lostOf(long, short), [])
  assert.deepEqual(lostOf('http: {port: 8080}\n', statesOf(['[::]:8080'])), [])
  assert.deepEqual(lostOf('http: {port: 8080}\n', statesOf(['0.0.0.0:8080'])), [])

  assert.deepEqual(lostOf('http: {port: 8080}\n', statesOf(['127.0.0.1:8080'])), ['8080'])
  assert.deepEqual(lostOf('http: {address: 0.0.0.0, port: 8080}\n', statesOf(['[::]:8080'])), ['0.0.0.0:8080'])
  assert.deepEqual(lostOf(long, statesOf(['[2001:db8::7]:8080'], [])), ['[2001:db8::7]:8081'])
  const failed = readSocketStates('Id=tljh-hub.socket\nActiveState=failed\nListen=[::]:8080 (Stream)\n')
  assert.deepEqual(lostOf('http: {port: 8080}\n', failed), ['8080'])
})

test('the warning about a hub that all can reach behind a web server is there for each form of all addresses', () => {
  for (const address of ['::', '0::0', '0.0.0.0']) {
    const { findings } = readConfig(`http: {mode: behind-proxy, address: "${address}", port: 8080}\n`)
    assert.match(findings.map(({ what }) => what).join('\n'), /listens on all addresses/, address)
  }
})

test('the programs that listen at a port are told from the hub’s own sockets', () => {
  const printed = [
    'LISTEN 0 4096 127.0.0.1:8080 0.0.0.0:* users:(("node",pid=40,fd=3),("systemd",pid=1,fd=30))',
    'LISTEN 0 128 10.0.0.5:8080 0.0.0.0:* users:(("python3",pid=50,fd=3))',
    'LISTEN 0 128 [::1]:8080 [::]:*',
  ].join('\n')
  assert.deepEqual(otherListeners(printed, [at('127.0.0.1:8080')]), [
    { address: '10.0.0.5', port: 8080, program: 'python3', pid: '50' },
    { address: '::1', port: 8080, program: '', pid: '' },
  ])
  assert.deepEqual(otherListeners('LISTEN 0 4096 *:80 *:* users:(("systemd",pid=1,fd=30))', [at('[::]:80')]), [])
})

test('an address is in the way of the same one, and of all addresses that it is among', () => {
  const pairs: [string, string, boolean][] = [
    ['127.0.0.1:80', '127.0.0.1:80', true],
    ['127.0.0.1:80', '127.0.0.1:81', false],
    ['127.0.0.1:80', '10.0.0.5:80', false],
    ['127.0.0.1:80', '0.0.0.0:80', true],
    ['127.0.0.1:80', '[::]:80', true],
    ['127.0.0.1:80', '80', true],
    ['[::1]:80', '0.0.0.0:80', false],
    ['[::1]:80', '[::]:80', true],
    ['[::1]:80', '80', true],
    ['0.0.0.0:80', '80', true],
    ['[::ffff:127.0.0.1]:80', '127.0.0.1:80', true],
  ]
  for (const [one, other, expected] of pairs) {
    assert.equal(isInTheWay(at(one), at(other)), expected, `${one} and ${other}`)
    assert.equal(isInTheWay(at(other), at(one)), expected, `${other} and ${one}`)
  }
  assert.equal(obstacleTo(at('127.0.0.1:80'), [at('10.0.0.5:80')]), undefined)
  assert.deepEqual(obstacleTo(at('127.0.0.1:8080'), [at('10.0.0.5:8080')]), at('10.0.0.5:8080'))
})

test('who listens is read from the kernel’s tables, in both families', async t => {
  for (const address of ['127.0.0.1', '::1']) {
    const server = createServer().listen(0, address)
    t.after(() => server.close())
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    assert.deepEqual(
      listeners().filter(one => one.port === port),
      [{ address, port }],
    )
  }
  const established = '   1: 0100007F:0050 0100007F:C350 01 00000000:00000000'
  assert.deepEqual(listenersIn(`  sl  local_address rem_address st\n${established}\n`), [])
})

test('the machine’s own addresses, from the kernel’s tables', () => {
  const routes = `Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.213.1.0/24 2 0 2
        |-- 10.213.1.0
           /24 link UNICAST
        |-- 10.213.1.2
           /32 host LOCAL
        |-- 10.213.1.255
           /32 link BROADCAST
`
  const list =
    '00000000000000000000000000000001 01 80 10 80       lo\n20010db8000000000000000000000007 02 40 00 80     eth0\n'
  assert.deepEqual([...ownAddressesIn(routes, list)], ['10.213.1.2', '::1', '2001:db8::7'])
  assert.ok(ownAddresses().has('127.0.0.1'))
})
