/** A TUF repository with verbs, and a client beside it: nothing is mocked, every signature is real. */
import { createHash } from 'node:crypto'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { createSigner, generatePrivateKey, type Signer } from '../../src/signing/keys.ts'
import { planDelegation, type SignedMetadata, signMetadata } from '../../src/signing/repository.ts'
import type { TrustedRepository } from '../../src/tuf/trusted-repository.ts'
import { type RefreshOptions, refresh } from '../../src/tuf/updater.ts'

export const now = new Date('2026-03-01T12:00:00Z')
const far = '2027-03-01T12:00:00Z'
const crypto = createNodeCrypto()

// biome-ignore lint/suspicious/noExplicitAny: hostile metadata has no type
type Loose = any

type Role = { version: number; signers: Signer[]; signed: Loose }

export const newSigner = (): Signer => createSigner(generatePrivateKey())

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export function keysOf(...signers: Signer[]): Record<string, Loose> {
  return Object.fromEntries(signers.map(({ keyid, publicKey }) => [keyid, structuredClone(publicKey)]))
}

export class World {
  /** What the server serves, by name below metadata/. Tests may put anything here. */
  readonly served = new Map<string, Uint8Array>()
  /** What the client keeps. */
  readonly kept = new Map<string, Uint8Array>()
  readonly requests: string[] = []
  readonly roles: Record<string, Role> = {}
  readonly planSigner = newSigner()
  trustedRoot: Uint8Array = new Uint8Array()

  constructor() {
    for (const name of ['root', 'timestamp', 'snapshot', 'targets']) {
      this.roles[name] = { version: 0, signers: [newSigner()], signed: { _type: name, ...common() } }
    }
    Object.assign(this.signed('root'), { consistent_snapshot: true })
    Object.assign(this.signed('targets'), { targets: {}, delegations: planDelegation(this.planSigner) })
    this.signed('snapshot').meta = {}
    this.signed('timestamp').meta = {}
    this.publishRoot()
    this.trustedRoot = this.served.get('1.root.json')!
    this.publish()
  }

  /** The part of a role that will be signed; change it, then publish. */
  signed(role: string): Loose {
    return this.roles[role]!.signed
  }

  addTarget(path: string, content: string, custom?: unknown, role = 'targets'): void {
    const bytes = Buffer.from(content)
    const entry = { length: bytes.length, hashes: { sha256: sha256Of(bytes) } }
    this.signed(role).targets[path] = custom === undefined ? entry : { ...entry, custom }
  }

  /** A role that `delegator` lets speak for `paths`. */
  delegate(
    name: string,
    paths: string[],
    options: { delegator?: string; terminating?: boolean } = {},
  ): Signer {
    const { delegator = 'targets', terminating = false } = options
    const signer = newSigner()
    this.roles[name] ??= { version: 0, signers: [], signed: { _type: 'targets', ...common(), targets: {} } }
    this.roles[name].signers.push(signer)
    const parent = this.signed(delegator)
    parent.delegations ??= { keys: {}, roles: [] }
    Object.assign(parent.delegations.keys, keysOf(signer))
    parent.delegations.roles.push({ name, keyids: [signer.keyid], threshold: 1, terminating, paths })
    return signer
  }

  /** Root's next version, with the keys that the roles have now. */
  publishRoot(signers = this.roles['root']!.signers): void {
    const root = this.signed('root')
    const named = ['root', 'timestamp', 'snapshot', 'targets'].map(
      (name) => [name, this.roles[name]!.signers] as const,
    )
    root.keys = keysOf(...named.flatMap(([, list]) => list))
    root.roles = Object.fromEntries(
      named.map(([name, list]) => [name, { keyids: list.map(({ keyid }) => keyid), threshold: 1 }]),
    )
    this.sign('root', signers)
  }

  /** Targets (and delegated roles), snapshot and timestamp, each in its next version. */
  publish(...delegated: string[]): void {
    for (const name of ['targets', ...delegated]) {
      const bytes = this.sign(name)
      this.signed('snapshot').meta[`${name}.json`] = metaFile(this.roles[name]!.version, bytes)
    }
    this.publishSnapshot()
  }

  publishSnapshot(): void {
    const bytes = this.sign('snapshot')
    this.signed('timestamp').meta['snapshot.json'] = metaFile(this.roles['snapshot']!.version, bytes)
    this.sign('timestamp')
  }

  /** Signs the role's next version as it is and serves it. */
  sign(name: string, signers = this.roles[name]!.signers): Uint8Array {
    const role = this.roles[name]!
    role.version++
    role.signed.version = role.version
    const bytes = signMetadata(role.signed, signers)
    const encoded = `${encodeURIComponent(name)}.json`
    this.served.set(name === 'timestamp' ? encoded : `${role.version}.${encoded}`, bytes)
    return bytes
  }

  /** Changes a file on the server after it was signed. */
  tamper(name: string, change: (metadata: SignedMetadata<Loose>) => void): void {
    const metadata = JSON.parse(Buffer.from(this.served.get(name)!).toString())
    change(metadata)
    this.served.set(name, Buffer.from(JSON.stringify(metadata)))
  }

  refresh(overrides: Partial<RefreshOptions> = {}): Promise<TrustedRepository> {
    return refresh({
      repository: 'factory',
      trustedRoot: this.trustedRoot,
      now,
      crypto,
      fetch: async (name) => {
        this.requests.push(name)
        return this.served.get(name)
      },
      files: {
        read: async (name) => this.kept.get(name),
        write: async (name, bytes) => void this.kept.set(name, bytes),
      },
      ...overrides,
    })
  }
}

function common() {
  return { spec_version: '1.0.31', version: 1, expires: far }
}

function metaFile(version: number, bytes: Uint8Array) {
  return { version, length: bytes.length, hashes: { sha256: sha256Of(bytes) } }
}
