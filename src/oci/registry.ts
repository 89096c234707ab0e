/**
 * Pulls from a registry by the distribution-spec v1.1, endpoints end-2 (blobs) and end-3 (manifests).
 *
 * A registry is not trusted: digests are computed here, always, and its headers only ever make us refuse. Credentials go
 * to its own origin alone; a redirect elsewhere (most keep blobs in object storage) takes none of them along.
 */
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { type AuthTarget, type CredentialLookup, createAuthorizer, unauthorized } from './auth.ts'
import { type BlobLimits, defaultBlobLimits, readBlob } from './blob-reader.ts'
import { kindOf, manifestLimits, mediaTypes } from './manifest.ts'
import { isDigest, type Reference } from './reference.ts'
import {
  createSender,
  type OpenReply,
  readAll,
  type SendLimits,
  type SendOptions,
  withoutQuery,
} from './send.ts'
import { checkDocument, type ImageSource, type Loader, resolveEvery, resolveImage } from './source.ts'
import { checkHosts, type Fetch, type RegistryHosts } from './transport.ts'

export type RegistryOptions = {
  fetch: Fetch
  hosts?: RegistryHosts
  credentials?: CredentialLookup
  limits?: Partial<SendLimits & BlobLimits>
  sleep?: NonNullable<SendOptions['sleep']>
  random?: () => number
  now?: () => number
  log?: Log
}

export type RegistryClient = {
  /** The repository of a reference; its tag and digest go into `resolve`. */
  repository(reference: Pick<Reference, 'registry' | 'name'>): ImageSource
}

const redirectsMax = 5
const manifestAccept = [
  mediaTypes.manifest,
  mediaTypes.index,
  mediaTypes.dockerManifest,
  mediaTypes.dockerIndex,
].join(', ')

type Call = { path: string; headers: Record<string, string>; signal: AbortSignal | undefined }

/** @throws registry-invalid for contradicting settings of a host */
export function createRegistryClient(options: RegistryOptions): RegistryClient {
  const { hosts = {} } = options
  checkHosts(hosts)
  const sender = createSender(options)
  const authorizer = createAuthorizer({ ...options, sender })
  const blobLimits = { ...defaultBlobLimits, ...options.limits }

  /** One request to the registry: logs in when asked to, follows redirects. */
  async function call(target: AuthTarget, { path, headers, signal }: Call): Promise<OpenReply> {
    let url = `${target.origin}/v2/${target.name}/${path}`
    let authorization = authorizer.remembered(target)
    let answered = false
    for (let redirects = 0; ; ) {
      const atHome = new URL(url).origin === target.origin
      const sent = atHome && authorization !== undefined ? { ...headers, authorization } : headers
      const reply = await sender.send(url, { method: 'GET', headers: sent, ...(signal && { signal }) })
      if (reply.status === 401 && atHome && !answered) {
        reply.abort()
        authorization = await authorizer.answer(target, reply.headers.get('www-authenticate'), signal)
        answered = true
        continue
      }
      const location = [301, 302, 303, 307, 308].includes(reply.status) ? reply.headers.get('location') : null
      if (location === null) return reply
      reply.abort()
      redirects++
      url = redirected(url, location, redirects)
    }
  }

  function repository(reference: Pick<Reference, 'registry' | 'name'>): ImageSource {
    const target: AuthTarget = { ...reference, origin: originOf(reference.registry, hosts) }
    const location = `${reference.registry}/${reference.name}`

    /** A manifest is small: where its transfer breaks, it is asked for again from the start. */
    async function wholeManifest(wanted: string, signal: AbortSignal | undefined) {
      const request = { path: `manifests/${wanted}`, headers: { accept: manifestAccept }, signal }
      for (let attempt = 1; ; attempt++) {
        const reply = await call(target, request)
        if (reply.status !== 200) throw refusal(reply, target, `the manifest ${wanted}`)
        try {
          const bytes = await readAll(reply, {
            bytesMax: manifestLimits.bytes,
            timeoutMs: sender.limits.responseTimeoutMs,
            tooLong: () => tooLarge(location, wanted),
          })
          return { reply, bytes }
        } catch (error) {
          signal?.throwIfAborted()
          const broke = errorCodeOf(error) === 'registry-unavailable'
          if (!broke || attempt >= sender.limits.attemptsMax) throw error
          await sender.backoff(attempt, signal)
        }
      }
    }

    const document: Loader['document'] = async (wanted, signal) => {
      const { reply, bytes } = await wholeManifest(wanted, signal)
      const claimed = reply.headers.get('docker-content-digest')
      if (isDigest(wanted)) checkDocument(bytes, { digest: wanted })
      // The header proves nothing; but a registry that contradicts itself is not to be pulled from.
      else if (claimed !== null && isDigest(claimed)) checkDocument(bytes, { digest: claimed })
      const mediaType = reply.headers.get('content-type')?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
      // Simple file servers say application/json: then the document's own word has to do.
      return kindOf(mediaType) === undefined ? { bytes } : { bytes, mediaType }
    }

    const blob: ImageSource['blob'] = (descriptor, { firstBytes, offset = 0, signal } = {}) =>
      readBlob({
        descriptor,
        offset,
        signal,
        location,
        limits: blobLimits,
        backoff: (failures) => sender.backoff(failures, signal),
        async open(start) {
          const headers: Record<string, string> = { 'accept-encoding': 'identity' }
          const end = firstBytes === undefined || firstBytes >= descriptor.size ? '' : firstBytes - 1
          if (start > 0 || end !== '') headers['range'] = `bytes=${start}-${end}`
          const reply = await call(target, { path: `blobs/${descriptor.digest}`, headers, signal })
          if (reply.status === 200 || (reply.status === 206 && 'range' in headers)) return reply
          throw refusal(reply, target, `the blob ${descriptor.digest}`)
        },
      })

    const load = { document, blob }
    return {
      location,
      blob,
      resolve: (name, { arch, signal }) => resolveImage(load, name, { arch, ...(signal && { signal }) }),
      resolveAll: (name, { signal } = {}) => resolveEvery(load, name, signal),
    }
  }
  return { repository }
}

