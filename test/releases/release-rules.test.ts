import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import {
  checkFloor,
  checkMachine,
  checkManifest,
  compareVersions,
  parseTargetName,
  readChannel,
  readRelease,
} from '../../src/protocol/release-rules.ts'

const sha256 = 'ab'.repeat(32)
const mediaType = 'application/vnd.oci.image.manifest.v1+json'
const custom = {
  kind: 'artifact',
  oci: { ref: `registry.example/edge@sha256:${sha256}`, mediaType },
  version: '1.0',
  arch: 'amd64',
  releaseCounter: 3,
  hardwareIds: ['pine64,pine64-lts'],
  minAgent: '0.1.0',
}
const target = { path: 'edge/1.0/amd64', length: 700, sha256, custom }
const code = (expected: string) => expect.objectContaining({ code: expected })

describe('a release target', () => {
  it('says the same in its path, its custom and its digest', () => {
    expect(readRelease(target)).toMatchObject({ image: 'edge', version: '1.0', arch: 'amd64' })
    expect(readRelease({ ...target, custom: { ...custom, somethingNew: true } }).custom).not.toHaveProperty(
      'somethingNew',
    )
  })

  it.each([
    ['another version', { version: '1.1' }],
    ['another architecture', { arch: 'arm64' }],
    ['an architecture nobody has', { arch: 'mips' }],
    ['another manifest', { oci: { ref: `registry.example/edge@sha256:${'cd'.repeat(32)}`, mediaType } }],
    ['a tag instead of a digest', { oci: { ref: 'registry.example/edge:1.0', mediaType } }],
    ['a fractional counter', { releaseCounter: 1.5 }],
    ['a negative counter', { releaseCounter: -1 }],
    ['another kind', { kind: 'disk' }],
    ['something critical that we do not know', { critical: ['verity'] }],
  ])('is refused with %s', (_, change) => {
    expect(() => readRelease({ ...target, custom: { ...custom, ...change } })).toThrow(code('target-invalid'))
  })

  it.each([
    'edge/1.0',
    'edge/1.0/amd64/x',
    '/1.0/amd64',
    'edge/../amd64',
    'edge/1.0/mips',
    'Edge/1.0/amd64',
    '',
  ])('is refused at the path %j', (path) =>
    expect(() => parseTargetName(path)).toThrow(code('target-invalid')),
  )

  it('is never a channel document, nor the other way round', () => {
    expect(() => readRelease({ ...target, path: 'edge/channel/amd64' })).toThrow(code('target-invalid'))
    expect(() => readChannel({}, { path: 'edge/1.0/amd64', custom: { kind: 'channel' } })).toThrow(
      code('channel-invalid'),
    )
  })

  it('gives only our errors, whatever was signed', () => {
    fc.assert(
      fc.property(fc.string(), fc.anything(), (path, anything) => {
        for (const attempt of [
          () => readRelease({ ...target, path }),
          () => readRelease({ ...target, custom: anything }),
          () => readChannel(anything, { path: 'edge/channel/stable', custom: anything }),
        ]) {
          try {
            attempt()
          } catch (error) {
            expect(error).toBeInstanceOf(MusterError)
          }
        }
      }),
    )
  })
})

describe('a release for a machine', () => {
  const release = readRelease(target)
  const machine = {
    arch: 'amd64',
    hardwareIds: ['pine64,pine64-lts', 'allwinner,sun50i-a64'],
    agentVersion: '0.1.0',
  } as const

  it('boots where architecture, hardware and agent fit', () => {
    checkMachine(release, machine)
    checkMachine(readRelease({ ...target, custom: { ...custom, hardwareIds: [] } }), {
      ...machine,
      hardwareIds: [],
    })
  })

  it.each([
    ['architecture', { arch: 'arm64' as const }],
    ['hardware', { hardwareIds: ['raspberrypi,4-model-b'] }],
    ['unknown hardware', { hardwareIds: [] }],
    ['too old an agent', { agentVersion: '0.0.9' }],
  ])('does not boot on another %s', (_, change) => {
    expect(() => checkMachine(release, { ...machine, ...change })).toThrow(code('policy-refused'))
  })

  it('does not boot below the floor, however validly signed', () => {
    checkFloor(release, 3)
    expect(() => checkFloor(release, 4)).toThrow(code('release-below-floor'))
  })

  it('does not boot when its manifest is read as another kind or for another architecture', () => {
    checkManifest(release, { mediaType, architecture: 'amd64' })
    checkManifest(release, { mediaType, architecture: undefined })
    const docker = 'application/vnd.docker.distribution.manifest.v2+json'
    expect(() => checkManifest(release, { mediaType: docker, architecture: 'amd64' })).toThrow(
      code('manifest-mismatch'),
    )
    expect(() => checkManifest(release, { mediaType, architecture: 'arm64' })).toThrow(
      code('manifest-mismatch'),
    )
  })
})

describe('a channel document', () => {
  const document = {
    image: 'edge',
    channel: 'stable',
    version: '1.0',
    releaseCounter: 3,
    minReleaseCounter: 2,
    manifests: { amd64: `sha256:${sha256}` },
  }
  const from = { path: 'edge/channel/stable', custom: { kind: 'channel' } }

  it('names the current release and the floor', () => {
    expect(readChannel(document, from)).toEqual(document)
  })

  it.each([
    ['of another image', { image: 'other' }],
    ['of another channel', { channel: 'canary' }],
    ['whose floor is above its own release', { minReleaseCounter: 4 }],
    ['with an architecture nobody has', { manifests: { mips: `sha256:${sha256}` } }],
    ['with no counter', { releaseCounter: undefined }],
  ])('is refused %s', (_, change) => {
    expect(() => readChannel({ ...document, ...change }, from)).toThrow(code('channel-invalid'))
  })
})

describe('versions', () => {
  it.each([
    ['0.1.0', '0.1.0', 0],
    ['0.10.0', '0.9.9', 1],
    ['1', '1.0.1', -1],
    ['', '0.0', 0],
  ])('%s against %s', (left, right, expected) => expect(compareVersions(left, right)).toBe(expected))
})
