/** The plan: the signed answer to "what does this machine boot now, and why", bound to the agent's nonce. */
import * as z from 'zod/mini'
import { envelope } from './envelope.ts'
import { base64, bootId, digest, hex, machineId, targetPath, timestamp } from './identifiers.ts'

export const planPayloadType = 'application/vnd.muster.plan.v1+json'

/** The role in top-level targets whose keys sign plans. Its path pattern `plan/*` can never match an image. */
export const planRole = 'plan'

export const planLimits = { files: 16, fileBytes: 65_536, arguments: 64, argumentChars: 256 } as const

/** The plan's files in the booted system are flat: no folder, no hidden name, nothing that a shell or cpio reads as more. */
export const planFileName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** Read, write and execute for the owner, read and execute for others: no set-id bits, no file type, no open write. */
export const planFileModes = 0o755

/** Why no agent writes a file of this name; undefined: it does. Server and agent ask the same. */
export function fileNameProblem(name: string): string | undefined {
  if (planFileName.test(name)) return undefined
  return 'a flat name is wanted: letters, digits, ".", "_" and "-", at most 64, the first a letter or digit'
}

/** Why no agent writes a file of this mode; undefined: it does. */
export function fileModeProblem(mode: number): string | undefined {
  // The comparison first: bit operators see the lowest 32 bits only.
  if (Number.isInteger(mode) && mode >= 0 && mode <= planFileModes && (mode & ~planFileModes) === 0)
    return undefined
  return `mode ${mode.toString(8)} has more than the permissions ${planFileModes.toString(8)} of a regular file`
}

/** They choose the first program that runs: no policy can allow them. */
const neverAllowed = ['init', 'rdinit']

/** Why no agent takes this kernel argument, whatever its policy; undefined: the policy decides. */
export function argumentProblem(argument: string): string | undefined {
  if (argument.length > planLimits.argumentChars)
    return `it is longer than ${planLimits.argumentChars} characters`
  // Quotes and backslashes change where the kernel, and what reads its command line later, ends an argument.
  if (!/^[\x21-\x7e]+$/.test(argument) || /["'\\`]/.test(argument))
    return 'it may hold only visible ASCII, no space, quote or backslash'
  if (argument === '--') return 'what follows it would go to init'
  if (neverAllowed.includes(argument.split('=')[0]!))
    return 'it chooses the first program, and no policy allows it'
  return undefined
}

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
