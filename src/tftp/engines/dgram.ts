/** Datagrams through node:dgram: one system call each, on every system that Node runs on. */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { MusterError } from '../../errors.ts'
import type { BindOptions, Engine, Peer, Port } from '../engine.ts'

/** Room for requests that come while the process is busy; the kernel gives less where net.core.rmem_max is less. */
const receiveBufferBytes = 1 << 20

export const dgramEngine: Engine = {
  bind(options: BindOptions): Promise<Port> {
    const family = isIPv6(options.host) ? 'IPv6' : 'IPv4'
    const socket = createSocket({
      type: family === 'IPv6' ? 'udp6' : 'udp4',
      // Only addresses come here, never names: answering at once keeps each send out of the resolver and its tick.
      lookup: (address, _options, callback) => callback(null, address, family === 'IPv6' ? 6 : 4),
    })
    return new Promise((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close()
        reject(listenFailed(options, error))
      })
      socket.once('listening', () => {
        socket.removeAllListeners('error')
        socket.on('error', options.onError)
        if (options.port !== 0) growReceiveBuffer(socket)
        resolve(new DgramPort(socket))
      })
      socket.on('message', (bytes, from) => options.onDatagram(bytes, from))
      socket.bind({ address: options.host, port: options.port, exclusive: true })
    })
  },
}

class DgramPort implements Port {
  readonly local: Peer
  readonly #socket: Socket
  #closed = false

  constructor(socket: Socket) {
    this.#socket = socket
    const { address, port, family } = socket.address()
    this.local = { address, port, family: family === 'IPv6' ? 'IPv6' : 'IPv4' }
  }

  send(datagrams: readonly Uint8Array[], to: Peer): void {
    if (this.#closed) return
    // Without a callback node:dgram drops what the kernel refuses, and saves a tick for each packet.
    for (const datagram of datagrams) this.#socket.send(datagram, to.port, to.address)
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#closed = true
    return new Promise((resolve) => this.#socket.close(resolve))
  }
}

function growReceiveBuffer(socket: Socket): void {
  try {
    socket.setRecvBufferSize(receiveBufferBytes)
  } catch {
    // A sandbox may forbid it; the default buffer only loses requests sooner, and clients ask again.
  }
}

function listenFailed(options: BindOptions, error: NodeJS.ErrnoException): MusterError {
  const where = isIPv6(options.host) ? `[${options.host}]:${options.port}` : `${options.host}:${options.port}`
  const reason =
    error.code === 'EADDRINUSE'
      ? 'another program uses it; stop that program or choose another port'
      : error.code === 'EACCES'
        ? 'this user may not open ports below 1024; choose 6969, or give the right (docs/ports.md)'
        : error.code === 'EADDRNOTAVAIL'
          ? 'this machine has no such address; choose one of its own'
          : error.message
  return new MusterError('listen-failed', `UDP ${where} cannot be opened: ${reason}`, {
    cause: error,
    details: { host: options.host, port: options.port, reason: error.code },
  })
}
