/** What a boot took, by its events. */
import type { MachineEvent } from '../../src/machines/records.ts'
import { step as stepSchema } from '../../src/protocol/events.ts'

/** One line for a person from each event; nothing for what only begins or goes on. */
export function createTimelineLines(started: number): (event: MachineEvent) => string | undefined {
  /** By boot: when it began to wait for a person, then how long it did. The agent's `plan` has that in it. */
  const waitsSince = new Map<string, number>()
  const waitedMs = new Map<string, number>()

  return ({ at, bootId = '', data, kind, message }) => {
    const seconds = ((Date.parse(at) - started) / 1000).toFixed(1).padStart(6)
    const line = (what: string, text: string) => `${seconds} s  ${what.padEnd(12)} ${text}`
    if (kind !== 'step') return line(kind, message)
    const { step, status, uptimeMs } = data as { step: string; status: string; uptimeMs: number }
    if (step === 'approval' && status === 'started') waitsSince.set(bootId, uptimeMs)
    if (status !== 'done') return status === 'failed' ? `${seconds} s  ${message}` : undefined
    if (step === 'approval') {
      const ms = uptimeMs - (waitsSince.get(bootId) ?? uptimeMs)
      waitedMs.set(bootId, ms)
      return line(step, `waited ${(ms / 1000).toFixed(1)} s for a person`)
    }
    const { durationMs = 0 } = (data['facts'] ?? {}) as { durationMs?: number }
    const ownMs = step === 'plan' ? durationMs - (waitedMs.get(bootId) ?? 0) : durationMs
    return line(step, `done in ${(Math.max(0, ownMs) / 1000).toFixed(1)} s`)
  }
}

/** Why it waits for a person now, if it does. */
export function waitsFor(events: readonly MachineEvent[]): string | undefined {
  const last = events.findLast(({ kind }) => ['waiting', 'no-plan', 'plan', 'approved'].includes(kind))
  return last?.kind === 'waiting' || last?.kind === 'no-plan' ? last.message : undefined
}

export type Measures = {
  /** In the order of the boot; a step that was not measured is left out. What it did itself: waiting for a person is not in it. */
  seconds: { step: string; seconds: number }[]
  /** How long it waited for a person, within its step `plan`. */
  waitedSeconds: number
  peakMemoryBytes: number | undefined
}

/** What each part of the boot took, by the agent's own clock where it has one. */
export function measures(events: readonly MachineEvent[], started: number): Measures {
  const steps = events.filter(({ kind }) => kind === 'step')
  // Of the last round, where there were several.
  const uptimeOf = (step: string, status: string) =>
    steps.findLast(({ data }) => data['step'] === step && data['status'] === status)?.data['uptimeMs'] as
      | number
      | undefined
  const took = (step: string) => {
    const [from, to] = [uptimeOf(step, 'started'), uptimeOf(step, 'done')]
    return from === undefined || to === undefined ? undefined : (to - from) / 1000
  }
  // The agent asks for its plan until a person has decided: `approval` is within `plan`.
  const waitedSeconds = took('approval') ?? 0
  const ofAgent = stepSchema.options.flatMap((step) => {
    const seconds = step === 'approval' ? undefined : took(step)
    if (seconds === undefined) return []
    return [{ step, seconds: step === 'plan' ? Math.max(0, seconds - waitedSeconds) : seconds }]
  })
  const hello = events.find(({ kind }) => kind === 'hello')
  const helloUptime = uptimeOf('hello', 'started')
  const kernelStarted =
    hello === undefined || helloUptime === undefined ? undefined : Date.parse(hello.at) - helloUptime
  const joined = events.find(({ data }) => data['outcome'] === 'joined')
  const kexec = steps.findLast(({ data }) => data['step'] === 'kexec')
  const seconds = [
    ...(kernelStarted === undefined
      ? []
      : [{ step: 'firmware', seconds: Math.max(0, kernelStarted - started) / 1000 }]),
    ...(uptimeOf('network', 'started') === undefined
      ? []
      : [{ step: 'agent kernel', seconds: uptimeOf('network', 'started')! / 1000 }]),
    ...ofAgent,
    ...(joined === undefined || kexec === undefined
      ? []
      : [{ step: 'booted system', seconds: (Date.parse(joined.at) - Date.parse(kexec.at)) / 1000 }]),
  ]
  const peaks = steps
    .map(({ data }) => (data['facts'] as { peakMemoryBytes?: number } | undefined)?.peakMemoryBytes)
    .filter((value) => value !== undefined)
  return { seconds, waitedSeconds, peakMemoryBytes: peaks.length === 0 ? undefined : Math.max(...peaks) }
}
