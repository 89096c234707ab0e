/** Leases of the DHCP server, by address. An ACK waits for `put`, so writes share a commit like all others. */
import type { Database } from './database.ts'

export type StoredLease = { address: string; client: string; state: 'bound' | 'quarantined'; endsAt: number }

export type DhcpLeases = {
  load(): Promise<StoredLease[]>
  put(lease: StoredLease): Promise<void>
}

export function createDhcpLeases(database: Database): DhcpLeases {
  const { db } = database
  return {
    load: async () =>
      (await db.selectFrom('dhcpLeases').selectAll().orderBy('endsAt').execute()).map((row) => ({
        ...row,
        state: row.state === 'quarantined' ? 'quarantined' : 'bound',
        endsAt: Number(row.endsAt),
      })),
    async put(lease) {
      const { address, ...changed } = lease
      await database.atomically([
        db
          .insertInto('dhcpLeases')
          .values({ address, ...changed })
          .onConflict((conflict) => conflict.column('address').doUpdateSet(changed)),
      ])
    },
  }
}
