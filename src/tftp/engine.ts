/**
 * How datagrams move. The server knows nothing else of the network, so that an engine which hands over many datagrams
 * with one system call can take the place of `engines/dgram.ts`, and a simulator in tests.
 */
export type Peer = { address: string; port: number; family: 'IPv4' | 'IPv6' }

/** One bound UDP port. */
export type Port = {
  /** What it is bound to, with the port number that was chosen. */
  readonly local: Peer
  /** Sends these datagrams in this order. Never throws: UDP may lose them, and the protocol expects that. */
  send(datagrams: readonly Uint8Array[], to: Peer): void
  /** Nothing is received after it was called. */
  close(): Promise<void>
}

export type BindOptions = {
  host: string
  /** 0: any free port. */
  port: number
  /** The bytes are the receiver's to keep. */
  onDatagram: (bytes: Uint8Array, from: Peer) => void
  /** An error of the socket after it was bound. */
  onError: (error: unknown) => void
}

export type Engine = {
  /** @throws listen-failed */
  bind(options: BindOptions): Promise<Port>
}
