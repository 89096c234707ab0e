/**
 * `npm run prepack`: what an installed package runs, in dist/: src/ as JavaScript (Node strips no types under
 * node_modules), and the agent as one module.
 */
import { execFileSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { agentBundle } from '../src/setup/agent-bundle.ts'

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')

rmSync(dist, { recursive: true, force: true })
execFileSync(join(root, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.dist.json'], {
  cwd: root,
  stdio: 'inherit',
})
writeFileSync(join(dist, 'agent.js'), await agentBundle())
