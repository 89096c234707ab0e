/** A repository whose metadata was verified a moment ago: what it vouches for, and for whom it speaks. */
import type { Crypto } from '../crypto/crypto.ts'
import { MusterError } from '../errors.ts'
import type { Envelope } from '../protocol/envelope.ts'
import { delegatesFor } from './delegations.ts'
import { verifyEnvelope } from './envelope.ts'
import type { SignedOf, TargetFile } from './validate.ts'
import type { TrustedSet, VerifiedTarget, Versions } from './verify.ts'

type Loader = { loadTargets(role: string, delegator: string): Promise<void> }

export class TrustedRepository {
  /** Of the top-level metadata. */
  readonly versions: Readonly<Versions>
  /** When each top-level role expires, `YYYY-MM-DDTHH:MM:SSZ`. */
  readonly expires: Readonly<Record<keyof Versions, string>>
  readonly #trusted: TrustedSet
  readonly #crypto: Crypto
  readonly #loader: Loader
  readonly #maxDelegations: number
  readonly #topLevel: SignedOf<'targets'>

  constructor(options: { trusted: TrustedSet; crypto: Crypto; loader: Loader; maxDelegations: number }) {
    this.#trusted = options.trusted
    this.#crypto = options.crypto
    this.#loader = options.loader
    this.#maxDelegations = options.maxDelegations
    this.#topLevel = this.#role('targets')
    this.versions = Object.freeze(options.trusted.versions)
    const { root, timestamp, snapshot } = options.trusted
    this.expires = Object.freeze({
      root: root.expires,
      timestamp: timestamp.expires,
      snapshot: snapshot.expires,
      targets: this.#topLevel.expires,
    })
  }

  /** Whether files have their hash or version in their names (§6.2). */
  get consistentSnapshot(): boolean {
    return this.#trusted.root.consistent_snapshot
  }

  get timestampVersion(): number {
    return this.versions.timestamp
  }

  /**
   * The target of the most trusted role that may speak for `path`; undefined when none of them lists it.
   * Fetches the delegated roles that it has to ask.
   *
   * @throws target-invalid without sha256; what `refresh` throws, for a delegated role.
   */
  async findTarget(path: string): Promise<VerifiedTarget | undefined> {
    const role = await this.#roleThatLists(path)
    return role === undefined ? undefined : this.#trusted.vouch(path, role)
  }

  /** As `findTarget`. @throws target-not-found when no role lists it. */
  async requireTarget(path: string): Promise<VerifiedTarget> {
    const target = await this.findTarget(path)
    if (target !== undefined) return target
    throw new MusterError(
      'target-not-found',
      `No role that may speak for ${path} lists it; publish it first.`,
      {
        details: { path },
      },
    )
  }

  /** The targets that top-level targets.json lists itself, without delegated ones. @throws target-invalid */
  targets(): VerifiedTarget[] {
    return Object.keys(this.#topLevel.targets).map((path) => this.#trusted.vouch(path, 'targets'))
  }

  /**
   * The payload of an envelope that the keys of `role`, delegated in top-level targets, have signed. Which payload type
   * is right for it, the caller says.
   *
   * @throws plan-signature
   */
  verifyEnvelope(role: string, envelope: Envelope): Uint8Array {
    return verifyEnvelope({ role, envelope, delegations: this.#topLevel.delegations, crypto: this.#crypto })
  }

  /** What metadata says of a path before it becomes a verified target: any hash, not sha256 only. */
  async lookUp(path: string): Promise<TargetFile | undefined> {
    const role = await this.#roleThatLists(path)
    return role === undefined ? undefined : this.#role(role).targets[path]
  }

  /**
   * The preorder depth-first walk of §5.6.7: a role's own targets, then its delegates in their order; after a terminating
   * one, nobody else.
   */
  async #roleThatLists(path: string): Promise<string | undefined> {
    const visited = new Set<string>()
    // A stack: the next to be asked is the last.
    let waiting = [{ role: 'targets', delegator: 'root' }]
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { role, delegator } = next
      if (visited.has(role)) continue
      if (visited.size > this.#maxDelegations) {
        const sentence = `Finding ${path} asks more than ${this.#maxDelegations} delegated roles.`
        throw new MusterError('metadata-too-large', sentence, { details: { path } })
      }
      await this.#loader.loadTargets(role, delegator)
      const { targets, delegations } = this.#role(role)
      if (Object.hasOwn(targets, path)) return role
      visited.add(role)
      if (delegations === undefined) continue
      const delegates = delegatesFor(delegations, path, this.#crypto)
      if (delegates.some(({ terminating }) => terminating)) waiting = []
      waiting.push(...delegates.map((delegate) => ({ role: delegate.role, delegator: role })).reverse())
    }
    return undefined
  }

  #role(role: string): SignedOf<'targets'> {
    const found = this.#trusted.targets(role)
    if (found === undefined)
      throw new MusterError('internal', `${role}.json was asked for before it was verified.`)
    return found
  }
}
