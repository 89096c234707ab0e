import { describe, expect, test } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import { layerTypes, osArtifactType, pickArtifact } from '../../src/oci/artifact.ts'
import { type ImageIndex, type ImageManifest, mediaTypes } from '../../src/oci/manifest.ts'
import {
  architectureOf,
  configuredArchitecture,
  platformsOf,
  selectPlatform,
} from '../../src/oci/platform.ts'

let count = 0
const descriptor = (mediaType: string, size = 10) => ({
  mediaType,
  digest: `sha256:${(count++).toString(16).padStart(64, '0')}`,
  size,
})
const titled = (title: string, size?: number) => ({
  ...descriptor('application/octet-stream', size),
  annotations: { 'org.opencontainers.image.title': title },
})
const manifest = (...layers: ImageManifest['layers']): ImageManifest => ({
  kind: 'manifest',
  mediaType: mediaTypes.manifest,
  config: descriptor(mediaTypes.empty, 2),
  layers,
})
const refusal = (run: () => unknown): MusterError => {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(MusterError)
    return error as MusterError
  }
  throw new Error('was accepted')
}

describe('the operating system in a manifest', () => {
  test('made for Muster is read by media type, initrds in their order', () => {
    const [kernel, microcode, initrd] = [
      descriptor(layerTypes.kernel),
      descriptor(layerTypes.initrd),
      descriptor(layerTypes.initrd),
    ]
    const [cmdline, dtb] = [descriptor(layerTypes.cmdline), descriptor(layerTypes.dtb)]
    const rootfs = descriptor(layerTypes.rootfs)
    const found = pickArtifact(
      manifest(cmdline, microcode, kernel, rootfs, initrd, dtb, titled('vmlinuz.p7s')),
    )
    expect(found).toEqual({ kernel, initrds: [microcode, initrd], cmdline, dtb, rootfs })
  })

  test.each([
    ['vmlinuz-6.12.0', 'initrd.img-6.12.0'],
    ['boot/vmlinuz', 'boot/initramfs.cpio.gz'],
    ['bzImage', 'initramfs-linux.img'],
    ['Image.gz', 'initrd'],
  ])('pushed by oras as %s and %s is read by title', (kernelName, initrdName) => {
    const [kernel, initrd] = [titled(kernelName), titled(initrdName)]
    const found = pickArtifact(manifest(titled('README.md'), titled('vmlinuz.sha256'), initrd, kernel))
    expect(found).toEqual({ kernel, initrds: [initrd] })
  })

  test('takes command line and device tree by title', () => {
    const [kernel, cmdline, dtb] = [titled('Image'), titled('cmdline'), titled('rk3399-rockpro64.dtb')]
    expect(pickArtifact(manifest(kernel, cmdline, dtb))).toEqual({ kernel, initrds: [], cmdline, dtb })
  })

  test('is refused without a kernel, naming the layers that are there', () => {
    const error = refusal(() => pickArtifact(manifest(titled('rootfs.tar'), titled('initrd.img'))))
    expect(error.code).toBe('manifest-invalid')
    expect(error.message).toContain('rootfs.tar, initrd.img')
  })

  test.each([
    ['two kernels', [titled('vmlinuz-1'), titled('vmlinuz-2')], 'vmlinuz-1, vmlinuz-2'],
    ['two device trees', [titled('vmlinuz'), titled('a.dtb'), titled('b.dtb')], 'a.dtb, b.dtb'],
    ['an empty kernel', [titled('vmlinuz', 0)], 'vmlinuz'],
    ['a book as command line', [titled('vmlinuz'), titled('cmdline', 5000)], 'cmdline'],
    ['no layer at all', [], 'none'],
  ])('with %s is refused', (_, layers, named) => {
    const error = refusal(() => pickArtifact(manifest(...layers)))
    expect(error.code).toBe('manifest-invalid')
    expect(error.message).toContain(named)
  })
})

