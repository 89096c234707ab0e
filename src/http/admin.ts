/**
 * The admin plane: people, CI, Prometheus, and the local command line through a socket. Every URL of the plane stands in
 * the table below. Without the token a request learns only whether the server is up (docs/decisions/0010-*.md).
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import swagger from '@fastify/swagger'
import fastify, { type FastifyInstance } from 'fastify'
import { jsonSchemaTransform, serializerCompiler } from 'fastify-type-provider-zod'
import type { Config } from '../config/schema.ts'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { systemReason } from '../system-error.ts'
import { createAccessCheck, type LocalSockets } from './admin-access.ts'
import { type BlobDeciders, blobRoutes } from './admin-blobs.ts'
import { type BootFileDeciders, bootFileRoutes } from './admin-boot-files.ts'
import { type BootDeciders, bootRoutes, type EventDeciders } from './admin-boots.ts'
import { type ClusterDeciders, clusterRoutes } from './admin-clusters.ts'
import { type ImageDeciders, imageRoutes } from './admin-images.ts'
import { type MachineDeciders, machineRoutes } from './admin-machines.ts'
import { createMetrics, type Metrics } from './admin-metrics.ts'
import { type ProfileDeciders, profileRoutes } from './admin-profiles.ts'
import { addRoutes, compileValidator, route } from './admin-route.ts'
import { listenOnSocket } from './admin-socket.ts'
import { type StatusDeciders, statusRoutes } from './admin-status.ts'
import { type AdminToken, tokenReply } from './admin-token.ts'
import { answerError } from './answer-error.ts'
import { shareConnections } from './connections.ts'
import { answerOneByOne } from './pipelining.ts'
import type { TlsIdentity } from './tls.ts'

export type AdminDeciders = {
  machines: MachineDeciders
  boots: BootDeciders
  events: EventDeciders
  images: ImageDeciders
  blobs: BlobDeciders
  bootFiles: BootFileDeciders
  profiles: ProfileDeciders
  clusters: ClusterDeciders
  status: StatusDeciders
}

export type AdminLimits = Pick<Config['admin'], 'connectionsMax' | 'headersTimeoutMs' | 'bodyBytesMax'>
export const adminLimits: AdminLimits = {
  connectionsMax: 256,
  headersTimeoutMs: 30_000,
  bodyBytesMax: 2 ** 20,
}

export type AdminPlane = {
  app: FastifyInstance
  /** Counts the answers of the other planes too: `metrics.watch(app, 'firmware')`. */
  metrics: Metrics
  /** Opens both doors. @throws MusterError listen-failed, data-unwritable */
  listen(places: { host: string; port: number; socketPath: string }): Promise<{ url: string }>
  [Symbol.asyncDispose](): Promise<void>
}

export async function createAdminPlane(options: {
  version: string
  token: AdminToken
  deciders: AdminDeciders
  log: Log
  /** For an address that is not loopback: the token must not travel in the clear. */
  tls?: TlsIdentity
  metrics?: Metrics
  limits?: AdminLimits
}): Promise<AdminPlane> {
  const { version, token, deciders, log, tls, metrics = createMetrics({ version }) } = options
  const { limits = adminLimits } = options
  const localSockets: LocalSockets = new WeakSet()
  const access = createAccessCheck({ token, localSockets })
  const app = await createApp({ version, log, tls, limits, access })
  metrics.watch(app, 'admin')
  const machines = machineRoutes(deciders.machines)
  const boots = bootRoutes({ boots: deciders.boots, events: deciders.events, log })
  const images = imageRoutes(deciders.images, log)
  const blobs = blobRoutes(deciders.blobs)
  const bootFiles = bootFileRoutes(deciders.bootFiles)
  const profiles = profileRoutes(deciders.profiles)
  const clusters = clusterRoutes(deciders.clusters)
  const server = statusRoutes({ status: deciders.status, metrics })
  addRoutes(app, {
    'GET /healthz': server.healthz,
    'GET /readyz': server.readyz,
    'GET /metrics': server.metrics,
    'GET /api/v1/openapi.json': openapi(app),
    'GET /api/v1/status': server.status,
    'POST /api/v1/token': newToken(token),

    'GET /api/v1/machines': machines.list,
    'GET /api/v1/machines/:machine': machines.get,
    'PATCH /api/v1/machines/:machine': machines.patch,
    'POST /api/v1/machines/:machine/approve': machines.approve,
    'POST /api/v1/machines/:machine/quarantine': machines.quarantine,
    'POST /api/v1/machines/:machine/retire': machines.retire,
    'POST /api/v1/machines/:machine/forget': machines.forget,
    'GET /api/v1/machines/:machine/why': machines.why,
    'GET /api/v1/machines/:machine/boots': machines.boots,
    'GET /api/v1/boots/:boot': boots.get,
    'GET /api/v1/events': boots.events,
    'GET /api/v1/events/watch': boots.watch,

    'GET /api/v1/unknown-files': bootFiles.unknown,
    'POST /api/v1/lint/raspberry-pi': bootFiles.lintRaspberryPi,

    'GET /api/v1/profiles': profiles.list,
    'GET /api/v1/profiles/:name': profiles.get,
    'PUT /api/v1/profiles/:name': profiles.put,
    'DELETE /api/v1/profiles/:name': profiles.remove,
    'GET /api/v1/clusters': clusters.list,
    'GET /api/v1/clusters/:name': clusters.get,
    'PUT /api/v1/clusters/:name': clusters.put,
    'DELETE /api/v1/clusters/:name': clusters.remove,

    'GET /api/v1/images': images.list,
    'POST /api/v1/images/pull': images.pull,
    'HEAD /api/v1/blobs/sha256/:hex': blobs.head,
    'GET /api/v1/blobs/sha256/:hex': blobs.get,
    'PUT /api/v1/blobs/sha256/:hex': blobs.put,
    'GET /api/v1/repositories/:repository/metadata/:file': images.metadata,
    'POST /api/v1/repositories/:repository/targets': images.acceptTargets,
  })
  await app.ready()
  return toPlane({ app, metrics, localSockets, secure: tls !== undefined })
}

