import { createHash } from 'node:crypto'
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { signNextTargets } from '../../src/releases/publish.ts'
import { toTimestamp } from '../../src/signing/expiry.ts'
import { createSigner, generatePrivateKey, loadKeys, type Signer } from '../../src/signing/keys.ts'
import { signMetadata, type TargetEntry, type TargetsSigned } from '../../src/signing/repository.ts'
import { image, metadataOf, openSite, publish, removeSite, type Site } from './world.ts'

let site: Site
beforeEach(async () => {
  site = await openSite()
})
afterEach(() => removeSite(site))

const versions = () => site.releases.catalog().trusted.versions
const timestampBytes = () => readFile(join(metadataOf(site.data), 'timestamp.json'), 'utf8')
const targetsNow = async () => {
  const name = `${versions().targets}.targets.json`
  return JSON.parse(await readFile(join(metadataOf(site.data), name), 'utf8')).signed as TargetsSigned
}
const nextTargets = async (change: (targets: TargetsSigned) => void, signer?: Signer) => {
  const keys = await loadKeys(join(site.data, 'keys/main'), silentLog)
  const current = await targetsNow()
  const next = structuredClone({ ...current, version: current.version + 1 })
  change(next)
  return signMetadata(next, [signer ?? (keys.targets as Signer)])
}
const stable = () =>
  site.releases
    .catalog()
    .image('edge')
    ?.channels.find((one) => one.channel === 'stable')

