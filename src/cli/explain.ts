/** `muster explain <code>`: the paragraph of docs/errors.md, also at a rack without a browser. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { errorCodes, MusterError } from '../errors.ts'
import type { Context } from './context.ts'
import { print, printable } from './output.ts'

export function addExplain(program: Command, context: Context): void {
  program
    .command('explain')
    .argument('<code>', "the code of an error, as in 'blob-digest'")
    .description('what an error code means, and the way out')
    .action((code: string) => {
      const text = paragraphOf(context.world.packageRoot, code)
      if (text === undefined) throw unknownCode(code)
      print(context.output(), { code, text }, () => `${code}\n\n${text}\n`)
    })
}

/** The text under the heading of a code; undefined when there is none. */
export function paragraphOf(packageRoot: string, code: string): string | undefined {
  const sections = readFileSync(join(packageRoot, 'docs/errors.md'), 'utf8').split(/^#{1,3} /m)
  const found = sections.find((section) => section.startsWith(`\`${code}\`\n`))
  return found?.slice(found.indexOf('\n')).trim()
}

function unknownCode(code: string): MusterError {
  const close = errorCodes.filter((known) => known.split('-').some((word) => code.includes(word))).slice(0, 6)
  return new MusterError(
    'request-invalid',
    `There is no error '${printable(code).slice(0, 64)}'${close.length > 0 ? `; close to it are ${close.join(', ')}` : ''}. docs/errors.md lists all.`,
  )
}
