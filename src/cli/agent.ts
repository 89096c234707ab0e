/** `muster agent build`: the boot agent for flash, a stick or the network, made from locked Debian packages. */

import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import {
  type BuiltAgent,
  buildAgent,
  type Hardware,
  imagesFolder,
  readImagesLock,
} from '../builder/agent-image.ts'
import { readAgentPolicy } from '../builder/agent-policy.ts'
import type { ImageSigner } from '../builder/authenticode.ts'
import { aptMirrors } from '../builder/mirror.ts'
import { refreshLock } from '../builder/refresh.ts'
import { agentArgumentsOf } from '../config/agent-arguments.ts'
import { documentProblem } from '../document-problem.ts'
import { MusterError } from '../errors.ts'
import { agentConfig as agentConfigSchema } from '../protocol/agent-config.ts'
import { type AgentOrigin, type Arch, agentOrigin, arch as archSchema } from '../protocol/identifiers.ts'
import { addBootImage } from './agent-boot-image.ts'
import { addAgentFetch } from './agent-fetch.ts'
import { type AgentTrust, agentTrust } from './agent-trust.ts'
import { anArch, oneOf } from './arguments.ts'
import type { Context } from './context.ts'
import { prepareFolder } from './folders.ts'
import { bytes, print } from './output.ts'
import { readImageSigner } from './sign-kernel.ts'

type BuildOptions = {
  arch: Arch
  hardware: Hardware
  root?: string
  server?: string
  mirror?: string
  policy?: string
  out: string
  origin: AgentOrigin
  refresh?: boolean
  sign?: string
  cert?: string
}

export function addAgent(program: Command, context: Context): void {
  const agent = program.command('agent').description('the boot agent: build, fetch, boot-image')
  agent
    .command('build')
    .description('make kernel, initramfs and configuration of an agent')
    .requiredOption('--arch <arch>', archSchema.options.join(' or '), anArch)
    .requiredOption(
      '--hardware <hardware>',
      'virtual (virtio only) or server (wired NICs of real machines)',
      oneOf<Hardware>(['virtual', 'server']),
    )
    .option('--root <file>', "root.json that the agent trusts (default: the newest of the data folder's)")
    .requiredOption('--out <folder>', 'where kernel and initramfs go')
    .option(
      '--server <url,…>',
      'agent planes tried in order; without it the kernel command line has to name one, as boot scripts do',
    )
    .option(
      '--origin <origin>',
      `how it will reach the machine: ${agentOrigin.options.join(', ')}`,
      oneOf(agentOrigin.options),
      'network',
    )
    .option(
      '--policy <file>',
      "what it may boot and do, YAML or JSON: docs/agent-policy.md; by default the setting 'agentPolicy'",
    )
    .option(
      '--sign <file>',
      'RSA key (PEM) that agent.efi is signed with for Secure Boot; --origin is then signed',
    )
    .option('--cert <file>', "its certificate (PEM), which is enrolled in the machines' db")
    .option('--mirror <url>', 'Debian mirror; by default the one apt uses')
    .addHelpText(
      'after',
      "\n--pin is the agent plane's key, as 'muster status' prints it; of several servers all, with commas." +
        '\nBy default the one in the data folder, and those of agent.peers.',
    )
    .option('--refresh', 'first make images/agent/packages.lock anew from what the mirror has now')
    // One --pin for both uses: the program takes it wherever it stands.
    .action((options: BuildOptions, command: Command) =>
      build(context, options, {
        pins: program.opts<{ pin?: readonly string[] }>().pin,
        wrongUsage: (sentence) => command.error(sentence),
      }),
    )
  addAgentFetch(agent, context)
  addBootImage(agent, context)
}

