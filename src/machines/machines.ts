/** The façade of this room: machines with their three facets, for everyone who decides something about one. */
import { createHash } from 'node:crypto'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { EventsRequest, ReportRequest } from '../protocol/events.ts'
import type { HelloRequest } from '../protocol/hello.ts'
import { type Database, isDuplicate, isMissingReference } from '../store/database.ts'
import type { MachineRow } from '../store/schema.ts'
import {
  authenticate,
  type BootContext,
  findBootByHello,
  getBootRow,
  openBoot,
  recordPlan,
  recordSkip,
  type Session,
  sweepBoots,
} from './boots.ts'
import { createDirectory, type Directory } from './directory.ts'
import { createDocuments } from './documents.ts'
import { createTimeline, type EventListener, type EventQuery } from './events.ts'
import { cleanIdentifiers, sourceOf } from './identifiers.ts'
import { findByMacs, newMachine, requireMacs, seenAgain } from './inventory.ts'
import { type MachineLimits, machineLimits } from './limits.ts'
import { createId } from './names.ts'
import { matchProfile, type Profile, parseProfile } from './profiles.ts'
import { acceptReport, recordAgentEvents } from './progress.ts'
import { createRateLimiter } from './rate.ts'
import {
  type Boot,
  type Machine,
  type MachineEvent,
  type RecordedPlan,
  toBoot,
  toMachine,
} from './records.ts'
import { createReportToken } from './reports.ts'
import { type SessionRequest, type VerifySession, verifyEd25519 } from './session.ts'
import {
  decideEligibility,
  type Eligibility,
  type EnrolmentPolicy,
  type Explanation,
  explain,
} from './why.ts'

export type Machines = Directory & {
  /**
   * A hello opens a boot; the same bytes again find the same boot. Everything in it is attacker-controlled.
   * @throws limit-reached (details.retrySeconds), request-invalid
   */
  hello(
    request: HelloRequest,
    from: { address: string; rawBytes: Uint8Array },
  ): Promise<{ machine: Machine; boot: Boot }>
  /** Checks a signed request of a session and uses up its number. @throws session-invalid, boot-not-found */
  authenticate(request: SessionRequest): Promise<Session>
  /** What this boot may do now; in mode `auto` this is also where a newcomer is let in. @throws boot-not-found, profile-tie */
  eligibility(bootId: string): Promise<{ machine: Machine; boot: Boot; eligibility: Eligibility }>
  recordAgentEvents(session: Session, request: EventsRequest): Promise<void>
  recordPlan(boot: Boot, plan: RecordedPlan): Promise<void>
  recordSkip(boot: Boot, reason: string): Promise<void>
  /** The token of the plan file report.json for this boot. Never log it. */
  reportToken(bootId: string): string
  /** @throws report-refused */
  report(
    report: ReportRequest & { token: string; address: string },
  ): Promise<{ outcome: 'joined' | 'failed' }>
  /** @throws machine-not-found, machine-ambiguous */
  why(nameOrIdOrMac: string): Promise<Explanation>
  /** @throws boot-not-found */
  boot(id: string): Promise<Boot>
  /** Of one machine or of all, the newest first. */
  boots(machineId?: string, limit?: number): Promise<Boot[]>
  events(query: EventQuery): Promise<MachineEvent[]>
  subscribe(listener: EventListener): () => void
  /** Ends silent boots; call it every minute or so. */
  sweep(): Promise<number>
  profiles: {
    list(): Promise<Profile[]>
    /** @throws profile-not-found */
    get(name: string): Promise<Profile>
    /** Adds or replaces. @throws profile-invalid, cluster-not-found, limit-reached */
    put(value: unknown): Promise<Profile>
    /** @throws profile-not-found */
    remove(name: string): Promise<void>
  }
}

