/** Packets and servers for the tests of this room. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createDhcpBoot } from '../../src/boot/dhcp.ts'
import { addressBytes } from '../../src/dhcp/address.ts'
import type { LeaseStore, StoredLease } from '../../src/dhcp/leases.ts'
import type { Decision, ResponderOptions } from '../../src/dhcp/lessor.ts'
import { defaultDhcpLimits } from '../../src/dhcp/limits.ts'
import { messageName, options, optionText } from '../../src/dhcp/options.ts'
import { type DhcpPacket, encodePacket, latin1, parsePacket } from '../../src/dhcp/packet.ts'
import { createPools, type PoolSettings } from '../../src/dhcp/pool.ts'
import { replyLimit } from '../../src/dhcp/reply.ts'
import { type Arrival, type DhcpMode, Responder } from '../../src/dhcp/responder.ts'
import { silentLog } from '../../src/log.ts'

const folder = join(import.meta.dirname, '../vectors/dhcp')

export const vectorNames = readdirSync(folder).filter((name) => name.endsWith('.bin'))
export const vectorBytes = (name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, name)))
export const vector = (name: string): DhcpPacket => parsePacket(vectorBytes(`${name}.bin`))

export const server = '10.9.0.1'

/** A request as somebody might send it. Values: text, a list of bytes, or an address. */
export function request(
  type: number | undefined,
  values: Readonly<Record<number, string | number[]>> = {},
  head: Partial<DhcpPacket> = {},
): DhcpPacket {
  const found = new Map<number, Uint8Array>()
  if (type !== undefined) found.set(options.messageType, Uint8Array.of(type))
  for (const [code, value] of Object.entries(values))
    found.set(
      Number(code),
      typeof value !== 'string'
        ? Uint8Array.from(value)
        : /^\d+(\.\d+){3}$/.test(value)
          ? addressBytes(value)
          : latin1(value),
    )
  const none = '0.0.0.0'
  return {
    ...{ op: 'request', htype: 1, hops: 0, xid: 0x1234, secs: 0, flags: 0 },
    ...{ ciaddr: none, yiaddr: none, siaddr: none, giaddr: none, sname: '', file: '' },
    chaddr: Uint8Array.of(0x52, 0x54, 0, 1, 2, 3),
    options: found,
    ...head,
  }
}

export const discover = (values: Parameters<typeof request>[1] = {}, head: Partial<DhcpPacket> = {}) =>
  request(1, values, head)

export const macOf = (last: number) => Uint8Array.of(0x52, 0x54, 0, 0, last >> 8, last & 255)

export type Site = {
  responder: Responder
  /** What was made durable, by address. */
  stored: Map<string, StoredLease>
  /** Addresses that somebody else has. */
  strangers: Set<string>
  /** Moves the clock. */
  pass(ms: number): void
  ask(packet: DhcpPacket, how?: Partial<Arrival> & { mode?: DhcpMode }): Promise<Decision>
}

export const poolOf = (settings: Partial<PoolSettings> = {}): Record<string, PoolSettings> => ({
  '10.9.0.0/24': {
    ...{
      range: '10.9.0.50-10.9.0.99',
      gateway: '10.9.0.254',
      dns: ['10.9.0.53'],
      ntp: [],
      leaseSeconds: 600,
    },
    ...settings,
  },
})

export type SiteOptions = Partial<Omit<ResponderOptions, 'pools'>> & {
  pools?: Record<string, PoolSettings>
  reservations?: Record<string, { address: string; hostName?: string }>
  stored?: Map<string, StoredLease>
  tftpPort?: number
  advertise?: string
}

/** A responder in mode `server` (each question may name another), with a clock, a store and neighbours of our own. */
export function site(given: SiteOptions = {}): Site {
  const { advertise, pools = poolOf(), reservations = {}, stored = new Map(), tftpPort = 69, ...rest } = given
  let nowMs = Date.parse('2026-06-01T08:00:00Z')
  const strangers = new Set<string>()
  const store: LeaseStore = {
    load: async () => [...stored.values()],
    put: async (lease) => void stored.set(lease.address, lease),
  }
  const responder = new Responder({
    pools: createPools(pools, reservations),
    boot: createDhcpBoot({ advertise, ports: () => ({ firmware: 8080, tftp: tftpPort }) }),
    store,
    inUse: async (address) => strangers.has(address),
    limits: defaultDhcpLimits,
    log: silentLog,
    now: () => nowMs,
    ...rest,
  })
  return {
    responder,
    stored,
    strangers,
    pass(ms) {
      nowMs += ms
    },
    ask: (packet, { mode = 'server', ...arrival } = {}) =>
      responder.decide(packet, mode, { port: 'dhcp', cameBy: 'broadcast', server, ...arrival }),
  }
}

/** A decision's reply as it reads on the wire: header fields that matter, and options by code in their order. */
export function shown(decision: Decision, asked: DhcpPacket): Record<string, unknown> {
  const { reply } = decision
  if (reply === undefined) return { silent: decision.because.at(-1) }
  const packet = parsePacket(encodePacket(reply, replyLimit(asked)))
  return {
    type: messageName(packet.options.get(options.messageType)?.[0]),
    yiaddr: packet.yiaddr,
    siaddr: packet.siaddr,
    file: packet.file,
    options: [...packet.options]
      .filter(([code]) => code !== options.messageType)
      .map(([code, value]) => `${code} ${optionText(code, value)}`),
  }
}
