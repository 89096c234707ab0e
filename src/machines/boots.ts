/**
 * Boots: one attempt of one machine each, opened by a hello and spoken for by the session key that came with it.
 *
 *     open ──▶ (none) ── events, plan ──▶ (none) ── report ──────────▶ joined | failed
 *                │                          │
 *                │ skip                     ├── event `failed` ──────▶ failed | refused ── report ──▶ joined
 *                ▼                          └── silence (sweep) ─────▶ abandoned ──────── report ──▶ joined
 *             skipped
 *
 * A second hello opens a second boot and ends nothing; both get a `rival` event. What is only claimed never gives an outcome.
 */
import type { Compilable } from 'kysely'
import { MusterError } from '../errors.ts'
import type { HelloRequest } from '../protocol/hello.ts'
import type { Database } from '../store/database.ts'
import type { BootRow, MachineRow } from '../store/schema.ts'
import { makeRoomFor } from './boot-room.ts'
import type { NewEvent, Timeline } from './events.ts'
import type { CleanIdentifiers } from './identifiers.ts'
import type { MachineLimits } from './limits.ts'
import { type Boot, type RecordedPlan, toBoot } from './records.ts'
import { readBootId, type SessionRequest, type VerifySession, verifySession } from './session.ts'
import { eventsPerBootMaxOf, type UndecidedBudget } from './undecided.ts'

export type BootContext = {
  database: Database
  timeline: Timeline
  budget: Pick<UndecidedBudget, 'wrote'>
  limits: MachineLimits
  now: () => Date
}

/** `after`: what makes room, once the events are kept; a rival's event needs its boot. */
export type Opening = { row: BootRow; queries: Compilable[]; events: NewEvent[]; after: Compilable[] }

type NewBoot = {
  id: string
  machineId: string
  machineName: string
  request: HelloRequest
  clean: CleanIdentifiers
  helloDigest: string
  address: string
  machine: Pick<MachineRow, 'id' | 'name' | 'enrolment'>
  /** Why it must wait, if it must: the other machine's name. */
  conflict?: { id: string; name: string; by: string }
}

/** A new boot and what it means for the machine's others. Nothing is written yet. @throws limit-reached */
export async function openBoot(context: BootContext, options: NewBoot): Promise<Opening> {
  const { database, limits, now } = context
  const { db } = database
  const { address, id, machine, machineId } = options
  const at = now()
  const row = toRow(options, at)
  const rivals = await db
    .selectFrom('boots')
    .select('id')
    .where('machineId', '=', machineId)
    .where('outcome', 'is', null)
    .where('step', 'not in', ['kexec', 'report'])
    .where('lastSeenAt', '>', at.getTime() - limits.rivalWithinMs)
    // Half of a boot's record is its own, however many rivals say hello beside it.
    .where('eventCount', '<', eventsPerBootMaxOf(machine, limits) / 2)
    .orderBy('lastSeenAt', 'desc')
    .limit(8)
    .execute()
  const room = await makeRoomFor({ id, address, machine }, { database, limits, at })
  return {
    row,
    queries: [db.insertInto('boots').values(row)],
    events: openingEvents(options, rivals, at),
    after: [room],
  }
}

function toRow(boot: NewBoot, at: Date): BootRow {
  const { id, machineId, request, clean, helloDigest, address, conflict } = boot
  return {
    id,
    machineId,
    sessionKey: request.sessionKey,
    nonce: request.nonce,
    helloDigest,
    hello: JSON.stringify({
      ...clean,
      hardwareIds: request.hardware.hardwareIds,
      memoryBytes: request.hardware.memoryBytes,
    }),
    agentOrigin: request.agent.origin,
    agentVersion: request.agent.version,
    arch: request.agent.arch,
    address,
    openedAt: at.getTime(),
    lastSeenAt: at.getTime(),
    step: 'hello',
    sequence: 0,
    sequenceDigest: '',
    held: conflict === undefined ? null : 'identity-conflict',
    plan: null,
    outcome: null,
    outcomeAt: null,
    eventCount: 0,
    console: null,
  }
}

/** What its own timeline, those of rivals and that of a machine it is confused with say about it. */
function openingEvents(boot: NewBoot, rivals: readonly { id: string }[], at: Date): NewEvent[] {
  const { id, machineId, machineName, request, address, conflict } = boot
  const event = (bootId: string, kind: string, message: string, data: Record<string, unknown>): NewEvent => ({
    at,
    machineId,
    bootId,
    kind,
    assurance: 'claimed',
    message,
    data,
  })
  const events = [
    event(
      id,
      'hello',
      `agent ${request.agent.version} (${request.agent.origin}) said hello from ${address}`,
      {
        origin: request.agent.origin,
        arch: request.agent.arch,
        address,
      },
    ),
    ...rivals.flatMap((rival) => [
      event(rival.id, 'rival', `another boot of this machine began: ${id} from ${address}`, {
        rival: id,
        address,
      }),
      event(id, 'rival', `another boot of this machine is at work: ${rival.id}`, { rival: rival.id }),
    ]),
  ]
  if (conflict !== undefined) {
    const message = `it says what ${conflict.name} is known by (${conflict.by}); this boot waits`
    events.push(event(id, 'identity-conflict', message, { other: conflict.id, by: conflict.by }))
    const back = `a boot of another machine (${machineName}) says what this one is known by (${conflict.by})`
    const data = { other: machineId, boot: id, by: conflict.by }
    events.push({
      at,
      machineId: conflict.id,
      kind: 'identity-conflict',
      assurance: 'claimed',
      message: back,
      data,
    })
  }
  return events
}

