/**
 * The agent plane: TLS with a pinned key, every client hostile until proven. Every URL of the plane stands here:
 *
 *     POST /agent/v1/hello                  opens a boot session (protocol/hello.ts), unsigned
 *     POST /agent/v1/boots/<boot>/plan      what do I boot now (protocol/plan.ts), signed by the session key
 *     POST /agent/v1/boots/<boot>/events    what happened (protocol/events.ts), signed by the session key
 *     POST /agent/v1/report                 the booted OS reports in, by its token (protocol/events.ts)
 */
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import type * as z from 'zod/mini'
import type { Config } from '../config/schema.ts'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Session } from '../machines/boots.ts'
import { sourceOf } from '../machines/identifiers.ts'
import { createSourceLimiter } from '../machines/rate.ts'
import type { SessionRequest } from '../machines/session.ts'
import { type EventsRequest, eventsRequest, type ReportRequest, reportRequest } from '../protocol/events.ts'
import { type HelloReply, type HelloRequest, helloRequest } from '../protocol/hello.ts'
import type { PlanReply } from '../protocol/plan.ts'
import { answerError, planeHeader } from './answer-error.ts'
import { shareConnections } from './connections.ts'
import { answerOneByOne } from './pipelining.ts'
import type { TlsIdentity } from './tls.ts'

/** Where a request came from and where it arrived. */
export type Client = { address: string; serverAddress: string }

export type AgentDeciders = {
  hello(request: HelloRequest, rawBytes: Uint8Array, client: Client): Promise<HelloReply>
  /** Checks the session's signature and uses up its number. @throws MusterError session-invalid, boot-not-found */
  authenticate(request: SessionRequest): Promise<Session>
  plan(session: Session, client: Client): Promise<PlanReply>
  events(session: Session, request: EventsRequest): Promise<void>
  /** @throws MusterError report-refused */
  report(request: ReportRequest, token: string, client: Client): Promise<void>
}

type BootParams = { boot: string }

/** Addresses and networks whose requests are counted; the longest unused is forgotten. */
const rateKeysMax = 65_536

export async function createAgentPlane(options: {
  tls: TlsIdentity
  limits: Config['agent']
  deciders: AgentDeciders
  log: Log
}): Promise<FastifyInstance> {
  const { deciders, limits, log, tls } = options
  const app = fastify({
    https: {
      key: tls.key,
      cert: tls.certificate,
      minVersion: 'TLSv1.2',
      handshakeTimeout: limits.handshakeTimeoutMs,
    },
    bodyLimit: limits.bodyBytesMax,
    requestTimeout: limits.requestTimeoutMs,
    // Agents ask one thing at a time and close: what stays open is no agent.
    connectionTimeout: limits.idleTimeoutMs,
    // Stopping waits for nobody: an agent says the same again, with the same number.
    forceCloseConnections: true,
  }) as unknown as FastifyInstance
  shareConnections(app.server, limits.connectionsMax)
  answerOneByOne(app.server)
  app.setErrorHandler((error, request, reply) =>
    answerError(error, request, reply.header(planeHeader, 'agent'), log),
  )
  app.setNotFoundHandler((request, reply) =>
    answerError(
      new MusterError('file-not-found', 'There is nothing here.'),
      request,
      reply.header(planeHeader, 'agent'),
      log,
    ),
  )
  // The exact bytes are what is hashed and signed; they are parsed once, after that.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_, body, done) => done(null, body))
  // Each route counts for itself: machines behind one address (a router, a lab) go on with the boots they have open while
  // somebody beside them says hello without end.
  const rate = createSourceLimiter({
    perMinute: limits.requestsPerMinuteMax,
    keysMax: rateKeysMax,
    now: () => new Date(),
  })
  app.addHook('onRequest', async (request) => {
    const full = rate.exceededBy(sourceOf(request.ip), request.routeOptions.url)
    if (full !== undefined) throw tooMany(full)
  })

  app.post('/agent/v1/hello', (request) => {
    const raw = rawBody(request)
    return deciders.hello(parse(helloRequest, raw), raw, clientOf(request))
  })
  app.post('/agent/v1/boots/:boot/plan', async (request: FastifyRequest<{ Params: BootParams }>) =>
    deciders.plan(await sessionOf(request), clientOf(request)),
  )
  app.post('/agent/v1/boots/:boot/events', async (request: FastifyRequest<{ Params: BootParams }>, reply) => {
    await deciders.events(await sessionOf(request), parse(eventsRequest, rawBody(request)))
    return reply.code(204).send()
  })
  app.post('/agent/v1/report', async (request, reply) => {
    const token = /^Bearer ([\w-]{16,128})$/.exec(request.headers.authorization ?? '')?.[1]
    if (token === undefined)
      throw new MusterError('report-refused', 'A report needs the token of report.json as a Bearer token.')
    await deciders.report(parse(reportRequest, rawBody(request)), token, clientOf(request))
    return reply.code(204).send()
  })
  return app

  async function sessionOf(request: FastifyRequest<{ Params: BootParams }>): Promise<Session> {
    const { method, url: path, headers } = request
    const session = await deciders.authenticate({ method, path, headers, body: rawBody(request) })
    if (session.boot.id === request.params.boot) return session
    throw new MusterError(
      'session-invalid',
      `The session is of boot ${session.boot.id}, and the URL names another one.`,
    )
  }
}

/** @param source an address or a network, whichever had its fill. */
function tooMany(source: string): MusterError {
  return new MusterError(
    'limit-reached',
    `Too many requests from ${source}: try again in a minute, or raise agent.requestsPerMinuteMax.`,
    { details: { setting: 'agent.requestsPerMinuteMax', retrySeconds: 60 } },
  )
}

function clientOf(request: FastifyRequest): Client {
  return { address: request.ip, serverAddress: request.socket.localAddress ?? '127.0.0.1' }
}

function rawBody(request: FastifyRequest): Uint8Array {
  return request.body instanceof Uint8Array ? request.body : new Uint8Array(0)
}

/** Attacker-controlled bytes to a value of the schema, or `request-invalid`. */
function parse<Schema extends z.ZodMiniType>(schema: Schema, raw: Uint8Array): z.output<Schema> {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(raw))
  } catch (cause) {
    throw new MusterError('request-invalid', 'The body is not JSON in UTF-8.', { cause })
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const first = result.error.issues[0]
  throw new MusterError(
    'request-invalid',
    `The body does not fit the protocol at '${first?.path.join('.') ?? ''}': ${first?.message ?? ''}.`,
  )
}
