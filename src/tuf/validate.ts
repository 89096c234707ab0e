/**
 * The strict validator in front of tuf-js: everything that its parser lets through and that could be read in two ways,
 * counted twice, or never expire (docs/decisions/0004). Runs before any signature is checked; the bytes are hostile.
 *
 * Names of members are those of the TUF specification v1.0.34, §4.2 to §4.6.
 */
import * as z from 'zod/mini'
import { type PublicKey, parsePublicKey } from '../crypto/public-key.ts'
import { MusterError } from '../errors.ts'
import { maxEntries } from './limits.ts'
import { parseStrictJson } from './strict-json.ts'

export const topLevelRoles = ['root', 'timestamp', 'snapshot', 'targets'] as const
export type TopLevelRole = (typeof topLevelRoles)[number]

const version = z.number().check(z.int(), z.gte(1))
const length = z.number().check(z.int(), z.gte(0))

/** A name that JavaScript objects have already would be found where nobody put it. */
const ownName = (maxChars: number) =>
  z.string().check(
    z.minLength(1),
    z.maxLength(maxChars),
    z.refine((name) => !(name in Object.prototype), 'a name that every JavaScript object has'),
    z.regex(/^[^\u0000-\u001f\u007f]*$/, 'no control characters'),
  )

const keyid = ownName(128)

/** Date takes "2030" and "Jan 1 2030" too; python-tuf takes only this. February 30 is not a date. */
const expires = z
  .string()
  .check(
    z.regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/, 'a time written as YYYY-MM-DDTHH:MM:SSZ'),
    z.refine(isRealTime, 'a time that exists'),
  )

/** Digits per algorithm that we compute; without one of them a file would be bound by its length alone. */
const knownHashes: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 }
const hashes = z.record(z.string(), z.string().check(z.regex(/^(?:[0-9a-f]{2})+$/))).check(
  z.refine((found) => Object.keys(found).some((name) => Object.hasOwn(knownHashes, name)), 'a sha256'),
  z.refine((found) => Object.entries(found).every(hasItsLength), 'hashes of their algorithm’s length'),
)

const key = z
  .looseObject({ keytype: z.string(), scheme: z.string(), keyval: z.catchall(z.object({}), z.string()) })
  .check(z.refine(isKnownOrForeign, 'a public key that fits its keytype and scheme'))
const keys = z.record(keyid, key).check(atMost(maxEntries.keys))
export type Keys = z.infer<typeof keys>

const signers = {
  keyids: z.array(keyid).check(z.maxLength(maxEntries.keys), z.refine(isUnique, 'each keyid once')),
  threshold: z.number().check(z.int(), z.gte(1)),
}
const role = z.looseObject(signers)

const common = {
  spec_version: z.string().check(z.regex(/^1\.\d{1,4}(?:\.\d{1,4})?$/, 'specification version 1')),
  version,
  expires,
}

const root = z
  .looseObject({
    ...common,
    _type: z.literal('root'),
    // Optional in the specification; guessing it would decide which file is fetched.
    consistent_snapshot: z.boolean(),
    keys,
    roles: z.strictObject({ root: role, timestamp: role, snapshot: role, targets: role }),
  })
  .check(z.refine(({ keys, roles }) => Object.values(roles).every(distinctKeys(keys)), sameKeyTwice()))

const metaFile = z.looseObject({
  version,
  length: z.optional(z.number().check(z.int(), z.gte(1))),
  hashes: z.optional(hashes),
})
export type MetaFile = z.infer<typeof metaFile>

const timestamp = z.looseObject({
  ...common,
  _type: z.literal('timestamp'),
  meta: z.strictObject({ 'snapshot.json': metaFile }),
})

const snapshot = z.looseObject({
  ...common,
  _type: z.literal('snapshot'),
  meta: z.record(z.string().check(z.regex(/.\.json$/)), metaFile).check(
    atMost(maxEntries.meta),
    z.refine((meta) => Object.hasOwn(meta, 'targets.json'), 'targets.json'),
  ),
})

const roleName = ownName(100).check(
  z.refine((name) => !(topLevelRoles as readonly string[]).includes(name), 'no name of a top-level role'),
  // Objects list such members first, whatever the order of appearance: §5.6.7.2 would be broken.
  z.regex(/[^0-9]/, 'a name that is more than digits'),
)

