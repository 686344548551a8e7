import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { Pool } from 'pg'
import type { CheckInput, CheckResult } from '../../lib/store.ts'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { loopTime } from '../support/loop-time.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import { testClock } from './contract.ts'
import type { TestClock } from './contract/support.ts'
import {
  hash,
  HOUR,
  LIFETIMES,
  MINUTE,
  newSession,
  newUser,
  open,
  parallel,
  read,
} from './contract/support.ts'
import { useDatabase } from './postgres/open.ts'

const database = useDatabase(sharedPostgresUrl)
const names = createNames(database.schema, 'latchkey_')
const { idleTimeoutMs } = LIFETIMES

let pool: Pool
let store: PostgresStore
let clock: TestClock
/** How many connections of the pool were used so far: one for each statement. */
let statements = 0

beforeEach(() => {
  pool = new Pool({ connectionString: sharedPostgresUrl(), connectionTimeoutMillis: 10_000 })
  // In the place of 'acquire', which comes late for a connection that is new.
  pool.on('release', () => {
    statements += 1
  })
  clock = testClock()
  store = database.store({ pool, clock: () => clock.now() })
})

afterEach(async () => {
  await store.close()
  await pool.end()
})

/** The same one after the other, which is each by itself. */
async function oneByOne(inputs: readonly CheckInput[]): Promise<CheckResult[]> {
  const results: CheckResult[] = []
  for (const input of inputs) results.push(await store.check(input))
  return results
}

async function atOnce(inputs: readonly CheckInput[]): Promise<CheckResult[]> {
  return Promise.all(inputs.map(async (input) => store.check(input)))
}

async function counted(act: () => Promise<unknown>): Promise<number> {
  const before = statements
  await act()
  return statements - before
}

