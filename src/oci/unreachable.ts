/**
 * Why nothing answered, in words for whoever pulls, and whether waiting can change it. A wrong setting stays wrong in the second
 * try as in the fifth: only what may heal is worth another.
 *
 * The codes are Node's: of OpenSSL's verification (X509_V_ERR_* without its beginning), of its record layer (ERR_SSL_*), of
 * getaddrinfo(3) and connect(2).
 */
export type Unreachable = {
  /** A clause about the host, without its name: `speaks plain HTTP, …`. */
  reason: string
  /** A sentence. */
  wayOut: string
  mayHeal: boolean
}

/** How a host without TLS is allowed, which differs between a registry and an upstream. */
export type PlainHttpWay = (host: string) => string

/** The setting as YAML and as the JSON of --set and the environment; quoted, because a port makes a `:` part of the key. */
export function hostSetting(host: string, setting: { plainHttp: true } | { ca: string }): string {
  const yaml = 'ca' in setting ? `ca: ${setting.ca}` : 'plainHttp: true'
  const json = JSON.stringify({ [host]: setting })
  return `'registry: {hosts: {"${host}": {${yaml}}}}' in muster.yaml, or --set 'registry.hosts=${json}', or MUSTER_REGISTRY_HOSTS='${json}'`
}

export const registryPlainHttp: PlainHttpWay = (host) =>
  `If that is meant, allow it where the pull runs (of 'image pull' that is the server): ${hostSetting(host, { plainHttp: true })}.`

/** Undefined for what is none of these: a timeout, a connection that broke. */
export function explainUnreachable(
  error: unknown,
  host: string,
  plainHttpWay: PlainHttpWay,
): Unreachable | undefined {
  const { code, text } = causeOf(error)
  // The first bytes of an HTTP reply are read as the head of a TLS record: `HTTP/` is a version that no TLS has.
  if (/wrong[ _]version[ _]number|packet[ _]length[ _]too[ _]long|http request/i.test(`${code} ${text}`))
    return {
      reason: 'speaks plain HTTP, and TLS was spoken to it',
      wayOut: plainHttpWay(host),
      mayHeal: false,
    }
  return ofCertificate(code, host) ?? ofConnection(code, error)
}

function ofCertificate(code: string, host: string): Unreachable | undefined {
  const of = (reason: string, wayOut: string) => ({ reason, wayOut, mayHeal: false })
  if (/SELF_SIGNED_CERT|UNABLE_TO_(?:GET|VERIFY)|CERT_UNTRUSTED/.test(code))
    return of(
      `shows a certificate that is not trusted here (${code})`,
      `If it has a certificate authority of its own, name that authority's PEM file where the pull runs: ${hostSetting(host, { ca: '/path/to/ca.pem' })}.`,
    )
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return of(
      'shows a certificate that is valid, but for another name',
      'Use a name that stands in its certificate, or give it a certificate for this one.',
    )
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return of(
      `shows a certificate that ${code === 'CERT_HAS_EXPIRED' ? 'has expired' : 'is not valid yet'}`,
      'Renew it there, and look whether the clock here is right.',
    )
  return undefined
}

function ofConnection(code: string, error: unknown): Unreachable | undefined {
  const proxy = 'behind a proxy, set HTTPS_PROXY'
  if (code === 'ENOTFOUND')
    return {
      reason: 'is a name that does not resolve',
      wayOut: `Look for a typing error and at this machine's DNS; ${proxy}.`,
      mayHeal: false,
    }
  if (code === 'EAI_AGAIN')
    return {
      reason: 'does not resolve, because no DNS server answers',
      wayOut: `See to this machine's DNS (/etc/resolv.conf), then try again; ${proxy}.`,
      mayHeal: true,
    }
  const there = addressOf(error)
  if (code === 'ECONNREFUSED')
    return {
      reason: `refuses the connection${there}: nothing listens there`,
      wayOut: 'Look whether it runs, and at the port; what was fetched is kept.',
      mayHeal: true,
    }
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH')
    return {
      reason: `cannot be reached${there}: there is no way to it from here`,
      wayOut: `See to routes and firewalls; ${proxy}.`,
      mayHeal: true,
    }
  return undefined
}

/** The address behind the name, or the proxy's, which the name does not tell. */
function addressOf(error: unknown): string {
  const { errors, address, port } = error as { errors?: unknown[]; address?: unknown; port?: unknown }
  if (typeof address === 'string' && typeof port === 'number')
    return ` at ${address.includes(':') ? `[${address}]` : address}:${port}`
  // A name with several addresses: an AggregateError of one error each.
  return errors?.[0] === undefined ? '' : addressOf(errors[0])
}

/** The global fetch hides the reason in `cause`. */
function causeOf(error: unknown): { code: string; text: string } {
  if (!(error instanceof Error)) return { code: '', text: '' }
  const { code } = error as { code?: unknown }
  if (typeof code === 'string') return { code, text: error.message }
  return error.cause === undefined ? { code: '', text: error.message } : causeOf(error.cause)
}
