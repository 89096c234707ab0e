/**
 * Makes a package lock from what a mirror has today. The mirror is believed as far as Debian's archive keys sign it
 * (images/agent/keys); from then on the lock itself is what is believed.
 */
import { createHash } from 'node:crypto'
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
import type { Architecture, Lock, LockedPackage } from './lock.ts'

/** What a lock is made from: images/agent/packages.yaml. `{arch}` in a name stands for the architecture. */
export type Wanted = {
  suite: string
  components: string[]
  sets: Record<string, string[]>
  meta: string[]
  without: string[]
}

export type RefreshOptions = {
  wanted: Wanted
  architectures: readonly Architecture[]
  mirror: string
  /** Checks InRelease and gives the text that was signed. @throws build-failed */
  verify: (inRelease: Buffer) => Promise<string>
  fetch?: typeof fetch
  progress?: Progress
}

const indexBytesMax = 64 << 20

/**
 * @throws download-failed where an index cannot be fetched or is not the signed one
 * @throws build-failed where the signature is wrong or a package does not exist
 */
export async function refreshLock(options: RefreshOptions): Promise<Lock> {
  const { wanted } = options
  const base = `${options.mirror}/dists/${wanted.suite}`
  const release = parseRelease(await options.verify(await get(`${base}/InRelease`, options)))
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
  options: RefreshOptions,
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

async function get(url: string, options: RefreshOptions): Promise<Buffer> {
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
