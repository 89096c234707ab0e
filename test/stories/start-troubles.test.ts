/** What keeps a server from starting is said in one sentence that names the setting, with an exit code and no stack trace. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type Ended,
  muster,
  type StartOptions,
  settingFlags,
  startServerProcess,
} from '../support/muster-process.ts'
import { smallServer } from '../support/server.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-trouble-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const start = (settings: Record<string, string>, options: StartOptions = {}): Promise<Ended> =>
  muster(['serve', ...settingFlags({ ...smallServer, data: join(folder, 'data'), ...settings })], options)

/** One sentence, the code on the next line, nothing else on standard error that a person has to read. */
function expectSentence(ended: Ended, expected: { code: string; says: RegExp; exit?: number }): void {
  const { code, says, exit = 78 } = expected
  const lines = ended.err.split('\n').filter((line) => line !== '' && !line.startsWith('{"level":30'))
  expect(ended.err).toMatch(says)
  expect(lines[0]).toMatch(/^muster: /)
  expect(lines.at(-1)).toBe(`        (${code}: 'muster explain ${code}' says more)`)
  expect(ended.err).not.toMatch(/^\s+at /m)
  expect(ended.out).not.toContain('Muster serves machines')
  expect(ended.code).toBe(exit)
}

describe('a first start that cannot be', () => {
  const leavesNothing = async (
    settings: Record<string, string>,
    expected: { code: string; says: RegExp },
  ) => {
    expectSentence(await start(settings), expected)
    expect(await readdir(folder)).toEqual([])
  }
  test('for a port that is taken leaves no keys, no database and no repository behind', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    await leavesNothing({ 'agent.port': String(port) }, { code: 'listen-failed', says: /agent plane/ })
    other.close()
  })
  test('for two planes on one port, or an address that is not ours, leaves nothing either', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const free = String((other.address() as AddressInfo).port)
    await new Promise((resolve) => other.close(resolve))
    await leavesNothing(
      { 'agent.port': free, 'admin.port': free },
      { code: 'listen-failed', says: /admin plane cannot listen.*admin\.port/ },
    )
    await leavesNothing(
      { 'admin.host': '192.0.2.99' },
      { code: 'listen-failed', says: /admin plane cannot listen on 192\.0\.2\.99.*admin\.host/ },
    )
  })
  test('for DHCP without addresses to give, or an upstream without its root, leaves nothing either', async () => {
    await leavesNothing(
      { 'dhcp.mode': 'server', 'dhcp.addresses': '127.0.0.1' },
      { code: 'config-invalid', says: /dhcp\.pools is empty/ },
    )
    await leavesNothing(
      {
        'releases.upstream.url': 'http://127.0.0.1:1/tuf/main',
        'releases.upstream.root': join(folder, 'none'),
      },
      { code: 'config-invalid', says: /releases\.upstream\.root/ },
    )
  })
})

