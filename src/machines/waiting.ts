/** That a machine boots nothing because a person has to do something first: said in its timeline and in the log. */
import type { Log } from '../log.ts'
import { type BootContext, getBootRow } from './boots.ts'
import { asKept, type NewEvent, printable } from './events.ts'
import { createRateLimiter } from './rate.ts'

/**
 * Why there is no plan. With `code`, that of the error that keeps one from being made, and its facts (labels that are missing,
 * …): an event `no-plan`. Without, a person has to decide first: an event `waiting`.
 */
export type WaitCause = { code?: string; reason: string; data?: Readonly<Record<string, unknown>> }

/** @throws boot-not-found, database-failed */
export type RecordWait = (bootId: string, cause: WaitCause) => Promise<void>

/** Lines of one machine in a minute: one that starts over and over says little that is new. */
const linesPerMachine = 2

/**
 * A waiting agent asks every few seconds, and a machine that is switched on again says hello anew. The timeline has each cause
 * once since the machine's last plan. The log has it once for each boot, for the person who stands beside it now; strangers
 * can say hello without end, so lines are bounded for each machine and in all.
 */
export function createWaitRecorder(context: BootContext, log: Pick<Log, 'warn'>): RecordWait {
  const { database, limits, now, timeline } = context
  /** By boot, the last reason, in the order of saying; the first is the one to forget. */
  const said = new Map<string, string>()
  const lines = createRateLimiter({ perMinute: limits.waitLinesPerMinuteMax, keysMax: 1, now })
  const linesOfMachine = createRateLimiter({ perMinute: linesPerMachine, keysMax: limits.rateKeysMax, now })
  const unnamed = createRateLimiter({ perMinute: 1, keysMax: 1, now })

  function write(machineId: string, bootId: string, { code, reason }: WaitCause): void {
    if (!linesOfMachine.take(machineId)) return
    if (lines.take(''))
      log.warn(
        { machine: machineId, boot: bootId, ...(code === undefined ? {} : { code }) },
        printable(reason),
      )
    else if (unnamed.take(''))
      log.warn(
        { limit: 'machines.waitLinesPerMinuteMax' },
        "more machines wait than are named here: 'muster machines' lists them",
      )
  }

  async function isKept(machineId: string, kind: string, message: string): Promise<boolean> {
    const { db } = database
    const lastPlan = db
      .selectFrom('events')
      .select((row) => row.fn.coalesce(row.fn.max('id'), row.lit(0)).as('id'))
      .where('machineId', '=', machineId)
      .where('kind', '=', 'plan')
    const found = await db
      .selectFrom('events')
      .select('id')
      .where('machineId', '=', machineId)
      .where('kind', '=', kind)
      // As the timeline keeps it.
      .where('message', '=', asKept(message, limits))
      .where('id', '>', lastPlan)
      .executeTakeFirst()
    return found !== undefined
  }

  return async (bootId, cause) => {
    const { code, data, reason } = cause
    if (said.get(bootId) === reason) return
    const { id, machineId, eventCount } = await getBootRow(database, bootId)
    const kind = code === undefined ? 'waiting' : 'no-plan'
    // Counted with the boot's other events, so that it is bounded like them.
    if (eventCount < limits.eventsPerBootMax && !(await isKept(machineId, kind, reason))) {
      const event: NewEvent = {
        at: now(),
        machineId,
        bootId: id,
        kind,
        assurance: 'server',
        message: reason,
        data: { ...data, ...(code === undefined ? {} : { code }) },
      }
      await timeline.commit([], [event])
    }
    // Asked twice at once, it is said once.
    if (said.get(bootId) === reason) return
    said.delete(bootId)
    said.set(bootId, reason)
    if (said.size > limits.rateKeysMax) said.delete(said.keys().next().value as string)
    write(machineId, id, cause)
  }
}
