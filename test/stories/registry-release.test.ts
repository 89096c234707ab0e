/** A release's whole way: pushed to a real registry, published by the command line, offered to a machine, held in its hands. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApiClient } from '../../src/cli/api-client.ts'
import type { ImagesView } from '../../src/http/admin-images.ts'
import { digestOf } from '../../src/oci/source.ts'
import { CountingProxy, DockerRegistry, run } from '../interop/docker-registry.ts'
import { aMachine, createAgentClient, fetchVerified, planOf } from '../support/agent-client.ts'
import { asKernel } from '../support/kernel-bytes.ts'
import { muster, type ServerProcess, startMuster, startServerProcess } from '../support/muster-process.ts'
import { tinyImage, writeTinyLayout } from '../support/server.ts'
import { skipReason, tool } from '../support/tools.ts'

const [program, oras, skopeo] = ['docker-registry', 'oras', 'skopeo'].map(tool)
const without = (...names: string[]) => {
  const missing = names.find((name) => tool(name) === undefined)
  return missing === undefined ? '' : ` (skipped: ${skipReason(missing)})`
}

const kernel = asKernel(randomBytes(3_000_000))
const initrd = randomBytes(9_000_000)
let folder: string
let registry: DockerRegistry
let registryPort: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-registry-story-'))
  await writeFile(join(folder, 'vmlinuz'), kernel)
  await writeFile(join(folder, 'initrd.img'), initrd)
  if (program === undefined) return
  registry = await DockerRegistry.start({ program, folder: join(folder, 'registry') })
  registryPort = registry.host.split(':')[1] as string
})
afterAll(async () => {
  await registry?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const pushByOras = (name: string) =>
  run(oras as string, ['push', '--plain-http', `${registry.host}/${name}`, 'vmlinuz', 'initrd.img'], {
    cwd: folder,
  })

const apiOf = (data: string) => createApiClient({ kind: 'socket', path: join(data, 'admin.sock') })

async function imagesOf(data: string): Promise<ImagesView['images']> {
  const { code, out, err } = await muster(['images', '--json', '--data', data])
  expect([code, err]).toEqual([0, ''])
  return (JSON.parse(out) as ImagesView).images
}

/** A profile gives the image to every machine; one comes, is approved, and asks what it boots. */
async function machineGets(server: ServerProcess, data: string, image: string, mac: string) {
  const api = apiOf(data)
  const profile = { name: 'edge', selector: {}, image: { name: image, channel: 'stable' } }
  await api.call({ method: 'PUT', path: '/profiles/edge', body: profile })
  using client = createAgentClient({ port: server.agentPort })
  const session = await client.boot(aMachine(mac))
  expect(await session.plan()).toMatchObject({ status: 'wait' })
  expect((await muster(['machine', 'approve', mac, '--data', data])).code).toBe(0)
  return { reply: await session.plan(), mirror: session.reply.mirrors[0]?.url as string }
}

describe.skipIf(program === undefined)(`from a docker-registry${without('docker-registry')}`, () => {
  test.skipIf(!oras)(
    `a release that oras pushed by file names reaches a machine, verified${without('oras')}`,
    {
      timeout: 120_000,
    },
    async () => {
      await pushByOras('os/edge:1')
      const data = join(folder, 'oras-data')
      await using server = await startServerProcess(data)
      const reference = `localhost:${registryPort}/os/edge:1`
      const unsaid = await muster(['image', 'publish', reference, '--as', 'edge-os/1.0.0', '--data', data])
      expect([unsaid.code, unsaid.err]).toEqual([1, expect.stringContaining('--arch')])

      const published = await muster([
        'image',
        'publish',
        reference,
        '--as',
        'edge-os/1.0.0',
        '--arch',
        'amd64',
        '--data',
        data,
      ])
      expect([published.code, published.err]).toEqual([0, expect.stringContaining('note:')])
      expect(published.out).toMatch(/^edge-os\/1\.0\.0\/amd64 {2}sha256:[0-9a-f]{64}$/m)

      const [image] = await imagesOf(data)
      expect(image).toMatchObject({
        name: 'edge-os',
        releases: [
          {
            version: '1.0.0',
            arch: 'amd64',
            ref: expect.stringContaining(`localhost:${registryPort}/os/edge@sha256:`),
          },
        ],
        channels: [{ channel: 'stable', version: '1.0.0', minReleaseCounter: 0 }],
      })

      const { reply, mirror } = await machineGets(server, data, 'edge-os', '52:54:00:00:00:0a')
      expect(planOf(reply)).toMatchObject({
        target: 'edge-os/1.0.0/amd64',
        manifestDigest: image?.releases[0]?.digest,
      })
      const trustedRoot = await readFile(join(data, 'tuf/main/metadata/1.root.json'))
      const held = await fetchVerified({ mirror, trustedRoot, reply })
      expect(held.kernel.equals(kernel)).toBe(true)
      expect(held.initrds.map((one) => one.equals(initrd))).toEqual([true])

      // By the distribution API too: what was admitted comes out as it went in.
      const copied = join(folder, 'copied')
      await run(oras as string, [
        'copy',
        '--from-plain-http',
        '--to-oci-layout',
        `127.0.0.1:${server.firmwarePort}/edge-os:1.0.0`,
        `${copied}:1`,
      ])
      const { digest = '' } = image?.releases[0] ?? {}
      const copiedManifest = await readFile(join(copied, 'blobs/sha256', digest.slice('sha256:'.length)))
      expect(digestOf(copiedManifest)).toBe(digest)
    },
  )

  test.skipIf(!skopeo)(
    `what skopeo pushed says its architecture itself, and the next release takes over the channel${without('skopeo')}`,
    {
      timeout: 120_000,
    },
    async () => {
      const data = join(folder, 'skopeo-data')
      await using server = await startServerProcess(data)
      for (const version of ['1', '2']) {
        const layout = await writeTinyLayout(join(folder, `layout-${version}`), tinyImage(`edge ${version}`))
        await run(skopeo as string, [
          '--insecure-policy',
          'copy',
          '--dest-tls-verify=false',
          `oci:${layout}:1`,
          `docker://${registry.host}/os/two:${version}`,
        ])
        const reference = `localhost:${registryPort}/os/two:${version}`
        const published = await muster([
          'image',
          'publish',
          reference,
          '--as',
          `edge-os/${version}.0.0`,
          '--data',
          data,
        ])
        expect([published.code, published.err]).toEqual([0, expect.any(String)])
      }
      const [image] = await imagesOf(data)
      expect(image?.releases.map(({ version, releaseCounter }) => [version, releaseCounter])).toEqual([
        ['2.0.0', 2],
        ['1.0.0', 1],
      ])
      const { reply, mirror } = await machineGets(server, data, 'edge-os', '52:54:00:00:00:0b')
      expect(planOf(reply).target).toBe('edge-os/2.0.0/amd64')
      const trustedRoot = await readFile(join(data, 'tuf/main/metadata/1.root.json'))
      const held = await fetchVerified({ mirror, trustedRoot, reply })
      expect(held.kernel.equals(tinyImage('edge 2').kernel)).toBe(true)
    },
  )
})

