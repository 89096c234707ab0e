import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AgentIdentity, World } from '../../src/cli/context.ts'
import { MusterError } from '../../src/errors.ts'
import { loadTlsIdentity } from '../../src/http/tls.ts'
import { agentConfigFor } from '../../src/setup/agent-images.ts'
import { metadataOf, openSite, publish, removeSite, type Site } from '../releases/world.ts'
import { World as TufWorld } from '../tuf/world.ts'
import { muster } from './command-line.ts'

const basics = ['agent', 'build', '--arch', 'amd64', '--hardware', 'virtual']
const aPin = `sha256//${Buffer.alloc(32, 7).toString('base64')}`
const cache = join(import.meta.dirname, '../../.cache/muster')

/** A server's data folder with a repository, and how a command line that names it builds. */
let site: Site
let pin: string
let folder: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'muster-agent-build-'))
  site = await openSite({ data: join(folder, 'data') })
  ;({ pin } = await loadTlsIdentity(join(site.data, 'keys')))
  await publish(site, '1.0.0')
  // The first build packs the initramfs, which takes as long as all others together.
  await complete('--data', site.data)
}, 300_000)
afterAll(async () => {
  await removeSite(site)
  rmSync(folder, { recursive: true })
})

const rootOf = (data: string) => join(metadataOf(data), '1.root.json')
const targetsNow = () => site.releases.catalog().trusted.versions.targets

/** Up to where the first package would be fetched: what the agent's configuration is made from, or how it was refused. */
async function configured(...more: string[]) {
  const given: AgentIdentity[] = []
  const world: Partial<World> = {
    now: () => site.clock.nowMs,
    progressLines: () => () => {},
    agentConfig(identity) {
      given.push(identity)
      throw new MusterError('package-missing', 'far enough')
    },
  }
  const argv = [...basics, '--mirror', 'http://127.0.0.1:9', '--out', join(folder, 'out'), ...more]
  return { ...(await muster(argv, { world })), given: given[0] }
}

/** One sentence with its code, and no stack. */
function expectRefused(ran: { code: number; err: string }, code: string, exit: number, says: RegExp) {
  expect(ran.err).toMatch(says)
  expect(ran.err).toContain(`(${code}: `)
  expect(ran.err).not.toMatch(/^\s+at /m)
  expect(ran.code).toBe(exit)
}

