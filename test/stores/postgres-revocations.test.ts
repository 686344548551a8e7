import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { Pool } from 'pg'
import type { PoolClient } from 'pg'
import type { SessionRecord } from '../../lib/session.ts'
import type { AuditEvent, RevokeInput, RevokeResult } from '../../lib/store.ts'
import type { UserRef } from '../../lib/user.ts'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import { testClock } from './contract.ts'
import type { TestClock } from './contract/support.ts'
import {
  check,
  feedEnd,
  hash,
  heard,
  LIFETIMES,
  newSession,
  newUser,
  open,
  openMany,
  parallel,
  random,
  read,
  readOn,
  revocation,
  sids,
  sorted,
  tally,
} from './contract/support.ts'
import { backendsOf, terminate } from './postgres/node.ts'
import { useDatabase } from './postgres/open.ts'

const SERVER = {
  get url() {
    return sharedPostgresUrl()
  },
}

const database = useDatabase(sharedPostgresUrl)
const names = createNames(database.schema, 'latchkey_')

let name: string
let pool: Pool
let store: PostgresStore
let clock: TestClock
/** How many connections of the pool were used so far: one for each statement. */
let statements = 0
let somebody: PoolClient | undefined

beforeEach(() => {
  name = `node-${random()}`
  pool = new Pool({
    connectionString: SERVER.url,
    connectionTimeoutMillis: 10_000,
    application_name: name,
  })
  // In the place of 'acquire', which comes late for a connection that is new.
  pool.on('release', () => {
    statements += 1
  })
  clock = testClock()
  store = database.store({ pool, clock: () => clock.now(), operationTimeout: '60s' })
})

afterEach(async () => {
  somebody?.release(true)
  somebody = undefined
  await store.close()
  await pool.end()
})

async function counted(act: () => Promise<unknown>): Promise<number> {
  const before = statements
  await act()
  return statements - before
}

async function atOnce(inputs: readonly RevokeInput[]): Promise<RevokeResult[]> {
  return Promise.all(inputs.map(async (input) => store.revoke(input)))
}

function event(user: UserRef, sessionId: string, type = 'ended'): AuditEvent {
  return { type, at: clock.now(), result: 'success', user, sessionId, cause: 'it\'s "\\,{}' }
}

/** What the trail says of a user, oldest first. */
async function trail(user: UserRef): Promise<readonly AuditEvent[]> {
  const { items } = await store.audit.query({ user, limit: 100 })
  return items.toReversed()
}

/** Begins a transaction of somebody else's, which the test ends. */
async function begin(...queries: string[]): Promise<PoolClient> {
  somebody = await database.pool.connect()
  for (const query of ['begin', ...queries]) await somebody.query(query)
  return somebody
}

/** Locks sessions as a report or a hand-made UPDATE would. */
async function lock(sessions: readonly SessionRecord[]): Promise<PoolClient> {
  const client = await begin()
  const text = `select from ${names.session} where sid = any($1) for update`
  await client.query(text, [sids(sessions)])
  return client
}

/** How many of the store's connections wait at the server for a lock. */
async function waitingForLocks(): Promise<number> {
  const backends = await backendsOf(SERVER, { name })
  return backends.filter(({ wait_event_type: type }) => type === 'Lock').length
}

