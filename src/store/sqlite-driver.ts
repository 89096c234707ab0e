/**
 * Kysely's driver over the SQLite worker.
 *
 * One message is on its way at a time; what is asked meanwhile gathers and goes as the next message, in one transaction:
 * that is the group commit, and its size finds itself by how slow the disk is.
 *
 *     free ── units ──▶ message ── done ──▶ free
 *     free ── begin ──▶ owned by one connection, all others wait ── commit | rollback ──▶ free
 */
import type { Worker } from 'node:worker_threads'
import {
  type Compilable,
  type CompiledQuery,
  type DatabaseConnection,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteDialect,
  SqliteQueryCompiler,
} from 'kysely'
import { MusterError } from '../errors.ts'
import type { Failure, FromWorker, StatementResult, ToWorker, Unit, UnitResult } from './sqlite-worker.ts'

type Job = {
  unit: Unit
  /** The connection whose transaction this belongs to. */
  owner?: object
  begins?: boolean
  ends?: boolean
  resolve(results: StatementResult[]): void
  reject(error: unknown): void
}

export class SqliteLink {
  readonly #worker: Worker
  readonly #unitsPerMessage: number
  #waiting: Job[] = []
  #owned: Job[] = []
  #owner: object | undefined
  #inFlight: Job[] | undefined
  #pumping = false
  #broken: MusterError | undefined
  #closed: (() => void) | undefined

  /** `worker` has said `ready`. */
  constructor(options: { worker: Worker; unitsPerMessage: number }) {
    this.#worker = options.worker
    this.#unitsPerMessage = options.unitsPerMessage
    this.#worker.on('message', (message: FromWorker) => this.#receive(message))
    this.#worker.on('error', (error) => this.#break(error))
    this.#worker.on('exit', () => this.#break(undefined))
  }

