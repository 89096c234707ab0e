/** What a server does once in its life, and remembers when it is done: rows of the table `settings`. */
import type { Database } from '../store/database.ts'

/** `greeted`: DHCP lines, backup note and token were printed. `demonstration`: the profile was given, or was not needed. */
export type OnceDone = 'greeted' | 'demonstration'

export type Once = {
  isDone(what: OnceDone): Promise<boolean>
  done(what: OnceDone): Promise<void>
}

export function createOnce({ database, now }: { database: Pick<Database, 'db'>; now: () => Date }): Once {
  const { db } = database
  return {
    async isDone(what) {
      const row = await db.selectFrom('settings').select('key').where('key', '=', what).executeTakeFirst()
      return row !== undefined
    },
    async done(what) {
      await db
        .insertInto('settings')
        .values({ key: what, value: now().toISOString() })
        .onConflict((conflict) => conflict.column('key').doNothing())
        .execute()
    },
  }
}
