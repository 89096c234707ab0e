/** The timeline: what happened to machines, with time and cause. Bounded per boot, per machine and in all. */
import type { Compilable } from 'kysely'
import type { Log } from '../log.ts'
import type { Database } from '../store/database.ts'
import type { MachineLimits } from './limits.ts'
import { type MachineEvent, toEvent } from './records.ts'
import type { UndecidedBudget } from './undecided.ts'

export type NewEvent = Omit<MachineEvent, 'id' | 'at'> & { at: Date }
export type EventListener = (event: MachineEvent) => void
export type EventQuery = { machineId?: string; bootId?: string; after?: number; limit?: number }

export type Timeline = {
  /** Does `queries`, keeps `events`, does `after`, in one commit; then tells the listeners. @throws database-failed, nothing is kept */
  commit(
    queries: readonly Compilable[],
    events: readonly NewEvent[],
    after?: readonly Compilable[],
  ): Promise<void>
  /** Only tells the listeners: progress that is not worth keeping. */
  show(events: readonly NewEvent[]): void
  /** In the order they happened, after id `after`; without `after`, the last `limit` (at most 1000). */
  list(query: EventQuery): Promise<MachineEvent[]>
  /** Live, after they are durable; ends with the returned function. */
  subscribe(listener: EventListener): () => void
}

export function createTimeline(options: {
  database: Database
  limits: MachineLimits
  log: Log
  budget: Pick<UndecidedBudget, 'wrote'>
}): Timeline {
  const { budget, database, limits, log } = options
  const { db } = database
  const listeners = new Set<EventListener>()

  /** Facts may come from an agent: attacker-controlled, so cut to size here, once for all. */
  function toRow(event: NewEvent) {
    const data = JSON.stringify(event.data)
    return {
      at: event.at.getTime(),
      machineId: event.machineId ?? null,
      bootId: event.bootId ?? null,
      kind: event.kind,
      assurance: event.assurance,
      message: asKept(event.message, limits),
      data: Buffer.byteLength(data) > limits.eventDataBytes ? '{"dropped":"too large"}' : data,
    }
  }

  return {
    async commit(queries, events, after = []) {
      const kept = events.map(toRow)
      const results = await database.atomically([...queries, ...inserts(events, kept), ...after])
      const rows = (results[queries.length]?.rows ?? []) as { id: number }[]
      // AUTOINCREMENT numbers rows in the order of the values; RETURNING promises no order.
      const ids = rows.map(({ id }) => id).sort((one, other) => one - other)
      publish(events, ids)
      const bytes = kept.map(({ message, data }) => Buffer.byteLength(message) + Buffer.byteLength(data))
      await budget.wrote(bytes.reduce((sum, length) => sum + length, 0))
    },
    show: (events) => publish(events, []),
    async list({ machineId, bootId, after, limit = 200 }) {
      let query = db
        .selectFrom('events')
        .selectAll()
        .limit(Math.min(Math.max(limit, 1), 1000))
      if (machineId !== undefined) query = query.where('machineId', '=', machineId)
      if (bootId !== undefined) query = query.where('bootId', '=', bootId)
      if (after !== undefined) query = query.where('id', '>', after)
      const rows = await query.orderBy('id', after === undefined ? 'desc' : 'asc').execute()
      return (after === undefined ? rows.reverse() : rows).map(toEvent)
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }

  function publish(events: readonly NewEvent[], ids: readonly number[]): void {
    if (listeners.size === 0) return
    for (const [index, event] of events.entries()) {
      const shown = toEvent({ id: ids[index] ?? 0, ...toRow(event) })
      for (const listener of listeners) {
        try {
          listener(shown)
        } catch (error) {
          log.error({ err: error }, 'an event listener failed')
        }
      }
    }
  }

  function inserts(events: readonly NewEvent[], rows: ReturnType<typeof toRow>[]): Compilable[] {
    if (events.length === 0) return []
    const queries: Compilable[] = [db.insertInto('events').values(rows).returning('id')]
    for (const bootId of new Set(events.flatMap((event) => event.bootId ?? []))) {
      const added = events.filter((event) => event.bootId === bootId).length
      queries.push(
        db
          .updateTable('boots')
          .set((row) => ({ eventCount: row('eventCount', '+', added) }))
          .where('id', '=', bootId),
      )
    }
    const loose = events.filter((event) => event.bootId === undefined)
    for (const machineId of new Set(loose.map((event) => event.machineId))) queries.push(trim(machineId))
    return queries
  }

  /**
   * Keeps the newest events that belong to no boot: of one machine, or of none. What anybody may claim goes before what this
   * server knows, or a neighbour's hellos would push out who approved the machine.
   */
  function trim(machineId: string | undefined): Compilable {
    const of = machineId ?? null
    const keep = machineId === undefined ? limits.eventsWithoutMachineMax : limits.eventsPerMachineMax
    const old = db
      .selectFrom('events')
      .select('id')
      .where('machineId', 'is not distinct from', of)
      .where('bootId', 'is', null)
      .orderBy((row) => row.case().when('assurance', '=', 'claimed').then(1).else(0).end())
      .orderBy('id', 'desc')
      .limit(1000)
      .offset(keep)
    return db.deleteFrom('events').where('id', 'in', old)
  }
}

/** A message as the timeline keeps it: printable, at most `eventMessageBytes` of UTF-8. */
export function asKept(message: string, limits: Pick<MachineLimits, 'eventMessageBytes'>): string {
  const bytes = Buffer.from(printable(message))
  let end = Math.min(bytes.length, limits.eventMessageBytes)
  // Not in the middle of a character: continuation bytes are 10xxxxxx (RFC 3629 §3).
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.subarray(0, end).toString()
}

/** Control characters of a message could move the cursor of whoever reads it in a terminal. Line breaks stay. */
export function printable(text: string): string {
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd').toWellFormed()
}
