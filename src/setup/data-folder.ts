/** The data folder: made when it is missing, refused in one sentence when it cannot be used. */
import { constants } from 'node:fs'
import { access, chmod, readdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { makeFolder } from '../builder/make-folder.ts'
import { MusterError } from '../errors.ts'
import { systemReason } from '../system-error.ts'
import type { Paths } from './paths.ts'

/** @throws MusterError data-unwritable */
export async function prepareDataFolder(paths: Paths): Promise<void> {
  try {
    await makeFolder(paths.data)
    await makeFolder(paths.keys)
    await chmod(paths.keys, 0o700)
    for (const folder of [paths.data, paths.keys])
      await access(folder, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (cause) {
    throw new MusterError(
      'data-unwritable',
      `The data folder ${paths.data} cannot be written by this user (key: data); choose another one with --data, or give this one to the user. ${hintFor(cause)}`.trim(),
      { cause, details: { path: paths.data } },
    )
  }
}

/**
 * The operator's own folder has to be there: it holds what machines ask for by name, and an empty answer to each would be found at
 * the rack.
 *
 * @throws MusterError config-invalid
 */
export async function requireFilesFolder(folder: string | undefined): Promise<void> {
  if (folder === undefined) return
  try {
    await readdir(folder)
  } catch (cause) {
    const path = resolve(folder)
    const { code } = cause as NodeJS.ErrnoException
    const said =
      code === 'ENOENT'
        ? 'does not exist'
        : code === 'ENOTDIR'
          ? 'is a file, not a folder'
          : `cannot be read: ${systemReason(cause)}`
    throw new MusterError(
      'config-invalid',
      `The files folder ${path} ${said} (key: files); make it, or name another one with --files.`,
      { cause, details: { path } },
    )
  }
}

function hintFor(cause: unknown): string {
  const { code, path } = cause as { code?: string; path?: string }
  if (code === 'EACCES' || code === 'EPERM')
    return `(${path ?? 'it'}: permission denied; a server that was once started as root leaves files of root.)`
  if (code === 'EROFS') return '(The file system is read-only.)'
  if (code === 'ENOTDIR' || code === 'EEXIST') return `(${path ?? 'it'} is a file, not a folder.)`
  return ''
}