describe('revocations at once', () => {
  it('have each its own outcome, its event and its place in the feed, by one statement', async () => {
    const user = newUser('acme')
    const over = await open(store, user)
    clock.advance(LIFETIMES.idleTimeoutMs)
    const live = await openMany({ store, clock }, user, 5)
    const [a, b, c, d, e] = live
    const cursor = await feedEnd(store)
    const inputs: RevokeInput[] = [
      { sid: a!.sid, owner: user, seedHash: a!.seedHash },
      { sid: newSession(user).sid },
      { sid: b!.sid, owner: { ...user, tenant: '' } },
      { sid: c!.sid, seedHash: hash() },
      { sid: over.sid },
      { sid: d!.sid, owner: user },
      { sid: e!.sid },
    ].map((input, n) => Object.assign(input, { audit: event(newUser(), input.sid, `ended ${n}`) }))
    let results: RevokeResult[] = []
    expect(
      await counted(async () => {
        results = await atOnce(inputs)
      }),
    ).toBe(1)
    const gone = { outcome: 'gone' }
    expect(results).toEqual([
      { outcome: 'revoked', session: a },
      gone,
      gone,
      gone,
      gone,
      { outcome: 'revoked', session: d },
      { outcome: 'revoked', session: e },
    ])
    expect(await heard(store, cursor, [over, ...live])).toEqual(
      [a, d, e].map((s) => revocation(s!)),
    )
    const events = [0, 5, 6].map((n) => Object.assign({}, inputs[n]!.audit, { user }))
    expect(await trail(user)).toEqual(events)
    for (const session of [b!, c!]) expect(await read(store, session)).toEqual(session)
  })

  it('of one session end it by the first that fits, and once', async () => {
    const session = await open(store)
    const { sid, user } = session
    const cursor = await feedEnd(store)
    const inputs = [
      { sid, owner: newUser() },
      { sid, audit: event(user, sid, 'the first') },
      { sid, owner: user, audit: event(user, sid, 'the second') },
      { sid },
    ]
    const outcomes = (await atOnce(inputs)).map(({ outcome }) => outcome)
    expect(outcomes).toEqual(['gone', 'revoked', 'gone', 'gone'])
    expect((await trail(user)).map(({ type }) => type)).toEqual(['the first'])
    expect(await heard(store, cursor, [session])).toEqual([revocation(session)])
    const { rows } = await database.pool.query(`select from ${names.feed} where sid = $1`, [sid])
    expect(rows).toHaveLength(1)
  })

  it('write no event where the first that fits has none', async () => {
    const { sid, user } = await open(store)
    await atOnce([{ sid }, { sid, audit: event(user, sid) }])
    expect(await trail(user)).toEqual([])
  })

  it('are one statement for each that comes alone, and for every 250 that do not', async () => {
    const sessions = await openMany({ store, clock }, newUser(), 3)
    for (const { sid } of sessions) {
      expect(await counted(async () => store.revoke({ sid }))).toBe(1)
    }
    const unknown = Array.from({ length: 501 }, () => ({ sid: newSession(newUser()).sid }))
    expect(await counted(async () => atOnce(unknown))).toBe(3)
  })

  it('leave connections to others, and what comes meanwhile goes together', async () => {
    const sessions = await parallel(40, async () => open(store))
    const client = await begin(`lock table ${names.feed} in share mode`)
    const first = sessions.slice(0, 8).map(async ({ sid }) => {
      const { outcome } = await store.revoke({ sid })
      return outcome
    })
    await until('the first statement waits', async () => (await waitingForLocks()) === 1)
    for (const [n, { sid }] of sessions.slice(8, 11).entries()) {
      first.push(store.revoke({ sid }).then(({ outcome }) => outcome))
      await until('the next one waits', async () => (await waitingForLocks()) === n + 2)
    }
    const later: Promise<RevokeResult>[] = []
    for (const { sid } of sessions.slice(11)) {
      later.push(store.revoke({ sid }))
      // Each in a turn of its own.
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await check(store, sessions[0]!.sid)).toBe('alive')
    expect(await waitingForLocks()).toBe(4)
    const after = await counted(async () => {
      await client.query('commit')
      await Promise.all([...first, ...later])
    })
    expect(after).toBe(5)
    expect(tally(await Promise.all(later))).toEqual({ revoked: 29 })
    expect(new Set(await Promise.all(first))).toEqual(new Set(['revoked']))
  })

  it('leave one of two connections to others', async () => {
    const small = new Pool({ connectionString: SERVER.url, max: 2, application_name: name })
    const narrow = database.store({ pool: small, operationTimeout: '60s' })
    const [one, two] = await parallel(2, async () => open(narrow))
    const client = await begin(`lock table ${names.feed} in share mode`)
    const first = narrow.revoke({ sid: one!.sid })
    await until('the first waits', async () => (await waitingForLocks()) === 1)
    const second = narrow.revoke({ sid: two!.sid })
    expect(await check(narrow, two!.sid)).toBe('alive')
    await client.query('commit')
    expect(tally(await Promise.all([first, second]))).toEqual({ revoked: 2 })
    await narrow.close()
    await small.end()
  })

  it('are not waited for by more than could be made', async () => {
    const unknown = newSession(newUser()).sid
    const results = await Promise.allSettled(
      Array.from({ length: 10_001 }, async () => store.revoke({ sid: unknown })),
    )
    expect(results.at(-1)).toMatchObject({ status: 'rejected' })
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(10_000)
    // None of them is still counted.
    expect(await store.revoke({ sid: unknown })).toEqual({ outcome: 'gone' })
  })
})

