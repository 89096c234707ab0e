/**
 * Which options of a request are granted (RFC 2347). Only what was asked for is answered, never with more than was asked:
 * EDK2 and U-Boot drop the transfer otherwise. What is unknown, or not a number in its range, is left out, which
 * means "not granted", and the client goes on without it.
 */
import type { TftpOptions } from './packet.ts'

export type NegotiationLimits = {
  /** Greatest block that fits one datagram on the path, bytes. */
  maxBlockBytes: number
  maxWindowBlocks: number
  maxWindowBytes: number
}

export type Negotiated = {
  blockBytes: number
  windowBlocks: number
  /** What the client asked us to wait before a retransmission, or undefined. */
  timeoutMs: number | undefined
  /** The OACK's content; empty means that no OACK is sent and DATA 1 answers the request (RFC 2347). */
  granted: Map<string, string>
}

/** A longer wait than this is not promised: a silent client would hold its place for minutes. */
const maxTimeoutSeconds = 10

/** `sizeBytes` is undefined where nobody knows it beforehand: netascii changes it on the way. */
export function negotiate(
  options: TftpOptions,
  sizeBytes: number | undefined,
  limits: NegotiationLimits,
): Negotiated {
  const granted = new Map<string, string>()
  let blockBytes = Math.min(512, limits.maxBlockBytes)
  let windowBlocks = 1
  let timeoutMs: number | undefined
  for (const [name, text] of options) {
    const value = parseNumber(text)
    if (value === undefined) continue
    if (name === 'blksize' && value >= 8) {
      // RFC 2348: 8 to 65464; the server may answer with less.
      blockBytes = Math.min(value, limits.maxBlockBytes)
      granted.set(name, String(blockBytes))
    } else if (name === 'windowsize' && value >= 1) {
      // RFC 7440 §3: 1 to 65535; the server may answer with less.
      windowBlocks = Math.min(value, limits.maxWindowBlocks)
      granted.set(name, text)
    } else if (name === 'tsize' && sizeBytes !== undefined) {
      // RFC 2349: a read request says 0 and gets the size. The value is not looked at: some ROMs send rubbish.
      granted.set(name, String(sizeBytes))
    } else if (name === 'timeout' && value >= 1 && value <= maxTimeoutSeconds) {
      // RFC 2349: granted exactly as asked, or not at all. U-Boot answers anything else with error 8.
      timeoutMs = value * 1000
      granted.set(name, text)
    }
  }
  if (granted.has('windowsize')) {
    windowBlocks = Math.max(1, Math.min(windowBlocks, Math.floor(limits.maxWindowBytes / blockBytes)))
    granted.set('windowsize', String(windowBlocks))
  }
  return { blockBytes, windowBlocks, timeoutMs, granted }
}

function parseNumber(text: string): number | undefined {
  return /^[0-9]{1,10}$/.test(text) ? Number(text) : undefined
}
