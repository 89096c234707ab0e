import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { describeError } from '../../src/cli/exit-code.ts'
import { unreachable } from '../../src/cli/unreachable.ts'
import { loadConfig } from '../../src/config/load.ts'
import { type errorCodes, MusterError } from '../../src/errors.ts'
import { createFirmwarePlane } from '../../src/http/firmware.ts'
import { loadTlsIdentity } from '../../src/http/tls.ts'
import { silentLog } from '../../src/log.ts'
import { aBoot, aMachine, createWorld, type World } from '../http/admin-world.ts'
import { muster } from './command-line.ts'

let world: World
let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-cli-'))
  world = await createWorld()
})
afterEach(async () => {
  await world[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

const here = (...argv: string[]) => muster([...argv, '--data', world.data])
const rack1 = aMachine('m-aaaaaaaaaaaaaaaa', { name: 'rack-1', labels: { site: 'plant' } })

describe('exit codes', () => {
  test('0 for help and version, 2 for what is no command', async () => {
    expect((await muster([])).code).toBe(0)
    expect((await muster(['--help'])).code).toBe(0)
    expect(await muster(['--version'])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    })
    for (const argv of [
      ['nonsense'],
      ['machine'],
      ['machine', 'show'],
      ['machines', '--nonsense'],
      ['events', '--limit', 'x'],
      ['events', '--limit', '0'],
      ['events', '--limit', '1001'],
      ['machines', '--enrolment', 'aproved'],
      ['machine', 'label', 'rack-1', 'nonsense'],
      ['config', '--log-level', 'loud'],
      ['explain', 'blob-digets'],
      ['tuf', 'init', '--expiry', 'never'],
      ['image', 'pull', 'x', '--arch', 'x86'],
      ['agent', 'build', '--arch', 'amd64', '--hardware', 'real', '--root', 'x', '--out', 'x'],
      [
        'agent',
        'build',
        '--arch',
        'amd64',
        '--hardware',
        'server',
        '--root',
        'x',
        '--out',
        'x',
        '--origin',
        'x',
      ],
      ['config', '--set', 'x'],
      ['image', 'publish', 'x', '--as', 'x'],
      ['image', 'publish', 'x', '--as', 'A B/1'],
      ['image', 'publish', 'x', '--as', 'a/1 2'],
      ['image', 'publish', 'x', '--as', 'a/channel'],
      ['image', 'publish', 'x', '--as', 'a/1', '--channel', 'X Y'],
    ]) {
      const ran = await muster(argv)
      expect([ran.code, ran.out], argv.join(' ')).toEqual([2, ''])
    }
  })
  test('of a choice that does not exist all that do are named, and the one that was meant', async () => {
    expect((await muster(['machines', '--enrolment', 'aproved'])).err).toContain(
      "It is one of discovered, approved, quarantined, retired; did you mean 'approved'?",
    )
    expect((await muster(['machine', 'label', 'rack-1', 'nonsense'])).err).toContain('name=value')
  })
  test('2 for a name that no release can have, with the characters that it may have', async () => {
    const { err } = await muster(['image', 'publish', 'x', '--as', 'A B/1'])
    expect(err).toContain("a-z, 0-9 and . _ -, beginning with a letter or digit; 'A B' is not")
  })
  test('69 when no server answers, with what to do', async () => {
    const ran = await muster(['machines', '--data', folder])
    expect(ran).toMatchObject({ code: 69, out: '' })
    expect(ran.err).toContain(join(folder, 'admin.sock'))
    expect(ran.err).toContain('muster serve')
  })
  test('69 when something else answers at the address', async () => {
    const ran = await muster(['machines', '--url', world.url.replace('http:', 'https:'), '--token', 'x'])
    expect(ran.code).toBe(69)
  })
  test('78 for a configuration that does not hold, all problems at once', async () => {
    const ran = await muster(['config', '--set', 'tftp.port=99999', '--set', 'nonsense=1'])
    expect(ran).toMatchObject({ code: 78, out: '' })
    expect(ran.err).toMatch(/tftp\.port[\s\S]*nonsense|nonsense[\s\S]*tftp\.port/)
  })
  test('1 for what the server refuses, with its own sentence and code', async () => {
    const ran = await here('machine', 'show', 'nobody')
    expect(ran).toMatchObject({ code: 1, out: '' })
    expect(ran.err).toMatch(/nobody[\s\S]*machine-not-found/)
  })
})

describe('reaching the server', () => {
  test('by URL with the token of the environment', async () => {
    expect(
      (await muster(['machines', '--url', world.url], { env: { MUSTER_TOKEN: world.token } })).code,
    ).toBe(0)
    const ran = await muster(['machines', '--url', world.url])
    expect(ran).toMatchObject({ code: 1 })
    expect(ran.err).toContain('unauthorized')
  })
  test('says of plain HTTP elsewhere that it is another plane', async () => {
    const sentence = (url: string) =>
      unreachable(
        { kind: 'url', url: new URL(url), token: undefined },
        { code: 'ERR_SSL_WRONG_VERSION_NUMBER' },
      ).message
    expect(sentence('https://192.0.2.2:8080')).toMatch(/may be the firmware plane.*admin\.port, 9443/)
    expect(sentence('https://[::1]:9443')).toContain('say --url http://[::1]:9443')
  })
  test('never sends the token in the clear over a network', async () => {
    const ran = await muster(['machines', '--url', 'http://192.0.2.1:9443', '--token', 'secret'])
    expect(ran.code).toBe(78)
    expect(ran.err).not.toContain('secret')
  })
  test('over TLS by the pinned key, and not by another', async () => {
    const tls = await loadTlsIdentity(folder)
    await using far = await createWorld({ tls })
    const argv = ['machines', '--url', far.url, '--token', far.token, '--pin']
    expect((await muster([...argv, tls.pin])).code).toBe(0)
    const ran = await muster([...argv, `sha256//${Buffer.alloc(32).toString('base64')}`])
    expect(ran.code).toBe(1)
    expect(ran.err).toContain('server-pin')
    expect((await muster(argv.slice(0, -1))).code).toBe(69)
  })
})

describe('reaching the server by the wrong scheme', () => {
  const at = (url: string, ...more: string[]) => muster(['machines', '--url', url, '--token', 'x', ...more])

  test('https at the plain port says to take http, and nothing of OpenSSL', async () => {
    const ran = await at(world.url.replace('http:', 'https:'))
    expect(ran.code).toBe(69)
    expect(ran.err).toContain('(server-unreachable: ')
    expect(ran.err).toContain(`speaks plain HTTP`)
    expect(ran.err).toContain(`--url ${world.url}`)
    expect(ran.err).not.toMatch(/SSL/)
  })
  test('http at the TLS port says to take https', async () => {
    await using far = await createWorld({ tls: await loadTlsIdentity(folder) })
    const ran = await at(far.url.replace('https:', 'http:'))
    expect(ran.code).toBe(69)
    expect(ran.err).toContain(`--url ${far.url} with --pin`)
  })
  test('a certificate of its own without --pin says where the pin is', async () => {
    await using far = await createWorld({ tls: await loadTlsIdentity(folder) })
    const ran = await at(far.url)
    expect([ran.code, ran.err]).toEqual([
      69,
      expect.stringMatching(/No authority vouches.*--pin.*muster status/s),
    ])
  })
})

describe('reaching something else by --url', () => {
  const at = (url: string, ...more: string[]) => muster(['machines', '--url', url, '--token', 'x', ...more])

  test('the firmware plane says that it is that, and where the admin plane is', async () => {
    const app = createFirmwarePlane({
      limits: loadConfig({ env: {} }).config.firmware,
      deciders: {} as never,
      ociPull: async () => {},
      log: silentLog,
    })
    const url = await app.listen({ host: '127.0.0.1', port: 0 })
    const read = await at(url)
    const put = await muster(['token', 'new', '--url', url, '--token', 'x'])
    await app.close()
    for (const ran of [read, put]) {
      expect([ran.code, ran.out]).toEqual([69, ''])
      expect(ran.err).toMatch(/is the firmware plane of a Muster.*admin\.port, 9443/s)
    }
  })

  test('what hangs up may speak TLS, or may be stopping: neither is said for certain', async () => {
    const rude = createServer((socket) => socket.once('data', () => socket.resetAndDestroy()))
    rude.listen(0, '127.0.0.1')
    await once(rude, 'listening')
    const { port } = rude.address() as AddressInfo
    const ran = await at(`http://127.0.0.1:${port}`)
    rude.close()
    expect(ran.code).toBe(69)
    expect(ran.err).toMatch(/broke the connection off.*may be it: say --url https.*Otherwise/s)
  })

  test('where nothing listens no word of Node is shown', async () => {
    const ran = await at('http://127.0.0.1:1')
    expect([ran.code, ran.err]).toEqual([69, expect.stringContaining('nothing listens there')])
    expect(ran.err).not.toContain('ECONNREFUSED')
  })
})

describe('what a command line lacks', () => {
  test('is named whole, and not one thing a try', async () => {
    for (const [argv, names] of [
      [
        ['agent', 'build'],
        ['--arch', '--hardware', '--out'],
      ],
      [
        ['image', 'publish'],
        ['<source>', '--as'],
      ],
      [
        ['image', 'sign'],
        ['<kernel>', '--sign', '--cert', '--out'],
      ],
      [
        ['agent', 'boot-image', '--out', 'x'],
        ['--agent', '--firmware'],
      ],
      [['profile', 'set'], ['--file']],
    ] as const) {
      const ran = await muster([...argv])
      expect([ran.code, ran.out], argv.join(' ')).toEqual([2, ''])
      for (const name of names) expect(ran.err.split('\n')[0], argv.join(' ')).toContain(name)
    }
    expect((await muster(['agent', 'boot-image', '--out', 'x'])).err).not.toContain('--out')
  })
})

describe('help', () => {
  test("is what 'help' before the command says too", async () => {
    for (const words of [[], ['machines'], ['machine', 'approve'], ['agent', 'build']])
      expect(await muster(['help', ...words])).toEqual(await muster([...words, '--help']))
    const slip = await muster(['help', 'machnies'])
    expect([slip.code, slip.err]).toEqual([2, expect.stringContaining("did you mean 'machines'?")])
    expect((await muster(['help', 'machines', 'x'])).code).toBe(2)
  })

  test('of the program names the options of every command, and that of a command only points there', async () => {
    const whole = (await muster(['--help'])).out
    for (const option of [
      '--data',
      '--config',
      '--set',
      '--log-level',
      '--url',
      '--token',
      '--pin',
      '--json',
    ])
      expect(whole).toContain(`  ${option} <`.replace('--json <', '--json '))
    expect(whole).not.toContain("'muster --help'")
    for (const command of [['machines'], ['machine', 'label'], ['serve'], ['agent', 'build']]) {
      const { out, code } = await muster([...command, '--help'])
      expect(code).toBe(0)
      expect(out).not.toMatch(/Global Options|^ {2}--(set|url|log-level|token|json) /m)
      expect(out.trimEnd().split('\n').at(-1)).toBe(
        "Options of every command (--data, --url, --json, …): 'muster --help'.",
      )
    }
    expect((await muster(['serve', '--help'])).out).toContain('--advertise')
  })
  test('does not keep the options of every command from being taken behind it', async () => {
    world.machines.set(rack1.id, rack1)
    expect(JSON.parse((await here('machines', '--json')).out)).toHaveLength(1)
  })
})

describe('machines', () => {
  test('are a table for people and JSON for programs', async () => {
    const waiting = { ...rack1, waitsFor: 'for approval' }
    world.machines.set(rack1.id, waiting)
    const table = await here('machines')
    expect(table.out).toBe(
      'NAME    ID                  ENROLMENT   WAITS         TRUST  ARCH   MAC                LABELS      SEEN\n' +
        'rack-1  m-aaaaaaaaaaaaaaaa  discovered  for approval  none   amd64  52:54:00:12:34:56  site=plant  5 min ago\n',
    )
    expect(JSON.parse((await here('machines', '--json')).out)).toEqual([waiting])
  })
  test('are all listed, however many pages there are', async () => {
    for (let index = 0; index < 2345; index++) {
      const id = `m-${index.toString().padStart(16, 'a')}`
      world.machines.set(id, aMachine(id))
    }
    expect(JSON.parse((await here('machines', '--json')).out)).toHaveLength(2345)
  })
  test('are approved in the long form and in the short one', async () => {
    world.machines.set(rack1.id, rack1)
    expect((await here('machine', 'approve', 'rack-1')).out).toBe(
      'rack-1 is approved; it boots when it asks again.\n',
    )
    await here('machine', 'quarantine', 'rack-1')
    expect((await here('approve', 'rack-1')).code).toBe(0)
    expect(world.machines.get(rack1.id)?.enrolment).toBe('approved')
  })
  test('are approved with their MAC addresses named, one at a time', async () => {
    world.machines.set(rack1.id, rack1)
    const named = ['approve', 'rack-1', '--macs', rack1.macs.join(', ')]
    expect((await here(...named)).code).toBe(0)
    const other = await here('approve', 'rack-1', '--macs', '52:54:00:ff:ff:ff')
    expect(other).toMatchObject({ code: 1, err: expect.stringContaining('machine-changed') })
    expect((await here('approve', 'rack-1', 'rack-2', '--macs', '52:54:00:ff:ff:ff')).err).toContain(
      'one at a time',
    )
  })
  test('are decided on all or none, where one of several is not there', async () => {
    world.machines.set(rack1.id, rack1)
    for (const verb of ['approve', 'quarantine', 'retire']) {
      const ran = await here('machine', verb, 'rack-1', 'nosuch')
      expect([ran.code, ran.out], verb).toEqual([1, ''])
      expect(ran.err).toContain("'nosuch'")
    }
    expect(world.machines.get(rack1.id)?.enrolment).toBe(rack1.enrolment)
    const one = await here('forget', 'nosuch')
    expect([one.code, one.out]).toEqual([1, ''])
  })
  test('are approved as what a person means, by every claim that profiles select by', async () => {
    world.machines.set(rack1.id, {
      ...rack1,
      serial: 'plain-7777',
      vendor: 'Acme Inc',
      product: 'Box',
      uuid: '0',
    })
    const says = ['--serial', 'plain-7777', '--vendor', 'Acme Inc', '--product', 'Box', '--uuid', '0']
    expect((await here('approve', 'rack-1', ...says, '--arch', rack1.arch)).code).toBe(0)
    for (const claim of ['--serial', '--vendor', '--product', '--uuid', '--arch'])
      expect(await here('approve', 'rack-1', claim, '')).toMatchObject({
        code: 1,
        err: expect.stringContaining('machine-changed'),
      })
    expect((await here('approve', 'rack-1', 'rack-2', '--serial', 'x')).err).toContain('one at a time')
  })
  test('show what they said otherwise before, and who approves reads what was filled in', async () => {
    const at = '2026-06-01T08:00:00Z'
    const claimsChanged = { serial: { at, before: 'plain-\u001b[2J' }, product: { at } }
    world.machines.set(rack1.id, { ...rack1, serial: 'ctrl-0001', product: 'Box\u001b[2J', claimsChanged })
    const { out } = await here('machine', 'show', 'rack-1')
    expect(out).toMatch(/^CHANGED +its serial was 'plain-\?\[2J' before /m)
    expect(out).toMatch(/^SAID SINCE +its product, .*; before, it said none$/m)
    expect((await here('approve', 'rack-1')).out).toBe(
      "rack-1 is approved; it boots when it asks again.\n  Its product 'Box?[2J' was said first at 2026-06-01T08:00:00Z, and not at its first hello. If it is not its own: muster machine quarantine rack-1\n",
    )
  })
  test('are not said to be renamed to what they are called', async () => {
    world.machines.set(rack1.id, rack1)
    expect((await here('machine', 'rename', 'rack-1', 'rack-1')).out).toContain('is called rack-1 already')
    expect((await here('machine', 'rename', 'rack-1', 'rack-9')).out).toContain('is now called rack-9')
  })
  test('are approved by addresses that are addresses', async () => {
    world.machines.set(rack1.id, rack1)
    expect(await here('approve', 'rack-1', '--macs', 'banana')).toMatchObject({
      code: 1,
      err: expect.stringContaining('macs.0: this is no MAC address'),
    })
  })
  test('take and lose labels', async () => {
    world.machines.set(rack1.id, rack1)
    expect((await here('machine', 'label', 'rack-1', 'role=edge', 'site-')).out).toBe('rack-1: role=edge\n')
    // As long as the machines room and a profile's selector take them.
    expect((await here('machine', 'label', 'rack-1', `note=${'x'.repeat(256)}`)).code).toBe(0)
    expect((await here('machine', 'label', 'rack-1', `note=${'x'.repeat(257)}`)).code).toBe(1)
  })
  test('may have labels with an empty value, as in Kubernetes, and none without a name', async () => {
    world.machines.set(rack1.id, rack1)
    expect((await here('machine', 'label', 'rack-1', 'rack=', 'site-')).out).toBe('rack-1: rack=\n')
    const nameless = await here('machine', 'label', 'rack-1', '=x')
    expect([nameless.code, nameless.err]).toEqual([2, expect.stringContaining("'=x' has no name")])
  })
  test('say so when they are given files that nobody signed', async () => {
    world.machines.set(rack1.id, { ...rack1, unverified: 'memtest' })
    expect((await here('machine', 'show', 'rack-1')).out).toMatch(
      /UNVERIFIED +profile 'memtest' gives it files/,
    )
    world.machines.set(rack1.id, rack1)
    expect((await here('machine', 'show', 'rack-1')).out).not.toContain('UNVERIFIED')
  })
  test('say why they boot what they boot, and how far that can be trusted', async () => {
    world.machines.set(rack1.id, rack1)
    const { out } = await here('machine', 'why', 'rack-1')
    expect(out).toContain("It boots by profile 'all'")
    expect(out).toContain('Release hello/1.0.0/amd64')
    expect(out).toContain('network unsigned')
  })
  test('cannot drive the terminal by what they call themselves', async () => {
    world.machines.set(rack1.id, { ...rack1, serial: '\u001b]0;owned\u0007', labels: { a: '\u001b[2J' } })
    for (const argv of [['machines'], ['machine', 'show', 'rack-1'], ['boot', 'show', aBoot.id]]) {
      expect((await here(...argv)).out, argv.join(' ')).not.toContain('\u001b')
    }
  })
  test('cannot drive it through --json either, nor through an error about what a registry sent', async () => {
    const vendor = 'Evil \u009b2J\u202emoc'
    world.machines.set(rack1.id, { ...rack1, vendor })
    const { out } = await here('machine', 'show', 'rack-1', '--json')
    expect(out).not.toMatch(/[\u007f-\u009f\u202e]/)
    expect(JSON.parse(out)).toMatchObject({ vendor })
    const titled = new MusterError('manifest-invalid', 'its layers are \u001b]0;owned\u0007, \u009b2J')
    expect(describeError(titled)).toMatch(/^[\n\x20-\x7e]*$/)
    expect(describeError(new Error('\u001b[2J'))).not.toContain('\u001b')
  })
})

describe('events', () => {
  test('are watched until Ctrl-C, the newest before first', async () => {
    world.happens({ kind: 'discovered', assurance: 'claimed', message: 'said hello' })
    const stop = new AbortController()
    const watching = muster(['events', '--watch', '--data', world.data], {
      signal: stop.signal,
      onOutput: (text) => text.includes('went on') && stop.abort(),
    })
    await expect.poll(() => world.watchers()).toBe(1)
    const data = { bytes: 12_300_000, totalBytes: 48_000_000 }
    world.happens({ id: 0, kind: 'step', message: 'blobs progress', data })
    world.happens({ kind: 'step', message: 'went on' })
    expect(await watching).toMatchObject({
      code: 0,
      out: [
        '2026-01-31 08:00:00  -  discovered (claimed): said hello\n',
        '2026-01-31 08:00:00  -  step: blobs progress, 12 MB of 48 MB\n',
        '2026-01-31 08:00:00  -  step: went on\n',
      ].join(''),
    })
  })
})

describe('profiles', () => {
  test('come back as the YAML that sets them', async () => {
    const file = join(folder, 'profile.yaml')
    await writeFile(
      file,
      'name: edge\nselector:\n  labels:\n    site: plant\nimage:\n  name: edge-os\n  channel: stable\n',
    )
    expect((await here('profile', 'set', '-f', file)).code).toBe(0)
    expect((await here('profile', 'show', 'edge')).out).toBe(await readFile(file, 'utf8'))
    expect((await here('profiles')).out).toContain('edge     site=plant  edge-os (stable)  -\n')
  })
  test('that give files nobody signed are listed as such', async () => {
    const file = join(folder, 'profile.yaml')
    await writeFile(file, 'name: memtest\nunverified: true\nfiles:\n  kernel: memtest.efi\n')
    expect((await here('profile', 'set', '-f', file)).code).toBe(0)
    expect((await here('profiles')).out).toContain('files/memtest.efi (UNVERIFIED)')
  })
  test('are taken before their image with --unpublished, and what is hardly meant is said beside the result', async () => {
    const file = join(folder, 'profile.yaml')
    await writeFile(file, 'name: soon\nimage:\n  name: edge-os\n  channel: stable\n')
    world.profileWarnings = ["profile 'all' fits every machine as well"]
    const ran = await here('profile', 'set', '-f', file, '--unpublished', '--json')
    world.profileWarnings = []
    expect(JSON.parse(ran.out).warnings).toEqual(["profile 'all' fits every machine as well"])
    expect(ran.err).toBe("warning: profile 'all' fits every machine as well.\n")
    expect(world.unpublished).toEqual(['soon'])
    expect((await here('profile', 'show', 'soon')).out).not.toContain('warnings')
  })
  test('that are not there are not removed: the name, and which was meant', async () => {
    const file = join(folder, 'profile.yaml')
    await writeFile(file, 'name: edge\n')
    expect((await here('profile', 'set', '-f', file)).code).toBe(0)
    for (const noun of ['profile', 'cluster']) {
      const ran = await here(noun, 'remove', 'nosuch')
      expect([ran.code, ran.out, ran.err]).toEqual([1, '', expect.stringContaining('nosuch')])
      expect(ran.err).toContain(`${noun}-not-found`)
    }
    expect((await here('profile', 'remove', 'edge')).out).toBe('profile edge is removed.\n')
  })
  test('under two names at once are refused', async () => {
    const file = join(folder, 'profile.yaml')
    await writeFile(file, 'name: edge\n')
    expect((await here('profile', 'set', 'other', '-f', file)).err).toContain("calls itself 'edge'")
  })
})

describe('status and configuration', () => {
  test('status says what is missing and when metadata expires', async () => {
    world.status.missing = [{ what: 'the boot agent', code: 'download-failed', reason: 'No mirror answers.' }]
    const { out } = await here('status')
    expect(out).toContain('MISSING: the boot agent (download-failed). No mirror answers.')
    expect(out).toMatch(/timestamp {2}3 {8}2026-02-01T08:00:00Z \(in 24 h\) {2}here/)
  })
  test('config says where each value comes from', async () => {
    const file = join(folder, 'muster.yaml')
    await writeFile(file, 'firmware:\n  port: 80\n')
    const env = { MUSTER_AGENT_PORT: '444', MUSTER_TOKEN: 'secret' }
    const ran = await muster(
      ['config', '--config', file, '--set', 'admin.port=1', '--log-level', 'warn', '--json'],
      { env },
    )
    const sources = Object.fromEntries(
      JSON.parse(ran.out).map((row: { key: string; source: string }) => [row.key, row.source]),
    )
    expect(sources).toMatchObject({
      'firmware.port': file,
      'agent.port': 'MUSTER_AGENT_PORT',
      'admin.port': '--set admin.port',
      'log.level': '--log-level',
      data: 'default',
    })
    expect(ran.out).not.toContain('secret')
  })
  test('a new token is printed alone, so that a script can take it', async () => {
    const ran = await here('token', 'new')
    expect(ran.out).toMatch(/^muster_[\w-]{43}\n$/)
    expect(ran.err).toContain('once')
  })
  test('the flags of serve are settings', async () => {
    let seen: unknown
    const serve = async ({
      loaded,
    }: {
      loaded: { config: { data: string; files?: string | undefined; tftp: { port: number } } }
    }) => {
      seen = [loaded.config.data, loaded.config.files, loaded.config.tftp.port]
    }
    await muster(['serve', '--data', folder, '--files', '/srv/files', '--set', 'tftp.port=6969'], {
      world: { serve },
    })
    expect(seen).toEqual([folder, '/srv/files', 6969])
  })
})

describe('explain', () => {
  test('prints the paragraph of a code, and what is close to one that does not exist', async () => {
    const ran = await muster(['explain', 'database-newer'])
    expect(ran.code).toBe(0)
    expect(ran.out).toMatch(/^database-newer\n\n.*later Muster/)
    expect((await muster(['explain', 'blob-digets'])).err).toContain('blob-digest')
  })
  test('knows every code that this room throws', async () => {
    for (const code of [
      'server-unreachable',
      'unauthorized',
      'request-invalid',
      'access-denied',
      'listen-failed',
    ] satisfies (typeof errorCodes)[number][]) {
      expect((await muster(['explain', code])).code, code).toBe(0)
    }
  })
})

test('the launcher finds its Node and runs the source as it is', async () => {
  const { stdout } = await promisify(execFile)(join(import.meta.dirname, '../../muster'), ['--version'])
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})

describe('what firmware asked for', () => {
  test('in vain is listed with who asked, and status says that there is such a list', async () => {
    const { out } = await here('files', 'unknown')
    expect(out).toMatch(/pxelinux\.0 +3 .*tftp +192\.0\.2\.7/)
    expect((await here('status')).out).toContain(
      "firmware asked for 1 file that is not here: 'muster files unknown' lists them",
    )
  })
  test('lint ends well while nothing keeps a board from booting, and fails otherwise', async () => {
    expect(await here('lint', 'raspberry-pi')).toMatchObject({
      code: 0,
      out: expect.stringContaining('It was looked at.'),
    })
    const key = join(folder, 'key.pem')
    await writeFile(key, 'key')
    const ran = await here('lint', 'raspberry-pi', '--key', key)
    expect(ran.code).toBe(1)
    expect(ran.out).toContain('ERROR')
    expect(ran.err).toContain('1 of these')
    expect((await here('lint', 'toaster')).code).toBe(2)
  })
})
