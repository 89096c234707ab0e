/**
 * An answer that goes on: one JSON document a line (application/x-ndjson), or server-sent events for a browser
 * (WHATWG HTML §9.2) when the client accepts them. A quiet stream says something every 15 s, so that proxies keep it.
 */
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Log } from '../log.ts'

export type StreamItem = { id?: string | number; value: unknown }

const heartbeatMs = 15_000

/**
 * Sends items until they end or the client goes away; then the signal is aborted. An error is the stream's last item,
 * `{"error": {code, detail}}`, because the status has long been sent.
 */
export function sendStream(
  request: FastifyRequest,
  reply: FastifyReply,
  open: (signal: AbortSignal) => AsyncIterable<StreamItem>,
  log: Log,
): FastifyReply {
  const gone = new AbortController()
  const asEvents = (request.headers.accept ?? '').includes('text/event-stream')
  const encode = asEvents ? encodeEvent : encodeLine
  // Not the stream's own `close`: that waits for the generator, which waits for the next item.
  reply.raw.once('close', () => gone.abort())
  const beat = asEvents ? ':\n\n' : '\n'
  const stream = Readable.from(withHeartbeat(encoded(), beat, gone.signal), { objectMode: false })
  return reply
    .type(asEvents ? 'text/event-stream' : 'application/x-ndjson')
    .header('cache-control', 'no-store')
    .header('x-accel-buffering', 'no')
    .send(stream)

  async function* encoded(): AsyncGenerator<string> {
    try {
      for await (const item of open(gone.signal)) yield encode(item)
    } catch (error) {
      if (gone.signal.aborted) return
      const known = error instanceof MusterError
      const detail = known
        ? error.message
        : 'The server failed in the middle of this answer; its log says more.'
      if (!known) log.error({ err: error }, 'a stream failed')
      yield encode({ value: { error: { code: errorCodeOf(error), detail } } })
    }
  }
}

function encodeLine({ value }: StreamItem): string {
  return `${JSON.stringify(value)}\n`
}

/** JSON has no line ends of its own, so one `data:` line is enough. */
function encodeEvent({ id, value }: StreamItem): string {
  return `${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(value)}\n\n`
}

async function* withHeartbeat(
  source: AsyncGenerator<string>,
  beat: string,
  gone: AbortSignal,
): AsyncGenerator<string> {
  let next = source.next()
  let wake = () => {}
  gone.addEventListener('abort', () => wake(), { once: true })
  try {
    // The head goes out at once: a watcher of a quiet server must know that it is connected.
    yield beat
    while (!gone.aborted) {
      let timer: NodeJS.Timeout | undefined
      const quiet = new Promise<'quiet'>((resolve) => {
        timer = setTimeout(resolve, heartbeatMs, 'quiet')
        wake = () => resolve('quiet')
      })
      const result = await Promise.race([next, quiet]).finally(() => clearTimeout(timer))
      if (result === 'quiet') yield beat
      else if (result.done === true) return
      else {
        yield result.value
        next = source.next()
      }
    }
  } finally {
    // Not awaited: a source that waits for its next item ends because the signal is aborted.
    void source.return(undefined)
  }
}
