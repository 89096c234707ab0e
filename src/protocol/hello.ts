/** The first thing an agent says, and the answer: opens a boot session. `POST /agent/v1/hello`, unsigned. */
import * as z from 'zod/mini'
import { agentOrigin, arch, base64, bootId, hex, mac, machineId } from './identifiers.ts'

/** Agents in flash outlive servers: a server answers every version it ever spoke (test/vectors/agent/). */
export const protocolVersion = 1

const shortText = z.string().check(z.maxLength(128))

/** What the machine says of itself. Attacker-controlled: identifies nothing, only helps to find the record. */
export const identifiers = z.object({
  macs: z.array(mac).check(z.minLength(1), z.maxLength(16)),
  uuid: z.optional(shortText),
  serial: z.optional(shortText),
  boardSerial: z.optional(shortText),
  assetTag: z.optional(shortText),
})
export type Identifiers = z.infer<typeof identifiers>

export const hardware = z.object({
  vendor: z.optional(shortText),
  product: z.optional(shortText),
  /** Identifiers that a release's `hardwareIds` may name: device-tree `compatible` strings, or `vendor,product`. */
  hardwareIds: z.array(shortText).check(z.maxLength(16)),
  memoryBytes: z.number(),
  processors: z.number(),
  firmware: z.optional(z.enum(['bios', 'uefi', 'u-boot', 'unknown'])),
})

export const helloRequest = z.object({
  protocol: z.literal(protocolVersion),
  agent: z.object({ version: shortText, arch, origin: agentOrigin }),
  identifiers,
  hardware,
  /** Ed25519 public key the agent made for this boot: SPKI DER, base64. Signs every later request of the session. */
  sessionKey: base64(128),
  /** 32 random bytes; the plan must carry them, so an old plan cannot be replayed. */
  nonce: hex(32),
})
export type HelloRequest = z.infer<typeof helloRequest>

/** Where to get metadata and content; none is trusted, they are tried in order. */
export const mirror = z.object({
  /** `static`: TUF's and OCI's files under one URL (tufboot). `oci`: the distribution API of a registry (ociboot). */
  kind: z.enum(['static', 'oci']),
  /** `static`: …/tuf/<repository>, holding metadata/, targets/, blobs/. `oci`: …/v2/<name>. No trailing slash. */
  url: z.string().check(z.maxLength(512), z.regex(/^https?:\/\/[^\s"'\\\x00-\x1f\x7f]+$/)),
})
export type Mirror = z.infer<typeof mirror>

export const helloReply = z.object({
  protocol: z.literal(protocolVersion),
  machine: machineId,
  /** The node name of the machine, DNS-1123. */
  name: z.string().check(z.maxLength(63)),
  boot: bootId,
  repository: z.string().check(z.maxLength(64)),
  mirrors: z.array(mirror).check(z.maxLength(8)),
})
export type HelloReply = z.infer<typeof helloReply>
