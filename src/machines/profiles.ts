/**
 * Which machines get what. A profile's selector names conditions that must all hold; the most specific profile wins.
 *
 * The measure of a selector: each condition that it states counts, one naming a single machine (macs, uuid, serial) 100,
 * any other (each label, arch, vendor, product) 1. Lists inside a condition mean "one of these" and count once. The empty
 * selector holds for every machine and measures 0. Equal measures are an error that names both: order of creation, or of the
 * alphabet, would be an answer that nobody gave.
 */
import { z } from 'zod'
import { documentProblem } from '../document-problem.ts'
import { MusterError } from '../errors.ts'
import { arch } from '../protocol/identifiers.ts'
import { argumentProblem, planLimits } from '../protocol/plan.ts'
import { normaliseMac, normaliseSerial, normaliseUuid } from './identifiers.ts'
import type { Machine } from './records.ts'

const nameShape = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[^\x00-\x1f\x7f]*$/, 'no control characters')
const oneOf = <T extends z.ZodType>(value: T) => z.union([value, z.array(value).min(1).max(256)])

const identifier = (what: string, normalise: (value: string) => string | undefined) =>
  z
    .string()
    .max(128)
    .transform((value, context) => {
      const clean = normalise(value)
      if (clean !== undefined) return clean
      context.addIssue({ code: 'custom', message: `'${value}' is no ${what} that can tell machines apart` })
      return z.NEVER
    })

const selector = z.strictObject({
  labels: z.record(text(63), oneOf(z.string().max(256))).optional(),
  macs: z.array(identifier('MAC address', normaliseMac)).min(1).max(4096).optional(),
  uuid: oneOf(identifier('UUID', normaliseUuid)).optional(),
  serial: oneOf(identifier('serial number', normaliseSerial)).optional(),
  arch: z.enum(arch.options).optional(),
  vendor: oneOf(text(128)).optional(),
  product: oneOf(text(128)).optional(),
})

const fileName = text(255).regex(/^(?!.*(?:^|\/)\.\.?(?:\/|$))[^/].*$/, 'a relative path without . and ..')

const menuSeconds = 10
const menu = z.union([
  z.literal(true).transform(() => ({ seconds: menuSeconds, memtest: undefined })),
  z.strictObject({
    /** How long the menu waits for a person before it boots. */
    seconds: z.number().int().min(1).max(600).default(menuSeconds),
    /** A memory test in the files folder: nobody signed it, and the menu says so. */
    memtest: fileName.optional(),
  }),
])

/** What only boards without UEFI want to know. Device trees come from the files folder, unverified like all in it. */
const firmware = z.strictObject({
  /** `fit`: the agent as one flattened image tree, for a U-Boot without `booti`. */
  kernelFormat: z.enum(['image', 'fit']).default('image'),
  deviceTree: fileName.optional(),
  /** A folder of which U-Boot takes the file that its board is called by. */
  deviceTrees: fileName.optional(),
})
export type FirmwareMenu = z.output<typeof menu>
export type FirmwareSettings = z.output<typeof firmware>

export const profileSchema = z
  .strictObject({
    name: z.string().regex(nameShape, "at most 63 of a-z, 0-9 and '-'"),
    selector: selector.default({}),
    image: z
      .strictObject({
        name: z
          .string()
          .max(64)
          .regex(/^[a-z0-9][a-z0-9._-]*$/, 'an image name: a-z, 0-9 and . _ -'),
        channel: z
          .string()
          .max(64)
          .regex(/^[a-z0-9][a-z0-9._-]*$/, 'a channel: a-z, 0-9 and . _ -')
          .optional(),
        version: z
          .string()
          .max(64)
          .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'a version: letters, digits and . _ -')
          .optional(),
      })
      .refine((image) => (image.channel === undefined) !== (image.version === undefined), {
        message: 'say either channel or version',
      })
      .optional(),
    mode: z
      .string()
      .refine((mode) => mode !== 'install' && mode !== 'local', {
        message: "'install' and 'local' are reserved for a later version: only 'ram' exists now",
        abort: true,
      })
      .pipe(z.literal('ram', { error: "only 'ram' exists" }))
      .default('ram'),
    /** Added to the release's own signed command line; the agent's policy has the last word on each. */
    arguments: z.array(text(planLimits.argumentChars)).max(planLimits.arguments).default([]),
    cluster: z.string().regex(nameShape).optional(),
    /** Boots `files` of the operator's own folder without any verification; marked everywhere, never given a secret. */
    unverified: z.boolean().optional(),
    files: z.strictObject({ kernel: fileName, initrd: z.array(fileName).max(8).default([]) }).optional(),
    /** A menu for a person at the console, where the firmware is iPXE. */
    menu: menu.optional(),
    firmware: firmware.optional(),
  })
  .superRefine((profile, context) => {
    const issue = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message })
    if (profile.files === undefined && profile.image === undefined) issue('image', 'say which image it boots')
    if (profile.files !== undefined && profile.image !== undefined)
      issue('files', 'an image or files, not both')
    if (profile.files !== undefined && profile.unverified !== true)
      issue('files', 'nobody signed these files: say unverified: true to boot them all the same')
    if (profile.unverified === true && profile.files === undefined)
      issue('unverified', 'is for files only: an image is always verified')
    if (profile.unverified === true && profile.cluster !== undefined)
      issue('cluster', 'an unverified boot joins no cluster')
    for (const [index, argument] of profile.arguments.entries()) {
      const problem = argumentProblem(argument)
      if (problem === undefined) continue
      issue(
        `arguments.${index}`,
        `every agent refuses the kernel argument '${argument.slice(0, 80)}': ${problem}`,
      )
    }
  })

