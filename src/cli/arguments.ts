/** Parsers for option values: a wrong one is wrong usage (exit code 2), said before anything is done. */
import { InvalidArgumentError } from 'commander'
import { didYouMean } from '../nearest.ts'
import { agentPlaneUrl, publicKeyPin } from '../protocol/agent-config.ts'
import { arch } from '../protocol/identifiers.ts'
import { parseTargetName, type TargetName } from '../protocol/release-rules.ts'
import { agentVersionPattern } from '../protocol/target.ts'

export function oneOf<T extends string>(known: readonly T[]): (text: string) => T {
  return (text) => {
    const found = known.find((one) => one === text)
    if (found !== undefined) return found
    throw new InvalidArgumentError(`It is one of ${known.join(', ')}${didYouMean(text, known) || '.'}`)
  }
}

export const anArch = oneOf(arch.options)

export function wholeNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It is a whole number.')
}

/** A server's public key, for agents and for --url; of several servers all, with commas. */
export function pinList(text: string): string[] {
  const pins = text.split(',').map((pin) => pin.trim())
  if (pins.every((pin) => publicKeyPin.safeParse(pin).success)) return pins
  throw new InvalidArgumentError(
    "It is sha256// and 44 characters of base64, as 'muster status' on the server prints it.",
  )
}

export function wholeNumberFrom(min: number, max: number): (text: string) => number {
  return (text) => {
    const number = wholeNumber(text)
    if (number >= min && number <= max) return number
    throw new InvalidArgumentError(`It is a whole number from ${min} to ${max}.`)
  }
}

export function agentVersion(text: string): string {
  if (agentVersionPattern.test(text)) return text
  throw new InvalidArgumentError(
    "It is a version in numbers, as in 0.1.0 ('muster --version' prints this one's).",
  )
}

export function anAgentPlane(text: string): string {
  if (agentPlaneUrl.safeParse(text).success) return text
  throw new InvalidArgumentError('It is https://host:port.')
}

export type ReleaseName = { image: string; version: string }

export function releaseName(text: string): ReleaseName {
  const [image, version, ...rest] = text.split('/')
  if (!image || !version || rest.length > 0)
    throw new InvalidArgumentError('It is <image>/<version>, as in edge-os/1.4.2.')
  if (!isTarget(`${image}/0/amd64`, 'release'))
    throw new InvalidArgumentError(
      `The image may have at most 64 of a-z, 0-9 and . _ -, beginning with a letter or digit; '${image}' is not of those.`,
    )
  if (!isTarget(`${image}/${version}/amd64`, 'release'))
    throw new InvalidArgumentError(
      `The version may have at most 64 of A-Z, a-z, 0-9 and . _ -, beginning with a letter or digit, and not be 'channel'; '${version}' is not of those.`,
    )
  return { image, version }
}

export function channelName(text: string): string {
  if (isTarget(`x/channel/${text}`, 'channel')) return text
  throw new InvalidArgumentError(
    'It may have at most 64 of a-z, 0-9 and . _ -, beginning with a letter or digit, as in stable.',
  )
}

/** Whether machines would take a target of that name. */
function isTarget(path: string, kind: TargetName['kind']): boolean {
  try {
    return parseTargetName(path).kind === kind
  } catch {
    return false
  }
}
