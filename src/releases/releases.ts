/**
 * Releases of one repository, whether this server signs them or follows another: what serve.ts, the CLI and the API use.
 *
 *     init ─▶ catalog, metadata, target                   what boots and what firmware reads
 *             publish, setChannel, acceptTargets, resignDue   where the keys are here
 *             sync                                             where upstream is followed
 *
 * Everything that changes the repository runs one after the other; readers see the state before or the state after.
 */
import { join } from 'node:path'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Fetch } from '../oci/transport.ts'
import { planRole } from '../protocol/plan.ts'
import { initRepository, recoverCeremony } from '../signing/ceremony.ts'
import type { ExpiryPeriods } from '../signing/expiry.ts'
import { type Keys, loadKeys, requireKey, type Signer } from '../signing/keys.ts'
import type { BlobStore } from '../store/blobs.ts'
import { durableFiles } from '../store/durable-files.ts'
import type { Store } from '../store/store.ts'
import { acceptTargets, type CheckWithdrawn, type RepositoryTools } from './accept.ts'
import { admitTarget, offeredTargets, readTargetBytes } from './admit.ts'
import { type Catalog, readCatalog } from './catalog.ts'
import { publishedUpstream, repositoryNotFound, type SyncFailure, syncFailure } from './following.ts'
import { acquireLock, type Lock } from './lock.ts'
import { rootToBeginWith } from './pinned-root.ts'
import {
  type ChannelRequest,
  type Published,
  type PublishRequest,
  publishRelease,
  setChannel,
} from './publish-here.ts'
import type { PullProgress } from './pull-content.ts'
import {
  isBeyond,
  openRepositoryFiles,
  type RepositoryFiles,
  type RepositoryState,
} from './repository-files.ts'
import { type ResignResult, resignDue } from './resign.ts'
import { type SyncLimits, syncOnce, type Upstream } from './sync.ts'
import { type Crypto, verifyKept } from './verify-repository.ts'

export type ReleasesOptions = {
  repository: string
  /** data/tuf/<repository>/metadata */
  metadataDirectory: string
  /** data/keys/<repository> */
  keysDirectory: string
  blobs: BlobStore
  store: Store
  periods: ExpiryPeriods
  crypto: Crypto
  now: () => number
  log: Log
  /** Follow this repository; its root is the one that is trusted. */
  upstream?: Upstream | undefined
  /** Required with `upstream`. */
  fetch?: Fetch | undefined
  limits?: Partial<SyncLimits>
}

export type Releases = AsyncDisposable & {
  readonly repository: string
  /**
   * Opens the repository. Without one it makes one where `allowNew`, which the caller must not say when machines know an
   * older root.
   *
   * @throws MusterError `repository-locked`, `repository-not-found`, `key-invalid`, metadata-* when what is on disk does not verify
   */
  init(options: { allowNew: boolean }): Promise<{ created: boolean }>
  /** What is offered now. @throws MusterError `repository-not-found` before `init`, or before the first sync */
  catalog(): Catalog
  /** Undefined while metadata is good; otherwise what expired and could not be renewed here. */
  expired(): MusterError | undefined
  /** A file of …/metadata/, in the bytes that were signed; a root without what follows from it is not there yet. */
  metadata(name: string): Promise<Uint8Array | undefined>
  /** Digest and size behind a consistent-snapshot name below …/targets/: `<image>/<version>/<sha256>.<arch>`. */
  target(path: string): { digest: string; size: number } | undefined
  /** The newest root.json: what agents and followers are to trust. */
  trustedRoot(): Promise<Uint8Array>
  /** Who signs plans. @throws MusterError `key-not-found`, `key-invalid` when targets do not delegate to this key */
  planSigner(): Signer
  publish(request: PublishRequest): Promise<Published>
  setChannel(request: ChannelRequest): Promise<Published>
  /** targets.json N+1 that a publisher signed elsewhere. @throws as accept.ts says */
  acceptTargets(bytes: Uint8Array, checkWithdrawn?: CheckWithdrawn): Promise<void>
  resignDue(): Promise<ResignResult>
  /** Why the last round failed; undefined after one that did not, and before the first. */
  syncFailure(): SyncFailure | undefined
  /** One round of following upstream. @throws as sync.ts says; the state before stays */
  sync(options?: { onProgress?: PullProgress; signal?: AbortSignal }): Promise<void>
}

