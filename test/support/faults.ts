/**
 * What an attacker between server and machine does, and the code with which the agent has to refuse it. Each fault is made
 * by somebody who took the server over (its online keys are at hand), so the server cannot be what refuses.
 */
import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { ErrorCode } from '../../src/errors.ts'
import type { HelloRequest } from '../../src/protocol/hello.ts'
import { type Plan, planPayloadType } from '../../src/protocol/plan.ts'
import { signEnvelope } from '../../src/signing/dsse.ts'
import { type Keys, requireKey } from '../../src/signing/keys.ts'
import { type SignedMetadata, signMetadata, type TimestampSigned } from '../../src/signing/repository.ts'
import type { Exchange, Meddler } from './between.ts'

/** The attacked server as the attacker sees it. */
export type Victim = {
  keys: Keys
  /** Keys of a repository the machine's root never heard of. */
  foreignKeys: Keys
  /** A current metadata file as it is served now. */
  metadata(name: string): Promise<Buffer>
  /** Digests of the demonstration image's layers. */
  kernelDigest: string
  initrdDigest: string
  /** Makes a second, newer release of the demonstration image, with this floor. */
  publishNewer(floor: number): Promise<void>
  /** Flips one bit of a stored blob, behind the server's back. */
  flipBit(digest: string): Promise<void>
  /** Says this hello with a session key of the attacker's and asks for the plan: the body of the plan reply. */
  planFor(hello: HelloRequest): Promise<Buffer>
  /** Refuses connections for so long. */
  leaveFor(ms: number): void
}

export type Fault = {
  /** The code on the machine's console; `joined` when the machine has to recover. */
  expected: ErrorCode | 'joined'
  about: string
  /** The machine's clock at power-on. */
  clock?: string
  /** Made before the machine starts. */
  prepare?(victim: Victim): Promise<void>
  meddler?(victim: Victim): Meddler
}

const isBlob = (exchange: Exchange, digest: string) =>
  exchange.path.endsWith(`/blobs/sha256/${digest.slice('sha256:'.length)}`)

/** Re-signs the plan with the real plan key after changing it. */
function forgedPlan(victim: Victim, change: (plan: Plan) => Plan): Meddler {
  return {
    change(exchange, answer) {
      if (!exchange.path.endsWith('/plan')) return answer
      const reply = JSON.parse(answer.body.toString('utf8')) as {
        status: string
        envelope?: { payload: string }
      }
      if (reply.status !== 'boot' || reply.envelope === undefined) return answer
      const plan = JSON.parse(Buffer.from(reply.envelope.payload, 'base64').toString('utf8')) as Plan
      const envelope = signEnvelope({
        payloadType: planPayloadType,
        payload: Buffer.from(JSON.stringify(change(plan))),
        signers: [requireKey(victim.keys, 'plan')],
      })
      return { ...answer, body: Buffer.from(JSON.stringify({ status: 'boot', envelope })) }
    },
  }
}

/** Gives the machine a plan that the real server made, for another hello than the machine's own. */
function otherPlan(victim: Victim, toHello: (hello: HelloRequest) => HelloRequest): Meddler {
  let hello: HelloRequest | undefined
  return {
    async change(exchange, answer) {
      if (exchange.path === '/agent/v1/hello')
        hello = JSON.parse(exchange.requestBody.toString('utf8')) as HelloRequest
      if (!exchange.path.endsWith('/plan') || hello === undefined) return answer
      return { ...answer, status: 200, body: await victim.planFor(toHello(hello)) }
    },
  }
}

const withArguments =
  (...extra: string[]) =>
  (victim: Victim) =>
    forgedPlan(victim, (plan) => ({ ...plan, arguments: [...plan.arguments, ...extra] }))

const withFile = (name: string, mode: number) => (victim: Victim) =>
  forgedPlan(victim, (plan) => ({
    ...plan,
    files: [...plan.files, { name, mode, bytes: Buffer.from('#!/bin/sh\n').toString('base64') }],
  }))