describe('publishing an image', () => {
  it('offers it on the channel stable, for each of its architectures', async () => {
    const source = image('1.0', { archs: ['amd64', 'arm64'] })
    const published = await publish(site, '1.0', { source, hardwareIds: ['pine64,pine64-lts'] })
    expect(published.releases.map(({ path }) => path)).toEqual(['edge/1.0/amd64', 'edge/1.0/arm64'])
    expect(published.notices).toEqual([])
    for (const arch of ['amd64', 'arm64'] as const) {
      const { target, floor, because } = site.releases.catalog().resolve({ image: 'edge', arch })
      expect(target.path).toBe(`edge/1.0/${arch}`)
      expect(floor).toBe(0)
      expect(because.join()).toContain('channel stable')
      expect(site.store.isAdmitted(`sha256:${target.sha256}`)).toBe(true)
    }
    expect(versions()).toEqual({ root: 1, targets: 2, snapshot: 2, timestamp: 2 })
  })

  it('says aloud when it boots on any hardware', async () => {
    expect((await publish(site, '1.0')).notices.join()).toContain('any hardware')
  })

  it('moves the channel on and leaves its floor, unless a floor is given', async () => {
    await publish(site, '1.0')
    await publish(site, '1.1')
    expect(stable()).toMatchObject({ version: '1.1', releaseCounter: 2, minReleaseCounter: 0 })
    const { release } = site.releases.catalog().resolve({ image: 'edge', version: '1.0', arch: 'amd64' })
    expect(release.custom.releaseCounter).toBe(1)

    await publish(site, '1.2', { floor: 3 })
    expect(stable()).toMatchObject({ version: '1.2', minReleaseCounter: 3 })
    expect(() => site.releases.catalog().resolve({ image: 'edge', version: '1.0', arch: 'amd64' })).toThrow(
      expect.objectContaining({ code: 'release-below-floor' }),
    )
  })

  it('twice with the same content changes nothing, and never takes a channel back', async () => {
    await publish(site, '1.0')
    const before = await timestampBytes()
    await publish(site, '1.0')
    expect(await timestampBytes()).toBe(before)
    await publish(site, '2.0')
    const again = await publish(site, '1.0')
    expect(again.notices.join()).toContain('stays at 2.0')
    expect(stable()?.version).toBe('2.0')
    await site.releases.setChannel({ image: 'edge', channel: 'stable', version: '1.0' })
    expect(stable()?.version).toBe('1.0')
  })

  it('under a version that exists with other content is refused', async () => {
    await publish(site, '1.0')
    const before = await timestampBytes()
    await expect(publish(site, '1.0', { source: image('other') })).rejects.toMatchObject({
      code: 'release-exists',
    })
    expect(await timestampBytes()).toBe(before)
  })

  it('adds an architecture later under the same release counter', async () => {
    await publish(site, '1.0')
    await publish(site, '1.0', { source: image('1.0', { archs: ['arm64'] }) })
    const { releases } = site.releases.catalog().image('edge') ?? { releases: [] }
    expect(releases.map(({ path, custom }) => [path, custom.releaseCounter])).toEqual([
      ['edge/1.0/amd64', 1],
      ['edge/1.0/arm64', 1],
    ])
    expect(Object.keys(stable()?.manifests ?? {})).toEqual(['amd64', 'arm64'])
  })

  it('of one architecture says which one a channel no longer has, and not where none is lost', async () => {
    const lost = /^stable had arm64 \(1\.0\); from now on it names none for arm64/
    const both = await publish(site, '1.0', { source: image('1.0', { archs: ['amd64', 'arm64'] }) })
    expect(both.notices.filter((one) => lost.test(one))).toEqual([])
    const one = await publish(site, '1.1')
    expect(one.notices.filter((one) => lost.test(one))).toHaveLength(1)
    const other = await publish(site, '1.1', { source: image('1.1', { archs: ['arm64'] }) })
    expect(other.notices.filter((one) => one.includes('names none'))).toEqual([])

    // In the order of docs/images.md nobody is without a release at any time.
    const first = await publish(site, '1.2', { channel: null })
    const second = await publish(site, '1.2', { source: image('1.2', { archs: ['arm64'] }) })
    expect([...first.notices, ...second.notices].filter((one) => one.includes('names none'))).toEqual([])
    expect(Object.keys(stable()?.manifests ?? {})).toEqual(['amd64', 'arm64'])

    await publish(site, '1.3', { channel: null })
    const back = await site.releases.setChannel({ image: 'edge', channel: 'stable', version: '1.3' })
    expect(back.notices.join()).toContain('stable had arm64 (1.2)')
  })

  it('is found by machines under the consistent-snapshot name, and by no other', async () => {
    await publish(site, '1.0')
    const { target } = site.releases.catalog().resolve({ image: 'edge', arch: 'amd64' })
    const digest = `sha256:${target.sha256}`
    expect(site.releases.target(`edge/1.0/${target.sha256}.amd64`)).toEqual({ digest, size: target.length })
    expect(site.releases.target(`edge/1.0/${'0'.repeat(64)}.amd64`)).toBeUndefined()
    expect(site.releases.target('edge/1.0/amd64')).toBeUndefined()
    expect(site.releases.target(`../1.0/${target.sha256}.amd64`)).toBeUndefined()
  })

  it('from two publishers at the same time gives both a version', async () => {
    await Promise.all([publish(site, '1.0'), publish(site, '1.1'), publish(site, '1.2')])
    expect(site.releases.catalog().image('edge')?.releases).toHaveLength(3)
    expect(versions().targets).toBe(4)
  })
})

