/** Files that a person names on the command line: what keeps one from being read is one sentence that names it and the way out. */
import { readFileSync } from 'node:fs'
import { type ErrorCode, MusterError } from '../errors.ts'
import { systemReason } from '../system-error.ts'

export type GivenFile = {
  /** The option or argument that named it, as it is written: `--key`, `<capture>`. */
  by: string
  /** What it is to be, for the sentence: `The kernel`; nothing else is said of it where it is left out. */
  what?: string
  code: ErrorCode
  /** Where to get another one, as a sentence. */
  wayOut?: string
}

/** All of it; `-` is standard input where the command says so. @throws MusterError `given.code` */
export function readGiven(path: string, given: GivenFile): Buffer {
  try {
    return readFileSync(path)
  } catch (cause) {
    throw unreadable(path, given, cause)
  }
}

export function unreadable(path: string, { by, what, code, wayOut }: GivenFile, cause: unknown): MusterError {
  const name = what === undefined ? path : `${what} ${path}`
  return new MusterError(
    code,
    `${name} cannot be read (${by}): ${systemReason(cause)}. ${wayOut ?? wayOutOf(cause)}`,
    { cause, details: { path } },
  )
}

function wayOutOf(cause: unknown): string {
  const { code } = cause as NodeJS.ErrnoException
  if (code === 'EACCES' || code === 'EPERM') return 'Run this as a user who may read it, or name a copy.'
  if (code === 'EISDIR') return 'Name a file in it.'
  return 'Name another one.'
}
