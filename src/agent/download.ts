/**
 * One blob into a file. Each chunk goes from curl to the file and to a hashing child at once, so nothing is read again
 * and what was hashed is what the file holds; several curls may feed it, one after the other, when the mirror went away.
 */
import { toHex } from '../crypto/encoding.ts'
import { MusterError } from '../errors.ts'
import type { Agent } from './agent.ts'
import { curlExit, readCurlError, startCurl } from './curl.ts'
import type { Program, Writer } from './host.ts'
import { reason, worthAnother } from './mirrors.ts'
import { collect } from './program.ts'
import { backoffMs } from './retry.ts'

export type Download = {
  url: string
  /** Lower-case hexadecimal. */
  sha256: string
  size: number
  path: string
  /** Where in the file the blob begins; what stands before it stays. */
  offset: number
  onProgress: (receivedBytes: number) => Promise<void>
}

/** Reads standard input, writes the 32 bytes of its sha256. */
const sha256Command = ['openssl', 'dgst', '-sha256', '-binary'] as const

type Sink = { hasher: Program; writer: Writer; received: number; ended: boolean }
type Ended = { status: number; httpCode: number; complaint: string }

/**
 * @throws MusterError `blob-too-long` at the first byte beyond the size, `blob-truncated`, `blob-digest`,
 * `blob-unavailable`, `memory-too-small`
 */
export async function downloadBlob(agent: Pick<Agent, 'host' | 'limits'>, blob: Download): Promise<void> {
  const { host } = agent
  const hasher = await host.start(sha256Command)
  const sink: Sink = {
    hasher,
    writer: await host.openWriter(blob.path, blob.offset),
    received: 0,
    ended: false,
  }
  try {
    await receive(agent, blob, sink)
    await hasher.closeInput()
    const { status, stdout } = await collect(hasher, 32)
    sink.ended = true
    const found = toHex(stdout)
    if (status !== 0 || stdout.length !== 32)
      throw new MusterError('internal', `openssl made no sha256 of ${blob.url} (status ${status}).`)
    if (found !== blob.sha256)
      throw new MusterError(
        'blob-digest',
        `${blob.url} has the sha256 ${found}, and ${blob.sha256} is signed.`,
      )
  } finally {
    if (!sink.ended) {
      hasher.kill()
      await hasher.wait()
    }
    await sink.writer.close()
  }
}

async function receive(agent: Pick<Agent, 'host' | 'limits'>, blob: Download, sink: Sink): Promise<void> {
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
  }
}

/** One curl, from where the last one ended. Where the mirror knows no ranges, what is there already is skipped. */
async function transfer(
  agent: Pick<Agent, 'host' | 'limits'>,
  blob: Download,
  sink: Sink,
  ranges: boolean,
): Promise<Ended> {
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
  for (let chunk = await program.read(); chunk !== undefined; chunk = await program.read()) {
    const skipped = Math.min(skip, chunk.length)
    skip -= skipped
    const rest = chunk.subarray(skipped)
    excess = rest.length > blob.size - sink.received
    if (excess) break
    await take(blob, sink, rest)
    await blob.onProgress(sink.received)
  }
  if (excess) program.kill()
  const { status, stderr } = await program.wait()
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

async function take(blob: Download, sink: Sink, bytes: Uint8Array): Promise<void> {
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
}

/** An end that no further try will change. */
function checkEnd(blob: Download, sink: Sink, ended: Ended): void {
  // 416: asked to go on from here, the mirror says that there is no more.
  if (ended.status === curlExit.ok || ended.httpCode === 416) throw truncated(blob, sink)
  if (!worthAnother(ended.status, ended.httpCode)) throw unavailable(blob, ended)
}

function givenUp(blob: Download, sink: Sink, ended: Ended): MusterError {
  return ended.status === curlExit.partial ? truncated(blob, sink) : unavailable(blob, ended)
}

function truncated(blob: Download, sink: Sink): MusterError {
  return new MusterError(
    'blob-truncated',
    `${blob.url} ends after ${sink.received} bytes, and ${blob.size} are signed.`,
  )
}

function unavailable(blob: Download, ended: Ended): MusterError {
  return new MusterError(
    'blob-unavailable',
    `${blob.url} cannot be fetched: ${reason(ended.complaint, ended.status)}.`,
  )
}