describe('signed targets from elsewhere', () => {
  beforeEach(() => publish(site, '1.0'))

  const refused = async (bytes: Uint8Array, code: string) => {
    const before = await timestampBytes()
    const files = await readdir(metadataOf(site.data))
    await expect(site.releases.acceptTargets(bytes)).rejects.toMatchObject({ code })
    expect(await timestampBytes()).toBe(before)
    expect(await readdir(metadataOf(site.data))).toEqual(files)
  }
  const entryOf = (targets: TargetsSigned) => targets.targets['edge/1.0/amd64'] as TargetEntry

  it('that are signed by another key are refused', async () => {
    await refused(await nextTargets(() => {}, createSigner(generatePrivateKey())), 'metadata-signature')
  })

  it('that were changed after signing are refused', async () => {
    const bytes = Buffer.from(await nextTargets(() => {})).toString()
    await refused(
      Buffer.from(bytes.replace('"releaseCounter":1', '"releaseCounter":9')),
      'metadata-signature',
    )
  })

  it('that skip a version, or repeat one with other content, are refused', async () => {
    const withVersion = (version: number) =>
      nextTargets((targets) => {
        targets.version = version
        targets.expires = toTimestamp(site.clock.nowMs + 1e9)
      })
    await refused(await withVersion(4), 'metadata-mismatch')
    await refused(await withVersion(2), 'metadata-rollback')
    await refused(await withVersion(1), 'metadata-rollback')
  })

  it('that have expired are refused', async () => {
    const expired = await nextTargets((targets) => {
      targets.expires = toTimestamp(site.clock.nowMs - 1000)
    })
    await refused(expired, 'metadata-expired')
  })

  it('that are the current ones once more are no error: the first answer may have been lost', async () => {
    const bytes = await nextTargets((targets) => {
      targets.expires = toTimestamp(site.clock.nowMs + 1e9)
    })
    await site.releases.acceptTargets(bytes)
    const before = await timestampBytes()
    await site.releases.acceptTargets(bytes)
    expect(await timestampBytes()).toBe(before)
  })

  it('that replace the content of a version are refused', async () => {
    const other = await nextTargets((targets) => {
      entryOf(targets).custom = { ...entryOf(targets).custom, hardwareIds: ['another'] }
    })
    await refused(other, 'release-exists')
  })

  it('that bring a withdrawn version back with other content are refused', async () => {
    await publish(site, '2.0')
    const withdrawn = await nextTargets((targets) => {
      delete targets.targets['edge/1.0/amd64']
    })
    await site.releases.acceptTargets(withdrawn)
    await expect(publish(site, '1.0', { source: image('other') })).rejects.toMatchObject({
      code: 'release-exists',
    })
  })

  it('whose content was not pushed are refused', async () => {
    const missing = await nextTargets((targets) => {
      const sha256 = 'ab'.repeat(32)
      targets.targets['edge/1.1/amd64'] = {
        length: 500,
        hashes: { sha256 },
        custom: {
          ...entryOf(targets).custom,
          oci: { ref: `x@sha256:${sha256}`, mediaType: 'application/vnd.oci.image.manifest.v1+json' },
          version: '1.1',
          releaseCounter: 2,
        },
      }
    })
    await refused(missing, 'release-incomplete')
  })

  it.each([
    ['a counter that does not grow', 'edge/1.1/amd64', { version: '1.1' }, 'target-invalid'],
    [
      'a counter of its own for each architecture',
      'edge/1.0/arm64',
      { arch: 'arm64', releaseCounter: 2 },
      'target-invalid',
    ],
    ['custom that contradicts the path', 'edge/1.1/amd64', { releaseCounter: 2 }, 'target-invalid'],
    [
      'an index where a manifest belongs',
      'edge/1.1/amd64',
      { version: '1.1', releaseCounter: 2, oci: 'index' },
      'manifest-invalid',
    ],
    ['the manifest of another architecture', 'other/1.0/arm64', { arch: 'arm64' }, 'manifest-mismatch'],
    [
      'a path that is too deep',
      'edge/1.1/amd64/extra',
      { version: '1.1', releaseCounter: 2 },
      'target-invalid',
    ],
    [
      'something critical that nobody knows',
      'edge/1.1/amd64',
      { version: '1.1', releaseCounter: 2, critical: ['x'] },
      'target-invalid',
    ],
  ] as const)('with %s are refused', async (_, path, change, code) => {
    const bytes = await nextTargets((targets) => {
      const entry = structuredClone(entryOf(targets))
      const custom = { ...entry.custom, ...change } as unknown as Record<string, never>
      if ('oci' in change) {
        custom['oci'] = {
          ...(entry.custom?.['oci'] as object),
          mediaType: 'application/vnd.oci.image.index.v1+json',
        } as never
      }
      targets.targets[path] = { ...entry, custom }
    })
    await refused(bytes, code)
  })

  it('with a delegation that nobody would admit from, or without the one for plans, are refused', async () => {
    const another = await nextTargets((targets) => {
      const [plan] = targets.delegations?.roles ?? []
      targets.delegations?.roles.push({
        ...(plan as NonNullable<typeof plan>),
        name: 'team',
        paths: ['team/*/*'],
      })
    })
    await refused(another, 'target-invalid')
    const none = await nextTargets((targets) => {
      targets.delegations = { keys: {}, roles: [] }
    })
    await refused(none, 'target-invalid')
  })

  it('whose channel loses its floor, sinks it, or names what is not there are refused', async () => {
    await publish(site, '1.1', { floor: 1 })
    const withDocument = (change: object) => nextTargetsWithChannel({ ...plainChannel(), ...change })
    await refused(await withDocument({ minReleaseCounter: 0 }), 'channel-invalid')
    await refused(await withDocument({ minReleaseCounter: 3 }), 'channel-invalid')
    await refused(await withDocument({ version: '9.9' }), 'channel-invalid')
    await refused(await withDocument({ releaseCounter: 7 }), 'channel-invalid')
    await refused(await withDocument({ manifests: {} }), 'channel-invalid')
    await refused(await withDocument({ image: 'other' }), 'channel-invalid')
    const gone = await nextTargets((targets) => {
      delete targets.targets['edge/channel/stable']
    })
    await refused(gone, 'channel-invalid')
    const nothing = await nextTargets((targets) => {
      targets.targets = {}
    })
    await refused(nothing, 'channel-invalid')
  })

  function plainChannel() {
    const { target: _, ...plain } = stable() as NonNullable<ReturnType<typeof stable>>
    return plain
  }

  async function nextTargetsWithChannel(document: object): Promise<Uint8Array> {
    const bytes = Buffer.from(JSON.stringify(document))
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    await site.blobs.write(
      { digest: `sha256:${sha256}`, size: bytes.length },
      (async function* () {
        yield bytes
      })(),
    )
    return nextTargets((targets) => {
      const custom = { kind: 'channel' }
      targets.targets['edge/channel/stable'] = { length: bytes.length, hashes: { sha256 }, custom }
    })
  }
})

