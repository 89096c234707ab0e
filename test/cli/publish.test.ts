/** Publishing over the real admin plane into a real repository: command line, API, verification, signatures, store. */
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createApiClient } from '../../src/cli/api-client.ts'
import { createRemoteServer } from '../../src/cli/remote-store.ts'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { type AdminPlane, createAdminPlane } from '../../src/http/admin.ts'
import { loadAdminToken } from '../../src/http/admin-token.ts'
import { silentLog } from '../../src/log.ts'
import { architectureAnnotation, layerTypes, osArtifactType } from '../../src/oci/artifact.ts'
import { writeLayout } from '../../src/oci/layout.ts'
import { mediaTypes } from '../../src/oci/manifest.ts'
import type { ImageSource } from '../../src/oci/source.ts'
import { type PublishingServer, publishThere } from '../../src/releases/publish-there.ts'
import { type AdminFacts, adminDeciders } from '../../src/setup/admin-deciders.ts'
import { periodsOf } from '../../src/signing/expiry.ts'
import { generatePrivateKey, loadKeyFile, type Signer } from '../../src/signing/keys.ts'
import { smallPe } from '../builder/pe-simulator.ts'
import { digestOf, image, openSite, removeSite, type Site } from '../releases/world.ts'
import { asKernel } from '../support/kernel-bytes.ts'
import { type SecureBootKey, secureBootKey } from '../support/secure-boot-keys.ts'
import { muster, type Ran } from './command-line.ts'

let site: Site
let plane: AdminPlane
let socketPath: string
let profiles: { name: string; image: { name: string; version?: string } }[]
/** What every registry has. */
let pulled: ImageSource
beforeEach(async () => {
  pulled = image('pulled', { bytes: 300_000 })
  site = await openSite()
  profiles = []
  socketPath = join(site.data, 'admin.sock')
  const facts: Partial<AdminFacts> = {
    releases: site.releases,
    blobs: site.blobs,
    registries: { repository: () => pulled },
    config: {} as never,
    machines: { profiles: { list: async () => profiles } } as never,
  }
  plane = await createAdminPlane({
    version: '0.1.0',
    token: await loadAdminToken({ keysDirectory: join(site.data, 'keys') }),
    deciders: adminDeciders(facts as AdminFacts),
    log: silentLog,
  })
  await plane.listen({ host: '127.0.0.1', port: 0, socketPath })
})
afterEach(async () => {
  await plane[Symbol.asyncDispose]()
  await removeSite(site)
})

const here = (...argv: string[]): Promise<Ran> =>
  muster([...argv, '--data', site.data], { world: { now: () => site.clock.nowMs } })

async function layout(
  name: string,
  content: string,
  signedKernel?: Buffer,
  architectures: readonly ('amd64' | 'arm64')[] = ['amd64'],
): Promise<string> {
  const path = join(site.data, name)
  const fill = (what: string) => Buffer.alloc(2_000_000, `${what} ${content} `)
  const [kernel, initrd, config] = [
    signedKernel ?? asKernel(fill('kernel')),
    fill('initrd'),
    Buffer.from('{}'),
  ]
  const describe = (bytes: Uint8Array, mediaType: string) => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  })
  const manifestFor = (arch: string) => ({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: osArtifactType,
    config: describe(config, mediaTypes.empty),
    layers: [describe(kernel, layerTypes.kernel), describe(initrd, layerTypes.initrd)],
    annotations: { [architectureAnnotation]: arch },
  })
  await writeLayout({
    path,
    images: architectures.map((arch) => ({
      ...{ arch, tag: '1' },
      manifestBytes: Buffer.from(JSON.stringify(manifestFor(arch))),
    })),
    blobs: [kernel, initrd, config],
  })
  return path
}

