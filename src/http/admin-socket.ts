/**
 * The admin plane's Unix socket. It is bound inside a folder that nobody else can enter and then moved into place, so at
 * no moment does it stand there with a mode that lets others in, and a stale socket is replaced in one step.
 */
import { chmod, mkdir, mkdtemp, open, rename, rm } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { MusterError } from '../errors.ts'
import { systemReason } from '../system-error.ts'

export const adminSocketName = 'admin.sock'

/** sockaddr_un.sun_path holds 108 bytes with its NUL (unix(7)). */
const pathBytesMax = 107

/**
 * @returns what takes the socket away again; the server itself is closed by its owner.
 * @throws MusterError listen-failed when another server answers there, data-unwritable
 */
export async function listenOnSocket(server: Server, path: string): Promise<{ remove(): Promise<void> }> {
  if (await someoneAnswers(path)) {
    throw new MusterError(
      'listen-failed',
      `Another Muster already answers at ${path}. Stop it, or give this one a data folder of its own with --data.`,
      { details: { path } },
    )
  }
  let folder: string
  try {
    await mkdir(dirname(path), { recursive: true })
    folder = await mkdtemp(join(dirname(path), '.admin-'))
  } catch (cause) {
    throw new MusterError(
      'data-unwritable',
      `The socket ${path} cannot be made: ${systemReason(cause)}. Give the folder to the user who runs the server.`,
      { cause, details: { path } },
    )
  }
  try {
    const bound = join(folder, basename(path))
    await withShortPath(bound, (short) => listen(server, short))
    await chmod(bound, 0o600)
    await rename(bound, path)
  } catch (cause) {
    throw new MusterError(
      'listen-failed',
      `The socket ${path} cannot be listened on: ${systemReason(cause)}. The data folder must be on a local disk.`,
      { cause, details: { path } },
    )
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return { remove: () => rm(path, { force: true }) }
}

/** Calls `use` with a name of the same socket that is short enough for the kernel, whatever folder it is in. */
export async function withShortPath<Result>(
  path: string,
  use: (path: string) => Promise<Result>,
): Promise<Result> {
  if (Buffer.byteLength(path) <= pathBytesMax) return use(path)
  const folder = await open(dirname(path), 'r')
  try {
    return await use(`/proc/self/fd/${folder.fd}/${basename(path)}`)
  } finally {
    await folder.close()
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

async function someoneAnswers(path: string): Promise<boolean> {
  try {
    return await withShortPath(
      path,
      (short) =>
        new Promise<boolean>((resolve) => {
          const socket = connect(short)
          socket.once('connect', () => {
            socket.destroy()
            resolve(true)
          })
          // ENOENT: no socket. ECONNREFUSED: its server was killed. Anything else shows when we listen.
          socket.once('error', () => resolve(false))
        }),
    )
  } catch {
    return false
  }
}
