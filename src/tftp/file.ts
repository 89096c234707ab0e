/** What the TFTP server is given to send; where it comes from is not the protocol's business. */
export type TftpFile = {
  /** Bytes. Announced as tsize, and exactly this many are sent. */
  readonly size: number
  /** Where the file is one: open until `close`, with the same bytes at the same offsets. An engine may read there itself. */
  readonly descriptor?: number | undefined
  /**
   * 1 to `length` bytes from `offset` on; nothing only at the end. They must not change afterwards.
   * At most one call is under way at a time.
   */
  read(offset: number, length: number): Promise<Uint8Array>
  /** Called once, after the last read has settled. */
  close(): Promise<void>
}

export type TftpRequest = {
  /** Attacker-controlled, but in one form: see `normaliseFilename`. */
  filename: string
  /** An IPv4 address is written as one, however the socket reports it. */
  client: { address: string; port: number }
  mode: 'octet' | 'netascii'
}

/**
 * Decides what a name means for this client.
 * @throws MusterError; `file-not-found` and `access-denied` have answers of their own, anything else is "server error"
 */
export type OpenFile = (request: TftpRequest) => Promise<TftpFile>
