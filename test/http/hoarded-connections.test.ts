/** One host opens connections and reads nothing; another one, beside it, boots. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { get } from 'node:http'
import { type AddressInfo, connect, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { expect, test } from 'vitest'
import { inMemory } from '../../src/boot/files.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createAgentPlane } from '../../src/http/agent.ts'
import { createFirmwarePlane, type FirmwareDeciders } from '../../src/http/firmware.ts'
import { loadTlsIdentity } from '../../src/http/tls.ts'
import { silentLog } from '../../src/log.ts'

const connectionsMax = 32
const hoarder = '127.0.0.66'
const machine = '127.0.0.7'

/** So many connections, held open; those that the server closes at once are not counted. */
async function hoard(server: Server, count: number): Promise<{ held: Socket[]; release(): void }> {
  const { port } = server.address() as AddressInfo
  const sockets = Array.from({ length: count }, () =>
    connect({ port, host: '127.0.0.1', localAddress: hoarder }).on('error', () => {}),
  )
  for (const socket of sockets) socket.pause()
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  // A byte written into a closed connection shows it; a held one keeps it.
  await new Promise((resolve) => setTimeout(resolve, 100))
  for (const socket of sockets) socket.resume()
  const open = () => sockets.filter((socket) => !socket.destroyed && !socket.readableEnded)
  // On a busy machine the server comes to its last connections late: until nothing changes any more.
  for (let before = -1; before !== open().length; ) {
    before = open().length
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
  return {
    held: open(),
    release: () => {
      for (const socket of sockets) socket.destroy()
    },
  }
}

test('on the firmware plane, a machine gets its script while one host holds what it may', async () => {
  const app = createFirmwarePlane({
    limits: { host: '127.0.0.1', port: 0, requestTimeoutMs: 30_000, connectionsMax },
    deciders: {
      boot: { open: async () => inMemory(Buffer.from('#!ipxe\n')) },
    } as unknown as FirmwareDeciders,
    log: silentLog,
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { held, release } = await hoard(app.server, connectionsMax)
  try {
    expect(held).toHaveLength(connectionsMax / 4)
    const { port } = app.server.address() as AddressInfo
    const request = get({ port, host: '127.0.0.1', localAddress: machine, path: '/boot/autoexec.ipxe' })
    const [response] = await once(request, 'response')
    expect(response.statusCode).toBe(200)
    response.resume()
  } finally {
    release()
    await app.close()
  }
})

test('a host that let its connections go may open new ones', async () => {
  const app = createFirmwarePlane({
    limits: { host: '127.0.0.1', port: 0, requestTimeoutMs: 30_000, connectionsMax },
    deciders: {} as FirmwareDeciders,
    log: silentLog,
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  try {
    for (let round = 0; round < 3; round++) {
      const { held, release } = await hoard(app.server, connectionsMax / 4)
      expect(held, `round ${round}`).toHaveLength(connectionsMax / 4)
      release()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  } finally {
    await app.close()
  }
})

test('on the agent plane, an agent finishes its handshake while one host holds what it may', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'muster-hoard-'))
  const app = await createAgentPlane({
    tls: await loadTlsIdentity(folder),
    limits: { ...loadConfig({ env: {}, flags: {} }).config.agent, connectionsMax },
    deciders: {} as never,
    log: silentLog,
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { held, release } = await hoard(app.server, connectionsMax)
  try {
    expect(held).toHaveLength(connectionsMax / 4)
    const { port } = app.server.address() as AddressInfo
    const raw = connect({ port, host: '127.0.0.1', localAddress: machine })
    const agent = connectTls({ socket: raw, rejectUnauthorized: false })
    await once(agent, 'secureConnect')
    agent.destroy()
  } finally {
    release()
    await app.close()
    await rm(folder, { recursive: true })
  }
})
