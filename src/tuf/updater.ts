/**
 * The client workflow (TUF specification v1.0.34 §5) around the trusted set: which file to read, fetch and keep, in
 * which order. Runs on Node and on QuickJS; what reaches the network or a disk is a parameter.
 *
 * Kept, as received:  root.json  timestamp.json  snapshot.json  targets.json  <role>.json  and every  <N>.root.json
 */
import type { Crypto } from '../crypto/crypto.ts'
import { MusterError } from '../errors.ts'
import { defaultLimits, type TufLimits } from './limits.ts'
import { TrustedRepository } from './trusted-repository.ts'
import { TrustedSet } from './verify.ts'

/**
 * Gets a metadata file by its name below `metadata/` (percent-encoded as in a URL): at most `maxBytes`, undefined where
 * the server has no such file. What it returns is hostile.
 */
export type FetchMetadata = (name: string, maxBytes: number) => Promise<Uint8Array | undefined>

/** Where verified metadata is kept between refreshes. Names are safe as file names: no `/`, no leading dot. */
export type MetadataFiles = {
  /** Undefined when it was never written. */
  read(name: string): Promise<Uint8Array | undefined>
  /** All of it or nothing, also when power fails. */
  write(name: string, bytes: Uint8Array): Promise<void>
}

export type RefreshOptions = {
  /** Name of the repository, for targets and sentences. */
  repository: string
  /** root.json that came by a trusted road. */
  trustedRoot: Uint8Array
  fetch: FetchMetadata
  files: MetadataFiles
  /** The time that metadata is held against; on a machine without a trusted clock, a signed one. */
  now: Date
  limits?: Partial<TufLimits>
  crypto: Crypto
  /** Accept timestamp and snapshot this many seconds after their expiry. Default 0: not at all. */
  staleSeconds?: number
}

/**
 * Brings the four top-level roles up to date.
 *
 * @throws metadata-invalid, metadata-signature, metadata-expired, metadata-rollback, metadata-mismatch,
 *   metadata-too-large, metadata-unavailable, and whatever MusterError `fetch` and `files` throw.
 */
export async function refresh(options: RefreshOptions): Promise<TrustedRepository> {
  const { repository, trustedRoot, now, staleSeconds = 0, crypto } = options
  const trusted = new TrustedSet({ repository, root: trustedRoot, now, staleSeconds, crypto })
  const roles = new RoleFiles(trusted, options)
  await roles.updateRoot()
  await roles.updateTimestamp()
  await roles.updateSnapshot()
  await roles.loadTargets('targets', 'root')
  return new TrustedRepository({ trusted, crypto, loader: roles, maxDelegations: roles.limits.delegations })
}

/** Where a role's metadata comes from: the disk when that still holds, otherwise the network. */
export class RoleFiles {
  readonly limits: TufLimits
  readonly #trusted: TrustedSet
  readonly #fetch: FetchMetadata
  readonly #files: MetadataFiles

  constructor(trusted: TrustedSet, options: Pick<RefreshOptions, 'fetch' | 'files' | 'limits'>) {
    this.limits = { ...defaultLimits, ...options.limits }
    this.#trusted = trusted
    this.#fetch = options.fetch
    this.#files = options.files
  }

  /** §5.3: one version after the other, from the history on disk and then from the network, until there is no next. */
  async updateRoot(): Promise<void> {
    const { rootRotations, rootBytes } = this.limits
    let fetched = 0
    for (;;) {
      const name = `${this.#trusted.root.version + 1}.root.json`
      if (await this.#acceptKept(name, (bytes) => this.#trusted.acceptRoot(bytes))) continue
      const bytes = await this.#tryFetch(name, rootBytes)
      if (bytes === undefined) break
      if (++fetched > rootRotations) throw tooMany('new root versions', rootRotations)
      this.#trusted.acceptRoot(bytes)
      await this.#files.write(name, bytes)
      await this.#files.write('root.json', bytes)
    }
    this.#trusted.requireFreshRoot()
  }

  /** §5.4. The one on disk goes first: the new one may not be older. */
  async updateTimestamp(): Promise<void> {
    const name = 'timestamp.json'
    await this.#acceptKept(name, (bytes) => this.#trusted.acceptTimestamp(bytes))
    const bytes = await this.#fetchRequired(name, this.limits.timestampBytes)
    if (this.#trusted.acceptTimestamp(bytes)) await this.#files.write(name, bytes)
  }

  /** §5.5 */
  async updateSnapshot(): Promise<void> {
    const name = 'snapshot.json'
    if (await this.#acceptKept(name, (bytes) => this.#trusted.acceptSnapshot(bytes, 'disk'))) return
    const { version, length = this.limits.snapshotBytes } = this.#trusted.timestamp.meta[name]
    const bytes = await this.#fetchRequired(this.#versioned(version, 'snapshot'), length)
    this.#trusted.acceptSnapshot(bytes, 'network')
    await this.#files.write(name, bytes)
  }

  /** §5.6, for top-level targets and for each delegated role on the way to a target. */
  async loadTargets(role: string, delegator: string): Promise<void> {
    if (this.#trusted.targets(role) !== undefined) return this.#trusted.requireDelegation(role, delegator)
    const { version, length = this.limits.targetsBytes } = this.#trusted.describe(role)
    const name = fileNameOf(role)
    if (await this.#acceptKept(name, (bytes) => this.#trusted.acceptTargets(bytes, role, delegator))) return
    const bytes = await this.#fetchRequired(this.#versioned(version, role), length)
    this.#trusted.acceptTargets(bytes, role, delegator)
    await this.#files.write(name, bytes)
  }

  /** Whether the file on disk is there and still holds. It is a cache: what is wrong with it, the network mends. */
  async #acceptKept(name: string, accept: (bytes: Uint8Array) => unknown): Promise<boolean> {
    const bytes = await this.#files.read(name)
    if (bytes === undefined) return false
    try {
      accept(bytes)
      return true
    } catch (error) {
      if (error instanceof MusterError && error.code.startsWith('metadata-')) return false
      throw error
    }
  }

  /** §6.2: with consistent snapshots, every file but timestamp.json has its version in its name. */
  #versioned(version: number, role: string): string {
    const name = `${encodeURIComponent(role)}.json`
    return this.#trusted.root.consistent_snapshot ? `${version}.${name}` : name
  }

  async #fetchRequired(name: string, maxBytes: number): Promise<Uint8Array> {
    const bytes = await this.#tryFetch(name, maxBytes)
    if (bytes !== undefined) return bytes
    throw new MusterError(
      'metadata-unavailable',
      `The repository has no ${name}; publish it, or try another mirror.`,
      {
        details: { name },
      },
    )
  }

  async #tryFetch(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    let bytes: Uint8Array | undefined
    try {
      bytes = await this.#fetch(name, maxBytes)
    } catch (cause) {
      if (cause instanceof MusterError) throw cause
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new MusterError('metadata-unavailable', `${name} could not be fetched: ${why}.`, {
        cause,
        details: { name },
      })
    }
    if (bytes === undefined || bytes.length <= maxBytes) return bytes
    throw new MusterError('metadata-too-large', `${name} may have ${maxBytes} bytes at most, and has more.`, {
      details: { name, maxBytes },
    })
  }
}

/** A role name may hold anything (`../x`, `2.root`): as a file name it is percent-encoded, dots too. */
export function fileNameOf(role: string): string {
  return `${encodeURIComponent(role).replaceAll('.', '%2E')}.json`
}

function tooMany(what: string, limit: number): MusterError {
  return new MusterError('metadata-too-large', `The repository asks for more than ${limit} ${what}.`, {
    details: { limit },
  })
}
