/** A server's machines with a clock and dice of our own, and agents with verbs. */
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { type Log, silentLog } from '../../src/log.ts'
import type { MachineLimits } from '../../src/machines/limits.ts'
import { createMachines, type Machines } from '../../src/machines/machines.ts'
import type { Profile } from '../../src/machines/profiles.ts'
import type { HelloRequest } from '../../src/protocol/hello.ts'
import { sessionHeaders, signedText } from '../../src/protocol/session.ts'
import { type Database, openDatabase } from '../../src/store/database.ts'

export type World = {
  machines: Machines
  database: Database
  /** Moves the clock. */
  pass(ms: number): void
  [Symbol.asyncDispose](): Promise<void>
}

export const helloProfile = { name: 'hello', image: { name: 'hello', channel: 'stable' } }
export const isHello = (profile: Profile) => profile.image?.name === 'hello' && profile.cluster === undefined

export async function createWorld(
  options: {
    mode?: 'auto' | 'ask'
    limits?: Partial<MachineLimits>
    random?: (bytes: number) => Uint8Array
    reportSecret?: Uint8Array
    path?: string
    log?: Log
  } = {},
): Promise<World> {
  let ms = Date.parse('2026-06-01T08:00:00Z')
  let draws = 0
  const now = () => new Date(ms)
  const database = await openDatabase({ path: options.path ?? ':memory:', log: silentLog, now })
  const random = (bytes: number) => createHash('sha256').update(String(draws++)).digest().subarray(0, bytes)
  const machines = createMachines({
    database,
    now,
    random: options.random ?? random,
    log: options.log ?? silentLog,
    reportSecret: options.reportSecret ?? Buffer.alloc(32, 7),
    enrolment: { mode: options.mode ?? 'ask', isDemonstration: isHello },
    hasCluster: async (name) => name === 'edge',
    limits: options.limits ?? {},
  })
  return {
    machines,
    database,
    pass: (passed) => {
      ms += passed
    },
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  }
}

const session = generateKeyPairSync('ed25519')

export type Said = Partial<HelloRequest['identifiers']> & {
  origin?: HelloRequest['agent']['origin']
  nonce?: string
  key?: KeyObject
  vendor?: string
}

let nonces = 0
export function helloOf(mac: string | string[], said: Said = {}): HelloRequest {
  const { origin = 'network', nonce, key = session.publicKey, vendor, ...identifiers } = said
  nonces += 1
  return {
    protocol: 1,
    agent: { version: '0.1.0', arch: 'amd64', origin },
    identifiers: { macs: typeof mac === 'string' ? [mac] : mac, ...identifiers },
    hardware: {
      hardwareIds: ['QEMU,Standard PC'],
      memoryBytes: 2 ** 30,
      processors: 1,
      ...(vendor === undefined ? {} : { vendor }),
    },
    sessionKey: key.export({ type: 'spki', format: 'der' }).toString('base64'),
    nonce: nonce ?? nonces.toString(16).padStart(64, '0'),
  }
}

export function sayHello(world: World, request: HelloRequest, address = '192.0.2.10') {
  return world.machines.hello(request, { address, rawBytes: Buffer.from(JSON.stringify(request)) })
}

/** A request as an agent of the session signs it. */
export function signed(
  boot: string,
  sequence: number,
  body: unknown = {},
  options: { key?: KeyObject; what?: string } = {},
) {
  const bytes = Buffer.from(JSON.stringify(body))
  const path = `/agent/v1/boots/${boot}/${options.what ?? 'plan'}`
  const bodySha256 = createHash('sha256').update(bytes).digest('hex')
  const text = signedText({ method: 'POST', path, boot, sequence, bodySha256 })
  const signature = sign(null, Buffer.from(text), options.key ?? session.privateKey).toString('base64')
  return {
    method: 'POST',
    path,
    body: bytes,
    headers: {
      [sessionHeaders.boot]: boot,
      [sessionHeaders.sequence]: String(sequence),
      [sessionHeaders.signature]: signature,
    },
  }
}

export const kinds = async (world: World, query: { machineId?: string; bootId?: string }) =>
  (await world.machines.events(query)).map((event) => event.kind)