export async function findBootByHello(database: Database, machineId: string, helloDigest: string) {
  return database.db
    .selectFrom('boots')
    .selectAll()
    .where('machineId', '=', machineId)
    .where('helloDigest', '=', helloDigest)
    .executeTakeFirst()
}

/** @throws boot-not-found */
export async function getBootRow(database: Database, id: string): Promise<BootRow> {
  const row = await database.db.selectFrom('boots').selectAll().where('id', '=', id).executeTakeFirst()
  if (row !== undefined) return row
  throw new MusterError(
    'boot-not-found',
    `there is no boot ${id.slice(0, 80)}: it may have been forgotten with its machine; an agent says hello again`,
  )
}

/** A request that the agent of this boot signed. `retry`: it was accepted before. */
export type Session = { boot: Boot; retry: boolean }

/**
 * Checks and uses up a request's sequence number.
 * @throws session-invalid, boot-not-found
 */
export async function authenticate(
  context: BootContext,
  request: SessionRequest,
  verifySignature: VerifySession,
): Promise<Session> {
  const { database, now } = context
  const row = await getBootRow(database, readBootId(request))
  const { sequence, digest, retry } = verifySession(row, request, verifySignature)
  if (retry) return { boot: toBoot(row), retry }
  const at = now().getTime()
  const seen = { sequence, sequenceDigest: digest, lastSeenAt: at }
  const [result] = await database.atomically([
    database.db.updateTable('boots').set(seen).where('id', '=', row.id).where('sequence', '<', sequence),
    database.db.updateTable('machines').set({ lastSeenAt: at }).where('id', '=', row.machineId),
  ])
  // Overtaken by another request of the session between reading and writing: judge it again by what is there now.
  if (result?.numAffectedRows !== 1n) {
    const current = await getBootRow(database, row.id)
    const verdict = verifySession(current, request, verifySignature)
    return { boot: toBoot(current), retry: verdict.retry }
  }
  return { boot: toBoot({ ...row, ...seen }), retry }
}

/** Keeps the plan that was given; the last one counts. An agent may ask without end, so its events are bounded here too. */
export async function recordPlan(context: BootContext, boot: Boot, plan: RecordedPlan): Promise<void> {
  const { database, timeline, limits, now } = context
  const row = await getBootRow(database, boot.id)
  // A report has the last word on the step: from it on counts how long it may be said again.
  const step = row.step === 'report' ? row.step : 'plan'
  const event: NewEvent = {
    at: now(),
    machineId: boot.machineId,
    bootId: boot.id,
    kind: 'plan',
    assurance: 'session',
    message: `boots ${plan.target}`,
    data: { target: plan.target, digest: plan.digest, because: plan.because },
  }
  await timeline.commit(
    [
      database.db
        .updateTable('boots')
        .set({ plan: JSON.stringify(plan), step })
        .where('id', '=', boot.id),
    ],
    row.eventCount < limits.eventsPerBootMax ? [event] : [],
  )
}

/** The machine was told to go on to its next boot device. */
export async function recordSkip(context: BootContext, boot: Boot, reason: string): Promise<void> {
  const { database, timeline, now } = context
  if (boot.outcome !== undefined) return
  const changed = { outcome: 'skipped', outcomeAt: now().getTime() }
  await timeline.commit(
    [database.db.updateTable('boots').set(changed).where('id', '=', boot.id).where('outcome', 'is', null)],
    [{ ...outcomeEvent(boot, now(), 'skipped', reason), assurance: 'server' }],
  )
}

/** Ends boots that nobody has heard of for `abandonedAfterMs`. @returns how many; call it now and then. */
export async function sweepBoots(context: BootContext): Promise<number> {
  const { database, timeline, limits, now } = context
  const { db } = database
  const at = now()
  const rows = await db
    .selectFrom('boots')
    .select(['id', 'machineId', 'step'])
    .where('outcome', 'is', null)
    .where('lastSeenAt', '<', at.getTime() - limits.abandonedAfterMs)
    .limit(500)
    .execute()
  const ids = rows.map((row) => row.id)
  if (ids.length === 0) return 0
  const changed = { outcome: 'abandoned', outcomeAt: at.getTime() }
  await timeline.commit(
    [db.updateTable('boots').set(changed).where('id', 'in', ids).where('outcome', 'is', null)],
    rows.map((row) => ({
      ...outcomeEvent(row, at, 'abandoned', `nothing was heard of it after step '${row.step}'`),
      assurance: 'server' as const,
    })),
  )
  return ids.length
}

export function outcomeEvent(
  boot: { id: string; machineId: string },
  at: Date,
  outcome: string,
  message: string,
  data: Record<string, unknown> = {},
): NewEvent {
  return {
    at,
    machineId: boot.machineId,
    bootId: boot.id,
    kind: 'outcome',
    assurance: 'session',
    message: message === '' ? outcome : `${outcome}: ${message}`,
    data: { outcome, ...data },
  }
}
