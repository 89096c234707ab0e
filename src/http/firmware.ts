/**
 * The firmware plane: everything a machine gets before it can prove anything. All of it is public, nothing here is
 * secret, every client is hostile. Every URL of the plane stands in this file:
 *
 *     GET /boot/autoexec.ipxe                        first script of any iPXE
 *     GET /boot/ipxe?mac=&uuid=&serial=&…            the script of one machine
 *     GET /boot/agent/<arch>/kernel | initramfs      the boot agent
 *     GET /boot/<name>, /grub/<name>                 loaders, and what they look for (boot/names.ts)
 *     GET /files/<name>                              the operator's own files, unverified
 *     GET /net_install/boot.img | boot.sig           HTTP boot of a Raspberry Pi: the operator's signed image
 *     GET /v1/boot/<mac>                             pixiecore's API, for those who have one
 *     GET /tuf/<repository>/metadata/<file>          TUF metadata
 *     GET /tuf/<repository>/targets/<path>           target files, consistent snapshots
 *     GET /tuf/<repository>/blobs/sha256/<hex>       content of admitted releases
 *     GET /v2/…                                      the same content by the OCI distribution API (oci-pull.ts)
 */
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { inMemory } from '../boot/files.ts'
import type { BootClient, BootSource } from '../boot/source.ts'
import type { Config } from '../config/schema.ts'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { answerError, planeHeader } from './answer-error.ts'
import { shareConnections } from './connections.ts'
import { ResponseInTitleCase } from './field-names.ts'
import { answerOneByOne } from './pipelining.ts'
import { type Content, serveContent } from './serve-content.ts'

/** What the plane asks of the deciders. Undefined: there is no such thing. */
export type FirmwareDeciders = {
  boot: BootSource
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
    http: { ServerResponse: ResponseInTitleCase },
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
  answerOneByOne(app.server)
  app.setErrorHandler((error, request, reply) =>
    answerError(error, request, reply.header(planeHeader, 'firmware'), log),
  )
  app.setNotFoundHandler((request, reply) =>
    answerError(
      new MusterError('file-not-found', `There is nothing at ${request.url.slice(0, 128)}.`),
      request,
      reply.header(planeHeader, 'firmware'),
      log,
    ),
  )

  app.get('/boot/ipxe', async (request: FastifyRequest<{ Querystring: Record<string, unknown> }>, reply) =>
    reply
      .type('text/plain; charset=utf-8')
      .header('cache-control', 'no-store')
      .send(await deciders.boot.ipxe(request.query, clientOf(request))),
  )
  for (const [url, folder] of bootFolders) {
    app.get(url, async (request: FastifyRequest<{ Params: WildcardParams }>, reply) => {
      const found = await deciders.boot.open(`${folder}${request.params['*']}`, clientOf(request))
      // A script is of this moment.
      if (found.contentType.startsWith('text/')) reply.header('cache-control', 'no-store')
      return serveContent(request, reply, found)
    })
  }
  app.get('/v1/boot/:mac', (request: FastifyRequest<{ Params: { mac: string } }>) =>
    deciders.boot.pixiecore(request.params.mac, clientOf(request)),
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
}

/** The folders of names that firmware asks for, and what they are called in boot/names.ts. */
const bootFolders = [
  ['/boot/*', ''],
  ['/grub/*', 'grub/'],
  ['/files/*', 'files/'],
  // Where a Raspberry Pi looks when nobody set HTTP_PATH in its EEPROM.
  ['/net_install/*', 'files/raspberry-pi/'],
] as const

function clientOf(request: FastifyRequest): BootClient {
  return {
    address: request.ip,
    serverAddress: request.socket.localAddress ?? '127.0.0.1',
    over: 'http',
    userAgent: request.headers['user-agent'],
  }
}

function content(request: FastifyRequest, reply: FastifyReply, found: Content | undefined) {
  if (found === undefined)
    throw new MusterError('file-not-found', `There is nothing at ${request.url.slice(0, 128)}.`)
  return serveContent(request, reply, found)
}
