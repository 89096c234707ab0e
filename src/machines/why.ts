/** Explains, from facts alone, what a machine would boot and how far its last boot can be trusted. */
import { errorCodeOf } from '../errors.ts'
import type { AgentOrigin, Arch } from '../protocol/identifiers.ts'
import type { EnrolmentMode } from './enrolment.ts'
import { matchProfile, type Profile, rankProfile } from './profiles.ts'
import type { Boot, Machine } from './records.ts'

/** What a boot may do now; `for`: approval, an identity conflict to be settled, the end of its quarantine. The http and boot rooms ask this before any plan is made. */
export type Eligibility =
  | { status: 'boot'; profile: Profile; because: string[] }
  | { status: 'wait'; for: 'approval' | 'settlement' | 'release'; reason: string }
  | { status: 'skip'; reason: string }

export type EnrolmentPolicy = {
  mode: EnrolmentMode
  /** Whether a profile gives the demonstration image and nothing that a person must allow first. */
  isDemonstration(profile: Profile): boolean
}

/** @throws profile-tie */
export function decideEligibility(
  machine: Machine,
  boot: Pick<Boot, 'held'> | undefined,
  profiles: readonly Profile[],
  policy: EnrolmentPolicy,
): Eligibility {
  const { name } = machine
  const approve = `muster approve ${name}`
  if (machine.enrolment === 'quarantined')
    return { status: 'wait', for: 'release', reason: `${name} is quarantined: '${approve}' lets it boot` }
  if (machine.enrolment === 'retired')
    return { status: 'skip', reason: `${name} is retired: '${approve}' takes it back` }
  if (boot?.held !== undefined)
    return {
      status: 'wait',
      for: 'settlement',
      reason: `another machine has a claim on what ${name} says it is (identity-conflict): 'muster events --machine ${name}' says which`,
    }
  const match = matchProfile(machine, profiles)
  // Also before anybody decided: a machine that was only plugged in goes on to its own disk.
  if (match === undefined) return { status: 'skip', reason: `no profile matches ${name}` }
  if (machine.enrolment === 'discovered')
    return {
      status: 'wait',
      for: 'approval',
      reason: `${name} waits for a person: '${approve}' lets it boot`,
    }
  // What was approved without a person covers the demonstration, whatever profile is written afterwards.
  if (machine.decidedBy === 'auto' && (policy.mode !== 'auto' || !policy.isDemonstration(match.profile)))
    return {
      status: 'wait',
      for: 'approval',
      reason: `${name} was approved automatically, which covers only the demonstration, not profile '${match.profile.name}': '${approve}' lets it boot`,
    }
  return { status: 'boot', profile: match.profile, because: match.because }
}

const originSentences: Record<AgentOrigin, string> = {
  network:
    'its agent came over the network unsigned: whoever answered its firmware could have replaced the agent and its trusted root, so nothing is promised before attestation',
  signed:
    'its firmware checked the agent (Secure Boot or a signed boot image), by its own word: a taken-over server cannot make such an agent boot anything unsigned',
  flash:
    'its agent came from its own flash or stick, by its own word: a taken-over server cannot make such an agent boot anything unsigned',
  measured: 'its agent says that it was measured by a TPM; no quote was checked yet, so this is only claimed',
}

export function explainOrigin(origin: AgentOrigin): string {
  return originSentences[origin]
}

/** What a hello said that a release may ask for. */
export type Said = { arch: Arch; hardwareIds: readonly string[]; agentVersion: string }

export function saidBy({ agentVersion, arch, hello }: Pick<Boot, 'agentVersion' | 'arch' | 'hello'>): Said {
  return { arch, hardwareIds: hello.hardwareIds, agentVersion }
}

export type Explanation = {
  machine: { id: string; name: string; enrolment: string; trust: string }
  eligibility: Eligibility | { status: 'error'; code: string; reason: string }
  /** All profiles, the most specific first: what held and what did not. */
  profiles: { name: string; matches: boolean; measure: number; unverified?: true; sentences: string[] }[]
  /** In the hello of its last boot, where there is one. */
  said?: Said
  /** Present when the machine has booted. */
  lastBoot?: { id: string; outcome?: string; agentOrigin: AgentOrigin; trust: string; because: string[] }
}

export function explain(
  machine: Machine,
  lastBoot: Boot | undefined,
  profiles: readonly Profile[],
  policy: EnrolmentPolicy,
): Explanation {
  const ranks = profiles
    .map((profile) => rankProfile(machine, profile))
    .sort((a, b) => Number(b.matches) - Number(a.matches) || b.measure - a.measure)
  return {
    machine: { id: machine.id, name: machine.name, enrolment: machine.enrolment, trust: machine.trust },
    eligibility: eligibilityOrError(machine, lastBoot, profiles, policy),
    profiles: ranks.map(({ profile, matches, measure, conditions }) => {
      const shown = conditions.filter((condition) => matches || !condition.holds)
      const empty = conditions.length === 0 ? ['its selector is empty, which is every machine'] : []
      return {
        name: profile.name,
        matches,
        measure,
        ...(profile.unverified === true ? { unverified: true as const } : {}),
        sentences: [...empty, ...shown.map(({ sentence }) => sentence)],
      }
    }),
    ...(lastBoot === undefined
      ? {}
      : {
          said: saidBy(lastBoot),
          lastBoot: {
            id: lastBoot.id,
            ...(lastBoot.outcome === undefined ? {} : { outcome: lastBoot.outcome }),
            agentOrigin: lastBoot.agentOrigin,
            trust: explainOrigin(lastBoot.agentOrigin),
            because: lastBoot.plan?.because ?? [],
          },
        }),
  }
}

/** The same as `decideEligibility`, where an answer is shown and not acted on. */
export function eligibilityOrError(
  ...facts: Parameters<typeof decideEligibility>
): Explanation['eligibility'] {
  try {
    return decideEligibility(...facts)
  } catch (error) {
    return { status: 'error', code: errorCodeOf(error), reason: (error as Error).message }
  }
}
