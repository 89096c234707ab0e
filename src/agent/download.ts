/**
 * One blob into a file. Each chunk goes from curl to the file and to a hashing child at once, so nothing is read again
 * and what was hashed is what the file holds; several curls may feed it, one after the other, when a mirror went away or is slow.
 */
import { toHex } from '../crypto/encoding.ts'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Agent } from './agent.ts'
import { curlExit, readCurlError, startCurl } from './curl.ts'
import type { Program, Writer } from './host.ts'
import { reason, tellingOf, worthAnother } from './mirrors.ts'
import { createPace, type Pace, wholeMs } from './pace.ts'
import { collect } from './program.ts'
import { backoffMs } from './retry.ts'

export type Download = {
  /** Of the mirrors, in the order in which they are asked; `left` is called where one did not do. */
  sources: readonly { url: string; left?: () => void }[]
  /** Lower-case hexadecimal. */
  sha256: string
  size: number
  path: string
  /** Where in the file the blob begins; what stands before it stays. */
  offset: number
  onProgress: (receivedBytes: number) => Promise<void>
}

/** The blob from one mirror. */
type Source = Omit<Download, 'sources'> & {
  url: string
  /** `host.now()` when the whole of it has taken too long. */
  endMs: number
  /** Missing where this mirror may be as slow as it is. */
  pace?: Pace | undefined
}

/** Reads standard input, writes the 32 bytes of its sha256. */
const sha256Command = ['openssl', 'dgst', '-sha256', '-binary'] as const

/** `from`: the URLs that its bytes came from. */
type Sink = { hasher: Program; writer: Writer; received: number; from: Set<string>; ended: boolean }
type Ended = { status: number; httpCode: number; complaint: string }
type Parts = Pick<Agent, 'host' | 'limits'>

/**
 * From one mirror after the other, each going on where the one before stopped. One that is slow is left while another has not
 * been asked; where none did better, the fastest goes on.
 *
 * @throws MusterError `blob-too-long` at the first byte beyond the size, `blob-truncated`, `blob-digest`,
 * `blob-unavailable`, `memory-too-small`
 */
export async function downloadBlob(agent: Parts, blob: Download): Promise<void> {
  const { host, limits } = agent
  const { sources, ...wanted } = blob
  const endMs = host.now() + wholeMs(blob.size, limits)
  const slow: { url: string; rate: number }[] = []
  const errors: unknown[] = []
  let sink: Sink | undefined

  async function fetchFrom(url: string, pace?: Pace): Promise<boolean> {
    try {
      for (;;) {
        sink ??= await openSink(host, blob)
        await receive(agent, { ...wanted, url, endMs, pace }, sink)
        const found = await finish(sink, url)
        if (found === blob.sha256) return true
        // Not all of it may be this mirror's: one that sent wrong bytes and stopped there would take the next one with it.
        const alone = [...sink.from].every((each) => each === url)
        sink = await closeSink(sink)
        if (alone)
          throw new MusterError(
            'blob-digest',
            `${url} has the sha256 ${found}, and ${blob.sha256} is signed.`,
          )
        // Of several mirrors' bytes nobody can say whose are wrong: once more, from this one alone.
      }
    } catch (error) {
      errors.push(error)
      if (error instanceof MusterError && typeof error.details['bytesPerSecond'] === 'number')
        slow.push({ url, rate: error.details['bytesPerSecond'] })
      // What is wrong on this side of the mirror may have left the file and its hash apart.
      if (sink !== undefined && !errorCodeOf(error).startsWith('blob-')) sink = await closeSink(sink)
      return false
    }
  }

  try {
    for (const { url, left } of sources) {
      if (await fetchFrom(url, sources.length > 1 ? createPace(host, limits) : undefined)) return
      left?.()
    }
    for (const { url } of slow.toSorted((a, b) => b.rate - a.rate)) if (await fetchFrom(url)) return
  } finally {
    if (sink !== undefined) await closeSink(sink)
  }
  throw (
    tellingOf(errors) ??
    new MusterError('blob-unavailable', `No mirror is named that could have sha256:${blob.sha256}.`)
  )
}
async function openSink(host: Agent['host'], blob: Pick<Download, 'path' | 'offset'>): Promise<Sink> {
  const hasher = await host.start(sha256Command)
  const writer = await host.openWriter(blob.path, blob.offset)
  return { hasher, writer, received: 0, from: new Set(), ended: false }
}

async function closeSink({ ended, hasher, writer }: Sink): Promise<undefined> {
  if (!ended) {
    hasher.kill()
    await hasher.wait()
  }
  await writer.close()
}

/** The sha256 of all that was received, lower-case hexadecimal. */
async function finish(sink: Sink, url: string): Promise<string> {
  await sink.hasher.closeInput()
  const { status, stdout } = await collect(sink.hasher, 32)
  sink.ended = true
  if (status === 0 && stdout.length === 32) return toHex(stdout)
  throw new MusterError('internal', `openssl made no sha256 of ${url} (status ${status}).`)
}

