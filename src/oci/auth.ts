/**
 * How a registry is convinced: anonymously, with Basic (RFC 7617), or with a bearer token from a token service
 * (distribution's token and OAuth2 protocols).
 *
 * A credential goes to the registry's own origin, or to the token service that the registry names, if that is believable:
 * the challenge is attacker-controlled wherever TLS is missing, so the realm is checked before anything is asked of it.
 */
import { MusterError } from '../errors.ts'
import { readAll, type Sender, withoutQuery } from './send.ts'
import type { RegistryHosts } from './transport.ts'

export type Credentials =
  | { kind: 'basic'; username: string; password: string }
  /** An OAuth2 refresh token: what docker calls identity token. */
  | { kind: 'identity-token'; token: string }
  /** A bearer token that is sent as it is. */
  | { kind: 'registry-token'; token: string }

/** Credentials for a registry as references name it (`docker.io`, `host:5000`); undefined: be anonymous. */
export type CredentialLookup = (registry: string) => Promise<Credentials | undefined>

/** The repository that access is needed to. `origin` is where the registry is: scheme, host, port. */
export type AuthTarget = { registry: string; origin: string; name: string }

export type Authorizer = {
  /** A value for Authorization that worked before and has not expired. */
  remembered(target: AuthTarget): string | undefined
  /**
   * A value for Authorization that answers a 401. @throws registry-unauthorized, registry-unavailable, registry-invalid
   */
  answer(target: AuthTarget, challenge: string | null, signal?: AbortSignal): Promise<string>
}

const tokenBytesMax = 64 * 1024
/** distribution's token specification: 60 s where nothing is said. */
const defaultTokenSeconds = 60
const rememberedMax = 1000

export function createAuthorizer(options: {
  sender: Sender
  credentials?: CredentialLookup
  hosts?: RegistryHosts
  now?: () => number
}): Authorizer {
  const { sender, credentials = async () => undefined, hosts = {}, now = Date.now } = options
  const known = new Map<string, { value: string; untilMs: number }>()
  const keyOf = (target: AuthTarget) => `${target.origin} ${target.name}`

  return {
    remembered(target) {
      const found = known.get(keyOf(target))
      return found !== undefined && found.untilMs > now() ? found.value : undefined
    },

    async answer(target, header, signal) {
      const challenges = parseChallenges(header ?? '')
      const credential = await credentials(target.registry)
      const remember = (value: string, seconds: number) => {
        if (known.size >= rememberedMax) known.clear()
        known.set(keyOf(target), { value, untilMs: now() + seconds * 1000 })
        return value
      }

      const bearer = challenges.find((one) => one.scheme === 'bearer')
      if (bearer !== undefined) {
        if (credential?.kind === 'registry-token') return `Bearer ${credential.token}`
        const realm = checkRealm(bearer.parameters.get('realm'), target, hosts)
        const service = bearer.parameters.get('service')
        const token = await fetchToken(sender, { realm, service, target, credential, signal })
        // Ten seconds early: the token has to live until the registry reads it.
        return remember(`Bearer ${token.value}`, Math.max(token.seconds - 10, 5))
      }
      if (challenges.some((one) => one.scheme === 'basic') && credential?.kind === 'basic') {
        return remember(basic(credential), 3600)
      }
      const asked = challenges.map((one) => one.scheme).join(', ') || 'nothing we know'
      throw unauthorized(
        target,
        credential === undefined
          ? `it wants a login (${asked}) and there are no credentials for it`
          : `it wants ${asked}, which the ${credential.kind} credential at hand cannot answer`,
      )
    },
  }
}

export function unauthorized(
  target: Pick<AuthTarget, 'registry' | 'name'>,
  reason: string,
  cause?: unknown,
): MusterError {
  return new MusterError(
    'registry-unauthorized',
    `${target.registry} does not let us pull ${target.name}: ${reason}. Log in with 'docker login ${target.registry}' or name a docker config.json that has it.`,
    { cause, details: { registry: target.registry, name: target.name } },
  )
}

type TokenRequest = {
  realm: URL
  service: string | undefined
  target: AuthTarget
  credential: Credentials | undefined
  signal: AbortSignal | undefined
}

