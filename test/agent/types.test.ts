/** One update of a dependency could bring Node's types into the agent, and then only a machine would show the mistake. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const compiler = join(root, 'node_modules/.bin/tsc')
const agent = join(root, 'src/agent')

/** What the compiler says of one source under the agent's settings, among everything that the agent imports. */
function errorsOf(source: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'muster-types-'))
  try {
    writeFileSync(
      join(folder, 'probe.mts'),
      `import '${relative(folder, join(agent, 'main.ts'))}'\n${source}\n`,
    )
    const config = {
      extends: join(agent, 'tsconfig.json'),
      files: [join(folder, 'probe.mts'), join(agent, 'quickjs.d.ts')],
      include: [],
    }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
    return spawnSync(compiler, ['-p', folder], { encoding: 'utf8' }).stdout
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

test('the agent compiles with the types of QuickJS alone', () => {
  expect(execFileSync(compiler, ['-p', agent], { encoding: 'utf8' })).toBe('')
  expect(errorsOf('export const one = 1')).toBe('')
})

const slips = [
  'process.exit(1)',
  "Buffer.from('x')",
  "console.log('x')",
  "new URL('https://x')",
  'new TextEncoder()',
  'setTimeout(() => {}, 1)',
  "fetch('https://x')",
  "atob('eA==')",
  "import 'node:fs'",
]
const complaints = errorsOf(slips.join('\n'))

test.each(slips.map((source, index) => ({ source, line: index + 2 })))(
  '$source is an error of the compiler',
  ({ line }) => {
    expect(complaints).toMatch(new RegExp(`probe\\.mts\\(${line},\\d+\\): error TS\\d+: Cannot find`))
  },
)
