/**
 * The names that firmware asks for, over TFTP and HTTP alike. Names are virtual: only what stands here leads to a file.
 *
 *     undionly.kpxe, ipxe.efi, …     data/boot/loaders/<name>         what a PXE ROM loads first
 *     agent/<arch>/kernel|initramfs  data/boot/agent/<arch>/<file>    the boot agent
 *     files/<name>                   the operator's folder            unverified, theirs
 */
import type { FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { MusterError } from '../errors.ts'
import { openBelow, printable } from './operator-files.ts'

/** An open file; `stream` and `close` both give the descriptor back. */
export type BootFile = {
  size: number
  etag: string
  contentType: string
  /** Open until `close`. */
  descriptor?: number
  read(offset: number, length: number): Promise<Uint8Array>
  stream(range?: { start: number; end: number }): Readable
  close(): Promise<void>
}

export type BootFiles = { open(name: string): Promise<BootFile> }

/** Big enough that one read serves many packets and the loop keeps up with a kernel's sendfile. */
const streamChunkBytes = 1_048_576

export function createBootFiles(options: {
  /** data/boot: what stands beside it is the server's own. */
  bootDirectory: string
  operatorDirectory?: string | undefined
}): BootFiles {
  const { bootDirectory, operatorDirectory } = options
  const dataDirectory = dirname(bootDirectory)
  return {
    /** @throws MusterError file-not-found, access-denied */
    async open(name) {
      const path = name.replace(/^\/+/, '')
      if (path.startsWith('files/')) {
        if (operatorDirectory === undefined) {
          throw new MusterError(
            'file-not-found',
            `'${printable(path)}': no files folder is served; start with --files DIR.`,
          )
        }
        return toBootFile(await openBelow(operatorDirectory, path.slice('files/'.length), dataDirectory))
      }
      if (/^agent\/(amd64|arm64)\/(kernel|initramfs)$/.test(path))
        return toBootFile(await openBelow(bootDirectory, path))
      if (/^[a-z0-9-]+\.(?:kpxe|pxe|efi)$/.test(path))
        return toBootFile(await openBelow(join(bootDirectory, 'loaders'), path))
      throw new MusterError('file-not-found', `There is no file '${printable(path)}'.`)
    },
  }
}

function toBootFile(file: { handle: FileHandle; size: number; modifiedMs: number }): BootFile {
  const { handle, size, modifiedMs } = file
  return {
    size,
    etag: `${size.toString(16)}-${modifiedMs.toString(16)}`,
    contentType: 'application/octet-stream',
    descriptor: handle.fd,
    async read(offset, length) {
      const buffer = new Uint8Array(Math.min(length, Math.max(0, size - offset)))
      let filled = 0
      while (filled < buffer.length) {
        const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, offset + filled)
        if (bytesRead === 0) break
        filled += bytesRead
      }
      return filled === buffer.length ? buffer : buffer.subarray(0, filled)
    },
    stream: (range) => handle.createReadStream({ ...range, highWaterMark: streamChunkBytes }),
    close: () => handle.close(),
  }
}