/** The timestamp that is served, dated back two days and signed again with the real key. */
function expiredTimestamp(victim: Victim): Meddler {
  return {
    change(exchange, answer) {
      if (!exchange.path.endsWith('/metadata/timestamp.json')) return answer
      const { signed } = JSON.parse(answer.body.toString('utf8')) as SignedMetadata<TimestampSigned>
      const expires = new Date(Date.now() - 2 * 86_400_000).toISOString().replace(/\.\d+Z$/, 'Z')
      return {
        ...answer,
        body: Buffer.from(signMetadata({ ...signed, expires }, [requireKey(victim.keys, 'timestamp')])),
      }
    },
  }
}

/** Sends these bytes for a blob instead of its own. */
function instead(digest: string, send: (response: ServerResponse) => void): Meddler {
  return {
    takeOver(exchange, response) {
      if (!isBlob(exchange, digest)) return false
      send(response)
      return true
    },
  }
}

export const faults: Readonly<Record<string, Fault>> = {
  'flipped-bit': {
    expected: 'blob-digest',
    about: 'one bit of the stored kernel is another',
    prepare: (victim) => victim.flipBit(victim.kernelDigest),
  },
  'swapped-initrd': {
    expected: 'blob-digest',
    about: "another initrd of the same size in the signed one's place",
    meddler: (victim) => ({
      async takeOver(exchange, response) {
        if (!isBlob(exchange, victim.initrdDigest)) return false
        const size = await blobSize(victim, victim.initrdDigest)
        response.writeHead(200, { 'content-length': size, 'accept-ranges': 'none' })
        response.end(Buffer.alloc(size, 'another release '))
        return true
      },
    }),
  },
  'expired-timestamp': {
    expected: 'metadata-expired',
    about: 'a timestamp that expired two days ago, rightly signed',
    meddler: expiredTimestamp,
  },
  'clock-1970': {
    expected: 'metadata-expired',
    about: 'the same, to a machine whose clock says 1970',
    clock: '1970-01-01T00:00:00',
    meddler: expiredTimestamp,
  },
  'unsigned-target': {
    expected: 'target-not-found',
    about: 'a plan that names a release nobody signed',
    meddler: (victim) =>
      forgedPlan(victim, (plan) => ({
        ...plan,
        target: 'hello/6.6.6/amd64',
        manifestDigest: `sha256:${'6'.repeat(64)}`,
      })),
  },
  'rolled-back': {
    expected: 'metadata-rollback',
    about: 'yesterday’s metadata, still unexpired, all of one piece',
    meddler: (victim) => {
      const old = new Map<string, Promise<Buffer>>()
      const remember = [
        'timestamp.json',
        '1.snapshot.json',
        '2.snapshot.json',
        '1.targets.json',
        '2.targets.json',
      ]
      for (const name of remember)
        old.set(
          name,
          victim.metadata(name).catch(() => Buffer.alloc(0)),
        )
      const published = Promise.all(old.values()).then(() => victim.publishNewer(0))
      return {
        async change(exchange, answer) {
          await published
          const name = /\/metadata\/([\w.]+)$/.exec(exchange.path)?.[1]
          const body = name === undefined ? undefined : await old.get(name)
          return body === undefined || body.length === 0 ? answer : { ...answer, status: 200, body }
        },
      }
    },
  },
  'old-but-listed-release': {
    expected: 'release-below-floor',
    about: 'a release that is still listed, below the floor of its channel',
    meddler: (victim) => {
      const oldPlans = victim.metadata('timestamp.json').then(() => victim.publishNewer(2))
      const forged = forgedPlan(victim, (plan) => ({ ...plan, ...oldRelease, minReleaseCounter: 0 }))
      let oldRelease: Partial<Plan> = {}
      return {
        async change(exchange, answer) {
          await oldPlans
          oldRelease = {
            target: 'hello/1.0.0/amd64',
            manifestDigest: (await manifestDigestOf(victim, 'hello/1.0.0/amd64')) ?? '',
          }
          return forged.change!(exchange, answer)
        },
      }
    },
  },
  'wrong-root': {
    expected: 'metadata-signature',
    about: 'a whole repository signed by keys of another root',
    meddler: (victim) => ({
      change(exchange, answer) {
        const role = /\/metadata\/(?:\d+\.)?(timestamp|snapshot|targets)\.json$/.exec(exchange.path)?.[1]
        if (role === undefined) return answer
        const { signed } = JSON.parse(answer.body.toString('utf8')) as SignedMetadata<TimestampSigned>
        return {
          ...answer,
          body: Buffer.from(signMetadata(signed, [requireKey(victim.foreignKeys, role as 'timestamp')])),
        }
      },
    }),
  },
  'endless-blob': {
    expected: 'blob-too-long',
    about: 'a kernel that never ends',
    meddler: (victim) =>
      instead(victim.kernelDigest, (response) => {
        response.writeHead(200, { 'content-type': 'application/octet-stream' })
        const chunk = Buffer.alloc(65_536, 'and on ')
        const more = () => {
          while (!response.destroyed && response.write(chunk)) {
            /* until the socket is full */
          }
        }
        response.on('drain', more)
        more()
      }),
  },
  'truncated-blob': {
    expected: 'blob-truncated',
    about: 'a kernel that ends after 64 KiB, without an error',
    meddler: (victim) =>
      instead(victim.kernelDigest, (response) => {
        response.writeHead(200, { 'content-length': 65_536 })
        response.end(Buffer.alloc(65_536))
      }),
  },
  'other-machine-plan': {
    expected: 'plan-machine',
    about: "another machine's plan, rightly signed and with this machine's nonce",
    meddler: (victim) =>
      otherPlan(victim, (hello) => ({
        ...hello,
        identifiers: { macs: ['52:54:00:0b:ad:00'], serial: 'another-machine' },
      })),
  },
  'replayed-plan': {
    expected: 'plan-nonce',
    about: 'a plan of an earlier boot of the same machine',
    meddler: (victim) =>
      otherPlan(victim, (hello) => ({
        ...hello,
        nonce: createHash('sha256').update('an earlier boot').digest('hex'),
      })),
  },
  'injected-argument': {
    expected: 'argument-refused',
    about: 'kernel arguments with a quote, a line end, ` -- ` and init=',
    meddler: withArguments(
      'muster.note="x',
      'quiet\ninit=/bin/sh',
      'muster.x=1 -- init=/bin/sh',
      'init=/bin/sh',
    ),
  },
  'hostile-join-file': {
    expected: 'file-refused',
    about: 'a join file called ../init, a symbolic link, a device node',
    meddler: withFile('../init', 0o755),
  },
  'hostile-join-link': {
    expected: 'file-refused',
    about: 'a join file whose mode makes it a symbolic link',
    meddler: withFile('link', 0o120777),
  },
  'hostile-join-device': {
    expected: 'file-refused',
    about: 'a join file whose mode makes it a device',
    meddler: withFile('console', 0o020666),
  },
  'wrong-pin': {
    expected: 'server-pin',
    about: 'the agent plane answers with another key',
  },
  'server-away': {
    expected: 'joined',
    about: 'the server is gone in the middle of the download, and back after ten seconds',
    meddler: (victim) => {
      let gone = false
      return {
        takeOver(exchange, response) {
          if (gone || !isBlob(exchange, victim.initrdDigest)) return false
          gone = true
          void blobSize(victim, victim.initrdDigest).then(async (size) => {
            response.writeHead(200, { 'content-length': size, 'accept-ranges': 'bytes' })
            response.write(
              (await victim.metadata(`blob:${victim.initrdDigest}`)).subarray(0, Math.floor(size / 2)),
            )
            setTimeout(() => victim.leaveFor(10_000), 300)
          })
          return true
        },
      }
    },
  },
}

async function blobSize(victim: Victim, digest: string): Promise<number> {
  return (await victim.metadata(`blob:${digest}`)).length
}

async function manifestDigestOf(victim: Victim, path: string): Promise<string | undefined> {
  const timestamp = JSON.parse(
    (await victim.metadata('timestamp.json')).toString('utf8'),
  ) as SignedMetadata<TimestampSigned>
  const snapshotName = `${timestamp.signed.meta['snapshot.json'].version}.snapshot.json`
  const snapshot = JSON.parse((await victim.metadata(snapshotName)).toString('utf8')) as {
    signed: { meta: Record<string, { version: number }> }
  }
  const targetsName = `${snapshot.signed.meta['targets.json']?.version}.targets.json`
  const targets = JSON.parse((await victim.metadata(targetsName)).toString('utf8')) as {
    signed: { targets: Record<string, { hashes: { sha256: string } }> }
  }
  const sha256 = targets.signed.targets[path]?.hashes.sha256
  return sha256 === undefined ? undefined : `sha256:${sha256}`
}
