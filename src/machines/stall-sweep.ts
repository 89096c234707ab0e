/** Says of boots that an agent opened when and why they stand still: an event `stalled`, once for each step. */
import type { BootContext } from './boots.ts'
import type { NewEvent } from './events.ts'
import { type BootStep, type ExpectedMs, findStall, type StallFacts, stallSentence } from './stalled.ts'

const rowsMax = 500

/** @returns how many stand still that nobody knew of; call it now and then. */
export async function sweepStalled(
  context: BootContext,
  options: { expectedMs: ExpectedMs; facts: StallFacts },
): Promise<number> {
  const { database, timeline, limits, now } = context
  const { db } = database
  const at = now()
  const soonestMs = Math.min(...Object.values(options.expectedMs))
  const rows = await db
    .selectFrom('boots')
    .select(['id', 'machineId', 'step', 'lastSeenAt'])
    .where('outcome', 'is', null)
    .where('lastSeenAt', '<', at.getTime() - soonestMs)
    .where('eventCount', '<', limits.eventsPerBootMax)
    .orderBy('lastSeenAt', 'desc')
    .limit(rowsMax)
    .execute()
  const stalls = rows.flatMap((row) => {
    const heard = [{ step: row.step as BootStep, atMs: row.lastSeenAt }]
    const stall = findStall(heard, options.expectedMs, options.facts, at.getTime())
    return stall === undefined ? [] : [{ ...stall, row }]
  })
  if (stalls.length === 0) return 0
  const said = await saidSteps(
    context,
    stalls.map(({ row }) => row.id),
  )
  const events = stalls
    .filter(({ row, step }) => !said.has(`${row.id} ${step}`))
    .map(({ cause, row, silentSeconds, step }): NewEvent => {
      const message = stallSentence({ cause, silentSeconds, step })
      const data = { step, silentSeconds, cause }
      return {
        at,
        machineId: row.machineId,
        bootId: row.id,
        kind: 'stalled',
        assurance: 'server',
        message,
        data,
      }
    })
  if (events.length > 0) await timeline.commit([], events)
  return events.length
}

/** Steps whose stall was said before, also by a server that was restarted since. */
async function saidSteps({ database }: BootContext, boots: readonly string[]): Promise<Set<string>> {
  const rows = await database.db
    .selectFrom('events')
    .select(['bootId', 'data'])
    .where('kind', '=', 'stalled')
    .where('bootId', 'in', boots)
    .execute()
  return new Set(rows.map(({ bootId, data }) => `${bootId} ${(JSON.parse(data) as { step?: string }).step}`))
}
