/** `muster agent fetch`: fills the cache with all that a first start makes, so that the start itself needs no mirror. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { buildAgent } from '../builder/agent-image.ts'
import { buildHello } from '../builder/hello-image.ts'
import { fetchLoaders } from '../builder/loaders.ts'
import { aptMirrors } from '../builder/mirror.ts'
import { fetchRaspberryPiFirmware } from '../builder/raspberry-pi.ts'
import type { Context } from './context.ts'
import { prepareFolder } from './folders.ts'
import { print } from './output.ts'

export function addAgentFetch(agent: Command, context: Context): void {
  agent
    .command('fetch')
    .description('fill the cache with what a first start needs, for a server without a mirror in reach')
    .option('--mirror <url>', 'Debian mirror; by default the one apt uses')
    .addHelpText('after', '\nFor the hardware and architectures of image.hardware and image.architectures.')
    .action((options: { mirror?: string }) => fetchAll(context, options.mirror))
}

async function fetchAll(context: Context, mirror: string | undefined): Promise<void> {
  const { world } = context
  const { config } = context.loaded()
  const { architectures, hardware } = config.image
  const given = mirror ?? config.mirror
  const cacheDir = resolve(config.cache ?? join(config.data, 'cache'))
  await prepareFolder(cacheDir, config.cache === undefined ? '--data' : 'cache')
  const scratch = await mkdtemp(join(tmpdir(), 'muster-fetch-'))
  const common = {
    mirrors: given === undefined ? await aptMirrors() : [given.replace(/\/+$/, '')],
    cacheDir,
    outDir: scratch,
    hardware,
    progress: world.progressLines((line) => world.stderr(`${line}\n`)),
  }
  // The cache keeps what does not depend on a site; configuration and root are added when the server starts.
  const nothing = new Uint8Array()
  const agentBundle = await world.agentBundle()
  try {
    for (const arch of architectures) {
      await buildAgent({
        ...common,
        arch,
        config: nothing,
        trustedRoot: nothing,
        commandLine: '',
        agentBundle,
      })
      await buildHello({ ...common, arch })
    }
    await fetchLoaders(common)
    if (config.image.raspberryPi) await fetchRaspberryPiFirmware(common)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
  print(
    context.output(),
    { cache: cacheDir, architectures, hardware },
    () =>
      `${cacheDir} has all that a first start makes (${architectures.join(', ')}; ${hardware}); name it by MUSTER_CACHE.`,
  )
}
