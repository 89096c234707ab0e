/** The one place where errors become exit codes, for scripts (docs/command-line.md). Numbers above 63 are sysexits(3). */
import { CommanderError } from 'commander'
import { type ErrorCode, errorCodeOf, MusterError } from '../errors.ts'
import { printableLines } from './output.ts'

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  /** EX_UNAVAILABLE */
  unreachable: 69,
  /** EX_CONFIG */
  configuration: 78,
} as const

const byCode: Partial<Record<ErrorCode, number>> = {
  'server-unreachable': exitCodes.unreachable,
  'config-invalid': exitCodes.configuration,
  'agent-config-invalid': exitCodes.configuration,
  'data-unwritable': exitCodes.configuration,
  'listen-failed': exitCodes.configuration,
  // Another Muster has the data folder: to a service manager that is one thing, whichever lock is met first.
  'database-locked': exitCodes.configuration,
  'repository-locked': exitCodes.configuration,
}

export function exitCodeOf(error: unknown): number {
  // Commander throws for --help and --version too, with 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  return byCode[errorCodeOf(error)] ?? exitCodes.failed
}

/** For standard error: our own errors in one sentence and the way to more; a stack only where nobody foresaw it. */
export function describeError(error: unknown): string {
  if (error instanceof MusterError)
    return `muster: ${printableLines(error.message)}\n        (${error.code}: 'muster explain ${error.code}' says more)\n`
  const text = printableLines(error instanceof Error ? (error.stack ?? error.message) : String(error))
  return `muster: something failed that nobody foresaw; please report it with these lines:\n${text}\n`
}
