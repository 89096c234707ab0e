/**
 * Finds or makes the record that a hello speaks of. Everything a hello says is claimed, so:
 *
 *   - The set of MAC addresses is the anchor. UUID and serial number only corroborate: they can raise a doubt, never join two.
 *   - Records never merge by themselves, and one that nobody decided on has the addresses of its last hello alone: else a stranger
 *     who names two machines before they come would make one of them. That they changed, or what else it says (claims.ts), is an event,
 *     and a person who approves it then names what is meant.
 *   - The identifiers of a machine that was decided on (approved, quarantined, retired) are frozen.
 *   - A hello that two machines would answer to is an identity conflict where persons decided on both: that boot waits for
 *     one. What mode `auto` let in holds no address against anybody, or two hellos would lock a machine with two cards out.
 */
import { type Compilable, sql } from 'kysely'
import { MusterError } from '../errors.ts'
import type { HelloRequest } from '../protocol/hello.ts'
import type { Database } from '../store/database.ts'
import type { MachineRow } from '../store/schema.ts'
import { noteClaims } from './claims.ts'
import type { NewEvent } from './events.ts'
import { type CleanIdentifiers, type Source, sharesOfNetwork } from './identifiers.ts'
import type { MachineLimits } from './limits.ts'

export type Found = {
  row: MachineRow
  macs: string[]
  /** Addresses of this hello that other records hold. */
  heldElsewhere: string[]
  /** Set: another decided machine has a claim on this hello. */
  conflictsWith?: { id: string; name: string; by: string }
}

/** The machine of these MAC addresses; undefined when nobody has any of them. */
export async function findByMacs(database: Database, clean: CleanIdentifiers): Promise<Found | undefined> {
  const { db } = database
  const rows = await db
    .selectFrom('machineMacs')
    .innerJoin('machines', 'machines.id', 'machineMacs.machineId')
    .selectAll('machines')
    .select((select) => select.fn.countAll<number>().as('hits'))
    .where('machineMacs.mac', 'in', clean.macs)
    .groupBy('machines.id')
    .execute()
  if (rows.length === 0) return undefined
  const decided = rows.filter(isDecided)
  const candidates = decided.length > 0 ? decided : rows
  candidates.sort(
    (a, b) => Number(b.hits) - Number(a.hits) || a.firstSeenAt - b.firstSeenAt || (a.id < b.id ? -1 : 1),
  )
  const [{ hits: _, ...row }] = candidates as [(typeof rows)[0]]
  const macRows = await db.selectFrom('machineMacs').select('mac').where('machineId', '=', row.id).execute()
  const heldRows =
    rows.length === 1
      ? []
      : await db
          .selectFrom('machineMacs')
          .select('mac')
          .where('mac', 'in', clean.macs)
          .where('machineId', '!=', row.id)
          .execute()
  const found = {
    row,
    macs: macRows.map(({ mac }) => mac).sort(),
    heldElsewhere: heldRows.map(({ mac }) => mac),
  }
  const other = decided.find((candidate) => candidate.id !== row.id)
  if (other !== undefined)
    return { ...found, conflictsWith: { id: other.id, name: other.name, by: 'MAC address' } }
  const borrowed = row.enrolment === 'discovered' ? undefined : await borrowedIdentity(database, row, clean)
  return borrowed === undefined ? found : { ...found, conflictsWith: borrowed }
}

/** A person decided on it. */
const isDecided = (row: Pick<MachineRow, 'evictable'>) => row.evictable === 0

/** Another decided machine whose UUID or serial this hello says, where the machine's own record says otherwise. */
async function borrowedIdentity(database: Database, row: MachineRow, clean: CleanIdentifiers) {
  for (const [column, by] of [
    ['uuid', 'UUID'],
    ['serial', 'serial number'],
  ] as const) {
    const value = clean[column]
    if (value === undefined || value === row[column]) continue
    const other = await database.db
      .selectFrom('machines')
      .select(['id', 'name'])
      .where(column, '=', value)
      .where('id', '!=', row.id)
      .where('evictable', '=', 0)
      .executeTakeFirst()
    if (other !== undefined) return { ...other, by }
  }
  return undefined
}

