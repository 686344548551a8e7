import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { Pool } from 'pg'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore, PostgresStoreOptions } from '../../stores/postgres.ts'
import { postgresStore } from '../../stores/postgres.ts'
import type { PostgresServer } from '../support/postgres-server.ts'
import { startPostgres } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import { testClock } from './contract.ts'
import { check, HOUR, MINUTE, newUser, open, parallel, refresh } from './contract/support.ts'

const SESSIONS = 100
const ROUNDS = 5

// A server of its own: what others do in theirs is counted, and keeps dead rows from being reused.
let server: PostgresServer
let pool: Pool
let store: PostgresStore
const clock = testClock()
const names = createNames('public', 'latchkey_')

beforeAll(async () => {
  server = await startPostgres({ config: { autovacuum: 'off' } })
  pool = new Pool({ connectionString: server.url, max: 8 })
  store = storeWith()
  await store.migrate()
})

afterAll(async () => {
  await store.close()
  await pool.end()
  await server.cleanUp()
})

function storeWith(options: Partial<PostgresStoreOptions> = {}): PostgresStore {
  const settings = {
    operationTimeout: '10s',
    pruneInterval: false,
    clock: () => clock.now(),
  } as const
  return postgresStore({ pool, ...settings, ...options })
}

interface Updates {
  readonly all: number
  readonly hot: number
}

/** Of sessions, once the server has counted at least so many. */
async function updates(atLeast: number): Promise<Updates> {
  return until(`${atLeast} updates are counted`, async () => {
    const { rows } = await pool.query<Record<'all' | 'hot', string>>(`
      select n_tup_upd as all, n_tup_hot_upd as hot from pg_stat_user_tables
      where relid = '${names.session}'::regclass`)
    const counted = { all: Number(rows[0]?.all), hot: Number(rows[0]?.hot) }
    return counted.all >= atLeast ? counted : false
  })
}

/** The next transaction that writes gets this number. */
async function nextTransaction(): Promise<string> {
  const { rows } = await pool.query<{ next: string }>(
    `select pg_snapshot_xmax(pg_current_snapshot())::text as next`,
  )
  return rows[0]?.next ?? ''
}

/** All that the sessions are, and which transaction wrote or locked them last. */
async function rowsOfAll(): Promise<unknown[]> {
  const { rows } = await pool.query<unknown[]>({
    text: `select ctid, xmin, xmax, s from ${names.session} s order by sid`,
    rowMode: 'array',
  })
  return rows
}

describe('what is written of a session in use', () => {
  it('is heap-only: no touch and no rotation ever writes an index', async () => {
    const sessions = await parallel(SESSIONS, async () => open(store))
    for (let round = 0; round < ROUNDS; round++) {
      clock.advance(2 * MINUTE)
      // One after the other: a page has room for some versions at once, not for all.
      for (const [n, session] of sessions.entries()) {
        expect(await check(store, session.sid)).toBe('alive')
        const result = await store.rotate(refresh(session))
        if (result.outcome !== 'rotated') throw new Error(result.outcome)
        sessions[n] = result.session
        const { generation } = result.session
        expect(await check(store, session.sid, { generation })).toBe('alive')
      }
    }
    const counted = await updates(3 * SESSIONS * ROUNDS)
    expect(counted).toEqual({ all: 3 * SESSIONS * ROUNDS, hot: 3 * SESSIONS * ROUNDS })
  })
})

describe('a check with nothing to write', () => {
  it('writes nothing, locks nothing, begins no transaction', async () => {
    const sessions = await parallel(20, async () => open(store))
    clock.advance(MINUTE - 1)
    const [rows, next] = [await rowsOfAll(), await nextTransaction()]
    for (const { sid, seedHash } of sessions) {
      expect(await check(store, sid)).toBe('alive')
      expect(await check(store, sid, { seedHash })).toBe('alive')
      expect(await check(store, sid, { jti: 'x', generation: 7 })).toBe('alive')
      expect(await check(store, sid, { seedHash: 'x' })).toBe('invalid')
    }
    clock.advance(1)
    for (const { sid } of sessions) {
      expect(await check(store, sid, { peek: true, generation: 0 })).toBe('alive')
      expect(await check(store, sid, { seedHash: 'x', generation: 0 })).toBe('invalid')
    }
    expect(await nextTransaction()).toBe(next)
    expect(await rowsOfAll()).toEqual(rows)
    // And this is what would have been seen.
    expect(await check(store, sessions[0]!.sid)).toBe('alive')
    expect(await nextTransaction()).not.toBe(next)
  })

  it('waits for nobody who holds the row', async () => {
    const { sid } = await open(store)
    const outsider = await pool.connect()
    try {
      await outsider.query('begin')
      await outsider.query(`update ${names.session} set data = '{}' where sid = $1`, [sid])
      expect(await check(store, sid)).toBe('alive')
      clock.advance(MINUTE)
      // Now there is, and it is due no matter who waits: it fails in time.
      await expect(check(storeWith({ operationTimeout: '50ms' }), sid)).rejects.toThrow()
    } finally {
      await outsider.query('rollback')
      outsider.release()
    }
    expect(await check(store, sid)).toBe('alive')
  })
})

describe('the statements', () => {
  it('are planned once a connection, whatever they are called with', async () => {
    const single = new Pool({ connectionString: server.url, max: 1 })
    const own = storeWith({ pool: single, listen: false })
    try {
      for (let round = 0; round < 20; round++) {
        const user = newUser()
        const session = await open(own, user)
        const { sid, seedHash } = session
        await check(own, sid, { seedHash })
        await check(own, sid, { jti: `jti${round}`, generation: 0 })
        await own.deny({ sid, jti: `jti${round}`, expiresAt: clock.now() + HOUR })
        await own.rotate(refresh(session))
        await own.rotate(refresh(session, { onReuse: 'user' }))
        await own.update({ sid, dataVer: 0, data: {} })
        await own.update({ sid, ver: 0, attributes: session.attributes })
        await own.list({ user, limit: 100 })
        await own.limit.take(sid, 1, MINUTE)
        await own.revoke({ sid })
        await own.revokeUser({ user })
      }
      const { rows } = await single.query<{ name: string; custom: number; generic: number }>(`
        select name, custom_plans::integer as custom, generic_plans::integer as generic
        from pg_prepared_statements where name like 'latchkey%' order by name`)
      expect(rows).toHaveLength(10)
      for (const { name, custom, generic } of rows) {
        expect([name, custom, generic > 0]).toEqual([name, 5, true])
      }
    } finally {
      await own.close()
      await single.end()
    }
  })

  it('write a touch after half of a short idle timeout, and not before', async () => {
    const session = await open(store)
    clock.advance(MINUTE / 2)
    const next = await nextTransaction()
    expect(await check(store, session.sid, { idleTimeoutMs: MINUTE + 1 })).toBe('alive')
    expect(await nextTransaction()).toBe(next)
    expect(await check(store, session.sid, { idleTimeoutMs: MINUTE })).toBe('alive')
    expect(await nextTransaction()).not.toBe(next)
  })
})
