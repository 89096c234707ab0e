/**
 * Which layers of a manifest are kernel, initrds, command line, device tree and root file system.
 *
 * An artifact made for us says so by media type. Anything else is read by file name (`org.opencontainers.image.title`),
 * so that what plain `oras push vmlinuz initrd.img` made boots as it is. Pure: the agent decides with this same code.
 */
import { MusterError } from '../errors.ts'
import type { Descriptor, ImageManifest } from './manifest.ts'

/** `artifactType` of an operating system made for Muster. */
export const osArtifactType = 'application/vnd.muster.os.v1'

export const layerTypes = {
  kernel: 'application/vnd.muster.kernel.v1',
  initrd: 'application/vnd.muster.initrd.v1',
  cmdline: 'application/vnd.muster.cmdline.v1',
  dtb: 'application/vnd.muster.dtb.v1',
  /** EROFS, which an initramfs of ours mounts from memory (images/ram-root). */
  rootfs: 'application/vnd.muster.rootfs.v1+erofs',
} as const

export const titleAnnotation = 'org.opencontainers.image.title'
/** A manifest's own word for its architecture (GOARCH); an index may say it in `platform` instead. */
export const architectureAnnotation = 'vnd.muster.architecture'

/** Linux takes at most 2048 (x86) or 4096 (arm64) bytes of command line. */
export const cmdlineBytesMax = 4096
/** Blobs larger than a page of text that stand as a device tree are a mistake: the largest in Linux are under 1 MiB. */
export const dtbBytesMax = 2 * 1024 * 1024
/** A cpio archive has 32 bits for a file's size. */
export const rootfsBytesMax = 2 ** 32 - 1

export type Artifact = {
  kernel: Descriptor
  /** In the order in which they are concatenated: microcode first. Empty for a kernel with a built-in initramfs. */
  initrds: Descriptor[]
  cmdline?: Descriptor
  dtb?: Descriptor
  /** The agent puts it into the initramfs as `/rootfs`. */
  rootfs?: Descriptor
}

type Role = keyof typeof layerTypes

const byTitle: readonly [Role, RegExp][] = [
  ['kernel', /^(?:vmlinuz.*|Image.*|bzImage)$/],
  ['initrd', /^(?:initrd.*|initramfs.*)$/],
  ['dtb', /^.+\.dtb$/],
  ['rootfs', /^rootfs\.erofs$/],
  ['cmdline', /^cmdline$/],
]
/** What lies beside a kernel under its name and is not one. */
const sideFile = /\.(?:sig|asc|pem|sha\d+(?:sums?)?|md5|txt|json|old|map|config)$/

/**
 * @throws manifest-invalid when there is no kernel, or more than one of anything but initrds; the sentence
 * names the layers.
 */
export function pickArtifact(manifest: ImageManifest): Artifact {
  const typed = manifest.layers.some((layer) => roleByType(layer) !== undefined)
  // Where one layer has our type all must: a signature called vmlinuz.p7s must not become a second kernel.
  const roleOf = typed ? roleByType : roleByTitle
  const layersOf = (role: Role) => manifest.layers.filter((layer) => roleOf(layer) === role)
  const one = (role: Role): Descriptor | undefined => {
    const found = layersOf(role)
    if (found.length > 1) {
      throw invalid(`it has ${found.length} layers that could be the ${role}: ${list(found)}`, role)
    }
    return found[0]
  }

  const kernel = one('kernel')
  if (kernel === undefined || kernel.size === 0) {
    throw invalid(`no layer is a kernel; its layers are ${list(manifest.layers) || 'none'}`, 'kernel')
  }
  const artifact: Artifact = { kernel, initrds: layersOf('initrd') }
  const cmdline = one('cmdline')
  const dtb = one('dtb')
  const rootfs = one('rootfs')
  if (cmdline !== undefined) artifact.cmdline = limited(cmdline, cmdlineBytesMax)
  if (dtb !== undefined) artifact.dtb = limited(dtb, dtbBytesMax)
  if (rootfs !== undefined) artifact.rootfs = limited(rootfs, rootfsBytesMax)
  return artifact
}

function roleByType(layer: Descriptor): Role | undefined {
  return (Object.keys(layerTypes) as Role[]).find((role) => layerTypes[role] === layer.mediaType)
}

function roleByTitle(layer: Descriptor): Role | undefined {
  // `oras push boot/vmlinuz` keeps the folder in the title.
  const title = layer.annotations?.[titleAnnotation]?.split('/').at(-1) ?? ''
  if (sideFile.test(title)) return undefined
  return byTitle.find(([, pattern]) => pattern.test(title))?.[0]
}

function limited(layer: Descriptor, bytesMax: number): Descriptor {
  if (layer.size <= bytesMax) return layer
  throw invalid(`${list([layer])} has ${layer.size} bytes, at most ${bytesMax} make sense for it`, 'size')
}

function list(layers: readonly Descriptor[]): string {
  const names = layers.map(
    (layer) => layer.annotations?.[titleAnnotation] ?? `${layer.mediaType} ${layer.digest.slice(0, 19)}…`,
  )
  return names.slice(0, 16).join(', ')
}

function invalid(reason: string, role: string): MusterError {
  return new MusterError(
    'manifest-invalid',
    `The manifest is not an operating system that can be booted: ${reason}. ` +
      `Give the layers the media types ${layerTypes.kernel} and .initrd.v1, or the titles vmlinuz and initrd.`,
    { details: { role } },
  )
}