  /** Runs the statements together or not at all; resolves when they are durable. @throws database-failed */
  run(
    unit: Unit,
    options: { owner?: object; begins?: boolean; ends?: boolean } = {},
  ): Promise<StatementResult[]> {
    const { promise, resolve, reject } = Promise.withResolvers<StatementResult[]>()
    if (this.#broken !== undefined) reject(this.#broken)
    else {
      const lane = options.owner !== undefined && options.begins !== true ? this.#owned : this.#waiting
      lane.push({ unit, ...options, resolve, reject })
      this.#schedule()
    }
    return promise
  }

  /** Everything asked before is done first. */
  async close(): Promise<void> {
    if (this.#broken !== undefined) return
    await this.run([]).catch(() => undefined)
    const closed = new Promise<void>((resolve) => {
      this.#closed = resolve
    })
    this.#send({ kind: 'close' })
    await closed
  }

  #schedule(): void {
    if (this.#pumping || this.#inFlight !== undefined) return
    this.#pumping = true
    queueMicrotask(() => {
      this.#pumping = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#inFlight !== undefined || this.#broken !== undefined) return
    const next = this.#waiting[0]
    let jobs: Job[]
    if (this.#owner !== undefined) jobs = this.#owned.splice(0)
    else if (next?.begins === true) {
      this.#owner = next.owner
      jobs = this.#waiting.splice(0, 1)
    } else {
      const begin = this.#waiting.findIndex((job) => job.begins === true)
      jobs = this.#waiting.splice(0, Math.min(begin === -1 ? Infinity : begin, this.#unitsPerMessage))
    }
    if (jobs.length === 0) return
    this.#inFlight = jobs
    this.#send({ kind: 'run', wrap: this.#owner === undefined, units: jobs.map((job) => job.unit) })
  }

  #receive(message: FromWorker): void {
    if (message.kind === 'closed') {
      this.#break(undefined)
      this.#closed?.()
      return
    }
    if (message.kind !== 'done') return
    const jobs = this.#inFlight ?? []
    this.#inFlight = undefined
    for (const [index, job] of jobs.entries()) {
      const answer = message.units[index] as UnitResult
      const failed = 'failure' in answer
      if ((job.begins === true && failed) || job.ends === true) this.#owner = undefined
      if (failed) job.reject(toError(answer.failure))
      else job.resolve(answer.results)
    }
    this.#schedule()
  }

  #break(cause: unknown): void {
    if (this.#broken !== undefined) return
    this.#broken = new MusterError('database-failed', 'the database is closed', { cause })
    const jobs = [...(this.#inFlight ?? []), ...this.#owned, ...this.#waiting]
    this.#inFlight = undefined
    this.#owned = []
    this.#waiting = []
    for (const job of jobs) job.reject(this.#broken)
    this.#closed?.()
  }

  #send(message: ToWorker): void {
    try {
      this.#worker.postMessage(message)
    } catch (error) {
      // A parameter that cannot be copied to the worker is a mistake of ours; nothing of this message was done.
      const failure = { message: (error as Error).message }
      const units = message.kind === 'run' ? message.units.map(() => ({ failure })) : []
      this.#receive({ kind: 'done', units })
    }
  }
}

/** SQLite's extended result codes for a broken UNIQUE or PRIMARY KEY constraint (sqlite.org/rescode.html). */
const uniqueCodes = new Set([2067, 1555, 2579])
const foreignKeyCode = 787

function toError(failure: Failure): MusterError {
  const code = failure.sqliteCode ?? 0
  const constraint = uniqueCodes.has(code) ? 'unique' : code === foreignKeyCode ? 'reference' : undefined
  const { unchanged } = failure
  return new MusterError('database-failed', `the database refused a statement: ${failure.message}`, {
    details: {
      sqliteCode: failure.sqliteCode,
      ...(constraint === undefined ? {} : { constraint }),
      ...(unchanged === undefined ? {} : { unchanged }),
    },
  })
}

/** Whether a statement failed because such a row is there already. */
export function isDuplicate(error: unknown): boolean {
  return error instanceof MusterError && error.details['constraint'] === 'unique'
}

/** Whether a statement failed because the row it refers to is gone. */
export function isMissingReference(error: unknown): boolean {
  return error instanceof MusterError && error.details['constraint'] === 'reference'
}

/** For `atomically`: where the statement changes no row, nothing of what was given with it happens, and `isUnchanged` tells. */
export function mustChange(query: Compilable): Compilable {
  return { compile: () => ({ ...query.compile(), mustChange: true }) }
}

/** Whether a statement under `mustChange` found no row to change. */
export function isUnchanged(error: unknown): boolean {
  return error instanceof MusterError && error.details['unchanged'] === true
}

export function toQueryResult<R>(result: StatementResult): QueryResult<R> {
  return {
    rows: result.rows as R[],
    ...(result.changes === undefined ? {} : { numAffectedRows: BigInt(result.changes) }),
    ...(result.lastInsertRowid === undefined ? {} : { insertId: BigInt(result.lastInsertRowid) }),
  }
}

class Connection implements DatabaseConnection {
  readonly link: SqliteLink
  inTransaction = false

  constructor(link: SqliteLink) {
    this.link = link
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const unit = [{ sql: query.sql, parameters: query.parameters }]
    const [result] = await this.link.run(unit, this.inTransaction ? { owner: this } : {})
    return toQueryResult<R>(result as StatementResult)
  }

  // biome-ignore lint/correctness/useYield: rows come in one message; nothing here is large enough to stream
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new MusterError('database-failed', 'streaming queries are not supported: use limit and a cursor')
  }
}

class SqliteWorkerDriver implements Driver {
  readonly #link: SqliteLink

  constructor(link: SqliteLink) {
    this.#link = link
  }

  async init() {}

  async acquireConnection(): Promise<Connection> {
    return new Connection(this.#link)
  }

  async beginTransaction(connection: Connection): Promise<void> {
    await this.#link.run([{ sql: 'begin', parameters: [] }], { owner: connection, begins: true })
    connection.inTransaction = true
  }

  async commitTransaction(connection: Connection): Promise<void> {
    await this.#end(connection, 'commit')
  }

  async rollbackTransaction(connection: Connection): Promise<void> {
    await this.#end(connection, 'rollback')
  }

  async #end(connection: Connection, sql: string): Promise<void> {
    // Kysely rolls back after a failed commit too; by then the transaction has ended here.
    if (!connection.inTransaction) return
    connection.inTransaction = false
    await this.#link.run([{ sql, parameters: [] }], { owner: connection, ends: true })
  }

  async releaseConnection() {}
  async destroy() {}
}

/** SQLite as Kysely knows it, with our driver in place of better-sqlite3. */
export class SqliteWorkerDialect extends SqliteDialect {
  readonly #link: SqliteLink

  constructor(link: SqliteLink) {
    super({ database: undefined as never })
    this.#link = link
  }

  override createDriver(): Driver {
    return new SqliteWorkerDriver(this.#link)
  }

  override createAdapter(): SqliteAdapter {
    return new SqliteAdapter()
  }

  override createQueryCompiler(): SqliteQueryCompiler {
    return new SqliteQueryCompiler()
  }
}
