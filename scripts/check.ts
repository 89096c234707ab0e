/** `npm run check`: types of server and agent, biome, knip, and the house rules. Runs all, then says which failed. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const checks: [name: string, command: string, ...args: string[]][] = [
  ['types', 'tsc', '-p', '.'],
  ['types of the agent', 'tsc', '-p', 'src/agent'],
  ['biome', 'biome', 'check', '--error-on-warnings', '.'],
  ['knip', 'knip'],
  ['architecture and docs', 'vitest', 'run', 'test/architecture.test.ts', 'test/docs.test.ts'],
]

const failed = checks.filter(([name, command, ...args]) => {
  console.log(`── ${name}`)
  const { status } = spawnSync(join(root, 'node_modules/.bin', command), args, {
    cwd: root,
    stdio: 'inherit',
  })
  return status !== 0
})
console.log(`${checks.length - failed.length} passed, ${failed.length} failed`)
if (failed.length > 0) {
  console.error(`failed: ${failed.map(([name]) => name).join(', ')}`)
  process.exitCode = 1
}
