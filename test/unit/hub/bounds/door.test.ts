/** Who is let in when there are many connections, and who has to go for it. */
import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { createDoor, mostConnections, networkOf } from '../../../../hub/bounds/door.ts'

/** As much of a connection as the door sees. */
class Connection extends EventEmitter {
  readonly remoteAddress: string | undefined
  isBusy = false
  destroyed = false
  constructor(remoteAddress: string | undefined) {
    super()
    this.remoteAddress = remoteAddress
  }
  destroy(): void {
    this.destroyed = true
    this.emit('close')
  }
}

function openDoor(most: number, mostEach: number, isExempt?: (address: string) => boolean) {
  const isIdle = (socket: Socket) => !(socket as unknown as Connection).isBusy
  const door = createDoor({ most, mostEach, isIdle, ...(isExempt && { isExempt }) })
  return (address: string | undefined, isBusy = false) => {
    const connection = new Connection(address)
    connection.isBusy = isBusy
    return { connection, isIn: door.admit(connection as unknown as Socket) }
  }
}

test('an address that has all it may have gets another one in, and loses the oldest on which nothing is asked', () => {
  const come = openDoor(100, 3)
  const busy = come('192.0.2.1', true)
  const [older, newer] = [come('192.0.2.1'), come('192.0.2.1')]
  const other = come('192.0.2.2')
  assert.equal(come('192.0.2.1').isIn, true)
  const ended = [busy, older, newer, other].map(({ connection }) => connection.destroyed)
  assert.deepEqual(ended, [false, true, false, false])
})

test('an address whose connections are all busy is turned away, and others are not', () => {
  const come = openDoor(100, 100)
  const all = Array.from({ length: 100 }, (_, index) => come(`127.0.0.${index}`, true))
  assert.ok(all.every(({ isIn }) => isIn))
  assert.equal(come('127.9.9.9', true).isIn, false)
  all[0]?.connection.destroy()
  assert.equal(come('127.9.9.9', true).isIn, true)

  const narrow = openDoor(1_000, 100)
  for (let count = 0; count < 200; count++) narrow('::1', true)
  assert.equal(narrow('127.0.0.1').isIn, false)
  assert.equal(narrow('192.0.2.1').isIn, true)
})

test('there are never more than there may be, from however many addresses', () => {
  const come = openDoor(10, 5)
  const all = Array.from({ length: 50 }, (_, index) => come(`192.0.2.${index}`))
  assert.equal(all.filter(({ connection, isIn }) => isIn && !connection.destroyed).length, 10)
  const busy = openDoor(10, 5)
  const taken = Array.from({ length: 50 }, (_, index) => busy(`192.0.2.${index}`, true))
  assert.equal(taken.filter(({ isIn }) => isIn).length, 10)
})

test('a web server in front, and a unix socket, may have more than one address', () => {
  const come = openDoor(100, 5, address => address === '192.0.2.9')
  for (const from of ['192.0.2.9', undefined]) {
    for (let count = 0; count < 40; count++) assert.equal(come(from, true).isIn, true)
  }
})

test('what one customer or one machine has is one address', () => {
  const same: string[][] = [
    ['127.0.0.1', '127.255.0.9', '::ffff:127.0.0.1', '::1'],
    ['192.0.2.1', '::ffff:192.0.2.1'],
    ['2001:db8::1', '2001:db8:0:0:ffff::', '2001:0db8::2%eth0', '2001:db8:0:0:1:2:3:4'],
    ['2001:db8:0:1::1', '2001:db8:0:1:ffff:ffff:ffff:ffff'],
    ['fe80::1%eth0', 'fe80::2'],
  ]
  const own = Object.values(networkInterfaces())
    .flatMap(all => all ?? [])
    .map(({ address }) => address)
  same[0]?.push('0:0:0:0:0:0:0:1', ...own)
  const networks = same.map(addresses => [...new Set(addresses.map(address => networkOf(address)))])
  for (const network of networks) assert.equal(network.length, 1, String(network))
  assert.equal(new Set(networks.flat()).size, same.length)
})

test('what root runs on the machine is told apart by a port that only root has', () => {
  const [student, root] = [networkOf('127.0.0.1', 1024), networkOf('127.0.0.1', 1023)]
  assert.notEqual(student, root)
  assert.equal(networkOf('::1', 600), root)
  assert.equal(networkOf('192.0.2.1', 600), networkOf('192.0.2.1', 6000), 'elsewhere, it says nothing')
})

test('the machine says how many there may be, and some descriptors are left for the hub itself', () => {
  const limits = (soft: string) =>
    `Limit  Soft Limit  Hard Limit  Units\nMax open files            ${soft}  65536  files\n`
  assert.equal(mostConnections(limits('65536')), (65536 - 512) / 2)
  assert.equal(mostConnections(limits('1024')), (1024 - 256) / 2)
  assert.ok(mostConnections() > 0)
})
