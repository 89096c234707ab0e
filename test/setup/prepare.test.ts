/** A start that has everything still to make, with mirrors as they are in the field: silent, empty, gone. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readImagesLock } from '../../src/builder/agent-image.ts'
import { createApiClient } from '../../src/cli/api-client.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Status } from '../../src/http/admin-status.ts'
import { silentLog } from '../../src/log.ts'
import { type Running, serve } from '../../src/serve.ts'
import { smallServer } from '../support/server.ts'

let folder: string
let mirror: Server | undefined
const lines: string[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-prepare-'))
  lines.length = 0
})
afterEach(async () => {
  mirror?.closeAllConnections()
  mirror?.close()
  mirror = undefined
  await rm(folder, { recursive: true, force: true })
})

/** A mirror that answers 404 to everything, or nothing at all. */
async function mirrorThat(does: 'is silent' | 'has nothing'): Promise<string> {
  mirror = createServer((_, reply) => {
    if (does === 'has nothing') reply.writeHead(404).end()
  }).listen(0, '127.0.0.1')
  await once(mirror, 'listening')
  return `http://127.0.0.1:${(mirror.address() as AddressInfo).port}`
}

type StartOptions = { settings?: Record<string, string>; now?: () => Date }

function start({ settings = {}, now }: StartOptions): Promise<Running> {
  const flags = { ...smallServer, data: join(folder, 'data'), ...settings }
  return serve({
    loaded: loadConfig({ env: {}, flags }),
    log: silentLog,
    print: (line) => void lines.push(line),
    ...(now && { now }),
  })
}

const statusOf = (running: Running) =>
  createApiClient({ kind: 'socket', path: running.paths.socket }).call<Status>({
    method: 'GET',
    path: '/status',
  })
const codesOf = (missing: readonly { code: string }[]) => missing.map(({ code }) => code)
const printed = () => lines.join('\n')

describe('a mirror that accepts and stays silent', () => {
  test('delays no start and no stop; until then the server says what is being made', async () => {
    const running = await start({
      settings: { 'image.prepare': 'true', mirror: await mirrorThat('is silent') },
    })
    const asked = once(mirror as Server, 'request')
    const status = await statusOf(running)
    expect(status.ready).toBe(false)
    expect(codesOf(status.missing)).toEqual(['preparing', 'preparing', 'preparing'])
    expect((await fetch(`http://127.0.0.1:${running.ports.admin}/readyz`)).status).toBe(503)
    const script = await fetch(
      `http://127.0.0.1:${running.ports.firmware}/boot/ipxe?mac=52:54:00:00:00:01&buildarch=x86_64`,
    )
    expect(await script.text()).toContain('no agent for amd64 yet')
    expect(printed()).toMatch(/Muster serves machines/)
    await asked

    const beforeMs = performance.now()
    await running[Symbol.asyncDispose]()
    expect(performance.now() - beforeMs).toBeLessThan(3000)
    await running.prepared
    // Stopped is not failed.
    expect(printed()).not.toMatch(/MISSING|npm run boot/)
  })
})

describe('what an earlier start left', () => {
  test('is not called missing while it is looked at or made again; what is up to date is not named at all', async () => {
    const boot = join(folder, 'data/boot')
    await mkdir(join(boot, 'agent/amd64'), { recursive: true })
    for (const file of ['kernel', 'initramfs']) await writeFile(join(boot, 'agent/amd64', file), file)
    await mkdir(join(boot, 'loaders'), { recursive: true })
    await writeFile(join(boot, 'loaders/made-from'), (await readImagesLock()).date)
    const mirror = await mirrorThat('is silent')
    const settings = { 'image.prepare': 'true', 'image.architectures': 'amd64', mirror }
    await using running = await start({ settings })
    const told = (await statusOf(running)).missing.map(({ what, code, older }) => [what, code, older])
    expect(told).toEqual([
      ['the boot agent', 'preparing', true],
      ['the hello image', 'preparing', undefined],
    ])
  })

  test('stays, and is told to be served, where it could not be made anew', async () => {
    const agent = join(folder, 'data/boot/agent/amd64')
    await mkdir(agent, { recursive: true })
    for (const file of ['kernel', 'initramfs']) await writeFile(join(agent, file), file)
    const mirror = await mirrorThat('has nothing')
    const settings = { 'image.prepare': 'true', 'image.architectures': 'amd64', mirror }
    await using running = await start({ settings })
    await running.prepared
    expect(printed()).toMatch(/NOT RENEWED: the boot agent .*The one of an earlier start is served\./)
    expect(printed()).toMatch(/MISSING: the boot loaders/)
  })
})

