/** docs/images.md as a newcomer follows it: each of its commands is run, and each refusal that it names is provoked. */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { architectureAnnotation, layerTypes, pickArtifact, titleAnnotation } from '../../src/oci/artifact.ts'
import { openLayout } from '../../src/oci/layout.ts'
import { manifestLimits, mediaTypes, parseImageManifest } from '../../src/oci/manifest.ts'
import { createRegistryClient } from '../../src/oci/registry.ts'
import { createTransport } from '../../src/oci/transport.ts'
import { muster as commandLine } from '../cli/command-line.ts'
import { DockerRegistry, run } from '../interop/docker-registry.ts'
import { digestOf } from '../oci/registry-simulator.ts'
import { asKernel } from '../support/kernel-bytes.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { skipReason, tool } from '../support/tools.ts'

const [program, oras] = ['docker-registry', 'oras'].map(tool)
const missing = ['docker-registry', 'oras'].find((name) => tool(name) === undefined)
const document = await readFile(join(import.meta.dirname, '../../docs/images.md'), 'utf8')

/** The files that the document speaks of, by name. */
const files = Object.fromEntries(
  ['vmlinuz', 'Image', 'initrd.img', 'early.cpio', 'rootfs.cpio.zst', 'board.dtb'].map((name) => [
    name,
    randomBytes(10_000),
  ]),
) as Record<string, Buffer>
files['vmlinuz'] = asKernel(files['vmlinuz']!)
files['Image'] = asKernel(files['Image']!, 'arm64')
files['cmdline'] = Buffer.from('console=ttyS0\n')

