import type { LogLimits } from '../datagram/bounded-log.ts'

/** Everything that bounds the DHCP server, with unit and default. */
export type DhcpLimits = LogLimits & {
  /** Longest packet that is read. What fits an Ethernet frame has 1472 bytes. */
  maxPacketBytes: number
  /** Packets of one hardware address a second, lasting, and at once. A ROM sends four in ten seconds. */
  maxPacketsPerSecondPerClient: number
  maxPacketBurstPerClient: number
  /** Packets a second in all; hardware addresses are easily invented. */
  maxPacketsPerSecond: number
  /** Hardware addresses whose rate and firmware are remembered. */
  maxRememberedClients: number
  /** Answers under way at once: addresses being looked for, leases being written. */
  maxPending: number
  /** Addresses that are looked for before they are offered, at once and in a second; the neighbour table has room for 1024. */
  maxConflictChecks: number
  maxConflictChecksPerSecond: number
  /** The first lease of a client that nobody knows; at its renewal it gets what the pool says. */
  firstLeaseMs: number
  /** How long an offered address is kept for who was offered it. */
  offerHoldMs: number
  /**
   * How long it is kept in any case: then, where nothing else is free, the oldest offer gives way. EDK2 collects offers for 4 s after its
   * first DISCOVER and for 8 s after its second before it takes one.
   */
  offerYieldsAfterMs: number
  /** Offers open at once in one pool; the oldest gives way. */
  maxOffers: number
  /** How long an address that was found in use is not given. */
  quarantineMs: number
}

export const defaultDhcpLimits: DhcpLimits = {
  maxPacketBytes: 1500,
  maxPacketsPerSecondPerClient: 5,
  maxPacketBurstPerClient: 20,
  maxPacketsPerSecond: 5000,
  maxRememberedClients: 8192,
  maxPending: 1024,
  maxConflictChecks: 64,
  maxConflictChecksPerSecond: 100,
  firstLeaseMs: 300_000,
  offerHoldMs: 60_000,
  offerYieldsAfterMs: 10_000,
  maxOffers: 4096,
  quarantineMs: 600_000,
  maxLogLinesPerSecond: 20,
  maxLogLineBurst: 100,
}

/** Addresses that are tried for one DISCOVER before it goes without an answer, and the client asks again. */
export const maxTriesPerOffer = 3
