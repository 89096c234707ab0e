/**
 * `npm run lab -- SCENARIO | all`: real firmware in a network namespace of its own (root). The namespace has one bridge, no
 * way out, and goes away with the scenario.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dataNames } from '../src/builder/tools.ts'
import type { Measured, Scenario } from '../test/lab/scenario.ts'
import { scenarios } from '../test/lab/scenarios.ts'
import { tool } from '../test/support/tools.ts'
import { unpackTools } from '../test/support/unpack-tools.ts'
import { oneOf, parseOptions, runProgram } from './usage.ts'

const root = join(import.meta.dirname, '..')
/** Emulators and firmware. */
const labTools = ['qemu-system-x86_64', 'qemu-system-aarch64', 'virt-fw-vars', ...dataNames]
/** Where a scenario inside its network leaves what it measured. */
const measuredVariable = 'LAB_MEASURED'

await runProgram(main)

async function main(): Promise<number> {
  const [first = '', ...rest] = process.argv.slice(2)
  const known = Object.keys(scenarios)
  if (first === '' || first === '--help') {
    console.log('usage: npm run lab -- SCENARIO | all\n')
    for (const [name, { about }] of Object.entries(scenarios)) console.log(`  ${name.padEnd(24)} ${about}`)
    return 0
  }
  const name = oneOf('scenario', first, ['all', ...known])
  // `--inside`: this very program, started again in its network.
  const { inside } = parseOptions(rest, { inside: { type: 'boolean', default: false } })
  if (inside) return runInside(name, scenarios[name] as Scenario)
  // Inside its network a scenario reaches no mirror.
  const names = name === 'all' ? known : [name]
  await unpackTools(console.log, labTools)
  fillCache(new Set(names.flatMap((each): readonly string[] => scenarios[each]?.architectures ?? ['amd64'])))
  for (const each of names) await scenarios[each]?.prepare?.()
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

function runAll(names: string[]): number {
  const ip = tool('ip')
  if (process.getuid?.() !== 0 || ip === undefined) {
    console.error(
      'A lab needs root and iproute2, because it makes a network namespace: sudo npm run lab -- SCENARIO',
    )
    return 77
  }
  const folder = mkdtempSync(join(tmpdir(), 'muster-lab-'))
  try {
    const results = names.map((each) => runOne(ip, each, join(folder, each)))
    console.table(Object.fromEntries(results.map(({ scenario, ...row }) => [scenario, row])))
    const failed = results.filter(({ result }) => result !== 'passed').length
    console.log(`${results.length - failed} passed, ${failed} failed`)
    return failed === 0 ? 0 : 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** One row of the table: the result, and seconds in all and by step. */
function runOne(ip: string, scenario: string, measuredFile: string) {
  const started = Date.now()
  const namespace = `muster-${process.pid}-${scenario}`.slice(0, 60)
  const command = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    import.meta.filename,
    scenario,
    '--inside',
  ]
  run(ip, ['netns', 'add', namespace])
  try {
    const { status } = spawnSync(ip, ['netns', 'exec', namespace, ...command], {
      stdio: 'inherit',
      env: { ...process.env, [measuredVariable]: measuredFile },
    })
    return {
      scenario,
      result: status === 0 ? 'passed' : 'FAILED',
      seconds: Math.round((Date.now() - started) / 1000),
      ...measuredSteps(measuredFile),
    }
  } finally {
    run(ip, ['netns', 'delete', namespace])
  }
}

function measuredSteps(file: string): Record<string, number> {
  try {
    const { seconds } = JSON.parse(readFileSync(file, 'utf8')) as Measured
    return Object.fromEntries(seconds.map((each) => [each.step, Math.round(each.seconds * 10) / 10]))
  } catch {
    return {}
  }
}

async function runInside(each: string, scenario: Scenario): Promise<number> {
  try {
    const measured = await scenario.run()
    const file = process.env[measuredVariable]
    if (measured !== undefined && file !== undefined)
      writeFileSync(file, JSON.stringify({ seconds: measured.seconds }))
    console.log(`lab ${each}: joined`)
    return 0
  } catch (error) {
    console.error(`lab ${each}: ${(error as Error).message}`)
    return 1
  }
}

function run(program: string, args: string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr.trim()}`)
}
