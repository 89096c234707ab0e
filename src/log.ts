/** Logs: JSON lines for programs, one readable line for people. Secrets never reach a log call. */
import { type DestinationStream, type LoggerOptions, pino } from 'pino'
import pretty from 'pino-pretty'
import type { Config } from './config/schema.ts'
import { escapeDriving } from './terminal.ts'

/** The part of pino that our rooms use; anything with these four methods will do. */
export type Log = {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

/** A log that keeps nothing: for tests and for programs that print for people instead. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** `level` may be changed while it is in use. @param typed makes commands that sentences name such as can be pasted */
export function createLog(
  settings: Config['log'],
  isTerminal = process.stderr.isTTY,
  typed = (sentence: string) => sentence,
): Log & { level: string } {
  const forPeople = settings.format === 'text' || (settings.format === 'auto' && isTerminal)
  const base: LoggerOptions = {
    level: settings.level,
    base: null,
    hooks: {
      logMethod([fields, message, ...more], method) {
        method.apply(this, [fields, message === undefined ? message : typed(message), ...more])
      },
    },
  }
  return pino(base, forPeople ? readable() : pino.destination({ dest: 2, sync: false }))
}

/** Names, reasons and stacks in a line come from strangers as well, and pino-pretty prints them as they are. */
function readable(): DestinationStream {
  const destination = pino.destination({ dest: 2, sync: true })
  // One line for one thing that happened: versions and lists would be a line each.
  const prettify = pretty.prettyFactory({
    ignore: 'pid,hostname',
    translateTime: 'HH:MM:ss',
    singleLine: true,
  })
  const escaped = (_: string, value: unknown) => (typeof value === 'string' ? escapeDriving(value) : value)
  return { write: (line) => void destination.write(prettify(JSON.parse(line, escaped))) }
}
