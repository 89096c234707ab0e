/** `npm run bench -- NAME`: one benchmark beside its peers; prints a table and JSON lines. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

const folder = join(import.meta.dirname, 'bench')
const names = readdirSync(folder)
  .filter((name) => /^(?!statistics)(?!.*-server)[a-z-]+\.ts$/.test(name))
  .map((name) => name.replace('.ts', ''))
const [name, ...rest] = process.argv.slice(2)
if (name === undefined || !names.includes(name) || rest.includes('--help')) {
  console.error(`usage: npm run bench -- NAME, where NAME is one of: ${names.join(', ')}`)
  process.exitCode = name === undefined || rest.includes('--help') ? 0 : 2
} else {
  const { run } = (await import(join(folder, `${name}.ts`))) as { run(args: string[]): Promise<void> }
  await run(rest)
}
