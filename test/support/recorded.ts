/** Exchanges of agents, kept in test/vectors/agent/<version>/: written from a real boot, read to be played again. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TlsIdentity } from '../../src/http/tls.ts'
import type { Exchange } from './between.ts'

export type RecordedServer = {
  about: string
  machine: string
  /** In the order in which their hellos came. */
  boots: string[]
  /** What report tokens are made with. */
  reportSecret: string
  /** PEM; it serves nobody. */
  tls: { key: string; certificate: string }
}
export type Recorded = {
  method: string
  path: string
  headers: Record<string, string>
  /** The exact text. */
  body: string
  /** Of a hello: sha256 of its bytes. */
  helloDigest?: string
}

const folder = join(import.meta.dirname, '../vectors/agent')

export const recordedVersions = (): string[] => readdirSync(folder).filter((name) => /^v\d+$/.test(name))

export function readRecorded(version: string): { server: RecordedServer; requests: Recorded[] } {
  const read = (name: string) => JSON.parse(readFileSync(join(folder, version, `${name}.json`), 'utf8'))
  return { server: read('server'), requests: read('requests') }
}

/** The 10 bytes that an id was made of, so that a server draws the same id again. */
export function bytesOfId(id: string): Buffer {
  let bits = 0n
  for (const letter of id.slice(2))
    bits = (bits << 5n) | BigInt('abcdefghijklmnopqrstuvwxyz234567'.indexOf(letter))
  return Buffer.from(bits.toString(16).padStart(20, '0'), 'hex')
}

const keptHeaders = /^(?:authorization|content-type|muster-.+)$/

export async function recordExchanges(options: {
  version: string
  exchanges: readonly Exchange[]
  boots: readonly { id: string; machineId: string; openedAt: string }[]
  tls: TlsIdentity
}): Promise<void> {
  const { version, exchanges, boots, tls } = options
  const write = (name: string, value: object) =>
    writeFile(join(folder, version, `${name}.json`), `${JSON.stringify(value, null, 2)}\n`)
  await mkdir(join(folder, version), { recursive: true })
  const inOrder = boots.toSorted((one, other) => one.openedAt.localeCompare(other.openedAt))
  const server: RecordedServer = {
    about:
      'what the server had given: the ids, and the secrets of its agent plane, which protect nothing any more',
    machine: inOrder[0]!.machineId,
    boots: inOrder.map(({ id }) => id),
    reportSecret: createHash('sha256').update('muster report tokens\n').update(tls.key).digest('hex'),
    tls: { key: tls.key, certificate: tls.certificate },
  }
  const requests = exchanges.map(({ method, path, headers, requestBody }): Recorded => {
    const kept = Object.entries(headers).filter(([name]) => keptHeaders.test(name))
    const helloDigest = createHash('sha256').update(requestBody).digest('hex')
    return {
      ...{ method, path, headers: Object.fromEntries(kept) as Record<string, string> },
      body: requestBody.toString('utf8'),
      ...(path.endsWith('/hello') ? { helloDigest } : {}),
    }
  })
  await write('server', server)
  await write('requests', requests)
}