async function createApp(options: {
  version: string
  log: Log
  tls: TlsIdentity | undefined
  limits: AdminLimits
  access: ReturnType<typeof createAccessCheck>
}): Promise<FastifyInstance> {
  const { version, log, tls, limits, access } = options
  const app = fastify({
    bodyLimit: limits.bodyBytesMax,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 256 },
    ...(tls === undefined ? {} : { https: { key: tls.key, cert: tls.certificate, minVersion: 'TLSv1.2' } }),
  }) as unknown as FastifyInstance
  shareConnections(app.server, limits.connectionsMax)
  answerOneByOne(app.server)
  app.server.headersTimeout = limits.headersTimeoutMs
  app.setValidatorCompiler(compileValidator)
  app.setSerializerCompiler(serializerCompiler)
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply, log))
  app.setNotFoundHandler((request, reply) =>
    answerError(
      new MusterError(
        'file-not-found',
        `There is nothing at ${request.method} ${request.url.slice(0, 128)}. /api/v1/openapi.json lists what is.`,
      ),
      request,
      reply,
      log,
    ),
  )
  app.addHook('onRequest', access)
  // Uploads are read by their handlers, while they arrive.
  app.addContentTypeParser('application/octet-stream', (_request, _payload, done) => done(null))
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Muster', version, description: 'The admin plane of one Muster server.' },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: jsonSchemaTransform,
  })
  return app
}

function toPlane(parts: {
  app: FastifyInstance
  metrics: Metrics
  localSockets: LocalSockets
  secure: boolean
}): AdminPlane {
  const { app, metrics, localSockets, secure } = parts
  const local = createServer({ requestTimeout: 0 }, (request, response) => app.routing(request, response))
  local.on('connection', (socket) => localSockets.add(socket))
  let removeSocket: (() => Promise<void>) | undefined
  return {
    app,
    metrics,
    async listen({ host, port, socketPath }) {
      removeSocket = (await listenOnSocket(local, socketPath)).remove
      try {
        await app.listen({ host, port })
      } catch (cause) {
        throw new MusterError(
          'listen-failed',
          `The admin plane cannot listen on ${host} port ${port}: ${systemReason(cause)}. Set admin.host and admin.port to what is free.`,
          { cause, details: { host, port } },
        )
      }
      const address = app.server.address() as AddressInfo
      const name = address.family === 'IPv6' ? `[${address.address}]` : address.address
      return { url: `${secure ? 'https' : 'http'}://${name}:${address.port}` }
    },
    async [Symbol.asyncDispose]() {
      await removeSocket?.()
      const closed = local.listening ? new Promise((resolve) => local.close(resolve)) : undefined
      local.closeAllConnections()
      await app.close()
      await closed
    },
  }
}

function openapi(app: FastifyInstance) {
  return route({
    summary: 'This document',
    group: 'server',
    handle: async ({ reply }) => reply.type('application/json').send(app.swagger()),
  })
}

function newToken(token: AdminToken) {
  return route({
    summary: 'A new token, shown once; the old one is refused from now on',
    group: 'server',
    reply: tokenReply,
    handle: async ({ reply }) => {
      reply.header('cache-control', 'no-store')
      return { token: await token.replace() }
    },
  })
}
