/**
 * Events for the server. Reporting never stops a boot: what cannot be sent waits in a short queue, from which progress
 * is dropped first.
 */
import { errorCodeOf } from '../errors.ts'
import type { AgentEvent, Step } from '../protocol/events.ts'
import type { Limits } from './limits.ts'
import type { MemoryMeter } from './memory.ts'
import type { Session } from './session.ts'
import { printable } from './text.ts'

export type Reporter = {
  /** From now on events go there; undefined: they wait. */
  attach(session: Session | undefined): void
  add(event: Omit<AgentEvent, 'uptimeMs'>): void
  /** Around one step: `started`, then `done` or `failed`, with `durationMs` and `peakMemoryBytes`. */
  during<T>(step: Step, work: () => Promise<T>): Promise<T>
  /** Sent at most every `progressMs`, and less often where sending is slow; in between it costs nothing. */
  progress(step: Step, bytes: number, totalBytes: number): Promise<void>
  /** Facts that go with the `done` of the step at work. */
  note(facts: Readonly<Record<string, string | number | boolean>>): void
  /** Sends what waits, with the console where given. False when it could not be sent. */
  flush(options?: { console?: string; attempts?: number }): Promise<boolean>
}

export function createReporter(options: {
  /** Milliseconds since the kernel started. */
  uptimeMs: () => number
  memory: MemoryMeter
  limits: Limits
}): Reporter {
  const { uptimeMs, memory, limits } = options
  let session: Session | undefined
  let waiting: AgentEvent[] = []
  let facts: Record<string, string | number | boolean> = {}
  let nextProgressMs = Number.NEGATIVE_INFINITY

  const reporter: Reporter = {
    attach(next) {
      session = next
    },
    add(event) {
      waiting.push({ ...event, uptimeMs: uptimeMs() })
      if (waiting.length <= limits.events) return
      const droppable = waiting.findIndex(({ status }) => status === 'progress')
      waiting.splice(Math.max(droppable, 0), 1)
    },
    async during(step, work) {
      const startedMs = uptimeMs()
      facts = {}
      reporter.add({ step, status: 'started' })
      try {
        const result = await work()
        await memory.sample()
        const data = { ...facts, durationMs: uptimeMs() - startedMs, peakMemoryBytes: memory.peakBytes() }
        reporter.add({ step, status: 'done', data })
        return result
      } catch (error) {
        const sentence = error instanceof Error ? error.message : String(error)
        await memory.sample()
        const data = { durationMs: uptimeMs() - startedMs, peakMemoryBytes: memory.peakBytes() }
        const message = printable(sentence, 2000)
        reporter.add({ step, status: 'failed', code: errorCodeOf(error), message, data })
        throw error
      }
    },
    async progress(step, bytes, totalBytes) {
      const startedMs = uptimeMs()
      if (startedMs < nextProgressMs) return
      await memory.sample()
      waiting = waiting.filter(({ status }) => status !== 'progress')
      reporter.add({ step, status: 'progress', bytes, totalBytes })
      await reporter.flush({ attempts: 1 })
      // A signature and TLS cost a slow machine a second in which it fetches nothing: a fifth of its time at most.
      nextProgressMs = uptimeMs() + Math.max(limits.progressMs, 4 * (uptimeMs() - startedMs))
    },
    note(more) {
      facts = { ...facts, ...more }
    },
    async flush(flushed = {}) {
      if (session === undefined) return false
      const events = waiting.slice(0, limits.events)
      if (events.length === 0) return true
      const body = flushed.console === undefined ? { events } : { events, console: flushed.console }
      try {
        await session.post('events', body, {
          attempts: flushed.attempts ?? limits.requestAttempts,
          brief: true,
        })
        waiting = waiting.slice(events.length)
        return true
      } catch {
        // The boot matters more than its record; the events wait for the next request.
        return false
      }
    },
  }
  return reporter
}
