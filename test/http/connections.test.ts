/** Who gets how many of a plane's connections, by the address that they come from. */
import { EventEmitter } from 'node:events'
import type { Server, Socket } from 'node:net'
import { expect, test } from 'vitest'
import { shareConnections } from '../../src/http/connections.ts'

/** A listener that is told of connections; it says which of them it keeps. */
function plane(max: number) {
  const server = new EventEmitter() as unknown as Server
  shareConnections(server, max)
  return (remoteAddress: string) => {
    let isKept = true
    const socket = Object.assign(new EventEmitter(), {
      remoteAddress,
      destroy() {
        isKept = false
        socket.emit('close')
      },
    })
    server.emit('connection', socket as unknown as Socket)
    return { isKept, close: () => socket.emit('close') }
  }
}

const kept = (connect: ReturnType<typeof plane>, addresses: string[]) =>
  addresses.filter((address) => connect(address).isKept).length

test.each([
  ['192.0.2.66', '192.0.2.7'],
  ['2001:db8:1:2::bad', '2001:db8:1:2::7'],
  ['fe80::bad%eth0', 'fe80::7%eth0'],
])('a host (%s) that holds all it may leaves its neighbour (%s) as many', (hoarder, machine) => {
  const connect = plane(32)
  expect(kept(connect, Array(40).fill(hoarder))).toBe(8)
  expect(kept(connect, Array(40).fill(machine))).toBe(8)
})

test('a host with any number of addresses of its /64 leaves the rest to others', () => {
  const connect = plane(32)
  const addresses = Array.from({ length: 100 }, (_, count) => `2001:db8:1:2::${count.toString(16)}`)
  expect(kept(connect, addresses)).toBe(24)
  expect(connect('2001:db8:1:3::1').isKept).toBe(true)
  expect(connect('fe80::1%eth0').isKept).toBe(true)
})

test('what was closed, and what was refused, counts no more', () => {
  const connect = plane(4)
  const first = connect('2001:db8:1:2::1')
  for (let count = 0; count < 9; count++) expect(connect('2001:db8:1:2::1').isKept).toBe(false)
  expect(connect('2001:db8:1:2::2').isKept).toBe(true)
  first.close()
  expect(connect('2001:db8:1:2::1').isKept).toBe(true)
})