/** What fnmatch, minimatch and Go's path.Match read differently is no pattern; `*` and `?` are all that TUF has. */
const pathPattern = z
  .string()
  .check(
    z.minLength(1),
    z.maxLength(1024),
    z.regex(/^(?!.*[[\]{}()\\])(?!(?:.*\/)?[!#])/, 'a pattern of * and ? only'),
  )

const delegatedRole = z
  .looseObject({
    ...signers,
    name: roleName,
    terminating: z.boolean(),
    paths: z.optional(z.array(pathPattern)),
    path_hash_prefixes: z.optional(z.array(z.string().check(z.regex(/^[0-9a-f]{1,64}$/)))),
  })
  .check(
    z.refine(
      (found) => (found.paths === undefined) !== (found.path_hash_prefixes === undefined),
      'either paths or path_hash_prefixes',
    ),
  )

const succinctRoles = z.looseObject({
  ...signers,
  bit_length: z.number().check(z.int(), z.gte(1), z.lte(32)),
  name_prefix: ownName(80),
})

const delegations = z
  .looseObject({
    keys,
    roles: z.optional(
      z.array(delegatedRole).check(
        z.maxLength(maxEntries.roles),
        z.refine((roles) => isUnique(roles.map(({ name }) => name)), 'each role once'),
      ),
    ),
    succinct_roles: z.optional(succinctRoles),
  })
  .check(
    z.refine(
      (d) => (d.roles === undefined) !== (d.succinct_roles === undefined),
      'either roles or succinct_roles',
    ),
    z.refine(
      ({ keys, roles = [], succinct_roles: bins }) =>
        [...roles, ...(bins === undefined ? [] : [bins])].every(distinctKeys(keys)),
      sameKeyTwice(),
    ),
  )
export type Delegations = z.infer<typeof delegations>

const targetPath = z.string().check(z.minLength(1), z.maxLength(1024), z.regex(/^[^\u0000-\u001f\u007f]*$/))
const targetFile = z.looseObject({ length, hashes, custom: z.optional(z.unknown()) })
export type TargetFile = z.infer<typeof targetFile>

const targets = z.looseObject({
  ...common,
  _type: z.literal('targets'),
  targets: z.record(targetPath, targetFile).check(atMost(maxEntries.targets)),
  delegations: z.optional(delegations),
})

const schemas = { root, timestamp, snapshot, targets } as const
export type SignedOf<Role extends TopLevelRole> = z.infer<(typeof schemas)[Role]>

const signatures = z
  .array(
    z.looseObject({
      keyid,
      // Empty is a signature still to come (tuf-on-ci writes it); it never verifies.
      sig: z
        .string()
        .check(z.maxLength(4096), z.regex(/^(?:[0-9a-fA-F]{2})*$/, 'hexadecimal digits in pairs')),
    }),
  )
  .check(
    z.maxLength(maxEntries.signatures),
    z.refine((found) => isUnique(found.map(({ keyid }) => keyid)), 'one signature for each keyid'),
  )

/** A file that has the form of metadata and can be read in one way only. Nothing about it is verified yet. */
export type ValidFile<Role extends TopLevelRole> = {
  signed: SignedOf<Role>
  text: string
  /** Of its signatures, each once. */
  keyids: string[]
}

/**
 * @param role what the file should be; delegated roles are `targets`.
 * @param name of the file, for the sentence.
 * @throws metadata-invalid
 */
export function validateMetadata<Role extends TopLevelRole>(
  role: Role,
  name: string,
  bytes: Uint8Array,
): ValidFile<Role> {
  const { value, text } = parseStrictJson(bytes, name)
  const result = z.looseObject({ signatures, signed: schemas[role] }).safeParse(value)
  if (!result.success) {
    const [issue] = result.error.issues
    const place = issue?.path.map(String).join('.') || 'the document'
    const expected = issue?.code === 'invalid_type' ? issue.expected : issue?.message
    throw new MusterError(
      'metadata-invalid',
      `${name} is not valid ${role} metadata: ${place}: expected ${expected ?? 'what TUF allows'}.`,
      { cause: result.error, details: { name, place } },
    )
  }
  const keyids = result.data.signatures.map(({ keyid }) => keyid)
  return { signed: result.data.signed as SignedOf<Role>, text, keyids }
}

function isRealTime(text: string): boolean {
  const time = new Date(text)
  return !Number.isNaN(time.getTime()) && time.toISOString().slice(0, 19) === text.slice(0, 19)
}

function hasItsLength([name, digits]: [string, string]): boolean {
  return !Object.hasOwn(knownHashes, name) || digits.length === knownHashes[name]
}

/** Undefined for a type that we do not know. @throws key-invalid */
export function toPublicKey({ keytype, scheme, keyval }: Keys[string]): PublicKey | undefined {
  return parsePublicKey({ keytype, scheme, public: keyval['public'] ?? '' })
}

/** A key type that we do not know may be listed: nothing verifies under it. A known one has to be right. */
function isKnownOrForeign(found: Keys[string]): boolean {
  try {
    toPublicKey(found)
    return true
  } catch {
    return false
  }
}

/** One key under two keyids would count twice towards a threshold (compared by what it is, not how it is written). */
function distinctKeys(keys: Keys): (role: { keyids: string[] }) => boolean {
  return ({ keyids }) => {
    const listed = keyids.filter((id) => Object.hasOwn(keys, id)).map((id) => keys[id]!)
    return isUnique(listed.map(materialOf))
  }
}

function materialOf(key: Keys[string]): string {
  const written = `${key.keytype} ${key.scheme} ${JSON.stringify(key.keyval)}`
  return isKnownOrForeign(key) ? (toPublicKey(key)?.material ?? written) : written
}

function sameKeyTwice(): string {
  return 'the same public key under two keyids of one role counts once, so it may stand there once'
}

function isUnique(names: readonly string[]): boolean {
  return new Set(names).size === names.length
}

function atMost(entries: number) {
  return z.refine<object>((record) => Object.keys(record).length <= entries, `at most ${entries} entries`)
}
