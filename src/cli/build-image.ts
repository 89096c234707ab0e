/** `muster image build`: an operating system for netboot out of a container image that has a kernel inside. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { buildFromContainer, type ContainerBuild } from '../builder/container-image.ts'
import { aptMirrors } from '../builder/mirror.ts'
import { agentArgumentsOf } from '../config/agent-arguments.ts'
import { MusterError } from '../errors.ts'
import { cmdlineBytesMax } from '../oci/artifact.ts'
import { writeLayout } from '../oci/layout.ts'
import type { ResolvedManifest } from '../oci/source.ts'
import type { Arch } from '../protocol/identifiers.ts'
import { anArch } from './arguments.ts'
import type { Context } from './context.ts'
import { prepareFolder } from './folders.ts'
import { openSource } from './image-source.ts'
import { bytes, print } from './output.ts'

type Options = { out: string; tag: string; arch?: Arch; append?: string[]; mirror?: string }

export function addBuildImage(image: Command, context: Context): void {
  image
    .command('build')
    .argument(
      '<source>',
      'a container image: an OCI layout folder (folder or folder:tag), or a registry reference',
    )
    .description('make an operating system that boots from memory out of a container image')
    .requiredOption('--out <folder>', 'the OCI layout folder to make; publish it with muster image publish')
    .option('--tag <tag>', "the image's tag in that folder", 'latest')
    .option('--arch <arch>', 'only this architecture of an index', anArch)
    .option('--append <argument...>', "more arguments for the image's kernel, as in quiet muster.ram=1G")
    .option('--mirror <url>', 'Debian mirror for BusyBox and mkfs.erofs; by default the one apt uses')
    .action((source: string, options: Options) => build(context, source, options))
}

async function build(context: Context, text: string, options: Options): Promise<void> {
  const { world } = context
  const { config } = context.loaded()
  const { signal } = world
  const out = resolve(options.out)
  if (existsSync(join(out, 'index.json')))
    throw new MusterError(
      'config-invalid',
      `--out: ${out} has an image already. Name another folder, or remove this one.`,
    )
  const { source, name } = await openSource(context, text)
  const found = await resolveWanted(source, name, options.arch, signal)
  await prepareFolder(out, '--out')
  const cacheDir = resolve(config.cache ?? join(config.data, 'cache'))
  await prepareFolder(cacheDir, config.cache === undefined ? '--data' : 'cache')
  const given = options.mirror ?? config.mirror
  const note = (line: string) => context.output().note(`${line}\n`)
  const builds: ContainerBuild[] = []
  for (const { arch, resolved } of found) {
    note(`${arch}: reading ${resolved.manifest.layers.length} layers of ${resolved.descriptor.digest}`)
    const built = await buildFromContainer({
      ...{ arch, source, resolved, cacheDir, signal },
      ...{ folder: out, tag: options.tag },
      cmdline: commandLine([...agentArgumentsOf(config, arch), ...(options.append ?? [])]),
      mirrors: given === undefined ? await aptMirrors() : [given.replace(/\/+$/, '')],
      progress: world.progressLines(note),
    })
    builds.push(built)
  }
  const { manifests } = await writeLayout({
    path: out,
    images: builds.map(({ image }) => image),
    blobs: builds.flatMap(({ blobs }) => blobs),
  })
  const made = {
    out,
    tag: options.tag,
    digest: manifests[0]?.digest,
    images: builds.map(({ image, kernelVersion, kernelBytes, initramfsBytes, rootfsBytes }) => ({
      ...{ arch: image.arch, kernelVersion, kernelBytes, initramfsBytes, rootfsBytes },
    })),
  }
  print(context.output(), made, () => madeText(made))
}

type Found = { arch: Arch; resolved: ResolvedManifest }

async function resolveWanted(
  source: Awaited<ReturnType<typeof openSource>>['source'],
  name: Awaited<ReturnType<typeof openSource>>['name'],
  arch: Arch | undefined,
  signal: AbortSignal,
): Promise<Found[]> {
  if (arch !== undefined) return [{ arch, resolved: await source.resolve(name, { arch, signal }) }]
  const all = await source.resolveAll(name, { signal })
  return all.map((resolved) => {
    if (resolved.arch !== undefined) return { arch: resolved.arch, resolved }
    throw new MusterError(
      'manifest-invalid',
      `${source.location} does not say which architecture it is for. Say it with --arch.`,
    )
  })
}

/** @throws config-invalid */
function commandLine(words: readonly string[]): string {
  const line = words.join(' ')
  if (!/^[\x20-\x7e]*$/.test(line) || line.length > cmdlineBytesMax)
    throw new MusterError(
      'config-invalid',
      `--append: the kernel takes printable ASCII, at most ${cmdlineBytesMax} characters of it in all.`,
    )
  return line
}

function madeText(made: {
  out: string
  tag: string
  images: {
    arch: Arch
    kernelVersion: string
    kernelBytes: number
    initramfsBytes: number
    rootfsBytes: number
  }[]
}): string {
  const lines = made.images.map(
    (one) =>
      `${one.arch.padEnd(5)}  Linux ${one.kernelVersion}: kernel ${bytes(one.kernelBytes)}, initramfs ${bytes(one.initramfsBytes)}, root file system ${bytes(one.rootfsBytes)}`,
  )
  return [
    ...lines,
    `${made.out} is ready; next: muster image publish ${made.out}:${made.tag} --as <image>/<version>`,
    '',
  ].join('\n')
}