describe('a mirror that has nothing', () => {
  test('leaves a server that serves, and says each thing that it lacks', async () => {
    const settings = { 'image.prepare': 'true', mirror: await mirrorThat('has nothing') }
    await using running = await start({ settings })
    await running.prepared
    expect(codesOf(running.missing())).toEqual(['package-missing', 'package-missing', 'package-missing'])
    expect((await statusOf(running)).ready).toBe(false)
    const text = printed()
    expect(text.indexOf('Muster serves machines')).toBeLessThan(text.indexOf('Preparing what machines boot'))
    expect(text.indexOf('Preparing what machines boot')).toBeLessThan(text.indexOf('MISSING: the boot agent'))
    expect(text).not.toContain('npm run boot')
  })

  test('is asked for the firmware of Raspberry Pis only where somebody wants it', async () => {
    const settings = {
      'image.prepare': 'true',
      'image.raspberryPi': 'true',
      mirror: await mirrorThat('has nothing'),
    }
    await using running = await start({ settings })
    await running.prepared
    expect(running.missing()).toContainEqual(
      expect.objectContaining({ what: 'the firmware of Raspberry Pis', code: 'package-missing' }),
    )
  })

  test('newer packages make the loaders again, whatever an earlier start left', async () => {
    const loaders = join(folder, 'data/boot/loaders')
    await mkdir(loaders, { recursive: true })
    await writeFile(join(loaders, 'made-from'), '2020-01-01T00:00:00Z')
    const settings = { 'image.prepare': 'true', mirror: await mirrorThat('has nothing') }
    await using running = await start({ settings })
    await running.prepared
    expect(running.missing().map(({ what }) => what)).toContain('the boot loaders')
    // Half replaced they must not look whole.
    await expect(access(join(loaders, 'made-from'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('what a killed start left of the hello image goes', async () => {
    const left = join(folder, 'data/hello-in-the-making/amd64')
    await mkdir(left, { recursive: true })
    const settings = { 'image.prepare': 'true', mirror: await mirrorThat('has nothing') }
    await using running = await start({ settings })
    await running.prepared
    expect((await readdir(join(folder, 'data'))).filter((name) => name.startsWith('hello'))).toEqual([])
  })
})

describe('what a first start tells', () => {
  const tokenIn = (text: string) => /muster_\S+/.exec(text)?.[0]

  test('is told once', async () => {
    await (await start({}))[Symbol.asyncDispose]()
    expect(printed()).toMatch(/Back up/)
    expect(tokenIn(printed())).toBeDefined()
    lines.length = 0
    await (await start({}))[Symbol.asyncDispose]()
    expect(printed()).not.toMatch(/Back up|muster_/)
  })

  test('is told by the next start when the first one did not come to it', async () => {
    // The one port that is not tried before anything is made.
    const other = createSocket('udp4').bind(0, '127.0.0.1')
    await once(other, 'listening')
    const dhcp = {
      'dhcp.mode': 'proxy',
      'dhcp.addresses': '127.0.0.1',
      'dhcp.port': String(other.address().port),
    }
    await expect(start({ settings: dhcp })).rejects.toMatchObject({ code: 'listen-failed' })
    await access(join(folder, 'data/muster.db'))
    other.close()
    expect(lines).toEqual([])
    await using running = await start({})
    expect(printed()).toMatch(/Back up/)
    // The token that is shown is the one that works.
    const reply = await fetch(`http://127.0.0.1:${running.ports.admin}/api/v1/status`, {
      headers: { authorization: `Bearer ${tokenIn(printed())}` },
    })
    expect(reply.status).toBe(200)
  })
})

test('a clock before the packages that agents are made from is said, with the way out', async () => {
  await using running = await start({ now: () => new Date('2020-01-01T00:00:00Z') })
  await running.prepared
  expect(codesOf(running.missing())).toEqual(['clock-behind'])
  expect(printed()).toMatch(/MISSING: the right time .*2020-01-01.*timedatectl/)
})
