/** That a boot gets no plan because something is missing that a person can mend: said in its timeline, once for each cause. */
import { type BootContext, getBootRow } from './boots.ts'
import { type NewEvent, printable } from './events.ts'

/** Why no plan can be made: the code and sentence of the error, and its facts (labels that are missing, …). */
export type WaitCause = { code: string; reason: string; data?: Readonly<Record<string, unknown>> }

/**
 * A waiting agent asks every few seconds, and a machine that is switched on again says hello anew: what was said since its last
 * plan is not said again. Kept with the boot, so that it counts against that boot's events.
 * @throws boot-not-found, database-failed
 */
export async function recordWait(context: BootContext, bootId: string, cause: WaitCause): Promise<void> {
  const { database, limits, now, timeline } = context
  const { id, machineId, eventCount } = await getBootRow(database, bootId)
  if (eventCount >= limits.eventsPerBootMax) return
  const { db } = database
  const lastPlan = db
    .selectFrom('events')
    .select((row) => row.fn.coalesce(row.fn.max('id'), row.lit(0)).as('id'))
    .where('machineId', '=', machineId)
    .where('kind', '=', 'plan')
  const said = await db
    .selectFrom('events')
    .select('id')
    .where('machineId', '=', machineId)
    .where('kind', '=', 'no-plan')
    // As the timeline keeps it.
    .where('message', '=', printable(cause.reason).slice(0, limits.eventMessageChars))
    .where('id', '>', lastPlan)
    .executeTakeFirst()
  if (said !== undefined) return
  const event: NewEvent = {
    at: now(),
    machineId,
    bootId: id,
    kind: 'no-plan',
    assurance: 'server',
    message: cause.reason,
    data: { ...cause.data, code: cause.code },
  }
  await timeline.commit([], [event])
}
