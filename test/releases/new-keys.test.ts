/** Upstream rotates its online keys, and its followers' machines and disks do not hold still meanwhile. */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { silentLog } from '../../src/log.ts'
import type { Upstream } from '../../src/releases/sync.ts'
import { readKeptRepository } from '../../src/releases/trusted-root.ts'
import {
  createSigner,
  generatePrivateKey,
  type KeyRole,
  keyFileOf,
  loadKeys,
  type Signer,
  writeKeyFile,
} from '../../src/signing/keys.ts'
import { buildSnapshot, buildTimestamp, signMetadata } from '../../src/signing/repository.ts'
import { refresh } from '../../src/tuf/updater.ts'
import { metadataOf, openPair, openSite, removeSite, type Served, type Site, serve } from './world.ts'

let origin: Site
let upstream: Served
let site: Site
let pin: Upstream

beforeEach(async () => {
  ;({ origin, upstream, pin, site } = await openPair())
})
afterEach(async () => {
  await upstream[Symbol.asyncDispose]()
  await removeSite(site)
  await removeSite(origin)
})

const pathOf = (of: Site, name: string) => join(metadataOf(of.data), name)
const signedOf = async (of: Site, name: string) => JSON.parse(await readFile(pathOf(of, name), 'utf8')).signed
const offered = (of: Site) => of.releases.catalog().resolve({ image: 'edge', arch: 'amd64' }).release.version

async function restart(): Promise<void> {
  await site[Symbol.asyncDispose]()
  site = await openSite({ data: site.data, upstream: pin })
}

