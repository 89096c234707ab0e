/** One UDP socket of the batched engine: bound, with room for what comes while the thread is busy. */
import type { Libc } from '../../../datagram/libc.ts'
import { localOf, openSocket } from '../../../datagram/open-socket.ts'
import { type Headers, Outbox } from '../../../datagram/outbox.ts'
import type { Peer } from '../../engine.ts'
import { listenFailed } from '../listen-failed.ts'

/** A link that is full, or neighbours that do not answer ARP: after that long it is dropped, which UDP may. */
const writableWithinMs = 10

/** All transfers share a few of them, so each takes what many clients send at once. */
export class BatchSocket {
  readonly fd: number
  readonly local: Peer
  readonly outbox: Outbox
  readonly #libc: Libc
  #closed = false

  /** @param room for whom what goes out at once has to have room. @throws listen-failed */
  constructor(
    libc: Libc,
    where: { host: string; port: number },
    headers: Headers,
    room: 'one' | 'many' = 'many',
  ) {
    this.#libc = libc
    try {
      this.fd = openSocket(libc, where)
    } catch (error) {
      throw listenFailed(where, error as NodeJS.ErrnoException)
    }
    const { address, port, family } = localOf(libc, this.fd)
    this.local = { address, port, family }
    this.outbox = new Outbox(libc, this.fd, { headers, room, writableWithinMs })
  }

  close(): void {
    if (this.#closed) return
    this.outbox.flush()
    this.#closed = true
    this.#libc.close(this.fd)
  }
}
