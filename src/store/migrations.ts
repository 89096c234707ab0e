/**
 * Numbered changes of the schema, in order, each in one transaction together with its row in `migrations`.
 * A migration that was released is never edited: add the next number.
 */
import type { Kysely } from 'kysely'
import { MusterError } from '../errors.ts'
import { migration001 } from './migrations-001-machines.ts'
import { migration002 } from './migrations-002-dhcp-leases.ts'
import { migration003 } from './migrations-003-macs-changed.ts'
import { migration004 } from './migrations-004-claims-changed.ts'
import type { Schema } from './schema.ts'

// biome-ignore lint/suspicious/noExplicitAny: a migration speaks of the schema of its own day, not of today's type
export type Migration = { number: number; name: string; up(db: Kysely<any>): Promise<void> }

export const migrations: readonly Migration[] = [migration001, migration002, migration003, migration004]

/**
 * Brings a database to the newest schema of `known`.
 *
 * @returns the numbers that were applied now.
 * @throws database-newer when the database was written by a later Muster.
 */
export async function migrate(options: {
  db: Kysely<Schema>
  known: readonly Migration[]
  now: () => Date
}): Promise<number[]> {
  const { db, known, now } = options
  await db.schema
    .createTable('migrations')
    .ifNotExists()
    .addColumn('number', 'integer', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('appliedAt', 'bigint', (column) => column.notNull())
    .execute()
  const rows = await db.selectFrom('migrations').select('number').execute()
  const done = new Set(rows.map((row) => row.number))
  const newest = Math.max(0, ...known.map((migration) => migration.number))
  const found = Math.max(0, ...done)
  if (found > newest) {
    throw new MusterError(
      'database-newer',
      `the database has schema ${found}, this Muster knows up to ${newest}: start the newer Muster that wrote it, or restore the backup made before the upgrade`,
      { details: { expected: newest, found } },
    )
  }
  const missing = known.filter((migration) => !done.has(migration.number))
  for (const { number, name, up } of missing) {
    await db.transaction().execute(async (transaction) => {
      await up(transaction)
      await transaction
        .insertInto('migrations')
        .values({ number, name, appliedAt: now().getTime() })
        .execute()
    })
  }
  return missing.map((migration) => migration.number)
}
