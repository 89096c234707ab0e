/** PCs that start only what an operator signed: OVMF with the operator's keys enrolled, and nobody else's. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildHello, writeHelloLayout } from '../../../src/builder/hello-image.ts'
import { openLayout } from '../../../src/oci/layout.ts'
import type { Running } from '../../../src/serve.ts'
import { enrolledVariables, type SecureBootKey, secureBootKey } from '../../support/secure-boot-keys.ts'
import { documentedDhcpLines } from '../dhcp-lines.ts'
import { boots, type Join, joins } from '../join.ts'
import { serverAddress } from '../network.ts'
import type { Scenarios } from '../scenario.ts'

const root = join(import.meta.dirname, '../../..')
const signedUrl = `http://${serverAddress}:8080/files/agent.efi`

export const secureBootScenarios: Scenarios = {
  'uefi-secure-boot': {
    about: "OVMF with the operator's keys: an agent signed by `muster agent build --sign`, origin signed",
    run: () =>
      withKeys(async (folder, key) => {
        const result = await joins({
          ...machineWith(folder, key),
          settings: { files: folder },
          dhcp: documentedDhcpLines().map((line) =>
            line.includes('tag:http64,http') ? `dhcp-boot=tag:http64,${signedUrl}` : line,
          ),
          prepare: async (running) => {
            buildSigned(running, folder, key)
            await publishSigned(running, folder, key)
          },
          road: [
            'HTTP Boot over IPv4',
            /Kernel is locked down from EFI Secure Boot/,
            'muster agent: started',
          ],
        })
        const hello = result.events.find(({ kind }) => kind === 'hello')
        if (hello?.data['origin'] !== 'signed')
          throw new Error(`the boot's agentOrigin is ${String(hello?.data['origin'])}, not signed`)
        return result
      }),
  },
  'uefi-secure-boot-unsigned': {
    about: 'the same machine, given the unsigned agent: its firmware refuses it, and nothing runs',
    run: () =>
      withKeys(async (folder, key) => {
        const result = await boots({
          ...machineWith(folder, key),
          refusedBy: /Access Denied|Security Violation/i,
        })
        if (result.outcome !== 'refused')
          throw new Error(`the firmware did not refuse: ${result.outcome}: ${result.cause}`)
        if (result.events.some(({ kind }) => kind === 'hello'))
          throw new Error('an agent said hello all the same')
        if (result.console.includes('Linux version')) throw new Error('a kernel started all the same')
      }),
  },
}

function machineWith(folder: string, key: SecureBootKey): Pick<Join, 'machine'> {
  return {
    machine: { firmware: 'uefi-x64-secure', road: 'http', variables: enrolledVariables(folder, key) },
  }
}

async function withKeys<T>(use: (folder: string, key: SecureBootKey) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-secure-boot-'))
  try {
    return await use(folder, await secureBootKey(folder, 'operator'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** As an operator does it, away from the server: the key never comes near it. */
function buildSigned(
  { paths, tls, config }: Running,
  folder: string,
  { key, certificate }: SecureBootKey,
): void {
  const trusted = join(paths.tuf, config.releases.repository, 'metadata/1.root.json')
  const words = `agent build --arch amd64 --hardware virtual --server https://${serverAddress}:8443`.split(
    ' ',
  )
  const files = ['--root', trusted, '--sign', key, '--cert', certificate, '--out', folder, '--pin', tls.pin]
  muster(folder, [...words, ...files])
}

/** A newer hello release whose kernel has the operator's signature: what Debian signed, this machine's kernel does not trust. */
async function publishSigned(
  { releases, paths }: Running,
  folder: string,
  key: SecureBootKey,
): Promise<void> {
  const outDir = join(folder, 'hello')
  const built = await buildHello({ arch: 'amd64', mirrors: [], cacheDir: paths.cache, outDir })
  const words = [
    'image',
    'sign',
    built.kernel,
    '--sign',
    key.key,
    '--cert',
    key.certificate,
    '--out',
    built.kernel,
  ]
  muster(folder, words)
  const path = join(folder, 'layout')
  await writeHelloLayout({ path, tag: '1.0.1', images: [built] })
  const source = await openLayout({ path })
  await releases.publish({ source, name: { tag: '1.0.1' }, image: 'hello', version: '1.0.1' })
}

function muster(folder: string, words: string[]): void {
  execFileSync(process.execPath, [join(root, 'src/main.ts'), ...words], {
    env: {
      ...process.env,
      NODE_NO_WARNINGS: '1',
      MUSTER_DATA: join(folder, 'data'),
      MUSTER_CACHE: join(root, '.cache/muster'),
    },
  })
}
