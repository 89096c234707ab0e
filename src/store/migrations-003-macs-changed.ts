/** Schema 3: whether an undecided machine always said the same MAC addresses. */
import type { Migration } from './migrations.ts'

export const migration003: Migration = {
  number: 3,
  name: 'macs-changed',
  async up(db) {
    await db.schema.alterTable('machines').addColumn('macsChangedAt', 'bigint').execute()
  },
}