describe('muster image publish', () => {
  test('signs a release with the key of the data folder, and machines are offered it', async () => {
    const ran = await here(
      'image',
      'publish',
      await layout('os', 'one'),
      '--as',
      'edge-os/1.0.0',
      '--hardware-id',
      'acme,box',
    )
    expect(ran).toMatchObject({ code: 0, err: '' })
    expect(ran.out).toMatch(
      /^edge-os\/1\.0\.0\/amd64 {2}sha256:[0-9a-f]{64}\npublished in targets version 2 and on channel stable\.\n$/,
    )
    const { release, floor } = site.releases.catalog().resolve({ image: 'edge-os', arch: 'amd64' })
    expect([release.version, release.custom.hardwareIds, floor]).toEqual(['1.0.0', ['acme,box'], 0])
    expect((await here('images')).out).toMatch(
      /^edge-os {2}1\.0\.0 {4}amd64 {2}1 {8}stable {4}acme,box {2}sha256:/m,
    )
  })
  test('twice changes nothing, and says that any hardware boots it', async () => {
    const path = await layout('os', 'one')
    const publish = () => here('image', 'publish', `${path}:1`, '--as', 'edge-os/1.0.0')
    expect((await publish()).err).toMatch(/^note: .*any hardware/)
    expect((await publish()).out).toMatch(
      /was published before, just so; nothing changed \(targets version 2\)\.\n$/,
    )
    expect(site.releases.catalog().trusted.versions.targets).toBe(2)
  })
  test('for two architectures, one after the other and then again, changes nothing more', async () => {
    const path = await layout('os', 'one', undefined, ['amd64', 'arm64'])
    const publish = (arch: string) =>
      here('image', 'publish', `${path}:1`, '--as', 'edge-os/1.0.0', '--arch', arch, '--any-kernel')
    await publish('arm64')
    expect((await publish('amd64')).code).toBe(0)
    for (const arch of ['arm64', 'amd64']) expect((await publish(arch)).out).toContain('nothing changed')
  })
  test.each(['banana', 'v2.0', '1.', ''])(
    'for agents of version %j at least is refused: they would be compared as 0',
    async (version) => {
      const path = await layout('os', 'one')
      const ran = await here('image', 'publish', path, '--as', 'edge-os/1.0.0', '--min-agent', version)
      expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('as in 0.1.0')])
      expect(site.releases.catalog().image('edge-os')).toBeUndefined()
    },
  )
  test('again on another channel says that the channel changed, and not that the release is new', async () => {
    const path = await layout('os', 'one')
    await here('image', 'publish', path, '--as', 'edge-os/1.0.0')
    const ran = await here('image', 'publish', path, '--as', 'edge-os/1.0.0', '--channel', 'canary')
    expect(ran.out).toContain('was published before; channel canary changed, in targets version 3.')
    const json = await here('image', 'publish', path, '--as', 'edge-os/1.0.0', '--json')
    expect(JSON.parse(json.out)).toMatchObject({ changed: 'nothing', targetsVersion: 3 })
  })
  test('raises the floor, below which nothing boots any more', async () => {
    await here('image', 'publish', await layout('one', 'one'), '--as', 'edge-os/1.0.0')
    const ran = await here(
      'image',
      'publish',
      await layout('two', 'two'),
      '--as',
      'edge-os/1.1.0',
      '--floor',
      '2',
    )
    expect(ran.code).toBe(0)
    expect(() =>
      site.releases.catalog().resolve({ image: 'edge-os', version: '1.0.0', arch: 'amd64' }),
    ).toThrow(expect.objectContaining({ code: 'release-below-floor' }))
    expect((await here('images')).out).toContain('(below floor)')
  })
  test('goes on with an upload that broke off', async () => {
    const path = await layout('os', 'one')
    const kernel = asKernel(Buffer.alloc(2_000_000, 'kernel one '))
    const blob = { digest: digestOf(kernel), size: kernel.length }
    await expect(site.blobs.write(blob, [kernel.subarray(0, 1_500_000)] as never)).rejects.toMatchObject({
      code: 'blob-truncated',
    })
    const sent: string[] = []
    const api = createApiClient({ kind: 'socket', path: socketPath })
    const remote = createRemoteServer(api, 'main')
    expect(await remote.sink.partialSize(blob.digest)).toBe(1_500_000)
    const write = remote.sink.write
    remote.sink.write = async (one, source, options) => {
      sent.push(`${one.digest} from ${options?.offset ?? 0}`)
      return write(one, source, options)
    }
    await remote.sink.write(blob, [kernel.subarray(1_500_000)] as never, { offset: 1_500_000 })
    expect(await remote.sink.size(blob.digest)).toBe(kernel.length)
    expect((await here('image', 'publish', path, '--as', 'edge-os/1.0.0')).code).toBe(0)
  })
  test('of another content under the same version is refused', async () => {
    await here('image', 'publish', await layout('one', 'one'), '--as', 'edge-os/1.0.0')
    const ran = await here('image', 'publish', await layout('two', 'two'), '--as', 'edge-os/1.0.0')
    expect(ran.code).toBe(1)
    expect(ran.err).toContain('release-exists')
  })
  test('without the targets key says where it looked', async () => {
    const path = await layout('os', 'one')
    await rm(join(site.data, 'keys/main/targets.pem'))
    const ran = await here('image', 'publish', path, '--as', 'edge-os/1.0.0')
    expect(ran.code).toBe(1)
    expect(ran.err).toMatch(/keys\/main\/targets\.pem[\s\S]*--key[\s\S]*key-not-found/)
  })
  test('remembers beside its key what it signed, and signs over nothing older', async () => {
    const source = await layout('os', 'one')
    expect((await here('image', 'publish', source, '--as', 'edge-os/1.0.0')).code).toBe(0)
    const memory = join(site.data, 'keys/main/targets.pem.last')
    expect(JSON.parse(await readFile(memory, 'utf8'))).toEqual({ main: 2 })
    await writeFile(memory, '{"main": 9}')
    const ran = await here('image', 'publish', source, '--as', 'edge-os/1.0.1')
    expect(ran.err).toContain('metadata-rollback')
    await writeFile(memory, 'nonsense')
    expect((await here('image', 'publish', source, '--as', 'edge-os/1.0.1')).err).toContain(
      '--targets-at-least',
    )
  })
  test('with a key that root does not name for targets signs nothing', async () => {
    const key = join(site.data, 'other.pem')
    await writeFile(key, generatePrivateKey().export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
    const ran = await here(
      'image',
      'publish',
      await layout('os', 'one'),
      '--as',
      'edge-os/1.0.0',
      '--key',
      key,
    )
    expect(ran.err).toContain('key-invalid')
  })
  test('asks for a root by a trusted road, and says so', async () => {
    const ran = await here(
      'image',
      'publish',
      await layout('os', 'one'),
      '--as',
      'edge-os/1.0.0',
      '--root',
      '/nowhere/root.json',
    )
    expect(ran.err).toContain('--root')
  })
  test('refuses a file that is no kernel, before anything is sent, and takes it with --any-kernel', async () => {
    const path = await layout('os', 'one', Buffer.from('#!/bin/sh\n'))
    const ran = await here('image', 'publish', path, '--as', 'edge-os/1.0.0')
    expect([ran.code, ran.err]).toEqual([1, expect.stringMatching(/it is text.*--any-kernel.*kexec-failed/s)])
    expect((await here('image', 'publish', path, '--as', 'edge-os/1.0.0', '--any-kernel')).code).toBe(0)
  })
  test('asks whether a name that is nearly another image is meant', async () => {
    const publish = async (name: string, ...more: string[]) =>
      here('image', 'publish', await layout('os', 'one'), '--as', name, ...more)
    expect((await publish('edge-os/1.0.0')).code).toBe(0)
    expect((await publish('egde-os/1.0.0')).err).toMatch(
      /there is 'edge-os': did you mean that.*--new-image/s,
    )
    expect((await publish('egde-os/1.0.0', '--new-image')).code).toBe(0)
    expect((await publish('other/1.0.0')).code).toBe(0)
    // A family, by its numbers.
    expect((await publish('debian-12/1.0.0')).code).toBe(0)
    expect((await publish('debian-13/1.0.0')).code).toBe(0)
  })
  test('of a floor, a key or a root that cannot be names the option that said it', async () => {
    const path = await layout('os', 'one')
    const publish = (...more: string[]) => here('image', 'publish', path, '--as', 'edge-os/1.0.0', ...more)
    const wrong = join(site.data, 'README.md')
    await writeFile(wrong, '# Not this\n', { mode: 0o644 })
    const floor = await publish('--floor', '99')
    expect(floor.err).toMatch(/The floor 99 \(--floor\) is above 1, the release counter of edge-os\/1\.0\.0/)
    const key = await publish('--key', wrong)
    expect(key.err).toContain('README.md (--key) is not the targets key')
    expect(key.err).not.toMatch(/chmod|backup|"level"/)
    const root = await publish('--root', wrong)
    expect(root.err).toMatch(/README\.md \(--root\) is no root\.json to trust.*1\.root\.json/s)
  })
  test('of a folder that is none names the folder', async () => {
    expect((await here('image', 'publish', './nowhere', '--as', 'edge-os/1.0.0')).err).toContain(
      'layout-invalid',
    )
  })
})

