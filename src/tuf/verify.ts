/**
 * The trusted set: bytes and time in, verified metadata or an error out. No I/O.
 *
 * The argument, in the order of the TUF client workflow (specification v1.0.34 §5.3 to §5.6):
 *
 *     root        each version is signed by the threshold of the one before and by its own, and counts up by one
 *     timestamp   signed by keys that root names, not expired, never older than the one before
 *     snapshot    has the length, hash and version that timestamp says, signed, not expired, takes nothing back
 *     targets     has the length, hash and version that snapshot says, signed by who delegates to it, not expired
 *     target      listed by the most trusted role that may speak for its path
 *
 * tuf-js's TrustedMetadataStore is the state machine and checks the signatures; validate.ts stands in front of it.
 */
import { EqualVersionError } from 'tuf-js/dist/error.js'
import { TrustedMetadataStore } from 'tuf-js/dist/store.js'
import type { Crypto, HashAlgorithm } from '../crypto/crypto.ts'
import { toHex } from '../crypto/encoding.ts'
import { MusterError } from '../errors.ts'
import { expired, judge, mismatch, type Step, storeBytes } from './judge.ts'
import { type MetaFile, type SignedOf, validateMetadata } from './validate.ts'

export type Versions = { root: number; timestamp: number; snapshot: number; targets: number }

export type VerifiedTargetFields = {
  /** Name of the repository that vouches for it. */
  repository: string
  /** The target's path, as metadata lists it. */
  path: string
  /** Bytes. */
  length: number
  /** Lower-case hexadecimal. */
  sha256: string
  /** What the signer said beside it; still to be parsed (protocol/target.ts). Frozen. */
  custom: unknown
  /** Of the top-level metadata that it was verified with. */
  versions: Versions
}

const madeHere = Symbol('made by TUF verification')

/** A target that verification vouched for. Only this module can make one; a type alone could be cast. */
export class VerifiedTarget implements Readonly<VerifiedTargetFields> {
  // Private members cannot be forged: neither by a cast nor by an object of the same shape.
  readonly #proof = true
  readonly repository: string
  readonly path: string
  readonly length: number
  readonly sha256: string
  readonly custom: unknown
  readonly versions: Readonly<Versions>

  /** @throws not-verified for everybody but this module. */
  constructor(token: symbol, fields: VerifiedTargetFields) {
    if (token !== madeHere)
      throw new MusterError('not-verified', 'Only TUF verification makes a verified target.')
    this.repository = fields.repository
    this.path = fields.path
    this.length = fields.length
    this.sha256 = fields.sha256
    this.custom = fields.custom
    this.versions = Object.freeze({ ...fields.versions })
    Object.freeze(this)
  }

  static isVerified(value: unknown): value is VerifiedTarget {
    return typeof value === 'object' && value !== null && #proof in value && value.#proof
  }
}

export type TrustedSetOptions = {
  repository: string
  /** root.json that is trusted beforehand; it may have expired since. */
  root: Uint8Array
  /** The time of this whole refresh (§5.1). */
  now: Date
  /** Accepts timestamp and snapshot this long after they expired. Policy of whoever asks; 0 where there is none. */
  staleSeconds: number
  crypto: Crypto
}

/** The constructor: @throws metadata-invalid, metadata-signature for the trusted root. */
export class TrustedSet {
  readonly #options: TrustedSetOptions
  readonly #store: TrustedMetadataStore
  readonly #lenientTime: Date
  #root: SignedOf<'root'>
  #timestamp: SignedOf<'timestamp'> | undefined
  #snapshot: SignedOf<'snapshot'> | undefined
  readonly #targets = new Map<string, SignedOf<'targets'>>()

