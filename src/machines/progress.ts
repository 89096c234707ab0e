/** What an agent says of its own work, and what the booted system reports: how a boot moves on and ends. */
import { MusterError } from '../errors.ts'
import type { AgentEvent, EventsRequest, ReportRequest } from '../protocol/events.ts'
import { isRefusal } from '../protocol/refusals.ts'
import type { Database } from '../store/database.ts'
import type { BootRow, MachineRow } from '../store/schema.ts'
import { type BootContext, getBootRow, outcomeEvent, type Session } from './boots.ts'
import { type NewEvent, printable } from './events.ts'
import type { RateLimiter } from './rate.ts'
import type { RecordedPlan } from './records.ts'
import { isReportToken } from './reports.ts'
import { eventsPerBootMaxOf, isUndecided } from './undecided.ts'

/** Records signed events; a retry records nothing. Beyond the most of its boot (`eventsPerBootMaxOf`) only outcomes are kept. */
export async function recordAgentEvents(
  context: BootContext,
  session: Session,
  request: EventsRequest,
): Promise<void> {
  const { budget, database, timeline, limits, now } = context
  if (session.retry) return
  const row = await getBootRow(database, session.boot.id)
  const machine = await machineOf(database, row)
  const eventsMax = eventsPerBootMaxOf(machine, limits)
  const at = now()
  const changed: Partial<BootRow> = {}
  const kept: NewEvent[] = []
  for (const event of request.events) {
    // `report` is the booted system's to say, with its token.
    if (event.step === 'report') continue
    const entry = stepEvent(row, at, event)
    changed.step = event.step
    if (event.status === 'progress') timeline.show([entry])
    else if (row.eventCount + kept.length < eventsMax) kept.push(entry)
    if (event.status === 'failed' && row.outcome === null) {
      changed.outcome = isRefusal(event.code) ? 'refused' : 'failed'
      changed.outcomeAt = at.getTime()
      row.outcome = changed.outcome
      kept.push(
        outcomeEvent(row, at, changed.outcome, event.message ?? '', { step: event.step, code: event.code }),
      )
    }
  }
  // A report that came first has the last word on the step.
  if (row.step === 'report') delete changed.step
  // A machine that may boot nothing has only waited: its events say for what.
  if (request.console !== undefined && !isUndecided(machine))
    changed.console = lastBytes(printable(request.console), limits.consoleBytes)
  const queries =
    Object.keys(changed).length === 0
      ? []
      : [database.db.updateTable('boots').set(changed).where('id', '=', row.id)]
  await timeline.commit(queries, kept)
  await budget.wrote(Buffer.byteLength(changed.console ?? ''))
}

/** One that was forgotten since keeps nothing anyway. */
async function machineOf(database: Database, boot: BootRow): Promise<Pick<MachineRow, 'enrolment'>> {
  const query = database.db.selectFrom('machines').select('enrolment').where('id', '=', boot.machineId)
  return (await query.executeTakeFirst()) ?? { enrolment: 'discovered' }
}

function stepEvent(row: BootRow, at: Date, event: AgentEvent): NewEvent {
  const { step, status, code, message, uptimeMs, bytes, totalBytes, data } = event
  return {
    at,
    machineId: row.machineId,
    bootId: row.id,
    kind: 'step',
    assurance: 'session',
    message: `${step} ${status}${message === undefined ? '' : `: ${message}`}`,
    data: { step, status, uptimeMs, code, bytes, totalBytes, ...(data === undefined ? {} : { facts: data }) },
  }
}

/** The end of a text, at most `max` bytes of UTF-8. */
function lastBytes(text: string, max: number): string {
  const bytes = Buffer.from(text)
  if (bytes.length <= max) return text
  let start = bytes.length - max
  // Not in the middle of a character: continuation bytes are 10xxxxxx (RFC 3629 §3).
  while (((bytes[start] ?? 0) & 0xc0) === 0x80) start++
  return bytes.subarray(start).toString()
}

/**
 * The booted system reports in. The same token may say it again for ten minutes, because a reply may be lost.
 * @throws report-refused for a wrong token, an unknown boot or one that ended too long ago. The token is never repeated.
 */
export async function acceptReport(
  context: BootContext & { reportSecret: Uint8Array; refusals: RateLimiter },
  report: ReportRequest & { token: string; address: string },
): Promise<{ outcome: 'joined' | 'failed'; machineId: string }> {
  const { database, timeline, limits, now, reportSecret, refusals } = context
  const at = now()
  const bootId = report.boot.slice(0, 64)
  // Before the database is asked: a wrong token costs a hash.
  const genuine = isReportToken(reportSecret, bootId, report.token)
  const row = genuine || refusals.take(bootId) ? await findRow() : undefined
  if (row === undefined) throw refused('no such boot, or a token that does not belong to it')
  if (!genuine) return refuse(row, 'its token does not belong to this boot')
  const since = row.step === 'report' && row.outcomeAt !== null ? row.outcomeAt : undefined
  if (since !== undefined && at.getTime() - since > limits.reportRetryMs)
    return refuse(row, 'this boot has reported, and the time to say it again is over')
  if (at.getTime() - startOf(row) > limits.reportWithinMs)
    return refuse(row, 'this boot began too long ago to report now')
  const outcome = report.status
  if (since === undefined || row.outcome !== outcome) {
    const changed = { outcome, outcomeAt: since ?? at.getTime(), step: 'report', lastSeenAt: at.getTime() }
    await timeline.commit(
      [database.db.updateTable('boots').set(changed).where('id', '=', row.id)],
      [outcomeEvent(row, at, outcome, report.message ?? '')],
    )
  }
  return { outcome, machineId: row.machineId }

  function findRow(): Promise<BootRow | undefined> {
    return database.db.selectFrom('boots').selectAll().where('id', '=', bootId).executeTakeFirst()
  }

  function refused(why: string): MusterError {
    return new MusterError('report-refused', `the report for boot ${printable(bootId)} is refused: ${why}`)
  }

  async function refuse(boot: BootRow, why: string): Promise<never> {
    if (boot.eventCount < limits.eventsPerBootMax) {
      const message = `a report from ${report.address} was refused: ${why}`
      const data = { address: report.address, status: report.status }
      const event = { at, machineId: boot.machineId, bootId: boot.id, kind: 'report-refused', message, data }
      await timeline.commit([], [{ ...event, assurance: 'claimed' }])
    }
    throw refused(why)
  }
}

/** Its last plan, in milliseconds since 1970: before that a machine may have waited for days to be approved. */
function startOf(boot: BootRow): number {
  if (boot.plan === null) return boot.openedAt
  return Math.max(boot.openedAt, Date.parse((JSON.parse(boot.plan) as RecordedPlan).issuedAt))
}
