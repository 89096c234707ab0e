/** Schema 2: leases of the DHCP server. */
import type { Migration } from './migrations.ts'

export const migration002: Migration = {
  number: 2,
  name: 'dhcp-leases',
  async up(db) {
    await db.schema
      .createTable('dhcpLeases')
      .addColumn('address', 'text', (column) => column.primaryKey())
      .addColumn('client', 'text', (column) => column.notNull())
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('endsAt', 'bigint', (column) => column.notNull())
      .execute()
  },
}