describe('a server without the targets key', () => {
  it('publishes what was signed where the key is, and signs nothing itself', async () => {
    await publish(site, '1.0')
    const keys = await loadKeys(join(site.data, 'keys/main'), silentLog)
    await rename(join(site.data, 'keys/main/targets.pem'), join(site.data, 'targets-offline.pem'))
    const { data, clock } = site
    await site[Symbol.asyncDispose]()
    site = await openSite({ data, clock })
    await expect(publish(site, '1.1')).rejects.toMatchObject({ code: 'key-not-found' })

    const current = (await targetsNow()) as never
    const expires = toTimestamp(clock.nowMs + 1e9)
    const signers = [keys.targets as Signer]
    await site.releases.acceptTargets(signNextTargets({ current, additions: {}, expires, signers }))
    expect(versions().targets).toBe(3)
  })
})

describe('a channel document that the disk lost', () => {
  /** A floor of 10, whose document is then `how`, and the server that starts over it. */
  async function lost(how: 'gone' | 'damaged'): Promise<{ file: string; bytes: Uint8Array }> {
    await publish(site, '1.0', { releaseCounter: 5 })
    await publish(site, '1.1', { releaseCounter: 10, floor: 10 })
    const file = join(site.data, 'blobs/sha256', stable()?.target.sha256 as string)
    const bytes = await readFile(file)
    await site[Symbol.asyncDispose]()
    if (how === 'gone') await rm(file)
    else await writeFile(file, bytes.subarray(1))
    site = await openSite({ data: site.data })
    return { file, bytes }
  }
  const refused = { code: 'channel-invalid' }

  it.each(['gone', 'damaged'] as const)('does not take its floor with it: %s', async (how) => {
    const { file, bytes } = await lost(how)
    const before = versions()
    await expect(publish(site, '1.2')).rejects.toMatchObject(refused)
    const back = { image: 'edge', channel: 'stable', version: '1.0' }
    await expect(site.releases.setChannel(back)).rejects.toMatchObject(refused)
    await expect(publish(site, '2.0', { image: 'another' })).rejects.toMatchObject(refused)
    expect(versions()).toEqual(before)
    expect(() => site.releases.catalog().resolve({ image: 'edge', version: '1.0', arch: 'amd64' })).toThrow(
      expect.objectContaining(refused),
    )

    await writeFile(file, bytes)
    await site[Symbol.asyncDispose]()
    site = await openSite({ data: site.data })
    await publish(site, '1.2')
    expect(stable()).toMatchObject({ version: '1.2', minReleaseCounter: 10 })
  })

  it('does not let metadata that was signed elsewhere sink the floor either', async () => {
    await lost('gone')
    const without = await nextTargets((targets) => {
      targets.targets = {}
    })
    await expect(site.releases.acceptTargets(without)).rejects.toMatchObject(refused)
  })
})