test('a layer that the folder does not have is what is said, and not the connection that broke over it', async () => {
  const path = await layout('torn', 'torn')
  const blobs = join(path, 'blobs/sha256')
  const [largest] = await Promise.all(
    (await readdir(blobs)).map(async (name) => ({ name, size: (await stat(join(blobs, name))).size })),
  ).then((all) => all.sort((a, b) => b.size - a.size))
  await rm(join(blobs, largest!.name))
  const ran = await here('image', 'publish', path, '--as', 'torn/1')
  expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('(blob-unavailable: ')])
})

test('a source that is no folder is said to be taken for Docker Hub, unless it names a registry', async () => {
  const publish = (source: string) => here('image', 'publish', source, '--as', 'edge-os/1', '--arch', 'amd64')
  for (const [source, note] of [
    ['edge', true],
    ['images/edge:2', true],
    ['registry.example/os/edge:1', false],
    ['localhost/edge', false],
  ] as const)
    expect((await publish(source)).err.includes(`there is no folder ${source} here`), source).toBe(note)
})

describe('muster image pull', () => {
  test('fills the store and releases nothing', async () => {
    const ran = await here('image', 'pull', 'registry.example/os/edge:1')
    expect(ran).toMatchObject({
      code: 0,
      out: expect.stringMatching(
        /^amd64 {2}sha256:[0-9a-f]{64}\npulled into .*publish registry\.example\/os\/edge:1 --as .*\n$/,
      ),
    })
    expect(await site.blobs.size(/sha256:\S+/.exec(ran.out)![0])).toBeGreaterThan(0)
    expect(site.releases.catalog().images()).toEqual([])
  })
  test('of what says no architecture says so, and how to publish it; with --arch it is that one', async () => {
    const { resolveAll } = pulled
    const silent = async () => (await resolveAll({})).map(({ arch: _, ...rest }) => rest)
    pulled = { ...pulled, resolveAll: silent, resolve: async () => (await silent())[0]! }
    const ran = await here('image', 'pull', 'registry.example/os/edge:1')
    expect(ran.out).toMatch(/^- {6}sha256:[0-9a-f]{64}\npulled /)
    expect(ran.err).toMatch(/^note: .*publish it with --arch amd64 or --arch arm64/)
    const told = await here('image', 'pull', 'registry.example/os/edge:1', '--arch', 'arm64')
    expect(told).toMatchObject({ code: 0, err: '', out: expect.stringMatching(/^arm64 {2}sha256:/) })
  })
})

