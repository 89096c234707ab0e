/**
 * `npm run lab -- SCENARIO | all`: real firmware in a network namespace of its own (root). The namespace has one bridge, no
 * way out, and goes away with the scenario.
 */
import { spawnSync } from 'node:child_process'
import type { Scenario } from '../test/lab/scenario.ts'
import { scenarios } from '../test/lab/scenarios.ts'
import { tool } from '../test/support/tools.ts'
import { unpackTools } from '../test/support/unpack-tools.ts'

const name = process.argv[2]
const inside = process.argv[3] === '--inside'

if (name === undefined || (name !== 'all' && scenarios[name] === undefined)) {
  console.error('usage: npm run lab -- SCENARIO | all\n')
  for (const [known, { about }] of Object.entries(scenarios)) console.error(`  ${known.padEnd(24)} ${about}`)
  process.exitCode = name === undefined ? 0 : 2
} else if (inside) {
  process.exitCode = await runInside(name, scenarios[name] as Scenario)
} else {
  // Inside its network a scenario reaches no mirror.
  await unpackTools(console.log, ['qemu-system-x86_64'])
  process.exitCode = runAll(name === 'all' ? Object.keys(scenarios) : [name])
}

function runAll(names: string[]): number {
  const ip = tool('ip')
  if (process.getuid?.() !== 0 || ip === undefined) {
    console.error(
      'A lab needs root and iproute2, because it makes a network namespace: sudo npm run lab -- SCENARIO',
    )
    return 77
  }
  const results = names.map((each) => {
    const started = Date.now()
    const namespace = `muster-${process.pid}-${each}`.slice(0, 60)
    run(ip, ['netns', 'add', namespace])
    try {
      const { status } = spawnSync(
        ip,
        [
          'netns',
          'exec',
          namespace,
          process.execPath,
          '--disable-warning=ExperimentalWarning',
          import.meta.filename,
          each,
          '--inside',
        ],
        { stdio: 'inherit' },
      )
      return {
        scenario: each,
        result: status === 0 ? 'passed' : 'FAILED',
        seconds: Math.round((Date.now() - started) / 1000),
      }
    } finally {
      run(ip, ['netns', 'delete', namespace])
    }
  })
  console.table(results)
  const failed = results.filter(({ result }) => result !== 'passed').length
  console.log(`${results.length - failed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

async function runInside(each: string, scenario: Scenario): Promise<number> {
  try {
    await scenario.run()
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
