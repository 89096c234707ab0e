/**
 * The agent's configuration: /etc/muster/config.json in its initramfs, beside /etc/muster/root.json (the trusted TUF
 * root). Policy stands here because policy that a server could loosen is not policy.
 */
import * as z from 'zod/mini'
import { mirror } from './hello.ts'
import { agentOrigin, timestamp } from './identifiers.ts'
import { argumentProblem } from './plan.ts'

const whole = z.number().check(z.int(), z.gte(0))

/**
 * curl's --pinnedpubkey form (RFC 7469 §2.4): base64 of the sha256 of a SubjectPublicKeyInfo. curl compares text, so the last
 * character is one of the 16 that 32 bytes can end with; anything else would be a key that no server has.
 */
export const publicKeyPin = z
  .string()
  .check(
    z.regex(
      /^sha256\/\/[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/,
      'a pin looks like sha256//<44 characters of base64>',
    ),
  )

/** An agent plane's URL: `https://host:port`, no path. */
export const agentPlaneUrl = z
  .string()
  .check(z.regex(/^https:\/\/[^\s"'\\/?#]+\/*$/, "an agent plane's URL looks like https://host:port"))

/** `name`, `name=value`, `name=*` or `prefix.*`; anything else with a star would allow nothing, and look as if it allowed much. */
const argumentPattern = z.string().check(
  z.refine((pattern) => argumentProblem(pattern) === undefined, 'an argument that no agent takes'),
  z.regex(/^[^*]+(?:[=.]\*)?$/, 'a star stands only at the end of name=* or prefix.*'),
)

export const agentPolicy = z.object({
  /** TUF path patterns (`*` never crosses `/`) that a plan may choose from. */
  targets: z.array(
    z
      .string()
      .check(z.regex(/^[^\s/]+\/[^\s/]+\/[^\s/]+$/, '<image>/<version>/<arch>, each part with * or ?')),
  ),
  /** Hardware ids this agent may claim; empty: what the machine says of itself. */
  hardwareIds: z.array(z.string().check(z.minLength(1), z.maxLength(128))).check(z.maxLength(16)),
  /** Kernel arguments a plan may add: `name`, `name=*`, or `prefix.*`. Anything else is `argument-refused`. */
  arguments: z.array(argumentPattern),
  /** Floors by image name, kept with the agent: a release counter below it never boots. */
  minReleaseCounters: z.record(z.string(), whole),
  /**
   * Least targets.json version. A diskless agent remembers none, so whoever has the online keys could show it an older one, with
   * the floors of its day, for as long as that has not expired; left out: that is the only bound.
   */
  minTargetsVersion: z.optional(whole),
  /** How long after its expiry timestamp metadata is still accepted, in seconds. 0: not at all. */
  staleSeconds: whole,
  /**
   * After this many failed rounds, 0 for never: stay and wait, restart the machine (what it then boots is its firmware's choice,
   * docs/agent-policy.md), or power off.
   */
  onFailure: z.object({ attempts: whole, fallback: z.enum(['wait', 'local-disk', 'power-off']) }),
  /** Greatest size of an OS (all blobs of a release), in bytes; 0: half of the memory. */
  maxImageBytes: whole,
})
export type AgentPolicy = z.infer<typeof agentPolicy>

export const agentConfig = z.object({
  apiVersion: z.literal('muster/v1'),
  origin: agentOrigin,
  /** Agent-plane URLs tried in order; empty: `muster.server=` on the kernel command line (safe: the key is pinned). */
  servers: z.array(agentPlaneUrl),
  /**
   * Port of the agent plane on hosts that the DHCP lease names as one to boot from: asked after the others, for an agent that firmware
   * starts without arguments (safe likewise). Left out: no such host is asked.
   */
  serverPort: z.optional(z.number().check(z.int(), z.gte(1), z.lte(65535))),
  /** Public keys of the agent plane: `sha256//<base64>`, curl's --pinnedpubkey form. */
  pins: z.array(publicKeyPin),
  repository: z.string(),
  /** Content mirrors beside what hello answers. */
  mirrors: z.array(mirror),
  /** No signed time before this is believed: the newest date among the inputs that this agent was built from. */
  timeFloor: timestamp,
  policy: agentPolicy,
})
export type AgentConfig = z.infer<typeof agentConfig>

/** What the agent falls back to where a builder gave nothing else. */
export const defaultArgumentPolicy = [
  'console=*',
  'earlycon',
  'earlycon=*',
  'loglevel=*',
  'quiet',
  'panic=*',
  'ip=*',
  'net.ifnames=*',
  'nomodeset',
  'muster.*',
] as const
