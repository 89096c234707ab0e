import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { type BlobStore, createBlobStore } from '../../src/store/blobs.ts'
import { createStore, type Store } from '../../src/store/store.ts'
import type { VerifiedTarget } from '../../src/tuf/verify.ts'
import { describeBytes, verifiedTargets } from './verified-target.ts'

const manifest = Buffer.from('{"a":"manifest"}')
const kernel = randomBytes(5000)
const initrd = randomBytes(7000)
const parts = [describeBytes(kernel), describeBytes(initrd)]

let data: string
let blobs: BlobStore
let store: Store
let target: VerifiedTarget
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-store-'))
  blobs = createBlobStore({ directory: join(data, 'blobs'), log: silentLog })
  store = await openStore()
  target = (await verifiedTargets({ 'edge/1.0/amd64': manifest }))['edge/1.0/amd64'] as VerifiedTarget
})
afterEach(() => rm(data, { recursive: true }))

const openStore = (log = silentLog) => createStore({ directory: join(data, 'store'), blobs, log })
async function* whole(bytes: Uint8Array) {
  yield bytes
}
const push = (bytes: Uint8Array) => blobs.write(describeBytes(bytes), whole(bytes))
const digests = [manifest, kernel, initrd].map((bytes) => describeBytes(bytes).digest)

describe('a release admitted', () => {
  it('is served with all its blobs, also by the next process', async () => {
    await push(kernel)
    await push(initrd)
    await store.admit(target, { manifest, blobs: parts })
    for (const opened of [store, await openStore()]) {
      expect(digests.map((digest) => opened.isAdmitted(digest))).toEqual([true, true, true])
      const file = await opened.open(describeBytes(kernel).digest)
      expect(Buffer.from(await file.read(0, 10_000))).toEqual(kernel)
      await file.close()
      expect(opened.size(describeBytes(manifest).digest)).toBe(manifest.length)
      expect(opened.admitted()).toMatchObject([{ targets: [{ repository: 'main', path: 'edge/1.0/amd64' }] }])
    }
  })

  it('stays one release however often and under how many paths it is admitted', async () => {
    await push(kernel)
    await push(initrd)
    const both = await verifiedTargets({ 'edge/1.0/amd64': manifest, 'edge/1.1/amd64': manifest })
    await Promise.all(
      [...Object.values(both), ...Object.values(both)].map((one) =>
        store.admit(one, { manifest, blobs: parts }),
      ),
    )
    const [record] = (await openStore()).admitted()
    expect(record?.targets.map(({ path }) => path).sort()).toEqual(['edge/1.0/amd64', 'edge/1.1/amd64'])
  })
})

describe('the store refuses', () => {
  it('anything that TUF verification did not make, however well it is cast', async () => {
    await push(kernel)
    await push(initrd)
    const copies: unknown[] = [
      { ...target },
      Object.assign(Object.create(Object.getPrototypeOf(target)), target),
      new Proxy(target, {}),
      JSON.parse(JSON.stringify(target)),
      undefined,
      null,
      'edge/1.0/amd64',
    ]
    for (const copy of copies) {
      await expect(store.admit(copy as VerifiedTarget, { manifest, blobs: parts })).rejects.toMatchObject({
        code: 'not-verified',
      })
    }
    expect(store.admitted()).toEqual([])
  })

  it('a release of which a blob is missing or has another size', async () => {
    await push(kernel)
    await expect(store.admit(target, { manifest, blobs: parts })).rejects.toMatchObject({
      code: 'release-incomplete',
    })
    await push(initrd)
    const [first, second] = parts as [(typeof parts)[0], (typeof parts)[0]]
    const otherSize = [first, { ...second, size: second.size + 1 }]
    await expect(store.admit(target, { manifest, blobs: otherSize })).rejects.toMatchObject({
      code: 'release-incomplete',
    })
    expect(digests.some((digest) => store.isAdmitted(digest))).toBe(false)
  })

  it('a manifest other than the one that was signed', async () => {
    const other = Buffer.from('{"a":"MANIFEST"}')
    await expect(store.admit(target, { manifest: other, blobs: [] })).rejects.toMatchObject({
      code: 'manifest-mismatch',
    })
  })

  it('to open what lies in the folder and belongs to no release', async () => {
    await push(kernel)
    await expect(store.open(describeBytes(kernel).digest)).rejects.toMatchObject({ code: 'not-verified' })
    expect(store.size(describeBytes(kernel).digest)).toBeUndefined()
  })
})

describe('after a crash', () => {
  it('a record that was not finished is nothing, and is cleaned up', async () => {
    const folder = join(data, 'store/admissions')
    await writeFile(join(folder, `.${'a'.repeat(64)}.json.0123.writing`), '{"manifest":')
    expect((await openStore()).admitted()).toEqual([])
    expect(await readdir(folder)).toEqual([])
  })

  it('a damaged record is said and its release is not served until it is admitted again', async () => {
    await push(kernel)
    await push(initrd)
    await store.admit(target, { manifest, blobs: parts })
    const folder = join(data, 'store/admissions')
    const [name] = await readdir(folder)
    await writeFile(join(folder, name as string), '{}')
    const said: string[] = []
    const later = await openStore({ ...silentLog, error: (_, message) => said.push(message ?? '') })
    expect(said).toHaveLength(1)
    await expect(later.open(describeBytes(kernel).digest)).rejects.toMatchObject({ code: 'not-verified' })
    await later.admit(target, { manifest, blobs: parts })
    expect((await openStore()).isAdmitted(describeBytes(kernel).digest)).toBe(true)
  })
})
