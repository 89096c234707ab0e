/** An agent in Node: says hello, signs what it says afterwards, fetches by TUF and by digest, and reports in. */
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { Agent, request } from 'node:https'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { pickArtifact } from '../../src/oci/artifact.ts'
import { parseImageManifest } from '../../src/oci/manifest.ts'
import type { EventsRequest, ReportRequest } from '../../src/protocol/events.ts'
import type { HelloReply, HelloRequest } from '../../src/protocol/hello.ts'
import { type Plan, type PlanReply, planRole } from '../../src/protocol/plan.ts'
import type { TrustedRepository } from '../../src/tuf/trusted-repository.ts'
import { refresh } from '../../src/tuf/updater.ts'
import { helloOf, type Said, signed } from '../machines/world.ts'

export type Reply = { status: number; headers: Record<string, unknown>; body: Buffer }

export type AgentClient = Disposable & {
  /** POST with these exact bytes and headers; nothing is signed. */
  post(path: string, body: Uint8Array, headers?: Record<string, string>): Promise<Reply>
  /** Opens a boot. @throws AgentRefused */
  hello(hello: HelloRequest): Promise<Session>
}

export type Session = {
  reply: HelloReply
  plan(): Promise<PlanReply>
  events(request: EventsRequest): Promise<void>
}

/** The server's own refusal. */
export class AgentRefused extends Error {
  readonly status: number
  readonly code: string
  readonly headers: Record<string, unknown>
  constructor({ status, body, headers }: Reply) {
    const { code = '?', detail = '' } = JSON.parse(body.toString('utf8') || '{}') as Record<string, string>
    super(`${status} ${code}: ${detail}`)
    this.status = status
    this.code = code
    this.headers = headers
  }
}

/** Any identifiers, one fresh session key each. */
export function aMachine(mac: string, said: Said = {}): { request: HelloRequest; key: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  return { request: helloOf(mac, { ...said, key: publicKey }), key: privateKey }
}

/** @param from source address on loopback: 127.0.0.0/8 is a whole building of machines. */
export function createAgentClient(options: { port: number; from?: string }): AgentClient & {
  boot(machine: ReturnType<typeof aMachine>): Promise<Session>
} {
  const { port, from } = options
  const connections = new Agent({ keepAlive: true, maxSockets: 4, rejectUnauthorized: false })
  const post: AgentClient['post'] = (path, body, headers = {}) =>
    new Promise((resolve, reject) => {
      const outgoing = request(
        {
          ...{ host: '127.0.0.1', port, path, method: 'POST', agent: connections },
          ...(from === undefined ? {} : { localAddress: from }),
          headers: { 'content-type': 'application/json', 'content-length': body.length, ...headers },
        },
        (incoming) => {
          incoming.toArray().then((chunks: Buffer[]) => {
            const { statusCode = 0, headers } = incoming
            resolve({ status: statusCode, headers, body: Buffer.concat(chunks) })
          }, reject)
        },
      )
      outgoing.on('error', reject)
      outgoing.end(body)
    })

  async function open(hello: HelloRequest, key?: KeyObject): Promise<Session> {
    const reply = json<HelloReply>(await post('/agent/v1/hello', Buffer.from(JSON.stringify(hello))))
    let sequence = 0
    const say = (what: string, value: unknown) => {
      sequence += 1
      const { path, body, headers } = signed(reply.boot, sequence, value, { what, ...(key && { key }) })
      return post(path, body, headers)
    }
    return {
      reply,
      plan: async () => json<PlanReply>(await say('plan', {})),
      events: async (events) => json(await say('events', events)),
    }
  }
  return {
    post,
    hello: (hello) => open(hello),
    boot: ({ request, key }) => open(request, key),
    [Symbol.dispose]: () => connections.destroy(),
  }
}

/** @throws AgentRefused for anything but 2xx */
export function json<Value>(reply: Reply): Value {
  if (reply.status < 200 || reply.status > 299) throw new AgentRefused(reply)
  return (reply.body.length === 0 ? undefined : JSON.parse(reply.body.toString('utf8'))) as Value
}

/** The booted system's report. */
export function report(client: AgentClient, token: string, body: ReportRequest): Promise<Reply> {
  const headers = { authorization: `Bearer ${token}` }
  return client.post('/agent/v1/report', Buffer.from(JSON.stringify(body)), headers)
}

export function planOf(reply: PlanReply): Plan {
  if (reply.status !== 'boot') throw new Error(`no plan: ${reply.status}, ${reply.reason}`)
  return JSON.parse(Buffer.from(reply.envelope.payload, 'base64').toString('utf8')) as Plan
}

/** report.json as the booted system finds it. */
export function reportFileOf(plan: Plan): { url: string; pin: string; boot: string; token: string } {
  const file = plan.files.find(({ name }) => name === 'report.json')
  return JSON.parse(Buffer.from(file!.bytes, 'base64').toString('utf8')) as never
}

/** What a machine holds in its hands in the end: everything by TUF and by digest, nothing on anybody's word. */
export async function fetchVerified(options: {
  /** …/tuf/<repository> */
  mirror: string
  trustedRoot: Uint8Array
  reply: PlanReply
}): Promise<{ repository: TrustedRepository; plan: Plan; kernel: Buffer; initrds: Buffer[] }> {
  const { mirror, reply, trustedRoot } = options
  if (reply.status !== 'boot') throw new Error(`no plan: ${reply.reason}`)
  const kept = new Map<string, Uint8Array>()
  const repository = await refresh({
    repository: 'main',
    trustedRoot,
    fetch: (name) => get(`${mirror}/metadata/${name}`).catch(() => undefined),
    files: {
      read: async (name) => kept.get(name),
      write: async (name, bytes) => void kept.set(name, bytes),
    },
    now: new Date(),
    crypto: createNodeCrypto(),
  })
  const plan = JSON.parse(
    Buffer.from(repository.verifyEnvelope(planRole, reply.envelope)).toString('utf8'),
  ) as Plan
  const target = await repository.requireTarget(plan.target)
  const [image, version, arch] = plan.target.split('/')
  const manifestBytes = await getVerified(
    `${mirror}/targets/${image}/${version}/${target.sha256}.${arch}`,
    `sha256:${target.sha256}`,
  )
  if (plan.manifestDigest !== `sha256:${target.sha256}`) throw new Error('plan and target differ')
  const { kernel, initrds } = pickArtifact(parseImageManifest(new Uint8Array(manifestBytes)))
  const blob = ({ digest }: { digest: string }) =>
    getVerified(`${mirror}/blobs/sha256/${digest.slice('sha256:'.length)}`, digest)
  return { repository, plan, kernel: await blob(kernel), initrds: await Promise.all(initrds.map(blob)) }
}

async function getVerified(url: string, digest: string): Promise<Buffer> {
  const bytes = await get(url)
  const found = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  if (found !== digest) throw new Error(`${url} is ${found}`)
  return bytes
}

async function get(url: string): Promise<Buffer> {
  const answer = await fetch(url)
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}`)
  return Buffer.from(await answer.arrayBuffer())
}
