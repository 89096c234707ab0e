/**
 * What one boot gets now: looks the facts up, in this order, and lets boot/plan.ts compose them.
 *
 *     session ─▶ eligibility (machine, profile) ─▶ release (catalog, floor, fit) ─▶ join files (cluster) ─▶ signed plan
 *                  │ wait: a person has to decide      │ wait: not here yet       │ wait: a label is missing
 *                  └ skip: nothing for this machine
 */
import { errorCodeOf, type MusterError } from '../errors.ts'
import type { Machines } from '../machines/machines.ts'
import type { Profile } from '../machines/profiles.ts'
import type { Boot, Machine } from '../machines/records.ts'
import { type Said, saidBy } from '../machines/why.ts'
import { reportFile } from '../protocol/events.ts'
import type { PlanFile, PlanReply } from '../protocol/plan.ts'
import { checkMachine } from '../protocol/release-rules.ts'
import type { Resolution } from '../releases/catalog.ts'
import type { Releases } from '../releases/releases.ts'
import type { Signer } from '../signing/keys.ts'
import { composePlan, signPlan, toTimestamp } from './plan.ts'

export type PlannerOptions = {
  machines: Pick<Machines, 'eligibility' | 'recordPlan' | 'recordSkip' | 'recordWait' | 'reportToken'>
  releases: Pick<Releases, 'catalog' | 'expired' | 'planSigner' | 'repository'>
  /** The join files of a cluster for one machine. @throws MusterError cluster-not-found, cluster-invalid, label-missing */
  joinFiles(cluster: string, machine: Machine): Promise<PlanFile[]>
  /** curl's form of the agent plane's key. */
  pin: string
  now(): Date
  limits: { planSeconds: number; pollSeconds: number }
}

/** What a plan is made from, or why it is not to be had: nothing is missing until all of it was looked for. */
export type Ingredient<Value> = { value: Value } | { error: MusterError }
export type Ingredients = {
  metadata: Ingredient<'fresh'>
  /** Of one reading of the catalog: while the rest is looked up, it may be replaced by a newer one. */
  release: Ingredient<Resolution & { timestampVersion: number }>
  /** Of a profile without a cluster: no files. */
  join: Ingredient<PlanFile[]>
  signer: Ingredient<Signer>
}

/** A profile that boots through an agent, which not all do. */
export type ImageProfile = Pick<Profile, 'cluster'> & { image: NonNullable<Profile['image']> }

/** Of a machine whose boots are forgotten, what its agent is called is not known. */
export type SaidOrNot = Omit<Said, 'agentVersion'> & { agentVersion: Said['agentVersion'] | undefined }

/** Codes after which a machine waits, because a person or an upstream can mend them while it does. */
const waitFor = new Set([
  'metadata-expired',
  'profile-tie',
  'target-not-found',
  'channel-invalid',
  'release-below-floor',
  'release-incomplete',
  // The agent would refuse it: a plan for it would only have the machine go round.
  'policy-refused',
  'repository-not-found',
  'cluster-not-found',
  'cluster-invalid',
  'label-missing',
  'key-not-found',
  'key-invalid',
])

