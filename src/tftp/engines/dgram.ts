/** Datagrams through node:dgram: one system call each, on every system that Node runs on. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { BindOptions, Engine, Line, LineOptions, Peer, Port } from '../engine.ts'
import { listenFailed } from './listen-failed.ts'

/** Room for requests that come while the process is busy; the kernel gives less where net.core.rmem_max is less. */
const receiveBufferBytes = 1 << 20

export const dgramEngine: Engine = {
  now: () => performance.now(),
  wakeAt(atMs, act) {
    const timer = setTimeout(act, Math.max(1, Math.ceil(atMs - performance.now())))
    return { cancel: () => clearTimeout(timer) }
  },
  afterTurn(act) {
    setImmediate(act)
  },
  async bind(options: BindOptions): Promise<Port> {
    const socket = await bound(options.host, options.port, options.onError)
    growReceiveBuffer(socket)
    socket.on('message', (bytes, from) => options.onDatagram(bytes, peerOf(from)))
    return new DgramPort(socket, options)
  },
}

class DgramPort implements Port {
  readonly local: Peer
  readonly #socket: Socket
  readonly #options: BindOptions
  #closed = false

  constructor(socket: Socket, options: BindOptions) {
    this.#socket = socket
    this.#options = options
    this.local = peerOf(socket.address())
  }

  reply(datagram: Uint8Array, to: Peer): void {
    if (!this.#closed) this.#socket.send(datagram, to.port, to.address)
  }

  async open(options: LineOptions): Promise<Line> {
    return new DgramLine(await bound(this.local.address, 0, options.onError), options, this.#options)
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#closed = true
    return new Promise((resolve) => this.#socket.close(resolve))
  }
}

/** A socket of its own for each transfer; not connected, so that a stranger's packet can be answered. */
class DgramLine implements Line {
  readonly #socket: Socket
  readonly #to: Peer
  #closed = false

  constructor(socket: Socket, options: LineOptions, { onStranger }: BindOptions) {
    this.#socket = socket
    this.#to = options.to
    socket.on('message', (bytes, from) => {
      if (from.port === options.to.port && from.address === options.to.address) options.onDatagram(bytes)
      else onStranger(bytes, peerOf(from), (datagram) => socket.send(datagram, from.port, from.address))
    })
  }

  send(datagrams: readonly Uint8Array[]): void {
    if (this.#closed) return
    const { port, address } = this.#to
    // Without a callback node:dgram drops what the kernel refuses, and saves a tick for each packet.
    for (const datagram of datagrams) this.#socket.send(datagram, port, address)
  }

  map(): undefined {}

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#closed = true
    return new Promise((resolve) => this.#socket.close(resolve))
  }
}

/** @throws listen-failed */
function bound(host: string, port: number, onError: (error: unknown) => void): Promise<Socket> {
  const family = isIPv6(host) ? 6 : 4
  const socket = createSocket({
    type: family === 6 ? 'udp6' : 'udp4',
    // Only addresses come here, never names: answering at once keeps each send out of the resolver and its tick.
    lookup: (address, _options, callback) => callback(null, address, family),
  })
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      socket.close()
      reject(listenFailed({ host, port }, error))
    })
    socket.once('listening', () => {
      socket.removeAllListeners('error')
      socket.on('error', onError)
      resolve(socket)
    })
    socket.bind({ address: host, port, exclusive: true })
  })
}

function peerOf({ address, port, family }: Pick<RemoteInfo, 'address' | 'port'> & { family: string }): Peer {
  return { address, port, family: family === 'IPv6' ? 'IPv6' : 'IPv4' }
}

function growReceiveBuffer(socket: Socket): void {
  try {
    socket.setRecvBufferSize(receiveBufferBytes)
  } catch {
    // A sandbox may forbid it; the default buffer only loses requests sooner, and clients ask again.
  }
}
