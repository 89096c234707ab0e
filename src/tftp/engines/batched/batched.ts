/**
 * Datagrams in batches, for a thread that does nothing else (worker.ts). One turn: see which sockets have something, take all of
 * it with one call each, let the transfers do what they do, send all that they want sent with one call for each socket.
 *
 *     turns ─▶ turn: wait in ppoll for a datagram, a message or the next deadline; receive; run; send ─┐
 *      ▲  ▲                                                                                          │
 *      │  └──────────────────────────────────────────────────────────────────────────────────────────┤
 *      └──────────── Node's own events: messages, promises ◀── a request, an end, a message came ─────┘
 *
 * Waiting costs no processor time. The thread's messages come with a count in an eventfd, which ends the wait. Promises go on
 * only between two runs of turns, so whatever may settle one ends a run.
 */
import { randomInt } from 'node:crypto'
import { readSync } from 'node:fs'
import { Inbox, inboxSlots } from '../../../datagram/inbox.ts'
import { eventFlags, type Libc, pollIn, unavailable } from '../../../datagram/libc.ts'
import { NativeMemory } from '../../../datagram/native-memory.ts'
import type { Headers } from '../../../datagram/outbox.ts'
import type { SocketPeer } from '../../../datagram/socket-address.ts'
import type { BindOptions, Engine, Line, LineOptions, Port, Timer } from '../../engine.ts'
import { dataHeaderBytes, opcodes, writeDataHeader } from '../../packet.ts'
import { BatchSocket } from './batch-socket.ts'
import { MappedFiles } from './mapped-files.ts'
import { ProvenClients } from './proven-clients.ts'
import { Timers } from './timers.ts'
import { type LineParts, Transfers } from './transfers.ts'

export type BatchedOptions = {
  /**
   * Sockets that the transfers of proven clients share: each is a transfer id (RFC 1350 §4), and a client's next transfer gets
   * another.
   */
  transferSockets: number
  /** UDP_SEGMENT; off only to measure. */
  segments: boolean
  /** A whole number from 0 to below this one, that nobody can foresee. */
  random: (below: number) => number
}

const defaults: BatchedOptions = { transferSockets: 4, segments: true, random: randomInt }

/** A request has 512 bytes at most; what is longer is cut off, and seen to be too long. */
const payloadBytes = 576
/** After that long Node has its turn in any case. */
const sliceMs = 100
/** A process that ends stops its threads only between two waits; the owner also ends them by a message. */
const longestWaitMs = 10_000

type Receiver = { socket: BatchSocket; receive: (slot: number) => void }

export class BatchedEngine implements Engine {
  readonly #libc: Libc
  readonly #options: BatchedOptions
  readonly #inbox: Inbox
  readonly #headers: Headers
  readonly #files: MappedFiles
  readonly #timers = new Timers()
  readonly #proven = new ProvenClients()
  readonly #receivers: Receiver[] = []
  /** Over; they stay until the end of the turn, which goes through the list above. */
  readonly #closing: Receiver[] = []
  readonly #event: number
  #poll: NativeMemory
  #afterTurn: (() => void)[] = []
  #stopped: (() => void) | undefined
  /** Whether a message waits, or a promise may have been settled: neither goes on before Node has its turn. */
  #yields = false

