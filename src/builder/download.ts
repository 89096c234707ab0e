/**
 * Fetches what a lock names, from mirrors that are not trusted: what does not have the locked size and sha256 is thrown
 * away. A download that broke off goes on where it was, also in the next run.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { MusterError } from '../errors.ts'
import type { LockedPackage } from './lock.ts'
import { givePartialBack, takePartial } from './partial-file.ts'

/** How far a piece of work is; `totalBytes` is of all of it. */
export type Progress = (report: { name: string; doneBytes: number; totalBytes: number }) => void

export type DownloadOptions = {
  /** Without a slash at the end; tried in order. */
  mirrors: readonly string[]
  cacheDir: string
  progress?: Progress | undefined
  signal?: AbortSignal | undefined
  fetch?: typeof fetch
  /** How long a mirror may be silent. */
  idleTimeoutMs?: number
  /** How often each mirror is asked again after it broke off. */
  attempts?: number
  retryDelayMs?: number
}

/**
 * Gives each package's file by its name; files that are already in the cache are hashed, not fetched.
 * @throws package-missing where no mirror has that version any more
 * @throws download-failed where no mirror gave the right bytes
 */
export async function fetchPackages(
  packages: readonly LockedPackage[],
  options: DownloadOptions,
): Promise<Map<string, string>> {
  await mkdir(options.cacheDir, { recursive: true })
  const totalBytes = packages.reduce((sum, item) => sum + item.bytes, 0)
  const files = new Map<string, string>()
  let before = 0
  for (const item of packages) {
    const report = (bytes: number) =>
      options.progress?.({ name: item.name, doneBytes: before + bytes, totalBytes })
    files.set(item.name, await fetchPackage(item, options, report))
    before += item.bytes
    report(0)
  }
  return files
}

async function fetchPackage(
  item: LockedPackage,
  options: DownloadOptions,
  report: (bytes: number) => void,
): Promise<string> {
  const file = join(options.cacheDir, basename(item.path))
  if ((await sizeOf(file)) === item.bytes && (await sha256Of(file)) === item.sha256) return file
  const partial = await takePartial(file)
  const problems: string[] = []
  let missing = 0
  try {
    for (const mirror of options.mirrors) {
      const found = await fromMirror(`${mirror}/${item.path}`, item, { ...options, partial, report })
      if (found === 'done') {
        await rename(partial, file)
        return file
      }
      if (found.missing) missing++
      problems.push(`${mirror}: ${found.problem}`)
    }
  } finally {
    await givePartialBack(file, partial)
  }
  const tried = problems.join('; ')
  if (missing > 0 && missing === options.mirrors.length)
    throw new MusterError(
      'package-missing',
      `No mirror has ${item.name} ${item.version} any more (${tried}). Make the lock again with --refresh, or name a mirror that keeps it with --mirror.`,
      { details: { package: item.name, version: item.version } },
    )
  throw new MusterError(
    'download-failed',
    `${item.name} ${item.version} could not be fetched (${tried}). Check the network, or name another mirror with --mirror; what is there already is kept.`,
    { details: { package: item.name, version: item.version } },
  )
}

type Attempt = DownloadOptions & { partial: string; report: (bytes: number) => void }
type Failure = { missing: boolean; problem: string }

async function fromMirror(url: string, item: LockedPackage, options: Attempt): Promise<'done' | Failure> {
  const { partial } = options
  const attempts = options.attempts ?? 4
  let failure: Failure = { missing: false, problem: 'not tried' }
  for (let attempt = 1; attempt <= attempts; attempt++) {
    if (attempt > 1)
      await wait((options.retryDelayMs ?? 1000) * 2 ** (attempt - 2), undefined, stopper(options))
    const outcome = await requestRest(url, partial, item.bytes, options).catch((error: unknown) => {
      options.signal?.throwIfAborted()
      return { missing: false, problem: reasonOf(error) }
    })
    if (outcome !== 'complete') {
      failure = outcome
      if (outcome.missing) return failure
      continue
    }
    const sha256 = await sha256Of(partial)
    if (sha256 === item.sha256) return 'done'
    await rm(partial, { force: true })
    failure = { missing: false, problem: `sha256 ${sha256} instead of ${item.sha256}` }
  }
  return failure
}

/** Appends to the partial file what it still lacks. */
async function requestRest(
  url: string,
  partial: string,
  totalBytes: number,
  options: Attempt,
): Promise<'complete' | Failure> {
  const have = await sizeOf(partial)
  if (have === totalBytes) return 'complete'
  const resume = have > 0 && have < totalBytes
  const idle = new AbortController()
  const idleTimeoutMs = options.idleTimeoutMs ?? 30_000
  const timer = setTimeout(() => idle.abort(new Error(`silent for ${idleTimeoutMs} ms`)), idleTimeoutMs)
  const signal = AbortSignal.any([idle.signal, ...(options.signal ? [options.signal] : [])])
  try {
    const headers: Record<string, string> = { 'accept-encoding': 'identity' }
    if (resume) headers['range'] = `bytes=${have}-`
    const response = await (options.fetch ?? fetch)(url, { headers, signal })
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel()
      return { missing: true, problem: `HTTP ${response.status}` }
    }
    // A mirror may ignore Range and send the whole file (200): then it starts again.
    const goesOn =
      response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${have}-`)
    if ((response.status !== 200 && !goesOn) || response.body === null) {
      await response.body?.cancel()
      // What is here fits no answer to a Range. A gateway that is away for a moment (5xx) says nothing about it.
      if (response.status === 206 || response.status === 416) await rm(partial, { force: true })
      return { missing: false, problem: `HTTP ${response.status}` }
    }
    await using file = await open(partial, goesOn ? 'a' : 'w')
    let bytes = goesOn ? have : 0
    for await (const chunk of response.body) {
      timer.refresh()
      bytes += chunk.length
      if (bytes > totalBytes)
        return { missing: false, problem: `more than the ${totalBytes} bytes of the lock` }
      await file.write(chunk)
      options.report(bytes)
    }
    return bytes === totalBytes ? 'complete' : { missing: false, problem: `broke off at byte ${bytes}` }
  } finally {
    clearTimeout(timer)
  }
}

export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash)
  return hash.digest('hex')
}

async function sizeOf(file: string): Promise<number> {
  return (await stat(file).catch(() => undefined))?.size ?? 0
}

function stopper(options: DownloadOptions): { signal?: AbortSignal } {
  return options.signal === undefined ? {} : { signal: options.signal }
}

/** Node's fetch says "fetch failed" and puts the reason into its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? error.cause.message || String(error.cause) : error.message
}
