/** How datagrams move. The server knows nothing else of the network, so a simulator can take its place in tests. */
export type Peer = { address: string; port: number }

export type Port = {
  readonly local: Peer
  /** Never throws: UDP may lose it, and clients ask again. */
  send(datagram: Uint8Array, to: Peer): void
  /** Nothing is received after it was called. */
  close(): Promise<void>
}

export type BindOptions = {
  host: string
  /** 0: any free port. */
  port: number
  onDatagram: (bytes: Uint8Array, from: Peer) => void
  /** An error of the socket after it was bound. */
  onError: (error: unknown) => void
}

export type Engine = {
  /** @throws listen-failed */
  bind(options: BindOptions): Promise<Port>
}
