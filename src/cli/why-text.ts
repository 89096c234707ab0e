/** `muster machine why` for people: sentences, because somebody reads them at night. */
import type { WhyView } from '../http/admin-machines.ts'
import { printable } from './output.ts'

export function whyText(why: WhyView): string {
  const { machine, lastBoot, profiles } = why
  const lines = [
    `${machine.name} is ${machine.enrolment}, trust ${machine.trust}.`,
    ...eligibilityLines(why),
    ...unverifiedLines(why),
    ...releaseLines(why),
    ...joinLines(why),
  ]
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

function eligibilityLines({ eligibility }: WhyView): string[] {
  const { status } = eligibility
  if (status === 'boot')
    return [`It boots by profile '${eligibility.profile}':`, ...bullets(eligibility.because)]
  if (status === 'error') return [ended(`It boots nothing (${eligibility.code}): ${eligibility.reason}`)]
  if (status === 'skip') return [ended(`It goes on to its next boot device: ${eligibility.reason}`)]
  const { because = [], code, profile, reason } = eligibility
  const then =
    profile === undefined
      ? []
      : [`As soon as that is mended it boots by profile '${profile}':`, ...bullets(because)]
  return [ended(`It waits${code === undefined ? '' : ` (${code})`}: ${reason}`), ...then]
}

function unverifiedLines({ profiles }: WhyView): string[] {
  const given = profiles.find(({ matches }) => matches)
  if (given?.unverified !== true) return []
  return [`UNVERIFIED: profile '${given.name}' gives it files that nobody signed and nothing checks.`]
}

function releaseLines({ eligibility, release }: WhyView): string[] {
  if (release === undefined) return []
  if ('code' in release)
    return saidAlready(eligibility, release.reason)
      ? []
      : [ended(`There is no release for it (${release.code}): ${release.reason}`)]
  const floor =
    release.minReleaseCounter > 0 ? [`nothing below release counter ${release.minReleaseCounter} boots`] : []
  return [`Release ${release.target} (${release.digest}):`, ...bullets([...release.because, ...floor])]
}

function joinLines({ eligibility, join }: WhyView): string[] {
  if (join === undefined) return []
  if ('files' in join)
    return [`It joins cluster '${join.cluster}' by ${join.files.join(', ') || 'no files'}.`]
  if (saidAlready(eligibility, join.reason)) return []
  return [ended(`It cannot join cluster '${join.cluster}' (${join.code}): ${join.reason}`)]
}

function saidAlready(eligibility: WhyView['eligibility'], reason: string): boolean {
  return 'reason' in eligibility && eligibility.reason === reason
}

/** Reasons come with and without a full stop. */
function ended(sentence: string): string {
  return sentence.endsWith('.') ? sentence : `${sentence}.`
}

function bullets(sentences: readonly string[]): string[] {
  return sentences.map((sentence) => `  - ${sentence}`)
}