describe('checks at once', () => {
  it('are answered as each by itself, from as many statements as their number needs', async () => {
    const sessions = await parallel(40, async () => open(store))
    const denied = 'denied'
    await parallel(40, async (n) =>
      store.deny({ sid: sessions[n]!.sid, jti: denied, expiresAt: clock.now() + HOUR }),
    )
    const inputs = sessions.flatMap(({ sid, seedHash }): CheckInput[] => [
      { sid, seedHash, idleTimeoutMs },
      { sid, seedHash: hash(), idleTimeoutMs },
      { sid, jti: denied, generation: 1, idleTimeoutMs },
      { sid, jti: 'an"other\\,{}', generation: 1, idleTimeoutMs },
      { sid, peek: true, idleTimeoutMs },
      { sid: newSession(newUser()).sid, seedHash, idleTimeoutMs },
    ])
    const expected = await oneByOne(inputs)
    const outcomes = new Set(
      expected.map((one) => JSON.stringify([one.outcome, 'denied' in one && one.denied])),
    )
    expect(outcomes.size).toBe(4)
    let answered: CheckResult[] = []
    expect(
      await counted(async () => {
        answered = await atOnce(inputs)
      }),
    ).toBe(3)
    expect(answered).toEqual(expected)
  })

  it('that come one at a time are one statement each', async () => {
    const session = await open(store)
    const { sid } = session
    expect(await counted(async () => oneByOne([{ sid, idleTimeoutMs }]))).toBe(1)
  })

  it('write what is due, and only for whom it is', async () => {
    const sessions = await parallel(6, async () => open(store))
    const [touched, confirmed, ...others] = sessions
    await store.rotate({
      sid: confirmed!.sid,
      seedHash: confirmed!.seedHash,
      generation: 0,
      attemptHash: hash(),
      bindingHash: confirmed!.bindingHash,
      policy: { reuseGraceMs: 0, lostResponseWindowMs: 0 },
      idleTimeoutMs,
      onReuse: 'session',
    })
    clock.advance(MINUTE)
    const now = clock.now()
    const results = await atOnce([
      { sid: touched!.sid, idleTimeoutMs },
      { sid: confirmed!.sid, generation: 1, idleTimeoutMs },
      ...others.map(({ sid }) => ({ sid, peek: true, idleTimeoutMs })),
    ])
    const touch = { lastSeenAt: now, idleDeadline: now + idleTimeoutMs }
    expect(results).toMatchObject([
      { outcome: 'alive', session: touch },
      { outcome: 'alive', session: { ...touch, confirmed: true } },
      ...others.map((session) => ({ outcome: 'alive', session })),
    ])
    expect(await read(store, touched!)).toMatchObject(touch)
    expect(await read(store, confirmed!)).toMatchObject({ ...touch, confirmed: true })
    for (const other of others) expect(await read(store, other)).toEqual(other)
  })

  it('see what was acknowledged before they were asked', async () => {
    const sessions = await parallel(20, async () => open(store))
    const [first, ...others] = sessions
    await store.revoke({ sid: first!.sid })
    const results = await atOnce(sessions.map(({ sid }) => ({ sid, idleTimeoutMs })))
    expect(results.map(({ outcome }) => outcome)).toEqual(['gone', ...others.map(() => 'alive')])
  })

  it('fail alone where one asks for what the server does not take', async () => {
    const sessions = await parallel(3, async () => open(store))
    const inputs = [...sessions.map(({ sid }) => sid), 'a\0b']
    const results = await Promise.allSettled(
      inputs.map(async (sid) => store.check({ sid, idleTimeoutMs })),
    )
    expect(results.map(({ status }) => status)).toEqual([
      ...sessions.map(() => 'fulfilled'),
      'rejected',
    ])
  })

  it('do not wait for a row that somebody has locked', async () => {
    const [locked, ...others] = await parallel(5, async () => open(store))
    clock.advance(MINUTE)
    const client = await database.pool.connect()
    try {
      await client.query('begin')
      await client.query(`select from ${names.session} where sid = $1 for update`, [locked!.sid])
      const waiting = store.check({ sid: locked!.sid, idleTimeoutMs })
      const results = await atOnce(others.map(({ sid }) => ({ sid, idleTimeoutMs })))
      expect(results.every(({ outcome }) => outcome === 'alive')).toBe(true)
      await client.query('commit')
      expect(await waiting).toMatchObject({
        outcome: 'alive',
        session: { lastSeenAt: clock.now() },
      })
    } finally {
      client.release()
    }
  })

  it('are asked again when the connection they share is lost', async () => {
    const sessions = await parallel(5, async () => open(store))
    const client = await database.pool.connect()
    try {
      await client.query('begin')
      await client.query(`lock table ${names.session} in access exclusive mode`)
      const answers = atOnce(sessions.map(({ sid }) => ({ sid, idleTimeoutMs })))
      const pid = await until('they wait', async () => {
        // Not on the client: a transaction sees the activity of its first look.
        const { rows } = await database.pool.query<{ pid: number }>(`
          select pid from pg_stat_activity where wait_event_type = 'Lock'
            and query like '%${database.schema}%with ordinality a(sid, seed_hash, jti, n)%'`)
        return rows[0]?.pid ?? false
      })
      await client.query('select pg_terminate_backend($1)', [pid])
      await client.query('rollback')
      expect((await answers).map(({ outcome }) => outcome)).toEqual(sessions.map(() => 'alive'))
    } finally {
      client.release()
    }
  })

  it('are too late all at once, and leave nothing waiting', async () => {
    const hasty = database.store({ pool, operationTimeout: '300ms' })
    const sessions = await parallel(5, async () => open(store))
    const client = await database.pool.connect()
    try {
      await client.query('begin')
      await client.query(`lock table ${names.session} in access exclusive mode`)
      const startedAt = loopTime()
      const results = await Promise.allSettled(
        sessions.map(async ({ sid }) => hasty.check({ sid, idleTimeoutMs })),
      )
      expect(results.map(({ status }) => status)).toEqual(sessions.map(() => 'rejected'))
      expect(loopTime() - startedAt).toBeLessThan(3000)
      await until('nothing waits', async () => {
        return pool.waitingCount === 0 && pool.totalCount === pool.idleCount
      })
    } finally {
      await client.query('rollback')
      client.release()
    }
    await hasty.close()
  })

  it('in a transaction of the app’s see what it has done', async () => {
    const session = await open(store)
    const client = await pool.connect()
    await client.query('begin')
    const inside = database.store({ pool: client, clock: () => clock.now() })
    await inside.revoke({ sid: session.sid })
    const { sid } = await open(inside)
    const results = await parallel(2, async (n) =>
      inside.check({ sid: n === 0 ? sid : session.sid, idleTimeoutMs }),
    )
    expect(results.map(({ outcome }) => outcome)).toEqual(['alive', 'gone'])
    await client.query('rollback')
    client.release()
  })
})
