/**
 * Every table. Portable between SQLite and PostgreSQL: text, integers and blobs only; times are milliseconds since 1970;
 * documents are JSON text that only their owner parses; booleans do not exist here.
 */
import type { Generated } from 'kysely'

export type MachineRow = {
  id: string
  /** Node name, DNS-1123, unique. */
  name: string
  enrolment: string
  trust: string
  /** JSON object of strings. */
  labels: string
  /** Identifiers that are not junk, normalised; null where the machine said none. */
  uuid: string | null
  serial: string | null
  arch: string
  vendor: string | null
  product: string | null
  /** JSON: the rest of what the machine said of its hardware. */
  hardware: string
  firstSeenAt: number
  lastSeenAt: number
  /** Where its first hello came from, as a limit counts it (network and address of IPv6, an IPv4 address). */
  source: string
  /** When, still undecided, it last said other MAC addresses than before; null: never. */
  macsChangedAt: number | null
  /** JSON: what else it said otherwise before, still undecided: {field: {before, at}}, `at` RFC 3339; null: nothing. */
  claimsChanged: string | null
  decidedAt: number | null
  /** A person or token; `auto`; null: nobody yet. */
  decidedBy: string | null
  /** 1 while no person has decided on it: it may be forgotten when there are too many. */
  evictable: number
}

/** A MAC address belongs to one machine at most. */
export type MachineMacRow = { mac: string; machineId: string }

export type BootRow = {
  id: string
  machineId: string
  sessionKey: string
  nonce: string
  /** sha256 of the hello's exact bytes, hexadecimal. */
  helloDigest: string
  /** JSON: identifiers and hardware of this hello. */
  hello: string
  agentOrigin: string
  agentVersion: string
  arch: string
  address: string
  openedAt: number
  lastSeenAt: number
  step: string
  /** Sequence number and body of the last signed request that was accepted. */
  sequence: number
  sequenceDigest: string
  /** Why this boot must wait whatever the profile says: `identity-conflict`; null: nothing. */
  held: string | null
  /** JSON: {target, digest, issuedAt, because}; null before a plan was given. */
  plan: string | null
  outcome: string | null
  outcomeAt: number | null
  eventCount: number
  /** The last of the console that came with a failure, at most 64 KiB. */
  console: string | null
}

export type EventRow = {
  id: Generated<number>
  at: number
  machineId: string | null
  bootId: string | null
  kind: string
  assurance: string
  message: string
  /** JSON object. */
  data: string
}

/** `document` is JSON, as it was put. */
export type DocumentRow = { name: string; document: string; updatedAt: number }

/** One-of-a-kind values of the server: what it has done once (setup/once.ts), with the time, RFC 3339. */
export type SettingRow = { key: string; value: string }

/** Of the DHCP server. `client`: a MAC address, `id:` and its identifier, or empty for an address in use by a stranger. */
export type DhcpLeaseRow = { address: string; client: string; state: string; endsAt: number }

export type MigrationRow = { number: number; name: string; appliedAt: number }

export type Schema = {
  machines: MachineRow
  machineMacs: MachineMacRow
  boots: BootRow
  events: EventRow
  profiles: DocumentRow
  clusters: DocumentRow
  settings: SettingRow
  dhcpLeases: DhcpLeaseRow
  migrations: MigrationRow
}
