/**
 * Refreshes the TUF metadata against the embedded root, from the first mirror whose metadata stands the plan's test.
 *
 * Time: the machine's clock is never believed. What is fresh is decided by the newest of the agent's floor and the time
 * that the plan claims; `accept` verifies the plan with what was refreshed, and with it that claim.
 */
import { MusterError } from '../../errors.ts'
import type { Envelope } from '../../protocol/envelope.ts'
import type { Agent } from '../agent.ts'
import { fetchSmall, type MirrorOrder, onAnyMirror, onlyOf } from '../mirrors.ts'

/** The part of src/tuf that the agent uses: there Node's, here QuickJS's, in tests a repository of their own. */
export type Refresh = (options: {
  repository: string
  trustedRoot: Uint8Array
  fetch: (name: string, maxBytes: number) => Promise<Uint8Array | undefined>
  files: MetadataFiles
  now: Date
  staleSeconds?: number
}) => Promise<Refreshed>

/** Verified metadata of earlier rounds. */
export type MetadataFiles = {
  read(name: string): Promise<Uint8Array | undefined>
  write(name: string, bytes: Uint8Array): Promise<void>
}

export type Refreshed = {
  versions: { root: number; timestamp: number; snapshot: number; targets: number }
  /** Undefined when no role that may speak for the path lists it. */
  findTarget(path: string): Promise<Target | undefined>
  /** The payload, once enough keys of the delegated role have signed it. @throws MusterError `plan-signature` */
  verifyEnvelope(role: string, envelope: Envelope): Uint8Array
}

export type Target = {
  path: string
  /** sha256 of the target, lower-case hexadecimal. */
  sha256: string
  length: number
  /** What the signer says of it; its schema is not checked yet. */
  custom: unknown
}

/**
 * @throws MusterError of the verification (`metadata-…`), of `accept`, and `metadata-unavailable` when no mirror has it
 */
export async function refreshMetadata<T>(
  agent: Agent,
  request: { mirrors: MirrorOrder; now: Date; accept: (refreshed: Refreshed) => T },
): Promise<{ refreshed: Refreshed; accepted: T }> {
  const { settings } = agent
  const mirrors = onlyOf(request.mirrors, 'static')
  const missing = new MusterError(
    'metadata-unavailable',
    'No mirror carries metadata: neither the server nor /etc/muster/config.json names one of kind "static".',
  )
  return onAnyMirror(mirrors, missing, async (mirror) => {
    const refreshed = await agent.refresh({
      repository: settings.config.repository,
      trustedRoot: settings.trustedRoot,
      fetch: (name, maxBytes) =>
        fetchSmall(agent, {
          url: `${mirror.url}/metadata/${encodeURIComponent(name)}`,
          maxBytes,
          unavailable: 'metadata-unavailable',
          tooLarge: 'metadata-too-large',
        }),
      files: metadataFiles(agent),
      now: request.now,
      staleSeconds: settings.config.policy.staleSeconds,
    })
    return { refreshed, accepted: request.accept(refreshed) }
  })
}

/** In memory: they protect the rounds of one start of the agent, and what the agent carries protects the next. */
function metadataFiles(agent: Agent): MetadataFiles {
  const { host, folders, settings } = agent
  const folder = `${folders.work}/tuf`
  const pathOf = (name: string) =>
    `${folder}/${encodeURIComponent(settings.config.repository)}.${encodeURIComponent(name)}`
  return {
    async read(name) {
      return host.readFile(pathOf(name), 8_000_000)
    },
    async write(name, bytes) {
      await host.makeFolder(folder)
      await host.writeFile(pathOf(name), bytes, 0o600)
    },
  }
}
