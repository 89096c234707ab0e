/**
 * What machines may make us keep that no person decided on. Anybody invents them, so they have a few boots and events each, and
 * one budget of bytes together. Who takes most of it gives way, the oldest first: a flood from one place forgets its own.
 */
import { type Compilable, sql } from 'kysely'
import type { Log } from '../log.ts'
import type { Database } from '../store/database.ts'
import type { MachineRow } from '../store/schema.ts'
import type { MachineLimits } from './limits.ts'
import { createRateLimiter } from './rate.ts'

type Enrolled = Pick<MachineRow, 'enrolment'>

/** Nobody let it boot anything: it only waits. */
export const isUndecided = ({ enrolment }: Enrolled) => enrolment === 'discovered'

export function bootsMaxOf(machine: Enrolled, limits: MachineLimits): number {
  const max = limits.bootsPerMachineMax
  return isUndecided(machine) ? Math.min(max, limits.undecidedBootsMax) : max
}

export function eventsPerBootMaxOf(machine: Enrolled, limits: MachineLimits): number {
  const max = limits.eventsPerBootMax
  return isUndecided(machine) ? Math.min(max, limits.undecidedEventsPerBootMax) : max
}

export type UndecidedBudget = {
  /** So many bytes were kept of machines, decided on or not. Makes room where that may have been too much. Never fails. */
  wrote(bytes: number): Promise<void>
  /** Measures, and makes room. @returns how many boots were forgotten; call it now and then. @throws database-failed */
  makeRoom(): Promise<number>
}

/** What is forgotten at once: a boot with its events, or (`boot` undefined) the events of a machine that belong to no boot. */
type Item = { machine: string; boot?: string; bytes: number; isAtWork: boolean; at: number }

/** Beside its texts, as SQLite stores rows and their indices; measured. */
const bytesPerBoot = 700
const bytesPerEvent = 150
const idsPerQuery = 500

export function createUndecidedBudget(options: {
  database: Database
  limits: Pick<MachineLimits, 'undecidedBytesMax'>
  now: () => Date
  log: Pick<Log, 'warn'>
}): UndecidedBudget {
  const { database, log } = options
  const max = options.limits.undecidedBytesMax
  // Measuring reads the headers of all their rows: once in so many bytes, and that much below the most, so that it is never more.
  const step = max / 16
  const logged = createRateLimiter({ perMinute: 1, keysMax: 1, now: options.now })
  let unmeasured = 0
  let running: Promise<number> | undefined

  async function makeRoom(): Promise<number> {
    unmeasured = 0
    const bySource = await itemsBySource(database)
    const { dropped, source } = chooseOldest(bySource, max - step)
    if (source === undefined) return 0
    await database.atomically(deletions(database, dropped))
    if (logged.take(''))
      log.warn(
        { source, forgotten: dropped.length, setting: 'enrolment.undecidedBytesMax' },
        'machines that nobody decided on say too much: the oldest boots of whoever said most were forgotten',
      )
    return dropped.filter(({ boot }) => boot !== undefined).length
  }

  function once(): Promise<number> {
    running ??= makeRoom().finally(() => {
      running = undefined
    })
    return running
  }

  return {
    async wrote(bytes) {
      unmeasured += bytes
      if (unmeasured < step) return
      // What was kept is kept: whoever said it is not told that it failed.
      await once().catch((error: unknown) =>
        log.warn({ err: error }, 'no room could be made in the database'),
      )
    },
    makeRoom: once,
  }
}

/** By where their machine said its first hello from. */
async function itemsBySource({ db }: Database): Promise<Map<string, Item[]>> {
  const length = (column: string) => sql<number>`octet_length(coalesce(${sql.ref(column)}, ''))`
  const boots = await db
    .selectFrom('machines')
    .innerJoin('boots', 'boots.machineId', 'machines.id')
    .select(['machines.id as machine', 'machines.source', 'boots.id as boot', 'boots.lastSeenAt as at'])
    .select(sql<number>`${length('boots.hello')} + ${length('boots.console')} + ${bytesPerBoot}`.as('bytes'))
    .select(sql<number>`boots.plan is not null and boots.outcome is null`.as('isAtWork'))
    .where('machines.evictable', '=', 1)
    .execute()
  const said = await db
    .selectFrom('machines')
    .innerJoin('events', 'events.machineId', 'machines.id')
    .select(['machines.id as machine', 'machines.source', 'events.bootId as boot'])
    .select((row) => row.fn.max('events.at').as('at'))
    .select(
      sql<number>`sum(${length('events.message')} + ${length('events.data')} + ${bytesPerEvent})`.as('bytes'),
    )
    .where('machines.evictable', '=', 1)
    .groupBy(['machines.id', 'machines.source', 'events.bootId'])
    .execute()
  const bySource = new Map<string, Item[]>()
  const byBoot = new Map<string, Item>()
  const keep = (source: string, item: Item) => {
    const items = bySource.get(source)
    if (items === undefined) bySource.set(source, [item])
    else items.push(item)
  }
  for (const { source, machine, boot, bytes, isAtWork, at } of boots) {
    const item = { machine, boot, bytes: Number(bytes), isAtWork: Boolean(isAtWork), at }
    byBoot.set(boot, item)
    keep(source, item)
  }
  for (const { source, machine, boot, bytes, at } of said) {
    const item = byBoot.get(boot ?? '')
    if (item !== undefined) item.bytes += Number(bytes)
    else if (boot === null) keep(source, { machine, bytes: Number(bytes), isAtWork: false, at: Number(at) })
  }
  return bySource
}

/** Of the source that takes most, boots that are at work last, until all together are no more than `target` bytes. */
function chooseOldest(bySource: Map<string, Item[]>, target: number): { dropped: Item[]; source?: string } {
  const sources = [...bySource].map(([source, items]) => ({
    source,
    bytes: items.reduce((sum, item) => sum + item.bytes, 0),
    // The last is the first to go.
    items: items.sort((one, other) => Number(other.isAtWork) - Number(one.isAtWork) || other.at - one.at),
  }))
  const dropped: Item[] = []
  let total = sources.reduce((sum, { bytes }) => sum + bytes, 0)
  let greatest: string | undefined
  while (total > target) {
    const most = sources.reduce((one, other) => (other.bytes > one.bytes ? other : one))
    const item = most.items.pop()
    if (item === undefined) break
    greatest ??= most.source
    most.bytes -= item.bytes
    total -= item.bytes
    dropped.push(item)
  }
  return { dropped, ...(greatest === undefined ? {} : { source: greatest }) }
}

function deletions({ db }: Database, dropped: readonly Item[]): Compilable[] {
  const boots = dropped.flatMap(({ boot }) => boot ?? [])
  const machines = dropped.flatMap(({ boot, machine }) => (boot === undefined ? [machine] : []))
  // A person may have decided since it was measured: what that one saw stays.
  const undecided = db.selectFrom('machines').select('id').where('evictable', '=', 1)
  return [
    ...chunks(boots).map((ids) =>
      db.deleteFrom('boots').where('id', 'in', ids).where('machineId', 'in', undecided),
    ),
    ...chunks(machines).map((ids) =>
      db
        .deleteFrom('events')
        .where('bootId', 'is', null)
        .where('machineId', 'in', ids)
        .where('machineId', 'in', undecided),
    ),
  ]
}

function chunks(ids: readonly string[]): string[][] {
  return Array.from({ length: Math.ceil(ids.length / idsPerQuery) }, (_, index) =>
    ids.slice(index * idsPerQuery, (index + 1) * idsPerQuery),
  )
}
