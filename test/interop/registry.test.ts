/** Images made, pushed and copied by the programs that people use, through the registry that most registries are made of. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { errorCodeOf } from '../../src/errors.ts'
import { silentLog } from '../../src/log.ts'
import { architectureAnnotation, layerTypes, pickArtifact } from '../../src/oci/artifact.ts'
import { dockerCredentials } from '../../src/oci/docker-config.ts'
import { openLayout, writeLayout } from '../../src/oci/layout.ts'
import { mediaTypes } from '../../src/oci/manifest.ts'
import { pullInto } from '../../src/oci/pull.ts'
import { createRegistryClient, type RegistryOptions } from '../../src/oci/registry.ts'
import type { ImageSource } from '../../src/oci/source.ts'
import { createTransport } from '../../src/oci/transport.ts'
import { createBlobStore } from '../../src/store/blobs.ts'
import { digestOf } from '../oci/registry-simulator.ts'
import { skipReason, tool } from '../support/tools.ts'
import { CountingProxy, DockerRegistry, run } from './docker-registry.ts'

const program = tool('docker-registry')
const [oras, skopeo, htpasswd, openssl] = ['oras', 'skopeo', 'htpasswd', 'openssl'].map(tool)
const without = (name: string) => (tool(name) === undefined ? ` (skipped: ${skipReason(name)})` : '')

const kernel = randomBytes(3_000_000)
const initrd = randomBytes(5_000_000)
let folder: string
let registry: DockerRegistry
const transport = createTransport()

const sourceOf = (host: string, name: string, options: Partial<RegistryOptions> = {}): ImageSource =>
  createRegistryClient({
    fetch: transport.fetch,
    hosts: { [host]: { plainHttp: true } },
    limits: { attemptsMax: 2, backoffMs: 10 },
    ...options,
  }).repository({ registry: host, name })
const storeAt = (directory: string) => createBlobStore({ directory, log: silentLog })
const pushByOras = (target: string, ...flags: string[]) =>
  run(oras!, ['push', '--plain-http', ...flags, target, 'vmlinuz', 'initrd.img'], { cwd: folder })

async function pulledKernel(source: ImageSource, directory: string): Promise<Buffer> {
  const resolved = await source.resolve({ tag: '1' }, { arch: 'amd64' })
  const sink = storeAt(directory)
  await pullInto({ source, sink, manifests: [resolved] })
  const artifact = pickArtifact(resolved.manifest)
  expect(artifact.initrds.map((one) => one.digest)).toEqual([digestOf(initrd)])
  return Buffer.from(await sink.readAll(artifact.kernel.digest, 1e8))
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-interop-'))
  await writeFile(join(folder, 'vmlinuz'), kernel)
  await writeFile(join(folder, 'initrd.img'), initrd)
  if (program !== undefined) registry = await DockerRegistry.start({ program, folder: join(folder, 'open') })
})
afterAll(async () => {
  await transport[Symbol.asyncDispose]()
  await registry?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const empty = Buffer.from('{}')

function manifestFor(arch: string): Buffer {
  const layer = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  })
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: layer(mediaTypes.empty, empty),
      layers: [layer(layerTypes.kernel, kernel), layer(layerTypes.initrd, initrd)],
      annotations: { [architectureAnnotation]: arch },
    }),
  )
}

describe.skipIf(program === undefined)(`docker-registry${without('docker-registry')}`, () => {
  test.skipIf(!oras)(`serves what oras pushed by file name${without('oras')}`, async () => {
    await pushByOras(`${registry.host}/os/by-oras:1`)
    const pulled = await pulledKernel(sourceOf(registry.host, 'os/by-oras'), join(folder, 'store-oras'))
    expect(pulled.equals(kernel)).toBe(true)
  })

  test.skipIf(!skopeo)(`serves our own layout as skopeo pushed it${without('skopeo')}`, async () => {
    const path = join(folder, 'written')
    const manifestBytes = manifestFor('amd64')
    const images = [{ arch: 'amd64' as const, manifestBytes, tag: '1' }]
    await writeLayout({ path, images, blobs: [empty, kernel, initrd] })
    const target = `docker://${registry.host}/os/by-skopeo:1`
    await run(skopeo!, ['--insecure-policy', 'copy', '--dest-tls-verify=false', `oci:${path}:1`, target])
    const source = sourceOf(registry.host, 'os/by-skopeo')
    const { descriptor } = await source.resolve({ tag: '1' }, { arch: 'amd64' })
    expect(descriptor.digest).toBe(digestOf(manifestBytes))
    expect((await pulledKernel(source, join(folder, 'store-skopeo'))).equals(kernel)).toBe(true)
  })

  test.skipIf(!skopeo)(
    `serves both architectures of our own layout as skopeo pushed them, under one tag${without('skopeo')}`,
    async () => {
      const path = join(folder, 'written-for-both')
      const images = (['amd64', 'arm64'] as const).map((arch) => ({
        arch,
        manifestBytes: manifestFor(arch),
        tag: '1',
      }))
      await writeLayout({ path, images, blobs: [empty, kernel, initrd] })
      const target = `docker://${registry.host}/os/for-both:1`
      const copy = ['--insecure-policy', 'copy', '--all', '--dest-tls-verify=false', `oci:${path}:1`, target]
      await run(skopeo!, copy)
      const resolved = await sourceOf(registry.host, 'os/for-both').resolveAll({ tag: '1' })
      expect(resolved.map(({ arch, descriptor }) => [arch, descriptor.digest])).toEqual(
        images.map(({ arch, manifestBytes }) => [arch, digestOf(manifestBytes)]),
      )
    },
  )

  test.skipIf(!oras || !skopeo)('gives the same through the layout folders of skopeo and oras', async () => {
    await pushByOras(`${registry.host}/os/copied:1`)
    const [bySkopeo, byOras] = [join(folder, 'layout-skopeo'), join(folder, 'layout-oras')]
    const from = `${registry.host}/os/copied:1`
    await run(skopeo!, [
      '--insecure-policy',
      'copy',
      '--src-tls-verify=false',
      `docker://${from}`,
      `oci:${bySkopeo}:1`,
    ])
    await run(oras!, ['copy', '--from-plain-http', '--to-oci-layout', from, `${byOras}:1`])
    for (const path of [bySkopeo, byOras]) {
      const pulled = await pulledKernel(await openLayout({ path }), `${path}-store`)
      expect(pulled.equals(kernel)).toBe(true)
    }
  })

  test.skipIf(!oras)('a pull that is killed half-way resumes and fetches nothing twice', async () => {
    await pushByOras(`${registry.host}/os/killed:1`)
    await using proxy = await CountingProxy.start(registry.host)
    proxy.bytesPerSecond = 8_000_000
    const store = join(folder, 'store-killed')
    const pull = join(import.meta.dirname, 'pull-program.ts')
    const child = spawn(process.execPath, [pull, proxy.host, 'os/killed', '1', store])
    const exit = new Promise<NodeJS.Signals | null>((resolve) =>
      child.once('exit', (_, signal) => resolve(signal)),
    )
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (Number(text.trim().split('\n').at(-1)) > 4_000_000) child.kill('SIGKILL')
    })
    expect(await exit).toBe('SIGKILL')

    const sink = storeAt(store)
    const source = sourceOf(proxy.host, 'os/killed')
    const resolved = await source.resolve({ tag: '1' }, { arch: 'amd64' })
    let there = 0
    for (const { digest } of resolved.manifest.layers) {
      there += (await sink.size(digest)) ?? (await sink.partialSize(digest))
    }
    expect(there).toBeGreaterThan(2_000_000)
    proxy.bytes = 0
    proxy.bytesPerSecond = Number.POSITIVE_INFINITY
    const done = await pullInto({ source, sink, manifests: [resolved] })
    const missing = kernel.length + initrd.length - there
    // The config (2 bytes) may have been there or not; headers of three replies are all that comes on top.
    expect(done.fetchedBytes).toBeLessThanOrEqual(missing + 2)
    expect(proxy.bytes).toBeGreaterThanOrEqual(missing)
    expect(proxy.bytes).toBeLessThan(missing + 4096)
    expect(Buffer.from(await sink.readAll(digestOf(initrd), 1e8)).equals(initrd)).toBe(true)
  })

  test.skipIf(!oras || !htpasswd)(
    `with htpasswd lets us in by docker's config.json${without('htpasswd')}`,
    async () => {
      const passwords = join(folder, 'htpasswd')
      await run(htpasswd!, ['-Bbc', passwords, 'edge', 'pa:ss word'])
      await using closed = await DockerRegistry.start({
        program: program!,
        folder: join(folder, 'closed'),
        htpasswd: passwords,
      })
      // `oras login` writes the file in docker's form.
      const config = join(folder, 'config.json')
      const login = ['login', '--plain-http', '--registry-config', config, '-u', 'edge', '-p', 'pa:ss word']
      await run(oras!, [...login, closed.host])
      await pushByOras(`${closed.host}/os:1`, '--registry-config', config)

      const anonymous = sourceOf(closed.host, 'os').resolve({ tag: '1' }, { arch: 'amd64' })
      expect(await anonymous.then(() => 'accepted', errorCodeOf)).toBe('registry-unauthorized')
      const credentials = dockerCredentials(await readFile(config, 'utf8'))
      const source = sourceOf(closed.host, 'os', { credentials })
      expect((await pulledKernel(source, join(folder, 'store-closed'))).equals(kernel)).toBe(true)
    },
  )

  test.skipIf(!oras || !openssl)(
    "with a certificate of its own is believed by that host's ca alone",
    async () => {
      const [certificate, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
      const subject = ['-subj', '/CN=registry', '-addext', 'subjectAltName=IP:127.0.0.1']
      const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
      await run(openssl!, ['req', ...kind, ...subject, '-keyout', key, '-out', certificate])
      const tls = { certificate, key }
      await using secure = await DockerRegistry.start({ program: program!, folder: join(folder, 'tls'), tls })
      const files = ['vmlinuz', 'initrd.img']
      await run(oras!, ['push', '--ca-file', certificate, `${secure.host}/os:1`, ...files], { cwd: folder })

      const hosts = { [secure.host]: { ca: await readFile(certificate, 'utf8') } }
      await using own = createTransport({ hosts })
      const source = sourceOf(secure.host, 'os', { hosts, fetch: own.fetch })
      expect((await pulledKernel(source, join(folder, 'store-tls'))).equals(kernel)).toBe(true)
      const stranger = await sourceOf(secure.host, 'os', { hosts: {} })
        .resolve({ tag: '1' }, { arch: 'amd64' })
        .catch((error) => error)
      expect([stranger.code, stranger.message]).toEqual([
        'registry-unavailable',
        expect.stringContaining(`{"${secure.host}":{"ca":`),
      ])
    },
  )
})
