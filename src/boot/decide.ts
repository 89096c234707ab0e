/**
 * What one boot gets now: looks the facts up, in this order, and lets boot/plan.ts compose them.
 *
 *     session ─▶ eligibility (machine, profile) ─▶ release (catalog, floor) ─▶ join files (cluster) ─▶ signed plan
 *                  │ wait: a person has to decide      │ wait: not here yet
 *                  └ skip: nothing for this machine
 */
import { errorCodeOf, type MusterError } from '../errors.ts'
import type { Machines } from '../machines/machines.ts'
import type { Profile } from '../machines/profiles.ts'
import type { Boot, Machine } from '../machines/records.ts'
import { reportFile } from '../protocol/events.ts'
import type { PlanFile, PlanReply } from '../protocol/plan.ts'
import type { Resolution } from '../releases/catalog.ts'
import type { Releases } from '../releases/releases.ts'
import { composePlan, signPlan, toTimestamp } from './plan.ts'

export type PlannerOptions = {
  machines: Pick<Machines, 'eligibility' | 'recordPlan' | 'recordSkip' | 'reportToken'>
  releases: Pick<Releases, 'catalog' | 'expired' | 'planSigner' | 'repository'>
  /** The join files of a cluster for one machine. @throws MusterError cluster-not-found, cluster-invalid */
  joinFiles(cluster: string, machine: Machine): Promise<PlanFile[]>
  /** curl's form of the agent plane's key. */
  pin: string
  now(): Date
  limits: { planSeconds: number; pollSeconds: number }
}

/** Codes after which a machine waits, because a person or an upstream can mend them while it does. */
const waitFor = new Set([
  'profile-tie',
  'target-not-found',
  'channel-invalid',
  'release-below-floor',
  'release-incomplete',
  'repository-not-found',
  'cluster-not-found',
  'cluster-invalid',
  'key-not-found',
  'key-invalid',
])

export function createPlanner(options: PlannerOptions) {
  const { limits, machines, now, releases } = options

  /** @param agentUrl where the booted system reports in, without a slash at its end. */
  async function planFor(bootId: string, agentUrl: string): Promise<PlanReply> {
    try {
      const { machine, boot, eligibility } = await machines.eligibility(bootId)
      if (eligibility.status === 'wait') return wait(eligibility.reason)
      if (eligibility.status === 'skip') return await skip(boot, eligibility.reason)
      const { profile, because } = eligibility
      if (profile.image === undefined) {
        return await skip(
          boot,
          `profile ${profile.name} boots unverified files from the firmware, not through an agent`,
        )
      }
      const expired = releases.expired()
      if (expired !== undefined) return wait(expired.message)
      const release = releases.catalog().resolve({
        image: profile.image.name,
        arch: boot.arch,
        channel: profile.image.channel,
        version: profile.image.version,
      })
      return await give({ machine, boot, profile, release, because, agentUrl })
    } catch (error) {
      if (waitFor.has(errorCodeOf(error))) return wait((error as MusterError).message)
      throw error
    }
  }

  async function give(chosen: {
    machine: Machine
    boot: Boot
    profile: Profile
    release: Resolution
    because: string[]
    agentUrl: string
  }): Promise<PlanReply> {
    const { machine, boot, profile, release } = chosen
    const { trusted } = releases.catalog()
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
      timestampVersion: trusted.versions.timestamp,
      target: release.target,
      minReleaseCounter: release.floor,
      arguments: profile.arguments,
      files: [reportFileOf(boot.id, chosen.agentUrl), ...(await joinFilesOf(machine, profile))],
      because,
      now: at,
      validSeconds: limits.planSeconds,
    })
    const envelope = signPlan(plan, releases.planSigner())
    await machines.recordPlan(boot, {
      target: plan.target,
      digest: plan.manifestDigest,
      issuedAt: toTimestamp(at),
      because,
    })
    return { status: 'boot', envelope }
  }

  async function joinFilesOf(machine: Machine, profile: Profile): Promise<PlanFile[]> {
    if (profile.cluster === undefined) return []
    return options.joinFiles(profile.cluster, machine)
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

  return { planFor }
}