async function receive(agent: Parts, blob: Source, sink: Sink): Promise<void> {
  const { host, limits } = agent
  let idle = 0
  let ranges = true
  for (let attempt = 1; ; attempt++) {
    const before = sink.received
    const ended = await transfer(agent, blob, sink, ranges)
    if (sink.received === blob.size) return
    if (ended.status === curlExit.noRange) {
      ranges = false
      continue
    }
    checkEnd(blob, sink, ended)
    idle = sink.received > before ? 1 : idle + 1
    if (idle > limits.idleAttempts || attempt >= limits.blobAttempts) throw givenUp(blob, sink, ended)
    const bounds = { firstMs: limits.backoffFirstMs, mostMs: limits.backoffMostMs }
    await host.sleep(backoffMs(idle, bounds, () => host.random()))
    const late = lateness(agent, blob, sink)
    if (late !== undefined) throw late
  }
}

/** What ends a transfer that goes on, but not fast enough. */
function lateness({ host, limits }: Parts, blob: Source, sink: Sink): MusterError | undefined {
  const rate = blob.pace?.tooSlow()
  const sentence = `${blob.url} is too slow: ${sink.received} of ${blob.size} bytes are here, and`
  if (rate !== undefined)
    return new MusterError(
      'blob-unavailable',
      `${sentence} ${Math.round(rate)} come in a second; while others are left, ${limits.mirrorBytesPerSecond} must.`,
      { details: { bytesPerSecond: rate } },
    )
  if (host.now() < blob.endMs) return undefined
  const seconds = Math.round(wholeMs(blob.size, limits) / 1000)
  return new MusterError('blob-unavailable', `${sentence} the ${seconds} s are over that it may take.`)
}

/** One curl, from where the last one ended. Where the mirror knows no ranges, what is there already is skipped. */
async function transfer(agent: Parts, blob: Source, sink: Sink, ranges: boolean): Promise<Ended> {
  const offset = ranges ? sink.received : 0
  let skip = sink.received - offset
  const program = await startCurl(agent.host, agent.limits, {
    url: blob.url,
    // One more than wanted, so that a mirror that sends more is caught and not cut to size.
    maxBytes: blob.size - offset + 1,
    offset,
    followRedirects: true,
  })
  let excess = false
  let late: MusterError | undefined
  for (let chunk = await program.read(); chunk !== undefined; chunk = await program.read()) {
    const skipped = Math.min(skip, chunk.length)
    skip -= skipped
    blob.pace?.count(chunk.length)
    const rest = chunk.subarray(skipped)
    excess = rest.length > blob.size - sink.received
    if (excess) break
    await take(blob, sink, rest)
    await blob.onProgress(sink.received)
    late = sink.received === blob.size ? undefined : lateness(agent, blob, sink)
    if (late !== undefined) break
  }
  if (excess || late !== undefined) program.kill()
  const { status, stderr } = await program.wait()
  if (late !== undefined) throw late
  const ended = { status, ...readCurlError(stderr) }
  // Asked for the rest and given the whole: its length alone already says "too large".
  if (status === curlExit.tooLarge && offset > 0 && ended.httpCode === 200)
    return { ...ended, status: curlExit.noRange }
  if (excess || status === curlExit.tooLarge)
    throw new MusterError(
      'blob-too-long',
      `${blob.url} is longer than the ${blob.size} bytes that are signed.`,
    )
  return ended
}

async function take(blob: Source, sink: Sink, bytes: Uint8Array): Promise<void> {
  if (bytes.length === 0) return
  await sink.writer.write(bytes)
  if (!(await sink.hasher.write(bytes))) {
    const { status, stderr } = await sink.hasher.wait()
    sink.ended = true
    throw new MusterError(
      'internal',
      `openssl stopped hashing ${blob.url} after ${sink.received} bytes (status ${status}): ${stderr.trim() || 'it said nothing'}.`,
    )
  }
  sink.received += bytes.length
  sink.from.add(blob.url)
}

/** An end that no further try will change. */
function checkEnd(blob: Source, sink: Sink, ended: Ended): void {
  // 416: asked to go on from here, the mirror says that there is no more.
  if (ended.status === curlExit.ok || ended.httpCode === 416) throw truncated(blob, sink)
  if (!worthAnother(ended.status, ended.httpCode)) throw unavailable(blob, ended)
}

function givenUp(blob: Source, sink: Sink, ended: Ended): MusterError {
  return ended.status === curlExit.partial ? truncated(blob, sink) : unavailable(blob, ended)
}

function truncated(blob: Source, sink: Sink): MusterError {
  return new MusterError(
    'blob-truncated',
    `${blob.url} ends after ${sink.received} bytes, and ${blob.size} are signed.`,
  )
}

function unavailable(blob: Source, ended: Ended): MusterError {
  return new MusterError(
    'blob-unavailable',
    `${blob.url} cannot be fetched: ${reason(ended.complaint, ended.status)}.`,
  )
}
