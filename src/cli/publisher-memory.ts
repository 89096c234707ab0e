/**
 * What a publisher remembers between two publications: the last targets version it signed, in a file beside its key, so that
 * it moves with the key.
 *
 *     keys/main/targets.pem        the key
 *     keys/main/targets.pem.last   {"main": 7}
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { MusterError } from '../errors.ts'
import { systemReason } from '../system-error.ts'

const fileOf = (keyFile: string) => `${keyFile}.last`

/** 0 when nothing was signed with this key yet. @throws MusterError key-invalid for a file that is not ours */
export function lastTargetsVersion(keyFile: string, repository: string): number {
  return read(keyFile)[repository] ?? 0
}

/** Never takes a version back; only a whole number from 1 is one. A folder that cannot be written is said by `note`, because the publication itself is done. */
export function rememberTargetsVersion(
  keyFile: string,
  repository: string,
  version: number,
  note: (line: string) => void,
): void {
  if (!Number.isSafeInteger(version) || version < 1)
    throw new MusterError('internal', `${String(version)} is no targets version`)
  const known = read(keyFile)
  if (version <= (known[repository] ?? 0)) return
  const path = fileOf(keyFile)
  try {
    writeFileSync(`${path}.new`, `${JSON.stringify({ ...known, [repository]: version })}\n`, { mode: 0o600 })
    renameSync(`${path}.new`, path)
  } catch (cause) {
    note(
      `note: ${path} cannot be written (${systemReason(cause)}); next time say --targets-at-least ${version}, so that no old targets are signed over.\n`,
    )
  }
}

function read(keyFile: string): Record<string, number> {
  const path = fileOf(keyFile)
  if (!existsSync(path)) return {}
  let value: unknown
  try {
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw damaged(path, cause)
  }
  const good =
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((version) => Number.isSafeInteger(version))
  if (!good) throw damaged(path)
  return value as Record<string, number>
}

function damaged(path: string, cause?: unknown): MusterError {
  return new MusterError(
    'key-invalid',
    `${path} should say which targets version was signed last, and cannot be read. Remove it and say --targets-at-least with the version that 'muster tuf status' shows on a server you trust.`,
    { cause, details: { path } },
  )
}