export function createPlanner(options: PlannerOptions) {
  const { limits, machines, now, releases } = options

  /** @param agentUrl where the booted system reports in, without a slash at its end. */
  async function planFor(bootId: string, agentUrl: string): Promise<PlanReply> {
    try {
      const { machine, boot, eligibility } = await machines.eligibility(bootId)
      if (eligibility.status === 'wait') {
        const { reason } = eligibility
        await machines.recordWait(bootId, { reason })
        return wait(reason)
      }
      if (eligibility.status === 'skip') return await skip(boot, eligibility.reason)
      const { profile, because } = eligibility
      if (profile.image === undefined) {
        return await skip(
          boot,
          `profile ${profile.name} boots unverified files from the firmware, not through an agent`,
        )
      }
      const ingredients = await lookUp(machine, saidBy(boot), { ...profile, image: profile.image })
      return await give({ machine, boot, profile, because, agentUrl, ingredients })
    } catch (error) {
      if (!waitFor.has(errorCodeOf(error))) throw error
      const { code, details, message } = error as MusterError
      await machines.recordWait(bootId, { code, reason: message, data: details })
      return wait(message)
    }
  }

  /** The one place that says what a plan needs: agents get it signed, and `muster machine why` shows it. */
  async function lookUp(machine: Machine, said: SaidOrNot, profile: ImageProfile): Promise<Ingredients> {
    const { cluster, image } = profile
    return {
      metadata: await found(() => {
        const expired = releases.expired()
        if (expired !== undefined) throw expired
        return 'fresh' as const
      }),
      release: await found(() => {
        const { resolve, trusted } = releases.catalog()
        const { channel, name, version } = image
        const resolved = resolve({ image: name, arch: said.arch, channel, version })
        checkMachine(resolved.release, said)
        return { ...resolved, timestampVersion: trusted.versions.timestamp }
      }),
      join: await found(() => (cluster === undefined ? [] : options.joinFiles(cluster, machine))),
      signer: await found(() => releases.planSigner()),
    }
  }

  async function give(chosen: {
    machine: Machine
    boot: Boot
    profile: Profile
    because: string[]
    agentUrl: string
    ingredients: Ingredients
  }): Promise<PlanReply> {
    const { machine, boot, ingredients, profile } = chosen
    needed(ingredients.metadata)
    const release = needed(ingredients.release)
    const because = [
      ...chosen.because,
      ...release.because,
      `floor ${release.floor}: nothing older than that boots`,
    ]
    const at = now()
    const plan = composePlan({
      machine: machine.id,
      boot,
      repository: releases.repository,
      timestampVersion: release.timestampVersion,
      target: release.target,
      minReleaseCounter: release.floor,
      arguments: profile.arguments,
      files: [reportFileOf(boot.id, chosen.agentUrl), ...needed(ingredients.join)],
      because,
      now: at,
      validSeconds: limits.planSeconds,
    })
    const envelope = signPlan(plan, needed(ingredients.signer))
    await machines.recordPlan(boot, {
      target: plan.target,
      digest: plan.manifestDigest,
      issuedAt: toTimestamp(at),
      because,
    })
    return { status: 'boot', envelope }
  }

  /** The way back for the booted system; the token in it is a secret of this boot. */
  function reportFileOf(boot: string, agentUrl: string): PlanFile {
    const content = reportFile.parse({
      url: `${agentUrl}/agent/v1/report`,
      pin: options.pin,
      boot,
      token: machines.reportToken(boot),
    })
    return {
      name: 'report.json',
      mode: 0o600,
      bytes: Buffer.from(JSON.stringify(content)).toString('base64'),
    }
  }

  async function skip(boot: Boot, reason: string): Promise<PlanReply> {
    await machines.recordSkip(boot, reason)
    return { status: 'skip', reason }
  }

  function wait(reason: string): PlanReply {
    return { status: 'wait', reason, retrySeconds: limits.pollSeconds }
  }

  return { planFor, lookUp }
}

export type Planner = ReturnType<typeof createPlanner>

/** Only what a person can mend is an answer; anything else is thrown. */
async function found<Value>(look: () => Value | Promise<Value>): Promise<Ingredient<Value>> {
  try {
    return { value: await look() }
  } catch (error) {
    if (waitFor.has(errorCodeOf(error))) return { error: error as MusterError }
    throw error
  }
}

function needed<Value>(ingredient: Ingredient<Value>): Value {
  if ('error' in ingredient) throw ingredient.error
  return ingredient.value
}

/** The first that is missing, in the order in which a plan wants them; undefined: a plan can be made. */
export function missingFrom({ join, metadata, release, signer }: Ingredients): MusterError | undefined {
  for (const one of [metadata, release, join, signer]) if ('error' in one) return one.error
  return undefined
}
