/** Firmware that goes away in the middle of an answer, or before it has begun: a reset, a watchdog, a cable. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createBootFiles } from '../../src/boot/files.ts'
import { createBootSource } from '../../src/boot/source.ts'
import { createUnknownFiles } from '../../src/boot/unknown-files.ts'
import { createFirmwarePlane, type FirmwareDeciders } from '../../src/http/firmware.ts'
import { silentLog } from '../../src/log.ts'

let folder = ''
let app: ReturnType<typeof createFirmwarePlane>
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-aborted-'))
  await mkdir(join(folder, 'boot/agent/arm64'), { recursive: true })
  for (const file of ['kernel', 'initramfs', 'agent.efi'])
    await writeFile(join(folder, 'boot/agent/arm64', file), randomBytes(4_000_000))
  const now = () => new Date()
  const boot = createBootSource({
    advertise: undefined,
    agentArguments: () => [],
    ports: () => ({ firmware: 8080, agent: 8443 }),
    decide: () => Promise.reject(new Error('only files are asked for')),
    files: createBootFiles({ bootDirectory: join(folder, 'boot') }),
    unknown: createUnknownFiles({ limits: { namesMax: 1, namesPerAddressMax: 1, addressesMax: 1 }, now }),
    now,
  })
  app = createFirmwarePlane({
    limits: { host: '127.0.0.1', port: 0, requestTimeoutMs: 30_000, connectionsMax: 4096 },
    deciders: { boot } as unknown as FirmwareDeciders,
    log: silentLog,
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
})
afterAll(async () => {
  await app.close()
  await rm(folder, { recursive: true, force: true })
})

/** Descriptors of this process that are files of `folder`. */
async function openFiles(): Promise<number> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return links.filter((path) => path.startsWith(folder)).length
}

/** Writes `requests` requests and goes away `afterMs` later. */
async function abort(path: string, requests: number, afterMs: number): Promise<void> {
  const { port } = app.server.address() as AddressInfo
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  socket.pause()
  await once(socket, 'connect')
  await new Promise((resolve) =>
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(requests), resolve),
  )
  if (afterMs > 0) await sleep(afterMs)
  socket.destroy()
}

for (const file of ['fit', 'kernel', 'unified']) {
  const path = file === 'unified' ? '/boot/agent-arm64.efi' : `/boot/agent/arm64/${file}`

  test(`20 machines that are gone before the first byte of ${path} leave no file open`, async () => {
    // The first has the digests made, which takes a while, and is answered.
    const whole = await app.inject({ url: path })
    expect(whole.statusCode).toBe(200)
    for (let machine = 0; machine < 20; machine += 1) await abort(path, 1, 0)
    await expect.poll(openFiles, { timeout: 5000 }).toBe(0)
  })

  test(`a machine that is gone in the middle of ${path}, with more requests waiting, leaves no file open`, async () => {
    await abort(path, 8, 200)
    await expect.poll(openFiles, { timeout: 5000 }).toBe(0)
  })
}
