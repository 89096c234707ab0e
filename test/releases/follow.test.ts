import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Upstream } from '../../src/releases/sync.ts'
import {
  image,
  metadataOf,
  openPair,
  openSite,
  publish,
  removeSite,
  type Served,
  type Site,
  serve,
} from './world.ts'

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

const metadata = (of: Site, name: string) => readFile(join(metadataOf(of.data), name))
const offered = (of: Site) => of.releases.catalog().resolve({ image: 'edge', arch: 'amd64' }).release.version
const blobsAsked = () => upstream.asked.filter(({ path }) => path.startsWith('blobs/'))

describe('a site that follows another', () => {
  it('offers what upstream offers, in the very bytes that upstream signed', async () => {
    expect(() => site.releases.catalog()).toThrow(expect.objectContaining({ code: 'repository-not-found' }))
    await site.releases.sync()
    expect(offered(site)).toBe('1.0')
    for (const name of ['1.root.json', 'timestamp.json', '2.snapshot.json', '2.targets.json']) {
      expect(await metadata(site, name)).toEqual(await metadata(origin, name))
    }
    const { target } = site.releases.catalog().resolve({ image: 'edge', arch: 'amd64' })
    await (await site.store.open(`sha256:${target.sha256}`)).close()
  })

  it('fetches only what is new', async () => {
    await site.releases.sync()
    upstream.asked.length = 0
    await site.releases.sync()
    expect(upstream.asked.map(({ path }) => path)).toEqual([
      'metadata/2.root.json',
      'metadata/timestamp.json',
    ])
    await publish(origin, '1.1')
    upstream.asked.length = 0
    await site.releases.sync()
    // Manifest, channel document, kernel and initrd; the empty config is here.
    expect(blobsAsked()).toHaveLength(4)
    expect(offered(site)).toBe('1.1')
  })

  it('works on while its uplink is away, also through a restart', async () => {
    await site.releases.sync()
    await upstream[Symbol.asyncDispose]()
    await expect(site.releases.sync()).rejects.toMatchObject({ code: 'registry-unavailable' })
    expect(offered(site)).toBe('1.0')
    await site[Symbol.asyncDispose]()
    site = await openSite({ data: site.data, upstream: pin })
    expect(offered(site)).toBe('1.0')
    expect(site.releases.expired()).toBeUndefined()
  })

  it('says that the metadata has expired when the uplink was away too long, and still knows its releases', async () => {
    await site.releases.sync()
    await site[Symbol.asyncDispose]()
    site = await openSite({ data: site.data, upstream: pin, clock: { nowMs: Date.now() + 3 * 86_400_000 } })
    expect(site.releases.expired()).toMatchObject({ code: 'metadata-expired' })
    expect(offered(site)).toBe('1.0')
    const { warnings } = await site.releases.resignDue()
    expect(warnings).toMatchObject([{ role: 'timestamp', passed: 1 }])
  })

  it('goes on with a blob where the connection broke', async () => {
    const big = image('2.0', { bytes: 300_000 })
    await publish(origin, '2.0', { source: big })
    let broken = 0
    upstream.fault = (path, bytes) => {
      if (!path.startsWith('blobs/') || bytes.length < 300_000 || broken > 0) return bytes
      broken += 1
      return { breakAfter: 200_000 }
    }
    await site.releases.sync()
    expect(offered(site)).toBe('2.0')
    const resumed = upstream.asked.filter(({ range }) => range !== undefined)
    expect(resumed).toHaveLength(1)
  })

  it('follows new roots one after the other from the pinned one', async () => {
    await site.releases.sync()
    for (const years of [1, 2, 3]) {
      origin.clock.nowMs = Date.now() + years * 200 * 86_400_000
      expect((await origin.releases.resignDue()).resigned).toContain('root')
    }
    await site[Symbol.asyncDispose]()
    site = await openSite({ data: site.data, upstream: pin, clock: origin.clock })
    await site.releases.sync()
    expect(site.releases.catalog().trusted.versions.root).toBe(4)
    for (const version of [1, 2, 3, 4]) {
      expect(await metadata(site, `${version}.root.json`)).toEqual(
        await metadata(origin, `${version}.root.json`),
      )
    }
  })

  it('cannot publish, whatever keys lie in its folder', async () => {
    await site.releases.sync()
    await expect(publish(site, '9.9')).rejects.toMatchObject({ code: 'key-not-found' })
  })
})

