/**
 * The command line's way to the server: the socket in the data folder, or a URL with a token. A server on another host has
 * a self-signed certificate, so it is known by its pinned public key, as agents know it.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect as connectTcp, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { connect as connectTls } from 'node:tls'
import { type ErrorCode, errorCodes, MusterError } from '../errors.ts'
import { withShortPath } from '../http/admin-socket.ts'
import { planeHeader } from '../http/answer-error.ts'
import { pinOf } from '../http/public-key-pin.ts'
import { unreachable } from './unreachable.ts'

export type ApiTarget =
  | { kind: 'socket'; path: string }
  /** `pins`: `sha256//<base64>` of the SPKI of servers that it may be, for a certificate that no authority signed. */
  | { kind: 'url'; url: URL; token: string | undefined; pins?: readonly string[] | undefined }

export type ApiRequest = {
  method: string
  /** Below /api/v1, beginning with a slash; already percent-encoded (see `apiPath`). */
  path: string
  query?: Readonly<Record<string, string | number | boolean | undefined>>
  headers?: Readonly<Record<string, string | number>>
  /** A value is sent as JSON; bytes and streams as they are. */
  body?: unknown
  signal?: AbortSignal
}

export type ApiClient = {
  /** The answer's JSON; undefined for an empty one. @throws MusterError the server's own code, or server-unreachable */
  call<Reply = unknown>(request: ApiRequest): Promise<Reply>
  /** The answer itself, for headers and bytes; its body must be read or destroyed. Errors as `call`. */
  open(request: ApiRequest): Promise<IncomingMessage>
  /** One value a line, until the server ends or `signal` is aborted. */
  lines(request: ApiRequest): AsyncGenerator<unknown>
}

/** Largest JSON answer that is read: a page of machines is some 100 kB. */
const answerBytesMax = 32 * 2 ** 20
const connectTimeoutMs = 10_000

/** `apiPath('/machines/:id', …)` would invite mistakes: segments are given one by one and encoded. */
export function apiPath(...segments: string[]): string {
  return `/${segments.map(encodeURIComponent).join('/')}`
}

export function createApiClient(target: ApiTarget): ApiClient {
  return {
    async call(request) {
      const response = await open(request)
      const body = await readAll(response)
      return (body.length === 0 ? undefined : JSON.parse(body.toString('utf8'))) as never
    },
    open,
    async *lines(request) {
      const response = await open({
        ...request,
        headers: { accept: 'application/x-ndjson', ...request.headers },
      })
      let rest = ''
      try {
        for await (const chunk of response.setEncoding('utf8')) {
          const parts = (rest + chunk).split('\n')
          rest = parts.pop() as string
          for (const part of parts) if (part !== '') yield throwIfError(JSON.parse(part))
        }
      } catch (error) {
        if (request.signal?.aborted === true) return
        throw error instanceof MusterError ? error : unreachable(target, error)
      }
    },
  }

  async function open(request: ApiRequest): Promise<IncomingMessage> {
    const response = await send(target, request)
    const status = response.statusCode ?? 0
    if (status >= 200 && status < 300) return response
    throw otherPlane(target, response) ?? toError(status, await readAll(response))
  }
}

async function send(target: ApiTarget, request: ApiRequest): Promise<IncomingMessage> {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(request.query ?? {}))
    if (value !== undefined) query.set(name, String(value))
  const raw = request.body instanceof Uint8Array || request.body instanceof Readable
  const body = request.body === undefined || raw ? request.body : Buffer.from(JSON.stringify(request.body))
  const headers: Record<string, string | number> = { connection: 'close' }
  if (body !== undefined) headers['content-type'] = raw ? 'application/octet-stream' : 'application/json'
  if (body instanceof Uint8Array) headers['content-length'] = body.length
  if (target.kind === 'url' && target.token !== undefined) headers['authorization'] = `Bearer ${target.token}`
  try {
    const socket = await openSocket(target)
    const outgoing = httpRequest({
      createConnection: () => socket,
      host: target.kind === 'url' ? target.url.hostname : 'localhost',
      method: request.method,
      path: `/api/v1${request.path}${query.size === 0 ? '' : `?${query}`}`,
      headers: { ...headers, ...request.headers },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    })
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', resolve)
      outgoing.once('error', reject)
    })
    if (body instanceof Readable) {
      // A server that refuses answers before it has read everything: its answer says more than the broken pipe.
      void pipeline(body, outgoing).catch(() => undefined)
    } else outgoing.end(body)
    return await answered
  } catch (error) {
    // What was to be sent ended early (a blob that its folder does not have): that is why the connection broke.
    const atSource = body instanceof Readable ? body.errored : null
    if (body instanceof Readable) body.destroy()
    if (atSource instanceof MusterError) throw atSource
    throw error instanceof MusterError ? error : unreachable(target, error)
  }
}