describe.skipIf(program === undefined || oras === undefined)(
  `a pull that dies half-way${without('docker-registry', 'oras')}`,
  () => {
    /** Bytes that a whole pull brings beside kernel and initrd: manifest, empty config, headers of a few replies. */
    const overheadMax = 16_384
    const all = kernel.length + initrd.length

    /** Bytes of image content in the store, whole or not; most of what came through the proxy has to be there. */
    async function onDisk(data: string): Promise<number> {
      const sizes = ['sha256', 'partial'].map(async (kind) => {
        const names = await readdir(join(data, 'blobs', kind))
        return Promise.all(names.map(async (name) => (await stat(join(data, 'blobs', kind, name))).size))
      })
      const there = (await Promise.all(sizes)).flat().reduce((sum, size) => sum + size, 0)
      expect(there).toBeGreaterThan(5_000_000)
      return there
    }

    /** Waits until so much has come through the proxy. */
    async function until(proxy: CountingProxy, bytes: number): Promise<void> {
      for (let tries = 0; proxy.bytes < bytes; tries += 1) {
        if (tries > 600) throw new Error(`only ${proxy.bytes} bytes came`)
        await sleep(20)
      }
    }

    test('because its command line was killed: the same command goes on, and fetches nothing twice', {
      timeout: 120_000,
    }, async () => {
      await pushByOras('os/killed-cli:1')
      await using proxy = await CountingProxy.start(registry.host)
      proxy.bytesPerSecond = 6_000_000
      const data = join(folder, 'killed-cli')
      await using _server = await startServerProcess(data)
      const port = proxy.host.split(':')[1]
      const publish = [
        'image',
        'publish',
        `localhost:${port}/os/killed-cli:1`,
        '--as',
        'edge-os/1.0.0',
        '--arch',
        'amd64',
        '--data',
        data,
      ]
      const first = startMuster(publish)
      await until(proxy, 7_000_000)
      await first.kill()
      expect(await imagesOf(data)).toEqual([])
      const there = await onDisk(data)

      proxy.bytes = 0
      proxy.bytesPerSecond = Number.POSITIVE_INFINITY
      expect((await muster(publish)).code).toBe(0)
      expect(proxy.bytes).toBeLessThan(all - there + overheadMax)
      expect(await imagesOf(data)).toMatchObject([{ releases: [{ version: '1.0.0' }] }])
      proxy.bytes = 0
      expect((await muster(publish)).code).toBe(0)
      expect(proxy.bytes).toBeLessThan(overheadMax)
    })

    test('because the server was killed: the next one goes on where the disk is', {
      timeout: 120_000,
    }, async () => {
      await pushByOras('os/killed-server:1')
      await using proxy = await CountingProxy.start(registry.host)
      proxy.bytesPerSecond = 6_000_000
      const data = join(folder, 'killed-server')
      const first = await startServerProcess(data)
      const pull = [
        'image',
        'pull',
        `localhost:${proxy.host.split(':')[1]}/os/killed-server:1`,
        '--arch',
        'amd64',
        '--data',
        data,
      ]
      const pulling = startMuster(pull)
      await until(proxy, 7_000_000)
      await first.kill()
      const { code, err } = await pulling.ended
      expect([code === 0, err]).toEqual([false, expect.stringContaining('muster:')])
      expect(err).not.toMatch(/^ {4}at /m)

      const there = await onDisk(data)
      await using _second = await startServerProcess(data)
      proxy.bytes = 0
      proxy.bytesPerSecond = Number.POSITIVE_INFINITY
      expect((await muster(pull)).code).toBe(0)
      expect(proxy.bytes).toBeLessThan(all - there + overheadMax)
      proxy.bytes = 0
      expect((await muster(pull)).code).toBe(0)
      expect(proxy.bytes).toBeLessThan(overheadMax)
    })
  },
)