let folder: string
let server: TestServer
let registry: DockerRegistry | undefined
const transport = createTransport()
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-images-'))
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes)
  server = await startServer({ data: join(folder, 'data') })
  if (program !== undefined)
    registry = await DockerRegistry.start({ program, folder: join(folder, 'registry') })
})
afterAll(async () => {
  await registry?.[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await transport[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const muster = (...argv: string[]) =>
  commandLine([...argv, '--data', server.data], {
    world: { registry: () => createRegistryClient({ fetch: transport.fetch }), now: Date.now },
  })

/** The role of each layer by the file that it was made of. */
async function rolesOf(release: string): Promise<object> {
  const [image = '', version = '', arch = ''] = release.split('/')
  const { running } = server
  const { manifest } = running.releases.catalog().resolve({ image, version, arch: arch as 'amd64' }).release
  const bytes = await running.blobs.readAll(manifest.digest, manifest.size)
  const { kernel, initrds, cmdline, dtb } = pickArtifact(parseImageManifest(bytes))
  const nameOf = (layer?: { digest: string }) =>
    Object.keys(files).find((name) => layer !== undefined && digestOf(files[name]!) === layer.digest)
  return { kernel: nameOf(kernel), initrds: initrds.map(nameOf), cmdline: nameOf(cmdline), dtb: nameOf(dtb) }
}

describe.skipIf(missing !== undefined)(
  `the commands of docs/images.md${missing === undefined ? '' : ` (skipped: ${skipReason(missing)})`}`,
  () => {
    test('run as they stand there, and publish what they say', async () => {
      // An image out of a Dockerfile is built in the lab, by root and with a network.
      const here = document.replace(/## Out of a Dockerfile[\s\S]*?(?=\n## )/, '')
      const commands = [...here.matchAll(/```sh\n([\s\S]*?)```/g)]
        .flatMap((match) => match[1]!.replaceAll('\\\n', ' ').trim().split('\n'))
        // localhost, because oras and Muster speak plain HTTP to it without being told.
        .map((line) => line.replaceAll('registry.example', `localhost:${registry!.host.split(':')[1]}`))
      expect(commands.length).toBeGreaterThan(8)
      const runs = async (command: string) => {
        const [name, ...words] = command.split(/\s+/)
        if (name === 'oras') await run(oras!, words, { cwd: folder })
        else {
          expect(name).toBe('muster')
          const ran = await muster(...words.map((word) => word.replace(/^\.\//, `${folder}/`)))
          expect([command, ran.code, ran.err.replace(/^note: .*\n/gm, '')]).toEqual([command, 0, ''])
        }
      }
      const isRemoval = (command: string) => command.startsWith('muster image remove')
      for (const command of commands.filter((one) => !isRemoval(one))) await runs(command)
      const plain = { kernel: 'vmlinuz', initrds: ['initrd.img'], cmdline: undefined, dtb: undefined }
      expect(await rolesOf('edge-os/1.4.0/amd64')).toEqual({ ...plain, cmdline: 'cmdline' })
      expect(await rolesOf('edge-os/1.4.1/arm64')).toEqual({
        kernel: 'Image',
        initrds: ['early.cpio', 'rootfs.cpio.zst'],
        cmdline: 'cmdline',
        dtb: 'board.dtb',
      })
      expect(await rolesOf('edge-os/1.4.2/amd64')).toEqual(plain)
      expect(await rolesOf('edge-os/1.4.2/arm64')).toEqual({ ...plain, kernel: 'Image' })
      expect(await rolesOf('edge-os/1.4.3/amd64')).toEqual({ ...plain, cmdline: 'cmdline' })
      for (const command of commands.filter(isRemoval)) await runs(command)
    }, 60_000)

    test("an image config's architecture does for --arch", async () => {
      await writeFile(join(folder, 'config.json'), '{"architecture":"arm64","os":"linux"}')
      const target = `localhost:${registry!.host.split(':')[1]}/os/config:1`
      const config = `config.json:${mediaTypes.imageConfig}`
      await run(oras!, ['push', target, '--config', config, 'Image', 'initrd.img'], { cwd: folder })
      const ran = await muster('image', 'publish', target, '--as', 'configured/1')
      expect([ran.code, ran.out]).toEqual([0, expect.stringMatching(/^configured\/1\/arm64 /)])
    })
  },
)

type Layer = { mediaType?: string; title?: string; bytes?: Buffer; digest?: string; lost?: boolean }
type Recipe = {
  layers?: Layer[]
  annotations?: Record<string, string>
  config?: object
  tag?: string
  flags?: string[]
  pad?: number
  lies?: boolean
}

let count = 0
/** A layout folder that no tool of ours would write. */
async function layout(recipe: Recipe): Promise<string> {
  const path = join(folder, `layout-${count++}`)
  await mkdir(join(path, 'blobs/sha256'), { recursive: true })
  const put = async (bytes: Buffer, digest = digestOf(bytes)) => {
    await writeFile(join(path, 'blobs/sha256', digest.slice(7)), bytes)
    return { digest, size: bytes.length }
  }
  const { annotations = { [architectureAnnotation]: 'amd64' }, tag = '1' } = recipe
  const layers = []
  for (const layer of recipe.layers ?? [{ title: 'vmlinuz' }]) {
    const bytes = layer.bytes ?? asKernel(randomBytes(1000))
    const kept = layer.lost ? { digest: digestOf(bytes), size: bytes.length } : await put(bytes)
    if (recipe.lies)
      await writeFile(join(path, 'blobs/sha256', kept.digest.slice(7)), asKernel(randomBytes(1000)))
    layers.push({
      mediaType: layer.mediaType ?? 'application/octet-stream',
      ...kept,
      ...(layer.digest === undefined ? {} : { digest: layer.digest }),
      ...(layer.title === undefined ? {} : { annotations: { [titleAnnotation]: layer.title } }),
    })
  }
  const config = {
    mediaType: recipe.config === undefined ? mediaTypes.empty : mediaTypes.imageConfig,
    ...(await put(Buffer.from(JSON.stringify(recipe.config ?? {})))),
  }
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers, annotations }
  const bytes = Buffer.from(JSON.stringify(manifest) + ' '.repeat(recipe.pad ?? 0))
  const entry = {
    mediaType: mediaTypes.manifest,
    ...(await put(bytes)),
    annotations: { 'org.opencontainers.image.ref.name': tag },
  }
  await writeFile(join(path, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }))
  return path
}

/** By the rows of "What is refused". */
const refusals: Record<string, Recipe[]> = {
  'no kernel, or an empty one': [
    { layers: [{ title: 'rootfs.tar' }] },
    { layers: [{ title: 'vmlinuz.sig' }] },
    { layers: [{ title: 'vmlinuz', bytes: Buffer.alloc(0) }] },
    // One layer with our type: the titles of the others count no more.
    { layers: [{ title: 'vmlinuz' }, { mediaType: layerTypes.initrd }] },
  ],
  'two kernels, command lines or device trees': [
    { layers: [{ title: 'vmlinuz-1' }, { title: 'boot/vmlinuz-2' }] },
    { layers: [{ title: 'Image' }, { title: 'a.dtb' }, { title: 'b.dtb' }] },
    { layers: [{ mediaType: layerTypes.kernel }, ...Array(2).fill({ mediaType: layerTypes.cmdline })] },
  ],
  'a command line or device tree above its size': [
    { layers: [{ title: 'vmlinuz' }, { title: 'cmdline', bytes: Buffer.alloc(4097, 'x') }] },
    { layers: [{ title: 'vmlinuz' }, { title: 'a.dtb', bytes: Buffer.alloc(2 * 1024 * 1024 + 1) }] },
  ],
  "a file in the kernel's place that kexec of this architecture does not take, without `--any-kernel`": [
    { layers: [{ title: 'vmlinuz', bytes: Buffer.from('#!/bin/sh\n') }] },
    { layers: [{ title: 'vmlinuz', bytes: asKernel(randomBytes(1000), 'arm64') }] },
  ],
  'a command line that is not one line of ASCII, or leaves a quote open': [
    { layers: [{ title: 'vmlinuz' }, { title: 'cmdline', bytes: Buffer.from('quiet\nconsole=ttyS0\n') }] },
    { layers: [{ title: 'vmlinuz' }, { title: 'cmdline', bytes: Buffer.from('name=\u00e4') }] },
    { layers: [{ title: 'vmlinuz' }, { title: 'cmdline', bytes: Buffer.from('dyndbg="a') }] },
  ],
  'an architecture that is none of ours, or two that contradict each other': [
    { annotations: { [architectureAnnotation]: 'riscv64' } },
    { annotations: {}, config: { architecture: 'riscv64', os: 'linux' } },
    { config: { architecture: 'arm64', os: 'linux' } },
  ],
  'no architecture said, and no `--arch`': [{ annotations: {} }],
  'another architecture than `--arch` asks for': [
    { flags: ['--arch', 'arm64'] },
    { annotations: {}, config: { architecture: 'amd64' }, flags: ['--arch', 'arm64'] },
  ],
  'no such tag': [{ tag: '2' }],
  'a digest that is not sha256': [{ layers: [{ title: 'vmlinuz', digest: `sha512:${'a'.repeat(128)}` }] }],
  'a manifest of more than 4 MiB': [{ pad: manifestLimits.bytes }],
  'a layer whose bytes are not what its digest says': [{ lies: true }],
  'a layer that is missing': [{ layers: [{ title: 'vmlinuz', lost: true }] }],
  'the version is published with other content': [{}],
}
const rows = new Map(
  [...document.slice(document.indexOf('## What is refused')).matchAll(/^\| (.+) \| `([a-z-]+)` \|$/gm)].map(
    (match) => [match[1]!, match[2]!],
  ),
)

describe('what docs/images.md says is refused', () => {
  test('is all tried here', () => {
    expect([...rows.keys()].sort()).toEqual([...Object.keys(refusals), 'a folder that is no layout'].sort())
  })
  test.each(Object.entries(refusals))('%s', async (row, recipes) => {
    const name = `refused-${count}`
    if (row.startsWith('the version'))
      expect((await muster('image', 'publish', await layout({}), '--as', `${name}/1`)).code).toBe(0)
    for (const recipe of recipes) {
      const source = `${await layout(recipe)}:1`
      const ran = await muster('image', 'publish', source, '--as', `${name}/1`, ...(recipe.flags ?? []))
      expect([ran.code, ran.err], JSON.stringify(recipe).slice(0, 200)).toEqual([
        1,
        expect.stringContaining(`(${rows.get(row)}: `),
      ])
    }
    const published = server.running.releases.catalog().image(name)?.releases ?? []
    expect(published).toHaveLength(row.startsWith('the version') ? 1 : 0)
  })
  test('a folder that is no layout', async () => {
    const path = join(folder, 'no-layout')
    await mkdir(path)
    const ran = await muster('image', 'publish', path, '--as', 'none/1')
    expect([ran.code, ran.err]).toEqual([
      1,
      expect.stringContaining(`(${rows.get('a folder that is no layout')}: `),
    ])
    await expect(openLayout({ path })).rejects.toMatchObject({ code: 'layout-invalid' })
  })
  test('is not what an image without any mistake is', async () => {
    const source = `${await layout({})}:1`
    expect((await muster('image', 'publish', source, '--as', 'sound/1')).code).toBe(0)
  })
})
