/**
 * Whose firmware is behind an address. TFTP says only where a question came from; DHCP and the first script say which MAC address
 * has it. What came before that is held for a while, and handed over once it is known whose it was. All of it is claimed: anybody may
 * say any MAC address from his own.
 */
export type FirmwareAddresses<Note> = {
  /** Undefined: not known, or not any more. */
  macOf(address: string): string | undefined
  /** @returns what was held of this address, in order. */
  learn(address: string, mac: string): Note[]
  hold(address: string, note: Note): void
}

export function createFirmwareAddresses<Note>(options: {
  /** Addresses remembered, and notes held of each. */
  addressesMax: number
  notesMax: number
  /** How long an address stays whose it is, in ms: a lease may go to another machine later. */
  withinMs: number
  now: () => Date
}): FirmwareAddresses<Note> {
  const { addressesMax, notesMax, now, withinMs } = options
  type Known = { mac?: string; held: Note[]; atMs: number }
  /** In the order of the last word, so that the first is the one to forget. */
  const known = new Map<string, Known>()

  function fresh(address: string): Known | undefined {
    const entry = known.get(address)
    return entry === undefined || entry.atMs < now().getTime() - withinMs ? undefined : entry
  }

  function keep(address: string, entry: Omit<Known, 'atMs'>): void {
    known.delete(address)
    known.set(address, { ...entry, atMs: now().getTime() })
    if (known.size > addressesMax) known.delete(known.keys().next().value as string)
  }

  return {
    macOf: (address) => fresh(address)?.mac,
    learn(address, mac) {
      const held = fresh(address)?.held ?? []
      keep(address, { mac, held: [] })
      return held
    },
    hold(address, note) {
      keep(address, { held: [...(fresh(address)?.held ?? []), note].slice(-notesMax) })
    },
  }
}