describe('a server that was taken over', () => {
  let signer: Signer
  let trustedRoot: Uint8Array
  let server: PublishingServer
  let posted: Uint8Array[]
  beforeEach(async () => {
    signer = (await loadKeyFile(join(site.data, 'keys/main/targets.pem'), silentLog))!
    trustedRoot = await readFile(join(site.data, 'tuf/main/metadata/1.root.json'))
    server = createRemoteServer(createApiClient({ kind: 'socket', path: socketPath }), 'main')
    posted = []
    server.acceptTargets = async (bytes) => {
      posted.push(bytes)
      return { version: 2 }
    }
  })
  const publish = (leastTargetsVersion = 0) =>
    publishThere({
      server,
      repository: 'main',
      trustedRoot,
      signer,
      leastTargetsVersion,
      periods: periodsOf('default'),
      now: () => site.clock.nowMs,
      crypto: createNodeCrypto(),
      source: image('new'),
      name: {},
      image: 'edge',
      version: '2.0.0',
    })

  test('cannot have its own entries signed with the next release', async () => {
    const { metadata } = server
    server.metadata = async (name) => {
      const bytes = await metadata(name)
      if (bytes === undefined || !name.endsWith('targets.json')) return bytes
      const forged = JSON.parse(Buffer.from(bytes).toString())
      forged.signed.targets['evil/1.0.0/amd64'] = { length: 1, hashes: { sha256: 'a'.repeat(64) } }
      return Buffer.from(JSON.stringify(forged))
    }
    await expect(publish()).rejects.toMatchObject({ code: expect.stringMatching(/^metadata-/) })
    expect(posted).toEqual([])
  })
  test('cannot show a lower floor than was signed', async () => {
    await site.releases.publish({ source: image('1'), name: {}, image: 'edge', version: '1.0.0', floor: 1 })
    server.readBlob = async () => Buffer.from('{"minReleaseCounter":0}')
    await expect(publish()).rejects.toMatchObject({ code: 'blob-digest' })
    expect(posted).toEqual([])
  })
  test('cannot pass another repository off as this one', async () => {
    const other = await openSite()
    server.metadata = (name) => other.releases.metadata(name)
    await expect(publish()).rejects.toMatchObject({ code: 'metadata-signature' })
    await removeSite(other)
  })
  test('cannot have the next release signed over targets older than the last that were signed', async () => {
    await site.releases.publish({ source: image('1'), name: {}, image: 'edge', version: '1.0.0', floor: 1 })
    const { targets } = site.releases.catalog().trusted.versions
    await expect(publish(targets + 1)).rejects.toMatchObject({ code: 'metadata-rollback' })
    expect(posted).toEqual([])
    await publish(targets)
    expect(posted).toHaveLength(1)
  })
  test.each([{}, { version: 1 }, { version: Number.MAX_SAFE_INTEGER }])(
    'does not say what a publisher remembers: it answers %j',
    async (answer) => {
      server.acceptTargets = async (bytes) => {
        posted.push(bytes)
        return answer
      }
      const { targetsVersion } = await publish()
      expect(JSON.parse(Buffer.from(posted[0]!).toString()).signed.version).toBe(targetsVersion)
    },
  )
  test('is what the honest one is not: there the same publication passes', async () => {
    await publish()
    expect(posted).toHaveLength(1)
  })
})

