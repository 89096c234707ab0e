import { describe, expect, it } from 'vitest'
import { checkTargetSize } from '../../src/releases/admit.ts'
import { channelBytesMax, readCatalog } from '../../src/releases/catalog.ts'
import type { TrustedRepository } from '../../src/tuf/trusted-repository.ts'
import type { VerifiedTarget } from '../../src/tuf/verify.ts'

const sha256 = 'ab'.repeat(32)
const release = {
  path: 'edge/1.0/amd64',
  length: 700,
  sha256,
  custom: {
    kind: 'artifact',
    oci: { ref: `edge@sha256:${sha256}`, mediaType: 'application/vnd.oci.image.manifest.v1+json' },
    version: '1.0',
    arch: 'amd64',
    releaseCounter: 1,
    hardwareIds: [],
    minAgent: '0.1.0',
  },
}
const channel = (change: object) => ({
  path: 'edge/channel/stable',
  length: 100,
  sha256: 'cd'.repeat(32),
  custom: { kind: 'channel' },
  ...change,
})

/** A catalog over what was signed, where a channel's bytes are `document`. */
function catalogOf(targets: object[], document: string) {
  return readCatalog({
    trusted: { targets: () => targets } as unknown as TrustedRepository,
    async readTarget(target: VerifiedTarget) {
      checkTargetSize(target)
      return Buffer.from(document)
    },
    strict: false,
  })
}

describe('an image whose channel cannot be read', () => {
  it.each([
    ['is longer than a channel may be', channel({ length: channelBytesMax + 1 }), '{}'],
    ['is not JSON', channel({}), 'floor: 7'],
    [
      'says its floor twice',
      channel({}),
      '{"image":"edge","channel":"stable","version":"1.0","releaseCounter":9,"manifests":{},"minReleaseCounter":9,"minReleaseCounter":0}',
    ],
    ['is of another kind', channel({ custom: { kind: 'artifact' } }), '{}'],
  ])('because it %s is not offered at all: its floor would be lost', async (_, damaged, document) => {
    const catalog = await catalogOf([release, damaged], document)
    expect(catalog.images()).toEqual([])
    const unreadable = expect.objectContaining({ code: 'channel-invalid' })
    expect(() => catalog.image('edge')).toThrow(unreadable)
    expect(() => catalog.resolve({ image: 'edge', arch: 'amd64', version: '1.0' })).toThrow(unreadable)
    expect(catalog.image('other')).toBeUndefined()
    expect(catalog.skipped).toHaveLength(1)
  })
})
