/** Backoff with jitter, so that a hall of machines that lost its server does not come back as one. */

/** Doubles from `firstMs` to `mostMs` with the attempts (1, 2, 3 …); up to half of it is taken off by chance. */
export function backoffMs(
  attempt: number,
  bounds: { firstMs: number; mostMs: number },
  random: () => number,
): number {
  const whole = Math.min(bounds.mostMs, bounds.firstMs * 2 ** Math.min(attempt - 1, 30))
  return Math.round(whole * (1 - random() / 2))
}
