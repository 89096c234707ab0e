/**
 * Files that firmware loads, by what their names mean (names.ts):
 *
 *     undionly.kpxe, ipxe.efi, …         data/boot/loaders/<name>         what a PXE ROM loads first
 *     agent/<arch>/kernel | initramfs    data/boot/agent/<arch>/<file>    the boot agent
 *     agent/<arch>/fit                   the two of them in one image, made while it is read
 *     agent-<arch>.efi                   data/boot/agent/<arch>/agent.efi the same in one, which UEFI starts itself
 *     files/<name>                       the operator's folder            unverified, theirs
 *     <serial>/start4.elf, …             the operator's raspberry-pi/, else data/boot/raspberry-pi/
 */
import type { FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Arch } from '../protocol/identifiers.ts'
import { composeFit } from './fit-file.ts'
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

/** `fit`: kernel and initramfs as U-Boot's FIT; `unified`: as one UEFI executable. */
export type AgentFile = 'kernel' | 'initramfs' | 'fit' | 'unified'

/** Each throws MusterError file-not-found, access-denied. */
export type BootFiles = {
  loader(name: string): Promise<BootFile>
  agent(arch: Arch, file: AgentFile): Promise<BootFile>
  operator(name: string): Promise<BootFile>
  raspberryPi(name: string): Promise<BootFile>
}

/**
 * Big enough that one read serves many packets, and not bigger: a client that takes nothing holds two of them, and there may be a
 * thousand such clients.
 */
const streamChunkBytes = 262_144

export function createBootFiles(options: {
  /** data/boot: what stands beside it is the server's own. */
  bootDirectory: string
  operatorDirectory?: string | undefined
}): BootFiles {
  const { bootDirectory, operatorDirectory } = options
  const dataDirectory = dirname(bootDirectory)
  const agentFit = composeFit()

  async function operator(name: string): Promise<BootFile> {
    if (operatorDirectory === undefined) {
      throw new MusterError(
        'file-not-found',
        `'${printable(`files/${name}`)}': no files folder is served; start with --files DIR.`,
      )
    }
    return toBootFile(await openBelow(operatorDirectory, name, dataDirectory))
  }

  async function agent(arch: Arch, file: AgentFile): Promise<BootFile> {
    if (file === 'unified') return toBootFile(await openBelow(bootDirectory, `agent/${arch}/agent.efi`))
    if (file !== 'fit') return toBootFile(await openBelow(bootDirectory, `agent/${arch}/${file}`))
    return agentFit(
      arch,
      () => agent(arch, 'kernel'),
      () => agent(arch, 'initramfs'),
    )
  }

  return {
    agent,
    operator,
    loader: async (name) => toBootFile(await openBelow(join(bootDirectory, 'loaders'), name)),
    async raspberryPi(name) {
      try {
        return await operator(`raspberry-pi/${name}`)
      } catch (error) {
        if (errorCodeOf(error) !== 'file-not-found') throw error
        return toBootFile(await openBelow(bootDirectory, `raspberry-pi/${name}`))
      }
    },
  }
}

/** Small and read whole anyway: a script that was just written, metadata. */
export function inMemory(bytes: Uint8Array, contentType = 'text/plain; charset=utf-8'): BootFile {
  return {
    size: bytes.length,
    etag: `${bytes.length.toString(16)}-${checksum(bytes).toString(16)}`,
    contentType,
    read: async (offset, length) => bytes.subarray(offset, offset + length),
    stream: (range) =>
      Readable.from([range === undefined ? bytes : bytes.subarray(range.start, range.end + 1)]),
    close: async () => {},
  }
}

/** FNV-1a: names a version of a file for caches, nothing more. */
function checksum(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash
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
