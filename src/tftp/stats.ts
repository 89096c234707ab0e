/**
 * What the TFTP server counts. The numbers stand in memory that two threads may share: the thread that serves writes, and
 * whoever asks reads them at any time, each number for itself.
 */
import type { SessionEnd } from './session.ts'

const outcomes = [
  'completed',
  'unconfirmed',
  'probed',
  'aborted',
  'timed-out',
  'failed',
  'cancelled',
] as const satisfies readonly SessionEnd['outcome'][]

const counters = [
  'requests',
  'malformed',
  'rateLimited',
  'refused',
  'duplicates',
  'unknownPeers',
  'active',
  'blocks',
  'retransmittedBlocks',
] as const

export type Counter = (typeof counters)[number]

/** Counts since the start, except `active`. */
export type TftpStats = {
  requests: number
  /** Not a TFTP request, or longer than one may be. */
  malformed: number
  /** Above one address's request rate: not answered at all. */
  rateLimited: number
  /** Answered with an ERROR before a transfer began: no such file, not allowed, too many. */
  refused: number
  duplicates: number
  unknownPeers: number
  active: number
  outcomes: Record<SessionEnd['outcome'], number>
  blocks: number
  retransmittedBlocks: number
}

const names: readonly string[] = [...counters, ...outcomes]

export class Counters {
  readonly memory: SharedArrayBuffer
  readonly #values: Float64Array

  /** `memory` comes from another `Counters`, in whatever thread it is. */
  constructor(memory = new SharedArrayBuffer(names.length * Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory
    this.#values = new Float64Array(memory)
  }

  add(name: Counter | SessionEnd['outcome'], count = 1): void {
    const index = names.indexOf(name)
    this.#values[index] = (this.#values[index] ?? 0) + count
  }

  set(name: Counter, value: number): void {
    this.#values[names.indexOf(name)] = value
  }

  read(): TftpStats {
    const of = <Name extends string>(list: readonly Name[]) =>
      Object.fromEntries(list.map((name) => [name, this.#values[names.indexOf(name)] ?? 0])) as Record<
        Name,
        number
      >
    return { ...of(counters), outcomes: of(outcomes) }
  }
}
