/**
 * A tree of layers as a read-only root file system: EROFS, written by Debian's mkfs.erofs from a tar that never touches a disk.
 * The same tree gives the same octets: times are the files' own, the file system's are fixed.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { MusterError } from '../errors.ts'
import type { Flattened } from '../layers/flatten.ts'
import { tarOfTree } from '../layers/tree-tar.ts'

const complaintCharacters = 400

/**
 * @param program path of mkfs.erofs, at least 1.7 (`--tar=f`)
 * @param seed 32 hexadecimal digits or more, of which the file system's UUID is made
 * @returns its size in bytes
 * @throws build-failed with what the program said
 */
export async function writeRootImage(options: {
  flattened: Flattened
  path: string
  program: string
  seed: string
  signal?: AbortSignal
}): Promise<number> {
  const { flattened, path, program, seed, signal } = options
  const hex = seed.slice(0, 32)
  const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
  const args = [
    ...['--quiet', '--tar=f', '-zlz4hc', '-Ededupe', '-C65536', '-T0', '--mkfs-time'],
    ...['-U', uuid, path],
  ]
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'], ...(signal ? { signal } : {}) })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('latin1')).slice(-complaintCharacters)
  })
  const ended = once(child, 'close') as Promise<[number | null, string | null]>
  const [fed, [status, killed]] = await Promise.all([
    pipeline(tarOfTree(flattened), child.stdin).then(
      () => undefined,
      (error: unknown) => error,
    ),
    ended,
  ])
  signal?.throwIfAborted()
  if (status !== 0)
    throw new MusterError(
      'build-failed',
      `mkfs.erofs ended with ${killed ?? status}: ${said.trim() || 'it said nothing'}.`,
      { cause: fed },
    )
  if (fed !== undefined) throw fed
  return (await stat(path)).size
}