describe('a session that somebody has locked', () => {
  it('holds up nobody else, and is ended when it is free, by the first that asked', async () => {
    const [locked, ...others] = await parallel(5, async () => open(store))
    const client = await lock([locked!])
    const waiting = [0, 1].map(async () => store.revoke({ sid: locked!.sid }))
    const results = await atOnce(others.map(({ sid }) => ({ sid })))
    expect(tally(results)).toEqual({ revoked: 4 })
    expect(await waitingForLocks()).toBe(0)
    expect(await check(store, locked!.sid, { peek: true })).toBe('alive')
    await client.query('rollback')
    const outcomes = (await Promise.all(waiting)).map(({ outcome }) => outcome)
    expect(sorted(outcomes)).toEqual(['gone', 'revoked'])
  })

  it('is gone when that is what it was locked for', async () => {
    const [locked, other] = await parallel(2, async () => open(store))
    const client = await lock([locked!])
    const waiting = atOnce([locked!, other!].map(({ sid }) => ({ sid })))
    await client.query(`delete from ${names.session} where sid = $1`, [locked!.sid])
    await client.query('commit')
    expect((await waiting).map(({ outcome }) => outcome)).toEqual(['gone', 'revoked'])
  })

  it('holds no connection, however many there are', async () => {
    const sessions = await parallel(6, async () => open(store))
    const client = await lock(sessions)
    const waiting: Promise<RevokeResult>[] = []
    for (const { sid } of sessions) {
      waiting.push(store.revoke({ sid }))
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    // Long before an operation is given up.
    await until('nobody waits at the server', async () => (await waitingForLocks()) === 0, 20_000)
    const { sid } = await open(store)
    expect((await store.revoke({ sid })).outcome).toBe('revoked')
    await client.query('rollback')
    expect(tally(await Promise.all(waiting))).toEqual({ revoked: 6 })
  })

  it('is looked at less and less often', async () => {
    const session = await open(store)
    const client = await lock([session])
    const before = statements
    const waiting = store.revoke({ sid: session.sid })
    await until('it has looked twice', async () => statements > before + 1)
    const looks = await counted(async () => new Promise((resolve) => setTimeout(resolve, 1500)))
    // Every 5 ms would be two hundred.
    expect(looks).toBeLessThan(45)
    await client.query('rollback')
    expect((await waiting).outcome).toBe('revoked')
  })

  it('is too late in time, and then nothing is done any more', async () => {
    const hasty = database.store({ pool, operationTimeout: '300ms' })
    const [first, second] = await parallel(2, async () => open(store))
    const client = await lock([first!, second!])
    const tries = [first!, second!, first!].map(async ({ sid }) => hasty.revoke({ sid }))
    for (const result of await Promise.allSettled(tries)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { message: /locked|in time/ } })
    }
    await client.query('rollback')
    // A look that was on its way when its time was up holds its connection a moment longer.
    await until('no connection is in use', async () => pool.idleCount === pool.totalCount)
    const quiet = await counted(async () => new Promise((resolve) => setTimeout(resolve, 200)))
    expect(quiet).toBe(0)
    for (const session of [first!, second!]) expect(await check(store, session.sid)).toBe('alive')
    await hasty.close()
  })
})

describe('revocations that the server refuses together', () => {
  it('fail alone where it is one of them, and no event is written twice', async () => {
    const user = newUser()
    const sessions = await openMany({ store, clock }, user, 40)
    const inputs: RevokeInput[] = sessions.map(({ sid }) => ({ sid, audit: event(user, sid) }))
    const bad = [11, 30]
    for (const n of bad) inputs[n] = { sid: 'a\0b' }
    let results: PromiseSettledResult<RevokeResult>[] = []
    const tries = await counted(async () => {
      results = await Promise.allSettled(inputs.map(async (input) => store.revoke(input)))
    })
    // Halves of halves, not one by one.
    expect(tries).toBeLessThan(30)
    for (const [n, { status }] of results.entries()) {
      expect([n, status]).toEqual([n, bad.includes(n) ? 'rejected' : 'fulfilled'])
    }
    const ended = (await trail(user)).map(({ sessionId }) => sessionId ?? '')
    expect(sorted(ended)).toEqual(sorted(sids(sessions.filter((_, n) => !bad.includes(n)))))
  })

  it('are not made where the trail does not take their event', async () => {
    const user = newUser()
    const [bad, good] = await openMany({ store, clock }, user, 2)
    const constraint = `add constraint none check (type <> 'tried') not valid`
    await database.pool.query(`alter table ${names.audit} ${constraint}`)
    try {
      const results = await Promise.allSettled([
        store.revoke({ sid: bad!.sid, audit: event(user, bad!.sid, 'tried') }),
        store.revoke({ sid: good!.sid, audit: event(user, good!.sid) }),
      ])
      expect(results).toMatchObject([
        { status: 'rejected', reason: { code: '23514' } },
        { status: 'fulfilled', value: { outcome: 'revoked' } },
      ])
    } finally {
      await database.pool.query(`alter table ${names.audit} drop constraint none`)
    }
    expect(await check(store, bad!.sid)).toBe('alive')
  })
})