describe('muster agent build', () => {
  test('without a pin, where no server has a key, is wrong usage: such an agent would know nobody', async () => {
    const ran = await configured('--data', join(folder, 'empty'), '--root', rootOf(site.data))
    expect(ran.code).toBe(2)
    expect(ran.err).toMatch(/--pin is not given.*muster status/s)
  })

  test('without a root, where there is no repository, is wrong usage and says where one lies', async () => {
    const ran = await configured('--data', join(folder, 'empty'), '--pin', aPin)
    expect(ran.code).toBe(2)
    expect(ran.err).toMatch(/--root is not given.*<N>\.root\.json/s)
  })

  test('refuses what is no pin before anything else: no server has such a key', async () => {
    for (const junk of ['x', 'sha256//x', aPin.slice(0, -1), `${aPin};${aPin}`, aPin.replace('=', '')]) {
      const ran = await configured('--data', site.data, '--pin', junk)
      expect([ran.code, ran.err], junk).toEqual([2, expect.stringMatching(/--pin.*sha256\/\/ and 44/s)])
    }
    // 32 bytes of base64 do not end with B: it would be compared as text, and never fit.
    const never = await configured('--data', site.data, '--pin', `sha256//${'A'.repeat(42)}B=`)
    expect(never.code).toBe(2)
    expect((await configured('--data', site.data, '--pin', aPin)).given).toMatchObject({ pins: [aPin] })
  })

  test('refuses a root.json that is none, that its keys did not sign, or that nobody could sign for', async () => {
    const file = join(folder, 'r.json')
    const genuine = JSON.parse(readFileSync(rootOf(site.data), 'utf8'))
    const unsigned = structuredClone(genuine)
    unsigned.signed.version = 7
    const hopeless = new TufWorld()
    hopeless.signed('root').roles.timestamp.threshold = 2
    const junk: [string | Uint8Array, RegExp][] = [
      ['{}', /r\.json is no root\.json.*signatures/s],
      ['not JSON', /r\.json is no root\.json/],
      [readFileSync(join(metadataOf(site.data), 'timestamp.json')), /r\.json is no root\.json.*_type|root/s],
      [JSON.stringify(unsigned), /r\.json is no root\.json.*sign/s],
      [hopeless.sign('root'), /2 signatures of timestamp and names 1/],
    ]
    for (const [content, says] of junk) {
      writeFileSync(file, content)
      const ran = await configured('--data', site.data, '--root', file)
      expectRefused(ran, 'agent-config-invalid', 78, says)
      expect(ran.err).toContain(metadataOf(site.data))
      expect(ran.given).toBeUndefined()
    }
  })

  test('says in one sentence that the root is not there, or that the folder cannot be written', async () => {
    const missing = await configured('--data', site.data, '--root', '/no/such/root.json')
    expectRefused(missing, 'agent-config-invalid', 78, /\/no\/such\/root\.json cannot be read.*--root/)
    const file = join(folder, 'a-file')
    writeFileSync(file, '')
    for (const out of [join(file, 'below'), file, '/proc/a-file']) {
      const ran = await configured('--data', site.data, '--out', out)
      expectRefused(ran, 'config-invalid', 78, /--out: the folder .*a-file.* cannot be made or written/)
    }
    const noCache = await configured('--data', site.data, '--set', `cache=${join(file, 'cache')}`)
    expectRefused(noCache, 'config-invalid', 78, /cache: the folder/)
  })

  test('takes root and pin of the data folder, and says so', async () => {
    await using newer = await openSite({ data: join(folder, 'other') })
    const { pin: other } = await loadTlsIdentity(join(newer.data, 'keys'))
    expect((await configured('--data', newer.data)).given).toMatchObject({ pins: [other] })
    const built = await complete('--data', site.data)
    expect(built.code).toBe(0)
    expect(built.err).toContain(`it trusts root version 1, ${rootOf(site.data)}`)
    expect(built.err).toContain(`it knows the server by ${pin}`)
    expect(built.config).toMatchObject({ pins: [pin], origin: 'network' })
    // One that comes over the network is replaced with its server: a floor in it would bind nobody.
    expect(built.config.policy).not.toHaveProperty('minTargetsVersion')
    expect(JSON.parse(built.out).trust).toEqual({ rootFile: rootOf(site.data), rootVersion: 1, pins: [pin] })
  })

  test('believes no targets older than those of its own server, where it outlives that server', async () => {
    const before = targetsNow()
    await publish(site, '1.0.1')
    expect(targetsNow()).toBe(before + 1)
    for (const origin of ['flash', 'signed']) {
      const built = await complete('--data', site.data, '--origin', origin)
      expect(built.config.policy).toMatchObject({ minTargetsVersion: before + 1 })
      expect(built.err).toContain(`minTargetsVersion is ${before + 1}`)
      expect(JSON.parse(built.out).trust).toMatchObject({ minTargetsVersion: before + 1 })
    }
    // The same root by another road is still this server's.
    const copy = join(folder, 'copied-root.json')
    writeFileSync(copy, readFileSync(rootOf(site.data)))
    const built = await complete('--data', site.data, '--origin', 'flash', '--root', copy, '--pin', aPin)
    expect(built.config.policy).toMatchObject({ minTargetsVersion: before + 1 })
  })

  test('leaves a floor of the policy as it is, and warns where nothing published reaches it', async () => {
    const policy = join(folder, 'floor.yaml')
    writeFileSync(policy, 'minTargetsVersion: 1')
    const server = ['--server', 'https://192.0.2.1:8443']
    const low = await complete('--data', site.data, '--origin', 'flash', '--policy', policy, ...server)
    expect(low.config.policy).toMatchObject({ minTargetsVersion: 1 })
    expect(low.err).not.toContain('warning')
    writeFileSync(policy, 'minTargetsVersion: 999')
    const high = await complete('--data', site.data, '--origin', 'flash', '--policy', policy)
    expect(high.err).toMatch(/warning: the policy's minTargetsVersion is 999.*boots nothing/)
  })

  test('warns of an agent for flash that names no server: nothing else names one to it', async () => {
    const flash = ['--data', site.data, '--origin', 'flash']
    const silent = 'this agent names no server, and does not find one by DHCP'
    expect((await complete(...flash)).err).toContain(silent)
    for (const named of [
      ['--server', 'https://192.0.2.1:8443'],
      ['--set', 'image.arguments=muster.server=https://192.0.2.1:8443'],
    ])
      expect((await complete(...flash, ...named)).err).not.toContain(silent)
    // Over the network the boot script names it.
    expect((await complete('--data', site.data)).err).not.toContain(silent)
  })

  test("warns about another repository's root: nothing here says how new its targets are", async () => {
    const file = join(folder, 'foreign-root.json')
    writeFileSync(file, new TufWorld().trustedRoot)
    const flash = await complete('--data', site.data, '--origin', 'flash', '--root', file)
    expect(flash.config.policy).not.toHaveProperty('minTargetsVersion')
    expect(flash.err).toMatch(/warning: this agent has no minTargetsVersion\..*muster tuf status/s)
    expect((await complete('--data', site.data, '--root', file)).err).not.toContain('warning')
  })

  test('builds the policy in that --policy or the setting names, and refuses one with mistakes', async () => {
    const [flag, setting, wrong] = ['flag', 'setting', 'wrong'].map((name) => join(folder, name))
    writeFileSync(flag!, 'staleSeconds: 60')
    writeFileSync(setting!, '{"staleSeconds": 30}')
    writeFileSync(wrong!, 'staleSecond: 60')
    const run = (...more: string[]) => configured('--data', site.data, ...more)
    expect((await run('--policy', flag!)).given?.policy).toEqual({ staleSeconds: 60 })
    expect((await run('--set', `agentPolicy=${setting}`)).given?.policy).toEqual({ staleSeconds: 30 })
    const refused = await run('--policy', wrong!)
    expect([refused.code, refused.err]).toEqual([78, expect.stringContaining("'staleSecond'")])
  })

  test('refuses a server that no agent would ask', async () => {
    const ran = await complete('--data', site.data, '--server', 'http://192.0.2.1:8080')
    expectRefused(ran, 'agent-config-invalid', 78, /servers\.0: .*https:\/\/host:port/)
  })

  test('takes the servers and the keys of several, with commas', async () => {
    const keys = ['B', 'C'].map((letter) => `sha256//${letter.repeat(42)}A=`)
    const ran = await configured(
      ...['--data', site.data, '--pin', keys.join(', ')],
      ...['--server', 'https://a:8443,https://b:8443'],
      ...['--set', `agent.peers=${JSON.stringify({ 'https://b:8443': { pin: keys[1] } })}`],
    )
    expect(ran.given).toMatchObject({ pins: keys, servers: ['https://a:8443', 'https://b:8443'] })
  })

  test('names what is not an architecture, a hardware or an origin', async () => {
    for (const wrong of [
      ['--arch', 'mips'],
      ['--hardware', 'toaster'],
      ['--origin', 'nonsense'],
    ]) {
      const ran = await configured('--pin', aPin, ...wrong)
      expect([ran.code, ran.err], wrong.join(' ')).toEqual([
        2,
        expect.stringContaining(`'${wrong[1]}' is invalid. It is one of`),
      ])
    }
  })
})

/** The whole command, with the packages that other tests have fetched; `config` is what ends up in the initramfs. */
async function complete(...more: string[]) {
  const out = mkdtempSync(join(folder, 'built-'))
  const world: Partial<World> = {
    now: () => site.clock.nowMs,
    progressLines: () => () => {},
    agentConfig: agentConfigFor,
    agentBundle: async () => Buffer.from('// no agent'),
  }
  const argv = [...basics, '--json', '--out', out, '--set', `cache=${cache}`, ...more]
  const ran = await muster(argv, { world })
  const text = ran.code === 0 ? (await readFile(join(out, 'initramfs'))).toString('latin1') : ''
  // The last archive is not compressed: the configuration stands in it as it is.
  const [json = '{}'] = /\{\n {2}"apiVersion": "muster\/v1"[\s\S]*?\n\}/.exec(text) ?? []
  return { ...ran, config: JSON.parse(json) as ReturnType<typeof agentConfigFor> }
}

test('muster serve does not start with an agent policy that has mistakes', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'muster-policy-')), 'policy.yaml')
  writeFileSync(file, 'target: []')
  let started = false
  const ran = await muster(['serve', '--set', `agentPolicy=${file}`], {
    world: {
      async serve() {
        started = true
      },
    },
  })
  expect([ran.code, ran.err, started]).toEqual([78, expect.stringContaining("'target'"), false])
})
