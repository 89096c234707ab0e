/** The plan: the signed answer to "what does this machine boot now, and why", bound to the agent's nonce. */
import * as z from 'zod/mini'
import { envelope } from './envelope.ts'
import { base64, bootId, digest, hex, machineId, targetPath, timestamp } from './identifiers.ts'

export const planPayloadType = 'application/vnd.muster.plan.v1+json'

/** The role in top-level targets whose keys sign plans. Its path pattern `plan/*` can never match an image. */
export const planRole = 'plan'

export const planLimits = { files: 16, fileBytes: 65_536, arguments: 64, argumentChars: 256 } as const

/** A regular file that the agent writes into the booted OS, under /muster. Names are flat. */
export const planFile = z.object({
  name: z.string().check(z.maxLength(255)),
  mode: z.number(),
  bytes: base64(Math.ceil(planLimits.fileBytes / 3) * 4),
})
export type PlanFile = z.infer<typeof planFile>

export const plan = z.object({
  version: z.literal(1),
  machine: machineId,
  boot: bootId,
  /** The nonce of the hello it answers. */
  nonce: hex(32),
  /** sha256 of the exact bytes of that hello request: binds session key and identifiers too. */
  hello: hex(32),
  issuedAt: timestamp,
  expires: timestamp,
  repository: z.string().check(z.maxLength(64)),
  /** Least timestamp.json version that the agent may accept: replayed metadata is older than what the server signed. */
  minTimestampVersion: z.number(),
  target: targetPath,
  manifestDigest: digest,
  minReleaseCounter: z.number(),
  mode: z.enum(['ram']),
  arguments: z.array(z.string().check(z.maxLength(4096))).check(z.maxLength(planLimits.arguments)),
  files: z.array(planFile).check(z.maxLength(planLimits.files)),
  /** Sentences for a person: which profile matched and why, which rule chose the release. */
  because: z.array(z.string().check(z.maxLength(512))).check(z.maxLength(16)),
})
export type Plan = z.infer<typeof plan>

/** `POST /agent/v1/boots/<boot>/plan`, signed by the session key; the body is `{}`. */
export const planReply = z.discriminatedUnion('status', [
  z.object({ status: z.literal('boot'), envelope }),
  /** Not approved yet, or its release is still on its way: ask again. */
  z.object({ status: z.literal('wait'), reason: z.string(), retrySeconds: z.number() }),
  /** Nothing for this machine here: go on to the next boot device. */
  z.object({ status: z.literal('skip'), reason: z.string() }),
])
export type PlanReply = z.infer<typeof planReply>
