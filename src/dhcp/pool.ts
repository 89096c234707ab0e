/** What an operator gives away: a network, a range of it, what else a lease says, and addresses that belong to one machine. */
import { MusterError } from '../errors.ts'
import {
  addressBytes,
  isWithin,
  maskOf,
  type Network,
  parseMac,
  parseNetwork,
  requireNumber,
  toNumber,
  toText,
} from './address.ts'
import { latin1 } from './packet.ts'

export type PoolSettings = {
  /** `192.0.2.100-192.0.2.199`; none: only reservations get an address. */
  range?: string | undefined
  gateway?: string | undefined
  dns: readonly string[]
  ntp: readonly string[]
  domain?: string | undefined
  leaseSeconds: number
}

export type Reservation = { address: number; hostName: string | undefined }

export type Pool = {
  /** `192.0.2.0/24`. */
  name: string
  network: Network
  /** Addresses to give, both ends included; last before first: none. */
  first: number
  last: number
  leaseSeconds: number
  /** By client key: a MAC address. */
  reservations: ReadonlyMap<string, Reservation>
  /** What every lease of it says. */
  says: NetworkFacts
}

/** Of the network that a lease is in: values of options as they go out, the same in each reply. Undefined: there is nothing to say. */
export type NetworkFacts = {
  leaseTime: Uint8Array
  renewalTime: Uint8Array
  rebindingTime: Uint8Array
  subnetMask: Uint8Array
  broadcast: Uint8Array
  router: Uint8Array | undefined
  dns: Uint8Array | undefined
  ntp: Uint8Array | undefined
  domain: Uint8Array | undefined
}

/** Ranges are kept in memory address by address. */
export const maxRangeAddresses = 1 << 20

/**
 * @param pools by network.
 * @param reservations by MAC address, in any notation.
 * @throws config-invalid, naming the key
 */
export function createPools(
  pools: Readonly<Record<string, PoolSettings>>,
  reservations: Readonly<Record<string, { address: string; hostName?: string | undefined }>>,
): Pool[] {
  const taken = new Map<number, string>()
  const made = Object.entries(pools).map(([name, settings]) => createPool(name, settings))
  for (const [index, one] of made.entries())
    for (const other of made.slice(index + 1))
      if (isWithin(one.network.first, other.network) || isWithin(other.network.first, one.network))
        throw invalid(`dhcp.pools: ${one.name} and ${other.name} overlap`)
  const byPool = made.map(() => new Map<string, Reservation>())
  for (const [text, { address, hostName }] of Object.entries(reservations)) {
    const mac = parseMac(text)
    if (mac === undefined)
      throw invalid(
        `dhcp.reservations: '${text.slice(0, 40)}' is no MAC address of a machine, as in 52:54:00:12:34:56`,
      )
    const value = requireNumber(address, `dhcp.reservations.${mac}.address`)
    const index = made.findIndex(({ network }) => isWithin(value, network))
    if (index < 0) throw invalid(`dhcp.reservations.${mac}: ${address} is in no network of dhcp.pools`)
    const other = taken.get(value)
    if (other !== undefined)
      throw invalid(`dhcp.reservations: ${address} is reserved for ${other} and ${mac}`)
    taken.set(value, mac)
    byPool[index]!.set(mac, { address: value, hostName })
  }
  return made.map((pool, index) => ({ ...pool, reservations: byPool[index]! }))
}

function createPool(name: string, settings: PoolSettings): Omit<Pool, 'reservations'> {
  const key = `dhcp.pools.${name}`
  const network = parseNetwork(name, 'dhcp.pools')
  const inside = (text: string, what: string) => {
    const value = requireNumber(text, `${key}.${what}`)
    const broadcast = network.first + 2 ** (32 - network.prefix) - 1
    if (!isWithin(value, network) || value === network.first || value === broadcast)
      throw invalid(`${key}.${what}: ${text} is no address for a machine in ${name}`)
    return value
  }
  const { range, gateway } = settings
  let first = 1
  let last = 0
  if (range !== undefined) {
    const [from = '', to = '', ...rest] = range.split('-').map((part) => part.trim())
    if (rest.length > 0) throw invalid(`${key}.range: '${range}' is not first-last`)
    first = inside(from, 'range')
    last = inside(to, 'range')
    if (last < first) throw invalid(`${key}.range: ${from} comes after ${to}`)
    if (last - first >= maxRangeAddresses)
      throw invalid(
        `${key}.range: it has ${last - first + 1} addresses, at most ${maxRangeAddresses} are kept`,
      )
  }
  if (gateway !== undefined) {
    const router = inside(gateway, 'gateway')
    if (router >= first && router <= last)
      throw invalid(`${key}.gateway: ${gateway} lies in the range, so it would be given to a machine`)
  }
  for (const [what, list] of Object.entries({ dns: settings.dns, ntp: settings.ntp }))
    for (const address of list) requireNumber(address, `${key}.${what}`)
  return {
    name,
    network,
    first,
    last,
    leaseSeconds: settings.leaseSeconds,
    says: factsOf(network, settings),
  }
}

export function isInPool(pool: Pool, address: string): boolean {
  const value = toNumber(address)
  return value !== undefined && isWithin(value, pool.network)
}

/** The host name that was reserved for this MAC address. */
export function reservedName({ reservations }: Pool, mac: string | undefined): string | undefined {
  return mac === undefined ? undefined : reservations.get(mac)?.hostName
}

function factsOf({ first, prefix }: Network, settings: PoolSettings): NetworkFacts {
  const { dns, domain, gateway, leaseSeconds, ntp } = settings
  const orNothing = (addresses: readonly string[]) =>
    addresses.length === 0 ? undefined : addressBytes(...addresses)
  return {
    ...leaseTimes(leaseSeconds),
    subnetMask: addressBytes(toText(maskOf(prefix))),
    broadcast: addressBytes(toText(first + 2 ** (32 - prefix) - 1)),
    router: gateway === undefined ? undefined : addressBytes(gateway),
    dns: orNothing(dns),
    ntp: orNothing(ntp),
    domain: domain === undefined ? undefined : latin1(domain),
  }
}

/** How long a lease is, and when it is renewed. */
export function leaseTimes(
  leaseSeconds: number,
): Pick<NetworkFacts, 'leaseTime' | 'renewalTime' | 'rebindingTime'> {
  return {
    leaseTime: seconds(leaseSeconds),
    // RFC 2131 §4.4.5: T1 and T2 where the client does not choose them itself.
    renewalTime: seconds(Math.floor(leaseSeconds / 2)),
    rebindingTime: seconds(Math.floor((leaseSeconds * 7) / 8)),
  }
}

function seconds(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
}

function invalid(sentence: string): MusterError {
  return new MusterError('config-invalid', sentence)
}
