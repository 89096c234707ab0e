/**
 * `npm run lab -- SCENARIO … | all`: real firmware in a network namespace of its own (root). The namespace has one bridge, no
 * way out, and goes away with the scenario.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dataNames } from '../src/builder/tools.ts'
import { type Result, resultLines } from '../test/lab/results.ts'
import type { Scenario } from '../test/lab/scenario.ts'
import { scenarios } from '../test/lab/scenarios.ts'
import { tool } from '../test/support/tools.ts'
import { unpackTools } from '../test/support/unpack-tools.ts'
import { addNamespace, beforeSignalEnds, removeNamespacesOf } from './namespaces.ts'
import { oneOf, parseOptions, runProgram, WrongUsage } from './usage.ts'

const root = join(import.meta.dirname, '..')
/** Emulators and firmware. */
const labTools = ['qemu-system-x86_64', 'qemu-system-aarch64', 'virt-fw-vars', ...dataNames]
/** Where a scenario inside its network leaves what it measured, or why it failed. */
const outcomeVariable = 'LAB_OUTCOME'
/** One that hangs is ended, so that the others have their turn. */
const scenarioMostMs = 45 * 60_000

await runProgram(main)

async function main(): Promise<number> {
  const words = process.argv.slice(2)
  const given = words.filter((word) => !word.startsWith('-'))
  const known = Object.keys(scenarios)
  if (words.length === 0 || words.includes('--help')) {
    console.log('usage: npm run lab -- SCENARIO … | all\n')
    for (const [name, { about }] of Object.entries(scenarios)) console.log(`  ${name.padEnd(24)} ${about}`)
    return 0
  }
  // `--inside`: this very program, started again in its network.
  const options = words.filter((word) => word.startsWith('-'))
  const { inside } = parseOptions(options, { inside: { type: 'boolean', default: false } })
  if (given.length === 0) throw new WrongUsage(`name a scenario; known are all, ${known.join(', ')}`)
  for (const name of given) oneOf('scenario', name, ['all', ...known])
  const [name] = given as [string]
  if (inside) return runInside(name, scenarios[name] as Scenario)
  const names = given.includes('all') ? known : given
  await unpackTools(console.log, labTools)
  fillCache(new Set(names.flatMap((each): readonly string[] => scenarios[each]?.architectures ?? ['amd64'])))
  return runAll(names)
}

/** What servers of the lab make agents and images from. */
function fillCache(architectures: ReadonlySet<string>): void {
  const folder = mkdtempSync(join(tmpdir(), 'muster-lab-data-'))
  try {
    const { status } = spawnSync(process.execPath, [join(root, 'src/main.ts'), 'agent', 'fetch'], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {
        ...process.env,
        NODE_NO_WARNINGS: '1',
        MUSTER_DATA: folder,
        MUSTER_CACHE: join(root, '.cache/muster'),
        MUSTER_IMAGE_ARCHITECTURES: [...architectures].join(','),
      },
    })
    if (status !== 0) throw new Error('the packages of agents and images could not be fetched')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** One after the other; one that fails, also before it has begun, keeps none of the others from running. */
async function runAll(names: string[]): Promise<number> {
  const ip = tool('ip')
  if (process.getuid?.() !== 0 || ip === undefined) {
    console.error(
      'A lab needs root and iproute2, because it makes a network namespace: sudo npm run lab -- SCENARIO',
    )
    return 77
  }
  const folder = mkdtempSync(join(tmpdir(), 'muster-lab-'))
  try {
    const results: Result[] = []
    for (const each of names) {
      if (names.length > 1) console.log(`\n── ${each}: ${scenarios[each]?.about}`)
      results.push(await runOne(ip, each, join(folder, each)))
    }
    for (const line of resultLines(results)) console.log(line)
    return results.every(({ failure }) => failure === undefined) ? 0 : 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function runOne(ip: string, scenario: string, outcomeFile: string): Promise<Result> {
  const started = Date.now()
  const namespace = `muster-${process.pid}-${scenario}`.slice(0, 60)
  const command = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    import.meta.filename,
    scenario,
    '--inside',
  ]
  let ended = ''
  try {
    // Inside its network it reaches no mirror.
    await scenarios[scenario]?.prepare?.()
    using _ = addNamespace(ip, namespace)
    // Not spawnSync: a signal has to be heard while it runs.
    const child = spawn(ip, ['netns', 'exec', namespace, ...command], {
      stdio: 'inherit',
      env: { ...process.env, [outcomeVariable]: outcomeFile },
      timeout: scenarioMostMs,
      killSignal: 'SIGKILL',
    })
    using __ = beforeSignalEnds(() => removeNamespacesOf(ip, child.pid ?? 0))
    const [, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    removeNamespacesOf(ip, child.pid ?? 0)
    ended =
      signal === null ? 'it ended without a word' : `it was ended by ${signal}, or did not end by itself`
  } catch (error) {
    ended = (error as Error).message
  }
  const { seconds, failure } = readOutcome(outcomeFile) ?? { seconds: [], failure: ended }
  return { scenario, totalSeconds: (Date.now() - started) / 1000, seconds, failure }
}

/** What a scenario left: its measures, or why it failed. */
type Outcome = Pick<Result, 'seconds' | 'failure'>

function readOutcome(file: string): Outcome | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Outcome
  } catch {
    return undefined
  }
}

async function runInside(each: string, scenario: Scenario): Promise<number> {
  let outcome: Outcome
  try {
    const measured = await scenario.run()
    outcome = { seconds: measured?.seconds ?? [] }
    console.log(`lab ${each}: joined`)
  } catch (error) {
    const { message } = error as Error
    outcome = { seconds: [], failure: message.split('\n')[0] ?? '' }
    console.error(`lab ${each}: ${message}`)
  }
  const file = process.env[outcomeVariable]
  if (file !== undefined) writeFileSync(file, JSON.stringify(outcome))
  return outcome.failure === undefined ? 0 : 1
}
