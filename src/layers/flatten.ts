/**
 * A container image's layers as one tree. Their data is kept in one spool file, end to end as it came; the tree says where each
 * file's part is. Nothing is extracted: a hostile layer can fill its limits, and no more.
 */
import { createHash, randomUUID } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { MusterError } from '../errors.ts'
import { layerInvalid } from './errors.ts'
import { FileTree, type TreeLimits } from './file-tree.ts'
import { TarReader } from './tar-reader.ts'

export type Layer = {
  /** For sentences: its digest. */
  name: string
  /** Tar as it is, or compressed by gzip or zstd; its first octets say which, because media types often do not. */
  bytes: AsyncIterable<Uint8Array>
  /** `sha256:…` of the tar without compression, from the image's config (image-spec, config.md, "rootfs"). */
  diffId: string | undefined
}

export type FlattenLimits = TreeLimits & {
  /** Octets of all layers after decompression: what a bomb may become. */
  tarBytesMax: number
}

export type Flattened = AsyncDisposable & {
  readonly tree: FileTree
  /** A file's data, for what `at` and `size` of its inode say. */
  read(at: number, size: number): AsyncIterable<Uint8Array>
}

const readBytes = 256 * 1024

/**
 * @param layers the lowest first
 * @param folder where the spool file lies; it has no name there once it is open
 * @throws layer-invalid naming the layer; what its bytes throw; what writing throws
 */
export async function flatten(options: {
  layers: Iterable<Layer>
  folder: string
  limits: FlattenLimits
}): Promise<Flattened> {
  const spool = await openSpool(options.folder)
  try {
    const tree = new FileTree(options.limits)
    const state = { tree, spool, end: 0, tarBytesLeft: options.limits.tarBytesMax }
    for (const layer of options.layers) await applyLayer(layer, state)
    return {
      tree,
      read: (at, size) => readSpool(spool, at, size),
      [Symbol.asyncDispose]: () => spool.close(),
    }
  } catch (error) {
    await spool.close()
    throw error
  }
}

async function openSpool(folder: string): Promise<FileHandle> {
  const path = join(folder, `.layers-${randomUUID()}`)
  const handle = await open(path, 'wx+', 0o600)
  // A process that is killed leaves nothing behind.
  await unlink(path)
  return handle
}

type State = { tree: FileTree; spool: FileHandle; end: number; tarBytesLeft: number }

async function applyLayer(layer: Layer, state: State): Promise<void> {
  const { tree, spool } = state
  tree.beginLayer()
  let pending: Uint8Array[] = []
  let pendingBytes = 0
  const reader = new TarReader({
    onEntry: (entry) => tree.add(entry, state.end + pendingBytes),
    onData: (bytes) => {
      pending.push(bytes)
      pendingBytes += bytes.length
    },
  })
  const hash = createHash('sha256')
  try {
    for await (const chunk of decompressed(layer.bytes)) {
      state.tarBytesLeft -= chunk.length
      if (state.tarBytesLeft < 0) throw layerInvalid('decompressed it is larger than an image may be')
      hash.update(chunk)
      reader.push(chunk)
      if (pendingBytes === 0) continue
      await writeAll(spool, pending, state.end)
      state.end += pendingBytes
      pending = []
      pendingBytes = 0
    }
    reader.end()
    const found = `sha256:${hash.digest('hex')}`
    if (layer.diffId !== undefined && found !== layer.diffId)
      throw layerInvalid(`its tar is ${found}, and the image's config says ${layer.diffId}`)
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== 'layer-invalid') throw error
    throw new MusterError('layer-invalid', `${layer.name}: ${error.message}`, { cause: error })
  }
}

async function writeAll(file: FileHandle, parts: Uint8Array[], at: number): Promise<void> {
  const whole = Buffer.concat(parts)
  for (let done = 0; done < whole.length; ) {
    const { bytesWritten } = await file.write(whole, done, whole.length - done, at + done)
    done += bytesWritten
  }
}

async function* readSpool(
  file: FileHandle,
  at: number,
  size: number,
): AsyncGenerator<Uint8Array, void, void> {
  for (let done = 0; done < size; ) {
    const length = Math.min(readBytes, size - done)
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, at + done)
    if (bytesRead === 0) throw new MusterError('store-failed', 'The spool file of an image became shorter.')
    yield buffer.subarray(0, bytesRead)
    done += bytesRead
  }
}

/** @throws layer-invalid for what is compressed otherwise, or is broken */
async function* decompressed(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  const iterator = bytes[Symbol.asyncIterator]()
  const [magic, head] = await firstBytes(iterator)
  const whole = replayed(head, iterator)
  const decompressor = magic.startsWith('1f8b')
    ? createGunzip()
    : magic.startsWith('28b52ffd') || /^5.2a4d18/.test(magic)
      ? createZstdDecompress()
      : undefined
  if (decompressor === undefined) {
    yield* whole
    return
  }
  const source = Readable.from(whole)
  // What breaks the source is thrown as it is; only what zlib says is about the layer.
  let failure: unknown
  source.once('error', (error) => {
    failure = error
    decompressor.destroy(error)
  })
  try {
    yield* source.pipe(decompressor)
  } catch (error) {
    if (failure !== undefined) throw failure
    if ((error as NodeJS.ErrnoException).code?.startsWith('Z') !== true) throw error
    throw layerInvalid('its compressed data is broken', error)
  } finally {
    source.destroy()
  }
}

/** At least four octets, where there are so many, in hexadecimal; and what was read for them. */
async function firstBytes(iterator: AsyncIterator<Uint8Array>): Promise<[magic: string, head: Uint8Array[]]> {
  const head: Uint8Array[] = []
  while (head.reduce((sum, part) => sum + part.length, 0) < 4) {
    const { done, value } = await iterator.next()
    if (done === true) break
    head.push(value)
  }
  return [Buffer.concat(head).subarray(0, 4).toString('hex'), head]
}

async function* replayed(
  head: readonly Uint8Array[],
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* head
    for (;;) {
      const { done, value } = await iterator.next()
      if (done === true) return
      yield value
    }
  } finally {
    await iterator.return?.()
  }
}
