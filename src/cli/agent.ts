/** `muster agent build`: the boot agent for flash, a stick or the network, made from locked Debian packages. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { buildAgent, type Hardware, imagesFolder, readImagesLock } from '../builder/agent-image.ts'
import { aptMirrors } from '../builder/mirror.ts'
import { refreshLock } from '../builder/refresh.ts'
import { MusterError } from '../errors.ts'
import { agentOrigin, arch as archSchema } from '../protocol/identifiers.ts'
import type { Context } from './context.ts'
import { parseArch } from './images.ts'
import { bytes, print } from './output.ts'

type BuildOptions = {
  arch: string
  hardware: string
  root: string
  server?: string
  pin?: string
  out: string
  origin: string
  refresh?: boolean
}

const hardwares: readonly Hardware[] = ['virtual', 'server']

export function addAgent(program: Command, context: Context): void {
  const agent = program.command('agent').description('the boot agent: build')
  agent
    .command('build')
    .description('make kernel, initramfs and configuration of an agent')
    .requiredOption('--arch <arch>', archSchema.options.join(' or '))
    .requiredOption('--hardware <hardware>', 'virtual (virtio only) or server (wired NICs of real machines)')
    .requiredOption('--root <file>', 'root.json that the agent trusts')
    .requiredOption('--pin <sha256//…>', "the agent plane's key; 'muster status' prints it")
    .requiredOption('--out <folder>', 'where kernel and initramfs go')
    .option('--server <url,…>', 'agent planes tried in order; without it the kernel command line names one')
    .option(
      '--origin <origin>',
      `how it will reach the machine: ${agentOrigin.options.join(', ')}`,
      'network',
    )
    .option('--mirror <url>', 'Debian mirror; by default the one apt uses')
    .option('--refresh', 'first make images/agent/packages.lock anew from what the mirror has now')
    .action(async (options: BuildOptions) => {
      const { mirror } = program.opts<{ mirror?: string }>()
      await build(context, options, mirror)
    })
}

async function build(context: Context, options: BuildOptions, flag: string | undefined): Promise<void> {
  const { world } = context
  const { config } = context.loaded()
  const arch = parseArch(options.arch)
  const hardware = oneOf('--hardware', hardwares, options.hardware)
  const origin = oneOf('--origin', agentOrigin.options, options.origin)
  const given = flag ?? config.mirror
  const mirrors = given === undefined ? await aptMirrors() : [given.replace(/\/+$/, '')]
  const progress = world.progressLines((line) => world.stderr(`${line}\n`))
  if (options.refresh === true) {
    const folder = join(imagesFolder, 'agent')
    const { changes } = await refreshLock({
      lockFile: join(folder, 'packages.lock'),
      keysFolder: join(folder, 'keys'),
      architectures: archSchema.options,
      mirror: mirrors[0]!,
      progress,
    })
    world.stderr(changes.length === 0 ? 'The lock is up to date.\n' : `${changes.join('\n')}\n`)
  }
  const { date } = await readImagesLock()
  const settings = world.agentConfig({
    repository: config.releases.repository,
    pin: options.pin ?? '',
    arch,
    timeFloor: date,
    origin,
    servers: options.server?.split(',').map((url) => url.trim()) ?? [],
  })
  const built = await buildAgent({
    arch,
    hardware,
    mirrors,
    cacheDir: resolve(config.cache ?? join(config.data, 'cache')),
    outDir: resolve(options.out),
    config: Buffer.from(JSON.stringify(settings, undefined, 2)),
    trustedRoot: readFileSync(options.root),
    agentBundle: await world.agentBundle(),
    progress,
  })
  print(context.output(), built, () =>
    [
      `${built.kernel}  ${bytes(built.kernelBytes)}  sha256:${built.kernelSha256}`,
      `${built.initramfs}  ${bytes(built.initramfsBytes)}  sha256:${built.initramfsSha256}`,
      `Linux ${built.kernelRelease}; believes no time before ${built.timeFloor}`,
    ].join('\n'),
  )
}

function oneOf<T extends string>(flag: string, known: readonly T[], text: string): T {
  const found = known.find((one) => one === text)
  if (found !== undefined) return found
  throw new MusterError('config-invalid', `${flag} is one of ${known.join(', ')}, not '${text}'.`)
}
