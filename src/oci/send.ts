/**
 * One request that survives what registries do under load: 429 with Retry-After, gateways that are away for a moment,
 * connections that break. Only idempotent requests go through here.
 */
import { setTimeout as sleepFor } from 'node:timers/promises'
import { MusterError } from '../errors.ts'
import { type Log, silentLog } from '../log.ts'
import type { Fetch, HttpReply } from './transport.ts'
import { explainUnreachable, type PlainHttpWay, registryPlainHttp, type Unreachable } from './unreachable.ts'

export type SendLimits = {
  /** Tries of one request, the first included. */
  attemptsMax: number
  /** First wait between tries; doubles each time, up to the maximum, with jitter. */
  backoffMs: number
  backoffMaxMs: number
  /** The longest Retry-After that is waited for; a longer one ends the request. */
  retryAfterMaxMs: number
  /** From the request to the reply's headers. */
  responseTimeoutMs: number
}
export const defaultSendLimits: SendLimits = {
  attemptsMax: 5,
  backoffMs: 500,
  backoffMaxMs: 20_000,
  retryAfterMaxMs: 120_000,
  responseTimeoutMs: 30_000,
}

export type SendOptions = {
  fetch: Fetch
  limits?: Partial<SendLimits>
  sleep?: (ms: number, signal?: AbortSignal) => Promise<void>
  /** In [0, 1). */
  random?: () => number
  /** Milliseconds since 1970, for a Retry-After that is a date. */
  now?: () => number
  log?: Log
  /** What to say of a host that speaks plain HTTP; by default how a registry is allowed to. */
  plainHttpWay?: PlainHttpWay
}

/** A reply whose body has not been read yet: read it to its end, or `abort` it. */
export type OpenReply = HttpReply & { url: string; abort(): void }

export type Sender = {
  limits: SendLimits
  /**
   * @throws registry-unavailable after the last try, or at once for what no try will heal; the signal's reason when it was aborted. Every status that does not
   * ask for a retry is returned.
   */
  send(
    url: string,
    request: {
      method: 'GET' | 'HEAD' | 'POST'
      headers: Record<string, string>
      body?: string
      signal?: AbortSignal
    },
  ): Promise<OpenReply>
  /** Waits before try number `attempt` + 1. */
  backoff(attempt: number, signal?: AbortSignal): Promise<void>
}

const transient = new Set([408, 425, 429, 500, 502, 503, 504])

export function createSender(options: SendOptions): Sender {
  const limits = { ...defaultSendLimits, ...options.limits }
  const { fetch, random = Math.random, now = Date.now, log = silentLog } = options
  const { plainHttpWay = registryPlainHttp } = options
  const sleep =
    options.sleep ?? ((ms: number, signal?: AbortSignal) => sleepFor(ms, undefined, signal && { signal }))

  const backoff = (attempt: number, signal?: AbortSignal) => {
    const full = Math.min(limits.backoffMs * 2 ** (attempt - 1), limits.backoffMaxMs)
    return sleep(full * (0.5 + random() / 2), signal)
  }

  const sender: Sender = {
    limits,
    backoff,
    async send(url, request) {
      for (let attempt = 1; ; attempt++) {
        request.signal?.throwIfAborted()
        const outcome = await once(fetch, url, request, limits.responseTimeoutMs)
        request.signal?.throwIfAborted()
        const failed = 'error' in outcome
        if (!failed && !transient.has(outcome.status)) return outcome

        const what = failed ? outcome.error : `status ${outcome.status}`
        const known = failed ? explainUnreachable(what, new URL(url).host, plainHttpWay) : undefined
        const askedMs = failed ? undefined : retryAfterMs(outcome.headers.get('retry-after'), now())
        if (!failed) outcome.abort()
        if (known !== undefined && (!known.mayHeal || attempt >= limits.attemptsMax)) {
          throw unreachable(url, attempt, known, what)
        }
        if (attempt >= limits.attemptsMax || (askedMs ?? 0) > limits.retryAfterMaxMs) {
          throw unavailable(url, attempt, what, askedMs)
        }
        log.info({ url: withoutQuery(url), attempt, reason: String(what) }, 'registry request is tried again')
        if (askedMs === undefined) await backoff(attempt, request.signal)
        else await sleep(askedMs, request.signal)
      }
    },
  }
  return sender
}

