/** Logs: JSON lines for programs, one readable line for people. Secrets never reach a log call. */
import { type DestinationStream, pino } from 'pino'
import pretty from 'pino-pretty'
import type { Config } from './config/schema.ts'

/** The part of pino that our rooms use; anything with these four methods will do. */
export type Log = {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

/** A log that keeps nothing: for tests and for programs that print for people instead. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** `level` may be changed while it is in use. */
export function createLog(
  settings: Config['log'],
  isTerminal = process.stderr.isTTY,
): Log & { level: string } {
  const forPeople = settings.format === 'text' || (settings.format === 'auto' && isTerminal)
  const base = { level: settings.level, base: null }
  const destination = forPeople
    ? (pretty({
        destination: 2,
        sync: true,
        ignore: 'pid,hostname',
        translateTime: 'HH:MM:ss',
        // One line for one thing that happened: versions and lists would be a line each.
        singleLine: true,
      }) as DestinationStream)
    : pino.destination({ dest: 2, sync: false })
  return pino(base, destination)
}
