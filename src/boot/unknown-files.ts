/**
 * Files that firmware asked for and that are not there, with who asked: a wrong name in somebody's DHCP server is found here.
 * In memory and bounded: names and addresses are attacker-controlled.
 */
import { printable } from './operator-files.ts'

export type UnknownFile = {
  name: string
  count: number
  firstAt: string
  lastAt: string
  over: ('tftp' | 'http')[]
  /** Who asked, the last one first. */
  addresses: string[]
}

export type UnknownFiles = {
  record(asked: { name: string; address: string; over: 'tftp' | 'http' }): void
  /** The last asked for first. */
  list(): UnknownFile[]
}

type Entry = { count: number; first: Date; last: Date; over: Set<'tftp' | 'http'>; addresses: string[] }

export function createUnknownFiles(options: {
  limits: { namesMax: number; namesPerAddressMax: number; addressesMax: number }
  now: () => Date
}): UnknownFiles {
  const { limits, now } = options
  /** In the order in which they were last asked for. */
  const entries = new Map<string, Entry>()

  /** A scanner with a thousand names pushes out its own, not the one name that a machine needs. */
  function makeRoom(address: string): void {
    const own = [...entries].filter(
      ([, entry]) => entry.addresses.length === 1 && entry.addresses[0] === address,
    )
    const oldest = own.length >= limits.namesPerAddressMax ? own[0]?.[0] : undefined
    if (oldest !== undefined) entries.delete(oldest)
    else if (entries.size >= limits.namesMax) entries.delete(entries.keys().next().value ?? '')
  }

  return {
    record({ name, address, over }) {
      const key = printable(name)
      const at = now()
      let entry = entries.get(key)
      if (entry === undefined) {
        makeRoom(address)
        entry = { count: 0, first: at, last: at, over: new Set(), addresses: [] }
      }
      entry.count += 1
      entry.last = at
      entry.over.add(over)
      entry.addresses = [address, ...entry.addresses.filter((known) => known !== address)].slice(
        0,
        limits.addressesMax,
      )
      entries.delete(key)
      entries.set(key, entry)
    },
    list: () =>
      [...entries].reverse().map(([name, entry]) => ({
        name,
        count: entry.count,
        firstAt: entry.first.toISOString(),
        lastAt: entry.last.toISOString(),
        over: [...entry.over],
        addresses: [...entry.addresses],
      })),
  }
}
