/**
 * The firmware plane: everything a machine gets before it can prove anything. All of it is public, nothing here is
 * secret, every client is hostile. Every URL of the plane stands in this file:
 *
 *     GET /boot/autoexec.ipxe                        first script of any iPXE
 *     GET /boot/ipxe?mac=&uuid=&serial=&…            the script of one machine
 *     GET /boot/agent/<arch>/kernel | initramfs      the boot agent
 *     GET /boot/<loader>                             what UEFI HTTP Boot loads
 *     GET /files/<name>                              the operator's own files, unverified
 *     GET /tuf/<repository>/metadata/<file>          TUF metadata
 *     GET /tuf/<repository>/targets/<path>           target files, consistent snapshots
 *     GET /tuf/<repository>/blobs/sha256/<hex>       content of admitted releases
 *     GET /v2/…                                      the same content by the OCI distribution API (oci-pull.ts)
 */
import { Readable } from 'node:stream'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { BootFiles } from '../boot/files.ts'
import type { Config } from '../config/schema.ts'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { answerError } from './answer-error.ts'
import { shareConnections } from './connections.ts'
import { type Content, serveContent } from './serve-content.ts'

/** What the plane asks of the deciders. Undefined: there is no such thing. */
export type FirmwareDeciders = {
  scripts: {
    autoexec(base: string): string
    /** Values as iPXE sent them: attacker-controlled text. */
    machine(
      query: Readonly<Record<string, unknown>>,
      client: { address: string; serverAddress: string },
    ): Promise<string>
  }
  files: BootFiles
  content: {
    metadata(repository: string, name: string): Promise<Uint8Array | undefined>
    target(repository: string, path: string): Promise<Content | undefined>
    blob(digest: string): Promise<Content | undefined>
  }
}

type WildcardParams = { '*': string }
type RepositoryParams = { repository: string; file: string }

export function createFirmwarePlane(options: {
  limits: Config['firmware']
  deciders: FirmwareDeciders
  /** The /v2/ routes. */
  ociPull?: (app: FastifyInstance) => Promise<void>
  log: Log
}): FastifyInstance {
  const { deciders, limits, log } = options
  const app = fastify({
    requestTimeout: limits.requestTimeoutMs,
    // A client that takes nothing for so long gives its connection up.
    connectionTimeout: 2 * limits.requestTimeoutMs,
    // Stopping does not wait for downloads: whoever is in the middle of one goes on by Range, here or at a mirror.
    forceCloseConnections: true,
    bodyLimit: 1,
    exposeHeadRoutes: true,
    routerOptions: { maxParamLength: 512 },
  })
  shareConnections(app.server, limits.connectionsMax)
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply, log))
  app.setNotFoundHandler((request, reply) =>
    answerError(
      new MusterError('file-not-found', `There is nothing at ${request.url.slice(0, 128)}.`),
      request,
      reply,
      log,
    ),
  )

  app.get('/boot/autoexec.ipxe', (_, reply) => script(reply, deciders.scripts.autoexec('')))
  app.get('/boot/ipxe', async (request: FastifyRequest<{ Querystring: Record<string, unknown> }>, reply) =>
    script(
      reply,
      await deciders.scripts.machine(request.query, {
        address: request.ip,
        serverAddress: request.socket.localAddress ?? '127.0.0.1',
      }),
    ),
  )
  app.get('/boot/*', (request: FastifyRequest<{ Params: WildcardParams }>, reply) =>
    file(request, reply, request.params['*']),
  )
  app.get('/files/*', (request: FastifyRequest<{ Params: WildcardParams }>, reply) =>
    file(request, reply, `files/${request.params['*']}`),
  )
  app.get(
    '/tuf/:repository/metadata/:file',
    async (request: FastifyRequest<{ Params: RepositoryParams }>, reply) => {
      const bytes = await deciders.content.metadata(request.params.repository, request.params.file)
      return content(request, reply, bytes && inMemory(bytes, 'application/json'))
    },
  )
  app.get(
    '/tuf/:repository/targets/*',
    async (request: FastifyRequest<{ Params: RepositoryParams & WildcardParams }>, reply) =>
      content(request, reply, await deciders.content.target(request.params.repository, request.params['*'])),
  )
  app.get(
    '/tuf/:repository/blobs/sha256/:file',
    async (request: FastifyRequest<{ Params: RepositoryParams }>, reply) =>
      content(request, reply, await deciders.content.blob(`sha256:${request.params.file}`)),
  )
  if (options.ociPull !== undefined) app.register(options.ociPull)
  return app

  async function file(request: FastifyRequest, reply: FastifyReply, name: string) {
    return serveContent(request, reply, await deciders.files.open(name))
  }
}

function script(reply: FastifyReply, text: string) {
  return reply.type('text/plain; charset=utf-8').header('cache-control', 'no-store').send(text)
}

function content(request: FastifyRequest, reply: FastifyReply, found: Content | undefined) {
  if (found === undefined)
    throw new MusterError('file-not-found', `There is nothing at ${request.url.slice(0, 128)}.`)
  return serveContent(request, reply, found)
}

/** Metadata is small (5 MB at most) and read whole by its verifier anyway. */
function inMemory(bytes: Uint8Array, contentType: string): Content {
  return {
    size: bytes.length,
    etag: `${bytes.length.toString(16)}-${checksum(bytes).toString(16)}`,
    contentType,
    stream: (range) =>
      Readable.from([range === undefined ? bytes : bytes.subarray(range.start, range.end + 1)]),
  }
}

/** FNV-1a: names a version of a file for caches, nothing more. */
function checksum(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash
}
