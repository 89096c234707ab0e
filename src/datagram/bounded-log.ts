/**
 * Log lines about datagrams. Anybody may send those as fast as the network goes, under as many addresses as there are, and a line for each
 * fills a disk; from an engine's thread each is a message to the main one, too. So lines of one kind, which is their sentence, have a rate,
 * and what is left out above it is said once a second:
 *
 *     DHCP DISCOVER answered                                          … so many at once, then so many a second
 *     312 more lines were left out: DHCP DISCOVER answered            one second after the first that was
 */
import type { Log } from '../log.ts'
import { TokenBucket } from './token-bucket.ts'

export type LogLimits = {
  /** Lines of one kind in a second, lasting, and at once. */
  maxLogLinesPerSecond: number
  maxLogLineBurst: number
}

export type BoundedLogOptions = {
  log: Log
  limits: LogLimits
  /** Monotonic milliseconds. */
  now: () => number
  /** Calls `act` after that time, unless it is cancelled first. */
  later?: (ms: number, act: () => void) => { cancel(): void }
}

type Level = keyof Log
type Kind = { bucket: TokenBucket; left: number; timer: { cancel(): void } | undefined; tell: () => void }

/** Sentences are ours and few; should that ever fail, what is new shares one rate. */
const maxKinds = 128
const toldAfterMs = 1000

export class BoundedLog implements Log, Disposable {
  readonly #options: Required<BoundedLogOptions>
  readonly #kinds = new Map<string, Kind>()
  #ended = false

  constructor(options: BoundedLogOptions) {
    this.#options = { later: unrefTimer, ...options }
  }

  debug(fields: object, message = ''): void {
    this.#write('debug', fields, message)
  }

  info(fields: object, message = ''): void {
    this.#write('info', fields, message)
  }

  warn(fields: object, message = ''): void {
    this.#write('warn', fields, message)
  }

  error(fields: object, message = ''): void {
    this.#write('error', fields, message)
  }

  /** Says what was left out and is not told yet. */
  [Symbol.dispose](): void {
    this.#ended = true
    for (const kind of this.#kinds.values()) {
      kind.timer?.cancel()
      if (kind.left > 0) kind.tell()
    }
  }

  #write(level: Level, fields: object, message: string): void {
    const { later, log, now } = this.#options
    const kind = this.#kindOf(level, message)
    if (kind.bucket.take(now())) {
      log[level](fields, message)
      return
    }
    kind.left += 1
    if (!this.#ended) kind.timer ??= later(toldAfterMs, kind.tell)
  }

  #kindOf(level: Level, message: string): Kind {
    const name = this.#kinds.size < maxKinds || this.#kinds.has(message) ? message : others
    const known = this.#kinds.get(name)
    if (known !== undefined) return known
    const { limits, log } = this.#options
    const kind: Kind = {
      bucket: new TokenBucket({ perSecond: limits.maxLogLinesPerSecond, burst: limits.maxLogLineBurst }),
      left: 0,
      timer: undefined,
      tell: () => {
        log[level]({ left: kind.left }, `${kind.left} more lines were left out: ${name}`)
        kind.left = 0
        kind.timer = undefined
      },
    }
    this.#kinds.set(name, kind)
    return kind
  }
}

const others = 'others'

function unrefTimer(ms: number, act: () => void) {
  const timer = setTimeout(act, ms).unref()
  return { cancel: () => clearTimeout(timer) }
}
