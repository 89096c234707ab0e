/** What we serve under /v2/, pulled by the programs that people use, and by our own client. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ociPullRoutes } from '../../src/http/oci-pull.ts'
import { silentLog } from '../../src/log.ts'
import { mediaTypes } from '../../src/oci/manifest.ts'
import { pullInto } from '../../src/oci/pull.ts'
import { createRegistryClient } from '../../src/oci/registry.ts'
import { createTransport } from '../../src/oci/transport.ts'
import { createBlobStore } from '../../src/store/blobs.ts'
import { digestOf } from '../oci/registry-simulator.ts'
import { skipReason, tool } from '../support/tools.ts'
import { run } from './docker-registry.ts'

const [oras, skopeo, curl] = ['oras', 'skopeo', 'curl'].map(tool)
const without = (name: string) => (tool(name) === undefined ? ` (skipped: ${skipReason(name)})` : '')
const kernel = randomBytes(4_000_000)
const initrd = randomBytes(6_000_000)
const empty = Buffer.from('{}')
const layer = (title: string, bytes: Buffer) => ({
  mediaType: 'application/octet-stream',
  digest: digestOf(bytes),
  size: bytes.length,
  annotations: { 'org.opencontainers.image.title': title },
})
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: 'application/vnd.muster.os.v1',
    config: { mediaType: mediaTypes.empty, digest: digestOf(empty), size: 2 },
    layers: [layer('vmlinuz', kernel), layer('initrd.img', initrd)],
  }),
)

let folder: string
let app: FastifyInstance
let host: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-serve-'))
  const store = createBlobStore({ directory: join(folder, 'served'), log: silentLog })
  for (const bytes of [kernel, initrd, empty]) {
    const source = (async function* () {
      yield bytes
    })()
    await store.write({ digest: digestOf(bytes), size: bytes.length }, source)
  }
  app = fastify()
  await app.register(
    ociPullRoutes({
      open: (digest) => store.open(digest),
      manifest: async (name, reference) =>
        name === 'hello/os' && ['1', digestOf(manifest)].includes(reference)
          ? { bytes: manifest, digest: digestOf(manifest), mediaType: mediaTypes.manifest }
          : undefined,
      tags: async () => ['1'],
    }),
  )
  await app.listen({ host: '127.0.0.1', port: 0 })
  host = `127.0.0.1:${(app.server.address() as AddressInfo).port}`
})
afterAll(async () => {
  await app.close()
  await rm(folder, { recursive: true })
})

describe('an image that we serve', () => {
  test.skipIf(!oras)(`is pulled by oras${without('oras')}`, async () => {
    const output = join(folder, 'oras')
    await run(oras!, ['pull', '--plain-http', '-o', output, `${host}/hello/os:1`])
    expect((await readFile(join(output, 'vmlinuz'))).equals(kernel)).toBe(true)
    expect((await readFile(join(output, 'initrd.img'))).equals(initrd)).toBe(true)
    const { stdout } = await run(oras!, ['repo', 'tags', '--plain-http', `${host}/hello/os`])
    expect(stdout).toBe('1\n')
  })

  test.skipIf(!skopeo)(`is copied by skopeo, by tag and by digest${without('skopeo')}`, async () => {
    for (const reference of [':1', `@${digestOf(manifest)}`]) {
      const target = join(folder, `skopeo${reference.length}`)
      const from = `docker://${host}/hello/os${reference}`
      await run(skopeo!, ['--insecure-policy', 'copy', '--src-tls-verify=false', from, `oci:${target}:1`])
      const hex = digestOf(initrd).slice(7)
      expect((await readFile(join(target, 'blobs/sha256', hex))).equals(initrd)).toBe(true)
    }
  })

  test.skipIf(!curl)(`is resumed by curl in the middle of a blob${without('curl')}`, async () => {
    const output = join(folder, 'kernel')
    const url = `http://${host}/v2/hello/os/blobs/${digestOf(kernel)}`
    await run(curl!, ['-fsS', '-o', output, '-r', '0-999999', url])
    await run(curl!, ['-fsS', '-o', output, '-C', '-', url])
    expect((await readFile(output)).equals(kernel)).toBe(true)
    const { stdout } = await run(curl!, ['-fsSI', url])
    expect(stdout).toMatch(/content-length: 4000000/i)
  })

  test('is followed by our own client', async () => {
    await using transport = createTransport()
    const source = createRegistryClient({
      fetch: transport.fetch,
      hosts: { [host]: { plainHttp: true } },
    }).repository({ registry: host, name: 'hello/os' })
    const resolved = await source.resolve({ tag: '1' }, { arch: 'amd64' })
    expect(resolved.descriptor.digest).toBe(digestOf(manifest))
    const sink = createBlobStore({ directory: join(folder, 'follower'), log: silentLog })
    await pullInto({ source, sink, manifests: [resolved] })
    expect(Buffer.from(await sink.readAll(digestOf(kernel), 1e8)).equals(kernel)).toBe(true)
  })
})
