import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { type BlobStore, createBlobStore } from '../../src/store/blobs.ts'

let directory: string
let blobs: BlobStore
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'muster-blobs-'))
  blobs = createBlobStore({ directory, log: silentLog })
})
afterEach(() => rm(directory, { recursive: true }))

const describeBytes = (bytes: Uint8Array) => ({
  digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`,
  size: bytes.length,
})
const hexOf = (digest: string) => digest.slice('sha256:'.length)
async function* chunks(bytes: Uint8Array, chunkBytes = 1000) {
  for (let start = 0; start < bytes.length; start += chunkBytes)
    yield bytes.subarray(start, start + chunkBytes)
}
async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

describe('a blob taken in', () => {
  it('is there whole, by its digest, whatever its size and pieces', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 5000 }),
        fc.integer({ min: 1, max: 3000 }),
        async (bytes, piece) => {
          const blob = describeBytes(bytes)
          await blobs.write(blob, chunks(bytes, piece))
          expect(await blobs.size(blob.digest)).toBe(bytes.length)
          const file = await blobs.open(blob.digest)
          expect(Buffer.from(await file.read(0, 10_000))).toEqual(Buffer.from(bytes))
          await file.close()
        },
      ),
      { numRuns: 50 },
    )
    expect(await readdir(join(directory, 'partial'))).toEqual([])
  })

  it('is not there before its last byte was checked', async () => {
    const bytes = randomBytes(5000)
    const blob = describeBytes(bytes)
    async function* slow() {
      yield bytes.subarray(0, 4999)
      expect(await blobs.size(blob.digest)).toBeUndefined()
      await expect(blobs.open(blob.digest)).rejects.toMatchObject({ code: 'blob-unavailable' })
      yield bytes.subarray(4999)
    }
    await blobs.write(blob, slow())
    expect(await blobs.size(blob.digest)).toBe(5000)
  })

  it('is not fetched again when it is here', async () => {
    const bytes = randomBytes(100)
    await blobs.write(describeBytes(bytes), chunks(bytes))
    const unread = Readable.from(chunks(bytes))
    await blobs.write(describeBytes(bytes), unread)
    expect(unread.destroyed).toBe(true)
  })

  it('is written once when two ask for it at the same time', async () => {
    const bytes = randomBytes(3000)
    let sources = 0
    async function* counted() {
      sources += 1
      yield* chunks(bytes)
    }
    await Promise.all([1, 2, 3].map(() => blobs.write(describeBytes(bytes), counted())))
    expect(sources).toBe(1)
  })
})

describe('a blob refused', () => {
  it('has other bytes than its digest says', async () => {
    const bytes = randomBytes(2000)
    const blob = describeBytes(bytes)
    const flipped = Buffer.from(bytes)
    flipped[1999] = (flipped[1999] as number) ^ 1
    await expect(blobs.write(blob, chunks(flipped))).rejects.toMatchObject({ code: 'blob-digest' })
    expect(await blobs.size(blob.digest)).toBeUndefined()
    expect(await blobs.partialSize(blob.digest)).toBe(0)
  })

  it('never ends: it is left at the first byte too many', async () => {
    const blob = describeBytes(randomBytes(1500))
    let sent = 0
    async function* endless() {
      for (;;) {
        sent += 1000
        yield Buffer.alloc(1000)
      }
    }
    await expect(blobs.write(blob, endless())).rejects.toMatchObject({ code: 'blob-too-long' })
    expect(sent).toBe(2000)
    expect(await blobs.partialSize(blob.digest)).toBe(0)
  })

  it.each([
    '',
    'sha256:',
    `sha256:${'g'.repeat(64)}`,
    `sha256:${'A'.repeat(64)}`,
    'sha256:../../../etc/passwd',
    `md5:${'0'.repeat(32)}`,
  ])('is named %j', async (digest) => {
    await expect(blobs.open(digest)).rejects.toMatchObject({ code: 'blob-unavailable' })
    await expect(blobs.write({ digest, size: 1 }, chunks(Buffer.alloc(1)))).rejects.toMatchObject({
      code: 'blob-unavailable',
    })
  })
})

describe('a download that broke off', () => {
  it('goes on where it stopped and does not fetch again what is here', async () => {
    const bytes = randomBytes(10_000)
    const blob = describeBytes(bytes)
    await expect(blobs.write(blob, chunks(bytes.subarray(0, 7000)))).rejects.toMatchObject({
      code: 'blob-truncated',
    })

    // A new process knows the partial too.
    const later = createBlobStore({ directory, log: silentLog })
    expect(await later.partialSize(blob.digest)).toBe(7000)
    await later.write(blob, chunks(bytes.subarray(7000)), { offset: 7000 })
    expect(await readFile(join(directory, 'sha256', hexOf(blob.digest)))).toEqual(bytes)
  })

  it('by an error of its source says that error and keeps what came', async () => {
    const bytes = randomBytes(3000)
    const blob = describeBytes(bytes)
    async function* dies() {
      yield bytes.subarray(0, 1000)
      throw new Error('connection reset')
    }
    await expect(blobs.write(blob, dies())).rejects.toThrow('connection reset')
    expect(await blobs.partialSize(blob.digest)).toBe(1000)
  })

  it('and goes on with changed content is refused and begins anew', async () => {
    const bytes = randomBytes(2000)
    const blob = describeBytes(bytes)
    await expect(blobs.write(blob, chunks(bytes.subarray(0, 1000)))).rejects.toMatchObject({
      code: 'blob-truncated',
    })
    await expect(blobs.write(blob, chunks(randomBytes(1000)), { offset: 1000 })).rejects.toMatchObject({
      code: 'blob-digest',
    })
    expect(await blobs.partialSize(blob.digest)).toBe(0)
    await blobs.write(blob, chunks(bytes))
  })

  it('may go back to an earlier byte, but not skip ahead', async () => {
    const bytes = randomBytes(2000)
    const blob = describeBytes(bytes)
    await expect(blobs.write(blob, chunks(bytes.subarray(0, 1500)))).rejects.toMatchObject({
      code: 'blob-truncated',
    })
    await expect(blobs.write(blob, chunks(bytes.subarray(1600)), { offset: 1600 })).rejects.toMatchObject({
      code: 'store-failed',
    })
    await blobs.write(blob, chunks(bytes.subarray(500)), { offset: 500 })
    expect(await blobs.size(blob.digest)).toBe(2000)
  })

  it('is forgotten after a while, and one still under way is not', async () => {
    const old = describeBytes(randomBytes(2000))
    await expect(blobs.write(old, chunks(randomBytes(10)))).rejects.toMatchObject({ code: 'blob-truncated' })
    const path = join(directory, 'partial', hexOf(old.digest))
    await utimes(path, 0, 0)
    const bytes = randomBytes(2000)
    async function* whileCleaning() {
      yield bytes.subarray(0, 1000)
      await utimes(join(directory, 'partial', hexOf(describeBytes(bytes).digest)), 0, 0)
      expect(await blobs.removeStale({ maxAgeMs: 60_000 })).toBe(1)
      yield bytes.subarray(1000)
    }
    await blobs.write(describeBytes(bytes), whileCleaning())
    expect(await blobs.partialSize(old.digest)).toBe(0)
  })
})

describe('an open blob', () => {
  it('reads any piece and streams any range, both ends included', async () => {
    const bytes = randomBytes(5000)
    await blobs.write(describeBytes(bytes), chunks(bytes))
    const file = await blobs.open(describeBytes(bytes).digest)
    expect(Buffer.from(await file.read(4990, 100))).toEqual(bytes.subarray(4990))
    expect(await file.read(5000, 10)).toHaveLength(0)
    expect(await readAll(file.stream({ start: 10, end: 19 }))).toEqual(bytes.subarray(10, 20))
    const again = await blobs.open(describeBytes(bytes).digest)
    expect(await readAll(again.stream())).toEqual(bytes)
  })

  it('was hashed again by this process, and is put aside when a bit has flipped', async () => {
    const bytes = randomBytes(5000)
    const { digest } = describeBytes(bytes)
    await blobs.write(describeBytes(bytes), chunks(bytes))
    const path = join(directory, 'sha256', hexOf(digest))
    const flipped = Buffer.from(bytes)
    flipped[0] = (flipped[0] as number) ^ 128
    await writeFile(path, flipped)

    const unchecked = createBlobStore({ directory, log: silentLog, verifyOnOpen: false })
    await (await unchecked.open(digest)).close()

    const opened = await Promise.allSettled([blobs.open(digest), blobs.open(digest)])
    expect(opened.map((result) => result.status === 'rejected' && result.reason.code)).toEqual([
      'blob-digest',
      'blob-digest',
    ])
    // Gone from its place, so that the next pull fetches it again.
    await expect(stat(path)).rejects.toThrow()
    await blobs.write(describeBytes(bytes), chunks(bytes))
    await (await blobs.open(digest)).close()
  })

  it('is not read whole when it is bigger than the reader wants', async () => {
    const bytes = randomBytes(5000)
    await blobs.write(describeBytes(bytes), chunks(bytes))
    await expect(blobs.readAll(describeBytes(bytes).digest, 4999)).rejects.toMatchObject({
      code: 'manifest-too-large',
    })
    expect(Buffer.from(await blobs.readAll(describeBytes(bytes).digest, 5000))).toEqual(bytes)
  })
})
