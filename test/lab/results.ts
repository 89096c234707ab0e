/** What a run of the lab says at its end: a row for each scenario, a column for each step that any of them measured. */
import { step as stepSchema } from '../../src/protocol/events.ts'
import type { Measured } from './scenario.ts'

export type Result = {
  scenario: string
  /** From its start to its end, its server's start included. */
  totalSeconds: number
  seconds: Measured['seconds']
  /** Why it failed; undefined: it passed. */
  failure?: string | undefined
}

/** In the order of a boot (support/boot-measures.ts); what somebody else measured comes behind. */
const knownSteps: readonly string[] = ['firmware', 'agent kernel', ...stepSchema.options, 'booted system']

/** The table, then each failure in its own words, then the sum. */
export function resultLines(results: readonly Result[]): string[] {
  const measured = new Set(results.flatMap(({ seconds }) => seconds.map(({ step }) => step)))
  const steps = [
    ...knownSteps.filter((step) => measured.has(step)),
    ...[...measured].filter((step) => !knownSteps.includes(step)),
  ]
  const rows = results.map(({ scenario, failure, totalSeconds, seconds }) => [
    scenario,
    failure === undefined ? 'passed' : 'FAILED',
    totalSeconds.toFixed(0),
    ...steps.map((step) => seconds.find((each) => each.step === step)?.seconds.toFixed(1) ?? ''),
  ])
  const failed = results.filter(({ failure }) => failure !== undefined)
  return [
    '',
    'seconds per step',
    '',
    ...tableLines(['scenario', 'result', 'total', ...steps], rows),
    '',
    ...failed.map(({ scenario, failure }) => `${scenario}: ${failure}`),
    `${results.length - failed.length} passed, ${failed.length} failed`,
  ]
}

/** Names to the left, numbers to the right. */
export function tableLines(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [header, ...rows]
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]) =>
    `| ${widths
      .map((width, column) => {
        const cell = row[column] ?? ''
        return /^\d/.test(cell) ? cell.padStart(width) : cell.padEnd(width)
      })
      .join(' | ')} |`
  return [line(header), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)]
}
