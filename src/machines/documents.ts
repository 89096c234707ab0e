/** Named documents in a table (profiles, clusters): checked when they come in, bounded in number, kept in memory once read. */
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Database } from '../store/database.ts'

export type Documents<T> = {
  /** By name, in order. */
  list(): Promise<T[]>
  get(name: string): Promise<T | undefined>
  /** Adds or replaces. @throws limit-reached */
  put(document: T): Promise<void>
  /** Whether it was there. */
  remove(name: string): Promise<boolean>
}

/** One server owns the database, so what it wrote last is what is there. */
export function createDocuments<T extends { name: string }>(options: {
  database: Database
  table: 'profiles' | 'clusters'
  parse: (value: unknown) => T
  max: number
  now: () => Date
  log: Log
}): Documents<T> {
  const { database, table, parse, max, now, log } = options
  const { db } = database
  let cache: Promise<Map<string, T>> | undefined

  async function load(): Promise<Map<string, T>> {
    const rows = await db.selectFrom(table).selectAll().orderBy('name').execute()
    return new Map(rows.flatMap((row) => readable(row).map((document) => [row.name, document])))
  }

  /** What an older version took and this one does not is left out and said, and stays in the table: the others go on. */
  function readable(row: { name: string; document: string }): T[] {
    try {
      return [parse(JSON.parse(row.document))]
    } catch (error) {
      log.error(
        { err: error, name: row.name },
        `'${row.name}' in ${table} is left out, because this version does not take it: set it again, or remove it`,
      )
      return []
    }
  }

  function all(): Promise<Map<string, T>> {
    cache ??= load().catch((error: unknown) => {
      cache = undefined
      throw error
    })
    return cache
  }

  return {
    list: async () => [...(await all()).values()],
    get: async (name) => (await all()).get(name),
    async put(document) {
      const known = await all()
      if (!known.has(document.name) && known.size >= max)
        throw new MusterError(
          'limit-reached',
          `there are ${max} ${table} already: remove one, or raise ${table}.countMax`,
        )
      const row = { name: document.name, document: JSON.stringify(document), updatedAt: now().getTime() }
      await db
        .insertInto(table)
        .values(row)
        .onConflict((conflict) =>
          conflict.column('name').doUpdateSet({ document: row.document, updatedAt: row.updatedAt }),
        )
        .execute()
      cache = undefined
    },
    async remove(name) {
      const result = await db.deleteFrom(table).where('name', '=', name).executeTakeFirst()
      cache = undefined
      return result.numDeletedRows > 0n
    },
  }
}