describe('an index', () => {
  const entry = (architecture: string, extra: object = {}, platform: object = {}) => ({
    ...descriptor(mediaTypes.manifest, 100),
    platform: { architecture, os: 'linux', ...platform },
    ...extra,
  })
  const index = (...manifests: ImageIndex['manifests']): ImageIndex => ({
    kind: 'index',
    mediaType: mediaTypes.index,
    manifests,
  })

  test('gives the manifest of each architecture', () => {
    const [amd64, arm64] = [entry('amd64'), entry('arm64', {}, { variant: 'v8' })]
    const document = index(entry('arm', {}, { variant: 'v7' }), arm64, amd64)
    expect(selectPlatform(document, 'amd64')).toBe(amd64)
    expect(selectPlatform(document, 'arm64')).toBe(arm64)
    expect(platformsOf(document).map((one) => one.arch)).toEqual(['amd64', 'arm64'])
  })

  test('without the architecture says which it has', () => {
    const document = index(entry('riscv64'), entry('amd64', {}, { os: 'windows' }))
    const error = refusal(() => selectPlatform(document, 'amd64'))
    expect(error.code).toBe('registry-not-found')
    expect(error.message).toContain('riscv64')
  })

  test('does not take a variant that older machines cannot run, nor an attestation, nor an index inside', () => {
    const document = index(
      entry('amd64', {}, { variant: 'v3' }),
      entry('unknown', {}, { os: 'unknown' }),
      entry('amd64', { mediaType: mediaTypes.index }),
    )
    expect(refusal(() => selectPlatform(document, 'amd64')).code).toBe('registry-not-found')
  })

  test('with two for one architecture is ambiguous, unless one of them was made for Muster', () => {
    const ours = entry('amd64', { artifactType: osArtifactType })
    expect(selectPlatform(index(entry('amd64'), ours), 'amd64')).toBe(ours)
    expect(refusal(() => selectPlatform(index(entry('amd64'), entry('amd64')), 'amd64')).code).toBe(
      'manifest-invalid',
    )
  })

  test('a single manifest may say its architecture itself', () => {
    const saying = (arch: string) => ({ ...manifest(), annotations: { 'vnd.muster.architecture': arch } })
    expect(architectureOf(manifest())).toBeUndefined()
    expect(architectureOf(saying('arm64'))).toBe('arm64')
    expect(refusal(() => architectureOf(saying('vax'))).code).toBe('manifest-invalid')
  })
})

describe("an image's config", () => {
  const configured = (config: unknown) => configuredArchitecture(Buffer.from(JSON.stringify(config)))

  test('says the architecture as container tools write it', () => {
    expect(configured({ architecture: 'amd64', os: 'linux' })).toBe('amd64')
    expect(configured({ architecture: 'arm64', os: 'linux', variant: 'v8' })).toBe('arm64')
    expect(configured({ architecture: 'arm64' })).toBe('arm64')
  })
  test('that is empty, or of another kind altogether, says nothing', () => {
    for (const silent of [{}, { architecture: '' }, [], null, 'text', 7])
      expect(configured(silent)).toBeUndefined()
  })
  test.each([
    ['riscv64', { architecture: 'riscv64', os: 'linux' }, 'linux/riscv64'],
    ['windows', { architecture: 'amd64', os: 'windows' }, 'windows/amd64'],
    ['newer processors only', { architecture: 'amd64', os: 'linux', variant: 'v3' }, 'linux/amd64/v3'],
    ['nonsense', { architecture: { toString: 1 }, os: ['x'] }, ''],
  ])('for %s is refused', (_, config, said) => {
    const error = refusal(() => configured(config))
    expect(error.code).toBe('manifest-invalid')
    expect(error.message).toContain(said)
  })
  test('that is no JSON is refused', () => {
    for (const bytes of [Buffer.from('{'), Buffer.from([0xff, 0xfe])])
      expect(refusal(() => configuredArchitecture(bytes)).code).toBe('manifest-invalid')
  })
})
