/**
 * Datagrams through node:dgram, which has neither SO_BINDTODEVICE nor IP_PKTINFO. On Linux two sockets do without:
 *
 *   - one bound to 255.255.255.255 receives what is broadcast, on every interface, and nothing else;
 *   - one bound to an address of ours receives what is sent to it, and a broadcast that it sends leaves by the interface of
 *     that address (net/ipv4/route.c: limited broadcasts go by their source address), with or without a default route.
 */
import { createSocket, type Socket } from 'node:dgram'
import type { BindOptions, Engine, Peer, Port } from '../engine.ts'
import { listenFailed } from './listen-failed.ts'

/** A rack that is switched on sends some hundred packets within a second. */
const receiveBufferBytes = 1 << 20

export const dgramEngine: Engine = {
  bind(options: BindOptions): Promise<Port> {
    const socket = createSocket({
      type: 'udp4',
      // Only addresses come here, never names: answering at once keeps each send out of the resolver and its tick.
      lookup: (address, _options, callback) => callback(null, address, 4),
    })
    return new Promise((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close()
        reject(listenFailed(options, error))
      })
      socket.once('listening', () => {
        socket.removeAllListeners('error')
        socket.on('error', options.onError)
        try {
          socket.setBroadcast(true)
          socket.setRecvBufferSize(receiveBufferBytes)
        } catch {
          // A sandbox may forbid the larger buffer; then a burst loses more, and clients ask again.
        }
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
    const { address, port } = socket.address()
    this.local = { address, port }
  }

  send(datagram: Uint8Array, to: Peer): void {
    // Without a callback node:dgram drops what the kernel refuses, and saves a tick for each packet.
    if (!this.#closed) this.#socket.send(datagram, to.port, to.address)
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#closed = true
    return new Promise((resolve) => this.#socket.close(resolve))
  }
}
