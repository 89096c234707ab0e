/**
 * A bootable container as an artifact that machines boot: its kernel, an initramfs that mounts the root file system from memory, and
 * that file system. What is signed later is this artifact; the container's digest stands in it as where it comes from.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MusterError } from '../errors.ts'
import { type FlattenLimits, flatten, type Layer } from '../layers/flatten.ts'
import { architectureAnnotation, layerTypes, osArtifactType, titleAnnotation } from '../oci/artifact.ts'
import { diffIdsOf } from '../oci/container-config.ts'
import { digestOfFile, type LayoutBlob, type LayoutImage } from '../oci/layout.ts'
import { type Descriptor, mediaTypes } from '../oci/manifest.ts'
import { hasPlatform } from '../oci/platform.ts'
import { digestOf, type ImageSource, type ResolvedManifest } from '../oci/source.ts'
import { type BuildOptions, readImagesLock } from './agent-image.ts'
import { fetchPackages } from './download.ts'
import { lockedPackages } from './lock.ts'
import { makeBootParts } from './ram-root.ts'
import { writeRootImage } from './root-image.ts'
import { ensureTools } from './tools.ts'

/** image-spec v1.1, annotations.md: what an image was made from. */
const baseDigestAnnotation = 'org.opencontainers.image.base.digest'
/** docker's, and what the image-spec's config.md has. */
const configBytesMax = 8 * 1024 * 1024

/** A whole distribution with all its desktops has 3 million files and 60 GB; a root file system is in a machine's memory. */
const limits: FlattenLimits = {
  entriesMax: 2_000_000,
  bytesMax: 16 * 1024 ** 3,
  tarBytesMax: 64 * 1024 ** 3,
}

export type ContainerBuild = {
  image: LayoutImage
  blobs: LayoutBlob[]
  kernelVersion: string
  kernelBytes: number
  initramfsBytes: number
  rootfsBytes: number
}

/**
 * @param folder for what is made on the way and for the blobs, with room for all layers without compression; on the layout's file system
 * @throws layer-invalid, manifest-invalid, build-failed, package-missing, download-failed, and what the source throws
 */
export async function buildFromContainer(
  options: Omit<BuildOptions, 'outDir'> & {
    source: ImageSource
    resolved: ResolvedManifest
    folder: string
    tag: string
    /** The kernel's arguments. */
    cmdline: string
    signal?: AbortSignal
  },
): Promise<ContainerBuild> {
  const { arch, cmdline, folder, resolved, tag } = options
  const { manifest, descriptor } = resolved
  if (!hasPlatform(manifest.config))
    throw new MusterError(
      'manifest-invalid',
      `${descriptor.digest} is no container image: its config is ${manifest.config.mediaType}. What is an artifact already needs no build.`,
    )
  const lock = options.lock ?? (await readImagesLock())
  const packages = { ...options, cacheDir: join(options.cacheDir, 'packages') }
  const programs = await fetchPackages(lockedPackages(lock, ['ram-root'], arch), packages)
  const tools = await ensureTools({
    ...packages,
    names: ['mkfs.erofs'],
    lock,
    folder: join(options.cacheDir, 'tools'),
  })
  const scratch = await mkdtemp(join(folder, '.build-'))
  try {
    await using flattened = await flatten({ layers: await layersOf(options), folder: scratch, limits })
    const { kernel, initramfs, kernelVersion } = await makeBootParts({
      ...{ flattened, arch },
      programs: [...programs.values()],
    })
    const rootfs = join(folder, `.rootfs-${arch}`)
    const rootfsBytes = await writeRootImage({
      ...{ flattened, path: rootfs, program: tools.get('mkfs.erofs') as string },
      seed: descriptor.digest.slice('sha256:'.length),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    const empty = Buffer.from('{}')
    const line = Buffer.from(cmdline)
    const rootfsBlob = { digest: await digestOfFile(rootfs), size: rootfsBytes, path: rootfs }
    const inMemory = (bytes: Uint8Array) => ({ digest: digestOf(bytes), size: bytes.length })
    const manifestBytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        artifactType: osArtifactType,
        config: { mediaType: mediaTypes.empty, ...inMemory(empty) },
        layers: [
          layer('kernel', 'vmlinuz', inMemory(kernel)),
          layer('initrd', 'initrd.img', inMemory(initramfs)),
          layer('rootfs', 'rootfs.erofs', { digest: rootfsBlob.digest, size: rootfsBytes }),
          layer('cmdline', 'cmdline', inMemory(line)),
        ],
        annotations: { [architectureAnnotation]: arch, [baseDigestAnnotation]: descriptor.digest },
      }),
    )
    return {
      image: { arch, manifestBytes, tag },
      blobs: [empty, kernel, initramfs, line, rootfsBlob],
      ...{ kernelVersion, rootfsBytes, kernelBytes: kernel.length, initramfsBytes: initramfs.length },
    }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

function layer(
  kind: keyof typeof layerTypes,
  title: string,
  what: { digest: string; size: number },
): Descriptor {
  return { mediaType: layerTypes[kind], ...what, annotations: { [titleAnnotation]: title } }
}

async function layersOf(options: {
  source: ImageSource
  resolved: ResolvedManifest
  signal?: AbortSignal
}): Promise<Layer[]> {
  const { source, resolved, signal } = options
  const { config, layers } = resolved.manifest
  const read = { ...(signal === undefined ? {} : { signal }) }
  if (config.size > configBytesMax)
    throw new MusterError(
      'manifest-invalid',
      `The image's config has ${config.size} bytes, at most ${configBytesMax} are read.`,
    )
  const parts: Uint8Array[] = []
  for await (const part of source.blob(config, read)) parts.push(part)
  const diffIds = diffIdsOf(Buffer.concat(parts))
  if (diffIds.length !== layers.length)
    throw new MusterError(
      'manifest-invalid',
      `The image's config names ${diffIds.length} layers, and its manifest has ${layers.length}.`,
    )
  return layers.map((one, index) => ({
    name: one.digest,
    diffId: diffIds[index],
    bytes: source.blob(one, read),
  }))
}