export type Profile = z.output<typeof profileSchema>
export type ProfileInput = z.input<typeof profileSchema>

/** @throws profile-invalid, with every problem and where it is. */
export function parseProfile(value: unknown): Profile {
  const result = profileSchema.safeParse(value)
  if (result.success) return result.data
  const problems = result.error.issues.map((issue) => documentProblem(issue, value, 'profile'))
  const given = (value as { name?: unknown } | null)?.name
  const name = typeof given === 'string' ? ` '${given.slice(0, 80)}'` : ''
  throw new MusterError('profile-invalid', `the profile${name} is not valid: ${problems.join('; ')}`, {
    details: { problems },
  })
}

/** What selectors look at. */
export type Selectable = Pick<Machine, 'labels' | 'macs' | 'uuid' | 'serial' | 'arch' | 'vendor' | 'product'>

/** One profile measured against one machine. `conditions`: sentences; those that do not hold say what was found. */
export type ProfileRank = {
  profile: Profile
  matches: boolean
  measure: number
  conditions: { holds: boolean; sentence: string }[]
}

const identifierWeight = 100

export function rankProfile(machine: Selectable, profile: Profile): ProfileRank {
  const { selector } = profile
  const conditions: ProfileRank['conditions'] = []
  let measure = 0
  const state = (
    what: string,
    wanted: string | readonly string[] | undefined,
    found: readonly string[],
    weight: number,
  ) => {
    if (wanted === undefined) return
    const list = typeof wanted === 'string' ? [wanted] : wanted
    const hit = found.find((value) => list.includes(value))
    measure += weight
    const shown = list.length > 3 ? `${list.slice(0, 3).join(', ')}, …` : list.join(', ')
    const is = found.length === 0 ? 'has none' : `is ${found.slice(0, 3).join(', ')}`
    conditions.push(
      hit === undefined
        ? { holds: false, sentence: `${what} should be ${shown}, but ${is}` }
        : { holds: true, sentence: `${what} is ${hit}` },
    )
  }
  const some = (value: string | undefined) => (value === undefined ? [] : [value])
  state('its MAC address', selector.macs, machine.macs, identifierWeight)
  state('its UUID', selector.uuid, some(machine.uuid), identifierWeight)
  state('its serial number', selector.serial, some(machine.serial), identifierWeight)
  for (const [key, wanted] of Object.entries(selector.labels ?? {})) {
    state(`label ${key}`, wanted, Object.hasOwn(machine.labels, key) ? some(machine.labels[key]) : [], 1)
  }
  state('its architecture', selector.arch, [machine.arch], 1)
  state('its vendor', selector.vendor, some(machine.vendor), 1)
  state('its product', selector.product, some(machine.product), 1)
  return { profile, matches: conditions.every((condition) => condition.holds), measure, conditions }
}

export type ProfileMatch = { profile: Profile; because: string[] }

/** The most specific profile that matches; undefined when none does. @throws profile-tie, naming both. */
export function matchProfile(machine: Selectable, profiles: readonly Profile[]): ProfileMatch | undefined {
  const ranks = profiles.map((profile) => rankProfile(machine, profile)).filter((rank) => rank.matches)
  const [best, second] = ranks.sort((a, b) => b.measure - a.measure)
  if (best === undefined) return undefined
  if (second !== undefined && second.measure === best.measure) {
    const names = [best.profile.name, second.profile.name].sort()
    throw new MusterError(
      'profile-tie',
      `the profiles '${names[0]}' and '${names[1]}' match equally well (measure ${best.measure}): add a condition to one, or remove the other`,
      { details: { profiles: names, measure: best.measure } },
    )
  }
  const held = best.conditions.map((condition) => condition.sentence)
  const why = held.length === 0 ? 'its selector is empty, which is every machine' : held.join(', ')
  return { profile: best.profile, because: [`profile '${best.profile.name}' matches: ${why}`] }
}
