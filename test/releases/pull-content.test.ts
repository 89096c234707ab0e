import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { pullBlobs, type ReadBlob } from '../../src/releases/pull-content.ts'
import { type BlobStore, createBlobStore } from '../../src/store/blobs.ts'
import { digestOf } from './world.ts'

const bytes = randomBytes(5000)
const blob = { digest: digestOf(bytes), size: bytes.length }
let directory: string
let blobs: BlobStore
let offsets: number[]
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'muster-pull-'))
  blobs = createBlobStore({ directory, log: silentLog })
  offsets = []
})
afterEach(() => rm(directory, { recursive: true }))

/** A mirror that has the blob, and hangs up at byte `end`. */
const mirror = (end = bytes.length): ReadBlob =>
  async function* (_, offset) {
    offsets.push(offset)
    yield bytes.subarray(offset, end)
  }
const pull = (read: ReadBlob, onProgress?: Parameters<typeof pullBlobs>[0]['onProgress']) =>
  pullBlobs({ blobs, wanted: [blob], read, log: silentLog, onProgress })

describe('pulling content', () => {
  it('asks for what is missing and for nothing that is here', async () => {
    await expect(pull(mirror(3000))).rejects.toMatchObject({ code: 'blob-truncated' })
    await pull(mirror())
    await pull(mirror())
    expect(offsets).toEqual([0, 3000])
  })

  it('starts again by itself when what was kept turns out to be damaged', async () => {
    await expect(pull(mirror(3000))).rejects.toMatchObject({ code: 'blob-truncated' })
    await writeFile(join(directory, 'partial', blob.digest.slice(7)), randomBytes(3000))
    await pull(mirror())
    expect(offsets).toEqual([0, 3000, 0])
    expect(await blobs.size(blob.digest)).toBe(5000)
  })

  it('only checks a download of which every byte came before the crash', async () => {
    await pull(mirror())
    await blobs.remove(blob.digest)
    await writeFile(join(directory, 'partial', blob.digest.slice(7)), bytes)
    await pull(mirror())
    expect(offsets).toEqual([0, 5000])
  })

  it('gives up on a mirror that lies, and says how far it came', async () => {
    const seen: number[] = []
    const liar: ReadBlob = async function* () {
      yield Buffer.alloc(2500)
      yield Buffer.alloc(2500)
    }
    await expect(pull(liar, ({ receivedBytes }) => seen.push(receivedBytes))).rejects.toMatchObject({
      code: 'blob-digest',
    })
    expect(seen).toEqual([2500, 5000])
  })
})
