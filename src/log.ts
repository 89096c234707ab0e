/** The part of pino that our rooms use; anything with these four methods will do. */
export type Log = {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

/** A log that keeps nothing: for tests and for programs that print for people instead. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
