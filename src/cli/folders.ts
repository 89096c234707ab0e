/** Folders that a command is going to fill. */
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { makeFolder } from '../builder/make-folder.ts'
import { MusterError } from '../errors.ts'
import { systemReason } from '../system-error.ts'

/**
 * Makes it where it is missing: said before the first of many megabytes is fetched.
 *
 * @param key the flag or setting that names it, for the sentence
 * @throws MusterError config-invalid
 */
export async function prepareFolder(folder: string, key: string): Promise<void> {
  try {
    await makeFolder(folder)
    await access(folder, constants.W_OK | constants.X_OK)
  } catch (cause) {
    throw new MusterError(
      'config-invalid',
      `${key}: the folder ${folder} cannot be made or written: ${systemReason(cause)}. Name another one.`,
      { cause, details: { path: folder } },
    )
  }
}
