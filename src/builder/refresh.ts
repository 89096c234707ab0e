/**
 * Makes a package lock from what a mirror has today. The mirror is believed as far as Debian's archive keys sign it
 * (images/agent/keys); from then on the lock itself is what is believed.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parse } from 'yaml'
import { MusterError } from '../errors.ts'
import {
  type IndexedPackage,
  parsePackages,
  parseRelease,
  type ReleaseFile,
  resolveDependencies,
} from './archive.ts'
import { decompressXz } from './deb.ts'
import type { Progress } from './download.ts'
import { type Architecture, encodeLock, type Lock, type LockedPackage, parseLock } from './lock.ts'
import { verifyClearSigned } from './openpgp.ts'
import { replaceFile } from './partial-file.ts'

/** What a lock is made from: images/agent/packages.yaml. `{arch}` in a name stands for the architecture. */
export type Wanted = {
  suite: string
  components: string[]
  sets: Record<string, string[]>
  meta: string[]
  without: string[]
}

export type ResolveOptions = {
  wanted: Wanted
  architectures: readonly Architecture[]
  mirror: string
  /** ASCII-armored archive keys. */
  keys: readonly string[]
  fetch?: typeof fetch
  progress?: Progress
}

export type Refreshed = { lock: Lock; changes: string[] }

/**
 * Makes the lock beside a `packages.yaml` anew, from archive keys in `keys/`, and says what changed (`curl 8.14 → 8.15 (amd64)`).
 * A mirror that shows an archive older than the lock is refused: nobody may turn security updates back by it.
 * @throws download-failed, build-failed as resolveLock
 */
export async function refreshLock(
  options: Omit<ResolveOptions, 'wanted' | 'keys'> & {
    lockFile: string
    /** What to lock; by default packages.yaml beside the lock. */
    wantedFile?: string
    keysFolder: string
  },
): Promise<Refreshed> {
  const { lockFile, keysFolder, wantedFile = join(dirname(lockFile), 'packages.yaml') } = options
  const wanted = parse(await readFile(wantedFile, 'utf8')) as Wanted
  const names = (await readdir(keysFolder)).filter((name) => name.endsWith('.asc'))
  const keys = await Promise.all(names.map((name) => readFile(join(keysFolder, name), 'utf8')))
  const oldText = await readFile(lockFile, 'utf8').catch(() => undefined)
  const old = oldText === undefined ? undefined : parseLock(oldText, lockFile)
  const lock = await resolveLock({ ...options, wanted, keys })
  if (old !== undefined && lock.date < old.date)
    throw new MusterError(
      'build-failed',
      `${options.mirror} shows Debian as of ${lock.date}, but the lock is already of ${old.date}. Name a mirror that is up to date with --mirror.`,
    )
  await replaceFile(lockFile, encodeLock(lock))
  return { lock, changes: changesBetween(old?.packages ?? [], lock.packages) }
}

function changesBetween(before: readonly LockedPackage[], after: readonly LockedPackage[]): string[] {
  const key = (item: LockedPackage) => `${item.name} (${item.architectures.join(', ')})`
  const was = new Map(before.map((item) => [key(item), item.version]))
  const is = new Map(after.map((item) => [key(item), item.version]))
  return [...new Set([...was.keys(), ...is.keys()])]
    .filter((name) => was.get(name) !== is.get(name))
    .map((name) => `${name}: ${was.get(name) ?? 'not there'} → ${is.get(name) ?? 'no more'}`)
}

const indexBytesMax = 64 << 20

/**
 * @throws download-failed where an index cannot be fetched or is not the signed one
 * @throws build-failed where the signature is wrong or a package does not exist
 */
export async function resolveLock(options: ResolveOptions): Promise<Lock> {
  const { wanted } = options
  const base = `${options.mirror}/dists/${wanted.suite}`
  const release = parseRelease(
    verifyClearSigned((await get(`${base}/InRelease`, options)).toString(), options.keys),
  )
  if (release.suite !== wanted.suite)
    throw new MusterError('build-failed', `${base}/InRelease is of ${release.suite}, not of ${wanted.suite}.`)
  const packages = new Map<string, LockedPackage>()
  for (const arch of options.architectures) {
    const index = await readIndex(base, release, arch, options)
    for (const [set, names] of Object.entries(wanted.sets)) {
      for (const item of resolveSet(index, names, wanted, arch)) addPackage(packages, item, arch, set)
    }
  }
  return {
    apiVersion: 'muster/v1',
    suite: wanted.suite,
    date: release.date,
    packages: [...packages.values()],
  }
}

async function readIndex(
  base: string,
  release: ReleaseFile,
  arch: Architecture,
  options: ResolveOptions,
): Promise<Map<string, IndexedPackage>> {
  const index = new Map<string, IndexedPackage>()
  for (const component of options.wanted.components) {
    const path = `${component}/binary-${arch}/Packages.xz`
    const bytes = await get(`${base}/${path}`, options)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    if (sha256 !== release.sha256.get(path))
      throw new MusterError(
        'download-failed',
        `${base}/${path} has sha256 ${sha256}, but ${release.sha256.get(path)} is signed: the mirror is being updated, or lies. Try again later, or another --mirror.`,
      )
    const text = (await decompressXz(bytes, path)).toString()
    for (const [name, item] of parsePackages(text)) if (!index.has(name)) index.set(name, item)
  }
  return index
}

function resolveSet(
  index: Map<string, IndexedPackage>,
  names: readonly string[],
  wanted: Wanted,
  arch: Architecture,
): IndexedPackage[] {
  const named = (name: string) => name.replaceAll('{arch}', arch)
  const meta = wanted.meta.map(named)
  const real = names.map(named).map((name) => {
    const first = meta.includes(name) ? index.get(name)?.dependencies[0]?.[0] : undefined
    return first ?? name
  })
  return resolveDependencies(index, real, wanted.without)
}

function addPackage(
  packages: Map<string, LockedPackage>,
  item: IndexedPackage,
  arch: Architecture,
  set: string,
): void {
  const { name, version, path, bytes, sha256 } = item
  const locked = packages.get(path) ?? { name, version, architectures: [], sets: [], path, bytes, sha256 }
  if (!locked.architectures.includes(arch)) locked.architectures.push(arch)
  if (!locked.sets.includes(set)) locked.sets.push(set)
  packages.set(path, locked)
}

async function get(url: string, options: ResolveOptions): Promise<Buffer> {
  const response = await (options.fetch ?? fetch)(url).catch((cause: unknown) => {
    throw new MusterError(
      'download-failed',
      `${url} could not be fetched. Check the network, or name another --mirror.`,
      { cause },
    )
  })
  if (!response.ok || response.body === null)
    throw new MusterError(
      'download-failed',
      `${url} answered HTTP ${response.status}. Name another --mirror.`,
    )
  const chunks: Uint8Array[] = []
  const totalBytes = Number(response.headers.get('content-length') ?? 0)
  let doneBytes = 0
  for await (const chunk of response.body) {
    chunks.push(chunk)
    doneBytes += chunk.length
    if (doneBytes > indexBytesMax)
      throw new MusterError('download-failed', `${url} is longer than ${indexBytesMax} bytes.`)
    options.progress?.({ name: url.slice(url.lastIndexOf('/dists/') + 7), doneBytes, totalBytes })
  }
  return Buffer.concat(chunks)
}
