/**
 * The pull half of the OCI distribution API (distribution-spec v1.1 §pull, and §listing-tags), so that every client of
 * a registry, our own agent among them, can fetch what was admitted here:
 *
 *     GET  /v2/                               end-1   is this a registry?
 *     GET  /v2/<name>/manifests/<reference>   end-3   tag or digest
 *     GET  /v2/<name>/blobs/<digest>          end-2
 *     GET  /v2/<name>/tags/list?n=&last=      end-8
 *
 * and HEAD of each. Nothing can be pushed. Names hold slashes, so one wildcard route reads them; all of it is
 * attacker-controlled text and is matched against the specification's grammar before anybody is asked for it.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { errorCodeOf } from '../errors.ts'
import { isDigest, isName, isTag } from '../oci/reference.ts'
import { type Content, serveContent } from './serve-content.ts'

/** What the routes ask. Undefined: there is no such thing. */
export type OciPullDeciders = {
  /** An admitted blob by digest; its `etag` and `contentType` are replaced by what a registry says. */
  open(digest: string): Promise<Pick<Content, 'size' | 'stream' | 'close'> | undefined>
  /** An admitted manifest or index by tag or digest, and the digest of exactly these bytes. */
  manifest(name: string, reference: string): Promise<OciManifest | undefined>
  /** All tags of a name, in any order. */
  tags(name: string): Promise<readonly string[] | undefined>
}
export type OciManifest = { bytes: Uint8Array; digest: string; mediaType: string }

/** distribution-spec v1.1 §error-codes: the ones that a pull can meet. */
const statusOf = {
  BLOB_UNKNOWN: 404,
  DIGEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  UNSUPPORTED: 405,
} as const

const tagsPerPageMax = 1000

/** A fastify plugin: `await app.register(ociPullRoutes(deciders))`. */
export function ociPullRoutes(deciders: OciPullDeciders): (app: FastifyInstance) => Promise<void> {
  return async (app) => {
    // What docker's clients look for to know that they talk to a registry of the second version.
    app.addHook('onSend', async (_, reply) => {
      reply.header('docker-distribution-api-version', 'registry/2.0')
    })
    app.setErrorHandler((error, _, reply) => {
      if (errorCodeOf(error) === 'blob-unavailable')
        return refuse(reply, 'BLOB_UNKNOWN', 'that blob is not here')
      // Everything else is answered and logged as in the rest of the plane.
      throw error
    })
    for (const path of ['/v2', '/v2/']) {
      app.route({ method: ['GET', 'HEAD'], url: path, handler: (_, reply) => reply.send({}) })
    }
    app.route({
      method: ['GET', 'HEAD'],
      url: '/v2/*',
      handler: (request, reply) => answer(deciders, request, reply),
    })
    app.route({
      method: ['POST', 'PUT', 'PATCH', 'DELETE'],
      url: '/v2/*',
      handler: (_, reply) => {
        reply.header('allow', 'GET, HEAD')
        return refuse(
          reply,
          'UNSUPPORTED',
          'nothing can be pushed or deleted here; publish releases with muster image publish',
        )
      },
    })
  }
}

async function answer(
  deciders: OciPullDeciders,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const path = (request.params as { '*': string })['*']
  const match = /^(.+)\/(manifests|blobs|tags)\/([^/]+)$/.exec(path)
  const [, name = '', kind, last = ''] = match ?? []
  if (match === null) return refuse(reply, 'NAME_UNKNOWN', 'there is nothing under this address')
  if (!isName(name))
    return refuse(reply, 'NAME_INVALID', 'the name is not one of the distribution specification')
  if (kind === 'blobs') return answerBlob(deciders, last, request, reply)
  if (kind === 'manifests') return answerManifest(deciders, name, last, request, reply)
  if (last === 'list') return answerTags(deciders, name, request, reply)
  return refuse(reply, 'NAME_UNKNOWN', 'there is nothing under this address')
}

async function answerBlob(
  deciders: OciPullDeciders,
  digest: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  if (!isDigest(digest))
    return refuse(reply, 'DIGEST_INVALID', 'a digest is sha256: and 64 lower-case hexadecimal digits')
  const blob = await deciders.open(digest)
  if (blob === undefined) return refuse(reply, 'BLOB_UNKNOWN', `${digest} is not here`)
  reply.header('docker-content-digest', digest)
  return serveContent(request, reply, {
    size: blob.size,
    stream: (range) => blob.stream(range),
    close: () => blob.close?.(),
    etag: digest,
    contentType: 'application/octet-stream',
  })
}

async function answerManifest(
  deciders: OciPullDeciders,
  name: string,
  reference: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  if (reference.includes(':') && !isDigest(reference)) {
    return refuse(reply, 'DIGEST_INVALID', 'a digest is sha256: and 64 lower-case hexadecimal digits')
  }
  if (!isDigest(reference) && !isTag(reference))
    return refuse(reply, 'MANIFEST_UNKNOWN', 'that cannot be a tag')
  const found = await deciders.manifest(name, reference)
  if (found === undefined) return refuse(reply, 'MANIFEST_UNKNOWN', `${name} has no ${reference}`)
  const { bytes, digest, mediaType } = found
  reply.header('docker-content-digest', digest)
  return serveContent(request, reply, {
    size: bytes.length,
    etag: digest,
    contentType: mediaType,
    stream: (range) => (range === undefined ? bytes : bytes.subarray(range.start, range.end + 1)),
  })
}

/** §listing-tags: in lexical order, at most `n` after `last`, and a Link to the rest. */
async function answerTags(
  deciders: OciPullDeciders,
  name: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const all = await deciders.tags(name)
  if (all === undefined) return refuse(reply, 'NAME_UNKNOWN', `there is no ${name}`)
  const { n, last } = request.query as { n?: unknown; last?: unknown }
  const count =
    typeof n === 'string' && /^\d{1,6}$/.test(n) ? Math.min(Number(n), tagsPerPageMax) : tagsPerPageMax
  const after = typeof last === 'string' ? last : ''
  const rest = all.filter((tag) => tag > after).sort()
  const tags = rest.slice(0, count)
  const final = tags.at(-1)
  if (rest.length > tags.length && final !== undefined) {
    reply.header('link', `</v2/${name}/tags/list?n=${count}&last=${encodeURIComponent(final)}>; rel="next"`)
  }
  return reply.send({ name, tags })
}

/** §error-codes: `{"errors":[{code, message, detail}]}`. Nothing of the request is repeated but what passed the grammar. */
function refuse(reply: FastifyReply, code: keyof typeof statusOf, message: string): FastifyReply {
  return reply.code(statusOf[code]).send({ errors: [{ code, message, detail: null }] })
}
