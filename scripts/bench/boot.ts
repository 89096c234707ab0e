/**
 * `npm run bench -- boot`: from power-on to the first line of the booted system, with verification by the agent, beside the
 * same kernel and initrd loaded by iPXE straight from the files folder (a profile with `unverified: true`). One virtual
 * machine at a time, software emulation, the two ways in turn.
 */
import { generateKeyPairSync } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/config/load.ts'
import { silentLog } from '../../src/log.ts'
import { pickArtifact } from '../../src/oci/artifact.ts'
import { parseImageManifest } from '../../src/oci/manifest.ts'
import type { HelloRequest } from '../../src/protocol/hello.ts'
import { type Running, serve } from '../../src/serve.ts'
import { startVirtualMachine } from '../../test/support/virtual-machine.ts'
import { parseOptions, wholeNumber } from '../usage.ts'
import { median, spread } from './statistics.ts'

const rounds = 5
const bootTimeoutMs = 180_000
const bootedLine = /muster hello:/

export async function run(args: string[] = []): Promise<void> {
  const values = parseOptions(args, { rounds: { type: 'string', default: String(rounds) } })
  const wanted = wholeNumber('rounds', values.rounds)
  const folder = await mkdtemp(join(tmpdir(), 'muster-bench-'))
  const files = join(folder, 'files')
  await mkdir(files)
  const flags = {
    data: join(folder, 'data'),
    files,
    cache: join(import.meta.dirname, '../../.cache/muster'),
    'firmware.host': '127.0.0.1',
    'firmware.port': '0',
    'agent.host': '127.0.0.1',
    'agent.port': '0',
    'admin.port': '0',
    'tftp.enabled': 'false',
  }
  const running = await serve({ loaded: loadConfig({ env: {}, flags }), log: silentLog, print: () => {} })
  await running.prepared
  const seconds: Record<'verified' | 'unverified', number[]> = { verified: [], unverified: [] }
  try {
    await prepareUnverified(running, files)
    for (let round = 1; round <= wanted; round++) {
      for (const way of ['verified', 'unverified'] as const) {
        const took = await bootOnce(running, way)
        seconds[way].push(took)
        console.log(JSON.stringify({ bench: 'boot', case: way, round, seconds: took }))
      }
    }
  } finally {
    await running[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  }
  console.log('\n| from power-on to the booted system | seconds, median (least–most) |\n|---|---|')
  for (const [way, values] of Object.entries(seconds)) console.log(`| ${way} | ${spread(values)} |`)
  console.log(`verified / unverified: ${(median(seconds.verified) / median(seconds.unverified)).toFixed(2)}`)
}

const macs = { verified: '52:54:00:be:00:01', unverified: '52:54:00:be:00:02' } as const

/** The hello image's own kernel and initrd as plain files, and a profile that gives them to one machine. */
async function prepareUnverified({ blobs, machines, releases }: Running, files: string): Promise<void> {
  const release = releases.catalog().image('hello')?.releases[0]
  if (release === undefined)
    throw new Error('The hello image could not be made; npm start says what is missing.')
  const bytes = await blobs.readAll(release.manifest.digest, release.manifest.size)
  const { kernel, initrds } = pickArtifact(
    parseImageManifest(bytes, { mediaType: release.custom.oci.mediaType }),
  )
  await writeFile(join(files, 'vmlinuz'), await blobs.readAll(kernel.digest, kernel.size))
  await writeFile(join(files, 'initrd.img'), await blobs.readAll(initrds[0]!.digest, initrds[0]!.size))
  await machines.profiles.put({
    name: 'plain-files',
    selector: { macs: [macs.unverified] },
    unverified: true,
    files: { kernel: 'vmlinuz', initrd: ['initrd.img'] },
    arguments: ['console=tty0', 'console=ttyS0,115200'],
  })
  // An unverified kernel wants a machine that a person approved.
  const request: HelloRequest = {
    protocol: 1,
    agent: { version: '0.1.0', arch: 'amd64', origin: 'network' },
    identifiers: { macs: [macs.unverified] },
    hardware: { hardwareIds: [], memoryBytes: 1 << 30, processors: 1 },
    sessionKey: generateKeyPairSync('ed25519')
      .publicKey.export({ type: 'spki', format: 'der' })
      .toString('base64'),
    nonce: '0'.repeat(64),
  }
  const { machine } = await machines.hello(request, {
    address: '127.0.0.1',
    rawBytes: Buffer.from(JSON.stringify(request)),
  })
  await machines.approve(machine.id, 'bench')
}

/** Seconds from power-on to the booted system's first line. */
async function bootOnce({ ports }: Running, way: keyof typeof macs): Promise<number> {
  const started = performance.now()
  await using machine = startVirtualMachine({
    network: { kind: 'user', bootUrl: `http://10.0.2.2:${ports.firmware}/boot/autoexec.ipxe` },
    memoryMiB: 1024,
    mac: macs[way],
  })
  return await new Promise<number>((resolve, reject) => {
    const timer = setTimeout(
      () =>
        reject(
          new Error(
            `${way}: nothing booted in ${bootTimeoutMs / 1000} s:\n${machine.console().slice(-2000)}`,
          ),
        ),
      bootTimeoutMs,
    )
    machine.onLine((line) => {
      if (!bootedLine.test(line)) return
      clearTimeout(timer)
      resolve((performance.now() - started) / 1000)
    })
  })
}