async function build(
  context: Context,
  options: BuildOptions,
  usage: { pins: readonly string[] | undefined; wrongUsage(sentence: string): never },
): Promise<void> {
  const { world } = context
  const { config } = context.loaded()
  const { arch, hardware } = options
  const signer = readSigner(options)
  const origin = signer === undefined ? options.origin : 'signed'
  const policyFile = options.policy ?? config.agentPolicy
  const policy = policyFile === undefined ? {} : await readAgentPolicy(policyFile)
  const { root } = options
  const trust = await agentTrust({ ...usage, config, root, origin, policy, world })
  const outDir = resolve(options.out)
  const cacheDir = resolve(config.cache ?? join(config.data, 'cache'))
  await prepareFolder(outDir, '--out')
  await prepareFolder(cacheDir, config.cache === undefined ? '--data' : 'cache')
  const given = options.mirror ?? config.mirror
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
    pins: trust.pins,
    arch,
    // The lock may hold milliseconds, which no signed time has (protocol/identifiers.ts).
    timeFloor: date.replace(/\.\d+Z$/, 'Z'),
    origin,
    servers: options.server?.split(',').map((url) => url.trim()) ?? [],
    policy: { ...policy, ...floorOf(trust) },
  })
  checkSettings(settings)
  const { servers } = settings
  if (origin !== 'network' && servers.length === 0)
    trust.notes.push(...noServerNotes(agentArgumentsOf(config, arch)))
  const built = await buildAgent({
    arch,
    hardware,
    mirrors,
    cacheDir,
    outDir,
    config: Buffer.from(JSON.stringify(settings, undefined, 2)),
    trustedRoot: trust.trustedRoot,
    commandLine: agentArgumentsOf(config, arch).join(' '),
    ...(signer === undefined ? {} : { signer }),
    agentBundle: await world.agentBundle(),
    progress,
  })
  const { pins, rootFile, rootVersion, notes } = trust
  print(context.output(), { ...built, trust: { rootFile, rootVersion, pins, ...floorOf(trust) } }, () =>
    builtText(built),
  )
  for (const note of notes) context.output().note(`${note}\n`)
}

/** A boot script gives the server to an agent that comes over the network; from flash or a stick nothing does. */
function noServerNotes(commandLine: readonly string[]): string[] {
  if (commandLine.some((argument) => argument.startsWith('muster.server='))) return []
  return [
    'warning: this agent names no server, and does not find one by DHCP. Build it with --server https://<host>:8443, or let what starts it put ' +
      'muster.server=https://<host>:8443 on its kernel command line; agent.efi has its command line inside and needs --server.',
  ]
}

const floorOf = ({ minTargetsVersion }: AgentTrust) =>
  minTargetsVersion === undefined ? {} : { minTargetsVersion }

function builtText(built: BuiltAgent): string {
  return [
    `${built.kernel}  ${bytes(built.kernelBytes)}  sha256:${built.kernelSha256}`,
    `${built.initramfs}  ${bytes(built.initramfsBytes)}  sha256:${built.initramfsSha256}`,
    `${built.unified}  ${bytes(built.unifiedBytes)}  sha256:${built.unifiedSha256}`,
    `Linux ${built.kernelRelease}; believes no time before ${built.timeFloor}`,
  ].join('\n')
}

/** @throws MusterError key-invalid */
function readSigner({ sign, cert }: BuildOptions): ImageSigner | undefined {
  if (sign === undefined && cert === undefined) return undefined
  if (sign === undefined || cert === undefined)
    throw new MusterError('key-invalid', 'Give both: --sign with the key, and --cert with its certificate.')
  return readImageSigner(sign, cert)
}

/** What the agent would refuse on the machine is refused at the desk. @throws MusterError agent-config-invalid */
function checkSettings(settings: unknown): void {
  const [issue] = agentConfigSchema.safeParse(settings).error?.issues ?? []
  if (issue === undefined) return
  throw new MusterError(
    'agent-config-invalid',
    `The agent would refuse its configuration: ${documentProblem(issue, settings, 'configuration')}.`,
  )
}
