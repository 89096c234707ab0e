/** An Ethernet segment in memory: broadcasts reach every host, its sender included, as on Linux. */
import type { Engine, Peer, Port } from '../../src/dhcp/engine.ts'
import { MusterError } from '../../src/errors.ts'

type Bound = { host: string; port: number; hear(bytes: Uint8Array, from: Peer): void }

export class Segment {
  /** Every datagram that was sent, in order. */
  readonly sent: { bytes: Uint8Array; from: Peer; to: Peer }[] = []
  readonly #bound = new Set<Bound & { owner: string }>()

  /** `refused`: ports that this host's own DHCP client has. */
  engine(owner: string, refused: readonly number[] = []): Engine {
    return {
      bind: async ({ host, port, onDatagram }) => {
        if (refused.includes(port))
          throw new MusterError('listen-failed', `UDP ${host}:${port} cannot be opened`)
        const entry = { owner, host, port, hear: onDatagram }
        this.#bound.add(entry)
        const bound: Port = {
          local: { address: host, port },
          send: (bytes, to) => this.send(bytes, { address: host, port }, to),
          close: async () => void this.#bound.delete(entry),
        }
        return bound
      },
    }
  }

  send(bytes: Uint8Array, from: Peer, to: Peer): void {
    this.sent.push({ bytes, from, to })
    for (const { hear, host, port } of this.#bound)
      if (host === to.address && port === to.port) queueMicrotask(() => hear(bytes, from))
  }

  get openPorts(): number {
    return this.#bound.size
  }
}