async function fetchToken(
  sender: Sender,
  request: TokenRequest,
): Promise<{ value: string; seconds: number }> {
  const { realm, service, target, credential, signal } = request
  // Ours, not the challenge's: what is asked for is never more than a pull.
  const query = new URLSearchParams({ scope: `repository:${target.name}:pull` })
  if (service !== undefined) query.set('service', service)
  const asked = signal === undefined ? {} : { signal }

  const reply =
    credential?.kind === 'identity-token'
      ? await sender.send(realm.href, {
          method: 'POST',
          headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
          body: `grant_type=refresh_token&client_id=muster&refresh_token=${encodeURIComponent(credential.token)}&${query}`,
          ...asked,
        })
      : await sender.send(withQuery(realm, query), {
          method: 'GET',
          headers: {
            accept: 'application/json',
            ...(credential?.kind === 'basic' ? { authorization: basic(credential) } : {}),
          },
          ...asked,
        })
  if (reply.status !== 200) {
    reply.abort()
    const refused = reply.status >= 400 && reply.status < 500
    if (refused)
      throw unauthorized(target, `its token service ${withoutQuery(realm.href)} answered ${reply.status}`)
    throw invalidToken(realm, `status ${reply.status}`)
  }
  const body = await readAll(reply, {
    bytesMax: tokenBytesMax,
    timeoutMs: sender.limits.responseTimeoutMs,
    tooLong: () => invalidToken(realm, `more than ${tokenBytesMax} bytes`),
  })
  return parseToken(realm, new TextDecoder().decode(body))
}

function parseToken(realm: URL, body: string): { value: string; seconds: number } {
  let json: Record<string, unknown>
  try {
    json = Object(JSON.parse(body)) as Record<string, unknown>
  } catch (cause) {
    throw invalidToken(realm, 'not JSON', cause)
  }
  const value = [json['token'], json['access_token']].find((one) => typeof one === 'string' && one !== '')
  const seconds = json['expires_in']
  // Printable ASCII alone: it becomes a header.
  if (typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value)) throw invalidToken(realm, 'no usable token')
  return { value, seconds: typeof seconds === 'number' && seconds > 0 ? seconds : defaultTokenSeconds }
}

function invalidToken(realm: URL, found: string, cause?: unknown): MusterError {
  return new MusterError(
    'registry-invalid',
    `The token service ${withoutQuery(realm.href)} answered with ${found}, expected JSON with a token.`,
    { cause },
  )
}

/**
 * A token service is believed on the registry's own host or domain (`auth.docker.io` for `registry-1.docker.io`), or when
 * the host's settings list it. Everything else would let a registry send us, with credentials, to any address inside
 * the network.
 */
function checkRealm(text: string | undefined, target: AuthTarget, hosts: RegistryHosts): URL {
  const realm = text !== undefined && URL.canParse(text) ? new URL(text) : undefined
  const own = new URL(target.origin)
  const refused = (reason: string) =>
    unauthorized(
      target,
      `it names the token service '${text ?? ''}', which ${reason}; nothing was sent to it`,
    )
  if (realm === undefined || realm.username !== '' || realm.password !== '' || realm.hash !== '') {
    throw refused('is not an address without a login in it')
  }
  const listed = hosts[target.registry]?.authRealms?.includes(realm.hostname) ?? false
  if (!listed && realm.hostname !== own.hostname && domainOf(realm.hostname) !== domainOf(own.hostname)) {
    throw refused(`is neither in the registry's domain nor listed in authRealms of ${target.registry}`)
  }
  const plainAllowed = own.protocol === 'http:' && realm.hostname === own.hostname
  if (realm.protocol !== 'https:' && !(realm.protocol === 'http:' && plainAllowed)) {
    throw refused('is not reached by https')
  }
  return realm
}

/** The last two labels; an address is its own domain. */
function domainOf(hostname: string): string {
  return /^[\d.]+$|:/.test(hostname) ? hostname : hostname.split('.').slice(-2).join('.')
}

function withQuery(realm: URL, query: URLSearchParams): string {
  const url = new URL(realm)
  for (const [name, value] of query) url.searchParams.set(name, value)
  return url.href
}

function basic(credential: { username: string; password: string }): string {
  return `Basic ${Buffer.from(`${credential.username}:${credential.password}`).toString('base64')}`
}

export type Challenge = { scheme: string; parameters: Map<string, string> }

/** RFC 9110 §11.6.1: `Bearer realm="…",service="…", Basic realm="…"`. What cannot be read is skipped. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = []
  const token = "[A-Za-z0-9!#$%&'*+.^_`|~-]+"
  const pattern = new RegExp(`(${token})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}))|(${token})`, 'gy')
  const text = header.slice(0, 8192)
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex
    const match = pattern.exec(text)
    if (match === null) {
      pattern.lastIndex = at + 1
      continue
    }
    const [, name, quoted, plain, scheme] = match
    if (scheme !== undefined) challenges.push({ scheme: scheme.toLowerCase(), parameters: new Map() })
    else if (name !== undefined) {
      challenges.at(-1)?.parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '')
    }
  }
  return challenges
}