describe('publishing for machines with Secure Boot', () => {
  test('refuses a kernel that the certificate did not sign, and takes it once it is signed', async () => {
    const ours = await secureBootKey(site.data, 'ours')
    const theirs = await secureBootKey(site.data, 'theirs')
    const [kernel, signed] = [join(site.data, 'vmlinuz'), join(site.data, 'vmlinuz.signed')]
    await writeFile(kernel, asKernel(smallPe()))
    const sign = (by: SecureBootKey) =>
      here('image', 'sign', kernel, '--sign', by.key, '--cert', by.certificate, '--out', signed)
    const publish = async (bytes: Buffer) =>
      here(
        'image',
        'publish',
        await layout('signed', 'x', bytes),
        '--as',
        'locked/1',
        '--secure-boot',
        ours.certificate,
        '--json',
      )

    for (const bytes of [asKernel(smallPe()), asKernel(Buffer.alloc(1000))]) {
      const refused = await publish(bytes)
      expect([refused.code === 0, refused.err]).toEqual([false, expect.stringContaining('kexec-locked-down')])
    }
    expect((await sign(theirs)).code).toBe(0)
    expect((await publish(await readFile(signed))).err).toContain('kexec-locked-down')
    expect((await sign(ours)).code).toBe(0)
    expect((await publish(await readFile(signed))).code).toBe(0)
  })

  test('of a kernel that is not there, or to where nothing can be written, is one sentence', async () => {
    const ours = await secureBootKey(site.data, 'ours')
    const kernel = join(site.data, 'vmlinuz')
    await writeFile(kernel, smallPe())
    const flags = ['--sign', ours.key, '--cert', ours.certificate, '--out']
    const missing = await here('image', 'sign', '/no/kernel', ...flags, 'signed')
    expect([missing.code, missing.err]).toEqual([
      1,
      expect.stringMatching(/\/no\/kernel cannot be read.*\(request-invalid/s),
    ])
    const nowhere = await here('image', 'sign', kernel, ...flags, '/no/signed')
    expect([nowhere.code, nowhere.err]).toEqual([
      78,
      expect.stringMatching(/--out: \/no\/signed.*\(config-invalid/s),
    ])
  })
})

describe('muster image remove', () => {
  const publishing = async (version: string) =>
    expect(
      await here('image', 'publish', await layout(version, version), '--as', `edge-os/${version}`),
    ).toMatchObject({ code: 0 })
  const remove = (...argv: string[]) => here('image', 'remove', ...argv)

  test('withdraws a release, and remembers what it signed', async () => {
    await publishing('1.0.0')
    await publishing('1.1.0')
    expect(await remove('edge-os/1.0.0')).toMatchObject({
      code: 0,
      out: expect.stringMatching(
        /^edge-os\/1\.0\.0\/amd64 {2}removed\nno machine boots it from targets version 4 on/,
      ),
    })
    expect((await here('images')).out).not.toContain('1.0.0')
    const memory = await readFile(join(site.data, 'keys/main/targets.pem.last'), 'utf8')
    expect(JSON.parse(memory)).toEqual({ main: 4 })
    expect(await remove('edge-os/1.0.0')).toMatchObject({
      code: 1,
      err: expect.stringContaining('is not published'),
    })
  })

  test('leaves what a channel names, and says which way leads on', async () => {
    await publishing('1.0.0')
    await publishing('1.1.0')
    expect(await remove('edge-os/1.1.0')).toMatchObject({
      code: 1,
      err: expect.stringContaining('--instead'),
    })
    expect((await remove('edge-so/1.1.0')).err).toContain(
      "No image is called 'edge-so'; did you mean 'edge-os'?",
    )
    expect((await remove('edge-os/1.1.0', '--instead', 'kiosk/1.0.0')).err).toContain('a version of edge-os')
    // As it is written everywhere else.
    expect((await remove('edge-os/1.1.0', '--instead', 'edge-os/1.0.0')).out).toContain(
      'channel stable names 1.0.0.\n',
    )
    expect(site.releases.catalog().resolve({ image: 'edge-os', arch: 'amd64' }).release.version).toBe('1.0.0')
  })

  test('leaves what a profile asks for by its version: the server refuses it of any publisher', async () => {
    await publishing('1.0.0')
    await publishing('1.1.0')
    profiles = [{ name: 'rack-7', image: { name: 'edge-os', version: '1.0.0' } }]
    const refused = await remove('edge-os/1.0.0')
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('profile rack-7') })
    expect(site.releases.catalog().image('edge-os')?.releases).toHaveLength(2)
    profiles = [{ name: 'rack-7', image: { name: 'edge-os' } }]
    expect((await remove('edge-os/1.0.0')).code).toBe(0)
  })
})
