/** The names that boot loaders look for, at the doors: the same script over TFTP and HTTP, and what is not there is remembered. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseLegacyImage } from '../../src/boot/formats/legacy-image.ts'
import { startServer, type TestServer } from '../support/server.ts'

let data: string
let server: TestServer

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-names-'))
  const files = join(data, 'own-files')
  for (const folder of [
    join(files, 'raspberry-pi'),
    join(data, 'boot/agent/amd64'),
    join(data, 'boot/agent/arm64'),
  ])
    await mkdir(folder, { recursive: true })
  for (const arch of ['amd64', 'arm64']) {
    for (const file of ['kernel', 'initramfs'])
      await writeFile(join(data, `boot/agent/${arch}/${file}`), `${arch} ${file}`)
  }
  await writeFile(join(files, 'raspberry-pi/start4.elf'), 'firmware of a Pi 4')
  await writeFile(join(files, 'raspberry-pi/boot.img'), 'a signed image')
  server = await startServer({
    data,
    settings: { files, 'tftp.enabled': 'true', 'tftp.host': '127.0.0.1', 'tftp.port': '0' },
  })
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(data, { recursive: true, force: true })
})

/** One RRQ without options; the files here fit one block. Text of an ERROR comes with its number before it. */
async function tftp(name: string): Promise<Buffer> {
  const socket = createSocket('udp4')
  socket.send(
    Buffer.from(`\0\x01${name}\0octet\0`, 'latin1'),
    server.running.ports.tftp as number,
    '127.0.0.1',
  )
  const [packet, from] = (await once(socket, 'message')) as [Buffer, { port: number }]
  if (packet.readUInt16BE(0) === 3) socket.send(Buffer.from([0, 4, 0, 1]), from.port, '127.0.0.1')
  socket.close()
  if (packet.readUInt16BE(0) === 3) return packet.subarray(4)
  return Buffer.from(`ERROR ${packet.readUInt16BE(2)} ${packet.subarray(4).toString()}`)
}

async function http(path: string): Promise<{ status: number; body: Buffer; headers: Headers }> {
  const reply = await fetch(`${server.firmware}${path}`)
  return { status: reply.status, body: Buffer.from(await reply.arrayBuffer()), headers: reply.headers }
}

describe('the script of a machine', () => {
  test.each([
    [
      'pxelinux.cfg/01-52-54-00-12-34-56',
      '/boot/pxelinux.cfg/01-52-54-00-12-34-56',
      'LINUX agent/amd64/kernel',
    ],
    [
      'grub/grub.cfg-01-52-54-00-12-34-56',
      '/grub/grub.cfg-01-52-54-00-12-34-56',
      'linux $prefix/agent/amd64/kernel',
    ],
    ['arm64/pxelinux.cfg/default', '/boot/arm64/pxelinux.cfg/default', 'LINUX agent/arm64/kernel'],
    ['9ffefdef/config.txt', '/boot/9ffefdef/config.txt', 'kernel=muster-kernel'],
  ])('%s is the same by TFTP and at %s', async (name, path, expected) => {
    const reply = await http(path)
    expect(reply.status).toBe(200)
    expect(reply.headers.get('cache-control')).toBe('no-store')
    expect(reply.body.toString()).toContain(expected)
    // One block of TFTP holds the beginning.
    expect((await tftp(name)).toString()).toBe(reply.body.subarray(0, 512).toString())
  })
  test('by TFTP names the address that this server reaches the machine from', async () => {
    expect((await tftp('9ffefdef/cmdline.txt')).toString()).toContain(
      `muster.server=https://127.0.0.1:${server.running.ports.agent}`,
    )
  })
  test('boot.scr.uimg is an image that U-Boot takes', async () => {
    expect(parseLegacyImage(await tftp('boot.scr.uimg'))).toMatchObject({ type: 6, name: 'muster: ask' })
  })
  test('is there for pixiecore too', async () => {
    const reply = await http('/v1/boot/52:54:00:12:34:56')
    expect(JSON.parse(reply.body.toString())).toMatchObject({
      kernel: `${server.firmware}/boot/agent/amd64/kernel`,
      initrd: [`${server.firmware}/boot/agent/amd64/initramfs`],
    })
    expect((await http('/v1/boot/nobody')).status).toBe(404)
  })
})

test('kernel and initramfs lie where GRUB and a Raspberry Pi look for them', async () => {
  expect((await tftp('/grub/agent/x86_64/kernel')).toString()).toBe('amd64 kernel')
  expect((await http('/grub/agent/arm64/initramfs')).body.toString()).toBe('arm64 initramfs')
  expect((await tftp('9ffefdef/muster-initramfs')).toString()).toBe('arm64 initramfs')
  expect((await tftp('9ffefdef/start4.elf')).toString()).toBe('firmware of a Pi 4')
  expect((await http('/net_install/boot.img')).body.toString()).toBe('a signed image')
})

test('one image of both is made while it is read, whole and in parts', async () => {
  const whole = await http('/boot/agent/arm64/fit')
  expect(whole.body.readUInt32BE(0)).toBe(0xd00dfeed)
  expect(whole.body.readUInt32BE(4)).toBe(whole.body.length)
  expect((await tftp('agent/arm64/fit')).equals(whole.body.subarray(0, 512))).toBe(true)
  const part = await fetch(`${server.firmware}/boot/agent/arm64/fit`, { headers: { range: 'bytes=100-299' } })
  expect(Buffer.from(await part.arrayBuffer()).equals(whole.body.subarray(100, 300))).toBe(true)
})

test('a wrong name is refused at once, and an engineer finds it in the list', async () => {
  expect((await tftp('lpxelinux.0')).toString()).toMatch(/^ERROR 1 /)
  expect((await http('/boot/lpxelinux.0')).status).toBe(404)
  await tftp('pxelinux.cfg/C0A80107')
  const { items } = await server.api.call<{ items: { name: string }[] }>({
    method: 'GET',
    path: '/unknown-files',
  })
  expect(items).toEqual([
    expect.objectContaining({
      name: 'lpxelinux.0',
      count: 2,
      over: ['tftp', 'http'],
      addresses: ['127.0.0.1'],
    }),
  ])
  const status = await server.api.call<{ unknownFiles: number }>({ method: 'GET', path: '/status' })
  expect(status.unknownFiles).toBe(1)
})

test('lint looks at what this server has', async () => {
  const { items } = await server.api.call<{ items: { level: string; what: string; sentence: string }[] }>({
    method: 'POST',
    path: '/lint/raspberry-pi',
    body: {},
  })
  expect(items).toContainEqual(expect.objectContaining({ what: 'TFTP', level: 'error' }))
  expect(items).toContainEqual(
    expect.objectContaining({ what: 'HTTP boot', sentence: expect.stringContaining('no boot.sig') }),
  )
})