export type Newcomer = { row: MachineRow; macs: string[]; queries: Compilable[]; events: NewEvent[] }

/** The record of a machine nobody has seen, and what makes room for it. Nothing is written yet. */
export function newMachine(
  database: Database,
  options: {
    id: string
    request: HelloRequest
    clean: CleanIdentifiers
    source: Source
    at: Date
    limits: MachineLimits
  },
): Newcomer {
  const { db } = database
  const { id, request, clean, source, at, limits } = options
  const row: MachineRow = {
    id,
    name: id,
    enrolment: 'discovered',
    trust: 'none',
    labels: '{}',
    ...observed(request, clean),
    firstSeenAt: at.getTime(),
    lastSeenAt: at.getTime(),
    source: keyOf(source),
    macsChangedAt: null,
    claimsChanged: null,
    decidedAt: null,
    decidedBy: null,
    evictable: 1,
  }
  const undecided = db
    .selectFrom('machines')
    .select('id')
    .where('evictable', '=', 1)
    .where('id', '!=', id)
    // Whose agent signed something may be booting: a neighbour's hellos alone cannot push it out before it reports.
    .orderBy(({ case: choose, exists, selectFrom }) => {
      const signed = selectFrom('boots')
        .select('boots.id')
        .whereRef('boots.machineId', '=', 'machines.id')
        .where('boots.sequence', '>', 0)
      return choose().when(exists(signed)).then(0).else(1).end()
    })
    .orderBy('lastSeenAt', 'desc')
    .limit(1000)
  const overflow = undecided.offset(Math.max(0, limits.undecidedMax - 1))
  const perAddress = limits.undecidedPerAddressMax
  const sourceOverflow = undecided.where('source', '=', keyOf(source)).offset(Math.max(0, perAddress - 1))
  const networkOverflow = undecided
    .where('source', '>', `${source.network} `)
    .where('source', '<', `${source.network}!`)
    .offset(Math.max(0, perAddress * sharesOfNetwork - 1))
  return {
    row,
    macs: clean.macs,
    queries: [
      db.insertInto('machines').values(row),
      db.insertInto('machineMacs').values(clean.macs.map((mac) => ({ mac, machineId: id }))),
      db.deleteFrom('machines').where('id', 'in', sourceOverflow),
      ...(source.network === undefined ? [] : [db.deleteFrom('machines').where('id', 'in', networkOverflow)]),
      db.deleteFrom('machines').where('id', 'in', overflow),
    ],
    events: [
      {
        at,
        machineId: id,
        kind: 'discovered',
        assurance: 'claimed',
        message: `a machine with ${clean.macs.join(', ')} said hello for the first time`,
        data: { macs: clean.macs, uuid: clean.uuid, serial: clean.serial },
      },
    ],
  }
}

/** As it is kept: a network's addresses stand together, between the network with a space behind it and with a `!`, the next sign. */
function keyOf({ host, network }: Source): string {
  return network === undefined ? host : `${network} ${host}`
}

