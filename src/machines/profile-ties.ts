/** Profiles that no machine could be chosen between: said when one is set, not at the rack. */
import type { Profile } from './profiles.ts'

/**
 * A sentence for each of `others` that ties with `profile` for certain: both state the same conditions, and what they ask for
 * overlaps. Two that state different ones tie only on a machine that happens to meet both, which `matchProfile` says then.
 */
export function profileTies(profile: Profile, others: readonly Profile[]): string[] {
  const own = conditionsOf(profile)
  return others
    .filter(({ name }) => name !== profile.name)
    .flatMap((other) => {
      const theirs = conditionsOf(other)
      if (theirs.size !== own.size) return []
      const shared = [...own].map(([condition, values]) => ({
        condition,
        values: values.filter((value) => theirs.get(condition)?.includes(value)),
      }))
      if (shared.some(({ values }) => values.length === 0)) return []
      const which = shared.map(
        ({ condition, values }) => `${condition} is ${values.slice(0, 3).join(' or ')}`,
      )
      const machines = which.length === 0 ? 'every machine' : `every machine whose ${which.join(' and ')}`
      return [
        `profile '${other.name}' fits ${machines} as well as '${profile.name}' does (profile-tie), and such a machine waits unless a more specific one fits: ` +
          `add a condition to one of the two, or remove one`,
      ]
    })
}

function conditionsOf({ selector }: Profile): Map<string, string[]> {
  const { labels = {}, ...rest } = selector
  const stated: [string, string | string[] | undefined][] = [
    ...Object.entries(labels).map(([name, value]): [string, string | string[]] => [`label ${name}`, value]),
    ...Object.entries(rest),
  ]
  return new Map(stated.flatMap(([name, value]) => (value === undefined ? [] : [[name, [value].flat()]])))
}
