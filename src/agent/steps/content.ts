/** Manifest and blobs: found by digest, checked while they arrive, written once into the files that kexec loads. */
import { toHex } from '../../crypto/encoding.ts'
import { MusterError } from '../../errors.ts'
import { pickArtifact } from '../../oci/artifact.ts'
import { type Descriptor, mediaTypes, parseImageManifest } from '../../oci/manifest.ts'
import { architectureOf } from '../../oci/platform.ts'
import type { Plan } from '../../protocol/plan.ts'
import { checkManifest, type Release } from '../../protocol/release-rules.ts'
import { decodeUtf8 } from '../../wire/utf8.ts'
import type { Agent } from '../agent.ts'
import { archiveAround, checkFiles, encodeCpio } from '../cpio.ts'
import { downloadBlob } from '../download.ts'
import { blobUrl, fetchSmall, type MirrorOrder, onAnyMirror, targetUrls } from '../mirrors.ts'
import type { Target } from './metadata.ts'

type Artifact = ReturnType<typeof pickArtifact>

/** What kexec takes. */
export type Content = {
  kernelPath: string
  /** The plan's archive, straight behind it the signed initrds, then the root file system; missing where there is none of them. */
  initrdPath?: string
  dtbPath?: string
  /** The signed command line as it was published. */
  commandLine: string
}

/**
 * A target's bytes, at most `maxBytes` of them.
 * @throws MusterError `manifest-too-large`, `blob-unavailable`, `blob-too-long`, `blob-truncated`, `blob-digest`
 */
export async function fetchTarget(
  agent: Agent,
  mirrors: MirrorOrder,
  target: Omit<Target, 'custom'>,
  maxBytes: number,
): Promise<Uint8Array> {
  if (target.length > maxBytes)
    throw new MusterError(
      'manifest-too-large',
      `The target ${target.path} has ${target.length} bytes, at most ${maxBytes} are read.`,
    )
  const missing = new MusterError('blob-unavailable', `No mirror is named that could have ${target.path}.`)
  return onAnyMirror(mirrors, missing, async (mirror) => {
    for (const url of targetUrls(mirror, target.path, target.sha256)) {
      const bytes = await fetchSmall(agent, {
        url,
        maxBytes: target.length,
        accept: `${mediaTypes.manifest}, ${mediaTypes.dockerManifest}, */*`,
        unavailable: 'blob-unavailable',
        tooLarge: 'blob-too-long',
      })
      if (bytes === undefined) continue
      if (bytes.length < target.length)
        throw new MusterError(
          'blob-truncated',
          `${url} has ${bytes.length} bytes, and ${target.length} are signed.`,
        )
      const found = toHex(agent.crypto.sha256(bytes))
      if (found !== target.sha256)
        throw new MusterError(
          'blob-digest',
          `${url} has the sha256 ${found}, and ${target.sha256} is signed.`,
        )
      return bytes
    }
    throw new MusterError(
      'blob-unavailable',
      `${mirror.url} does not have ${target.path} (sha256 ${target.sha256}).`,
    )
  })
}

/** @throws MusterError `manifest-invalid`, `manifest-too-large`, `manifest-mismatch`, and those of fetchTarget */
export async function fetchArtifact(agent: Agent, mirrors: MirrorOrder, release: Release): Promise<Artifact> {
  const { path, manifest, custom } = release
  const target = { path, length: manifest.size, sha256: manifest.digest.slice('sha256:'.length) }
  const bytes = await fetchTarget(agent, mirrors, target, agent.limits.manifestBytes)
  const parsed = parseImageManifest(bytes, { mediaType: custom.oci.mediaType })
  checkManifest(release, { mediaType: parsed.mediaType, architecture: architectureOf(parsed) })
  return pickArtifact(parsed)
}

/**
 * Files in memory, and two copies while kexec loads them: kexec_file_load(2) reads them whole and then fills its segments
 * (Linux, kernel/kexec_file.c); kexec(8) does the same in its own memory. Counted twice, a machine with 192 MiB ended in the OOM killer.
 */
const copies = 3

/**
 * Before the first byte: the files themselves and what kexec makes of them must fit.
 * @throws MusterError `memory-too-small`
 */