/**
 * `docker.io` is a name for people; its registry has another. `localhost` speaks plain HTTP unless its settings say otherwise, as
 * for docker and oras: nobody stands between, and a registry there hardly ever has a certificate.
 */
function originOf(registry: string, hosts: RegistryHosts): string {
  const host = registry === 'docker.io' ? 'registry-1.docker.io' : registry
  const { plainHttp, ca } = hosts[registry] ?? {}
  const plain = plainHttp ?? (/^localhost(?::|$)/.test(registry) && ca === undefined)
  return new URL(`${plain ? 'http' : 'https'}://${host}`).origin
}

function redirected(from: string, location: string, redirects: number): string {
  const invalid = (reason: string) =>
    new MusterError('registry-invalid', `${withoutQuery(from)} redirects ${reason}; this is not followed.`)
  if (redirects > redirectsMax) throw invalid(`more than ${redirectsMax} times`)
  if (!URL.canParse(location, from)) throw invalid('to something that is no address')
  const to = new URL(location, from)
  const downgrade = to.protocol !== 'https:' && new URL(from).protocol === 'https:'
  if (!/^https?:$/.test(to.protocol) || downgrade) throw invalid(`from https to ${to.protocol.slice(0, -1)}`)
  if (to.username !== '' || to.password !== '') throw invalid('to an address with a login in it')
  to.hash = ''
  return to.href
}

function refusal(reply: OpenReply, target: AuthTarget, what: string): MusterError {
  reply.abort()
  const { status } = reply
  const details = { status, registry: target.registry, name: target.name }
  if (status === 401 || status === 403) return unauthorized(target, `it answered ${status} for ${what}`)
  const blob = what.startsWith('the blob')
  if (status === 404 || (blob && status === 416)) {
    return new MusterError(
      blob ? 'blob-unavailable' : 'registry-not-found',
      `${target.registry}/${target.name} does not have ${what}${blob ? ', though its manifest names it' : ': check name and tag'}.`,
      { details },
    )
  }
  return new MusterError(
    'registry-invalid',
    `${target.registry} answered status ${status} for ${what} of ${target.name}, which the distribution specification does not have here.`,
    { details },
  )
}

function tooLarge(location: string, wanted: string): MusterError {
  return new MusterError(
    'manifest-too-large',
    `The manifest ${wanted} of ${location} has more than ${manifestLimits.bytes} bytes, which are not read.`,
    { details: { expected: manifestLimits.bytes } },
  )
}
