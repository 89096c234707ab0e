/** Names and numbers that travel between agent, server and dashboard. Pure; `zod/mini`, because the agent carries it. */
import * as z from 'zod/mini'

/** Lower-case hexadecimal of `bytes` bytes. */
export const hex = (bytes: number) => z.string().check(z.regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`)))

/** `sha256:` and 64 lower-case hexadecimal digits: OCI image-spec v1.1, descriptor.md#digests. */
export const digest = z.string().check(z.regex(/^sha256:[0-9a-f]{64}$/))

/** RFC 4648 §4 base64 with padding; checked by shape only (no `atob` on QuickJS). */
export const base64 = (maxChars: number) =>
  z
    .string()
    .check(z.maxLength(maxChars), z.regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/))

/** A MAC address as we write it everywhere: six lower-case octets with colons. */
export const mac = z.string().check(z.regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/))

/** RFC 3339 in UTC without fraction, the only form TUF and python-tuf agree on: `2026-01-31T08:00:00Z`. */
export const timestamp = z.string().check(z.regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/))

/** Identifiers that the server gives: `m-…` machines, `b-…` boots; 16 base32 characters after the letter. */
export const machineId = z.string().check(z.regex(/^m-[a-z2-7]{16}$/))
export const bootId = z.string().check(z.regex(/^b-[a-z2-7]{16}$/))

/** Processor architectures, in OCI's words (GOARCH). */
export const arch = z.enum(['amd64', 'arm64'])
export type Arch = z.infer<typeof arch>

/** How the agent itself reached the machine: what an attacker must have done to replace it (docs/threat-model.md). */
export const agentOrigin = z.enum(['network', 'signed', 'flash', 'measured'])
export type AgentOrigin = z.infer<typeof agentOrigin>

/** `<image>/<version>/<arch>`: three segments, so that a TUF `*` pattern (which never crosses `/`) can name them. */
export const targetPath = z
  .string()
  .check(
    z.maxLength(200),
    z.regex(/^[a-z0-9][a-z0-9._-]*\/[A-Za-z0-9][A-Za-z0-9._-]*\/[a-z0-9][a-z0-9._-]*$/),
  )
