/** What an agent reports while it works. `POST /agent/v1/boots/<boot>/events`, signed by the session key. */
import * as z from 'zod/mini'

/** The steps of a boot in their order; `report` is said by the booted OS. */
export const step = z.enum([
  'network',
  'hello',
  'approval',
  'plan',
  'metadata',
  'manifest',
  'blobs',
  'kexec',
  'report',
])
export type Step = z.infer<typeof step>

export const agentEvent = z.object({
  step,
  status: z.enum(['started', 'progress', 'done', 'failed', 'retrying']),
  /** Milliseconds since the kernel of the agent started. */
  uptimeMs: z.number(),
  /** For `progress`. */
  bytes: z.optional(z.number()),
  totalBytes: z.optional(z.number()),
  /** For `failed` and `retrying`: the error's code and its sentence. */
  code: z.optional(z.string().check(z.maxLength(64))),
  message: z.optional(z.string().check(z.maxLength(2048))),
  /** Facts for the record: memory peak in bytes, versions of metadata, … */
  data: z.optional(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))),
})
export type AgentEvent = z.infer<typeof agentEvent>

export const eventsRequest = z.object({
  events: z.array(agentEvent).check(z.minLength(1), z.maxLength(64)),
  /** The last of the console, sent with a failure; at most 64 KiB of UTF-8. */
  console: z.optional(z.string().check(z.maxLength(65_536))),
})
export type EventsRequest = z.infer<typeof eventsRequest>

/**
 * `POST /agent/v1/report`, said by the booted OS with `Authorization: Bearer <token>`; the token stands in the plan file
 * `report.json` (mode 0600), never on a command line.
 */
export const reportRequest = z.object({
  boot: z.string(),
  status: z.enum(['joined', 'failed']),
  message: z.optional(z.string().check(z.maxLength(2048))),
})
export type ReportRequest = z.infer<typeof reportRequest>

/** The plan file `report.json`. */
export const reportFile = z.object({
  url: z.string(),
  /** `sha256//<base64 of the SPKI's sha256>`, curl's --pinnedpubkey form. */
  pin: z.string(),
  boot: z.string(),
  token: z.string(),
})
