/** What a machine would boot now, looked up as a plan looks it up (boot/decide.ts), so that both always say the same. */
import {
  type Ingredient,
  type Ingredients,
  missingFrom,
  type Planner,
  type SaidOrNot,
} from '../boot/decide.ts'
import type { MachineView, WhyView } from '../http/admin-machines.ts'
import type { MachineQuery } from '../machines/directory.ts'
import type { Standing } from '../machines/listing.ts'
import type { Machines } from '../machines/machines.ts'
import type { Profile } from '../machines/profiles.ts'
import type { Machine } from '../machines/records.ts'
import type { Explanation, Said } from '../machines/why.ts'

type Facts = {
  machines: Pick<Machines, 'find' | 'list' | 'standings' | 'why'>
  planner: Pick<Planner, 'lookUp'>
}

/** @throws machine-not-found, machine-ambiguous */
export async function whyOf(facts: Facts, text: string): Promise<WhyView> {
  const { eligibility, lastBoot, said, ...rest } = await facts.machines.why(text)
  const view = { ...rest, ...(lastBoot === undefined ? {} : { lastBoot }) }
  if (eligibility.status !== 'boot') return { ...view, eligibility }
  const { because, profile } = eligibility
  const ingredients = await ingredientsOf(facts, rest.machine.id, { profile, said })
  if (ingredients === undefined)
    return { ...view, eligibility: { status: 'boot', profile: profile.name, because } }
  const missing = missingFrom(ingredients)
  return {
    ...view,
    eligibility:
      missing === undefined
        ? { status: 'boot', profile: profile.name, because }
        : { status: 'wait', ...reasonOf(missing), profile: profile.name, because },
    release: releaseView(ingredients.release),
    ...(profile.cluster === undefined ? {} : { join: joinView(profile.cluster, ingredients.join) }),
  }
}

/** What it waits for, and what it boots without any check, is said wherever somebody looks at it, not only where they ask why. */
export async function viewOf(facts: Facts, text: string): Promise<MachineView> {
  const machine = await facts.machines.find(text)
  const { eligibility, profiles, said } = await facts.machines.why(machine.id)
  const given = profiles.find(({ matches }) => matches)
  const waits = await waitsFor(facts, machine.id, { eligibility, said })
  return {
    ...machine,
    ...(waits === undefined ? {} : { waits }),
    ...(given?.unverified === true ? { unverified: given.name } : {}),
  }
}

/** A page of machines, each with a few words for what it waits for. */
export async function listOf(facts: Facts, query: MachineQuery): Promise<MachineView[]> {
  const machines = await facts.machines.list(query)
  const standings = await facts.machines.standings(machines)
  // What machines of one profile that say the same would boot is the same; only the files of a cluster are each machine's own.
  const shared = new Map<string, Promise<Ingredients>>()
  const lookUp: Planner['lookUp'] = (machine, said, profile) => {
    if (profile.cluster !== undefined) return facts.planner.lookUp(machine, said, profile)
    const key = JSON.stringify([said.arch, said.agentVersion, said.hardwareIds, profile.image])
    const known = shared.get(key) ?? facts.planner.lookUp(machine, said, profile)
    shared.set(key, known)
    return known
  }
  const views: MachineView[] = []
  for (const machine of machines) {
    const words = await waitsInWords(lookUp, machine, standings.get(machine.id))
    views.push({ ...machine, ...(words === undefined ? {} : { waitsFor: words }) })
  }
  return views
}

async function waitsInWords(
  lookUp: Planner['lookUp'],
  machine: Machine,
  standing: Standing | undefined,
): Promise<string | undefined> {
  if (standing === undefined || machine.enrolment === 'retired') return undefined
  const { conflictWith, eligibility } = standing
  if (eligibility.status === 'skip') return 'no profile'
  if (eligibility.status === 'error') return inWords(eligibility.code)
  if (eligibility.status === 'wait') {
    if (eligibility.for === 'approval') return 'for approval'
    // Somebody decided that; the column of its enrolment says so.
    if (eligibility.for === 'release') return undefined
    return `conflict with ${conflictWith ?? 'another machine'}`
  }
  const { profile } = eligibility
  if (profile.image === undefined) return undefined
  const missing = missingFrom(
    await lookUp(machine, saidOf(machine, standing.said), { ...profile, image: profile.image }),
  )
  return missing === undefined ? undefined : inWords(missing.code)
}

const inWords = (code: string) => code.replaceAll('-', ' ')

async function waitsFor(
  facts: Facts,
  id: string,
  { eligibility, said }: { eligibility: Explanation['eligibility']; said: Said | undefined },
): Promise<string | undefined> {
  if (eligibility.status === 'skip') return undefined
  if (eligibility.status !== 'boot') return eligibility.reason
  const ingredients = await ingredientsOf(facts, id, { profile: eligibility.profile, said })
  return ingredients === undefined ? undefined : missingFrom(ingredients)?.message
}

/** Undefined for a profile that boots without an agent: it gets no plan. */
async function ingredientsOf(
  { machines, planner }: Facts,
  id: string,
  { profile, said }: { profile: Profile; said: Said | undefined },
): Promise<Ingredients | undefined> {
  if (profile.image === undefined) return undefined
  const machine = await machines.find(id)
  return planner.lookUp(machine, saidOf(machine, said), { ...profile, image: profile.image })
}

function saidOf({ arch, hardware }: Machine, said: Said | undefined): SaidOrNot {
  return said ?? { arch, hardwareIds: hardware.hardwareIds, agentVersion: undefined }
}

function releaseView(release: Ingredients['release']): NonNullable<WhyView['release']> {
  if ('error' in release) return reasonOf(release.error)
  const { because, floor, target } = release.value
  return { target: target.path, digest: `sha256:${target.sha256}`, minReleaseCounter: floor, because }
}

/** Names and rights of the files; what is in them may be secret. */
function joinView(cluster: string, join: Ingredients['join']): NonNullable<WhyView['join']> {
  if ('error' in join) return { cluster, ...reasonOf(join.error) }
  return { cluster, files: join.value.map(({ name }) => name) }
}

function reasonOf({ code, message }: Extract<Ingredient<never>, { error: unknown }>['error']) {
  return { code, reason: message }
}