describe('a port that another program has', () => {
  for (const plane of ['firmware', 'agent', 'admin']) {
    test(`of the ${plane} plane is named with its setting`, async () => {
      const other = createServer().listen(0, '127.0.0.1')
      await once(other, 'listening')
      const { port } = other.address() as AddressInfo
      const ended = await start({ [`${plane}.port`]: String(port) })
      expectSentence(ended, {
        code: 'listen-failed',
        says: new RegExp(`${plane} plane cannot listen on 127\\.0\\.0\\.1 port ${port}: .*${plane}\\.port`),
      })
      expect(ended.err.split('\n').filter((line) => line.startsWith('muster:'))).toHaveLength(1)
      other.close()
    })
  }

  test('of TFTP is named with its setting', async () => {
    const other = createSocket('udp4').bind(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address()
    const ended = await start({ 'tftp.enabled': 'true', 'tftp.host': '127.0.0.1', 'tftp.port': String(port) })
    expectSentence(ended, {
      code: 'listen-failed',
      says: new RegExp(
        `TFTP cannot listen on 127\\.0\\.0\\.1 port ${port}: another program has it.*tftp\\.port`,
      ),
    })
    other.close()
  })

  test('is not the only one that is told: all at once, each with its setting', async () => {
    const others = [createServer().listen(0, '127.0.0.1'), createServer().listen(0, '127.0.0.1')]
    const ports = await Promise.all(
      others.map(async (other) => {
        await once(other, 'listening')
        return String((other.address() as AddressInfo).port)
      }),
    )
    const ended = await start({
      'firmware.port': ports[0]!,
      'admin.port': ports[1]!,
      'agent.host': '192.0.2.99',
    })
    for (const other of others) other.close()
    expectSentence(ended, { code: 'listen-failed', says: /^muster: 3 ports cannot be opened:$/m })
    for (const key of ['firmware.port', 'admin.port', 'agent.host']) expect(ended.err).toContain(key)
  })

  test('as an address that this machine does not have', async () => {
    expectSentence(await start({ 'firmware.host': '192.0.2.99' }), {
      code: 'listen-failed',
      says: /firmware plane cannot listen on 192\.0\.2\.99.*does not have that address/,
    })
  })
})

test.skipIf(process.getuid?.() !== 0 || !lowPortsAreRoots())(
  'a port that this user may not take is not said to be taken',
  async () => {
    const data = join(folder, 'data')
    await chmod(folder, 0o777)
    const low = {
      'firmware.port': '80',
      'tftp.enabled': 'true',
      'tftp.host': '127.0.0.1',
      'tftp.port': '70',
      data,
    }
    const { err } = await start(low, { uid: 65_534 })
    // A container may let everybody take every port.
    if (err === '') return
    expect(err).toMatch(/firmware plane cannot listen on \S+ port 80: this user may take no port below 1024/)
    expect(err).toMatch(/TFTP cannot listen on \S+ port 70: this user may take no port below 1024/)
    expect(err).not.toContain('other program')
  },
)

/** A container may let everybody take every port. */
function lowPortsAreRoots(): boolean {
  return readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8').trim() === '1024'
}

describe('a data folder', () => {
  test.skipIf(process.getuid?.() !== 0)('that belongs to another user', async () => {
    const data = join(folder, 'data')
    await chmod(folder, 0o755)
    await mkdir(data, { mode: 0o700 })
    const ended = await start({ data }, { uid: 65_534 })
    expectSentence(ended, {
      code: 'data-unwritable',
      says: /data folder .*\/data cannot be written .*--data/,
    })
  })

  test('that cannot be made, in a place where Node would try for ever', async () => {
    expectSentence(await start({ data: '/proc/muster' }), {
      code: 'data-unwritable',
      says: /data folder \/proc\/muster cannot be written/,
    })
  })

  test('that is a file', async () => {
    await writeFile(join(folder, 'data'), '')
    expectSentence(await start({}), { code: 'data-unwritable', says: /is a file, not a folder/ })
  })

  test('that another server uses', { timeout: 60_000 }, async () => {
    const data = join(folder, 'data')
    await using first = await startServerProcess(data)
    const second = await start({ data })
    expectSentence(second, { code: 'database-locked', says: /^muster: .*another process.*--data/m })
    // The first is none the worse for it.
    expect((await fetch(`${first.firmware}/tuf/main/metadata/timestamp.json`)).status).toBe(200)
    expect((await muster(['status', '--data', data])).code).toBe(0)
  })

  test('whose database a newer Muster wrote', async () => {
    const data = join(folder, 'data')
    await (await startServerProcess(data)).kill()
    const database = new DatabaseSync(join(data, 'muster.db'))
    database.exec("insert into migrations (number, name, appliedAt) values (999, 'of tomorrow', 0)")
    database.close()
    expectSentence(await start({ data }), { code: 'database-newer', says: /schema 999/, exit: 1 })
  })

  test('whose key of the agent plane is there and its certificate gone', async () => {
    const data = join(folder, 'data')
    await (await startServerProcess(data)).kill()
    await rm(join(data, 'keys/agent-plane.cert.pem'))
    expectSentence(await start({ data }), { code: 'key-invalid', says: /backup/, exit: 1 })
  })
})

test("the operator's folder that is not there, or is a file, is named with its setting", async () => {
  const missing = join(folder, 'no-such-files')
  expectSentence(await start({ files: missing }), {
    code: 'config-invalid',
    says: /no-such-files does not exist \(key: files\).*--files/,
  })
  await writeFile(join(folder, 'a-file'), '')
  expectSentence(await start({ files: join(folder, 'a-file') }), {
    code: 'config-invalid',
    says: /a-file is a file, not a folder \(key: files\)/,
  })
})

test('a root file to follow another server by that is not there, or is none, stops the start', async () => {
  const root = join(folder, 'upstream-root.json')
  const settings = {
    'releases.upstream.url': 'http://127.0.0.1:1/tuf/main',
    'releases.upstream.root': root,
  }
  expectSentence(await start(settings), {
    code: 'config-invalid',
    says: /upstream-root\.json cannot be read/,
  })
  for (const text of ['<html>not found</html>', '{"signed":{}}']) {
    await writeFile(root, text)
    expectSentence(await start(settings), {
      code: 'config-invalid',
      says: /releases\.upstream\.root: .*upstream-root\.json is no root\.json: .*by a road you trust/,
    })
  }
})

describe('a wrong configuration', () => {
  test('is told whole: every mistake at once, each with its key and where it came from', async () => {
    const file = join(folder, 'muster.yaml')
    await writeFile(file, 'firmware:\n  port: eighty\nagnet:\n  port: 8443\ntftp:\n  transfersMax: 0\n')
    const ended = await muster(
      ['serve', '--config', file, '--set', 'enrolment.mode=maybe', '--data', join(folder, 'data')],
      { env: { MUSTER_LOG_LEVEL: 'loud', MUSTER_NO_SUCH: '1' } },
    )
    expect(ended.code).toBe(78)
    for (const key of [
      'firmware.port',
      'agnet.port',
      'tftp.transfersMax',
      'enrolment.mode',
      'log.level',
      'MUSTER_NO_SUCH',
    ])
      expect(ended.err, key).toContain(`${key}: `)
    for (const source of [file, 'MUSTER_LOG_LEVEL', '--set enrolment.mode'])
      expect(ended.err).toContain(source)
    expect(ended.err).toContain('6 mistakes')
    expect(ended.err).not.toMatch(/^\s+at /m)
  })

  test('names a file that cannot be read', async () => {
    const missing = join(folder, 'no-such.yaml')
    const ended = await muster(['serve', '--config', missing])
    expectSentence(ended, { code: 'config-invalid', says: /no-such\.yaml does not exist/ })
    const upstream = {
      'releases.upstream.url': 'http://127.0.0.1:1/tuf/main',
      'releases.upstream.root': missing,
    }
    expectSentence(await start(upstream), {
      code: 'config-invalid',
      says: /releases\.upstream\.root: .*no-such\.yaml/,
    })
    const login = { 'registry.credentials': missing }
    expectSentence(await start(login), {
      code: 'config-invalid',
      says: /registry\.credentials: .*no-such\.yaml/,
    })
  })
})
