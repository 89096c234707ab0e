/**
 * Image references as people write them: `registry.example:5000/os/edge:1.4@sha256:…`.
 *
 * Names and tags follow distribution-spec v1.1 §pull; the registry in front and the defaults are docker's convention,
 * made explicit here so that what we store and print names everything. Pure: no URL, no Node.
 *
 *     reference = [ registry "/" ] name [ ":" tag ] [ "@" digest ]
 */
import { MusterError } from '../errors.ts'

export type Reference = {
  /** Host and optional port, as in the text: `docker.io`, `registry.example:5000`, `[::1]:5000`. */
  registry: string
  /** Repository in the registry: `library/debian`, `os/edge`. */
  name: string
  tag?: string
  /** `sha256:<64 hex>`. With a tag beside it the digest alone decides. */
  digest?: string
}

export const referenceLimits = { nameChars: 255, tagChars: 128 } as const

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const namePattern = new RegExp(`^${component}(?:/${component})*$`)
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const digestPattern = /^sha256:[0-9a-f]{64}$/
const label = '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?'
const registryPattern = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[0-9a-fA-F:]{2,39}\\])(?::[0-9]{1,5})?$`)

/** Whether `text` is a repository name of the distribution specification. */
export const isName = (text: string): boolean =>
  text.length <= referenceLimits.nameChars && namePattern.test(text)
export const isTag = (text: string): boolean => tagPattern.test(text)
/** Whether `text` is a sha256 digest; no other algorithm is accepted anywhere in Muster. */
export const isDigest = (text: string): boolean => digestPattern.test(text)

/**
 * Reads a reference. Defaults: registry `docker.io` (whose one-word names stand under `library/`), tag `latest` when
 * there is neither tag nor digest.
 * @throws reference-invalid
 */
export function parseReference(text: string): Reference {
  if (text.length > 600) throw invalid(text.slice(0, 64), 'it is longer than 600 characters')
  const at = text.indexOf('@')
  const digest = at < 0 ? undefined : text.slice(at + 1)
  const beforeDigest = at < 0 ? text : text.slice(0, at)
  if (digest !== undefined && !isDigest(digest)) {
    throw invalid(text, `'${digest}' is not sha256: and 64 lower-case hexadecimal digits`)
  }

  const slash = beforeDigest.indexOf('/')
  const first = beforeDigest.slice(0, Math.max(slash, 0))
  // Docker's rule: only what cannot be a plain path component is a registry.
  const hasRegistry = slash > 0 && (/[.:A-Z]/.test(first) || first === 'localhost')
  const registry = hasRegistry ? first : 'docker.io'
  const rest = hasRegistry ? beforeDigest.slice(slash + 1) : beforeDigest
  if (!registryPattern.test(registry))
    throw invalid(text, `'${registry}' is not a host name with an optional port`)

  const colon = rest.indexOf(':')
  const tag = colon < 0 ? undefined : rest.slice(colon + 1)
  const path = colon < 0 ? rest : rest.slice(0, colon)
  const name = registry === 'docker.io' && !path.includes('/') ? `library/${path}` : path
  if (tag !== undefined && !isTag(tag)) {
    throw invalid(
      text,
      `the tag '${tag}' is not at most 128 of A-Z a-z 0-9 . _ -, starting with a letter, digit or _`,
    )
  }
  if (!isName(name)) {
    throw invalid(text, `the name '${path}' is not lower-case letters and digits, separated by / . _ or -`)
  }
  if (digest === undefined) return { registry, name, tag: tag ?? 'latest' }
  return tag === undefined ? { registry, name, digest } : { registry, name, tag, digest }
}

/** The explicit form: every default written out. `parseReference` of it gives the same again. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`
  return `${reference.registry}/${reference.name}${tag}${digest}`
}

function invalid(text: string, reason: string): MusterError {
  return new MusterError(
    'reference-invalid',
    `'${text}' is not an image reference: ${reason}. Write it like registry.example/os/edge:1.4.`,
    { details: { reference: text } },
  )
}
