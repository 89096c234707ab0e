/** A release that is withdrawn: no longer offered here and at followers, and nothing under way breaks. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeThere } from '../../src/releases/remove-there.ts'
import {
  access,
  image,
  openSite,
  publish,
  removeSite,
  type Served,
  type Site,
  serve,
  withdraw,
} from './world.ts'

let site: Site
beforeEach(async () => {
  site = await openSite()
  await publish(site, '1.0')
  await publish(site, '1.1')
})
afterEach(() => removeSite(site))

const versions = (of: Site) =>
  of.releases
    .catalog()
    .image('edge')
    ?.releases.map(({ version }) => version)
const state = (of: Site) => of.releases.catalog().trusted.versions

describe('a release that is removed', () => {
  it('is not offered any more, through a restart too', async () => {
    expect(await withdraw(site, '1.0')).toEqual({
      removed: ['edge/1.0/amd64'],
      channels: [],
      targetsVersion: 4,
      notices: [],
    })
    const { data } = site
    for (const again of [false, true]) {
      if (again) {
        await site[Symbol.asyncDispose]()
        site = await openSite({ data })
      }
      expect(versions(site)).toEqual(['1.1'])
      expect(() => site.releases.catalog().resolve({ image: 'edge', version: '1.0', arch: 'amd64' })).toThrow(
        expect.objectContaining({ code: 'target-not-found' }),
      )
    }
  })

  it('still gives its bytes by digest to a machine that has its plan already', async () => {
    const { target } = site.releases.catalog().resolve({ image: 'edge', version: '1.0', arch: 'amd64' })
    const digest = `sha256:${target.sha256}`
    const parts = site.store.admitted().find(({ manifest }) => manifest.digest === digest)?.blobs ?? []
    expect(parts).toHaveLength(3)
    await withdraw(site, '1.0')
    expect(site.releases.target(`edge/1.0/${target.sha256}.amd64`)).toBeUndefined()
    for (const each of [digest, ...parts.map((one) => one.digest)])
      await (await site.store.open(each)).close()
  })

  it('may come back as what it was, and as nothing else', async () => {
    await withdraw(site, '1.0')
    await expect(publish(site, '1.0', { source: image('other') })).rejects.toMatchObject({
      code: 'release-exists',
    })
    await publish(site, '1.0')
    expect(versions(site)).toEqual(['1.0', '1.1'])
  })

  it('that a channel names stays, unless another is named instead, and then its floor stays too', async () => {
    const before = state(site)
    await expect(withdraw(site, '1.1')).rejects.toMatchObject({
      code: 'release-in-use',
      message: expect.stringMatching(/channel stable names it.*--instead/),
    })
    await expect(withdraw(site, '1.1', '1.1')).rejects.toMatchObject({
      code: 'release-in-use',
      message: expect.stringMatching(/the version that is to be removed.*\(1\.0\)/),
    })
    expect(state(site)).toEqual(before)
    await publish(site, '1.2', { floor: 2 })
    await expect(withdraw(site, '1.2', '1.0')).rejects.toMatchObject({ code: 'release-below-floor' })
    expect(await withdraw(site, '1.2', '1.1')).toMatchObject({ channels: ['stable'] })
    const { floor, release } = site.releases.catalog().resolve({ image: 'edge', arch: 'amd64' })
    expect([release.version, floor]).toEqual(['1.1', 2])
  })

  it.each([
    ['9.9', undefined],
    ['1.1', '9.9'],
  ])('%s (instead of it %s) has to be published', async (version, instead) => {
    await expect(withdraw(site, version, instead)).rejects.toMatchObject({
      code: 'target-not-found',
      message: expect.stringContaining('1.1, 1.0'),
    })
  })

  it('whose answer got lost is removed, and the same bytes again change nothing', async () => {
    let signed: Uint8Array = new Uint8Array()
    const send = async (bytes: Uint8Array) => {
      signed = bytes
      await site.releases.acceptTargets(bytes)
      throw new Error('the answer got lost')
    }
    await expect(withdraw(site, '1.0', undefined, send)).rejects.toThrow('got lost')
    const after = state(site)
    await site.releases.acceptTargets(signed)
    expect(state(site)).toEqual(after)
    await expect(withdraw(site, '1.0')).rejects.toMatchObject({ code: 'target-not-found' })
  })

  it('stays where somebody needs it, and nothing is half done', async () => {
    const before = state(site)
    const needed: string[] = []
    const send = (bytes: Uint8Array) =>
      site.releases.acceptTargets(bytes, async (withdrawn) => {
        needed.push(...withdrawn.map(({ path }) => path))
        throw new Error('it is needed')
      })
    await expect(withdraw(site, '1.0', undefined, send)).rejects.toThrow('it is needed')
    expect(needed).toEqual(['edge/1.0/amd64'])
    expect(state(site)).toEqual(before)
    expect(versions(site)).toEqual(['1.1', '1.0'])
  })
})

describe('a follower', () => {
  let upstream: Served
  let follower: Site
  beforeEach(async () => {
    upstream = await serve(site)
    follower = await openSite({
      upstream: { url: upstream.url, root: await site.releases.trustedRoot() },
    })
    await follower.releases.sync()
  })
  afterEach(async () => {
    await upstream[Symbol.asyncDispose]()
    await removeSite(follower)
  })

  it('no longer offers what upstream removed, and its machines under way still get it', async () => {
    expect(versions(follower)).toEqual(['1.1', '1.0'])
    const { target } = follower.releases.catalog().resolve({ image: 'edge', version: '1.0', arch: 'amd64' })
    await withdraw(site, '1.0')
    await follower.releases.sync()
    expect(versions(follower)).toEqual(['1.1'])
    await (await follower.store.open(`sha256:${target.sha256}`)).close()
  })

  it('is not talked into the old list again', async () => {
    const old = await site.releases.metadata('timestamp.json')
    await withdraw(site, '1.0')
    await follower.releases.sync()
    upstream.fault = (path, bytes) => (path.endsWith('timestamp.json') ? old : bytes)
    await expect(follower.releases.sync()).rejects.toMatchObject({ code: 'metadata-rollback' })
    expect(versions(follower)).toEqual(['1.1'])
  })
})

it('a removal is signed over nothing that the server only claims', async () => {
  const options = await access(site)
  const old = state(site).targets + 1
  await expect(
    removeThere({ ...options, leastTargetsVersion: old, image: 'edge', version: '1.0' }),
  ).rejects.toMatchObject({ code: 'metadata-rollback' })
})
