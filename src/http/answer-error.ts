/** Turns any thrown value into an HTTP answer, in one place: problem+json (RFC 9457) with our code. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorCode, MusterError } from '../errors.ts'
import type { Log } from '../log.ts'

/** Status by code; what is not named here is the server's own fault (500). */
const statusByCode: Partial<Record<ErrorCode, number>> = {
  'file-not-found': 404,
  'machine-not-found': 404,
  'boot-not-found': 404,
  'profile-not-found': 404,
  'cluster-not-found': 404,
  'repository-not-found': 404,
  'target-not-found': 404,
  'blob-unavailable': 404,
  'registry-not-found': 502,
  'registry-unauthorized': 502,
  'registry-unavailable': 502,
  'registry-invalid': 502,
  'access-denied': 403,
  'identity-conflict': 409,
  'machine-ambiguous': 409,
  'machine-changed': 409,
  'profile-tie': 409,
  'label-missing': 409,
  'release-exists': 409,
  'release-in-use': 409,
  'repository-exists': 409,
  'repository-locked': 409,
  'session-invalid': 401,
  'report-refused': 403,
  unauthorized: 401,
  'limit-reached': 429,
  'request-invalid': 400,
  'profile-invalid': 422,
  'cluster-invalid': 422,
  'reference-invalid': 422,
  'layout-invalid': 422,
  'manifest-invalid': 422,
  'manifest-too-large': 422,
  'manifest-mismatch': 422,
  'metadata-invalid': 422,
  'metadata-too-large': 413,
  'metadata-signature': 422,
  'metadata-expired': 422,
  'metadata-mismatch': 422,
  'metadata-rollback': 422,
  'target-invalid': 422,
  'channel-invalid': 422,
  'release-incomplete': 422,
  'release-below-floor': 422,
  'blob-digest': 422,
  'blob-too-long': 422,
  'blob-truncated': 422,
  'key-invalid': 422,
  'key-not-found': 422,
}

/** Which plane an error comes from, for a command line that was given the port of another one. */
export const planeHeader = 'muster-plane'

export function answerError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  log: Log,
): FastifyReply {
  const { status, code, detail } = toAnswer(error)
  if (status >= 500)
    log.error({ err: error, code, method: request.method, path: pathOf(request) }, 'request failed')
  else
    log.debug(
      { code, status, method: request.method, path: pathOf(request), client: request.ip },
      'request refused',
    )
  // RFC 9110 §10.2.3: when it is worth another try.
  const retrySeconds = error instanceof MusterError ? error.details['retrySeconds'] : undefined
  if (typeof retrySeconds === 'number') reply.header('retry-after', retrySeconds)
  return reply
    .code(status)
    .type('application/problem+json')
    .send(JSON.stringify({ type: `urn:muster:error:${code}`, title: code, status, code, detail }))
}

/** The path without its query: a query may hold what a person pasted into it. */
function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0]!.slice(0, 256)
}

function toAnswer(error: unknown): { status: number; code: ErrorCode; detail: string } {
  if (error instanceof MusterError) {
    const status = statusByCode[error.code] ?? 500
    return { status, code: error.code, detail: error.message }
  }
  // fastify's own errors (body too large, malformed JSON, schema) carry a 4xx status; their text names the problem.
  const status = (error as { statusCode?: number }).statusCode
  if (status !== undefined && status >= 400 && status < 500) {
    const code = status === 429 ? 'limit-reached' : 'request-invalid'
    return { status, code, detail: (error as Error).message }
  }
  return { status: 500, code: 'internal', detail: 'The server failed at this request; its log says more.' }
}
