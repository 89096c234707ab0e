/** A server's answers: which address, whether to refuse, when to be silent (RFC 2131 §4.3). */
import { BoundedLog } from '../datagram/bounded-log.ts'
import { errorCodeOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { anyAddress, isWithin, type Network, toNumber, toText } from './address.ts'
import type { DhcpClient } from './client.ts'
import { ConflictChecks } from './conflict-checks.ts'
import type { InUse } from './in-use.ts'
import type { Intent } from './intent.ts'
import { type Lease, type LeaseStore, PoolLeases } from './leases.ts'
import { clientKey, segmentOf } from './lessee.ts'
import { type DhcpLimits, maxTriesPerOffer } from './limits.ts'
import type { DhcpPacket } from './packet.ts'
import { isInPool, type Pool, reservedName } from './pool.ts'
import type { Recipients } from './recipients.ts'
import { type BootAnswer, informReply, leaseReply, type ReplyFacts, refusal } from './reply.ts'

export type Decision = { client: DhcpClient | undefined; because: string[] } & (
  | { reply: DhcpPacket }
  | { reply?: undefined }
)

export type KnownMachine = { name: string | undefined }

export type ResponderOptions = {
  pools: readonly Pool[]
  /** What this client boots; undefined, with the reason, where there is nothing for it. */
  boot(client: DhcpClient, server: string): BootAnswer | { nothing: string }
  /** Whether a machine with this MAC address has ever said hello, and the name that it was given. */
  machine?: (mac: string) => Promise<KnownMachine | undefined>
  store: LeaseStore
  /** Undefined: addresses are offered unseen. */
  inUse: InUse | undefined
  /** Address blocks (`9c:b6:54`) of UEFI firmware that takes its file at port 4011 only. */
  binl?: readonly string[]
  /** Relay agents that are answered, and networks of our own addresses (recipients.ts). */
  relays?: readonly string[]
  segments?: readonly Network[]
  limits: DhcpLimits
  log: Log
  /** Milliseconds since 1970. */
  now: () => number
}

export class Lessor {
  readonly #options: ResponderOptions
  readonly #log: BoundedLog
  readonly #recipients: Recipients
  readonly #pools: PoolLeases[]
  readonly #checks: ConflictChecks
  /** Clients whose answer is under way, by pool: one asks in several at once where we have several addresses. */
  readonly #underWay: ReadonlyMap<PoolLeases, Set<string>>
  #pending = 0

  constructor(options: ResponderOptions, recipients: Recipients) {
    this.#options = options
    this.#log = new BoundedLog(options)
    this.#recipients = recipients
    const { maxOffers, ...limits } = options.limits
    this.#checks = new ConflictChecks(options)
    const times = { ...limits, offersMax: maxOffers }
    this.#pools = options.pools.map((pool) => new PoolLeases(pool, times))
    this.#underWay = new Map(this.#pools.map((pool) => [pool, new Set()]))
  }

  /** @throws database-failed */
  async restore(): Promise<number> {
    const stored = await this.#options.store.load()
    const leases = stored.flatMap(({ address, endsAt, ...lease }) => {
      const value = toNumber(address)
      return value === undefined ? [] : [{ ...lease, address: value, endsAtMs: endsAt }]
    })
    for (const pool of this.#pools)
      pool.restore(
        leases.filter(({ address }) => isWithin(address, pool.pool.network)),
        this.#options.now(),
      )
    return leases.length
  }

  counts() {
    return this.#pools.map((pool) => ({ name: pool.pool.name, ...pool.count(this.#options.now()) }))
  }

  /** Says what the log has not been told yet. */
  [Symbol.dispose](): void {
    this.#log[Symbol.dispose]()
  }

  checks() {
    return this.#checks.stats()
  }

  async serve(facts: ReplyFacts, intent: Intent): Promise<Decision> {
    const { client, request } = facts
    const because = describe(client)
    const pool = this.#poolFor(facts)
    if (pool === undefined)
      return silent(client, [...because, `no pool is for the network of ${segmentOf(facts).address}`])
    // A pool that the packet chooses by an option says nothing of the relay that the reply goes to.
    const refusal = this.#recipients.refusalOf(request)
    if (refusal !== undefined) return silent(client, [...because, refusal])
    const key = clientKey(client, request)
    if (key === undefined)
      return silent(client, [...because, 'it has neither hardware address nor identifier'])
    const underWay = this.#underWay.get(pool) as Set<string>
    if (underWay.has(key)) return silent(client, [...because, 'the answer to its last packet is on its way'])
    if (this.#pending >= this.#options.limits.maxPending)
      return silent(client, [...because, 'too many answers are under way; it asks again'])
    underWay.add(key)
    this.#pending += 1
    try {
      return await this.#answer({ facts, intent, pool, key, because })
    } finally {
      underWay.delete(key)
      this.#pending -= 1
    }
  }

  async #answer(job: Job): Promise<Decision> {
    const { because, facts, intent, key, pool } = job
    const { client, request, server } = facts
    const nowMs = this.#options.now()
    switch (intent.kind) {
      case 'discover':
        return this.#offer(job, intent.wanted === undefined ? undefined : toNumber(intent.wanted))
      case 'select':
        if (intent.server !== server)
          return silent(client, [...because, `it took the offer of ${intent.server}, which is not us`])
        return this.#grant(job, intent.address, 'always')
      case 'reboot':
        // RFC 2131 §4.3.2: without a record of this client another server may have one, so we stay silent.
        if (isInPool(pool.pool, intent.address) && pool.of(key) === undefined)
          return silent(client, [...because, `${intent.address} is not known here: left to who gave it`])
        return this.#grant(job, intent.address, 'always')
      case 'renew':
      case 'rebind':
        return this.#grant(job, intent.address, intent.kind === 'renew' ? 'always' : 'never')
      case 'decline':
      case 'release':
        return this.#giveBack(job, intent.kind, intent.address, nowMs)
      case 'inform': {
        const lease = { address: anyAddress, hostName: undefined, says: pool.pool.says }
        const boot = this.#bootOf(facts, because)
        because.push('INFORM: settings without an address')
        // RFC 2131 §4.3.5 sends it to ciaddr, which has to be on this network: it is the client's word alone.
        if (!isInPool(pool.pool, request.ciaddr))
          return silent(client, [...because, 'its address is not of this network'])
        return { client, because, reply: informReply({ ...facts, boot, lease }) }
      }
      case 'none':
        return silent(client, [intent.because])
    }
  }

  async #offer(job: Job, wanted: number | undefined): Promise<Decision> {
    const { because, facts, key, pool } = job
    const { client } = facts
    for (let attempt = 0; attempt < maxTriesPerOffer; attempt += 1) {
      const nowMs = this.#options.now()
      const proposal = pool.propose(key, wanted, nowMs, () => this.#checks.begin(nowMs))
      if ('refused' in proposal) return silent(client, [...because, proposal.refused])
      const address = toText(proposal.lease.address)
      if (proposal.fresh && (await this.#checks.isInUse(address, key))) {
        this.#log.warn(
          { address, client: key },
          'an address that was to be offered is in use by somebody else',
        )
        if (!(await this.#keep(pool.quarantine(proposal.lease.address, this.#options.now())))) break
        because.push(`${address} is in use by somebody else`)
        continue
      }
      const boot = this.#bootOf(facts, because)
      because.push(`address ${address} of ${pool.pool.name}`)
      // The ROM of the Pi 3 never sends a REQUEST: it uses what it was offered, so the offer is the lease.
      if (
        client.kind === 'raspberry-pi' &&
        client.model === 3 &&
        !(await this.#takeUnasked(job, proposal.lease))
      )
        break
      // The reserved name alone: what the machine is known by costs a query, and an offer may be to anybody.
      const { proved } = pool.of(key) ?? proposal.lease
      const lease = { address, hostName: reservedName(pool.pool, client.mac), says: pool.saysTo(proved) }
      return { client, because, reply: leaseReply({ ...facts, boot, lease, type: 'offer' }) }
    }
    return silent(client, [...because, 'no address could be offered now; it asks again'])
  }

  async #takeUnasked({ because, facts, key, pool }: Job, { address }: Lease): Promise<boolean> {
    const machine = await this.#machineOf(facts.client)
    const granted = pool.grant(key, address, this.#options.now(), machine !== undefined)
    if ('refused' in granted) return false
    because.push('the ROM of a Raspberry Pi 3 sends no REQUEST: the lease begins with the offer')
    return this.#keep(granted.lease)
  }

  /** @param refuse whether a NAK is ours to send: to a client that rebinds, another server may say yes. */
  async #grant(job: Job, address: string, refuse: 'always' | 'never'): Promise<Decision> {
    const { because, facts, key, pool } = job
    const { client } = facts
    const value = toNumber(address) ?? 0
    const refused = isInPool(pool.pool, address)
      ? pool.refusalOf(key, value, this.#options.now())
      : `${address} is not of this network, ${pool.pool.name}`
    if (refused !== undefined) {
      if (refuse === 'never') return silent(client, [...because, refused])
      because.push(`refused: ${refused}`)
      return { client, because, reply: refusal({ ...facts, because: refused }) }
    }
    const machine = await this.#machineOf(client)
    const granted = pool.grant(key, value, this.#options.now(), machine !== undefined)
    // Somebody else took it in the meantime.
    if ('refused' in granted) return silent(client, [...because, granted.refused])
    if (!(await this.#keep(granted.lease)))
      return silent(client, [...because, 'the lease could not be written down, so it is not given'])
    const boot = this.#bootOf(facts, because)
    const { proved } = granted.lease
    because.push(
      proved
        ? `lease of ${address} for ${pool.pool.leaseSeconds} s`
        : `first lease of ${address} for ${pool.firstLeaseMs / 1000} s; when it renews, or where its machine said hello, for ${pool.pool.leaseSeconds} s`,
    )
    const hostName = reservedName(pool.pool, client.mac) ?? machine?.name
    const lease = { address, hostName, says: pool.saysTo(proved) }
    return { client, because, reply: leaseReply({ ...facts, boot, lease, type: 'ack' }) }
  }

  async #giveBack(job: Job, how: 'decline' | 'release', address: string, nowMs: number): Promise<Decision> {
    const { because, facts, key, pool } = job
    const value = toNumber(address)
    const own = pool.of(key)
    // Only its own: else one machine could decline them all.
    if (value === undefined || own === undefined || own.address !== value)
      return silent(facts.client, [...because, `${address} is not its address: nothing is changed`])
    if (how === 'decline') {
      this.#log.warn({ address, client: key }, 'a client found the address that it was given in use')
      await this.#keep(pool.quarantine(value, nowMs))
      return silent(facts.client, [...because, `${address} is in use elsewhere: nobody gets it for a while`])
    }
    const released = pool.release(key, value, nowMs)
    if (released !== undefined) await this.#keep(released)
    return silent(facts.client, [...because, `${address} is free again; a RELEASE has no answer`])
  }

  /** Whether it is durable now. */
  async #keep({ address, client, endsAtMs, state }: Lease): Promise<boolean> {
    if (state === 'offered') return true
    try {
      await this.#options.store.put({ address: toText(address), client, state, endsAt: endsAtMs })
      return true
    } catch (error) {
      this.#log.error({ err: error, code: errorCodeOf(error) }, 'a DHCP lease could not be written down')
      return false
    }
  }

  #bootOf({ client, server }: ReplyFacts, because: string[]): BootAnswer | undefined {
    if (client.kind === 'other') return undefined
    const boot = this.#options.boot(client, server)
    if ('nothing' in boot) {
      because.push(boot.nothing)
      return undefined
    }
    because.push(`boots ${boot.file === '' ? 'by names of its own' : boot.file} from ${boot.nextServer}`)
    return boot
  }

  async #machineOf({ mac }: DhcpClient): Promise<KnownMachine | undefined> {
    return mac === undefined ? undefined : this.#options.machine?.(mac)
  }

  #poolFor(facts: ReplyFacts): PoolLeases | undefined {
    const value = toNumber(segmentOf(facts).address) ?? 0
    return this.#pools.find(({ pool }) => isWithin(value, pool.network))
  }
}

type Job = { facts: ReplyFacts; intent: Intent; pool: PoolLeases; key: string; because: string[] }

/** The client in words, the first of the reasons. */
export function describe({ what, because }: DhcpClient): string[] {
  return [because.length === 0 ? what : `${what}: ${because.join(', ')}`]
}

export function silent(client: DhcpClient, because: string[]): Decision {
  return { client, because }
}
