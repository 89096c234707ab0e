/** The transfers of one socket, by their client's address and port. */

import type { Inbox } from '../../../datagram/inbox.ts'
import { peerKey, type SocketPeer } from '../../../datagram/socket-address.ts'
import type { BindOptions } from '../../engine.ts'
import type { BatchSocket } from './batch-socket.ts'
import { BatchedLine, type BatchedLineOptions } from './batched-line.ts'

/** After its end a transfer's client may still repeat its last ACK, and may already have asked for the next file: it is no stranger. */
const rememberedMs = 5000
const rememberedMax = 4096

export type LineParts = Omit<BatchedLineOptions, 'socket' | 'onClose'> & { onClose?: () => void }

export class Transfers {
  readonly socket: BatchSocket
  /** Those of all sockets that it shares its clients with, itself among them. */
  readonly #siblings: readonly Transfers[]
  readonly #lines = new Map<number | string, BatchedLine>()
  /** Clients whose transfer here has ended, oldest first, and until when that is remembered. */
  readonly #ended = new Map<number | string, number>()

  constructor(socket: BatchSocket, siblings: readonly Transfers[] = []) {
    this.socket = socket
    this.#siblings = siblings
  }

  /** Whether this client has, or lately had, a transfer here: then its next one is better somewhere else. */
  knows(peer: SocketPeer): boolean {
    const key = peerKey(peer.raw)
    return this.#lines.has(key) || this.#ended.has(key)
  }

  open(parts: LineParts, now: () => number): BatchedLine {
    const key = peerKey(parts.to.raw)
    const line: BatchedLine = new BatchedLine({
      ...parts,
      socket: this.socket,
      onClose: () => {
        if (this.#lines.get(key) === line) this.#lines.delete(key)
        this.#ended.delete(key)
        this.#ended.set(key, now() + rememberedMs)
        this.#forget(now())
        parts.onClose?.()
      },
    })
    this.#lines.set(key, line)
    return line
  }

  receive(inbox: Inbox, slot: number, options: BindOptions, nowMs: number): void {
    const key = inbox.key(slot)
    const line = this.#lines.get(key)
    if (line !== undefined) line.onDatagram(inbox.bytes(slot))
    if (line !== undefined || (this.#ended.get(key) ?? 0) > nowMs) return
    // A client knows where its blocks come from. Who tries all ports does not see them.
    for (const sibling of this.#siblings) sibling.#lines.get(key)?.strayed()
    const from = inbox.peer(slot)
    options.onStranger(inbox.bytes(slot), from, (datagram) => this.socket.outbox.reply(datagram, from))
  }

  #forget(nowMs: number): void {
    for (const [key, untilMs] of this.#ended) {
      if (untilMs > nowMs && this.#ended.size <= rememberedMax) return
      this.#ended.delete(key)
    }
  }
}