describe('a site refuses', () => {
  const unchanged = async (code: string) => {
    const before = await metadata(site, 'timestamp.json')
    await publish(origin, '1.1')
    await expect(site.releases.sync()).rejects.toMatchObject({ code })
    expect(await metadata(site, 'timestamp.json')).toEqual(before)
    expect(offered(site)).toBe('1.0')
    upstream.fault = undefined
    await site.releases.sync()
    expect(offered(site)).toBe('1.1')
  }
  beforeEach(() => site.releases.sync())

  it('metadata in which a byte was changed', async () => {
    upstream.fault = (path, bytes) =>
      path.endsWith('targets.json') ? Buffer.from(Buffer.from(bytes).toString().replace('1.1', '1.2')) : bytes
    await unchanged('metadata-mismatch')
  })

  it('a timestamp that nobody signed', async () => {
    upstream.fault = (path, bytes) =>
      path.endsWith('timestamp.json')
        ? Buffer.from(
            Buffer.from(bytes)
              .toString()
              .replace(/"sig":"../, '"sig":"00'),
          )
        : bytes
    await unchanged('metadata-signature')
  })

  it('metadata that goes back to an older state', async () => {
    const old = await metadata(origin, 'timestamp.json')
    await publish(origin, '1.0.1')
    await site.releases.sync()
    upstream.fault = (path, bytes) => (path.endsWith('timestamp.json') ? old : bytes)
    await expect(site.releases.sync()).rejects.toMatchObject({ code: 'metadata-rollback' })
    expect(offered(site)).toBe('1.0.1')
  })

  it('metadata that has expired', async () => {
    site.clock.nowMs += 3 * 86_400_000
    await expect(site.releases.sync()).rejects.toMatchObject({ code: 'metadata-expired' })
    expect(offered(site)).toBe('1.0')
  })

  it('a kernel in which one bit was flipped', async () => {
    upstream.fault = (path, bytes) => {
      if (bytes.length !== 3000) return bytes
      const flipped = Buffer.from(bytes)
      flipped[7] = (flipped[7] as number) ^ 1
      return path.startsWith('blobs/') ? flipped : bytes
    }
    await unchanged('blob-digest')
  })

  it('a blob that is longer than what was signed', async () => {
    upstream.fault = (_, bytes) => (bytes.length === 3000 ? Buffer.concat([bytes, Buffer.alloc(1)]) : bytes)
    await unchanged('blob-too-long')
  })

  it('a release of which upstream has not everything', async () => {
    upstream.fault = (_, bytes) => (bytes.length === 3000 ? undefined : bytes)
    await unchanged('blob-unavailable')
  })

  it('another repository behind the same address', async () => {
    const stranger = await openSite()
    await publish(stranger, '6.6')
    const impostor = await serve(stranger)
    const misled = await openSite({ upstream: { url: impostor.url, root: pin.root } })
    const error: Error & { code?: string } = await misled.releases.sync().then(
      () => new Error('it followed'),
      (thrown) => thrown,
    )
    expect(error.code).toBe('metadata-signature')
    expect(error.message).toMatch(
      /your root file \(releases\.upstream\.root\): that file is another repository's/,
    )
    expect(error.message.match(/signed by 0\/1 keys/g)).toHaveLength(1)
    // And it is said wherever somebody asks later.
    expect(misled.releases.syncFailure()).toMatchObject({ code: 'metadata-signature', reason: error.message })
    expect(() => misled.releases.catalog()).toThrow(/last sync failed: .*your root file/)
    await impostor[Symbol.asyncDispose]()
    await removeSite(misled)
    await removeSite(stranger)
  })

  it('to start on metadata that was changed on its own disk', async () => {
    const [name = ''] = (await readdir(metadataOf(site.data))).filter((file) => file.endsWith('targets.json'))
    const path = join(metadataOf(site.data), name)
    await writeFile(path, (await readFile(path, 'utf8')).replace('"releaseCounter":1', '"releaseCounter":2'))
    await site[Symbol.asyncDispose]()
    await expect(openSite({ data: site.data, upstream: pin })).rejects.toMatchObject({
      code: 'metadata-mismatch',
    })
  })
})

it('a site publishes nothing itself, and says where it is done', async () => {
  await site.releases.sync()
  expect(site.releases.syncFailure()).toBeUndefined()
  await expect(site.releases.acceptTargets(await metadata(origin, '2.targets.json'))).rejects.toMatchObject({
    code: 'key-not-found',
    message: expect.stringContaining(`follows ${pin.url}`),
  })
})

describe('what was lost on the disk of a site', () => {
  it('is fetched again: a blob', async () => {
    await site.releases.sync()
    await rm(join(site.data, 'blobs/sha256'), { recursive: true })
    await site[Symbol.asyncDispose]()
    site = await openSite({ data: site.data, upstream: pin })
    // Its channel document is gone, and with it the floor: the image is not offered until it is whole again.
    expect(() => site.releases.catalog().image('edge')).toThrow(
      expect.objectContaining({ code: 'channel-invalid' }),
    )
    await site.releases.sync()
    expect(offered(site)).toBe('1.0')
  })

  it('is made again: an admission', async () => {
    await site.releases.sync()
    await rm(join(site.data, 'store'), { recursive: true })
    await site[Symbol.asyncDispose]()
    site = await openSite({ data: site.data, upstream: pin })
    expect(offered(site)).toBe('1.0')
  })
})
