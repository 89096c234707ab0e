/** The attacked server, given to a fault as its attacker sees it. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadTlsIdentity, type TlsIdentity } from '../../src/http/tls.ts'
import { silentLog } from '../../src/log.ts'
import { pickArtifact } from '../../src/oci/artifact.ts'
import { openLayout, writeLayout } from '../../src/oci/layout.ts'
import { parseImageManifest } from '../../src/oci/manifest.ts'
import { digestOf } from '../../src/oci/source.ts'
import type { HelloRequest } from '../../src/protocol/hello.ts'
import type { Running } from '../../src/serve.ts'
import { createSigner, generatePrivateKey, loadKeys } from '../../src/signing/keys.ts'
import { aMachine, createAgentClient } from './agent-client.ts'
import type { Between } from './between.ts'
import type { Victim } from './faults.ts'

export async function toVictim(
  running: Running,
  fault: string,
  folder: string,
): Promise<{ victim: Victim; tls: TlsIdentity; attach(between: Between): void }> {
  const { blobs, paths, ports, releases } = running
  let between: Between | undefined
  const hello = releases.catalog().image('hello')?.releases[0]
  if (hello === undefined) throw new Error('The throwaway server has no hello image.')
  const manifestBytes = await blobs.readAll(hello.manifest.digest, hello.manifest.size)
  const manifest = parseImageManifest(manifestBytes, { mediaType: hello.custom.oci.mediaType })
  const { kernel, initrds } = pickArtifact(manifest)
  const foreign = () => createSigner(generatePrivateKey())
  const victim: Victim = {
    keys: await loadKeys(join(paths.keys, releases.repository), silentLog),
    foreignKeys: { root: foreign(), targets: foreign(), snapshot: foreign(), timestamp: foreign() },
    async metadata(name) {
      if (name.startsWith('blob:')) return Buffer.from(await blobs.readAll(name.slice('blob:'.length), 1e9))
      const bytes = await releases.metadata(name)
      if (bytes === undefined) throw new Error(`no ${name}`)
      return Buffer.from(bytes)
    },
    kernelDigest: kernel.digest,
    initrdDigest: initrds[0]!.digest,
    async publishNewer(floor) {
      const layout = join(folder, 'newer')
      await mkdir(layout, { recursive: true })
      // The same content under another command line is another release.
      const cmdline = Buffer.from('console=tty0 console=ttyS0,115200 quiet')
      const layers = manifest.layers.map((layer) =>
        layer.mediaType.includes('cmdline')
          ? { ...layer, digest: digestOf(cmdline), size: cmdline.length }
          : layer,
      )
      const newer = { ...(JSON.parse(Buffer.from(manifestBytes).toString('utf8')) as object), layers }
      const bytes = await Promise.all(
        [manifest.config, ...manifest.layers].map(({ digest, size }) => blobs.readAll(digest, size)),
      )
      await writeLayout({
        path: layout,
        images: [{ arch: hello.arch, manifestBytes: Buffer.from(JSON.stringify(newer)), tag: 'newer' }],
        blobs: [...bytes, cmdline],
      })
      await releases.publish({
        source: await openLayout({ path: layout }),
        name: { tag: 'newer' },
        image: 'hello',
        version: '1.0.1',
        floor,
      })
    },
    async flipBit(digest) {
      const path = join(paths.blobs, 'sha256', digest.slice('sha256:'.length))
      const bytes = await readFile(path)
      bytes[Math.floor(bytes.length / 2)]! ^= 1
      await writeFile(path, bytes)
    },
    planFor: (request) => planFor(ports.agent, request),
    leaveFor(ms) {
      const comeBack = between?.goAway()
      setTimeout(() => comeBack?.(), ms)
    },
  }
  const foreignKeys = join(folder, 'foreign')
  await mkdir(foreignKeys, { recursive: true })
  const tls = fault === 'wrong-pin' ? await loadTlsIdentity(foreignKeys) : running.tls
  return {
    victim,
    tls,
    attach(found) {
      between = found
    },
  }
}

/** An agent of the attacker's: says hello with a key of its own and asks for its plan. */
async function planFor(port: number, template: HelloRequest): Promise<Buffer> {
  using client = createAgentClient({ port })
  const { key, request } = aMachine('52:54:00:00:00:00')
  const session = await client.boot({ request: { ...template, sessionKey: request.sessionKey }, key })
  return Buffer.from(JSON.stringify(await session.plan()))
}
