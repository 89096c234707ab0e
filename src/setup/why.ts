/** What a machine would boot now, looked up as a plan looks it up (boot/decide.ts), so that both always say the same. */
import { type Ingredient, type Ingredients, missingFrom, type Planner } from '../boot/decide.ts'
import type { MachineView, WhyView } from '../http/admin-machines.ts'
import type { Machines } from '../machines/machines.ts'
import type { Eligibility, Explanation } from '../machines/why.ts'

type Facts = { machines: Pick<Machines, 'find' | 'why'>; planner: Pick<Planner, 'lookUp'> }

/** @throws machine-not-found, machine-ambiguous */
export async function whyOf(facts: Facts, text: string): Promise<WhyView> {
  const { eligibility, lastBoot, ...rest } = await facts.machines.why(text)
  const view = { ...rest, ...(lastBoot === undefined ? {} : { lastBoot }) }
  if (eligibility.status !== 'boot') return { ...view, eligibility }
  const { because, profile } = eligibility
  const ingredients = await ingredientsOf(facts, rest.machine.id, eligibility)
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
  const { eligibility, profiles } = await facts.machines.why(machine.id)
  const given = profiles.find(({ matches }) => matches)
  const waits = await waitsFor(facts, machine.id, eligibility)
  return {
    ...machine,
    ...(waits === undefined ? {} : { waits }),
    ...(given?.unverified === true ? { unverified: given.name } : {}),
  }
}

async function waitsFor(
  facts: Facts,
  id: string,
  eligibility: Explanation['eligibility'],
): Promise<string | undefined> {
  if (eligibility.status === 'skip') return undefined
  if (eligibility.status !== 'boot') return eligibility.reason
  const ingredients = await ingredientsOf(facts, id, eligibility)
  return ingredients === undefined ? undefined : missingFrom(ingredients)?.message
}

/** Undefined for a profile that boots without an agent: it gets no plan. */
async function ingredientsOf(
  { machines, planner }: Facts,
  id: string,
  { profile }: Extract<Eligibility, { status: 'boot' }>,
): Promise<Ingredients | undefined> {
  if (profile.image === undefined) return undefined
  const machine = await machines.find(id)
  return planner.lookUp(machine, machine.arch, { ...profile, image: profile.image })
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
