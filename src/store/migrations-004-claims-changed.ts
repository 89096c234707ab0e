/** Schema 4: whether an undecided machine always said the same of itself. */
import type { Migration } from './migrations.ts'

export const migration004: Migration = {
  number: 4,
  name: 'claims-changed',
  async up(db) {
    await db.schema.alterTable('machines').addColumn('claimsChanged', 'text').execute()
  },
}
