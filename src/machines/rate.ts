import { type Source, sharesOfNetwork } from './identifiers.ts'

/** Token buckets by key, in memory: a flood is turned away before it costs the database anything. */
export type RateLimiter = {
  /** Whether one more is allowed now; it then counts. */
  take(key: string): boolean
}

/** The same by where something comes from. */
export type SourceLimiter = {
  /**
   * Undefined: one more is allowed now; it then counts. Else what had its fill, for a person to read: `192.0.2.66`, or
   * `the network 2001:db8:1:2::/64`, of which this address may never have asked before.
   * @param what keeps the counts of different things apart
   */
  exceededBy(source: Source, what?: string): string | undefined
}

/** `perMinute` of one address; of an IPv6 /64 `sharesOfNetwork` times that, of which a refused address uses up nothing. */
export function createSourceLimiter(options: Parameters<typeof createRateLimiter>[0]): SourceLimiter {
  const hosts = createRateLimiter(options)
  const networks = createRateLimiter({ ...options, perMinute: options.perMinute * sharesOfNetwork })
  return {
    exceededBy({ host, network }, what = '') {
      if (!hosts.take(`${what} ${host}`)) return host
      if (network === undefined || networks.take(`${what} ${network}`)) return undefined
      return `the network ${network}`
    },
  }
}

/** `perMinute` on average, all of them at once at most. Remembers `keysMax` keys; the longest unused is forgotten. */
export function createRateLimiter(options: {
  perMinute: number
  keysMax: number
  now: () => Date
}): RateLimiter {
  const { perMinute, keysMax, now } = options
  const buckets = new Map<string, { tokens: number; at: number }>()
  return {
    take(key) {
      const at = now().getTime()
      const known = buckets.get(key)
      const earned = known === undefined ? perMinute : (Math.max(0, at - known.at) * perMinute) / 60_000
      const tokens = Math.min(perMinute, (known?.tokens ?? 0) + earned)
      buckets.delete(key)
      buckets.set(key, { tokens: tokens >= 1 ? tokens - 1 : tokens, at })
      if (buckets.size > keysMax) buckets.delete(buckets.keys().next().value as string)
      return tokens >= 1
    },
  }
}
