import { execFile } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { isDuplicate, isUnchanged, mustChange, openDatabase } from '../../src/store/database.ts'
import { migrations } from '../../src/store/migrations.ts'

const databaseModule = new URL('../../src/store/database.ts', import.meta.url).href
let folder: string
let path: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-database-'))
  path = join(folder, 'muster.sqlite')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const open = (more = {}) => openDatabase({ path, log: silentLog, limits: { lockTimeoutMs: 50 }, ...more })
const setting = (key: string) => ({ key, value: 'v' })

describe('the database', () => {
  test('keeps what was written when it is opened again', async () => {
    {
      await using database = await open()
      await database.db.insertInto('settings').values(setting('a')).execute()
    }
    await using again = await open()
    expect(await again.db.selectFrom('settings').selectAll().execute()).toEqual([setting('a')])
  })

  test('is readable by its owner only, because it holds secrets of clusters', async () => {
    await using _ = await open()
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await stat(`${path}-wal`)).mode & 0o777).toBe(0o600)
  })

  test('refuses a second server on the same data folder', async () => {
    await using _ = await open()
    await expect(open()).rejects.toMatchObject({ code: 'database-locked' })
  })

  test('refuses a second server in another process too', async () => {
    await using _ = await open()
    const program = `import { openDatabase } from ${JSON.stringify(databaseModule)}
      const log = { debug() {}, info() {}, warn() {}, error() {} }
      await openDatabase({ path: ${JSON.stringify(path)}, log, limits: { lockTimeoutMs: 50 } }).then(
        () => console.log('opened'), (error) => console.log(error.code))`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program])
    expect(stdout.trim()).toBe('database-locked')
  })

  test('is free again as soon as its server was killed, and holds all that was acknowledged', async () => {
    const program = `import { openDatabase } from ${JSON.stringify(databaseModule)}
      const log = { debug() {}, info() {}, warn() {}, error() {} }
      const { db } = await openDatabase({ path: ${JSON.stringify(path)}, log })
      for (let number = 0; ; number++) {
        await Promise.all([0, 1, 2].map((part) => db.insertInto('settings').values({ key: number + '.' + part, value: '' }).execute()))
        process.stdout.write(number + '\\n')
      }`
    const child = execFile(process.execPath, ['--input-type=module', '-e', program])
    let said = ''
    await new Promise<void>((resolve) => {
      child.stdout?.on('data', (text) => {
        said += text
        if (said.split('\n').length > 50) resolve()
      })
    })
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('exit', resolve))
    const acknowledged = said.split('\n').slice(0, -1)
    await using database = await open()
    const rows = await database.db.selectFrom('settings').select('key').execute()
    const keys = new Set(rows.map((row) => row.key))
    for (const number of acknowledged)
      for (const part of [0, 1, 2]) expect(keys).toContain(`${number}.${part}`)
  })

  test('refuses what a newer Muster wrote, and says which schema it found', async () => {
    {
      await using database = await open()
      await database.db
        .insertInto('migrations')
        .values({ number: 9999, name: 'future', appliedAt: 0 })
        .execute()
    }
    await expect(open()).rejects.toMatchObject({ code: 'database-newer', details: { found: 9999 } })
  })

  test('applies a new migration once', async () => {
    const runs: number[] = []
    const more = { number: 9000, name: 'more', up: async () => void runs.push(1) }
    for (let start = 0; start < 2; start++) {
      await using _ = await open({ migrations: [...migrations, more] })
    }
    expect(runs).toEqual([1])
  })

  test('of the schema that knew nothing of changed claims keeps its machines', async () => {
    {
      await using older = await open({ migrations: migrations.filter(({ number }) => number < 4) })
      await sql`insert into machines (id, name, enrolment, trust, labels, arch, hardware, "firstSeenAt", "lastSeenAt", source, evictable)
        values ('m-old', 'rack-7', 'discovered', 'none', '{}', 'amd64', '{}', 1, 2, '192.0.2.10', 1)`.execute(
        older.db,
      )
    }
    await using database = await open()
    expect(await database.db.selectFrom('machines').select(['name', 'claimsChanged']).execute()).toEqual([
      { name: 'rack-7', claimsChanged: null },
    ])
  })

  test('takes back a migration that fails half-way', async () => {
    const broken = {
      number: 9000,
      name: 'broken',
      async up(db: Parameters<(typeof migrations)[0]['up']>[0]) {
        await db.schema.createTable('half').addColumn('x', 'text').execute()
        throw new Error('no')
      },
    }
    await expect(open({ migrations: [...migrations, broken] })).rejects.toThrow('no')
    await using database = await open()
    const tables = await database.db.introspection.getTables()
    expect(tables.map((table) => table.name)).not.toContain('half')
  })

  test('names an unwritable place', async () => {
    await expect(openDatabase({ path: '/proc/nowhere/muster.sqlite', log: silentLog })).rejects.toMatchObject(
      { code: 'data-unwritable' },
    )
  })

  test('says that a file is no database', async () => {
    const { writeFile } = await import('node:fs/promises')
    await writeFile(path, 'this is not a database, it is a letter to the operator\n'.repeat(100))
    await expect(open()).rejects.toMatchObject({ code: 'database-failed' })
  })
})

