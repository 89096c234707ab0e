/**
 * Whom replies are sent to. giaddr and ciaddr are what a packet says (attacker-controlled), and a server that writes to whatever they
 * name does so for anybody, at any host:
 *
 *     giaddr   a relay agent that was named (dhcp.relays); where none is, one inside a pool's network
 *     ciaddr   on a segment of ours or in a pool's network, or where the packet came from
 *     neither  a broadcast, which stays on its segment
 */
import type { networkInterfaces } from 'node:os'
import type { Log } from '../log.ts'
import {
  anyAddress,
  isWithin,
  type Network,
  networkOf,
  parseNetwork,
  requireNumber,
  toNumber,
} from './address.ts'
import type { DhcpPacket } from './packet.ts'
import type { Pool } from './pool.ts'

/** The networks of those addresses, as a machine's interfaces have them; none of an address that it does not have. */
export function segmentsOf(
  addresses: readonly string[],
  interfaces: ReturnType<typeof networkInterfaces>,
): Network[] {
  const all = Object.values(interfaces).flatMap((some) => some ?? [])
  return all.flatMap(({ address, cidr }) => {
    const value = toNumber(address)
    if (value === undefined || !addresses.includes(address)) return []
    const prefix = Number(cidr?.split('/')[1] ?? 32)
    return [{ first: networkOf(value, prefix), prefix }]
  })
}

/** Relays that the log names; what more there are was invented, or is found by these. */
const maxNamed = 16

export type RecipientsOptions = {
  /** Addresses and networks, dotted. */
  relays?: readonly string[] | undefined
  /** Networks of our own addresses. */
  segments?: readonly Network[] | undefined
  pools: readonly Pool[]
  log: Log
}

export class Recipients {
  readonly #relays: readonly Network[]
  readonly #clients: readonly Network[]
  readonly #log: Log
  readonly #named = new Set<string>()

  /** @throws config-invalid, naming the key */
  constructor({ log, pools, relays = [], segments = [] }: RecipientsOptions) {
    const networks = pools.map(({ network }) => network)
    this.#relays = relays.length > 0 ? relays.map(parseRelay) : networks
    this.#clients = [...segments, ...networks]
    this.#log = log
  }

  /** Why no reply goes where this request wants it; undefined where it may. `from`: the address that it came from, where that is known. */
  refusalOf({ ciaddr, giaddr }: Pick<DhcpPacket, 'ciaddr' | 'giaddr'>, from?: string): string | undefined {
    if (giaddr !== anyAddress) {
      if (isIn(this.#relays, giaddr)) return undefined
      this.#name(giaddr)
      return `the relay agent ${giaddr} is not known here: name it in dhcp.relays`
    }
    if (ciaddr === anyAddress || ciaddr === from || isIn(this.#clients, ciaddr)) return undefined
    return `${ciaddr} is on no segment of ours, and not where it came from: nothing is sent there`
  }

  #name(relay: string): void {
    if (this.#named.has(relay) || this.#named.size >= maxNamed) return
    this.#named.add(relay)
    this.#log.warn(
      { relay },
      'a DHCP relay agent that is not known is not answered: if it is yours, name it in dhcp.relays',
    )
  }
}

function isIn(networks: readonly Network[], address: string): boolean {
  const value = toNumber(address) ?? 0
  return networks.some((network) => isWithin(value, network))
}

/** @throws config-invalid */
function parseRelay(text: string): Network {
  return text.includes('/')
    ? parseNetwork(text, 'dhcp.relays')
    : { first: requireNumber(text, 'dhcp.relays'), prefix: 32 }
}
