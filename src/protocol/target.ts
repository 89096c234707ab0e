/**
 * What a TUF target says of itself in `custom`, offline-signed with it.
 *
 * A target is an OCI manifest at `<image>/<version>/<arch>` (its sha256 and length are the manifest's digest and size), or
 * a channel document at `<image>/channel/<channel>`; so no release may be called `channel`.
 */
import * as z from 'zod/mini'
import { arch, digest } from './identifiers.ts'

/** `0.1.0`. */
export const agentVersionPattern = /^\d{1,9}(\.\d{1,9}){0,3}$/

const name = z.string().check(z.maxLength(64), z.regex(/^[a-z0-9][a-z0-9._-]*$/))
const counter = z.number().check(z.int(), z.gte(0))

export const releaseCustom = z.object({
  kind: z.enum(['artifact', 'agent']),
  oci: z.object({
    /** By digest only: `<registry>/<name>@sha256:…`, or `<name>@sha256:…` when it came from a folder. */
    ref: z.string().check(z.maxLength(512)),
    mediaType: z.string().check(z.maxLength(128)),
  }),
  version: z.string().check(z.maxLength(64)),
  arch,
  releaseCounter: counter,
  /** Empty means any hardware, which publishing says aloud. */
  hardwareIds: z.array(z.string().check(z.maxLength(128))).check(z.maxLength(64)),
  /** An agent compares numbers: of a word it would make 0, which every agent is. */
  minAgent: z.string().check(z.maxLength(32), z.regex(agentVersionPattern)),
  /** Members that a reader must understand or refuse; every other unknown member is ignored. */
  critical: z.optional(z.array(z.string()).check(z.maxLength(16))),
})
export type ReleaseCustom = z.infer<typeof releaseCustom>

export const channelCustom = z.object({ kind: z.literal('channel') })

/** The bytes of a channel target: which release is current, and the floor below which none boots. */
export const channelDocument = z.object({
  image: name,
  channel: name,
  version: z.string().check(z.maxLength(64)),
  releaseCounter: counter,
  minReleaseCounter: counter,
  /** The current release's manifest per architecture. */
  manifests: z.partialRecord(arch, digest),
})
export type ChannelDocument = z.infer<typeof channelDocument>
