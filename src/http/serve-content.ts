/**
 * Serves bytes of known length as firmware asks for them: HEAD for the size (UEFI HTTP Boot does so first), one Range to
 * resume or to read a piece (iPXE, curl, our own agent), conditional requests for what is already there. RFC 9110.
 */
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** First and last byte, both included, as in `bytes=start-end` and in `fs.createReadStream`. */
export type ByteRange = { start: number; end: number }

export type Content = {
  /** Bytes of the whole. */
  size: number
  /** What changes when the bytes change, without quotes (a digest, say): it is sent as a strong ETag. */
  etag: string
  contentType: string
  /**
   * Exactly these bytes; `serveContent` always names them, so that a file stream takes no larger buffer than it needs and
   * does not follow a file that grows. Bytes that are in memory anyway may be given as they are. Called at most once,
   * never for HEAD or 304; a stream is destroyed when the client goes away.
   */
  stream(range?: ByteRange): Readable | Uint8Array | Promise<Readable | Uint8Array>
  /** Gives back what is open when no stream was taken (HEAD, 304, 416): a stream gives it back itself. */
  close?(): unknown
}

export type ContentDecision = { status: 200 | 304 | 412 | 416 } | { status: 206; range: ByteRange }

/**
 * Answers a GET or HEAD for `content`; `return serveContent(…)` from a fastify handler. Errors of the stream end the
 * connection.
 */
export async function serveContent(
  request: FastifyRequest,
  reply: FastifyReply,
  content: Content,
): Promise<FastifyReply> {
  const { size, contentType } = content
  const decision = decideContent(request.method, request.headers, content)
  reply.header('etag', `"${content.etag}"`).header('accept-ranges', 'bytes').code(decision.status)
  if (decision.status === 304) return sendNothing(reply, content)
  if (decision.status === 416) reply.header('content-range', `bytes */${size}`)
  if (decision.status === 416 || decision.status === 412) {
    return sendNothing(reply.header('content-length', 0), content)
  }

  const range = decision.status === 206 ? decision.range : { start: 0, end: size - 1 }
  const length = range.end - range.start + 1
  if (decision.status === 206) reply.header('content-range', `bytes ${range.start}-${range.end}/${size}`)
  reply.header('content-type', contentType).header('content-length', length)
  if (request.method === 'HEAD' || length === 0) return sendNothing(reply, content)

  const stream = await content.stream(range)
  if (stream instanceof Uint8Array) {
    return reply.send(Buffer.from(stream.buffer, stream.byteOffset, stream.byteLength))
  }
  // A file that shrank after its size was taken ends early without an error. The client must not wait for the rest, nor
  // take the next reply on this connection for it.
  stream.once('end', () => {
    const read = (stream as { bytesRead?: unknown }).bytesRead
    if (typeof read === 'number' && read < length) request.raw.socket.destroy()
  })
  return reply.send(stream)
}

/**
 * Which status and which bytes, in the order of RFC 9110 §13.2.2. Headers are attacker-controlled: whatever is malformed
 * or not supported (other units, several ranges) is ignored, as §14.2 allows, and the whole is sent.
 */
export function decideContent(
  method: string,
  headers: Readonly<Record<string, string | string[] | undefined>>,
  content: { size: number; etag: string },
): ContentDecision {
  const etag = `"${content.etag}"`
  const ifMatch = text(headers['if-match'])
  if (ifMatch !== undefined && !tags(ifMatch).some((tag) => tag === '*' || tag === etag))
    return { status: 412 }

  // §13.1.2: weak comparison, so a W/ that a cache put in front still matches.
  const ifNoneMatch = text(headers['if-none-match'])
  const known = ifNoneMatch === undefined ? [] : tags(ifNoneMatch)
  if (known.some((tag) => tag === '*' || tag.replace(/^W\//, '') === etag)) return { status: 304 }

  const rangeHeader = text(headers['range'])
  // §14.2: Range means something for GET alone.
  if (rangeHeader === undefined || method !== 'GET') return { status: 200 }
  // §13.1.5: strong comparison. We send no Last-Modified, so a date can never match: the whole is sent.
  const ifRange = text(headers['if-range'])
  if (ifRange !== undefined && ifRange.trim() !== etag) return { status: 200 }
  return toRange(rangeHeader, content.size)
}

/** RFC 9110 §14.1.2: `bytes=first-[last]` or `bytes=-suffix`. */
function toRange(header: string, size: number): ContentDecision {
  const match = /^bytes=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i.exec(header)
  const [first, last] = [match?.[1] ?? '', match?.[2] ?? '']
  if (first === '' && last === '') return { status: 200 }
  if (first === '') {
    const start = Math.max(size - Number(last), 0)
    return start >= size ? { status: 416 } : { status: 206, range: { start, end: size - 1 } }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) return { status: 200 }
  if (start >= size) return { status: 416 }
  return { status: 206, range: { start, end: last === '' ? size - 1 : Math.min(Number(last), size - 1) } }
}

function text(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value
}

/** Entity tags hold no quotes, but may hold commas. */
function tags(list: string): string[] {
  return list.match(/\*|(?:W\/)?"[^"]*"/g) ?? []
}

/** A body of nothing as a stream: fastify's own HEAD routes replace the content-length of any other empty payload by 0. */
async function sendNothing(reply: FastifyReply, content: Content): Promise<FastifyReply> {
  await content.close?.()
  return reply.send(Readable.from([]))
}
