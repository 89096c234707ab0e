/** The command lines of developer programs: what is wrong with one is said in a sentence, with exit code 2, before anything starts. */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { didYouMean } from '../src/nearest.ts'

export class WrongUsage extends Error {}

/** Runs a program to its exit code (nothing is 0); wrong usage is a sentence and 2. */
export async function runProgram(program: () => Promise<number | undefined>): Promise<void> {
  try {
    process.exitCode = (await program()) ?? process.exitCode
  } catch (error) {
    if (!(error instanceof WrongUsage)) throw error
    console.error(error.message)
    process.exitCode = 2
  }
}

/** `--name value` and `--switch`, nothing else. @throws WrongUsage, naming what is known */
export function parseOptions<const Options extends ParseArgsOptionsConfig>(
  args: readonly string[],
  options: Options,
) {
  const names = Object.keys(options)
  const known =
    names.length === 0 ? 'it takes none' : `known are ${names.map((one) => `--${one}`).join(', ')}`
  const { tokens } = parseArgs({ args: [...args], options, strict: false, tokens: true })
  for (const token of tokens) {
    if (token.kind === 'positional') throw new WrongUsage(`'${token.value}' is no option; ${known}`)
    if (token.kind === 'option' && !Object.hasOwn(options, token.name))
      throw new WrongUsage(`there is no option ${token.rawName}${didYouMean(token.name, names)}; ${known}`)
  }
  try {
    return parseArgs({ args: [...args], options, strict: true }).values
  } catch (error) {
    // What is left is a value that is missing, or one too many; Node's first sentence names the option.
    throw new WrongUsage((error as Error).message.split('\n')[0]!.replace(/\. .*$/, ''))
  }
}

/** @throws WrongUsage */
export function wholeNumber(option: string, text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text)
  throw new WrongUsage(`--${option} takes a whole number above 0, not '${text}'`)
}

/** @throws WrongUsage, naming all */
export function oneOf<Name extends string>(what: string, text: string, known: readonly Name[]): Name {
  const found = known.find((name) => name === text)
  if (found !== undefined) return found
  throw new WrongUsage(
    `there is no ${what} '${text}'${didYouMean(text, known)}; known are ${known.join(', ')}`,
  )
}