export function createReleases(options: ReleasesOptions): Releases {
  const { repository, metadataDirectory, keysDirectory, blobs, store, periods, crypto, now, log } = options
  let lock: Lock | undefined
  let files: RepositoryFiles | undefined
  let keys: Keys = {}
  let state: RepositoryState | undefined
  let catalog: Catalog | undefined
  let failure: SyncFailure | undefined
  let last: Promise<unknown> = Promise.resolve()

  const tools = (): RepositoryTools => {
    if (files === undefined) throw new MusterError('internal', 'The releases were used before init().')
    return { repository, files, blobs, store, keys, periods, crypto, now, log }
  }

  function oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    const run = last.then(work)
    last = run.catch(() => {})
    return run
  }

  /** A follower that was killed in its first commit has a root and nothing below it yet. */
  async function kept(open: RepositoryFiles): Promise<RepositoryState | undefined> {
    if (options.upstream !== undefined && (await open.read('timestamp.json')) === undefined) return undefined
    return open.current()
  }

  async function beginning(open: RepositoryFiles, from: RepositoryState): Promise<Uint8Array> {
    const { upstream } = options
    if (upstream === undefined) return from.root.bytes
    return rootToBeginWith({ repository, upstream, state: from, files: open, nowMs: now(), crypto })
  }

  /** Verifies what is on disk and reads it: at the start, and after every change. */
  async function load(): Promise<void> {
    const { files: open } = tools()
    state = await kept(open)
    if (state === undefined) return
    const trustedRoot = await beginning(open, state)
    const trusted = await verifyKept({
      repository,
      trustedRoot,
      read: open.read,
      state,
      nowMs: now(),
      crypto,
    })
    const readTarget = (target: Parameters<typeof readTargetBytes>[1]) => readTargetBytes(blobs, target)
    const read = await readCatalog({
      trusted,
      readTarget,
      strict: false,
      isAdmitted: store.isAdmitted,
    })
    for (const { message } of read.skipped)
      log.warn({ repository, reason: message }, 'a target is not offered')
    await admitAgain(read)
    catalog = read
    const over = expired()
    if (over !== undefined) log.error({ repository, reason: over.message }, 'metadata has expired')
  }

  /** Asked of the clock each time: metadata also expires while the server runs, without anybody loading it again. */
  function expired(): MusterError | undefined {
    const roles = Object.entries(catalog?.trusted.expires ?? {})
      .filter(([, expires]) => Date.parse(expires) <= now())
      .map(([role, expires]) => `${role} (${expires})`)
    if (roles.length === 0) return undefined
    const way =
      options.upstream === undefined
        ? "sign it again where its key is kept; 'muster tuf status' shows which keys are here"
        : `it is there again once ${options.upstream.url} can be reached and has signed it again`
    return new MusterError(
      'metadata-expired',
      `Machines refuse metadata of '${repository}' that has expired: ${roles.join(', ')}; ${way}.`,
      { details: { repository, roles } },
    )
  }

  /** An admission record that was lost is made again, as long as the content is here; what is not stays unserved. */
  async function admitAgain(read: Catalog): Promise<void> {
    for (const target of offeredTargets(read)) {
      try {
        await admitTarget({ blobs, store }, target)
      } catch (error) {
        log.error({ path: target.path, reason: String(error) }, 'a listed release is not complete here')
      }
    }
  }

  function current(): { state: RepositoryState; catalog: Catalog } {
    if (state === undefined || catalog === undefined)
      throw repositoryNotFound(repository, options.upstream, failure)
    return { state, catalog }
  }

  async function accept(bytes: Uint8Array, checkWithdrawn?: CheckWithdrawn): Promise<Catalog> {
    if (options.upstream !== undefined) throw publishedUpstream(repository, options.upstream.url)
    const before = current()
    await acceptTargets(tools(), before.state, before.catalog, bytes, checkWithdrawn)
    await load()
    return current().catalog
  }

  async function create(): Promise<void> {
    if (store.admitted().some(({ targets }) => targets.some((one) => one.repository === repository))) {
      const sentence = `There are releases of '${repository}' in the store, but ${metadataDirectory} is gone: restore it and ${keysDirectory} from a backup. A new root would be trusted by no machine in the field.`
      throw new MusterError('repository-not-found', sentence, { details: { metadataDirectory } })
    }
    await initRepository({ metadataDirectory, keysDirectory, files: durableFiles, periods, now })
    log.info({ repository, keysDirectory }, 'made a new repository')
  }

  const publisher = { tools, current, accept }

  return {
    repository,

    async init({ allowNew }) {
      lock = await acquireLock(join(metadataDirectory, '../../.lock'))
      await recoverCeremony({ metadataDirectory, keysDirectory, files: durableFiles })
      files = await openRepositoryFiles(metadataDirectory)
      const isNew = (await kept(files)) === undefined
      const created = isNew && allowNew && options.upstream === undefined
      if (isNew && !created && options.upstream === undefined) throw repositoryNotFound(repository, undefined)
      if (created) await create()
      const here = await loadKeys(keysDirectory, log)
      // A follower signs plans at most: anything else would make two repositories of one.
      keys = options.upstream === undefined ? here : here.plan === undefined ? {} : { plan: here.plan }
      await load()
      return { created }
    },

    catalog: () => current().catalog,
    expired,
    metadata: async (name) => (isBeyond(state, name) ? undefined : tools().files.read(name)),

    target(path) {
      const match = /^(.+\/)([0-9a-f]{64})\.([^/]+)$/.exec(path)
      const [, folder = '', sha256 = '', name = ''] = match ?? []
      const target = catalog
        ?.targets()
        .find((one) => one.path === `${folder}${name}` && one.sha256 === sha256)
      const digest = `sha256:${sha256}`
      return target !== undefined && store.isAdmitted(digest) ? { digest, size: target.length } : undefined
    },

    async trustedRoot() {
      const newest = state?.root.bytes ?? options.upstream?.root
      if (newest === undefined) throw repositoryNotFound(repository, options.upstream)
      return newest
    },

    planSigner() {
      const signer = requireKey(keys, 'plan')
      const delegated = current().state.targets.signed.delegations?.roles?.find(
        ({ name }) => name === planRole,
      )
      if (delegated?.keyids.includes(signer.keyid) === true) return signer
      const sentence = `plan.pem in ${keysDirectory} is not a key that targets.json delegates plans to; no agent would believe it.`
      throw new MusterError('key-invalid', sentence, { details: { keyid: signer.keyid } })
    },

    publish: (request) => oneAtATime(() => publishRelease(publisher, request)),
    setChannel: (request) => oneAtATime(() => setChannel(publisher, request)),
    acceptTargets: (bytes, checkWithdrawn) =>
      oneAtATime(async () => {
        await accept(bytes, checkWithdrawn)
      }),

    resignDue: () =>
      oneAtATime(async () => {
        const result = await resignDue(tools(), current().state)
        if (result.resigned.length > 0) await load()
        return result
      }),

    syncFailure: () => failure,

    sync: ({ onProgress, signal } = {}) =>
      oneAtATime(async () => {
        const { upstream, fetch, limits = {} } = options
        if (upstream === undefined || fetch === undefined) {
          throw new MusterError('internal', 'There is no upstream to follow.')
        }
        try {
          await syncOnce({ ...tools(), fetch, limits, signal }, upstream, { state, onProgress })
          await load()
          failure = undefined
        } catch (error) {
          failure = syncFailure(error, now())
          throw error
        }
      }),

    async [Symbol.asyncDispose]() {
      await last
      await lock?.[Symbol.asyncDispose]()
    },
  }
}
