/**
 * Builds and signs TUF metadata. Pure: values and signers in, bytes out; nothing is read or written here.
 *
 *     root       which keys count for the four roles, each with its threshold      N.root.json
 *     targets    which releases exist, and who signs plans (role `plan`, `plan/*`)   N.targets.json
 *     snapshot   which targets version belongs to this state                         N.snapshot.json
 *     timestamp  which snapshot is the newest                                        timestamp.json
 *
 * Always with consistent snapshots (TUF specification v1.0.34 §6.2): what a client started to read never changes.
 */
import { createHash } from 'node:crypto'
import { planRole } from '../protocol/plan.ts'
import { canonicalJson, type JsonValue } from './canonical-json.ts'
import type { MetadataRole } from './expiry.ts'
import type { Signer, TufKey } from './keys.ts'

const specVersion = '1.0.31'

type Common<Type extends string> = { _type: Type; spec_version: string; version: number; expires: string }
export type RoleKeys = { keyids: string[]; threshold: number }
export type MetaFile = { version: number; length?: number; hashes?: Record<string, string> }
export type TargetEntry = {
  length: number
  hashes: Record<string, string>
  custom?: Record<string, JsonValue>
}
export type DelegatedRole = RoleKeys & { name: string; paths?: string[]; terminating: boolean }
export type Delegations = { keys: Record<string, TufKey>; roles: DelegatedRole[] }

export type RootSigned = Common<'root'> & {
  consistent_snapshot: boolean
  keys: Record<string, TufKey>
  roles: Record<MetadataRole, RoleKeys>
}
export type TargetsSigned = Common<'targets'> & {
  targets: Record<string, TargetEntry>
  delegations?: Delegations
}
export type SnapshotSigned = Common<'snapshot'> & { meta: Record<string, MetaFile> }
export type TimestampSigned = Common<'timestamp'> & { meta: { 'snapshot.json': MetaFile } }
export type Signed = RootSigned | TargetsSigned | SnapshotSigned | TimestampSigned

export type SignedMetadata<T extends Signed> = {
  signatures: { keyid: string; sig: string }[]
  signed: T
}

/**
 * The bytes of a metadata file: `{"signatures": […], "signed": {…}}`, signed by each signer over the canonical form.
 *
 * @throws MusterError `metadata-invalid` when a value has no canonical form.
 */
export function signMetadata(signed: Signed, signers: Signer[]): Uint8Array {
  const message = Buffer.from(canonicalJson(signed as unknown as JsonValue))
  const signatures = signers.map((signer) => ({
    keyid: signer.keyid,
    sig: Buffer.from(signer.sign(message)).toString('hex'),
  }))
  return Buffer.from(`${JSON.stringify({ signatures, signed })}\n`)
}

export function buildRoot(options: {
  version: number
  expires: string
  roles: Record<MetadataRole, { keys: TufKey[]; keyids: string[]; threshold: number }>
}): RootSigned {
  const { version, expires, roles } = options
  const keys: Record<string, TufKey> = {}
  for (const { keyids, keys: roleKeys } of Object.values(roles)) {
    for (const [index, keyid] of keyids.entries()) keys[keyid] = roleKeys[index] as TufKey
  }
  const only = ({ keyids, threshold }: RoleKeys): RoleKeys => ({ keyids, threshold })
  return {
    _type: 'root',
    spec_version: specVersion,
    version,
    expires,
    consistent_snapshot: true,
    keys,
    roles: {
      root: only(roles.root),
      targets: only(roles.targets),
      snapshot: only(roles.snapshot),
      timestamp: only(roles.timestamp),
    },
  }
}

export function buildTargets(options: {
  version: number
  expires: string
  targets: Record<string, TargetEntry>
  delegations: Delegations
}): TargetsSigned {
  const { version, expires, targets, delegations } = options
  return { _type: 'targets', spec_version: specVersion, version, expires, targets, delegations }
}

/** Who signs plans. `plan/*` has two segments and every release three, so this role can never name an image. */
export function planDelegation(signer: Pick<Signer, 'keyid' | 'publicKey'>): Delegations {
  return {
    keys: { [signer.keyid]: signer.publicKey },
    roles: [
      { name: planRole, keyids: [signer.keyid], threshold: 1, paths: [`${planRole}/*`], terminating: true },
    ],
  }
}

export function buildSnapshot(options: {
  version: number
  expires: string
  targetsVersion: number
  targets: Uint8Array
}): SnapshotSigned {
  const { version, expires, targetsVersion, targets } = options
  const meta = { 'targets.json': metaFile(targetsVersion, targets) }
  return { _type: 'snapshot', spec_version: specVersion, version, expires, meta }
}

export function buildTimestamp(options: {
  version: number
  expires: string
  snapshotVersion: number
  snapshot: Uint8Array
}): TimestampSigned {
  const { version, expires, snapshotVersion, snapshot } = options
  const meta = { 'snapshot.json': metaFile(snapshotVersion, snapshot) }
  return { _type: 'timestamp', spec_version: specVersion, version, expires, meta }
}

function metaFile(version: number, bytes: Uint8Array): MetaFile {
  return {
    version,
    length: bytes.length,
    hashes: { sha256: createHash('sha256').update(bytes).digest('hex') },
  }
}
