import { describe, expect, test } from 'vitest'
import { BoundedLog } from '../../src/datagram/bounded-log.ts'
import type { Log } from '../../src/log.ts'

/** A log with a clock of our own; `lines` as `level sentence`. */
function site(limits = { maxLogLinesPerSecond: 2, maxLogLineBurst: 3 }) {
  const lines: string[] = []
  const at = (level: string) => (_: object, message?: string) => void lines.push(`${level} ${message}`)
  let nowMs = 0
  let timers: { atMs: number; act: () => void }[] = []
  const log: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  const bounded = new BoundedLog({
    ...{ log, limits, now: () => nowMs },
    later: (ms, act) => {
      const timer = { atMs: nowMs + ms, act }
      timers.push(timer)
      return {
        cancel() {
          timers = timers.filter((other) => other !== timer)
        },
      }
    },
  })
  return {
    lines,
    bounded,
    openTimers: () => timers.length,
    pass(ms: number) {
      nowMs += ms
      const due = timers.filter(({ atMs }) => atMs <= nowMs)
      timers = timers.filter((timer) => !due.includes(timer))
      for (const { act } of due) act()
    },
  }
}

describe('log lines that strangers cause', () => {
  test('so many are written at once, and a second later how many more there were', () => {
    const { bounded, lines, openTimers, pass } = site()
    for (let line = 0; line < 10; line += 1) bounded.info({}, 'a machine asked')
    expect(lines).toEqual(Array(3).fill('info a machine asked'))
    pass(999)
    expect(lines).toHaveLength(3)
    pass(1)
    expect(lines.slice(3)).toEqual(['info 7 more lines were left out: a machine asked'])
    pass(10_000)
    expect([lines.length, openTimers()]).toEqual([4, 0])
  })

  test('a flood that lasts is its rate and one line more in each second, whatever it sends', () => {
    const { bounded, lines, pass } = site()
    for (let ms = 0; ms < 60_000; ms += 10) {
      bounded.warn({}, 'rubbish')
      pass(10)
    }
    const told = lines.filter((line) => line.includes('left out'))
    const left = told.reduce((sum, line) => sum + Number(/\d+/.exec(line)?.[0]), 0)
    expect(told.length).toBeLessThanOrEqual(60)
    expect(lines.length - told.length).toBeLessThanOrEqual(3 + 2 * 60)
    bounded[Symbol.dispose]()
    const last = lines.at(-1) as string
    const rest = last === told.at(-1) ? 0 : Number(/\d+/.exec(last)?.[0])
    expect(lines.filter((line) => line === 'warn rubbish').length + left + rest).toBe(6000)
  })

  test('one kind of line takes nothing from another, nor does a level', () => {
    const { bounded, lines } = site()
    for (let line = 0; line < 10; line += 1) bounded.debug({}, 'rubbish')
    bounded.error({}, 'the disk is full')
    expect(lines.at(-1)).toBe('error the disk is full')
  })

  test('what was left out is told when it is stopped, and no timer is left', () => {
    const { bounded, lines, openTimers } = site()
    for (let line = 0; line < 5; line += 1) bounded.info({}, 'a machine asked')
    expect(openTimers()).toBe(1)
    bounded[Symbol.dispose]()
    expect([lines.at(-1), openTimers()]).toEqual(['info 2 more lines were left out: a machine asked', 0])
  })

  test('sentences that are made up by the thousand take bounded room, and are bounded together', () => {
    const { bounded, lines } = site()
    for (let line = 0; line < 10_000; line += 1) bounded.info({}, `sentence ${line}`)
    expect(lines).toHaveLength(128 + 3)
  })
})
