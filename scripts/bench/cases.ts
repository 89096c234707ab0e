/** Which of a benchmark's cases are run: all of them, or those of `--case NAME`. */
import { oneOf } from '../usage.ts'

/** The option as parseOptions takes it. */
export const caseOption = { type: 'string', multiple: true } as const

/** @throws WrongUsage for a name that no case has */
export function chosenCases<Case extends { name: string }>(
  cases: readonly Case[],
  names: readonly string[] | undefined,
): Case[] {
  const known = cases.map(({ name }) => name)
  for (const name of names ?? []) oneOf('case', name, known)
  return cases.filter(({ name }) => names === undefined || names.includes(name))
}