async function openSocket(target: ApiTarget): Promise<Socket> {
  if (target.kind === 'socket') {
    return withShortPath(target.path, (path) => connected(connectTcp(path), 'connect'))
  }
  const { hostname, port, protocol } = target.url
  const host = hostname.replace(/^\[|\]$/g, '')
  const secure = protocol === 'https:'
  const place = { host, port: Number(port || (secure ? 443 : 80)) }
  if (!secure) return connected(connectTcp(place), 'connect')
  const servername = /^[\d.]+$|:/.test(host) ? '' : host
  const socket = connectTls({ ...place, servername, rejectUnauthorized: target.pins === undefined })
  await connected(socket, 'secureConnect')
  const key = socket.getPeerX509Certificate()?.publicKey
  const found = key === undefined ? 'none' : pinOf(key)
  if (target.pins !== undefined && !target.pins.includes(found)) {
    socket.destroy()
    throw new MusterError(
      'server-pin',
      `The server at ${target.url.host} has the key ${found}, but ${target.pins.join(', ')} was expected. The token was not sent.`,
      { details: { expected: target.pins, found } },
    )
  }
  return socket
}

function connected<S extends Socket>(socket: S, event: 'connect' | 'secureConnect'): Promise<S> {
  return new Promise((resolve, reject) => {
    socket.setTimeout(connectTimeoutMs, () =>
      socket.destroy(new Error(`no answer within ${connectTimeoutMs / 1000} s`)),
    )
    socket.once('error', reject)
    socket.once(event, () => {
      socket.setTimeout(0)
      socket.removeAllListeners('timeout')
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

/** The firmware's and the agents' ports answer too, and have none of this. */
function otherPlane(target: ApiTarget, response: IncomingMessage): MusterError | undefined {
  const plane = response.headers[planeHeader]
  if (target.kind === 'socket' || (plane !== 'firmware' && plane !== 'agent')) return undefined
  response.resume()
  return new MusterError(
    'server-unreachable',
    `What answers at ${target.url.origin} is the ${plane} plane of a Muster, which is for machines. Commands go to its admin plane, which has a port of its own: ` +
      "admin.port, 9443 where nobody set it; 'muster status' on that machine shows it.",
  )
}

/** The server's problem+json as the error it was; what is no such answer comes from something else on that port. */
function toError(status: number, body: Buffer): MusterError {
  try {
    const { code, detail } = JSON.parse(body.toString('utf8')) as { code: string; detail: string }
    if (typeof detail === 'string') return new MusterError(knownCode(code), detail)
  } catch {
    // Falls through: not our JSON.
  }
  return new MusterError(
    'server-unreachable',
    `What answered is not Muster's admin plane (status ${status}). Check the port in --url.`,
  )
}

function throwIfError(value: unknown): unknown {
  const error = (value as { error?: { code?: string; detail?: string } } | null)?.error
  if (error?.detail === undefined) return value
  throw new MusterError(knownCode(error.code), error.detail)
}

/** A newer server may know codes that this command line does not. */
function knownCode(code: unknown): ErrorCode {
  return (errorCodes as readonly unknown[]).includes(code) ? (code as ErrorCode) : 'internal'
}

async function readAll(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response) {
    size += (chunk as Buffer).length
    if (size > answerBytesMax)
      throw new MusterError('internal', `The server's answer passes ${answerBytesMax} bytes.`)
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks)
}
