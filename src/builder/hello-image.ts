/** Makes the hello image: the demonstration operating system, as an OCI layout that can be published. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { architectureAnnotation, layerTypes, osArtifactType, titleAnnotation } from '../oci/artifact.ts'
import { writeLayout } from '../oci/layout.ts'
import { type Descriptor, mediaTypes } from '../oci/manifest.ts'
import { digestOf } from '../oci/source.ts'
import {
  type BuildOptions,
  type BuiltImage,
  cachedBase,
  executable,
  type Hardware,
  imagesFolder,
  type ModuleRecipe,
  plainFile,
  readImagesLock,
  unusedLibraries,
  writeImage,
} from './agent-image.ts'
import { compressCpio, rootSkeleton } from './initramfs.ts'
import { readKernel } from './kernel.ts'
import type { Architecture } from './lock.ts'
import { programsWithLibraries, unpackTree } from './tree.ts'

const programs = ['usr/bin/busybox', 'usr/bin/curl', 'usr/bin/qjs']

/** Both consoles of a machine: its screen, and the first serial port as each architecture calls it. */
const consoles: Record<Architecture, string> = {
  amd64: 'console=tty0 console=ttyS0,115200',
  arm64: 'console=tty0 console=ttyAMA0,115200',
}

/**
 * On a busy host an emulated PC gets its timer's interrupts late, and the kernel's test of them then ends in a panic ("IO-APIC + timer
 * doesn't work!"; seen with ten machines on two cores). Under KVM and others it leaves that test out by itself.
 */
function commandLineFor(arch: Architecture, hardware: Hardware): string {
  return arch === 'amd64' && hardware === 'virtual' ? `${consoles[arch]} no_timer_check` : consoles[arch]
}

export type BuiltHello = BuiltImage & { arch: Architecture; cmdline: string }

/**
 * Writes `kernel` and `initramfs` into `outDir`.
 * @throws package-missing, download-failed, build-failed as buildAgent
 */
export async function buildHello(options: BuildOptions & { hardware?: Hardware }): Promise<BuiltHello> {
  const { arch, hardware = 'virtual' } = options
  const lock = options.lock ?? (await readImagesLock())
  const part = (name: string) => readFile(join(imagesFolder, name))
  const [init, report, udhcpc, devices, modules] = await Promise.all(
    ['hello/init', 'hello/report.js', 'hello/udhcpc', 'agent/devices.sh', 'agent/modules.yaml'].map(part),
  )
  const parts = [init!, report!, udhcpc!, devices!, modules!, hardware, 'hello']
  const base = await cachedBase(options, lock, ['hello', `kernel-${hardware}`], parts, async (files) => {
    const kernel = await readKernel(files.kernel, (parse(modules!.toString()) as ModuleRecipe)[hardware])
    const entries = [
      ...rootSkeleton(),
      ...programsWithLibraries({
        tree: await unpackTree(files.programs),
        arch,
        programs,
        stubs: unusedLibraries,
      }),
      ...kernel.modules,
      executable('init', init!),
      executable('usr/lib/muster/udhcpc', udhcpc!),
      plainFile('usr/lib/muster/devices.sh', devices!),
      plainFile('usr/lib/muster/report.js', report!),
    ]
    return { kernel: kernel.image, release: kernel.release, initramfs: await compressCpio(entries) }
  })
  return {
    ...(await writeImage(options.outDir, base, [], lock)),
    arch,
    cmdline: commandLineFor(arch, hardware),
  }
}

/** Writes built hello images as one OCI layout folder: one image index under one tag, with a manifest an architecture. */
export async function writeHelloLayout(options: {
  path: string
  tag: string
  images: readonly BuiltHello[]
}): Promise<{ manifests: Descriptor[] }> {
  const { path, tag } = options
  const blobs: Uint8Array[] = []
  const images: { arch: Architecture; manifestBytes: Uint8Array; tag: string }[] = []
  for (const image of options.images) {
    const layer = (type: string, title: string, bytes: Uint8Array) => {
      blobs.push(bytes)
      return {
        mediaType: type,
        digest: digestOf(bytes),
        size: bytes.length,
        annotations: { [titleAnnotation]: title },
      }
    }
    const empty = Buffer.from('{}')
    blobs.push(empty)
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: osArtifactType,
      // image-spec v1.1, "Guidance for an Empty Descriptor".
      config: { mediaType: 'application/vnd.oci.empty.v1+json', digest: digestOf(empty), size: empty.length },
      layers: [
        layer(layerTypes.kernel, 'vmlinuz', await readFile(image.kernel)),
        layer(layerTypes.initrd, 'initrd.img', await readFile(image.initramfs)),
        layer(layerTypes.cmdline, 'cmdline', Buffer.from(image.cmdline)),
      ],
      annotations: { [architectureAnnotation]: image.arch },
    }
    images.push({ arch: image.arch, manifestBytes: Buffer.from(JSON.stringify(manifest)), tag })
  }
  return await writeLayout({ path, images, blobs })
}
