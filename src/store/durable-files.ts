/**
 * Files that survive `kill -9` and a power cut: written beside their place, synced, renamed, the folder synced.
 * A reader sees the old bytes or the new ones, never a mixture.
 */
import { randomBytes } from 'node:crypto'
import { access, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Leftovers of a killed write are called so, beside the file they were to become. */
const temporarySuffix = '.writing'

/** `mode`: of the new file from its first moment on, whatever the old one had. */
export async function writeFileDurably(path: string, bytes: Uint8Array, mode = 0o644): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const temporary = join(
    dirname(path),
    `.${basename(path)}.${randomBytes(6).toString('hex')}${temporarySuffix}`,
  )
  try {
    const file = await open(temporary, 'wx', mode)
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await syncDirectory(dirname(path))
}

/** A rename is only durable once the folder that holds the name is. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Removes what killed writes left in a folder. Call it before this process writes there. */
export async function removeUnfinishedWrites(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith('.') && name.endsWith(temporarySuffix))
      await rm(join(directory, name), { force: true })
  }
}

export async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch {
    return false
  }
}

/** The above as one thing to hand to rooms that do not import this one. */
export const durableFiles = { write: writeFileDurably, syncDirectory, exists } as const
