/** `npm run fuzz -- NAME [--packets N] [--seed N]`: random and mutated packets against a protocol room; fails at the first thing that is wrong. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const folder = join(import.meta.dirname, 'fuzz')
const names = readdirSync(folder)
  .filter((name) => /^(?!mutate)[a-z]+\.ts$/.test(name))
  .map((name) => name.replace('.ts', ''))
const [name, ...rest] = process.argv.slice(2)
if (name === undefined || !names.includes(name) || rest.includes('--help')) {
  console.error(
    `usage: npm run fuzz -- NAME [--packets N] [--seed N], where NAME is one of: ${names.join(', ')}`,
  )
  process.exitCode = name === undefined || rest.includes('--help') ? 0 : 2
} else {
  const { values } = parseArgs({
    args: rest,
    options: {
      packets: { type: 'string', default: '10000000' },
      seed: { type: 'string', default: String(Date.now() % 0xffffffff) },
    },
  })
  console.log(`fuzz ${name}: ${values.packets} packets, seed ${values.seed}`)
  const { run } = (await import(join(folder, `${name}.ts`))) as {
    run(options: { packets: number; seed: number }): Promise<void>
  }
  await run({ packets: Number(values.packets), seed: Number(values.seed) })
}
