/** What is told of requests and transfers: counts, a log line each (datagram/bounded-log.ts), and who asked to be called. */
import type { Log } from '../log.ts'
import type { TftpRequest } from './file.ts'
import type { SessionEnd } from './session.ts'
import type { Counters } from './stats.ts'

export type TransferReport = Omit<SessionEnd, 'error'> & {
  request: TftpRequest
  sizeBytes: number
  durationMs: number
}

/** A request that got an ERROR instead of a file. */
export type Refusal = {
  client: { address: string; port: number }
  /** Attacker-controlled, as it was asked for: at most 512 bytes, any characters. */
  filename: string
  /** `file-not-found` is a name that nobody knows. */
  code: string
}

export type ReportsOptions = {
  log: Log
  counters: Counters
  onTransfer?: ((report: TransferReport) => void) | undefined
  onRefused?: ((refusal: Refusal) => void) | undefined
}

export class Reports {
  readonly #options: ReportsOptions

  constructor(options: ReportsOptions) {
    this.#options = options
  }

  malformed(client: string, reason: string): void {
    const { log, counters } = this.#options
    counters.add('malformed')
    log.debug({ client, reason }, 'TFTP request dropped')
  }

  refused(error: unknown, refusal: Refusal): void {
    const { log, counters, onRefused } = this.#options
    counters.add('refused')
    const fields = { ...refusal, client: refusal.client.address }
    // Clients try names that need not exist (boot scripts by MAC, shorter prefixes): that is no news.
    if (refusal.code === 'file-not-found') log.debug(fields, 'TFTP request refused')
    else if (refusal.code === 'internal') log.error({ ...fields, err: error }, 'TFTP request failed')
    else log.info({ ...fields, reason: (error as Error).message }, 'TFTP request refused')
    onRefused?.(refusal)
  }

  ended(end: SessionEnd, request: TftpRequest, sizeBytes: number, durationMs: number): void {
    const { log, counters, onTransfer } = this.#options
    const { error, ...facts } = end
    counters.add(end.outcome)
    counters.add('blocks', end.blocks)
    counters.add('retransmittedBlocks', end.retransmittedBlocks)
    const fields = { ...request, ...facts, sizeBytes, durationMs: Math.round(durationMs) }
    if (end.outcome === 'failed') log.warn({ ...fields, err: error }, 'TFTP transfer failed')
    else if (end.outcome === 'probed' || end.outcome === 'cancelled') log.debug(fields, 'TFTP transfer ended')
    else log.info(fields, `TFTP transfer ${end.outcome}`)
    onTransfer?.({ ...facts, request, sizeBytes, durationMs })
  }
}
