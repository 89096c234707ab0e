/**
 * The leases of one pool, in memory; what has to outlive a restart goes through a `LeaseStore`.
 *
 *              propose                grant                   expires, release
 *     (free) ───────────▶ offered ───────────▶ bound ───────────────────────▶ ended (kept for its client)
 *       ▲                   │ hold is over        │ decline, found in use          │ another client needs it
 *       └───────────────────┴──────── quarantined ◀┘ ◀─────────────────────────────┘
 *
 * A client is its hardware address, not option 61: a machine that boots says another identifier as ROM, as iPXE and as operating
 * system, and would get three addresses (docs/decisions/0011-dhcp.md). Queues are in the order in which their leases end, because
 * each has one duration; so nothing here looks through a whole range. What is in a queue may be given to anybody when its time is
 * over: leases of reserved addresses, and of those that a smaller range left out, are in none.
 *
 * One REQUEST without anything before it takes an address, and costs whoever invents its client nothing. So the first lease of a client
 * that nobody knows is a short one, and bound leases are in two queues. It has proved to be there when it asks again after a while.
 */
import { toText } from './address.ts'
import { leaseTimes, type NetworkFacts, type Pool } from './pool.ts'

export type LeaseState = 'offered' | 'bound' | 'quarantined'

export type Lease = {
  address: number
  /** A MAC address, or `id:` and option 61 in hexadecimal; empty for an address that is in use by a stranger. */
  client: string
  state: LeaseState
  /** Milliseconds since 1970. */
  endsAtMs: number
  /** Its client is known, or kept a lease for a while: it gets whole ones. */
  proved: boolean
}

/** What is kept over restarts. Offers are not: a client whose offer was forgotten asks again. */
export type StoredLease = { address: string; client: string; state: 'bound' | 'quarantined'; endsAt: number }

export type LeaseStore = {
  load(): Promise<StoredLease[]>
  /** Resolves when it is durable: no ACK leaves before (RFC 2131 §3.1.4). */
  put(lease: StoredLease): Promise<void>
}

export type LeaseTimes = {
  /** Of a client that has not proved to be there; a pool's lease where that is shorter. */
  firstLeaseMs: number
  offerHoldMs: number
  /** From this age on an offer gives way where nothing else is free. */
  offerYieldsAfterMs: number
  quarantineMs: number
  offersMax: number
}

export type Proposal = { lease: Lease; fresh: boolean } | { refused: string }
export type Granted = { lease: Lease } | { refused: string }

/** When nothing is free, all leases are looked through for ended ones out of order, at most this often. */
const scanEveryMs = 1000

/** Clients do not renew at half of their lease to the second (RFC 2131 §4.4.5 wants some fuzz): up to this part of it may be left. */
const renewsWithLeft = 0.75

