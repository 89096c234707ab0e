/**
 * The first start of a repository: five keys, root 1, targets 1, snapshot 1, timestamp 1.
 *
 * A killed ceremony leaves either nothing or all of it: keys and metadata are made beside their places, a file
 * `complete` says that both are whole, and only then are they moved. The next start finishes the move or begins anew.
 *
 *     nothing ──make──▶ keys/R.new + tuf/R.new ──write tuf/R.new/complete──▶ moving ──▶ keys/R + tuf/R/metadata
 *        ▲                     │ killed                                        │ killed
 *        └────── removed ◀─────┘                          recoverCeremony ◀────┘
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { MusterError } from '../errors.ts'
import { type ExpiryPeriods, expiresIn } from './expiry.ts'
import { createSigner, generatePrivateKey, keyFileOf, keyRoles, type Signer, writeKeyFile } from './keys.ts'
import {
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  planDelegation,
  signMetadata,
} from './repository.ts'

/** How files come to stay (store/durable-files.ts): whole or not at all, through a crash. */
export type DurableFiles = {
  write(path: string, bytes: Uint8Array): Promise<void>
  syncDirectory(path: string): Promise<void>
  exists(path: string): Promise<boolean>
}

export type RepositoryPlaces = {
  /** data/keys/<repository> */
  keysDirectory: string
  /** data/tuf/<repository>/metadata */
  metadataDirectory: string
  files: DurableFiles
}

/**
 * Makes a new repository and gives its root.json, the bytes that agents and followers are to trust.
 *
 * @throws MusterError `repository-exists` when a key or metadata is there: a new root is never made silently, because
 *   every agent in the field trusts the old one.
 */
export async function initRepository(
  options: RepositoryPlaces & { periods: ExpiryPeriods; now: () => number },
): Promise<Uint8Array> {
  const { keysDirectory, metadataDirectory, files, periods, now } = options
  await recoverCeremony(options)
  for (const directory of [keysDirectory, metadataDirectory]) {
    if (!(await isEmpty(directory))) {
      const sentence = `There is a repository in ${directory} already, and machines may trust its root; move it away to make a new one.`
      throw new MusterError('repository-exists', sentence, { details: { directory } })
    }
  }
  const staged = stagingOf(options)
  await mkdir(staged.keys, { recursive: true, mode: 0o700 })
  await mkdir(staged.metadata, { recursive: true })
  const signers = await makeKeys(staged.keys)
  await files.syncDirectory(staged.keys)
  const metadata = firstMetadata(signers, periods, now())
  for (const [name, bytes] of Object.entries(metadata)) await files.write(join(staged.metadata, name), bytes)
  await files.write(staged.complete, Buffer.from('keys and metadata beside this file are whole\n'))
  await moveIntoPlace(options)
  return metadata['1.root.json'] as Uint8Array
}

/** Finishes or forgets a ceremony that was killed. Call it before anything looks for the repository. */
export async function recoverCeremony(places: RepositoryPlaces): Promise<void> {
  const staged = stagingOf(places)
  if (await places.files.exists(staged.complete)) return moveIntoPlace(places)
  // Not complete, so nobody was ever told of these keys.
  await rm(staged.keys, { recursive: true, force: true })
  await rm(dirname(staged.metadata), { recursive: true, force: true })
}

async function moveIntoPlace(places: RepositoryPlaces): Promise<void> {
  const staged = stagingOf(places)
  const moves = [
    [staged.keys, places.keysDirectory],
    [staged.metadata, places.metadataDirectory],
  ] as const
  for (const [from, to] of moves) {
    if (!(await places.files.exists(from))) continue
    await mkdir(dirname(to), { recursive: true })
    await rename(from, to)
    await places.files.syncDirectory(dirname(to))
  }
  await rm(dirname(staged.metadata), { recursive: true, force: true })
}

function stagingOf({ keysDirectory, metadataDirectory }: RepositoryPlaces) {
  const repository = `${dirname(metadataDirectory)}.new`
  return {
    keys: `${keysDirectory}.new`,
    metadata: join(repository, 'metadata'),
    complete: join(repository, 'complete'),
  }
}

async function makeKeys(directory: string): Promise<Record<(typeof keyRoles)[number], Signer>> {
  const signers: Partial<Record<(typeof keyRoles)[number], Signer>> = {}
  for (const role of keyRoles) {
    const privateKey = generatePrivateKey()
    await writeKeyFile(keyFileOf(directory, role), privateKey)
    signers[role] = createSigner(privateKey)
  }
  return signers as Record<(typeof keyRoles)[number], Signer>
}

function firstMetadata(
  signers: Record<(typeof keyRoles)[number], Signer>,
  periods: ExpiryPeriods,
  nowMs: number,
): Record<string, Uint8Array> {
  const role = ({ publicKey, keyid }: Signer) => ({ keys: [publicKey], keyids: [keyid], threshold: 1 })
  const version = 1
  const root = buildRoot({
    version,
    expires: expiresIn(nowMs, periods.root),
    roles: {
      root: role(signers.root),
      targets: role(signers.targets),
      snapshot: role(signers.snapshot),
      timestamp: role(signers.timestamp),
    },
  })
  const targets = signMetadata(
    buildTargets({
      version,
      expires: expiresIn(nowMs, periods.targets),
      targets: {},
      delegations: planDelegation(signers.plan),
    }),
    [signers.targets],
  )
  const snapshot = signMetadata(
    buildSnapshot({ version, expires: expiresIn(nowMs, periods.snapshot), targetsVersion: version, targets }),
    [signers.snapshot],
  )
  const timestamp = signMetadata(
    buildTimestamp({
      version,
      expires: expiresIn(nowMs, periods.timestamp),
      snapshotVersion: version,
      snapshot,
    }),
    [signers.timestamp],
  )
  return {
    '1.root.json': signMetadata(root, [signers.root]),
    '1.targets.json': targets,
    '1.snapshot.json': snapshot,
    'timestamp.json': timestamp,
  }
}

async function isEmpty(directory: string): Promise<boolean> {
  try {
    return (await readdir(directory)).length === 0
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true
    throw error
  }
}
