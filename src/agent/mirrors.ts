/** Where content lies on a mirror, and what one small file of it is. No mirror is trusted: all of it is checked. */

import type { ErrorCode } from '../errors.ts'
import { MusterError } from '../errors.ts'
import type { Mirror } from '../protocol/hello.ts'
import type { Agent } from './agent.ts'
import { curlExit, readCurlError, startCurl } from './curl.ts'
import { collect } from './program.ts'
import { pauseMs } from './retry.ts'
import { printable } from './text.ts'

/** Says of an error that the mirror lacks the thing, rather than serving a wrong one. */
const unavailableCodes: readonly ErrorCode[] = ['metadata-unavailable', 'blob-unavailable']

/**
 * A boot's mirrors in the order in which they are to be asked, as far as this boot has learned: each wait for one that is dead or
 * slow is paid once, not for every file. Nobody is struck off, because the others may turn out worse.
 */
export type MirrorOrder = {
  mirrors(): readonly Mirror[]
  putLast(mirror: Mirror): void
}

export function createMirrorOrder(mirrors: readonly Mirror[]): MirrorOrder {
  let order = [...mirrors]
  return {
    mirrors: () => order,
    putLast(mirror) {
      if (order.includes(mirror)) order = [...order.filter((each) => each !== mirror), mirror]
    },
  }
}

/** The same for those of a kind alone; what is learned of them counts for all. */
export function onlyOf(order: MirrorOrder, kind: Mirror['kind']): MirrorOrder {
  return { ...order, mirrors: () => order.mirrors().filter((mirror) => mirror.kind === kind) }
}

/**
 * The first mirror for which `attempt` succeeds; one for which it did not is asked last from then on. When none does: the first error that is more than "not there", since
 * that one tells of an attack or a mistake.
 * @throws MusterError of `attempt`, or `missing` when there is no mirror at all
 */
export async function onAnyMirror<T>(
  order: MirrorOrder,
  missing: MusterError,
  attempt: (mirror: Mirror) => Promise<T>,
): Promise<T> {
  const errors: unknown[] = []
  for (const mirror of order.mirrors()) {
    try {
      return await attempt(mirror)
    } catch (error) {
      errors.push(error)
      order.putLast(mirror)
    }
  }
  throw tellingOf(errors) ?? missing
}

/** What to say where no mirror did; undefined where there was none. */
export function tellingOf(errors: readonly unknown[]): unknown {
  const telling = errors.find(
    (error) => !(error instanceof MusterError && unavailableCodes.includes(error.code)),
  )
  return telling ?? errors.at(-1)
}

/** `static`: one URL a blob. `oci`: distribution-spec v1.1, "Pulling blobs". */
export function blobUrl(mirror: Mirror, sha256: string): string {
  return mirror.kind === 'static'
    ? `${mirror.url}/blobs/sha256/${sha256}`
    : `${mirror.url}/blobs/sha256:${sha256}`
}

/** A target with its hash before the last segment (TUF specification v1.0.34 §6.2), else a blob; `oci`: a manifest. */
export function targetUrls(mirror: Mirror, path: string, sha256: string): string[] {
  if (mirror.kind === 'oci') return [`${mirror.url}/manifests/sha256:${sha256}`]
  const split = path.lastIndexOf('/') + 1
  return [
    `${mirror.url}/targets/${path.slice(0, split)}${sha256}.${path.slice(split)}`,
    blobUrl(mirror, sha256),
  ]
}

/**
 * One file into memory, with retries while the mirror cannot be reached. Undefined where it is not there (403, 404).
 * @throws MusterError `unavailable`, or `tooLarge` for more than `maxBytes`
 */
export async function fetchSmall(
  agent: Pick<Agent, 'host' | 'limits'>,
  file: { url: string; maxBytes: number; accept?: string; unavailable: ErrorCode; tooLarge: ErrorCode },
): Promise<Uint8Array | undefined> {
  const { host, limits } = agent
  for (let attempt = 1; ; attempt++) {
    const program = await startCurl(host, limits, {
      url: file.url,
      maxBytes: file.maxBytes,
      maxSeconds: 4 * limits.requestSeconds,
      followRedirects: true,
      ...(file.accept === undefined ? {} : { headers: { accept: file.accept } }),
    })
    const { status, stdout, stderr } = await collect(program, file.maxBytes)
    const { httpCode, retryAfterSeconds, complaint } = readCurlError(stderr)
    if (status === curlExit.tooLarge || stdout.length > file.maxBytes)
      throw new MusterError(
        file.tooLarge,
        `${file.url} is longer than the ${file.maxBytes} bytes it may have.`,
      )
    if (status === curlExit.ok) return stdout
    if (httpCode === 403 || httpCode === 404) return undefined
    if (attempt >= limits.requestAttempts || !worthAnother(status, httpCode))
      throw new MusterError(file.unavailable, `${file.url} cannot be fetched: ${reason(complaint, status)}.`)
    await host.sleep(pauseMs(agent, attempt, retryAfterSeconds))
  }
}

/** A refusal stays one; what may come of a server that is away or too busy is tried again. */
export function worthAnother(status: number, httpCode: number): boolean {
  return status !== curlExit.httpError || httpCode === 429 || httpCode >= 500
}

export function reason(complaint: string, status: number): string {
  return printable(complaint, 200) || `curl ended with ${status}`
}