/** Root 2 names another key for `role`, and upstream signs everything anew with the keys that it has then. */
async function rotate(role: 'timestamp' | 'snapshot' | 'targets'): Promise<void> {
  await upstream[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
  const folder = join(origin.data, 'keys/main')
  const privateKey = generatePrivateKey()
  const fresh = createSigner(privateKey)
  await rm(keyFileOf(folder, role))
  await writeKeyFile(keyFileOf(folder, role), privateKey)
  const keys = (await loadKeys(folder, silentLog)) as Record<KeyRole, Signer>

  const root = await signedOf(origin, '1.root.json')
  root.keys[fresh.keyid] = fresh.publicKey
  root.roles[role] = { keyids: [fresh.keyid], threshold: 1 }
  const { version, expires } = await signedOf(origin, 'timestamp.json')
  const next = version + 1
  const targets = signMetadata({ ...(await signedOf(origin, `${version}.targets.json`)), version: next }, [
    keys.targets,
  ])
  const snapshot = signMetadata(buildSnapshot({ version: next, expires, targetsVersion: next, targets }), [
    keys.snapshot,
  ])
  const timestamp = signMetadata(
    buildTimestamp({ version: next, expires, snapshotVersion: next, snapshot }),
    [keys.timestamp],
  )
  const write = (name: string, bytes: Uint8Array) => writeFile(pathOf(origin, name), bytes)
  await write('2.root.json', signMetadata({ ...root, version: 2 }, [keys.root]))
  await write(`${next}.targets.json`, targets)
  await write(`${next}.snapshot.json`, snapshot)
  await write('timestamp.json', timestamp)
  origin = await openSite({ data: origin.data })
  upstream = await serve(origin)
  pin = { ...pin, url: upstream.url }
}

/** What a process leaves that was killed behind the first write of its commit. */
const leaveHalf = async (name: string) => writeFile(pathOf(site, name), await readFile(pathOf(origin, name)))

const versions = async () => ({
  root: (await site.releases.metadata('2.root.json')) === undefined ? 1 : 2,
  timestamp: JSON.parse(String(await site.releases.metadata('timestamp.json'))).signed.version,
})

/** A machine that was made with root 1, against what the site serves. */
const readAsMachine = () =>
  refresh({
    repository: 'main',
    trustedRoot: pin.root,
    fetch: (name) => site.releases.metadata(name),
    files: { read: async () => undefined, write: async () => {} },
    now: new Date(site.clock.nowMs),
    crypto: createNodeCrypto(),
  })

for (const role of ['timestamp', 'snapshot', 'targets'] as const) {
  describe(`upstream's new root names another ${role} key, and a follower`, () => {
    beforeEach(async () => {
      await site.releases.sync()
      await rotate(role)
    })

    it('that was killed with that root and nothing else starts with the state before, and goes on', async () => {
      await site[Symbol.asyncDispose]()
      await leaveHalf('2.root.json')
      await restart()
      expect(offered(site)).toBe('1.0')
      expect(await versions()).toEqual({ root: 1, timestamp: 2 })
      expect((await readAsMachine()).versions).toMatchObject({ root: 1, timestamp: 2 })
      await site.releases.sync()
      expect(await versions()).toEqual({ root: 2, timestamp: 3 })
      expect((await readAsMachine()).versions).toMatchObject({ root: 2, timestamp: 3 })
      await restart()
      expect((await readAsMachine()).versions).toMatchObject({ root: 2, timestamp: 3 })
    })

    it('whose disk filled up behind that root serves the state before on, and follows when there is room', async () => {
      await leaveHalf('2.root.json')
      expect((await readAsMachine()).versions).toMatchObject({ root: 1, timestamp: 2 })
      await restart()
      await site.releases.sync()
      expect((await readAsMachine()).versions).toMatchObject({ root: 2, timestamp: 3 })
    })

    it('that has followed it goes back for nobody: not for an upstream of before, not at a restart', async () => {
      const before = await readFile(pathOf(site, 'timestamp.json'))
      await restart()
      await site.releases.sync()
      upstream.fault = (path, bytes) => {
        if (path.endsWith('2.root.json')) return undefined
        return path.endsWith('timestamp.json') ? before : bytes
      }
      await expect(site.releases.sync()).rejects.toMatchObject({
        code: role === 'timestamp' ? 'metadata-signature' : 'metadata-rollback',
      })
      await restart()
      expect((await readAsMachine()).versions).toMatchObject({ root: 2, timestamp: 3 })
    })

    it('lets an agent be built for the root that its state verifies under', async () => {
      await leaveHalf('2.root.json')
      const kept = await readKeptRepository({
        repository: 'main',
        metadataDirectory: metadataOf(site.data),
        nowMs: site.clock.nowMs,
        crypto: createNodeCrypto(),
      })
      expect(kept).toMatchObject({ rootName: '1.root.json', targetsVersion: 2 })
    })
  })
}

it('a follower that was killed in its first commit starts with nothing, and goes on', async () => {
  await site[Symbol.asyncDispose]()
  await leaveHalf('1.root.json')
  await restart()
  expect(() => site.releases.catalog()).toThrow(expect.objectContaining({ code: 'repository-not-found' }))
  await site.releases.sync()
  expect(offered(site)).toBe('1.0')
})

it('a server that signs itself does not start without its timestamp', async () => {
  await origin[Symbol.asyncDispose]()
  await rm(pathOf(origin, 'timestamp.json'))
  await expect(openSite({ data: origin.data })).rejects.toMatchObject({ code: 'repository-not-found' })
})

describe("the pinned root of a follower is replaced by upstream's newer one", () => {
  beforeEach(() => site.releases.sync())
  const pinNewest = async () => {
    pin = { ...pin, root: await origin.releases.trustedRoot() }
  }
  const more = async (roots: number) => {
    for (let year = 1; year <= roots; year++) {
      origin.clock.nowMs += 200 * 86_400_000
      expect((await origin.releases.resignDue()).resigned).toContain('root')
    }
    site.clock.nowMs = origin.clock.nowMs
  }

  it('and it starts with what it has, also while its uplink is away, and follows', async () => {
    await rotate('timestamp')
    await pinNewest()
    const { url } = pin
    pin = { ...pin, url: 'http://127.0.0.1:9/tuf/main' }
    await restart()
    expect(offered(site)).toBe('1.0')
    expect(await versions()).toEqual({ root: 1, timestamp: 2 })
    pin = { ...pin, url }
    await restart()
    await site.releases.sync()
    expect(await versions()).toEqual({ root: 2, timestamp: 3 })
    await restart()
    expect(offered(site)).toBe('1.0')
  })

  it('over roots that it never saw, and its machines still walk through every one of them', async () => {
    await rotate('timestamp')
    await more(2)
    const first = pin.root
    await pinNewest()
    const { data, clock } = site
    await site[Symbol.asyncDispose]()
    site = await openSite({ data, upstream: pin, clock })
    expect(offered(site)).toBe('1.0')
    await site.releases.sync()
    expect(site.releases.catalog().trusted.versions.root).toBe(4)
    pin = { ...pin, root: first }
    expect((await readAsMachine()).versions.root).toBe(4)
  })

  const stranger = async () => {
    const other = await openSite()
    const { root } = JSON.parse(String(await other.releases.trustedRoot())).signed.roles
    const [name] = root.keyids
    const key = (await loadKeys(join(other.data, 'keys/main'), silentLog)).root as Signer
    const signed = await signedOf(other, '1.root.json')
    await removeSite(other)
    expect(key.keyid).toBe(name)
    return (version: number) => signMetadata({ ...signed, version }, [key])
  }

  it.each([1, 2])(
    "and it does not start where that is another repository's root %i: it says why, and the way out",
    async (version) => {
      const root = (await stranger())(version)
      const before = pin
      pin = { ...pin, root }
      await expect(restart()).rejects.toMatchObject({
        code: 'metadata-signature',
        message: expect.stringMatching(/releases\.upstream\.root is root version .*put the file back/),
      })
      pin = before
      await restart()
      expect(offered(site)).toBe('1.0')
    },
  )

  it("and follows nothing where upstream's chain does not come through it", async () => {
    await more(2)
    pin = { ...pin, root: (await stranger())(3) }
    const { data, clock } = site
    await site[Symbol.asyncDispose]()
    site = await openSite({ data, upstream: pin, clock })
    await expect(site.releases.sync()).rejects.toMatchObject({
      code: 'metadata-signature',
      message: expect.stringContaining('to another of that version'),
    })
    pin = { ...pin, root: (await stranger())(9) }
    await site[Symbol.asyncDispose]()
    site = await openSite({ data, upstream: pin, clock })
    await expect(site.releases.sync()).rejects.toMatchObject({
      code: 'metadata-rollback',
      message: expect.stringContaining('it is behind'),
    })
    expect(offered(site)).toBe('1.0')
  })
})
