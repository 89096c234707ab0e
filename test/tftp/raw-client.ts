/** A TFTP client made of single packets, for what no real client does on purpose. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { encodePacket, type Packet, parsePacket } from '../../src/tftp/packet.ts'

export type Received = { packet: Packet; port: number }

export class RawClient implements AsyncDisposable {
  readonly address: string
  readonly to: string
  readonly #socket: Socket
  #arrived: Received[] = []
  /** Addresses that answered. */
  readonly heardFrom = new Set<string>()
  #waiting: (() => void) | undefined

  private constructor(socket: Socket, to: string) {
    this.#socket = socket
    this.address = socket.address().address
    this.to = to
    socket.on('message', (bytes, from) => {
      this.heardFrom.add(from.address)
      this.#arrived.push({ packet: parsePacket(Uint8Array.from(bytes)), port: from.port })
      this.#waiting?.()
    })
  }

  /** Asks from one loopback address, at another. */
  static async open(from = '127.0.0.1', to = from): Promise<RawClient> {
    const socket = createSocket(from.includes(':') ? 'udp6' : 'udp4')
    socket.bind(0, from)
    await once(socket, 'listening')
    return new RawClient(socket, to)
  }

  send(packet: Packet | Uint8Array, port: number): void {
    this.#socket.send(packet instanceof Uint8Array ? packet : encodePacket(packet), port, this.to)
  }

  read(filename: string, port: number, options: Record<string, string> = {}, mode = 'octet'): void {
    this.send({ op: 'read', filename, mode, options: new Map(Object.entries(options)) }, port)
  }

  /** The next packet, or undefined when none comes within `withinMs`. */
  async next(withinMs = 2000): Promise<Received | undefined> {
    if (this.#arrived.length === 0) {
      const timer = Promise.withResolvers<void>()
      const timeout = setTimeout(timer.resolve, withinMs)
      this.#waiting = timer.resolve
      await timer.promise
      clearTimeout(timeout)
      this.#waiting = undefined
    }
    return this.#arrived.shift()
  }

  /** The whole file, by the book; throws what the server answers instead of it. */
  async fetch(
    filename: string,
    port: number,
    options: Record<string, string> = {},
    mode?: string,
  ): Promise<Buffer> {
    this.read(filename, port, options, mode)
    const parts: Uint8Array[] = []
    let blockBytes = 512
    // DATA of an earlier transfer may still be on its way: where an OACK is due, nothing before it counts.
    let transfer: number | undefined
    for (;;) {
      const received = await this.next()
      if (received === undefined) throw new Error('the server fell silent')
      const { packet } = received
      if (packet.op === 'error') throw new Error(`error ${packet.code}: ${packet.message}`)
      if (packet.op === 'oack') {
        blockBytes = Number(packet.options.get('blksize') ?? 512)
        transfer = received.port
        this.send({ op: 'ack', block: 0 }, received.port)
      }
      if (Object.keys(options).length > 0 && received.port !== transfer) continue
      if (packet.op !== 'data' || packet.block !== ((parts.length + 1) & 0xffff)) continue
      parts.push(packet.data)
      this.send({ op: 'ack', block: packet.block }, received.port)
      if (packet.data.byteLength < blockBytes) return Buffer.concat(parts)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#socket, 'close')
    this.#socket.close()
    await closed
  }
}