describe('revocations of which one raises an error at the server', () => {
  let raising: string

  /** The server says this code whenever that session is ended. */
  async function raise(code: string, { sid }: SessionRecord): Promise<void> {
    raising = `"${database.schema}".raising`
    await database.pool.query(`
      create function ${raising}() returns trigger language plpgsql as $$ begin
        if old.sid = '${sid}' then raise exception 'no' using errcode = '${code}'; end if;
        return old;
      end $$;
      create trigger raising before delete on ${names.session}
        for each row execute function ${raising}()`)
  }

  afterEach(async () => {
    await database.pool.query(`drop function ${raising}() cascade`)
  })

  it.each(['22023', '23514', '40001', 'P0001'])(
    'are made without it where the error is of one alone (%s)',
    async (code) => {
      const sessions = await parallel(4, async () => open(store))
      await raise(code, sessions[1]!)
      const calls = sessions.map(async ({ sid }) => store.revoke({ sid }))
      const results = await Promise.allSettled(calls)
      const refused = { status: 'rejected', reason: { code } }
      const revoked = { status: 'fulfilled', value: { outcome: 'revoked' } }
      expect(results).toMatchObject([revoked, refused, revoked, revoked])
      expect(await check(store, sessions[1]!.sid)).toBe('alive')
    },
  )

  it.each(['53100', '57014', 'XX000'])(
    'all fail where it may be of the server, and are not tried again (%s)',
    async (code) => {
      const sessions = await parallel(4, async () => open(store))
      await raise(code, sessions[1]!)
      let results: PromiseSettledResult<RevokeResult>[] = []
      const tries = await counted(async () => {
        const calls = sessions.map(async ({ sid }) => store.revoke({ sid }))
        results = await Promise.allSettled(calls)
      })
      expect(tries).toBe(1)
      for (const result of results) expect(result).toMatchObject({ reason: { code } })
      for (const { sid } of sessions) expect(await check(store, sid)).toBe('alive')
    },
  )
})

describe('revocations whose connection is lost', () => {
  it('fail and are not made again: nobody knows whether they were made', async () => {
    const sessions = await parallel(5, async () => open(store))
    const client = await begin(`lock table ${names.feed} in share mode`)
    const lost = Promise.allSettled(sessions.map(async ({ sid }) => store.revoke({ sid })))
    await until('they wait', async () => (await waitingForLocks()) === 1)
    const tries = await counted(async () => {
      await terminate(SERVER, name)
      await client.query('rollback')
      expect((await lost).every(({ status }) => status === 'rejected')).toBe(true)
    })
    expect(tries).toBeLessThanOrEqual(1)
    for (const { sid } of sessions) {
      const alive = until('it answers', async () => check(store, sid))
      expect(await alive).toBe('alive')
    }
  })
})

describe('two nodes that end the same sessions', () => {
  it('both succeed: each session ends once, and is told once', async () => {
    const other = database.store({ operationTimeout: '60s' })
    const user = newUser()
    const sessions = await openMany({ store, clock }, user, 60)
    const cursor = await feedEnd(store)
    const inputs = sessions.map(({ sid }) => ({ sid, audit: event(user, sid) }))
    const reversed = inputs.toReversed()
    const results = await Promise.all([
      ...inputs.map(async (input) => store.revoke(input)),
      ...reversed.map(async (input) => other.revoke(input)),
    ])
    expect(tally(results)).toEqual({ revoked: 60, gone: 60 })
    expect(await heard(store, cursor, sessions)).toHaveLength(60)
    expect((await readOn(store, cursor)).complete).toBe(true)
    expect(await trail(user)).toHaveLength(60)
    await other.close()
  })
})
