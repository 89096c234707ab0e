import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { errorCodeOf } from '../../src/errors.ts'
import { silentLog } from '../../src/log.ts'
import { type PullProgress, pullInto } from '../../src/oci/pull.ts'
import { createRegistryClient } from '../../src/oci/registry.ts'
import type { ImageSource, ResolvedManifest } from '../../src/oci/source.ts'
import { createTransport, type Transport } from '../../src/oci/transport.ts'
import { type BlobStore, createBlobStore } from '../../src/store/blobs.ts'
import { RegistrySimulator } from './registry-simulator.ts'

const kernel = Buffer.alloc(1_000_000, 'kernel ')
const initrd = Buffer.alloc(2_000_000, 'initrd ')

let registry: RegistrySimulator
let transport: Transport
let directory: string
let store: BlobStore
let source: ImageSource
let resolved: ResolvedManifest
const layer = (index: number) => resolved.manifest.layers[index]!
const codeOf = (promise: Promise<unknown>) => promise.then(() => 'accepted', errorCodeOf)

beforeEach(async () => {
  registry = await RegistrySimulator.start()
  transport = createTransport()
  directory = await mkdtemp(join(tmpdir(), 'muster-pull-'))
  store = createBlobStore({ directory, log: silentLog })
  source = createRegistryClient({
    fetch: transport.fetch,
    hosts: { [registry.host]: { plainHttp: true } },
    sleep: async () => {},
    limits: { failuresMax: 1 },
  }).repository({ registry: registry.host, name: 'os' })
  registry.publishImage('1', { vmlinuz: kernel, 'initrd.img': initrd })
  resolved = await source.resolve({ tag: '1' }, { arch: 'amd64' })
})
afterEach(async () => {
  await transport[Symbol.asyncDispose]()
  await registry[Symbol.asyncDispose]()
  await rm(directory, { recursive: true })
})

describe('a pull', () => {
  test('brings every blob and at last the manifest, and says how far it is', async () => {
    const steps: PullProgress[] = []
    const done = await pullInto({
      source,
      manifests: [resolved],
      sink: store,
      onProgress: (step) => steps.push(step),
    })
    const totalBytes = kernel.length + initrd.length + 2
    expect(done).toEqual({ doneBytes: totalBytes, totalBytes, fetchedBytes: totalBytes })
    expect(steps.at(-1)).toEqual(done)
    expect(steps.every((step, index) => step.doneBytes >= (steps[index - 1]?.doneBytes ?? 0))).toBe(true)
    expect(Buffer.from(await store.readAll(layer(1).digest, 1e7)).equals(initrd)).toBe(true)
    expect(await store.size(resolved.descriptor.digest)).toBe(resolved.descriptor.size)
  })

  test('of what is there fetches nothing', async () => {
    await pullInto({ source, manifests: [resolved], sink: store })
    const before = registry.blobBytes
    const again = await pullInto({ source, manifests: [resolved], sink: store })
    expect([again.fetchedBytes, again.doneBytes]).toEqual([0, again.totalBytes])
    expect(registry.blobBytes).toBe(before)
  })

  test('that was stopped half-way goes on where it was and fetches nothing twice', async () => {
    const abort = new AbortController()
    const stopped = pullInto({
      source,
      manifests: [resolved],
      sink: store,
      concurrency: 1,
      signal: abort.signal,
      onProgress: ({ fetchedBytes }) => {
        if (fetchedBytes > kernel.length + initrd.length / 2) abort.abort(new Error('stopped'))
      },
    })
    await expect(stopped).rejects.toThrow('stopped')
    expect(await store.size(resolved.descriptor.digest)).toBeUndefined()
    const there = await store.partialSize(layer(1).digest)
    expect(there).toBeGreaterThan(0)

    const again = await pullInto({ source, manifests: [resolved], sink: store })
    expect(again.fetchedBytes).toBe(initrd.length - there)
    expect(registry.seen.at(-1)?.range).toBe(`bytes=${there}-`)
  })

  test('of a blob that is not what it says keeps nothing of it, and no manifest', async () => {
    registry.lie(layer(0).digest, Buffer.alloc(kernel.length, 'evil '))
    expect(await codeOf(pullInto({ source, manifests: [resolved], sink: store }))).toBe('blob-digest')
    expect(await store.size(layer(0).digest)).toBeUndefined()
    expect(await store.partialSize(layer(0).digest)).toBe(0)
    expect(await store.size(resolved.descriptor.digest)).toBeUndefined()
  })

  test('whose earlier beginning is damaged starts that blob again, once', async () => {
    await mkdir(join(directory, 'partial'), { recursive: true })
    await writeFile(join(directory, 'partial', layer(0).digest.slice(7)), 'damaged beginning')
    const done = await pullInto({ source, manifests: [resolved], sink: store })
    expect(done.doneBytes).toBe(done.totalBytes)
    expect(Buffer.from(await store.readAll(layer(0).digest, 1e7)).equals(kernel)).toBe(true)
  })

  test('stops the other blobs when one is refused', async () => {
    registry.drop(layer(1).digest, 10, 100)
    registry.lie(layer(0).digest, Buffer.alloc(kernel.length, 'evil '))
    expect(await codeOf(pullInto({ source, manifests: [resolved], sink: store }))).toMatch(/^blob-/)
    const before = registry.seen.length
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(registry.seen.length).toBe(before)
  })

  test('of two images fetches what they share once', async () => {
    registry.publishImage('2', { vmlinuz: kernel, 'initrd.img': 'other' })
    const other = await source.resolve({ tag: '2' }, { arch: 'amd64' })
    await pullInto({ source, manifests: [resolved, other], sink: store, concurrency: 8 })
    expect(registry.blobBytes).toBe(kernel.length + initrd.length + 'other'.length + 2)
  })
})
