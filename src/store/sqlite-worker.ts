/**
 * The only code that touches SQLite, in a thread of its own: `node:sqlite` is synchronous and a commit waits for the disk,
 * while TFTP timers and HTTP share the main thread.
 *
 * Group commit: a message carries many units; they run in one transaction and are answered after its COMMIT, which
 * `synchronous=FULL` makes durable. A unit that fails takes back only itself.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'

/** `mustChange`: where it changes no row, its unit fails. */
export type Statement = { sql: string; parameters: readonly unknown[]; mustChange?: boolean }
/** Statements that happen together or not at all. */
export type Unit = readonly Statement[]
/** `wrap`: in one transaction of this message. Otherwise inside (or opening, or ending) a transaction of the caller. */
export type ToWorker = { kind: 'run'; wrap: boolean; units: readonly Unit[] } | { kind: 'close' }
export type StatementResult = {
  rows: unknown[]
  changes?: number | bigint
  lastInsertRowid?: number | bigint
}
export type Failure = { message: string; sqliteCode?: number; unchanged?: true }
export type UnitResult = { results: StatementResult[] } | { failure: Failure }
export type FromWorker =
  | { kind: 'ready' }
  | { kind: 'refused'; failure: Failure }
  | { kind: 'done'; units: UnitResult[] }
  | { kind: 'closed' }
export type WorkerData = { path: string; lockTimeoutMs: number; cachedStatements: number }

const port = parentPort
if (port !== null) serve(port, workerData as WorkerData)

function serve(channel: NonNullable<typeof parentPort>, options: WorkerData): void {
  const send = (message: FromWorker) => channel.postMessage(message)
  let database: DatabaseSync
  try {
    database = open(options)
  } catch (error) {
    send({ kind: 'refused', failure: toFailure(error) })
    channel.close()
    return
  }
  const prepare = createStatementCache(database, options.cachedStatements)
  channel.on('message', (message: ToWorker) => {
    if (message.kind === 'run') {
      const run = message.wrap ? runTogether : runInside
      send({ kind: 'done', units: run(database, prepare, message.units) })
      return
    }
    database.close()
    send({ kind: 'closed' })
    channel.close()
  })
  send({ kind: 'ready' })
}

function open(options: WorkerData): DatabaseSync {
  const database = new DatabaseSync(options.path, {
    timeout: options.lockTimeoutMs,
    enableForeignKeyConstraints: true,
  })
  // Exclusive: the kernel's lock on the file is held while we live and gone when we are killed, so a second server on the
  // same folder is refused and no stale lock file ever is in the way. It also keeps the WAL index out of shared memory.
  database.exec('PRAGMA locking_mode = EXCLUSIVE')
  database.exec('PRAGMA journal_mode = WAL')
  database.exec('PRAGMA synchronous = FULL')
  database.exec('PRAGMA trusted_schema = OFF')
  database.exec('PRAGMA journal_size_limit = 67108864')
  // The lock is taken at the first write, so write: nothing, but now.
  database.exec('BEGIN IMMEDIATE; COMMIT')
  return database
}

type Prepare = (sql: string) => { statement: StatementSync; reads: boolean }

/** Least recently used statements go first; Kysely makes the same text for the same query. */
function createStatementCache(database: DatabaseSync, limit: number): Prepare {
  const cache = new Map<string, ReturnType<Prepare>>()
  return (sql) => {
    const found = cache.get(sql)
    if (found !== undefined) {
      cache.delete(sql)
      cache.set(sql, found)
      return found
    }
    const statement = database.prepare(sql)
    const entry = { statement, reads: statement.columns().length > 0 }
    cache.set(sql, entry)
    if (cache.size > limit) cache.delete(cache.keys().next().value as string)
    return entry
  }
}

function runTogether(database: DatabaseSync, prepare: Prepare, units: readonly Unit[]): UnitResult[] {
  const answers: UnitResult[] = []
  try {
    database.exec('BEGIN')
    for (const unit of units) {
      answers.push(unit.length === 1 ? runUnit(prepare, unit) : runInSavepoint(database, prepare, unit))
      // A full disk or an I/O error rolls everything back, not only its own statement (SQLite, lang_transaction §3).
      if (!database.isTransaction) throw new Error('the transaction was rolled back by an error of the disk')
    }
    database.exec('COMMIT')
    return answers
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    const own = answers.at(-1)
    const failure = own !== undefined && 'failure' in own ? own.failure : toFailure(error)
    return units.map(() => ({ failure }))
  }
}

function runInside(database: DatabaseSync, prepare: Prepare, units: readonly Unit[]): UnitResult[] {
  return units.map((unit) => {
    const answer = runUnit(prepare, unit)
    // A commit that failed (disk full) leaves the transaction open: nobody would end it.
    if ('failure' in answer && unit[0]?.sql === 'commit' && database.isTransaction) database.exec('ROLLBACK')
    return answer
  })
}

function runInSavepoint(database: DatabaseSync, prepare: Prepare, unit: Unit): UnitResult {
  database.exec('SAVEPOINT unit')
  const answer = runUnit(prepare, unit)
  if (!database.isTransaction) return answer
  if ('failure' in answer) database.exec('ROLLBACK TO unit')
  database.exec('RELEASE unit')
  return answer
}

function runUnit(prepare: Prepare, unit: Unit): UnitResult {
  const results: StatementResult[] = []
  try {
    for (const { sql, parameters, mustChange = false } of unit) {
      const { statement, reads } = prepare(sql)
      const values = parameters as SQLInputValue[]
      // node:sqlite takes an object in first place for named parameters, and shifts the rest.
      if (typeof values[0] === 'object' && values[0] !== null && !ArrayBuffer.isView(values[0]))
        throw new TypeError('an object is no value of a column')
      if (reads) results.push({ rows: statement.all(...values) })
      else {
        const done = statement.run(...values)
        if (mustChange && Number(done.changes) === 0)
          return { failure: { message: 'it changed no row, and had to', unchanged: true } }
        results.push({ rows: [], ...done })
      }
    }
    return { results }
  } catch (error) {
    return { failure: toFailure(error) }
  }
}

function toFailure(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error)
  const code = (error as { errcode?: unknown }).errcode
  return typeof code === 'number' ? { message, sqliteCode: code } : { message }
}
