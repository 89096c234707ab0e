/**
 * The metadata of one repository on disk, in the very bytes that were signed: what /tuf/<repository>/metadata/ serves.
 *
 *     <N>.root.json      every version for ever: an agent made years ago walks from its own root to today's
 *     <N>.targets.json   written before anything names it; the last few stay for clients that are still reading
 *     <N>.snapshot.json  the same
 *     timestamp.json     names the newest snapshot; replaced last and at once, so a client sees the old state or the new
 *
 * A crash between two writes leaves files that no timestamp names; the next commit writes over them. A root is named by none: one
 * that changes the keys of what is here and came without the rest is no part of the state, until a commit brings the rest.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MusterError } from '../errors.ts'
import { removeUnfinishedWrites, writeFileDurably } from '../store/durable-files.ts'
import { systemReason } from '../system-error.ts'
import { type SignedOf, type TopLevelRole, validateMetadata } from '../tuf/validate.ts'

/** A metadata file: its bytes as signed, what they say and who is said to have signed. Well-formed, not verified. */
export type MetadataFile<Role extends TopLevelRole> = {
  name: string
  bytes: Uint8Array
  signed: SignedOf<Role>
  keyids: readonly string[]
}

/** One state of a repository: what timestamp.json leads to, and the newest root that names who signed it. */
export type RepositoryState = { [Role in TopLevelRole]: MetadataFile<Role> }

/** Whether a file is a root newer than the state, which would make the rest of the state look unsigned. */
export function isBeyond(state: RepositoryState | undefined, name: string): boolean {
  const [, version] = /^([1-9]\d{0,9})\.root\.json$/.exec(name) ?? []
  return Number(version ?? 0) > (state?.root.signed.version ?? 0)
}

export type RepositoryFiles = {
  /** The bytes of `timestamp.json`, `<N>.root.json`, …; undefined for any other name and for what is not there. */
  read(name: string): Promise<Uint8Array | undefined>
  /**
   * The state that is served now; undefined when there is none at all.
   * @throws MusterError `repository-not-found` when a part of it is missing, `metadata-invalid` when one is damaged
   */
  current(): Promise<RepositoryState | undefined>
  /** Root versions that are here, ascending. */
  rootVersions(): Promise<number[]>
  /**
   * Writes files by name: roots first, timestamp.json last. Whatever is interrupted leaves the state before.
   * @throws MusterError `store-failed` when the disk refuses
   */
  commit(files: ReadonlyMap<string, Uint8Array>): Promise<void>
}

const namePattern = /^(?:(?:[1-9]\d{0,9})\.(?:root|targets|snapshot)|timestamp)\.json$/
const versionsKept = 16

type Role = 'root' | 'targets' | 'snapshot'
export type RepositoryReader = Pick<RepositoryFiles, 'read' | 'current' | 'rootVersions'>

export async function openRepositoryFiles(directory: string): Promise<RepositoryFiles> {
  await mkdir(directory, { recursive: true })
  await removeUnfinishedWrites(directory)

  async function write(name: string, bytes: Uint8Array): Promise<void> {
    try {
      await writeFileDurably(join(directory, name), bytes)
    } catch (cause) {
      const sentence = `${name} could not be written: ${systemReason(cause)}. See to the disk of ${directory}, then try again; what was served before is served on.`
      throw new MusterError('store-failed', sentence, { cause, details: { directory, name } })
    }
  }

  /** What no timestamp can name any more; roots stay. */
  async function removeOld(role: Role): Promise<void> {
    for (const version of (await versionsOf(directory, role)).slice(0, -versionsKept)) {
      await rm(join(directory, `${version}.${role}.json`), { force: true })
    }
  }

  return {
    ...readRepositoryFiles(directory),

    async commit(files) {
      for (const [name, bytes] of inOrder(files)) {
        if (!namePattern.test(name)) throw new MusterError('internal', `"${name}" is not a metadata file.`)
        await write(name, bytes)
      }
      await removeOld('targets')
      await removeOld('snapshot')
    },
  }
}

/** The same for one who only looks, beside a server that may be writing: what a state names is written before it. */
export function readRepositoryFiles(directory: string): RepositoryReader {
  async function read(name: string): Promise<Uint8Array | undefined> {
    // Names come from URLs: attacker-controlled, so nothing but the pattern reaches the disk.
    if (!namePattern.test(name)) return undefined
    try {
      return await readFile(join(directory, name))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  async function load<Role extends TopLevelRole>(role: Role, name: string): Promise<MetadataFile<Role>> {
    const bytes = await read(name)
    if (bytes === undefined) {
      const sentence = `${name} is missing from ${directory}; restore it from a backup, or pull it again from upstream.`
      throw new MusterError('repository-not-found', sentence, { details: { directory, name } })
    }
    const { signed, keyids } = validateMetadata(role, name, bytes)
    return { name, bytes, signed, keyids }
  }

  /** The newest where none fits: then whoever verifies says what is wrong. */
  async function rootOf(versions: readonly number[], rest: WithoutRoot): Promise<MetadataFile<'root'>> {
    for (const version of versions.toReversed()) {
      const root = await load('root', `${version}.root.json`)
      if (fits(root, rest)) return root
    }
    return load('root', `${versions.at(-1) ?? 1}.root.json`)
  }

  return {
    read,
    rootVersions: () => versionsOf(directory, 'root'),

    async current() {
      const isThere = (await read('timestamp.json')) !== undefined
      if (!isThere && (await versionsOf(directory, 'root')).length === 0) return undefined
      const timestamp = await load('timestamp', 'timestamp.json')
      const snapshotVersion = timestamp.signed.meta['snapshot.json'].version
      const snapshot = await load('snapshot', `${snapshotVersion}.snapshot.json`)
      const targetsVersion = snapshot.signed.meta['targets.json']?.version
      const targets = await load('targets', `${targetsVersion}.targets.json`)
      const rest = { timestamp, snapshot, targets }
      // Last, because a writer puts roots down first: none can be missing then that the rest was signed under, and a newer one that does
      // not fit the rest is left out.
      return { root: await rootOf(await versionsOf(directory, 'root'), rest), ...rest }
    },
  }
}

type WithoutRoot = Omit<RepositoryState, 'root'>

/** By the keyids alone, so that what is forged still fails to verify: whether this root lets those sign who did. */
function fits({ signed }: MetadataFile<'root'>, rest: WithoutRoot): boolean {
  return (['timestamp', 'snapshot', 'targets'] as const).every((role) => {
    const { keyids, threshold } = signed.roles[role]
    return rest[role].keyids.filter((keyid) => keyids.includes(keyid)).length >= threshold
  })
}

async function versionsOf(directory: string, role: Role): Promise<number[]> {
  const pattern = new RegExp(`^([1-9]\\d{0,9})\\.${role}\\.json$`)
  const found = (await readdir(directory)).map((name) => pattern.exec(name)?.[1])
  return found
    .filter((version) => version !== undefined)
    .map(Number)
    .sort((a, b) => a - b)
}

const order = ['root', 'targets', 'snapshot', 'timestamp']

function inOrder(files: ReadonlyMap<string, Uint8Array>): [string, Uint8Array][] {
  const rank = (name: string) => order.findIndex((role) => name.includes(role))
  // Root versions in the order of their numbers: a gap in the chain would stop every client behind it.
  const version = (name: string) => Number.parseInt(name, 10) || 0
  return [...files].sort(([a], [b]) => rank(a) - rank(b) || version(a) - version(b))
}
