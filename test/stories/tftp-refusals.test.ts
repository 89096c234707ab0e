/** What TFTP could not give to a machine stands in its timeline: its firmware says no more than "failed" on a screen that nobody sees. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { EventView } from '../../src/http/admin-boots.ts'
import { encodePacket, parsePacket } from '../../src/tftp/packet.ts'
import { aMachine, createAgentClient } from '../support/agent-client.ts'
import { startServer, type TestServer } from '../support/server.ts'

const mac = '52:54:00:12:34:56'
let files: string
let server: TestServer
const clients: Socket[] = []
beforeEach(async () => {
  files = await mkdtemp(join(tmpdir(), 'muster-tftp-'))
  for (const name of ['memtest.bin', 'other.bin'])
    await writeFile(join(files, name), Buffer.alloc(100_000, 'a'))
  const settings = { files, 'tftp.enabled': 'true', 'tftp.host': '127.0.0.1', 'tftp.port': '0' }
  server = await startServer({
    settings: { ...settings, 'tftp.giveUpMs': '300', 'tftp.firstRetransmitMs': '50' },
  })
  // A machine that is known, and whose firmware has this address.
  using agent = createAgentClient({ port: server.running.ports.agent })
  await agent.boot(aMachine(mac))
  await fetch(`${server.firmware}/boot/ipxe?mac=${mac}`)
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  await server[Symbol.asyncDispose]()
  await rm(files, { recursive: true })
})

/** A client at a port of its own, which stays there and says no more than it is told to. */
async function ask(op: 'read' | 'write', filename: string) {
  const socket = createSocket('udp4')
  clients.push(socket)
  const bytes = encodePacket({ op, filename, mode: 'octet', options: new Map() })
  socket.send(bytes, server.running.ports.tftp!, '127.0.0.1')
  const [answer, from] = (await once(socket, 'message')) as [Buffer, { port: number }]
  const say = (packet: Parameters<typeof encodePacket>[0]) =>
    socket.send(encodePacket(packet), from.port, '127.0.0.1')
  return { answer: parsePacket(answer), say }
}

async function told(): Promise<Pick<EventView, 'message' | 'assurance' | 'data'>[]> {
  const { items } = await server.api.call<{ items: EventView[] }>({
    method: 'GET',
    path: '/events',
    query: { machine: mac, limit: 1000 },
  })
  return items.filter(({ kind, message }) => kind === 'firmware' && message.startsWith('TFTP'))
}

test('a request that is refused is said with its code, once however many names are tried', async () => {
  for (const name of ['a', '\u001b[2J', 'b'.repeat(200)])
    expect((await ask('write', name)).answer).toMatchObject({ op: 'error' })
  await expect.poll(told).toHaveLength(1)
  expect(await told()).toMatchObject([
    {
      message: 'TFTP: a request was refused (operation-refused)',
      assurance: 'claimed',
      data: { code: 'operation-refused', name: 'a', address: '127.0.0.1' },
    },
  ])
})

test('a file that does not arrive is said; names that need not exist, and files that firmware only tries, are not', async () => {
  expect((await ask('read', 'pxelinux.cfg/C0000201')).answer).toMatchObject({ op: 'error' })
  const tried = await ask('read', 'files/other.bin')
  tried.say({ op: 'error', code: 0, message: 'only looking' })
  // Asked for, begun, and then silence: the cable, a firewall, a ROM that crashed.
  const begun = await ask('read', 'files/memtest.bin')
  expect(begun.answer).toMatchObject({ op: 'data', block: 1 })
  begun.say({ op: 'ack', block: 1 })
  await expect
    .poll(async () => (await told()).map(({ message }) => message), { timeout: 20_000 })
    .toEqual([
      'TFTP: fetched files/other.bin',
      'TFTP: fetched files/memtest.bin',
      'TFTP: files/memtest.bin did not arrive: the machine stopped answering',
    ])
})
