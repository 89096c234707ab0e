/**
 * One route of the admin plane: schema, access and handler in one value, so that admin.ts can be a table of URLs. From
 * the schemas come validation, the handler's types, the shape of what leaves, and the OpenAPI document.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import { z } from 'zod'
import { documentProblem } from '../document-problem.ts'
import { MusterError } from '../errors.ts'

/** `public`: no token; `loopback`: no token for a client on this machine; `token`: always one, but over the socket. */
export type Access = 'public' | 'loopback' | 'token'

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
}

export type AdminRoute = {
  access: Access
  bodyLimit?: number
  schema: Record<string, unknown>
  handle(request: FastifyRequest, reply: FastifyReply): Promise<unknown>
}

/** Every error's answer, RFC 9457. */
export const problem = z
  .object({ type: z.string(), title: z.string(), status: z.number(), code: z.string(), detail: z.string() })
  .describe('What went wrong: `code` for programs, `detail` for people')

type Definition<Params, Query, Body, Reply> = {
  summary: string
  group: string
  access?: Access
  params?: z.ZodType<Params>
  query?: z.ZodType<Query>
  body?: z.ZodType<Body>
  /** Greatest body in bytes; 1 MiB unless told. */
  bodyLimit?: number
  /** What a 200 holds. Left out: a 204, or whatever the handler sends itself (streams). */
  reply?: z.ZodType<Reply>
  handle(call: {
    params: Params
    query: Query
    body: Body
    request: FastifyRequest
    reply: FastifyReply
  }): Promise<Reply | FastifyReply>
}

export function route<Params = undefined, Query = undefined, Body = undefined, Reply = undefined>(
  definition: Definition<Params, Query, Body, Reply>,
): AdminRoute {
  const { summary, group, access = 'token', params, query, body, reply: answer, handle } = definition
  return {
    access,
    ...(definition.bodyLimit === undefined ? {} : { bodyLimit: definition.bodyLimit }),
    schema: {
      summary,
      tags: [group],
      ...(access === 'public' ? { security: [] } : {}),
      ...(params === undefined ? {} : { params }),
      ...(query === undefined ? {} : { querystring: query }),
      ...(body === undefined ? {} : { body }),
      response: {
        ...(answer === undefined ? {} : { 200: answer }),
        default: {
          description: 'Refused or failed',
          content: { 'application/problem+json': { schema: problem } },
        },
      },
    },
    async handle(request, reply) {
      const given = {
        params: request.params as Params,
        query: request.query as Query,
        body: request.body as Body,
        request,
        reply,
      }
      const result = await handle(given)
      // A reply is awaited like a promise and then gives nothing: the answer is already on its way.
      if (result === reply || reply.sent || reply.raw.headersSent) return reply
      return result === undefined ? reply.code(204).send() : result
    },
  }
}

const wholes: Readonly<Record<string, string>> = {
  body: 'the body',
  querystring: 'the query',
  params: 'the path',
}

/** What does not fit a route's schema is told in words: all of it, each with its member. */
export function compileValidator({ schema, httpPart = '' }: { schema: z.ZodType; httpPart?: string }) {
  return (given: unknown): { value: unknown } | { error: MusterError } => {
    const result = schema.safeParse(given)
    if (result.success) return { value: result.data }
    const whole = wholes[httpPart] ?? 'the request'
    const problems = result.error.issues.map((issue) => documentProblem(issue, given, whole))
    return { error: new MusterError('request-invalid', `${problems.join('; ')}.`, { details: { problems } }) }
  }
}

/** Adds the rows of a table `METHOD /url` → route. */
export function addRoutes(app: FastifyInstance, table: Readonly<Record<string, AdminRoute>>): void {
  for (const [line, { schema, handle, bodyLimit, access }] of Object.entries(table)) {
    const [method, url] = line.split(' ') as [HTTPMethods, string]
    app.route({
      method,
      url,
      schema,
      config: { access },
      handler: handle,
      ...(bodyLimit === undefined ? {} : { bodyLimit }),
    })
  }
}
