/**
 * `npm test`: unpacks the test programs that this machine lacks under .cache/tools (nothing is installed), says what it
 * has to skip and why, and runs vitest. Arguments go to vitest; `--refresh` makes test/support/tools.lock again.
 */
import { spawnSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { encodeLock, parseLock } from '../src/builder/lock.ts'
import { aptMirrors } from '../src/builder/mirror.ts'
import { refreshLock } from '../src/builder/refresh.ts'
import { ensureTools, toolNames } from '../src/builder/tools.ts'
import { createProgressLines } from '../src/setup/progress-lines.ts'
import { tool } from '../test/support/tools.ts'

const root = join(import.meta.dirname, '..')
const cache = join(root, '.cache')
const lockFile = join(root, 'test/support/tools.lock')
const rest = process.argv.slice(2)

if (rest.includes('--refresh')) await refresh()
else process.exitCode = await main()

async function main(): Promise<number> {
  const missing = toolNames.filter((name) => tool(name) === undefined)
  for (const name of missing) await unpack(name)
  const still = toolNames.filter((name) => tool(name) === undefined)
  for (const name of still)
    console.log(`skipping what needs ${name}: it is not on PATH and could not be unpacked`)
  if (still.length > 0 && process.env['CI'] !== undefined) {
    console.error('In CI nothing may be skipped.')
    return 1
  }
  const { status } = spawnSync(join(root, 'node_modules/.bin/vitest'), ['run', ...rest], {
    cwd: root,
    stdio: 'inherit',
    // What is on the machine comes first; the unpacked programs only fill the gaps.
    env: {
      ...process.env,
      PATH: [join(root, 'node_modules/.bin'), process.env['PATH'], join(cache, 'tools/bin')].join(delimiter),
    },
  })
  return status ?? 1
}

/** A tool that cannot be had is a skipped test, not a failed run. */
async function unpack(name: string): Promise<void> {
  const lock = parseLock(await readFile(lockFile, 'utf8'), lockFile)
  const cacheDir = join(cache, 'muster/packages')
  await mkdir(cacheDir, { recursive: true })
  console.log(`unpacking ${name} under .cache/tools`)
  try {
    await ensureTools({
      names: [name],
      lock,
      mirrors: await aptMirrors(),
      cacheDir,
      folder: join(cache, 'tools'),
      progress: createProgressLines(console.log),
    })
  } catch (error) {
    console.log(`${name}: ${(error as Error).message}`)
  }
}

async function refresh(): Promise<void> {
  const [mirror] = await aptMirrors()
  const { changes, lock } = await refreshLock({
    architectures: ['amd64', 'arm64'],
    mirror: mirror as string,
    lockFile,
    wantedFile: join(root, 'test/support/tools.yaml'),
    keysFolder: join(root, 'images/agent/keys'),
  })
  await writeFile(lockFile, encodeLock(lock))
  for (const change of changes) console.log(change)
}
