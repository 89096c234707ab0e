import type { LogLimits } from '../datagram/bounded-log.ts'

/** Everything that bounds the TFTP server, with unit and default. */
export type TftpLimits = LogLimits & {
  /** Greatest IP packet on the way to clients, bytes: bounds blksize. A fragment lost is a block lost, and ROMs often take none. */
  mtuBytes: number
  /** Greatest windowsize granted, blocks. Beyond 16 small receive buffers overflow and nothing gets faster. */
  maxWindowBlocks: number
  /** Greatest window granted, bytes: one has to fit the client's receive buffer, or each loses its end. */
  maxWindowBytes: number
  maxFilenameBytes: number
  /** Transfers at a time, each with a socket, a file and up to three strips in memory. */
  maxTransfers: number
  /** Transfers at a time for one address. */
  maxTransfersPerClient: number
  /** Requests a second for one address, lasting, and at once. GRUB and pxelinux try dozens of names in a row. */
  maxRequestsPerSecondPerClient: number
  maxRequestBurstPerClient: number
  /** Addresses whose request rate is remembered. */
  maxRememberedClients: number
  /** File read at a time for one transfer, bytes. */
  stripBytes: number
  /** Wait for the first answer of a client, and least and greatest wait for any; in between it is measured. */
  firstRetransmitMs: number
  minRetransmitMs: number
  maxRetransmitMs: number
  /** A client that gets no further for this long is given up; so is an `open` that does not answer. */
  giveUpAfterMs: number
}

export const defaultTftpLimits: TftpLimits = {
  mtuBytes: 1500,
  maxWindowBlocks: 16,
  maxWindowBytes: 64 * 1024,
  maxFilenameBytes: 255,
  maxTransfers: 1024,
  maxTransfersPerClient: 16,
  maxRequestsPerSecondPerClient: 100,
  maxRequestBurstPerClient: 200,
  maxRememberedClients: 4096,
  stripBytes: 64 * 1024,
  firstRetransmitMs: 1000,
  minRetransmitMs: 20,
  maxRetransmitMs: 5000,
  giveUpAfterMs: 20_000,
  maxLogLinesPerSecond: 20,
  maxLogLineBurst: 100,
}
