/**
 * How requests to registries leave this process: node:http(s) with a certificate authority per host and the usual proxy
 * variables, neither of which the global fetch can be given without changing it for the whole program.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { MusterError } from '../errors.ts'

/** What the client needs of a reply; the global `fetch`'s Response is one too. */
export type HttpReply = {
  status: number
  headers: { get(name: string): string | null }
  body: AsyncIterable<Uint8Array> | null
}
export type HttpRequest = {
  method: 'GET' | 'HEAD' | 'POST'
  headers: Record<string, string>
  body?: string
  signal: AbortSignal
  /** Redirects are followed by registry.ts, which knows which headers may go along. */
  redirect: 'manual'
}
export type Fetch = (url: string, request: HttpRequest) => Promise<HttpReply>

/** How one registry host differs from a public one. The key of a host is `name` or `name:port`, as in references. */
export type RegistryHost = {
  /** Speak HTTP without TLS; nothing else ever does. */
  plainHttp?: boolean
  /** PEM certificates that replace the system's authorities for this host. */
  ca?: string
  /** Host names of token services that may be asked beside the registry's own domain. */
  authRealms?: readonly string[]
}
export type RegistryHosts = Readonly<Record<string, RegistryHost>>

/** The part of the environment that names proxies; config.ts reads it. Lower-case forms win, as in curl. */
export type ProxyEnvironment = { HTTP_PROXY?: string; HTTPS_PROXY?: string; NO_PROXY?: string }

export type Transport = AsyncDisposable & { fetch: Fetch }

/** Connections are kept alive until the transport is disposed of; disposal ends those under way. */
export function createTransport(
  options: { hosts?: RegistryHosts; proxy?: ProxyEnvironment; socketsPerHostMax?: number } = {},
): Transport {
  const { hosts = {}, proxy, socketsPerHostMax = 8 } = options
  const shared = {
    keepAlive: true,
    maxSockets: socketsPerHostMax,
    ...(proxy === undefined ? {} : { proxyEnv: lowerCaseToo(proxy) }),
  }
  const http = new HttpAgent(shared)
  const https = new HttpsAgent(shared)
  const ownAuthority = new Map(
    Object.entries(hosts).flatMap(([host, { ca }]) =>
      ca === undefined ? [] : [[host, new HttpsAgent({ ...shared, ca })] as const],
    ),
  )

  return {
    fetch: (url, request) =>
      new Promise((resolve, reject) => {
        const target = new URL(url)
        const secure = target.protocol === 'https:'
        const { method, headers, signal } = request
        const agent = secure ? (ownAuthority.get(target.host) ?? https) : http
        const outgoing = (secure ? httpsRequest : httpRequest)(target, { method, headers, signal, agent })
        // Stays: a connection may also break after the reply began, which its reader sees for itself.
        outgoing.on('error', reject)
        outgoing.once('response', (incoming) => resolve(toReply(incoming)))
        outgoing.end(request.body)
      }),
    async [Symbol.asyncDispose]() {
      for (const agent of [http, https, ...ownAuthority.values()]) agent.destroy()
    },
  }
}

/** @throws registry-invalid for a host whose settings contradict each other */
export function checkHosts(hosts: RegistryHosts): void {
  for (const [host, { plainHttp, ca }] of Object.entries(hosts)) {
    if (plainHttp === true && ca !== undefined) {
      throw new MusterError(
        'registry-invalid',
        `The registry ${host} is set to plain HTTP and has a certificate authority: remove one of the two.`,
      )
    }
  }
}

function toReply(incoming: IncomingMessage): HttpReply {
  return {
    status: incoming.statusCode ?? 0,
    headers: {
      get(name) {
        const value = incoming.headers[name.toLowerCase()]
        return value === undefined ? null : Array.isArray(value) ? value.join(', ') : value
      },
    },
    body: incoming,
  }
}

function lowerCaseToo(proxy: ProxyEnvironment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(proxy).flatMap(([name, value]) =>
      value === undefined
        ? []
        : [
            [name, value],
            [name.toLowerCase(), value],
          ],
    ),
  )
}