export function createMachines(options: {
  database: Database
  now: () => Date
  random: (bytes: number) => Uint8Array
  log: Log
  /** At least 32 random bytes that outlive restarts and that only this server has. */
  reportSecret: Uint8Array
  enrolment: EnrolmentPolicy
  /** Whether a profile may name this cluster. */
  hasCluster: (name: string) => Promise<boolean>
  limits?: Partial<MachineLimits>
  verifySignature?: VerifySession
}): Machines {
  const { database, now, random, log, reportSecret, enrolment } = options
  const { db } = database
  const limits: MachineLimits = { ...machineLimits, ...options.limits }
  const verifySignature = options.verifySignature ?? verifyEd25519
  const timeline = createTimeline({ database, limits, log })
  const context: BootContext = { database, timeline, limits, now }
  const profiles = createDocuments({
    database,
    table: 'profiles',
    parse: parseProfile,
    max: limits.profilesMax,
    now,
  })
  const rate = (perMinute: number) => createRateLimiter({ perMinute, keysMax: limits.rateKeysMax, now })
  const perAddress = rate(limits.hellosPerMinutePerAddressMax)
  const perMachine = rate(limits.hellosPerMinutePerMachineMax)
  const newcomers = rate(limits.newMachinesPerMinuteMax)
  const refusals = rate(6)
  const directory = createDirectory({ database, timeline, now })

  /** What letting this newcomer in without a person changes; undefined: a person is asked first. */
  async function autoApproval(machine: Machine): Promise<Partial<MachineRow> | undefined> {
    if (enrolment.mode !== 'auto' || machine.enrolment !== 'discovered') return undefined
    try {
      const match = matchProfile(machine, await profiles.list())
      if (match === undefined || !enrolment.isDemonstration(match.profile)) return undefined
    } catch {
      // A tie: `eligibility` and `why` say it.
      return undefined
    }
    return { enrolment: 'approved', decidedAt: now().getTime(), decidedBy: 'auto' }
  }

  const approvedEvent = (machineId: string, at: Date) => ({
    at,
    machineId,
    kind: 'approved',
    assurance: 'server' as const,
    message: 'approved automatically, for the demonstration only',
    data: { by: 'auto' },
  })

  async function admit(
    request: HelloRequest,
    from: { address: string; source: string; helloDigest: string },
  ): Promise<{ machine: Machine; boot: Boot }> {
    const at = now()
    const { address, source, helloDigest } = from
    const clean = cleanIdentifiers(request.identifiers)
    requireMacs(clean)
    const found = await findByMacs(database, clean)
    if (found !== undefined) {
      const existing = await findBootByHello(database, found.row.id, helloDigest)
      if (existing !== undefined) return { machine: toMachine(found.row, found.macs), boot: toBoot(existing) }
    }
    if (found === undefined && !newcomers.take('')) throw limitReached('too many new machines at once')
    if (found !== undefined && !perMachine.take(`${found.row.id} ${source}`))
      throw limitReached(`too many hellos of ${found.row.name} from ${source}`)
    const id = createId('m', random)
    const record =
      found === undefined
        ? newMachine(database, { id, request, clean, source, at, limits })
        : seenAgain(database, { found, request, clean, at, limits })
    const opening = await openBoot(context, {
      id: createId('b', random),
      machineId: record.row.id,
      request,
      clean,
      helloDigest,
      address,
      ...(found?.conflictsWith === undefined ? {} : { conflict: found.conflictsWith }),
    })
    const queries = [...record.queries, ...opening.queries]
    const events = [...record.events, ...opening.events]
    const approval = await autoApproval(toMachine(record.row, record.macs))
    if (approval !== undefined) {
      queries.push(db.updateTable('machines').set(approval).where('id', '=', record.row.id))
      events.push(approvedEvent(record.row.id, at))
    }
    await timeline.commit(queries, events, opening.after)
    return { machine: toMachine({ ...record.row, ...approval }, record.macs), boot: toBoot(opening.row) }
  }

  return {
    ...directory,
    async hello(request, { address, rawBytes }) {
      const source = sourceOf(address)
      if (!perAddress.take(source)) throw limitReached(`too many hellos from ${source}`)
      checkSessionKey(request.sessionKey)
      const helloDigest = createHash('sha256').update(rawBytes).digest('hex')
      for (let attempt = 1; ; attempt++) {
        try {
          return await admit(request, { address, source, helloDigest })
        } catch (error) {
          // Another hello with one of these addresses, or the same hello, came in between, or the record was forgotten.
          if (attempt === 3 || !(isDuplicate(error) || isMissingReference(error))) throw error
        }
      }
    },
    authenticate: (request) => authenticate(context, request, verifySignature),
    async eligibility(bootId) {
      const boot = toBoot(await getBootRow(database, bootId))
      let machine = await directory.get(boot.machineId)
      const approval = await autoApproval(machine)
      if (approval !== undefined && boot.held === undefined) {
        const undecided = db.updateTable('machines').set(approval).where('id', '=', machine.id)
        await timeline.commit(
          [undecided.where('enrolment', '=', 'discovered')],
          [approvedEvent(machine.id, now())],
        )
        machine = await directory.get(machine.id)
      }
      return {
        machine,
        boot,
        eligibility: decideEligibility(machine, boot, await profiles.list(), enrolment),
      }
    },
    recordAgentEvents: (session, request) => recordAgentEvents(context, session, request),
    recordPlan: (boot, plan) => recordPlan(context, boot, plan),
    recordSkip: (boot, reason) => recordSkip(context, boot, reason),
    reportToken: (bootId) => createReportToken(reportSecret, bootId),
    report: (report) => acceptReport({ ...context, reportSecret, refusals }, report),
    async why(text) {
      const machine = await directory.find(text)
      const [lastBoot] = await listBoots(machine.id, 1)
      return explain(machine, lastBoot, await profiles.list(), enrolment)
    },
    boot: async (id) => toBoot(await getBootRow(database, id)),
    boots: listBoots,
    events: timeline.list,
    subscribe: timeline.subscribe,
    sweep: () => sweepBoots(context),
    profiles: {
      list: profiles.list,
      get: async (name) => (await profiles.get(name)) ?? noProfile(name),
      async put(value) {
        const profile = parseProfile(value)
        if (profile.cluster !== undefined && !(await options.hasCluster(profile.cluster)))
          throw new MusterError(
            'cluster-not-found',
            `profile '${profile.name}' names the cluster '${profile.cluster}', which is not there: make it first`,
          )
        await profiles.put(profile)
        return profile
      },
      remove: async (name) => void ((await profiles.remove(name)) || noProfile(name)),
    },
  }

  async function listBoots(machineId?: string, limit = 50): Promise<Boot[]> {
    let query = db
      .selectFrom('boots')
      .selectAll()
      .limit(Math.min(Math.max(limit, 1), 500))
    if (machineId !== undefined) query = query.where('machineId', '=', machineId)
    return (await query.orderBy('openedAt', 'desc').orderBy('id').execute()).map(toBoot)
  }
}

function noProfile(name: string): never {
  throw new MusterError(
    'profile-not-found',
    `there is no profile '${name.slice(0, 80)}': 'muster profiles' lists them`,
  )
}

function limitReached(what: string): MusterError {
  return new MusterError('limit-reached', `${what}: try again in a minute`, { details: { retrySeconds: 60 } })
}

/** SPKI of Ed25519 is a fixed prefix and 32 bytes (RFC 8410 §4); no other key can open a session. */
function checkSessionKey(base64: string): void {
  const der = Buffer.from(base64, 'base64')
  if (der.length === 44 && der.subarray(0, 12).toString('hex') === '302a300506032b6570032100') return
  throw new MusterError(
    'request-invalid',
    'the hello carries no Ed25519 session key: expected 44 bytes of SPKI DER',
  )
}
