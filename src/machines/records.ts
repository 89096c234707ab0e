/** What the rest of Muster sees of a machine, a boot and an event, and how rows become that. Times are RFC 3339, UTC. */

import type { Step } from '../protocol/events.ts'
import type { AgentOrigin, Arch } from '../protocol/identifiers.ts'
import type { BootRow, EventRow, MachineRow } from '../store/schema.ts'
import { type ClaimChanges, parseChanges } from './claims.ts'

export type Enrolment = 'discovered' | 'approved' | 'quarantined' | 'retired'
/** How well a machine is known. Until attestation comes, only `none` exists. */
export type Trust = 'none' | 'code' | 'device-key' | 'tpm' | 'tpm+measured'
export type Labels = Readonly<Record<string, string>>

export type Machine = {
  id: string
  name: string
  enrolment: Enrolment
  trust: Trust
  labels: Labels
  macs: string[]
  uuid?: string
  serial?: string
  arch: Arch
  vendor?: string
  product?: string
  hardware: { hardwareIds: string[]; memoryBytes: number; processors: number; firmware?: string }
  firstSeenAt: string
  lastSeenAt: string
  /** Still undecided, it last said other MAC addresses then than before: approving it wants them named. */
  macsChangedAt?: string
  /** The same of what else profiles select by. */
  claimsChanged?: ClaimChanges
  decidedAt?: string
  /** `auto`, or who said so. */
  decidedBy?: string
}

export type Outcome = 'joined' | 'failed' | 'refused' | 'skipped' | 'abandoned'
export type RecordedPlan = { target: string; digest: string; issuedAt: string; because: string[] }

export type Boot = {
  id: string
  machineId: string
  /** SPKI, base64, of the key that signs this session. */
  sessionKey: string
  nonce: string
  /** sha256 of the hello's exact bytes, hexadecimal. */
  helloDigest: string
  /** What this hello said; may differ from the machine's record. */
  hello: { macs: string[]; uuid?: string; serial?: string; hardwareIds: string[]; memoryBytes: number }
  agentOrigin: AgentOrigin
  agentVersion: string
  arch: Arch
  address: string
  openedAt: string
  lastSeenAt: string
  step: Step
  /** Present: this boot waits whatever the profile says. */
  held?: 'identity-conflict'
  plan?: RecordedPlan
  outcome?: Outcome
  outcomeAt?: string
  console?: string
}

/**
 * Who stands behind an event: anyone on the network; the agent (or, by its token, the booted system) of one session; an
 * attested machine; this server itself, by a person's decision or its own rules.
 */
export type Assurance = 'claimed' | 'session' | 'attested' | 'server'

export type MachineEvent = {
  /** Rises; 0 for an event that is shown live and not kept (`progress`). */
  id: number
  at: string
  machineId?: string
  bootId?: string
  kind: string
  assurance: Assurance
  message: string
  data: Readonly<Record<string, unknown>>
}

const toTime = (ms: number) => new Date(ms).toISOString()

/** `{ [key]: value }`, or nothing where the column is null. */
function given<K extends string, V>(key: K, value: V | null): { [P in K]?: V } {
  return value === null ? {} : ({ [key]: value } as { [P in K]: V })
}

export function toMachine(row: MachineRow, macs: string[]): Machine {
  return {
    id: row.id,
    name: row.name,
    enrolment: row.enrolment as Enrolment,
    trust: row.trust as Trust,
    labels: JSON.parse(row.labels) as Labels,
    macs,
    ...given('uuid', row.uuid),
    ...given('serial', row.serial),
    arch: row.arch as Arch,
    ...given('vendor', row.vendor),
    ...given('product', row.product),
    hardware: JSON.parse(row.hardware) as Machine['hardware'],
    firstSeenAt: toTime(row.firstSeenAt),
    lastSeenAt: toTime(row.lastSeenAt),
    ...given('macsChangedAt', row.macsChangedAt === null ? null : toTime(row.macsChangedAt)),
    ...given('claimsChanged', row.claimsChanged === null ? null : parseChanges(row.claimsChanged)),
    ...given('decidedAt', row.decidedAt === null ? null : toTime(row.decidedAt)),
    ...given('decidedBy', row.decidedBy),
  }
}

export function toBoot(row: BootRow): Boot {
  return {
    id: row.id,
    machineId: row.machineId,
    sessionKey: row.sessionKey,
    nonce: row.nonce,
    helloDigest: row.helloDigest,
    hello: JSON.parse(row.hello) as Boot['hello'],
    agentOrigin: row.agentOrigin as AgentOrigin,
    agentVersion: row.agentVersion,
    arch: row.arch as Arch,
    address: row.address,
    openedAt: toTime(row.openedAt),
    lastSeenAt: toTime(row.lastSeenAt),
    step: row.step as Step,
    ...given('held', row.held as 'identity-conflict' | null),
    ...given('plan', row.plan === null ? null : (JSON.parse(row.plan) as RecordedPlan)),
    ...given('outcome', row.outcome as Outcome | null),
    ...given('outcomeAt', row.outcomeAt === null ? null : toTime(row.outcomeAt)),
    ...given('console', row.console),
  }
}

export function toEvent(row: Omit<EventRow, 'id'> & { id: number }): MachineEvent {
  return {
    id: row.id,
    at: toTime(row.at),
    ...given('machineId', row.machineId),
    ...given('bootId', row.bootId),
    kind: row.kind,
    assurance: row.assurance as Assurance,
    message: row.message,
    data: JSON.parse(row.data) as Record<string, unknown>,
  }
}
