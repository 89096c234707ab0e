/** `muster machine why` for people: sentences, because somebody reads them at night. */
import type { WhyView } from '../http/admin-machines.ts'
import { printable } from './output.ts'

export function whyText(why: WhyView): string {
  const { machine, eligibility, release, profiles, lastBoot } = why
  const lines = [`${machine.name} is ${machine.enrolment}, trust ${machine.trust}.`]
  if (eligibility.status === 'boot') {
    lines.push(`It boots by profile '${eligibility.profile}':`, ...bullets(eligibility.because))
  } else if (eligibility.status === 'error')
    lines.push(`It boots nothing (${eligibility.code}): ${eligibility.reason}.`)
  else if (eligibility.status === 'wait') lines.push(`It waits: ${eligibility.reason}.`)
  else lines.push(`It goes on to its next boot device: ${eligibility.reason}.`)
  const given = profiles.find(({ matches }) => matches)
  if (given?.unverified === true)
    lines.push(`UNVERIFIED: profile '${given.name}' gives it files that nobody signed and nothing checks.`)
  if (release !== undefined && 'target' in release) {
    const floor =
      release.minReleaseCounter > 0
        ? [`nothing below release counter ${release.minReleaseCounter} boots`]
        : []
    lines.push(`Release ${release.target} (${release.digest}):`, ...bullets([...release.because, ...floor]))
  } else if (release !== undefined)
    lines.push(`There is no release for it (${release.code}): ${release.reason}`)
  if (lastBoot !== undefined) {
    const outcome = lastBoot.outcome === undefined ? 'is under way' : `ended ${lastBoot.outcome}`
    lines.push(`Its last boot ${lastBoot.id} ${outcome}: ${lastBoot.trust}.`)
  }
  const others = profiles.filter((one) => !one.matches)
  if (others.length > 0) {
    lines.push('Profiles that do not match:')
    lines.push(
      ...bullets(
        others.map(
          (one) =>
            `${one.name}${one.unverified === true ? ' (UNVERIFIED)' : ''}: ${one.sentences.join(', ')}`,
        ),
      ),
    )
  }
  return lines.map((line) => `${printable(line)}\n`).join('')
}

function bullets(sentences: readonly string[]): string[] {
  return sentences.map((sentence) => `  - ${sentence}`)
}