export function checkMemory(
  sizes: { imageBytes: number; archiveBytes: number },
  room: { totalBytes: number; availableBytes: number; maxImageBytes: number; reserveBytes: number },
): void {
  const limit = room.maxImageBytes > 0 ? room.maxImageBytes : Math.floor(room.totalBytes / 2)
  if (sizes.imageBytes > limit)
    throw new MusterError(
      'memory-too-small',
      `The operating system has ${sizes.imageBytes} bytes, and this agent takes at most ${limit} ` +
        `(${room.maxImageBytes > 0 ? 'policy.maxImageBytes' : `half of the memory of ${room.totalBytes}`}).`,
    )
  const needed = copies * (sizes.imageBytes + sizes.archiveBytes) + room.reserveBytes
  if (needed > room.availableBytes)
    throw new MusterError(
      'memory-too-small',
      `Loading the operating system needs ${needed} bytes of memory (its ${sizes.imageBytes} bytes ${copies} times, ` +
        `and ${room.reserveBytes} spare), and ${room.availableBytes} are available.`,
    )
}

/** @throws MusterError `memory-too-small`, `blob-…`, `file-refused` */
export async function fetchContent(
  agent: Agent,
  mirrors: MirrorOrder,
  artifact: Artifact,
  plan: Plan,
): Promise<Content> {
  const { host, folders, memory, limits, settings, reporter, console } = agent
  const { kernel, initrds, cmdline, dtb, rootfs } = artifact
  const archive = encodeCpio(checkFiles(plan.files))
  const blobs = [kernel, ...initrds, cmdline, dtb, rootfs].filter((blob) => blob !== undefined)
  const imageBytes = blobs.reduce((sum, { size }) => sum + size, 0)
  checkMemory(
    { imageBytes, archiveBytes: archive.length },
    {
      totalBytes: memory.totalBytes,
      availableBytes: await memory.sample(),
      maxImageBytes: settings.config.policy.maxImageBytes,
      reserveBytes: limits.memoryReserveBytes,
    },
  )
  reporter.note({ imageBytes, blobs: blobs.length })
  await console.line(`blobs: fetching ${(imageBytes / 1e6).toFixed(1)} MB in ${blobs.length} files`)
  let before = 0
  const download = async (blob: Descriptor, path: string, offset: number) => {
    const sha256 = blob.digest.slice('sha256:'.length)
    await downloadBlob(agent, {
      sources: mirrors.mirrors().map((mirror) => ({
        url: blobUrl(mirror, sha256),
        left: () => mirrors.putLast(mirror),
      })),
      sha256,
      size: blob.size,
      path,
      offset,
      onProgress: (received) => reporter.progress('blobs', before + received, imageBytes),
    })
    before += blob.size
  }
  const folder = `${folders.work}/content`
  await host.makeFolder(folder)
  for (const name of ['kernel', 'initrd', 'cmdline', 'dtb']) await host.remove(`${folder}/${name}`)

  if (cmdline !== undefined) await download(cmdline, `${folder}/cmdline`, 0)
  await download(kernel, `${folder}/kernel`, 0)
  await host.writeFile(`${folder}/initrd`, archive, 0o600)
  let offset = archive.length
  for (const initrd of initrds) {
    await download(initrd, `${folder}/initrd`, offset)
    offset += initrd.size
  }
  if (rootfs !== undefined) {
    const { before, after } = archiveAround({ name: 'rootfs', size: rootfs.size })
    // The kernel looks for the next archive at multiples of four (init/initramfs.c, unpack_to_rootfs).
    const start = Math.ceil(offset / 4) * 4
    await writeAt(agent, `${folder}/initrd`, { offset, bytes: new Uint8Array(start - offset) })
    await writeAt(agent, `${folder}/initrd`, { offset: start, bytes: before })
    await download(rootfs, `${folder}/initrd`, start + before.length)
    offset = start + before.length + rootfs.size
    await writeAt(agent, `${folder}/initrd`, { offset, bytes: after })
    offset += after.length
  }
  if (dtb !== undefined) await download(dtb, `${folder}/dtb`, 0)
  return {
    kernelPath: `${folder}/kernel`,
    commandLine: cmdline === undefined ? '' : await readCommandLine(agent, `${folder}/cmdline`),
    ...(offset > 0 ? { initrdPath: `${folder}/initrd` } : {}),
    ...(dtb === undefined ? {} : { dtbPath: `${folder}/dtb` }),
  }
}

async function writeAt(agent: Agent, path: string, { offset, bytes }: { offset: number; bytes: Uint8Array }) {
  const writer = await agent.host.openWriter(path, offset)
  await writer.write(bytes)
  await writer.close()
}

async function readCommandLine(agent: Agent, path: string): Promise<string> {
  try {
    return decodeUtf8((await agent.host.readFile(path, 65_536)) ?? new Uint8Array())
  } catch (cause) {
    throw new MusterError('argument-refused', 'The signed command line is not text in UTF-8.', { cause })
  }
}
