import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { migrationScript } from '../../stores/postgres/migrate.ts'
import { createNames } from '../../stores/postgres/names.ts'
import { query } from '../support/postgres-commands.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { feedEnd, heard, listed, newUser, open, revocation } from './contract/support.ts'
import { newSchema } from './postgres/open.ts'
import { contentsOf, useServer } from './postgres/server.ts'

const VERSION = 2

describe('migrate', () => {
  const server = useServer()

  it('makes schema, tables and functions where there are none', async () => {
    const store = server.store(server.schema())
    expect(await store.migrate()).toEqual({ from: 0, to: VERSION })
    const session = await open(store)
    expect(await listed(store, session.user)).toEqual([session.sid])
    await store.close()
  })

  it('changes nothing the second time', async () => {
    const schema = server.schema()
    const store = server.store(schema)
    await store.migrate()
    const session = await open(store)
    const contents = await contentsOf(server.pool, schema)
    expect(await store.migrate()).toEqual({ from: VERSION, to: VERSION })
    expect(await contentsOf(server.pool, schema)).toEqual(contents)
    expect(await listed(store, session.user)).toEqual([session.sid])
    await store.close()
  })

  it.each(['read committed', 'serializable'])(
    'is done by one of eight nodes that start at once, at %s by default',
    async (level) => {
      const schema = server.schema()
      const settings = `-c default_transaction_isolation=${level.replace(' ', '\\ ')}`
      const stores = Array.from({ length: 8 }, () =>
        server.store(schema, { pool: server.poolWith({ settings }) }),
      )
      const results = await Promise.all(stores.map(async (store) => store.migrate()))
      expect(results.filter(({ from }) => from === 0)).toHaveLength(1)
      expect(results.filter(({ from }) => from === VERSION)).toHaveLength(7)
      expect(results.every(({ to }) => to === VERSION)).toBe(true)
      await Promise.all(stores.map(async (store) => store.close()))
    },
  )

  it('refuses a newer schema and changes nothing', async () => {
    const schema = server.schema()
    const store = server.store(schema)
    await store.migrate()
    await server.pool.query(
      `insert into "${schema}".latchkey_migration (version, name) values (99, 'later')`,
    )
    const contents = await contentsOf(server.pool, schema)
    await expect(store.migrate()).rejects.toThrow('version 99')
    expect(await contentsOf(server.pool, schema)).toEqual(contents)
    await store.close()
  })

  it('leaves nothing of a migration that fails late', async () => {
    const schema = server.schema()
    await server.pool.query(`create schema "${schema}"`)
    await server.pool.query(`create table "${schema}".latchkey_feed ()`)
    const contents = await contentsOf(server.pool, schema)
    const store = server.store(schema)
    await expect(store.migrate()).rejects.toMatchObject({ code: '42P07' })
    expect(await contentsOf(server.pool, schema)).toEqual(contents)
    await server.pool.query(`drop table "${schema}".latchkey_feed`)
    expect(await store.migrate()).toEqual({ from: 0, to: VERSION })
    await store.close()
  })

  it('leaves nothing of a migration whose connection dies', async () => {
    const schema = server.schema()
    const pool = server.poolWith({})
    // Half of it is done when it comes to the table that another transaction has just made.
    const other = await server.pool.connect()
    await server.pool.query(`create schema "${schema}"`)
    await other.query('begin')
    await other.query(`create table "${schema}".latchkey_feed ()`)
    const migration = server.store(schema, { pool }).migrate()
    const cut = expect(migration).rejects.toMatchObject({ code: '57P01' })
    for (let ended = 0; ended === 0;) {
      const { rowCount } = await server.pool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
        where wait_event_type = 'Lock' and query like '%"${schema}".%'`,
      )
      ended = rowCount ?? 0
    }
    await cut
    await other.query('rollback')
    other.release()
    expect(await contentsOf(server.pool, schema)).toEqual([])
  })

  describe('on a client of the app', () => {
    it('is part of a transaction that the app has begun', async () => {
      const schema = server.schema()
      const client = await server.pool.connect()
      const store = server.store(schema, { pool: client })
      await client.query('begin')
      expect(await store.migrate()).toEqual({ from: 0, to: VERSION })
      await client.query('rollback')
      expect(await contentsOf(server.pool, schema)).toEqual([])
      await client.query('begin')
      await store.migrate()
      await client.query('commit')
      expect(await store.migrate()).toEqual({ from: VERSION, to: VERSION })
      client.release()
    })

    it('leaves that transaction as it was when it fails', async () => {
      const schema = server.schema()
      const client = await server.pool.connect()
      await client.query('begin')
      await client.query(`create schema "${schema}"`)
      await client.query(`create table "${schema}".latchkey_feed ()`)
      await expect(server.store(schema, { pool: client }).migrate()).rejects.toThrow()
      await client.query('commit')
      client.release()
      expect(await contentsOf(server.pool, schema)).toEqual(['relation latchkey_feed r p '])
    })

    it('is a transaction of its own where there is none', async () => {
      const schema = server.schema()
      const client = await server.pool.connect()
      const store = server.store(schema, { pool: client })
      await client.query(`create schema "${schema}"`)
      await client.query(`create table "${schema}".latchkey_feed ()`)
      await expect(store.migrate()).rejects.toMatchObject({ code: '42P07' })
      expect(await contentsOf(server.pool, schema)).toEqual(['relation latchkey_feed r p '])
      await client.query(`drop table "${schema}".latchkey_feed`)
      expect(await store.migrate()).toEqual({ from: 0, to: VERSION })
      client.release()
    })
  })
})

describe('the script', () => {
  const server = useServer()

  it('makes what migrate makes', async () => {
    const [byHand, byMigrate] = [server.schema(), server.schema()]
    await server.pool.query(migrationScript(createNames(byHand, 'latchkey_')))
    await server.store(byMigrate).migrate()
    const names = (contents: string[], schema: string) =>
      contents.map((line) =>
        line
          .replaceAll(createNames(schema, 'latchkey_').channel.slice(1, -1), 'CHANNEL')
          .replaceAll(createNames(schema, 'latchkey_').userLock, 'LOCK'),
      )
    expect(names(await contentsOf(server.pool, byHand), byHand)).toEqual(
      names(await contentsOf(server.pool, byMigrate), byMigrate),
    )
  })

  it('makes a schema that the store works on and migrate finds done', async () => {
    const schema = server.schema()
    await server.pool.query(migrationScript(createNames(schema, 'latchkey_')))
    const store = server.store(schema)
    expect(await store.migrate()).toEqual({ from: VERSION, to: VERSION })
    const session = await open(store)
    const cursor = await feedEnd(store)
    await store.revoke({ sid: session.sid })
    expect(await heard(store, cursor, [session])).toEqual([revocation(session)])
    await store.close()
  })

  it('changes nothing where there is a schema', async () => {
    const schema = server.schema()
    await server.store(schema).migrate()
    const contents = await contentsOf(server.pool, schema)
    const script = migrationScript(createNames(schema, 'latchkey_'))
    await expect(server.pool.query(script)).rejects.toMatchObject({ code: '42P07' })
    expect(await contentsOf(server.pool, schema)).toEqual(contents)
  })
})

describe('a database that is not in UTF8', () => {
  const server = useServer()
  const name = newSchema()
  const url = () => ({ url: sharedPostgresUrl() })

  beforeAll(() =>
    query(
      url(),
      `create database "${name}" template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'`,
    ),
  )
  afterAll(() => query(url(), `drop database "${name}" with (force)`))

  it('is refused, by the script too, and nothing is changed', async () => {
    const pool = server.poolWith({
      url: Object.assign(new URL(url().url), { pathname: name }).href,
    })
    const store = server.store('refused', { pool })
    await expect(store.migrate()).rejects.toThrow('UTF8')
    const script = migrationScript(createNames('refused', 'latchkey_'))
    await expect(pool.query(script)).rejects.toMatchObject({ code: 'P0001' })
    expect(await contentsOf(pool, 'refused')).toEqual([])
    const findings = await store.inspect()
    expect(findings.map(({ code }) => code)).toContain('postgres_encoding')
    await store.close()
  })
})

describe('names', () => {
  const server = useServer()
  const odd = [
    '',
    '1a',
    'A',
    'a-b',
    'a b',
    'a.b',
    'ä',
    'a\n',
    'a\0',
    'a"b',
    'x"; drop schema public cascade; --',
    `x'); drop table users; --`,
    '$latchkey$',
    'a'.repeat(42),
    7,
    null,
  ]

  it.each(odd)('that are none are refused at start: %j', (name) => {
    for (const option of ['schema', 'tablePrefix']) {
      const options = { [option]: name } as unknown as { schema: string }
      expect(() => server.store('fine', options)).toThrow(
        expect.objectContaining({ code: 'invalid_option', option }),
      )
    }
  })

  it('may be as long as they may', async () => {
    const schema = `${server.schema()}_`.padEnd(41, 'x')
    const store = server.store(schema, { tablePrefix: 'p'.repeat(41) })
    expect(await store.migrate()).toEqual({ from: 0, to: VERSION })
    const session = await open(store)
    const cursor = await feedEnd(store)
    await store.revokeUser({ user: session.user })
    expect(await heard(store, cursor, [session])).toEqual([revocation(session)])
    await store.close()
    await server.pool.query(`drop schema "${schema}" cascade`)
  })

  it('keep two kits in one schema apart', async () => {
    const schema = server.schema()
    const [one, two] = ['one_', 'two_'].map((tablePrefix) => server.store(schema, { tablePrefix }))
    if (one === undefined || two === undefined) throw new Error('two stores')
    expect(await one.migrate()).toEqual({ from: 0, to: VERSION })
    expect(await two.migrate()).toEqual({ from: 0, to: VERSION })
    const user = newUser()
    const [mine, theirs] = [await open(one, user), await open(two, user)]
    const cursor = await feedEnd(two)

    await one.revokeUser({ user })
    await one.keys.save(0, 'mine')
    await one.limit.take('key', 3, 60_000)
    await one.audit.append([{ type: 'x', at: Date.now(), result: 'success', user }])

    expect(await listed(two, user)).toEqual([theirs.sid])
    expect(await heard(two, cursor, [mine, theirs])).toEqual([])
    expect(await two.keys.load()).toBeNull()
    expect(await two.limit.take('key', 0, 60_000)).toMatchObject({ used: 0 })
    expect((await two.audit.query({ user, limit: 10 })).items).toEqual([])
    // A cursor of the other's feed is none of this one's.
    const page = await two.feed.read({
      cursor: await feedEnd(one),
      waitMs: 0,
      signal: new AbortController().signal,
    })
    expect(page.complete).toBe(false)
    await one.close()
    await two.close()
  })
})