async function once(
  fetch: Fetch,
  url: string,
  request: Parameters<Sender['send']>[1],
  responseTimeoutMs: number,
): Promise<OpenReply | { error: unknown }> {
  const controller = new AbortController()
  const abort = () =>
    controller.abort(new Error(`no reply within ${responseTimeoutMs} ms, or no longer wanted`))
  const timer = setTimeout(abort, responseTimeoutMs)
  const { signal: outer, ...rest } = request
  const signal = outer === undefined ? controller.signal : AbortSignal.any([outer, controller.signal])
  try {
    const reply = await fetch(url, { ...rest, signal, redirect: 'manual' })
    return { status: reply.status, headers: reply.headers, body: reply.body, url, abort }
  } catch (error) {
    return { error }
  } finally {
    clearTimeout(timer)
  }
}

/** RFC 9110 §10.2.3: seconds or a date. Undefined for anything else. */
export function retryAfterMs(header: string | null, nowMs: number): number | undefined {
  if (header === null) return undefined
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : Math.max(date - nowMs, 0)
}

/** Signed download addresses carry their credential in the query. */
export function withoutQuery(url: string): string {
  return url.split('?', 1)[0] as string
}

/**
 * Reads a small body whole. @throws what `tooLong` makes when it has more than `bytesMax` bytes, registry-unavailable
 * when it does not arrive within `timeoutMs`
 */
export async function readAll(
  reply: OpenReply,
  options: { bytesMax: number; timeoutMs: number; tooLong: () => Error },
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let length = 0
  const timer = setTimeout(() => reply.abort(), options.timeoutMs)
  try {
    for await (const chunk of reply.body ?? []) {
      length += chunk.length
      if (length > options.bytesMax) throw options.tooLong()
      chunks.push(chunk)
    }
  } catch (cause) {
    reply.abort()
    if (cause instanceof MusterError) throw cause
    throw new MusterError(
      'registry-unavailable',
      `The reply of ${withoutQuery(reply.url)} broke off after ${length} bytes. Try again.`,
      { cause },
    )
  } finally {
    clearTimeout(timer)
  }
  return new Uint8Array(Buffer.concat(chunks, length))
}

function unreachable(url: string, attempts: number, known: Unreachable, cause: unknown): MusterError {
  const tried = attempts === 1 ? '' : ` (tried ${attempts} times)`
  return new MusterError(
    'registry-unavailable',
    `${new URL(url).host} ${known.reason}${tried}. ${known.wayOut}`,
    { cause, details: { url: withoutQuery(url), attempts } },
  )
}

function unavailable(url: string, attempts: number, what: unknown, askedMs: number | undefined): MusterError {
  const reason = what instanceof Error ? reasonOf(what) : String(what)
  const asked = askedMs === undefined ? '' : `, and asks to wait ${Math.ceil(askedMs / 1000)} s`
  return new MusterError(
    'registry-unavailable',
    `${withoutQuery(url)} did not answer in ${attempts} ${attempts === 1 ? 'try' : 'tries'}: ${reason}${asked}. Try again later; what was fetched is kept.`,
    { cause: what instanceof Error ? what : undefined, details: { url: withoutQuery(url), attempts } },
  )
}

/** Node hides the reason in `code` (ECONNREFUSED), and the global fetch in `cause`. */
function reasonOf(error: Error): string {
  const { code } = error as { code?: unknown }
  const inner = error.cause instanceof Error ? `: ${reasonOf(error.cause)}` : ''
  const text = error.message || String(code ?? error.name)
  return (typeof code === 'string' && !text.includes(code) ? `${text} (${code})` : text) + inner
}
