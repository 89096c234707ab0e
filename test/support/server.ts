/** A whole server in this process, on ports of its own and in a folder of its own, with images of a few bytes. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ApiClient, createApiClient } from '../../src/cli/api-client.ts'
import { loadConfig } from '../../src/config/load.ts'
import { type Log, silentLog } from '../../src/log.ts'
import { architectureAnnotation, layerTypes, osArtifactType } from '../../src/oci/artifact.ts'
import { openLayout, writeLayout } from '../../src/oci/layout.ts'
import { mediaTypes } from '../../src/oci/manifest.ts'
import { digestOf } from '../../src/oci/source.ts'
import type { Arch } from '../../src/protocol/identifiers.ts'
import { type Running, serve } from '../../src/serve.ts'
import { asKernel } from './kernel-bytes.ts'

/** Settings of a server that prepares nothing, listens on loopback alone and is reached there. */
export const smallServer: Readonly<Record<string, string>> = {
  advertise: '127.0.0.1',
  'image.prepare': 'false',
  'firmware.host': '127.0.0.1',
  'firmware.port': '0',
  'agent.host': '127.0.0.1',
  'agent.port': '0',
  'agent.pollSeconds': '1',
  'admin.port': '0',
  'tftp.enabled': 'false',
}

export type TestServer = AsyncDisposable & {
  running: Running
  data: string
  /** http://127.0.0.1:<port>, without a slash at its end. */
  firmware: string
  /** The admin plane by its socket. */
  api: ApiClient
}

export type ServerOptions = {
  /** A folder that stays; by default a new one that goes with the server. */
  data?: string
  settings?: Readonly<Record<string, string>>
  log?: Log
  now?: () => Date
  random?: (bytes: number) => Uint8Array
}

export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const data = options.data ?? (await mkdtemp(join(tmpdir(), 'muster-story-')))
  const { log = silentLog, now, random } = options
  const running = await serve({
    loaded: loadConfig({ env: {}, flags: { ...smallServer, data, ...options.settings } }),
    log,
    print: () => {},
    ...(now && { now }),
    ...(random && { random }),
  })
  await running.prepared
  return {
    running,
    data,
    firmware: `http://127.0.0.1:${running.ports.firmware}`,
    api: createApiClient({ kind: 'socket', path: running.paths.socket }),
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]()
      if (options.data === undefined) await rm(data, { recursive: true, force: true })
    },
  }
}

export type TinyImage = { kernel: Buffer; initrd: Buffer; manifestBytes: Buffer }

/** An image of a few bytes (or `bytes` of them) that says in its own content what it is. */
export function tinyImage(content: string, options: { arch?: Arch; bytes?: number } = {}): TinyImage {
  const { arch = 'amd64', bytes = 2000 } = options
  const fill = (what: string) => Buffer.alloc(bytes, `${what} ${content} ${arch} `)
  const [kernel, initrd] = [asKernel(fill('kernel'), arch), fill('initrd')]
  const layer = (mediaType: string, blob: Buffer) => ({
    mediaType,
    digest: digestOf(blob),
    size: blob.length,
  })
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: osArtifactType,
    config: layer(mediaTypes.empty, emptyConfig),
    layers: [layer(layerTypes.kernel, kernel), layer(layerTypes.initrd, initrd)],
    annotations: { [architectureAnnotation]: arch },
  }
  return { kernel, initrd, manifestBytes: Buffer.from(JSON.stringify(manifest)) }
}

/** OCI image-spec v1.1, "Guidance for an Empty Descriptor". */
const emptyConfig = Buffer.from('{}')

/** Writes it as a layout folder under the tag `1`. */
export async function writeTinyLayout(path: string, image: TinyImage, arch: Arch = 'amd64'): Promise<string> {
  await writeLayout({
    path,
    images: [{ arch, manifestBytes: image.manifestBytes, tag: '1' }],
    blobs: [emptyConfig, image.kernel, image.initrd],
  })
  return path
}

/** Publishes a tiny image under `<image>/<version>` with the server's own keys. */
export async function publishTiny(
  server: TestServer,
  name: string,
  options: { image?: TinyImage; floor?: number; minAgent?: string; hardwareIds?: string[] } = {},
): Promise<TinyImage> {
  const [image = '', version = ''] = name.split('/')
  const { image: own, ...rest } = options
  const content = own ?? tinyImage(name)
  const folder = await mkdtemp(join(tmpdir(), 'muster-layout-'))
  try {
    const source = await openLayout({ path: await writeTinyLayout(folder, content) })
    await server.running.releases.publish({
      source,
      name: { tag: '1' },
      image,
      version,
      ...rest,
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return content
}
