/** Whether this machine's clock is right, by the clocks of servers that it fetches from anyway. */
import { type Facts, ok, trouble, unknown, type Verdict } from './check.ts'

/** Signatures are judged by the hour; a minute is what a slow answer and two clocks may differ. */
const toleratedMs = 60_000

export function judgeClock({
  nowMs,
  source,
  theirsMs,
}: {
  nowMs: number
  source: string
  theirsMs: number
}): Verdict {
  const offMs = nowMs - theirsMs
  if (Math.abs(offMs) <= toleratedMs) return ok(`the clock agrees with ${source}`)
  const minutes = Math.round(Math.abs(offMs) / 60_000)
  const amount = minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`
  return trouble(
    `the clock is ${amount} ${offMs > 0 ? 'ahead of' : 'behind'} that of ${source}`,
    'set it and keep it (timedatectl set-ntp true, or chrony): metadata signed now would be expired or not yet valid elsewhere',
  )
}

export async function checkClock(
  { clocks }: Facts,
  fetch: typeof globalThis.fetch,
  now: () => number,
): Promise<Verdict> {
  const failures: string[] = []
  for (const url of clocks) {
    try {
      const response = await fetch(url, {
        method: 'HEAD',
        signal: AbortSignal.timeout(5000),
        redirect: 'manual',
      })
      const theirsMs = Date.parse(response.headers.get('date') ?? '')
      if (!Number.isNaN(theirsMs)) return judgeClock({ nowMs: now(), source: new URL(url).host, theirsMs })
      failures.push(`${new URL(url).host} does not say the time`)
    } catch (error) {
      const { cause, message } = error as Error & { cause?: Error }
      failures.push(`${new URL(url).host}: ${cause?.message ?? message}`)
    }
  }
  return unknown(
    failures.length === 0 ? 'no mirror and no upstream is known to compare with' : failures.join('; '),
  )
}