describe('writes at the same time', () => {
  test('a broken statement fails alone; its neighbours in the same commit are kept', async () => {
    await using database = await open()
    const { db } = database
    const answers = await Promise.allSettled([
      db.insertInto('settings').values(setting('a')).execute(),
      db.insertInto('settings').values(setting('a')).execute(),
      db.insertInto('settings').values(setting('b')).execute(),
    ])
    expect(answers.map((answer) => answer.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(isDuplicate((answers[1] as PromiseRejectedResult).reason)).toBe(true)
    expect(await db.selectFrom('settings').select('key').execute()).toEqual([{ key: 'a' }, { key: 'b' }])
  })

  test('statements given together happen together or not at all', async () => {
    await using database = await open()
    const { db, atomically } = database
    const insert = (key: string) => db.insertInto('settings').values(setting(key))
    const answers = await Promise.allSettled([
      atomically([insert('a'), insert('b')]),
      atomically([insert('c'), insert('a')]),
      atomically([insert('d')]),
    ])
    expect(answers.map((answer) => answer.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    const rows = await db.selectFrom('settings').select('key').orderBy('key').execute()
    expect(rows.map((row) => row.key)).toEqual(['a', 'b', 'd'])
  })

  test('a statement that must change a row takes back what was given with it where there is none', async () => {
    await using database = await open()
    const { db, atomically } = database
    const insert = (key: string) => db.insertInto('settings').values(setting(key))
    const rename = (from: string, to: string) =>
      mustChange(db.updateTable('settings').set({ key: to }).where('key', '=', from))
    await insert('a').execute()
    const [alone, before, good] = await Promise.allSettled([
      atomically([rename('x', 'y')]),
      atomically([insert('b'), rename('x', 'y'), insert('c')]),
      atomically([rename('a', 'd'), insert('e')]),
    ])
    for (const answer of [alone, before]) {
      const { reason } = answer as PromiseRejectedResult
      expect(reason).toMatchObject({ code: 'database-failed' })
      expect(isUnchanged(reason)).toBe(true)
    }
    expect(good.status).toBe('fulfilled')
    const rows = await db.selectFrom('settings').select('key').orderBy('key').execute()
    expect(rows.map((row) => row.key)).toEqual(['d', 'e'])
  })

  test('a transaction sees only its own work, and others wait for it', async () => {
    await using database = await open()
    const { db } = database
    const order: string[] = []
    const transaction = db.transaction().execute(async (inside) => {
      await inside.insertInto('settings').values(setting('a')).execute()
      await new Promise((resolve) => setTimeout(resolve, 30))
      order.push('transaction')
    })
    await new Promise((resolve) => setTimeout(resolve, 5))
    const outside = db
      .selectFrom('settings')
      .selectAll()
      .execute()
      .then((rows) => {
        order.push(`outside saw ${rows.length}`)
      })
    await Promise.all([transaction, outside])
    expect(order).toEqual(['transaction', 'outside saw 1'])
  })

  test('a transaction that throws leaves nothing, and the next one works', async () => {
    await using database = await open()
    const { db } = database
    const failing = db.transaction().execute(async (inside) => {
      await inside.insertInto('settings').values(setting('a')).execute()
      throw new Error('changed my mind')
    })
    await expect(failing).rejects.toThrow('changed my mind')
    await db.transaction().execute((inside) => inside.insertInto('settings').values(setting('b')).execute())
    expect(await db.selectFrom('settings').select('key').execute()).toEqual([{ key: 'b' }])
  })

  test('boots that fell silent are found without reading all that ever were', async () => {
    await using database = await open()
    const query = database.db
      .selectFrom('boots')
      .select('id')
      .where('outcome', 'is', null)
      .where('lastSeenAt', '<', 0)
      .compile()
    const plan = await sql.raw(`explain query plan ${query.sql.replace('?', '0')}`).execute(database.db)
    expect(JSON.stringify(plan.rows)).toContain('USING INDEX boots_under_way')
  })

  test('a thousand writers share few commits', async () => {
    await using database = await open()
    const { db } = database
    const started = performance.now()
    const keys = Array.from({ length: 1000 }, (_, number) => String(number))
    await Promise.all(keys.map((key) => db.insertInto('settings').values(setting(key)).execute()))
    const { count } = await db
      .selectFrom('settings')
      .select(db.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    expect(count).toBe(1000)
    // One fsync each would be 1000 waits for the disk; generous, because the machine may be busy.
    expect(performance.now() - started).toBeLessThan(5000)
  })

  test('a value that is no column fails its own statement, and the next one works', async () => {
    await using database = await open()
    const { db } = database
    for (const wrong of [Symbol('x'), {}, new Date()] as unknown as string[])
      for (const row of [
        { key: 'a', value: wrong },
        { key: wrong, value: 'a' },
      ])
        await expect(db.insertInto('settings').values(row).execute()).rejects.toMatchObject({
          code: 'database-failed',
        })
    await db.insertInto('settings').values(setting('b')).execute()
    expect(await db.selectFrom('settings').select('key').execute()).toEqual([{ key: 'b' }])
  })

  test('what is asked after closing is refused, not left hanging', async () => {
    const database = await open()
    const last = database.db.insertInto('settings').values(setting('last')).execute()
    await database[Symbol.asyncDispose]()
    await last
    const { atomically, db } = database
    await expect(atomically([db.selectFrom('settings').selectAll()])).rejects.toMatchObject({
      code: 'database-failed',
    })
  })
})