export class PoolLeases {
  readonly pool: Pool
  readonly firstLeaseMs: number
  readonly #saysFirst: NetworkFacts
  readonly #times: LeaseTimes
  readonly #byAddress = new Map<number, Lease>()
  readonly #byClient = new Map<string, Lease>()
  readonly #reserved: ReadonlyMap<number, string>
  readonly #queues: Record<LeaseState | 'first', Map<number, Lease>> = {
    offered: new Map(),
    first: new Map(),
    bound: new Map(),
    quarantined: new Map(),
  }
  /** Addresses from `#nextUnused` on were never given; those before it that are nobody's any more are in `#freed`. */
  #nextUnused: number
  readonly #freed = new Set<number>()
  #scanAgainMs = 0

  constructor(pool: Pool, times: LeaseTimes) {
    this.pool = pool
    this.#times = times
    this.firstLeaseMs = Math.min(times.firstLeaseMs, pool.leaseSeconds * 1000)
    this.#saysFirst = { ...pool.says, ...leaseTimes(this.firstLeaseMs / 1000) }
    this.#nextUnused = pool.first
    this.#reserved = new Map([...pool.reservations].map(([client, { address }]) => [address, client]))
  }

  /**
   * Leases of another time: those that still fit the pool, the ones that end first in front. One that lasts longer than a first lease can
   * is none; who has another one proves itself again when it renews.
   */
  restore(stored: readonly Omit<Lease, 'proved'>[], nowMs: number): void {
    for (const lease of stored.toSorted((a, b) => a.endsAtMs - b.endsAtMs))
      this.#set({ ...lease, proved: lease.endsAtMs - nowMs > this.firstLeaseMs })
  }

  /** What a lease says of its network and its time. */
  saysTo(proved: boolean): NetworkFacts {
    return proved ? this.pool.says : this.#saysFirst
  }

  /**
   * An address to offer to this client. `fresh`: nobody is known to have had it lately, so look whether it is in use. Where that
   * cannot be done now (`mayLook`), nothing is offered, and the address is as it was.
   */
  propose(client: string, wanted: number | undefined, nowMs: number, mayLook = () => true): Proposal {
    const address = this.#choose(client, wanted, nowMs)
    if (typeof address === 'string') return { refused: address }
    const before = this.#byAddress.get(address)
    // A lease that is still good is offered again without making it shorter.
    if (before?.client === client && before.state === 'bound' && before.endsAtMs > nowMs)
      return { lease: before, fresh: false }
    const fresh = before?.client !== client || (before.state === 'bound' && before.endsAtMs <= nowMs)
    if (fresh && !mayLook())
      return { refused: 'as many addresses are being looked for as there may be; it asks again' }
    const lease: Lease = {
      ...{ address, client, state: 'offered', endsAtMs: nowMs + this.#times.offerHoldMs },
      proved: this.#hasProved(client, nowMs),
    }
    this.#set(lease)
    return { lease, fresh }
  }

  /**
   * The client takes the address, or keeps it. It may be one that was never offered: we may have been restarted between.
   * @param isKnown somebody knows this client: its lease is a whole one from the beginning.
   */
  grant(client: string, address: number, nowMs: number, isKnown: boolean): Granted {
    const refused = this.refusalOf(client, address, nowMs)
    if (refused !== undefined) return { refused }
    const proved = isKnown || this.#hasProved(client, nowMs)
    const leaseMs = proved ? this.pool.leaseSeconds * 1000 : this.firstLeaseMs
    const lease: Lease = { address, client, state: 'bound', endsAtMs: nowMs + leaseMs, proved }
    this.#set(lease)
    return { lease }
  }

  /** Why this client cannot have this address; undefined where it can. */
  refusalOf(client: string, address: number, nowMs: number): string | undefined {
    const before = this.#byAddress.get(address)
    const reservedFor = this.#reserved.get(address)
    const text = toText(address)
    if (reservedFor !== undefined && reservedFor !== client) return `${text} is reserved for another machine`
    if (reservedFor === undefined && this.pool.reservations.has(client))
      return `this machine has an address of its own, not ${text}`
    const yields = reservedFor === client && before?.state === 'offered'
    if (before !== undefined && before.client !== client && before.endsAtMs > nowMs && !yields)
      return before.state === 'quarantined' ? `${text} is in use elsewhere` : `${text} is another client's`
    if (before?.state === 'quarantined' && before.endsAtMs > nowMs) return `${text} is in use elsewhere`
    if (reservedFor === undefined && !this.#inRange(address)) return `${text} is not given by this server`
    return undefined
  }

  /** The lease of this client, also one that has ended and that nobody else got. */
  of(client: string): Lease | undefined {
    return this.#byClient.get(client)
  }

  /** Ends a lease; the address stays this client's until another needs it. Undefined: it has none of this address. */
  release(client: string, address: number, nowMs: number): Lease | undefined {
    const lease = this.#byAddress.get(address)
    if (lease === undefined || lease.client !== client || lease.state === 'quarantined') return undefined
    const ended: Lease = { ...lease, state: 'bound', endsAtMs: nowMs }
    this.#set(ended)
    return ended
  }

  /** Nobody gets this address for a while: its client, or our own look, found it in use. */
  quarantine(address: number, nowMs: number): Lease {
    const lease: Lease = {
      address,
      client: '',
      state: 'quarantined',
      endsAtMs: nowMs + this.#times.quarantineMs,
      proved: false,
    }
    this.#set(lease)
    return lease
  }

  /** How full the range is. */
  count(nowMs: number): { size: number; bound: number; offered: number; quarantined: number } {
    const alive = { bound: 0, offered: 0, quarantined: 0 }
    for (const { endsAtMs, state } of this.#byAddress.values()) if (endsAtMs > nowMs) alive[state] += 1
    return { size: Math.max(0, this.pool.last - this.pool.first + 1), ...alive }
  }

  /** An address, or why there is none. */
  #choose(client: string, wanted: number | undefined, nowMs: number): number | string {
    const reservation = this.pool.reservations.get(client)
    if (reservation !== undefined) {
      const holder = this.#byAddress.get(reservation.address)
      const isHeld = holder !== undefined && holder.client !== client && holder.endsAtMs > nowMs
      // A mere offer is no lease: whoever got it before the address was reserved asks again.
      if (!isHeld || holder.state === 'offered') return reservation.address
      const who = holder.state === 'quarantined' ? 'a machine that did not ask us' : holder.client
      return `its reserved address ${toText(reservation.address)} is in use by ${who}`
    }
    const own = this.#byClient.get(client)
    if (own !== undefined && this.#isGivable(own.address)) return own.address
    if (wanted !== undefined && this.#isGivable(wanted) && this.#isFree(wanted, nowMs)) return wanted
    return (
      this.#unused(nowMs) ??
      this.#oldOffer(nowMs) ??
      `all ${Math.max(0, this.pool.last - this.pool.first + 1)} addresses of ${this.pool.name} are in use; widen dhcp.pools`
    )
  }

  #unused(nowMs: number): number | undefined {
    const { offered } = this.#queues
    const firstOffer = offered.values().next().value
    if (firstOffer !== undefined && (firstOffer.endsAtMs <= nowMs || offered.size >= this.#times.offersMax))
      return firstOffer.address
    for (const address of this.#freed) if (this.#isGivable(address)) return address
    for (; this.#nextUnused <= this.pool.last; this.#nextUnused += 1) {
      const address = this.#nextUnused
      if (!this.#byAddress.has(address) && !this.#reserved.has(address)) return address
    }
    for (const queue of [this.#queues.quarantined, this.#queues.first, this.#queues.bound]) {
      const [first] = queue.values()
      if (first !== undefined && first.endsAtMs <= nowMs) return first.address
    }
    // Leases of before a change of leaseSeconds may end later than those behind them.
    if (nowMs < this.#scanAgainMs) return undefined
    this.#scanAgainMs = nowMs + scanEveryMs
    for (const lease of this.#byAddress.values())
      if (lease.endsAtMs <= nowMs && this.#isGivable(lease.address)) return lease.address
    return undefined
  }

  /**
   * A DISCOVER costs nobody anything, and fifty of them must not empty a pool of fifty for as long as an offer is kept. Who means it
   * takes the offer within seconds (limits.ts); one that comes later is told to begin again.
   */
  #oldOffer(nowMs: number): number | undefined {
    const [oldest] = this.#queues.offered.values()
    const { offerHoldMs, offerYieldsAfterMs } = this.#times
    const isOld = oldest !== undefined && nowMs >= oldest.endsAtMs - offerHoldMs + offerYieldsAfterMs
    return isOld ? oldest.address : undefined
  }

  /** It has a reserved address, or proved itself before, or asks again in the later part of a first lease: at half of it, by RFC 2131 §4.4.5. */
  #hasProved(client: string, nowMs: number): boolean {
    if (this.pool.reservations.has(client)) return true
    const own = this.#byClient.get(client)
    if (own === undefined || own.proved) return own !== undefined
    const leftMs = own.endsAtMs - nowMs
    return own.state === 'bound' && leftMs > 0 && leftMs <= this.firstLeaseMs * renewsWithLeft
  }

  #isFree(address: number, nowMs: number): boolean {
    const lease = this.#byAddress.get(address)
    return lease === undefined || lease.endsAtMs <= nowMs
  }

  #isGivable(address: number): boolean {
    return this.#inRange(address) && !this.#reserved.has(address)
  }

  #inRange(address: number): boolean {
    return address >= this.pool.first && address <= this.pool.last
  }

  /** Puts a lease at the end of its queue, in the place of whatever its address or its client had. */
  #set(lease: Lease): void {
    const before = this.#byAddress.get(lease.address)
    if (before !== undefined && before.client === lease.client) {
      // Nearly always: only the place in the queue changes.
      this.#queueOf(before).delete(lease.address)
    } else {
      if (before !== undefined) this.#drop(before)
      const own = lease.client === '' ? undefined : this.#byClient.get(lease.client)
      if (own !== undefined) this.#drop(own)
      this.#freed.delete(lease.address)
    }
    this.#byAddress.set(lease.address, lease)
    if (lease.client !== '') this.#byClient.set(lease.client, lease)
    if (this.#isGivable(lease.address)) this.#queueOf(lease).set(lease.address, lease)
  }

  #queueOf({ proved, state }: Lease): Map<number, Lease> {
    return this.#queues[state === 'bound' && !proved ? 'first' : state]
  }

  #drop(lease: Lease): void {
    this.#queueOf(lease).delete(lease.address)
    this.#byAddress.delete(lease.address)
    if (this.#byClient.get(lease.client) === lease) this.#byClient.delete(lease.client)
    // The cursor is past it, so it is remembered.
    if (lease.address < this.#nextUnused) this.#freed.add(lease.address)
  }
}
