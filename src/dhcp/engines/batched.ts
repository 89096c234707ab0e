/**
 * Datagrams in batches, on Node's own thread. node:dgram watches the socket, and gives the first datagram of what has come; the rest
 * is taken with one recvmmsg. Replies wait until there are enough of them, or Node has looked at all of its sockets, and then go out
 * with one sendmmsg:
 *
 *     message ─▶ recvmmsg ─▶ answers (promises) ─▶ … ─▶ enough, or setImmediate ─▶ sendmmsg
 *
 * The sockets are those of dgram.ts, and what it says of interfaces holds here too.
 */
import { createSocket, type Socket } from 'node:dgram'
import { Inbox } from '../../datagram/inbox.ts'
import { type Libc, sockets } from '../../datagram/libc.ts'
import { localOf, openSocket, setOption } from '../../datagram/open-socket.ts'
import { Outbox } from '../../datagram/outbox.ts'
import { encodeAddress } from '../../datagram/socket-address.ts'
import { addressBytes, anyAddress } from '../address.ts'
import type { BindOptions, Engine, Peer, Port } from '../engine.ts'
import { listenFailed } from './listen-failed.ts'

/** More saves no time: then who asks has to wait for all of them, and we for who asks. */
const batch = 16

/** @param maxPacketBytes what is longer arrives with one byte more than that */
export function createBatchedEngine(libc: Libc, maxPacketBytes: number): Engine {
  const inbox = new Inbox(libc, maxPacketBytes + 1)
  return {
    bind: async (options) => {
      const fd = open(libc, options)
      const socket = createSocket({ type: 'udp4' })
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      socket.once('error', reject)
      // The descriptor is the socket's from here on, which closes it.
      socket.bind({ fd }, resolve)
      await promise
      socket.removeAllListeners('error')
      socket.on('error', options.onError)
      socket.setBroadcast(true)
      // Node sets it on descriptors that it is given. With it another program could bind the same port, and take our packets.
      setOption(libc, fd, { level: sockets.level.socket, option: sockets.option.reuseAddress, value: 0 })
      return new BatchedPort({ ...options, libc, inbox, socket, fd })
    },
  }
}

/** @throws listen-failed */
function open(libc: Libc, options: BindOptions): number {
  try {
    return openSocket(libc, options)
  } catch (error) {
    throw listenFailed(options, error as NodeJS.ErrnoException)
  }
}

type Parts = BindOptions & { libc: Libc; inbox: Inbox; socket: Socket; fd: number }

class BatchedPort implements Port {
  readonly local: Peer
  readonly #parts: Parts
  readonly #outbox: Outbox
  /** Where the next datagram goes; the outbox copies it. */
  readonly #sockaddr = encodeAddress(anyAddress, 0)
  #flushes = false
  #closed = false

  constructor(parts: Parts) {
    const { fd, libc, onDatagram, socket } = parts
    this.#parts = parts
    // No waiting for a full send buffer: this thread has other things to do, and clients ask again.
    this.#outbox = new Outbox(libc, fd, { writableWithinMs: 0 })
    const { address, port } = localOf(libc, fd)
    this.local = { address, port }
    socket.on('message', (bytes, from) => {
      onDatagram(bytes, from)
      this.#receiveMore()
    })
  }

  send(datagram: Uint8Array, to: Peer): void {
    if (this.#closed) return
    const raw = this.#sockaddr
    raw[2] = to.port >> 8
    raw[3] = to.port & 255
    raw.set(addressBytes(to.address), 4)
    this.#outbox.reply(datagram, { raw, source: noSource })
    if (this.#outbox.waiting >= batch) this.#outbox.flush()
    if (this.#flushes || this.#outbox.isEmpty) return
    this.#flushes = true
    setImmediate(() => {
      this.#flushes = false
      if (!this.#closed) this.#outbox.flush()
    })
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#outbox.flush()
    this.#closed = true
    return new Promise((resolve) => this.#parts.socket.close(resolve))
  }

  /** One call: if there is still more, Node says so again, and its other sockets have their turn between. */
  #receiveMore(): void {
    if (this.#closed) return
    const { fd, inbox, onDatagram } = this.#parts
    const count = inbox.receive(fd, batch - 1)
    for (let slot = 0; slot < count; slot += 1) {
      // A copy out of Node's pool: an answer may take longer than the slot is ours.
      const bytes = Buffer.from(inbox.bytes(slot))
      onDatagram(bytes, inbox.peer(slot))
    }
    inbox.release(count)
  }
}

const noSource = new Uint8Array(0)
