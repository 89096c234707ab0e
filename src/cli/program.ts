/** The grammar of the command line: `muster <noun> <verb>`. One file per noun; this one only puts them together. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { addAgent } from './agent.ts'
import { oneOf, pinList } from './arguments.ts'
import { addBootFiles } from './boot-files.ts'
import { addBoots } from './boots.ts'
import { addClusters } from './clusters.ts'
import { MusterCommand } from './command.ts'
import { addConfig } from './config.ts'
import { type Context, createContext, type World } from './context.ts'
import { addDhcp } from './dhcp.ts'
import { addDoctor } from './doctor.ts'
import { addEvents } from './events.ts'
import { describeError, exitCodeOf, exitCodes } from './exit-code.ts'
import { addExplain } from './explain.ts'
import { addHelp } from './help.ts'
import { addImages } from './images.ts'
import { addMachines } from './machines.ts'
import { addProfiles } from './profiles.ts'
import { addServe } from './serve.ts'
import { addStatus } from './status.ts'
import { addToken } from './token.ts'
import { addTuf } from './tuf.ts'

/** Runs one command line and gives its exit code; whatever goes wrong is already printed. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const program = createProgram(world)
  if (argv.length === 0) {
    program.outputHelp()
    return exitCodes.ok
  }
  try {
    await program.parseAsync(argv, { from: 'user' })
    return exitCodes.ok
  } catch (error) {
    // Commander has printed its own sentence.
    const printed = error instanceof Error && 'exitCode' in error
    if (!printed) world.stderr(describeError(error))
    return exitCodeOf(error)
  }
}

export function createProgram(world: World): Command {
  const program = new MusterCommand('muster')
  const context = createContext(program, world)
  program
    .description('Netboots machines into operating systems they can prove they should run.')
    .version(versionOf(world.packageRoot))
    .exitOverride()
    .configureOutput({ writeOut: world.stdout, writeErr: world.stderr })
    .showHelpAfterError("('muster --help' lists the commands, 'muster <command> --help' explains one)")
    .addHelpText(
      'after',
      `\nExit codes: 0 done, 1 failed, 2 wrong usage, 69 no server answers, 78 configuration or start.`,
    )
    // Not on every page: nine lines of them would hide the one option that a command is about.
    .addHelpText('afterAll', ({ command }) =>
      command === program ? '' : "\nOptions of every command (--data, --url, --json, …): 'muster --help'.",
    )
  addGlobalOptions(program)
  const groups: [heading: string, ...add: ((program: Command, context: Context) => void)[]][] = [
    ['Server:', addServe, addStatus, addConfig, addToken],
    ['Machines:', addMachines, addBoots, addEvents, addBootFiles],
    ['What they boot and join:', addProfiles, addClusters],
    ['Releases:', addImages, addTuf, addAgent],
    ['Trouble:', addDoctor, addDhcp],
    ['Help:', addExplain, addHelp],
  ]
  for (const [heading, ...adders] of groups) {
    program.commandsGroup(heading)
    for (const add of adders) add(program, context)
  }
  return program.helpCommand(false)
}

function addGlobalOptions(program: Command): void {
  program
    .option('--data <folder>', "the server's data folder; its socket is how commands reach it")
    .option('--config <file>', 'configuration file (default: muster.yaml where it exists)')
    .option('--set <key=value>', 'one setting, repeatable', collectSetting)
    .option('--log-level <level>', 'debug, info, warn or error', oneOf(['debug', 'info', 'warn', 'error']))
    .option('--url <url>', "another server's admin plane, with --token")
    .option(
      '--token <token>',
      'its token; better in MUSTER_TOKEN, where other users of this machine cannot see it',
    )
    .option('--pin <sha256//…>', "its public key, for https; its own 'muster status' prints it", pinList)
    .option('--json', 'JSON for programs instead of tables')
}

function collectSetting(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('It is key=value, as in tftp.port=6969.')
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) }
}

export function versionOf(packageRoot: string): string {
  return (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version
}