/** What a later hello changes in a record: when it was seen; before a decision also what it said. */
export function seenAgain(
  database: Database,
  options: { found: Found; request: HelloRequest; clean: CleanIdentifiers; at: Date; limits: MachineLimits },
): Newcomer {
  const { db } = database
  const { found, clean, at } = options
  const { row } = found
  const known = new Set(found.macs)
  const unknown = clean.macs.filter((mac) => !known.has(mac))
  const seen = { lastSeenAt: at.getTime() }
  const event = (kind: string, message: string, data: Record<string, unknown>): NewEvent => ({
    at,
    machineId: row.id,
    kind,
    assurance: 'claimed',
    message,
    data,
  })
  if (row.enrolment === 'discovered') return undecidedAgain(database, options, event)
  const events: NewEvent[] = []
  if (unknown.length > 0)
    events.push(
      event(
        'mac-unknown',
        `it also has ${unknown.join(', ')}, which its record does not; nothing was changed`,
        {
          macs: unknown,
        },
      ),
    )
  const changed = (['uuid', 'serial'] as const).filter(
    (key) => row[key] !== null && (clean[key] ?? null) !== row[key],
  )
  if (changed.length > 0)
    events.push(
      event(
        'identity-changed',
        `its ${changed.join(' and ')} is not what its record says; nothing was changed`,
        {
          expected: Object.fromEntries(changed.map((key) => [key, row[key]])),
          found: Object.fromEntries(changed.map((key) => [key, clean[key] ?? null])),
        },
      ),
    )
  const queries = [db.updateTable('machines').set(seen).where('id', '=', row.id)]
  return { row: { ...row, ...seen }, macs: found.macs, queries, events }
}

type Seen = Parameters<typeof seenAgain>[1]

/** An undecided record becomes what its last hello said; addresses that another record holds stay with that record. */
function undecidedAgain(
  { db }: Database,
  { found, request, clean, at, limits }: Seen,
  event: (kind: string, message: string, data: Record<string, unknown>) => NewEvent,
): Newcomer {
  const { row } = found
  const kept = found.macs.filter((mac) => clean.macs.includes(mac))
  const unknown = clean.macs.filter((mac) => !found.macs.includes(mac) && !found.heldElsewhere.includes(mac))
  const added = unknown.slice(0, Math.max(0, limits.macsPerMachineMax - kept.length))
  const isChanged = added.length > 0 || kept.length < found.macs.length
  const macs = [...kept, ...added].sort()
  const said = observed(request, clean)
  const claims = noteClaims(row, said, at)
  const changed = {
    lastSeenAt: at.getTime(),
    ...said,
    claimsChanged: claims.claimsChanged,
    ...(isChanged ? { macsChangedAt: at.getTime() } : {}),
  }
  // A person may have decided since it was read: what that person saw stays.
  const undecided = db
    .selectFrom('machines')
    .select('id')
    .where('id', '=', row.id)
    .where('enrolment', '=', 'discovered')
  const queries: Compilable[] = [
    db.updateTable('machines').set(changed).where('id', 'in', undecided),
    db.deleteFrom('machineMacs').where('machineId', 'in', undecided).where('mac', 'not in', clean.macs),
    ...added.map((mac) =>
      db
        .insertInto('machineMacs')
        .columns(['mac', 'machineId'])
        .expression(undecided.clearSelect().select([sql.lit(mac).as('mac'), 'id']))
        .onConflict((conflict) => conflict.doNothing()),
    ),
  ]
  const message = `it now says the MAC addresses ${macs.join(', ')}, before ${found.macs.join(', ')}: another machine may be speaking for it`
  const events = claims.events.map(({ kind, message, data }) => event(kind, message, data))
  if (isChanged) events.push(event('macs-changed', message, { before: found.macs, now: macs }))
  return { row: { ...row, ...changed }, macs, queries, events }
}

function observed(request: HelloRequest, clean: CleanIdentifiers) {
  const { vendor, product, ...hardware } = request.hardware
  return {
    uuid: clean.uuid ?? null,
    serial: clean.serial ?? null,
    arch: request.agent.arch,
    vendor: vendor ?? null,
    product: product ?? null,
    hardware: JSON.stringify(hardware),
  }
}

/** @throws request-invalid when no MAC address of a hello can belong to a machine. */
export function requireMacs(clean: CleanIdentifiers): void {
  if (clean.macs.length > 0) return
  throw new MusterError(
    'request-invalid',
    'the hello names no usable MAC address: expected at least one unicast address',
  )
}
