/**
 * How datagrams move, and when. The server knows nothing else of the network or the clock, so that the engine with batched
 * system calls (`engines/batched.ts`) takes the place of node:dgram (`engines/dgram.ts`), and nothing else changes.
 */
import type { TftpFile } from './file.ts'

export type Peer = { readonly address: string; readonly port: number; readonly family: 'IPv4' | 'IPv6' }

export type Timer = { cancel(): void }

/** A file's blocks on the way to one client; `first` and `last` are counted from 1. */
export type Blocks = {
  /** Blocks 1 to this one can be sent, from the last `want` on. */
  readonly loadedBlocks: number
  /** The short block that ends the file, once it is known. Possibly empty: a multiple of the block size needs one. */
  readonly lastBlock: number | undefined
  /** Blocks before `base` are not needed any more. */
  want(base: number): void
  send(first: number, last: number): void
  /** Settles when the file is not used any more. */
  close(): Promise<void>
}

/** One transfer's way to its client: a local port, which is the server's transfer id, and the client's. */
export type Line = {
  /** Sends these in this order. Never throws: UDP may lose them, and the protocol expects that. */
  send(datagrams: readonly Uint8Array[]): void
  /** The file's octets straight out of its pages, where the engine can; otherwise they are read and sent. */
  map(file: TftpFile, blockBytes: number): Blocks | undefined
  /** Nothing is received after it was called. */
  close(): Promise<void>
}

export type LineOptions = {
  /** As it came with the request: an engine may know more about it than the type says. */
  to: Peer
  /** From `to` only. The bytes are valid during the call. */
  onDatagram: (bytes: Uint8Array) => void
  onError: (error: unknown) => void
}

/** One bound UDP port that takes requests. */
export type Port = {
  /** What it is bound to, with the port number that was chosen. */
  readonly local: Peer
  /** One datagram, from the address that was asked. */
  reply(datagram: Uint8Array, to: Peer): void
  /** A fresh transfer id for an answer to `to`. */
  open(options: LineOptions): Promise<Line>
  close(): Promise<void>
}

export type BindOptions = {
  host: string
  /** 0: any free port. */
  port: number
  /** A request; the bytes are valid during the call. */
  onDatagram: (bytes: Uint8Array, from: Peer) => void
  /** A datagram at a transfer's port from somebody else than its client; `reply` answers from that port. */
  onStranger: (bytes: Uint8Array, from: Peer, reply: (datagram: Uint8Array) => void) => void
  /** An error of the socket after it was bound. */
  onError: (error: unknown) => void
}

export type Engine = {
  /** Monotonic milliseconds. */
  now(): number
  /** Calls `act` at that time, or as soon after it as the engine can. */
  wakeAt(atMs: number, act: () => void): Timer
  /** Calls `act` when the datagrams that have arrived by now were delivered. */
  afterTurn(act: () => void): void
  /** @throws listen-failed */
  bind(options: BindOptions): Promise<Port>
}
