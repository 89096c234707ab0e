import { expect, test } from 'vitest'
import { defaultLimits } from '../../src/agent/limits.ts'
import { createReporter } from '../../src/agent/report.ts'
import type { Session } from '../../src/agent/session.ts'

/** A machine by a clock of its own: each piece of a download and each request take so long. */
async function download(pieceMs: number, requestMs: number): Promise<{ totalMs: number; requests: number }> {
  let nowMs = 0
  let requests = 0
  const reporter = createReporter({
    uptimeMs: () => nowMs,
    memory: { totalBytes: 0, sample: async () => 0, peakBytes: () => 0 },
    limits: defaultLimits,
  })
  const post = async () => {
    requests += 1
    nowMs += requestMs
  }
  reporter.attach({ post } as unknown as Session)
  const pieces = 500
  for (let piece = 1; piece <= pieces; piece++) {
    nowMs += pieceMs
    await reporter.progress('blobs', piece * 65_536, pieces * 65_536)
  }
  return { totalMs: nowMs, requests }
}

test('progress is told once a second where that is cheap', async () => {
  expect(await download(20, 1)).toMatchObject({ requests: 10 })
})

test('telling progress takes a slow machine no more than a fifth of its time', async () => {
  const { totalMs, requests } = await download(20, 1200)
  expect(requests).toBeGreaterThan(1)
  expect(totalMs).toBeLessThan(500 * 20 * 1.4)
})
