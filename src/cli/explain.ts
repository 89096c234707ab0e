/** `muster explain <code>`: the paragraph of docs/errors.md, also at a rack without a browser. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { errorCodes } from '../errors.ts'
import { didYouMean } from '../nearest.ts'
import type { Context } from './context.ts'
import { print } from './output.ts'

export function addExplain(program: Command, context: Context): void {
  program
    .command('explain')
    .argument('<code>', "the code of an error, as in 'blob-digest'", aCode)
    .description('what an error code means, and the way out')
    .action((code: string) => {
      const text = paragraphOf(context.world.packageRoot, code) ?? ''
      print(context.output(), { code, text }, () => `${code}\n\n${text}\n`)
    })
}

/** The text under the heading of a code; undefined when there is none. */
export function paragraphOf(packageRoot: string, code: string): string | undefined {
  const sections = readFileSync(join(packageRoot, 'docs/errors.md'), 'utf8').split(/^#{1,3} /m)
  const found = sections.find((section) => section.startsWith(`\`${code}\`\n`))
  return found?.slice(found.indexOf('\n')).trim()
}

/** A closed list, so another word is wrong usage. */
function aCode(text: string): string {
  if ((errorCodes as readonly string[]).includes(text)) return text
  const close = errorCodes.filter((known) => known.split('-').some((word) => text.includes(word))).slice(0, 6)
  const hint =
    didYouMean(text, errorCodes) || (close.length === 0 ? '' : `; close to it are ${close.join(', ')}.`)
  throw new InvalidArgumentError(`There is no such error${hint || '.'} docs/errors.md lists all.`)
}
