/** What `npm run boot` and the lab print of a boot. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { MachineEvent } from '../../src/machines/records.ts'
import { aMachine, createAgentClient } from '../support/agent-client.ts'
import { createTimelineLines, measures, waitsFor } from '../support/boot-measures.ts'
import { startServer } from '../support/server.ts'
import { watchMachine } from '../support/whole-boot.ts'

const mac = '52:54:00:6d:75:09'
const started = Date.parse('2026-06-01T08:00:00Z')
let id = 0
const event = (atMs: number, kind: string, data: Record<string, unknown> = {}): MachineEvent => ({
  ...{ id: ++id, at: new Date(started + atMs).toISOString(), kind, data },
  ...{ machineId: 'm-1', bootId: 'b-1', assurance: 'session', message: kind },
})
const step = (name: string, status: string, uptimeMs: number) =>
  event(10_000 + uptimeMs, 'step', { step: name, status, uptimeMs })

test('the time that a boot waited for a person is not among the seconds of its own work', () => {
  const events = [
    ...[step('network', 'started', 2000), step('network', 'done', 2500)],
    ...[step('hello', 'started', 2500), event(12_700, 'hello'), step('hello', 'done', 2700)],
    ...[step('plan', 'started', 2700), step('approval', 'started', 2800)],
    ...[step('approval', 'done', 902_800), step('plan', 'done', 903_100)],
    ...[step('kexec', 'started', 903_100), step('kexec', 'done', 904_100)],
    event(920_000, 'outcome', { outcome: 'joined' }),
  ]
  const { seconds, waitedSeconds } = measures(events, started)
  expect(waitedSeconds).toBe(900)
  const of = Object.fromEntries(seconds.map((one) => [one.step, one.seconds]))
  expect(of).not.toHaveProperty('approval')
  expect(of['plan']).toBeCloseTo(0.4)
  expect(Object.values(of).reduce((sum, one) => sum + one, 0)).toBeLessThan(30)
})

test('its timeline says how long it waited, and does not count that in the step that waited', () => {
  const toLine = createTimelineLines(started)
  const events = [
    ...[step('plan', 'started', 2700), step('approval', 'started', 2800), step('approval', 'done', 902_800)],
    event(913_100, 'step', {
      ...{ step: 'plan', status: 'done', uptimeMs: 903_100 },
      facts: { durationMs: 900_400 },
    }),
  ]
  expect(events.map(toLine)).toEqual([
    undefined,
    undefined,
    ' 912.8 s  approval     waited 900.0 s for a person',
    ' 913.1 s  plan         done in 0.4 s',
  ])
})

test('a boot that came to no end because nobody approved it says so', () => {
  const waiting = event(1000, 'waiting')
  expect(waitsFor([event(0, 'plan'), waiting])).toBe('waiting')
  expect(waitsFor([waiting, event(2000, 'approved')])).toBeUndefined()
  expect(waitsFor([event(0, 'hello')])).toBeUndefined()
})

test('a boot that waited for nobody has waited no second', () => {
  const events = [step('plan', 'started', 100), step('plan', 'done', 400)]
  expect(measures(events, started)).toMatchObject({
    waitedSeconds: 0,
    seconds: [{ step: 'plan', seconds: 0.3 }],
  })
})

test('the timeline of a machine that the server does not know yet begins with what its firmware asked', async () => {
  await using server = await startServer()
  const { api, running } = server
  using agent = createAgentClient({ port: running.ports.agent })
  await agent.boot(aMachine('52:54:00:6d:75:08'))
  const seen: MachineEvent[] = []
  const stop = (await watchMachine(api, mac))((one) => seen.push(one))
  try {
    running.machines.noteFirmware({ mac, step: 'script', over: 'http', message: 'HTTP: read its script' })
    running.machines.noteFirmware({ mac: '52:54:00:6d:75:08', step: 'script', message: 'of another machine' })
    await agent.boot(aMachine(mac))
    while (!seen.some(({ kind }) => kind === 'hello')) await sleep(20)
    expect(seen.map(({ kind }) => kind).slice(0, 3)).toEqual(['firmware', 'discovered', 'hello'])
    expect(new Set(seen.map(({ machineId }) => machineId)).size).toBe(1)
  } finally {
    stop()
  }
})
