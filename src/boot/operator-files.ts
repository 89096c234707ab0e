/**
 * The operator's own files (`--files DIR`), served as `files/<name>`. Nothing here is verified: a kernel from this folder
 * boots only for a profile with `unverified: true`.
 */
import { constants } from 'node:fs'
import { type FileHandle, open, readlink, realpath } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { MusterError } from '../errors.ts'

export type OpenFile = { handle: FileHandle; size: number; modifiedMs: number }

/**
 * Opens a regular file below `folder`. The name is attacker-controlled: it is checked by shape first, and after opening
 * the kernel is asked what was really opened, so that neither `..` nor a symbolic link leads out of the folder.
 * @param secret a folder that may lie below `folder` and is never served: keys and the database stand in it. Where `folder` lies
 * in it, somebody chose just that part.
 * @throws MusterError file-not-found, access-denied
 */
export async function openBelow(folder: string, name: string, secret?: string): Promise<OpenFile> {
  const segments = name.split('/')
  const odd = segments.some((part) => part === '' || part === '.' || part === '..' || part.startsWith('.'))
  if (odd || /[\0\\]/.test(name) || name.length > 255) {
    throw new MusterError(
      'access-denied',
      `'${printable(name)}' is not a name that is served: plain segments below the folder only.`,
    )
  }
  let handle: FileHandle
  try {
    // O_NONBLOCK: a FIFO in the folder must not hang the server.
    handle = await open(join(folder, name), constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    throw new MusterError('file-not-found', `There is no file '${printable(name)}'.`, { cause })
  }
  try {
    const [root, real, stat] = [
      await realpath(folder),
      await readlink(`/proc/self/fd/${handle.fd}`),
      await handle.stat(),
    ]
    if (!real.startsWith(root + sep)) {
      throw new MusterError(
        'access-denied',
        `'${printable(name)}' is a link that leads out of the files folder; copy the file into it instead.`,
      )
    }
    if (secret !== undefined && (await isSecret(real, root, secret))) {
      throw new MusterError(
        'access-denied',
        `'${printable(name)}' lies in the server's own data folder, which is not served; give --files a folder of its own.`,
      )
    }
    if (!stat.isFile()) throw new MusterError('file-not-found', `'${printable(name)}' is not a regular file.`)
    return { handle, size: stat.size, modifiedMs: Math.trunc(stat.mtimeMs) }
  } catch (error) {
    await handle.close()
    throw error
  }
}

async function isSecret(real: string, root: string, secret: string): Promise<boolean> {
  const below = `${await realpath(secret).catch(() => secret)}${sep}`
  return real.startsWith(below) && !root.startsWith(below)
}

/** A hostile name, made fit for a log line. */
export function printable(name: string): string {
  return name.slice(0, 80).replace(/[^\x20-\x7e]/g, '?')
}