  constructor(options: TrustedSetOptions) {
    this.#options = options
    const { signed, text } = validateMetadata('root', 'the trusted root.json', options.root)
    const step: Step = { name: 'the trusted root.json', wrongVersion: 'metadata-rollback' }
    this.#store = judge(step, () => new TrustedMetadataStore(storeBytes(options.root, text)))
    this.#root = signed
    // The store takes one time for everything. This one allows for staleness; root and targets are held to `now` below.
    this.#lenientTime = new Date(options.now.getTime() - options.staleSeconds * 1000)
    Object.assign(this.#store, { referenceTime: this.#lenientTime })
  }

  get root(): SignedOf<'root'> {
    return this.#root
  }

  get timestamp(): SignedOf<'timestamp'> {
    return this.#timestamp ?? missing('timestamp.json')
  }

  get snapshot(): SignedOf<'snapshot'> {
    return this.#snapshot ?? missing('snapshot.json')
  }

  /** Top-level targets, or a delegated role that was accepted before; undefined when it was not. Frozen. */
  targets(role: string): SignedOf<'targets'> | undefined {
    return this.#targets.get(role)
  }

  get versions(): Versions {
    const { root, timestamp, snapshot } = this
    const targets = this.#targets.get('targets') ?? missing('targets.json')
    return {
      root: root.version,
      timestamp: timestamp.version,
      snapshot: snapshot.version,
      targets: targets.version,
    }
  }

  /**
   * §5.3: the next root.
   *
   * @throws metadata-invalid, metadata-signature, metadata-rollback (an older version), metadata-mismatch (a later one).
   */
  acceptRoot(bytes: Uint8Array): void {
    const name = `${this.#root.version + 1}.root.json`
    const { signed, text } = validateMetadata('root', name, bytes)
    const wrongVersion = signed.version > this.#root.version ? 'metadata-mismatch' : 'metadata-rollback'
    judge({ name, wrongVersion }, () => this.#store.updateRoot(storeBytes(bytes, text)))
    this.#root = signed
  }

  /** §5.3.10: only the last root has to be fresh. @throws metadata-expired */
  requireFreshRoot(): void {
    this.#requireFresh(`${this.#root.version}.root.json`, this.#root.expires, this.#options.now)
  }

  /**
   * §5.4. The same version as before is no news: false. Whether that one is still fresh, §5.5 asks.
   *
   * @throws metadata-invalid, metadata-signature, metadata-rollback, metadata-expired.
   */
  acceptTimestamp(bytes: Uint8Array): boolean {
    this.requireFreshRoot()
    const name = 'timestamp.json'
    const { signed, text } = validateMetadata('timestamp', name, bytes)
    const before = this.#store.timestamp
    try {
      const step = () => this.#store.updateTimestamp(storeBytes(bytes, text))
      judge({ name, life: this.#life(signed), wrongVersion: 'metadata-rollback' }, step)
      return true
    } catch (error) {
      if (!(error instanceof MusterError && error.cause instanceof EqualVersionError)) throw error
      return false
    } finally {
      // The store keeps an expired one, because what comes next may not be older than it (§5.4.3).
      if (this.#store.timestamp !== before) this.#timestamp = signed
    }
  }

  /**
   * §5.5.
   *
   * @param source `disk` for bytes that were verified when they were written: timestamp.json may not name them any more.
   * @throws metadata-mismatch, metadata-invalid, metadata-signature, metadata-rollback, metadata-expired.
   */
  acceptSnapshot(bytes: Uint8Array, source: 'network' | 'disk'): void {
    this.#requireFreshTimestamp()
    const name = 'snapshot.json'
    const expected = this.timestamp.meta[name]
    if (source === 'network') this.#requireContent(name, bytes, expected)
    const { signed, text } = validateMetadata('snapshot', name, bytes)
    const wrongVersion = signed.version === expected.version ? 'metadata-rollback' : 'metadata-mismatch'
    // The store's own check of the content would be the same one again.
    const isChecked = true
    judge({ name, life: this.#life(signed), wrongVersion, otherwise: 'metadata-rollback' }, () =>
      this.#store.updateSnapshot(storeBytes(bytes, text), isChecked),
    )
    this.#snapshot = signed
  }

  /** What snapshot says of a role's file. @throws metadata-mismatch when it does not list it. */
  describe(role: string): MetaFile {
    const name = `${role}.json`
    const { meta } = this.snapshot
    if (Object.hasOwn(meta, name)) return meta[name]!
    throw new MusterError(
      'metadata-mismatch',
      `snapshot.json does not list ${name}, so nothing vouches for it.`,
      {
        details: { name },
      },
    )
  }

  /**
   * §5.6: top-level targets (delegator `root`) or a delegated role.
   *
   * @throws metadata-mismatch, metadata-invalid, metadata-signature, metadata-expired.
   */
  acceptTargets(bytes: Uint8Array, role: string, delegator: string): void {
    const name = `${role}.json`
    this.#requireContent(name, bytes, this.describe(role))
    const { signed, text } = validateMetadata('targets', name, bytes)
    judge({ name, life: this.#life(signed), wrongVersion: 'metadata-mismatch' }, () =>
      this.#store.updateDelegatedTargets(storeBytes(bytes, text), role, delegator),
    )
    this.#requireFresh(name, signed.expires, this.#options.now)
    this.#targets.set(role, deepFreeze(signed))
  }

  /** A role that is trusted through one delegator is not yet trusted through another. @throws metadata-signature */
  requireDelegation(role: string, delegator: string): void {
    const [from, to] = [this.#store.getRole(delegator), this.#store.getRole(role)]
    if (from === undefined || to === undefined) throw missing(`${role}.json`)
    judge({ name: `${role}.json`, wrongVersion: 'metadata-mismatch' }, () => from.verifyDelegate(role, to))
  }

  /**
   * Makes the verified target of what an accepted role lists: of that alone, so that nobody can bring a description along.
   *
   * @throws target-not-found when the role does not list it, target-invalid when sha256 is not among its hashes.
   */
  vouch(path: string, role: string): VerifiedTarget {
    const listed = this.#targets.get(role)?.targets ?? {}
    const file = Object.hasOwn(listed, path) ? listed[path] : undefined
    const details = { path, role }
    if (file === undefined)
      throw new MusterError('target-not-found', `${role}.json lists no ${path}.`, { details })
    const { length, hashes, custom } = file
    const sha256 = hashes['sha256']
    if (sha256 === undefined) {
      const sentence = `The target ${path} must have a sha256, but has only ${Object.keys(hashes).join(', ')}.`
      throw new MusterError('target-invalid', sentence, { details })
    }
    const { repository } = this.#options
    return new VerifiedTarget(madeHere, { repository, path, length, sha256, custom, versions: this.versions })
  }

  #life({ expires }: { expires: string }): NonNullable<Step['life']> {
    return { expires, now: this.#options.now }
  }

  #requireFresh(name: string, expires: string, time: Date): void {
    if (time >= new Date(expires)) throw expired(name, expires, this.#options.now)
  }

  #requireFreshTimestamp(): void {
    this.#requireFresh('timestamp.json', this.timestamp.expires, this.#lenientTime)
  }

  #requireContent(name: string, bytes: Uint8Array, expected: MetaFile): void {
    if (expected.length !== undefined && bytes.length !== expected.length) {
      throw mismatch(name, `${expected.length} bytes`, `${bytes.length}`)
    }
    for (const [algorithm, digest] of Object.entries(expected.hashes ?? {})) {
      const known: readonly string[] = ['sha256', 'sha384', 'sha512'] satisfies HashAlgorithm[]
      const found = known.includes(algorithm)
        ? toHex(this.#options.crypto.hash(algorithm as HashAlgorithm, bytes))
        : 'an algorithm that we do not compute'
      if (found !== digest) throw mismatch(name, `${algorithm} ${digest}`, found)
    }
  }
}

function missing(name: string): never {
  throw new MusterError('internal', `${name} was asked for before it was verified.`)
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const member of Object.values(value)) deepFreeze(member)
  return Object.freeze(value)
}
