/** Backoff with jitter, so that a hall of machines that lost its server does not come back as one. */
import type { Agent } from './agent.ts'

/** Before the next try of a request: its backoff, or what the server asked for (Retry-After), up to a limit, whichever is longer. */
export function pauseMs(
  { host, limits }: Pick<Agent, 'host' | 'limits'>,
  attempt: number,
  retryAfterSeconds: number,
): number {
  const bounds = { firstMs: limits.backoffFirstMs, mostMs: limits.backoffMostMs }
  const ownMs = backoffMs(attempt, bounds, () => host.random())
  // With jitter upwards: all those who were told the same must not come back as one either.
  const askedMs = Math.min(retryAfterSeconds * 1000, limits.retryAfterMostMs) * (1 + host.random() / 4)
  return Math.max(ownMs, Math.round(askedMs))
}

/** Doubles from `firstMs` to `mostMs` with the attempts (1, 2, 3 …); up to half of it is taken off by chance. */
export function backoffMs(
  attempt: number,
  bounds: { firstMs: number; mostMs: number },
  random: () => number,
): number {
  const whole = Math.min(bounds.mostMs, bounds.firstMs * 2 ** Math.min(attempt - 1, 30))
  return Math.round(whole * (1 - random() / 2))
}
