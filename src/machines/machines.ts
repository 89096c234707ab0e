/** The façade of this room: machines with their three facets, for everyone who decides something about one. */
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { didYouMean } from '../nearest.ts'
import type { EventsRequest, ReportRequest } from '../protocol/events.ts'
import type { HelloRequest } from '../protocol/hello.ts'
import type { Database } from '../store/database.ts'
import { createAdmission } from './admission.ts'
import {
  authenticate,
  type BootContext,
  getBootRow,
  recordPlan,
  recordSkip,
  type Session,
  sweepBoots,
} from './boots.ts'
import { type ClaimedIdentity, findClaimedId, unlessForgotten } from './claimed.ts'
import { createDirectory, type Directory } from './directory.ts'
import { createDocuments } from './documents.ts'
import { createTimeline, type EventListener, type EventQuery } from './events.ts'
import { createFirmwareActivity, type FirmwareNote } from './firmware-activity.ts'
import { type MachineLimits, machineLimits } from './limits.ts'
import { createListing, type Listing } from './listing.ts'
import { type Profile, parseProfile } from './profiles.ts'
import { acceptReport, recordAgentEvents } from './progress.ts'
import { createRateLimiter } from './rate.ts'
import { type Boot, type Machine, type MachineEvent, type RecordedPlan, toBoot } from './records.ts'
import { createReportToken } from './reports.ts'
import { type SessionRequest, type VerifySession, verifyEd25519 } from './session.ts'
import { sweepStalled } from './stall-sweep.ts'
import type { ExpectedMs, StallFacts } from './stalled.ts'
import { createUndecidedBudget } from './undecided.ts'
import { createUnverifiedRecorder, type RecordUnverified } from './unverified.ts'
import { createWaitRecorder, type RecordWait } from './waiting.ts'
import {
  decideEligibility,
  type Eligibility,
  type EnrolmentPolicy,
  type Explanation,
  explain,
} from './why.ts'

type Found = Directory & Listing

export type Machines = Found & {
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
  /** No plan is to be had for this boot now, and why; kept and logged once for each cause. @throws boot-not-found */
  recordWait: RecordWait
  /** The firmware of a machine was given files that nobody signed; kept at most once a minute. */
  recordUnverified: RecordUnverified
  /** What firmware asked for, before anybody said hello. Never fails. */
  noteFirmware(note: FirmwareNote): void
  /** This address is of the firmware with this MAC address, as far as anybody can say. */
  learnFirmwareAddress(address: string, mac: string): void
  /** The token of the plan file report.json for this boot. Never log it. */
  reportToken(bootId: string): string
  /** @throws report-refused */
  report(
    report: ReportRequest & { token: string; address: string },
  ): Promise<{ outcome: 'joined' | 'failed' }>
  /** The record that fits what firmware says of itself; undefined where none does, or more than one. */
  findClaimed(claimed: ClaimedIdentity): Promise<Machine | undefined>
  /** @throws machine-not-found, machine-ambiguous */
  why(nameOrIdOrMac: string): Promise<Explanation>
  /** @throws boot-not-found */
  boot(id: string): Promise<Boot>
  /** Of one machine or of all, the newest first. */
  boots(machineId?: string, limit?: number): Promise<Boot[]>
  events(query: EventQuery): Promise<MachineEvent[]>
  subscribe(listener: EventListener): () => void
  /** Ends silent boots and keeps undecided machines within their bytes; call it every minute or so. */
  sweep(): Promise<number>
  /** Says of boots that stand still, and of firmware that gets no further, why, once for each step; call it more often than the shortest of the times. */
  sweepStalled(options: { expectedMs: ExpectedMs; facts: StallFacts }): Promise<number>
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
  const budget = createUndecidedBudget({ database, limits, now, log })
  const timeline = createTimeline({ database, limits, log, budget })
  const context: BootContext = { database, timeline, budget, limits, now }
  const profiles = createDocuments({
    database,
    table: 'profiles',
    parse: parseProfile,
    max: limits.profilesMax,
    now,
    log,
  })
  const refusals = createRateLimiter({ perMinute: 6, keysMax: limits.rateKeysMax, now })
  const directory = createDirectory({ database, timeline, now })

  const firmware = createFirmwareActivity({ database, timeline, limits, now, log })
  const admission = createAdmission({ context, enrolment, listProfiles: profiles.list, random, firmware })

  return {
    ...directory,
    ...createListing({ database, listProfiles: profiles.list, enrolment }),
    hello: admission.hello,
    authenticate: (request) => authenticate(context, request, verifySignature),
    async eligibility(bootId) {
      const boot = await admission.settle(toBoot(await getBootRow(database, bootId)))
      let machine = await directory.get(boot.machineId)
      if (boot.held === undefined && (await admission.letIn(machine)))
        machine = await directory.get(machine.id)
      return {
        machine,
        boot,
        eligibility: decideEligibility(machine, boot, await profiles.list(), enrolment),
      }
    },
    recordAgentEvents: (session, request) => recordAgentEvents(context, session, request),
    recordPlan: (boot, plan) => recordPlan(context, boot, plan),
    recordSkip: (boot, reason) => recordSkip(context, boot, reason),
    recordWait: createWaitRecorder(context, log),
    recordUnverified: createUnverifiedRecorder({ timeline, rateKeysMax: limits.rateKeysMax, now }),
    noteFirmware: firmware.note,
    learnFirmwareAddress: firmware.learn,
    reportToken: (bootId) => createReportToken(reportSecret, bootId),
    report: (report) => acceptReport({ ...context, reportSecret, refusals }, report),
    async findClaimed(claimed) {
      const id = await findClaimedId(database, claimed)
      return id === undefined ? undefined : unlessForgotten(directory.get(id))
    },
    async why(text) {
      const machine = await directory.find(text)
      const [lastBoot] = await listBoots(machine.id, 1)
      return explain(machine, lastBoot, await profiles.list(), enrolment)
    },
    boot: async (id) => toBoot(await getBootRow(database, id)),
    boots: listBoots,
    events: timeline.list,
    subscribe: timeline.subscribe,
    async sweep() {
      await budget.makeRoom()
      return sweepBoots(context)
    },
    sweepStalled: async (options) =>
      (await firmware.sweepStalled(options)) + (await sweepStalled(context, options)),
    profiles: {
      list: profiles.list,
      get: async (name) => (await profiles.get(name)) ?? noProfile(name, await profiles.list()),
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
      remove: async (name) => void ((await profiles.remove(name)) || noProfile(name, await profiles.list())),
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

function noProfile(name: string, known: readonly { name: string }[]): never {
  const meant = didYouMean(
    name,
    known.map((one) => one.name),
  )
  throw new MusterError(
    'profile-not-found',
    `there is no profile '${name.slice(0, 80)}'${meant === '' ? ': ' : `${meant} `}'muster profiles' lists them`,
  )
}
