/**
 * `npm test`: unpacks the test programs that this machine lacks under .cache/tools (nothing is installed), says what it
 * has to skip and why, and runs vitest. Arguments go to vitest; `--refresh` makes test/support/tools.lock again.
 */
import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { encodeLock } from '../src/builder/lock.ts'
import { aptMirrors } from '../src/builder/mirror.ts'
import { refreshLock } from '../src/builder/refresh.ts'
import { toolsFolder } from '../test/support/tools.ts'
import { toolsLock, unpackTools } from '../test/support/unpack-tools.ts'

const root = join(import.meta.dirname, '..')
const rest = process.argv.slice(2)
const inCi = process.env['CI'] !== undefined

if (rest.includes('--refresh')) await refresh()
else process.exitCode = await main()

async function main(): Promise<number> {
  const missing = await unpackTools(console.log)
  for (const name of missing)
    console.log(`skipping what needs ${name}: it is not on PATH and could not be unpacked`)
  if (process.env['TUF_CONFORMANCE'] === undefined)
    console.log('not run: the TUF conformance suite, which is fetched by hand (CONTRIBUTING.md says how)')
  const reporters = inCi ? ['--reporter=default', '--reporter=./test/support/no-skips.ts'] : []
  const { status } = spawnSync(join(root, 'node_modules/.bin/vitest'), ['run', ...reporters, ...rest], {
    cwd: root,
    stdio: 'inherit',
    // What is on the machine comes first; the unpacked programs only fill the gaps.
    env: {
      ...process.env,
      PATH: [join(root, 'node_modules/.bin'), process.env['PATH'], join(toolsFolder, 'bin')].join(delimiter),
    },
  })
  return status ?? 1
}

async function refresh(): Promise<void> {
  const [mirror] = await aptMirrors()
  const { changes, lock } = await refreshLock({
    architectures: ['amd64', 'arm64'],
    mirror: mirror as string,
    lockFile: toolsLock,
    wantedFile: join(root, 'test/support/tools.yaml'),
    keysFolder: join(root, 'images/agent/keys'),
  })
  await writeFile(toolsLock, encodeLock(lock))
  for (const change of changes) console.log(change)
}
