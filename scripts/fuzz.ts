/** `npm run fuzz -- NAME [--packets N] [--seed N]`: random and mutated packets against a protocol room; fails at the first thing that is wrong. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { oneOf, parseOptions, runProgram, wholeNumber } from './usage.ts'

const folder = join(import.meta.dirname, 'fuzz')
const names = readdirSync(folder)
  .filter((name) => /^(?!mutate)[a-z]+\.ts$/.test(name))
  .map((name) => name.replace('.ts', ''))

await runProgram(async () => {
  const [first = '--help', ...rest] = process.argv.slice(2)
  if ([first, ...rest].includes('--help')) {
    console.log(
      `usage: npm run fuzz -- NAME [--packets N] [--seed N], where NAME is one of: ${names.join(', ')}`,
    )
    return 0
  }
  const name = oneOf('protocol', first, names)
  const values = parseOptions(rest, {
    packets: { type: 'string', default: '10000000' },
    seed: { type: 'string', default: String(1 + (Date.now() % 0xfffffffe)) },
  })
  const [packets, seed] = [wholeNumber('packets', values.packets), wholeNumber('seed', values.seed)]
  console.log(`fuzz ${name}: ${packets} packets, seed ${seed}`)
  const { run } = (await import(join(folder, `${name}.ts`))) as {
    run(options: { packets: number; seed: number }): Promise<void>
  }
  await run({ packets, seed })
  return undefined
})
