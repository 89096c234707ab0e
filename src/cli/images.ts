/** `muster images`, `muster image publish`, `muster image pull`: which operating systems there are, and how new ones come in. */
import type { Command } from 'commander'
import { MusterError } from '../errors.ts'
import type { ImagesView, PullProgress } from '../http/admin-images.ts'
import type { Arch } from '../protocol/identifiers.ts'
import type { Published } from '../releases/publish-here.ts'
import { publishThere } from '../releases/publish-there.ts'
import { agentVersion, anArch, channelName, type ReleaseName, releaseName, wholeNumber } from './arguments.ts'
import { addBuildImage } from './build-image.ts'
import type { Context } from './context.ts'
import { checkContent } from './image-content.ts'
import { openSource } from './image-source.ts'
import { checkKernelSignatures } from './kernel-signatures.ts'
import { bytes, print, printable, table } from './output.ts'
import { addPublisherOptions, openPublisher, type PublisherOptions } from './publisher.ts'
import { addRemoveImage } from './remove-image.ts'
import { addSignKernel, readCertificate } from './sign-kernel.ts'

type PublishOptions = PublisherOptions & {
  as: ReleaseName
  channel: string | false
  arch?: Arch
  hardwareId?: string[]
  floor?: number
  counter?: number
  minAgent?: string
  secureBoot?: string
  anyKernel?: boolean
  newImage?: boolean
}

export function addImages(program: Command, context: Context): void {
  program
    .command('images')
    .description('images, their releases and channels, as signed')
    .action(async () => {
      const found = await context.api().call<ImagesView>({ method: 'GET', path: '/images' })
      print(context.output(), found, () => imagesText(found))
    })

  const image = program
    .command('image')
    .description('bring in an operating system, or withdraw one: build, sign, publish, pull, remove')
  const publishCommand = image
    .command('publish')
    .argument('<source>', 'an OCI layout folder (folder or folder:tag), or a registry reference')
    .description('sign a release with your key and publish it')
    .requiredOption('--as <image/version>', 'what it is called here, as in edge-os/1.4.2', releaseName)
    .option('--channel <channel>', 'channel that names it from now on', channelName, 'stable')
    .option('--no-channel', 'no channel names it yet')
    .option('--arch <arch>', 'only this architecture; needed where the source does not say it', anArch)
    .option('--hardware-id <id...>', 'boots only on this hardware; any hardware unless given')
    .option('--floor <counter>', 'no release of the image with a lower counter boots any more', wholeNumber)
    .option(
      '--counter <counter>',
      "its release counter (default: one above the image's highest)",
      wholeNumber,
    )
    .option(
      '--secure-boot <certificate>',
      'refuse a kernel that this Secure Boot certificate (PEM) did not sign: its machines would not start it',
    )
    .option('--new-image', "a new image, although its name is nearly another's")
    .option('--any-kernel', 'also a kernel that does not look like one that kexec takes')
    .option('--min-agent <version>', 'oldest agent that can boot it', agentVersion)
  addPublisherOptions(publishCommand).action((source: string, options: PublishOptions) =>
    publish(context, source, options),
  )
  addRemoveImage(image, context)
  addSignKernel(image, context)
  addBuildImage(image, context)
  image
    .command('pull')
    .argument('<reference>', 'registry/name:tag or …@sha256:…')
    .option('--arch <arch>', 'only this architecture of an index', anArch)
    .description("fetch from a registry into the server's store, so that publishing it moves nothing")
    .action(async (reference: string, { arch }: { arch?: Arch }) => {
      const progress = createProgressLine(context)
      let last: PullProgress | undefined
      const body = { reference, ...(arch === undefined ? {} : { arch }) }
      const { signal } = context.world
      const lines = context.api().lines({ method: 'POST', path: '/images/pull', body, signal })
      for await (const line of lines) {
        last = line as PullProgress
        if (last.kind === 'progress') progress.show(last)
      }
      progress.end()
      if (last?.kind !== 'done')
        throw new MusterError('blob-truncated', 'The pull ended early; the same command goes on from there.')
      const { manifests } = last
      print(context.output(), manifests, () =>
        [
          ...manifests.map(({ arch = '-', digest }) => `${arch.padEnd(5)}  ${digest}\n`),
          `pulled into the server's store; 'muster image publish ${printable(reference)} --as <image/version>' releases it.\n`,
        ].join(''),
      )
      if (manifests.some((one) => one.arch === undefined))
        context
          .output()
          .note(
            'note: it does not say which architecture it is for; publish it with --arch amd64 or --arch arm64.\n',
          )
    })
}

async function publish(context: Context, source: string, options: PublishOptions): Promise<void> {
  const { image, version } = options.as
  const { remember, ...publisher } = await openPublisher(context, options)
  const opened = await openSource(context, source)
  await checkContent({ ...opened, arch: options.arch }, { anyKernel: options.anyKernel === true })
  if (options.secureBoot !== undefined)
    await checkKernelSignatures({ ...opened, arch: options.arch }, readCertificate(options.secureBoot))
  const progress = createProgressLine(context)
  const published = await publishThere({
    ...opened,
    ...publisher,
    image,
    version,
    arch: options.arch,
    channel: options.channel === false ? null : options.channel,
    floor: options.floor,
    releaseCounter: options.counter,
    hardwareIds: options.hardwareId,
    minAgent: options.minAgent,
    newImage: options.newImage,
    onProgress: progress.show,
    signal: context.world.signal,
  })
  progress.end()
  remember(published.targetsVersion)
  print(context.output(), published, () =>
    [
      ...published.releases.map(({ path, digest }) => `${path}  ${digest}\n`),
      publishedText(published, options),
    ].join(''),
  )
  for (const notice of published.notices) context.output().note(`note: ${notice}\n`)
}

function publishedText({ changed, targetsVersion }: Published, { channel }: PublishOptions): string {
  if (changed === 'nothing')
    return `was published before, just so; nothing changed (targets version ${targetsVersion}).\n`
  if (changed === 'channel')
    return `was published before; channel ${channel} changed, in targets version ${targetsVersion}.\n`
  return `published in targets version ${targetsVersion}${channel === false ? '' : ` and on channel ${channel}`}.\n`
}

/** One line that is written over while a person watches; nothing in a log or a pipe. */
function createProgressLine(context: Context) {
  const { world } = context
  let shownAt = 0
  return {
    show(progress: { doneBytes: number; totalBytes: number }) {
      if (!world.isTerminal || world.now() - shownAt < 200) return
      shownAt = world.now()
      world.stderr(`\r${bytes(progress.doneBytes)} of ${bytes(progress.totalBytes)}   `)
    },
    end() {
      if (shownAt > 0) world.stderr('\r\u001b[K')
    },
  }
}

function imagesText({ images, skipped }: ImagesView): string {
  const rows = images.flatMap(({ name, releases, channels }) =>
    releases.map((one) => [
      name,
      one.version,
      one.arch,
      String(one.releaseCounter),
      channels
        .filter(({ version }) => version === one.version)
        .map(({ channel }) => channel)
        .join(',') ||
        (channels.some((c) => one.releaseCounter < c.minReleaseCounter) ? '(below floor)' : '-'),
      one.hardwareIds.join(',') || 'any',
      one.digest.slice(0, 19),
    ]),
  )
  const head = ['IMAGE', 'VERSION', 'ARCH', 'COUNTER', 'CHANNELS', 'HARDWARE', 'MANIFEST']
  const list = table(head, rows, "No image is published; 'muster image publish' does it.")
  return list + skipped.map((reason) => `not offered: ${reason}\n`).join('')
}
