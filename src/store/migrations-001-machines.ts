/** Schema 1: machines, their boots and events, profiles, clusters, settings. Columns are explained in schema.ts. */
import { sql } from 'kysely'
import type { Migration } from './migrations.ts'

export const migration001: Migration = {
  number: 1,
  name: 'machines',
  async up(db) {
    await db.schema
      .createTable('machines')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.notNull().unique())
      .addColumn('enrolment', 'text', (column) => column.notNull())
      .addColumn('trust', 'text', (column) => column.notNull())
      .addColumn('labels', 'text', (column) => column.notNull())
      .addColumn('uuid', 'text')
      .addColumn('serial', 'text')
      .addColumn('arch', 'text', (column) => column.notNull())
      .addColumn('vendor', 'text')
      .addColumn('product', 'text')
      .addColumn('hardware', 'text', (column) => column.notNull())
      .addColumn('firstSeenAt', 'bigint', (column) => column.notNull())
      .addColumn('lastSeenAt', 'bigint', (column) => column.notNull())
      .addColumn('source', 'text', (column) => column.notNull())
      .addColumn('decidedAt', 'bigint')
      .addColumn('decidedBy', 'text')
      .addColumn('evictable', 'integer', (column) => column.notNull())
      .execute()
    await index('machines', ['uuid'])
    await index('machines', ['serial'])
    // Finds the machine that is evicted first, in all and of one source.
    await index('machines', ['evictable', 'lastSeenAt'])
    await index('machines', ['source', 'evictable', 'lastSeenAt'])

    await db.schema
      .createTable('machineMacs')
      .addColumn('mac', 'text', (column) => column.primaryKey())
      .addColumn('machineId', 'text', (column) =>
        column.notNull().references('machines.id').onDelete('cascade'),
      )
      .execute()
    await index('machineMacs', ['machineId'])

    await db.schema
      .createTable('boots')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('machineId', 'text', (column) =>
        column.notNull().references('machines.id').onDelete('cascade'),
      )
      .addColumn('sessionKey', 'text', (column) => column.notNull())
      .addColumn('nonce', 'text', (column) => column.notNull())
      .addColumn('helloDigest', 'text', (column) => column.notNull())
      .addColumn('hello', 'text', (column) => column.notNull())
      .addColumn('agentOrigin', 'text', (column) => column.notNull())
      .addColumn('agentVersion', 'text', (column) => column.notNull())
      .addColumn('arch', 'text', (column) => column.notNull())
      .addColumn('address', 'text', (column) => column.notNull())
      .addColumn('openedAt', 'bigint', (column) => column.notNull())
      .addColumn('lastSeenAt', 'bigint', (column) => column.notNull())
      .addColumn('step', 'text', (column) => column.notNull())
      .addColumn('sequence', 'bigint', (column) => column.notNull())
      .addColumn('sequenceDigest', 'text', (column) => column.notNull())
      .addColumn('held', 'text')
      .addColumn('plan', 'text')
      .addColumn('outcome', 'text')
      .addColumn('outcomeAt', 'bigint')
      .addColumn('eventCount', 'integer', (column) => column.notNull())
      .addColumn('console', 'text')
      .execute()
    await index('boots', ['machineId', 'openedAt'])
    // Finds those that fell silent, every minute, among all that ever were.
    await db.schema
      .createIndex('boots_under_way')
      .on('boots')
      .column('lastSeenAt')
      .where(sql.ref('outcome'), 'is', null)
      .execute()
    // The same hello again is the same boot: a reply was lost.
    await db.schema
      .createIndex('boots_hello')
      .unique()
      .on('boots')
      .columns(['machineId', 'helloDigest'])
      .execute()

    await db.schema
      .createTable('events')
      .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
      .addColumn('at', 'bigint', (column) => column.notNull())
      .addColumn('machineId', 'text', (column) => column.references('machines.id').onDelete('cascade'))
      .addColumn('bootId', 'text', (column) => column.references('boots.id').onDelete('cascade'))
      .addColumn('kind', 'text', (column) => column.notNull())
      .addColumn('assurance', 'text', (column) => column.notNull())
      .addColumn('message', 'text', (column) => column.notNull())
      .addColumn('data', 'text', (column) => column.notNull())
      .execute()
    await index('events', ['machineId', 'id'])
    await index('events', ['bootId', 'id'])

    for (const table of ['profiles', 'clusters']) {
      await db.schema
        .createTable(table)
        .addColumn('name', 'text', (column) => column.primaryKey())
        .addColumn('document', 'text', (column) => column.notNull())
        .addColumn('updatedAt', 'bigint', (column) => column.notNull())
        .execute()
    }
    await db.schema
      .createTable('settings')
      .addColumn('key', 'text', (column) => column.primaryKey())
      .addColumn('value', 'text', (column) => column.notNull())
      .execute()

    function index(table: string, columns: string[]): Promise<void> {
      return db.schema
        .createIndex(`${table}_${columns.join('_')}`)
        .on(table)
        .columns(columns)
        .execute()
    }
  },
}
