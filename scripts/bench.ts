/** `npm run bench -- NAME`: one benchmark beside its peers; prints a table and JSON lines. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { beforeSignalEnds, killChildren } from './namespaces.ts'
import { oneOf, runProgram } from './usage.ts'

const folder = join(import.meta.dirname, 'bench')
const names = readdirSync(folder)
  .filter((name) => /^(?!statistics)(?!.*-server)[a-z-]+\.ts$/.test(name))
  .map((name) => name.replace('.ts', ''))

await runProgram(async () => {
  const [name = '--help', ...rest] = process.argv.slice(2)
  if ([name, ...rest].includes('--help')) {
    console.log(`usage: npm run bench -- NAME, where NAME is one of: ${names.join(', ')}`)
    return 0
  }
  const { run } = (await import(join(folder, `${oneOf('benchmark', name, names)}.ts`))) as {
    run(args: string[]): Promise<void>
  }
  // The servers of a benchmark end with it.
  using _ = beforeSignalEnds(killChildren)
  await run(rest)
  return undefined
})
