/** What the main thread and the thread with the engine say to each other. Files stay on the main thread, and have numbers here. */
import { type ErrorCode, errorCodes, MusterError } from '../../../errors.ts'
import type { Log } from '../../../log.ts'
import type { TftpRequest } from '../../file.ts'
import type { TftpLimits } from '../../limits.ts'
import type { Refusal, TransferReport } from '../../reports.ts'

export type WorkerData = { limits: TftpLimits; counters: SharedArrayBuffer; engine: EngineSettings }
export type EngineSettings = { transferSockets?: number; segments?: boolean }

/** An error as data: what `structuredClone` keeps of one loses its code. */
export type PlainError = {
  message: string
  code?: string | undefined
  stack?: string | undefined
  details?: Record<string, unknown> | undefined
  cause?: PlainError | undefined
}

/** `id` numbers a question; the answer has the same. */
export type ToWorker =
  | { kind: 'listen'; id: number; host: string; port: number }
  | { kind: 'opened'; id: number; file: number; size: number; descriptor: number | undefined }
  | { kind: 'bytes'; id: number; bytes: Uint8Array }
  | { kind: 'done'; id: number }
  | { kind: 'failed'; id: number; error: PlainError }
  | { kind: 'stop' }

export type FromWorker =
  | { kind: 'ready'; eventDescriptor: number }
  | { kind: 'unavailable'; error: PlainError }
  | { kind: 'listening'; id: number; host: string; port: number }
  | { kind: 'failed'; id: number; error: PlainError }
  | { kind: 'open'; id: number; request: TftpRequest }
  | { kind: 'read'; id: number; file: number; offset: number; length: number }
  | { kind: 'close'; id: number; file: number }
  | {
      kind: 'log'
      level: keyof Log
      fields: object
      error: PlainError | undefined
      message: string | undefined
    }
  | { kind: 'transfer'; report: TransferReport }
  | { kind: 'refused'; refusal: Refusal }
  | { kind: 'stopped' }

export function toPlainError(error: unknown): PlainError {
  if (!(error instanceof Error)) return { message: String(error) }
  const { code } = error as { code?: unknown }
  return {
    message: error.message,
    code: typeof code === 'string' ? code : undefined,
    stack: error.stack,
    details: error instanceof MusterError ? plainDetails(error.details) : undefined,
    cause: error.cause === undefined ? undefined : toPlainError(error.cause),
  }
}

export function fromPlainError(plain: PlainError): Error {
  const cause = plain.cause === undefined ? {} : { cause: fromPlainError(plain.cause) }
  const error = isOurs(plain.code)
    ? new MusterError(plain.code, plain.message, { ...cause, details: plain.details ?? {} })
    : Object.assign(new Error(plain.message, cause), plain.code === undefined ? {} : { code: plain.code })
  if (plain.stack !== undefined) error.stack = plain.stack
  return error
}

const isOurs = (code: string | undefined): code is ErrorCode =>
  (errorCodes as readonly (string | undefined)[]).includes(code)

/** Details are for people and logs: what cannot be sent is written out. */
function plainDetails(details: object): Record<string, unknown> {
  return JSON.parse(JSON.stringify(details)) as Record<string, unknown>
}
