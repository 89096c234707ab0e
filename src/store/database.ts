/**
 * The database: Kysely over SQLite in a worker thread. What was acknowledged is on the disk (WAL, synchronous=FULL).
 * One server owns a data folder; PostgreSQL comes behind the same schema when several share a fleet
 * (docs/decisions/0007-sqlite-in-a-worker.md).
 */
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { type Compilable, Kysely, type QueryResult } from 'kysely'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { type Migration, migrate, migrations } from './migrations.ts'
import type { Schema } from './schema.ts'
import { SqliteLink, SqliteWorkerDialect, toQueryResult } from './sqlite-driver.ts'
import type { Failure, FromWorker, WorkerData } from './sqlite-worker.ts'

export { isDuplicate, isMissingReference, isUnchanged, mustChange } from './sqlite-driver.ts'

export type Database = {
  db: Kysely<Schema>
  /**
   * Runs queries together or not at all, without the round trips of a transaction: many such calls share one commit.
   * Results in order. @throws database-failed
   */
  atomically(queries: readonly Compilable[]): Promise<QueryResult<unknown>[]>
  [Symbol.asyncDispose](): Promise<void>
}

export type DatabaseLimits = {
  /** How long a lock held by another process is waited for, in ms (a server that is just going down). */
  lockTimeoutMs: number
  /** Units that one commit takes at most. */
  unitsPerCommit: number
  cachedStatements: number
}
export const databaseLimits: DatabaseLimits = {
  lockTimeoutMs: 2000,
  unitsPerCommit: 512,
  cachedStatements: 256,
}

/**
 * Opens (or makes, mode 0600) the database at `path`, `:memory:` for one that is forgotten, and migrates it.
 *
 * @throws database-locked when another process holds it, database-newer, database-failed, data-unwritable.
 */
export async function openDatabase(options: {
  path: string
  log: Log
  now?: () => Date
  limits?: Partial<DatabaseLimits>
  migrations?: readonly Migration[]
}): Promise<Database> {
  const { path, log } = options
  const limits = { ...databaseLimits, ...options.limits }
  if (path !== ':memory:') makeFile(path)
  const link = await startWorker({ path, limits })
  const db = new Kysely<Schema>({ dialect: new SqliteWorkerDialect(link) })
  const dispose = async () => {
    await link.close()
    await db.destroy()
  }
  try {
    const now = options.now ?? (() => new Date())
    const applied = await migrate({ db, known: options.migrations ?? migrations, now })
    if (applied.length > 0) log.info({ path, applied }, 'database migrated')
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    db,
    async atomically(queries) {
      if (queries.length === 0) return []
      const results = await link.run(queries.map((query) => query.compile()))
      return results.map((result) => toQueryResult(result))
    },
    [Symbol.asyncDispose]: dispose,
  }
}

/** Before SQLite would make it with the umask's rights: it holds the secrets of clusters. */
function makeFile(path: string): void {
  try {
    // One level only: Node's recursive mkdir never returns under /proc, where a folder can be neither found nor made.
    if (!existsSync(dirname(path))) mkdirSync(dirname(path))
    closeSync(openSync(path, 'a', 0o600))
  } catch (cause) {
    throw new MusterError(
      'data-unwritable',
      `the database ${path} cannot be written: ${(cause as Error).message}`,
      {
        cause,
        details: { path },
      },
    )
  }
}

/** The one place that knows where the worker's code is: TypeScript in a checkout, a bundle beside ours when installed. */
function workerUrl(): URL {
  return import.meta.url.endsWith('.ts')
    ? new URL('./sqlite-worker.ts', import.meta.url)
    : new URL('./sqlite-worker.js', import.meta.url)
}

async function startWorker(options: { path: string; limits: DatabaseLimits }): Promise<SqliteLink> {
  const { path, limits } = options
  const workerData: WorkerData = {
    path,
    lockTimeoutMs: limits.lockTimeoutMs,
    cachedStatements: limits.cachedStatements,
  }
  // No execArgv of ours: a test runner's loader has no business in there.
  const worker = new Worker(workerUrl(), { workerData, execArgv: [], name: 'muster-database' })
  const first = await new Promise<FromWorker>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  if (first.kind === 'refused') throw toOpenError(path, first.failure)
  return new SqliteLink({ worker, unitsPerMessage: limits.unitsPerCommit })
}

/** SQLITE_BUSY and SQLITE_LOCKED (sqlite.org/rescode.html), in the low byte of an extended code. */
const lockCodes = new Set([5, 6])

function toOpenError(path: string, failure: Failure): MusterError {
  const details = { path, sqliteCode: failure.sqliteCode }
  if (failure.sqliteCode !== undefined && lockCodes.has(failure.sqliteCode & 0xff)) {
    return new MusterError(
      'database-locked',
      `the database ${path} is in use by another process: one server owns a data folder, stop the other one or give this one its own --data`,
      { details },
    )
  }
  return new MusterError('database-failed', `the database ${path} cannot be opened: ${failure.message}`, {
    details,
  })
}