  /** @throws engine-unavailable */
  constructor(libc: Libc, options: Partial<BatchedOptions> = {}) {
    this.#libc = libc
    this.#options = { ...defaults, ...options }
    this.#inbox = new Inbox(libc, payloadBytes)
    this.#headers = dataHeaders(libc)
    this.#files = new MappedFiles(libc)
    this.#event = libc.eventfd(0, eventFlags)
    if (this.#event < 0) throw unavailable(`eventfd failed with errno ${libc.errno()}`)
    this.#poll = new NativeMemory(libc, 0)
    this.#arrangePoll()
  }

  /** Writing eight bytes with a number above 0 here ends a wait. Whoever writes closes it, after `stop`. */
  get eventDescriptor(): number {
    return this.#event
  }

  now(): number {
    return performance.now()
  }

  wakeAt(atMs: number, act: () => void): Timer {
    return this.#timers.add(atMs, act)
  }

  afterTurn(act: () => void): void {
    this.#afterTurn.push(act)
  }

  async bind(options: BindOptions): Promise<Port> {
    const libc = this.#libc
    const socket = new BatchSocket(libc, options, this.#headers)
    const transfers: Transfers[] = []
    try {
      for (let count = 0; count < this.#options.transferSockets; count += 1)
        transfers.push(
          new Transfers(new BatchSocket(libc, { host: options.host, port: 0 }, this.#headers), transfers),
        )
    } catch (error) {
      for (const { socket: opened } of [{ socket }, ...transfers]) opened.close()
      throw error
    }
    const requests: Receiver = {
      socket,
      receive: (slot) => {
        this.#yields = true
        options.onDatagram(this.#inbox.bytes(slot), this.#inbox.peer(slot))
      },
    }
    const answers = transfers.map((transfer) => this.#receiverOf(transfer, options))
    // Requests last: a client whose last ACK came in the same turn as its next request has finished the file before.
    this.#receivers.unshift(...answers)
    this.#receivers.push(requests)
    this.#arrangePoll()
    return {
      local: socket.local,
      reply: (datagram, to) => socket.outbox.reply(datagram, to as SocketPeer),
      open: async (line: LineOptions) => {
        const to = line.to as SocketPeer
        const parts = { ...line, to, ...this.#lineParts(to) }
        if (!this.#proven.has(to.address, this.now())) return this.#openAlone(options, parts)
        const first = this.#options.random(transfers.length)
        const inTurn = [...transfers.slice(first), ...transfers.slice(0, first)]
        const transfer = inTurn.find((one) => !one.knows(to)) ?? (inTurn[0] as Transfers)
        return transfer.open(parts, () => this.now())
      },
      close: async () => this.#close([requests, ...answers]),
    }
  }

  /** On a port of its own, for who may have forged the address: proven-clients.ts. @throws listen-failed */
  #openAlone(options: BindOptions, parts: LineParts): Line {
    const where = { host: options.host, port: 0 }
    const transfers = new Transfers(new BatchSocket(this.#libc, where, this.#headers, 'one'))
    const receiver = this.#receiverOf(transfers, options)
    const onAck = this.#proven.onAck(parts.to.address, () => this.now())
    const line = transfers.open(
      {
        ...parts,
        onDatagram: (bytes) => {
          if (bytes[1] === opcodes.ack) onAck()
          parts.onDatagram(bytes)
        },
        onClose: () => this.#closing.push(receiver),
      },
      () => this.now(),
    )
    this.#receivers.unshift(receiver)
    this.#arrangePoll()
    return line
  }

  #receiverOf(transfers: Transfers, options: BindOptions): Receiver {
    const { socket } = transfers
    return { socket, receive: (slot) => transfers.receive(this.#inbox, slot, options, this.now()) }
  }

  /** Turns until `stop`; settles then. */
  run(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const step = (): void => {
      if (this.#stopped === undefined) {
        this.#turns()
        setImmediate(step)
        return
      }
      this.#close([...this.#receivers])
      this.#stopped()
      resolve()
    }
    setImmediate(step)
    return promise
  }

  stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#stopped = resolve
    return promise
  }

  /** Turns and waits until Node has something to do. The first turn does not wait: it sends what promises have left to send. */
  #turns(): void {
    const startedMs = this.now()
    this.#yields = false
    for (let waitMs = 0; ; ) {
      this.#turn(waitMs)
      const nowMs = this.now()
      if (this.#yields || nowMs - startedMs > sliceMs) return
      waitMs = Math.min(longestWaitMs, this.#timers.nextAtMs - nowMs)
    }
  }

  /** Waits so long for something, and does it. */
  #turn(waitMs: number): void {
    const pending = this.#afterTurn.length > 0
    const ready = this.#wait(pending ? 0 : waitMs)
    if (ready > 0) {
      const { u16 } = this.#poll
      if (u16[3] !== 0) this.#clearEvent()
      for (let index = 0; index < this.#receivers.length; index += 1)
        if (u16[(index + 1) * 4 + 3] !== 0) this.#receive(this.#receivers[index] as Receiver)
    }
    if (this.#timers.run(this.now())) this.#yields = true
    const after = this.#afterTurn
    this.#afterTurn = []
    for (const act of after) act()
    for (const { socket } of this.#receivers) if (!socket.outbox.isEmpty) socket.outbox.flush()
    if (this.#closing.length > 0) this.#close(this.#closing.splice(0))
  }

  #receive({ socket, receive }: Receiver): void {
    let all = 0
    for (;;) {
      const count = this.#inbox.receive(socket.fd)
      for (let slot = 0; slot < count; slot += 1) receive(slot)
      this.#inbox.release(count)
      all += count
      // One more call at most: the transfers that were just told should send before much more is heard.
      if (count < inboxSlots || all > inboxSlots) return
    }
  }

  #wait(waitMs: number): number {
    const { address } = this.#poll
    const timeAt = 8 * (this.#receivers.length + 1)
    const nanoseconds = Math.max(0, Math.ceil(waitMs * 1e6))
    this.#poll.u64(timeAt, Math.floor(nanoseconds / 1e9))
    this.#poll.u64(timeAt + 8, nanoseconds % 1e9)
    return this.#libc.ppoll(address, this.#receivers.length + 1, address + timeAt, 0)
  }

  /** pollfd: | i32 descriptor | i16 events | i16 what there is |; the eventfd first, then one for each socket, then the time. */
  #arrangePoll(): void {
    const count = this.#receivers.length + 1
    this.#poll = new NativeMemory(this.#libc, 8 * count + 16)
    for (let index = 0; index < count; index += 1) {
      this.#poll.u32[2 * index] = index === 0 ? this.#event : (this.#receivers[index - 1]?.socket.fd ?? -1)
      this.#poll.u16[4 * index + 2] = pollIn
    }
  }

  #clearEvent(): void {
    this.#yields = true
    readSync(this.#event, new Uint8Array(8))
  }

  #close(receivers: readonly Receiver[]): void {
    for (const receiver of receivers) {
      const index = this.#receivers.indexOf(receiver)
      if (index >= 0) this.#receivers.splice(index, 1)
      receiver.socket.close()
    }
    this.#arrangePoll()
  }

  #lineParts({ address }: SocketPeer) {
    const onEnd = () => {
      this.#yields = true
    }
    const onGuessed = () => this.#proven.forget(address)
    return { libc: this.#libc, files: this.#files, segments: this.#options.segments, onEnd, onGuessed }
  }
}

/** All DATA headers, one after the other. */
function dataHeaders(libc: Libc): Headers {
  const memory = new NativeMemory(libc, 65_536 * dataHeaderBytes)
  for (let block = 0; block < 65_536; block += 1)
    writeDataHeader(memory.bytes, block * dataHeaderBytes, block)
  return { memory, bytesEach: dataHeaderBytes }
}
