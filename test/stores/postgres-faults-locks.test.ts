import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from '@jest/globals'
import type { PoolClient, PoolConfig } from 'pg'
import { Pool } from 'pg'
import type { SessionRecord } from '../../lib/session.ts'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { postgresStore } from '../../stores/postgres.ts'
import { closeKits } from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import {
  listed,
  login,
  newSession,
  newUser,
  NO_GRACE,
  open,
  parallel,
  POLICY,
  read,
  refresh,
  replacement,
  tally,
} from './contract/support.ts'
import type { Node, NodeSetup } from './postgres/node.ts'
import { backendsOf, closeNodes, openNode } from './postgres/node.ts'
import { useDatabase } from './postgres/open.ts'
import type { Answer } from './redis/node.ts'
import { DEADLINE_MS, generationOf, OUTAGE, SLACK_MS } from './redis/node.ts'

const SHARED = {
  get url() {
    return sharedPostgresUrl()
  },
}

const database = useDatabase(sharedPostgresUrl)
const names = createNames(database.schema, 'latchkey_')
const cleanUps: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
  await closeNodes()
  await closeKits()
})

/** A node that is late for no other reason than the fault. */
const PATIENT = {
  store: { operationTimeout: '9s' },
  options: { storeDeadline: '10s' },
} as const

/** A node on the shared server. */
async function openHere(setup: Partial<NodeSetup> = {}): Promise<Node> {
  return openNode({ url: SHARED.url, schema: database.schema, ...setup })
}

/** A store on a pool of its own. */
function storeWith(pool: PoolConfig, operationTimeout: `${number}s` = '5s'): PostgresStore {
  const own = new Pool({ connectionString: SHARED.url, max: 20, ...pool })
  const store = postgresStore({
    pool: own,
    schema: database.schema,
    operationTimeout,
    pruneInterval: false,
  })
  cleanUps.push(
    async () => own.end(),
    async () => store.close(),
  )
  return store
}

/** A transaction of somebody else, open until it is ended. */
interface Transaction {
  readonly client: PoolClient
  /** Locks a session as a report or a hand-made UPDATE would. */
  lock(sid: string): Promise<void>
  end(how: 'commit' | 'rollback'): Promise<void>
}

async function begin(): Promise<Transaction> {
  const client = await database.pool.connect()
  let isOpen = true
  const end = async (how: 'commit' | 'rollback') => {
    if (!isOpen) return
    isOpen = false
    await client.query(how)
    client.release()
  }
  cleanUps.push(async () => end('rollback'))
  await client.query('begin')
  return {
    client,
    async lock(sid) {
      await client.query(`select from ${names.session} where sid = $1 for update`, [sid])
    },
    end,
  }
}

/** The status of an answer that is no outage. */
async function answered(ask: () => Promise<Answer>): Promise<number> {
  return until('it is answered', async () => {
    const { status } = await ask()
    return status !== 503 && status
  })
}

/** How many connections wait at the server for a lock, of those with this name. */
async function waiting(name: string): Promise<number> {
  const backends = await backendsOf(SHARED, { name })
  return backends.filter(({ wait_event_type: event }) => event === 'Lock').length
}

/** Waits until the server itself ends a wait for a lock: on a busy machine the client may be first. */
async function endedByServer(call: () => Promise<unknown>): Promise<void> {
  const ended = await until('the server ends the wait', async () =>
    call().then(
      () => 'it went through',
      (error: { readonly code?: string }) => error.code,
    ),
  )
  expect(ended).toBe('55P03')
}

/** Waits until no connection of the node waits for a lock any more. */
async function nobodyWaits({ name }: Node): Promise<void> {
  await until('nobody waits at the server', async () => (await waiting(name)) === 0)
}

describe('a pool whose clients are all in use', () => {
  it.each([0, 10_000])(
    'is 503 in time and leaves the node its sight; nothing is queued for ever (timeout %i)',
    async (connectionTimeoutMillis) => {
      const node = await openHere({ pool: { max: 3, connectionTimeoutMillis } })
      const other = await openHere(PATIENT)
      const tokens = await node.login()
      const doomed = await node.login('doomed')
      await node.quiet()
      const held = await Promise.all([1, 2, 3].map(async () => node.pool.connect()))

      const answers = await Promise.all([
        node.refresh(tokens.refresh),
        node.getSession(tokens),
        node.logout(tokens),
        ...Array.from({ length: 20 }, async () => node.get('/sensitive', tokens)),
      ])
      for (const answer of answers) {
        expect(answer).toMatchObject(OUTAGE)
        expect(answer.retryAfter).toBeGreaterThanOrEqual(1)
        expect(answer.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
      }
      await other.latchkey.sessions.revoke(doomed.sid)
      // It does not ask, it has heard.
      await until('it has heard', async () => (await node.get('/jwt', doomed)).status === 401)
      expect(node.latchkey.health().feed.blind).toBeNull()

      for (const client of held) client.release()
      await until('nobody waits', async () => node.pool.waitingCount === 0)
      const retry = await node.refreshed(tokens.refresh)
      expect(generationOf(retry.tokens.refresh)).toBe(1)
    },
  )

  it('is not waited for by more than it could ever serve', async () => {
    const node = await openHere({ pool: { max: 1, connectionTimeoutMillis: 0 } })
    const held = await node.pool.connect()
    const startedAt = loopTime()
    const results = await Promise.allSettled(
      Array.from({ length: 2500 }, async () => node.store.list({ user: newUser(), limit: 1 })),
    )
    expect(results.every(({ status }) => status === 'rejected')).toBe(true)
    expect(loopTime() - startedAt).toBeLessThan(DEADLINE_MS + 2 * SLACK_MS)
    expect(node.pool.waitingCount).toBeLessThanOrEqual(1000)
    held.release()
    await until('nobody waits', async () => node.pool.waitingCount === 0)
    await node.recovered()
  })
})

describe('a session that somebody else has locked', () => {
  it('is 503 in time, and the server waits no longer than the client', async () => {
    const node = await openHere()
    const tokens = await node.login()
    const { sid } = tokens
    await node.quiet()
    const somebody = await begin()
    await somebody.lock(sid)

    const answers = await Promise.all([
      node.refresh(tokens.refresh),
      node.logout(tokens),
      // Its first use of the token confirms it: that is written.
      node.get('/sensitive', tokens),
    ])
    for (const answer of answers) {
      expect(answer).toMatchObject(OUTAGE)
      expect(answer.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    }
    const refused = [
      node.latchkey.sessions.revoke(sid),
      node.latchkey.sessions.revokeUser('alice'),
      node.latchkey.sessions.update(sid, { roles: ['admin'] }),
    ]
    for (const result of await Promise.allSettled(refused)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'store_unavailable' } })
    }
    // While the lock is still held.
    await nobodyWaits(node)
    // Others are none of its business, and who only looks waits for nobody.
    const bob = await node.login('bob')
    expect(await node.refreshed(bob.refresh)).toMatchObject({ status: 200 })
    expect(await answered(async () => node.getSession(tokens))).toBe(200)
    expect(node.latchkey.health().feed.blind).toBeNull()

    await somebody.end('rollback')
    const retry = await node.refreshed(tokens.refresh)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(await answered(async () => node.get('/sensitive', retry.tokens))).toBe(200)
    expect(node.typesOf()).not.toContain('authn_token_reuse')
  })

  it('is given to who waits when it is free in time', async () => {
    const store = storeWith({})
    const session = await open(store)
    const somebody = await begin()
    await somebody.lock(session.sid)
    const rotating = store.rotate(refresh(session))
    await sleep(100)
    await somebody.end('commit')
    expect(await rotating).toMatchObject({ outcome: 'rotated' })
  })
})

describe('a counter that somebody has locked', () => {
  it('is an outage in time, too, and the server waits no longer than the client', async () => {
    const node = await openHere()
    const patient = database.store()
    const take = async (store: PostgresStore) => store.limit.take(node.name, 1, 60_000)
    await take(patient)
    const somebody = await begin()
    await somebody.client.query(`select from ${names.counter} for update`)
    await endedByServer(async () => take(node.store))
    await nobodyWaits(node)
    await somebody.end('rollback')
    expect(await take(patient)).toMatchObject({ used: 2 })
  })
})

describe("a transaction of the app's that ends a user's sessions and stays open", () => {
  it('is waited for by logins no longer than the deadline; they are then too late', async () => {
    const node = await openHere()
    const tokens = await node.login('carol')
    const user = { tenant: '', id: 'carol' }
    const somebody = await begin()
    await database.store({ pool: somebody.client }).revokeUser({ user })

    const refused = await node.refresh(tokens.refresh)
    expect(refused).toMatchObject({ ...OUTAGE, outcome: 'retryable' })
    // Else the next one may wait for a new connection instead of for the lock.
    await nobodyWaits(node)
    await node.recovered()
    const input = login(newSession(user), { loginAgeMs: 60_000 })
    const times: number[] = []
    await endedByServer(async () => {
      const startedAt = loopTime()
      return node.store.create(input).finally(() => times.push(loopTime() - startedAt))
    })
    expect(Math.max(...times)).toBeLessThan(DEADLINE_MS + SLACK_MS)
    await nobodyWaits(node)

    await somebody.end('commit')
    expect(await node.refreshed(tokens.refresh)).toMatchObject({ status: 401 })
    expect(await database.store().create(input)).toEqual({ outcome: 'stale_login' })
    expect(await node.login('carol')).toBeDefined()
  })
})

describe('two transactions that wait for each other', () => {
  interface Entangled {
    readonly node: Node
    readonly sessions: readonly SessionRecord[]
    readonly revoking: Promise<{ readonly revoked: readonly string[] }>
    /** Who waits for the store's transaction, and is waited for by it. */
    readonly somebody: Transaction
    /** Resolves when that has what it waits for: the store's transaction was ended. */
    readonly locking: Promise<void>
  }

  /** The store takes a user's sessions in their order, and somebody else in the opposite one. */
  async function entangle(operationTimeout: '4s' | '10s'): Promise<Entangled> {
    const node = await openHere({
      // It is the store's that finds out.
      pool: { options: '-c deadlock_timeout=50ms' },
      store: { operationTimeout },
    })
    const user = newUser()
    const opened = [await open(node.store, user), await open(node.store, user)]
    opened.push(await open(node.store, user))
    const sessions = opened.toSorted((a, b) => (a.sid < b.sid ? -1 : 1))
    const [first = '', second = '', third = ''] = sessions.map(({ sid }) => sid)
    const [somebody, barrier] = [await begin(), await begin()]
    await somebody.client.query(`set local deadlock_timeout = '60s'`)
    await somebody.client.query(`set local application_name = 'somebody of ${node.name}'`)
    await somebody.lock(third)
    await barrier.lock(second)
    const revoking = node.store.revokeUser({ user })
    revoking.catch(() => {})
    await until('the store has the first', async () => (await waiting(node.name)) > 0)
    const locking = somebody.lock(first)
    const name = `somebody of ${node.name}`
    await until('somebody waits for the store', async () => (await waiting(name)) > 0)
    await barrier.end('rollback')
    return { node, sessions, revoking, somebody, locking }
  }

  it('are told apart, and the one that was ended is done again in time', async () => {
    const { node, sessions, revoking, somebody, locking } = await entangle('10s')
    await locking
    await somebody.end('commit')
    const { revoked } = await revoking
    expect(revoked.toSorted()).toEqual(sessions.map(({ sid }) => sid))
    for (const { user } of sessions) expect(await listed(node.store, user)).toEqual([])
  })

  it('are an outage when there is no time left, with nothing done, and the store works on', async () => {
    const { node, sessions, revoking, somebody, locking } = await entangle('4s')
    await locking
    await expect(revoking).rejects.toThrow()
    await nobodyWaits(node)
    await somebody.end('rollback')
    for (const session of sessions) expect(await read(node.store, session)).toBeDefined()
    for (const { user } of sessions.slice(0, 1)) {
      expect((await node.store.revokeUser({ user })).revoked).toHaveLength(3)
    }
  })
})

describe.each(['repeatable read', 'serializable'])('a server at %s', (level) => {
  const settings = { options: `-c default_transaction_isolation=${level.replace(' ', '\\ ')}` }

  /** What came of calls at once; what failed did so by the isolation. */
  async function outcomesOf(
    calls: Promise<{ readonly outcome: string }>[],
  ): Promise<Record<string, number>> {
    const results = await Promise.allSettled(calls)
    return tally(
      results.map((result) =>
        result.status === 'fulfilled'
          ? result.value
          : { outcome: String((result.reason as { code: unknown }).code) },
      ),
    )
  }

  it('is named', async () => {
    const findings = await storeWith(settings).inspect()
    expect(findings.map(({ code }) => code)).toContain('postgres_isolation')
  })

  it('rotates once a generation, or not at all, and never finds a theft', async () => {
    const store = storeWith(settings)
    const session = await open(database.store())
    let generation = 0
    for (let round = 0; round < 4; round++) {
      const asked = { ...session, generation }
      const calls = Array.from({ length: 20 }, async () =>
        store.rotate(refresh(asked, { policy: POLICY })),
      )
      const { rotated = 0, replayed = 0, '40001': failed = 0 } = await outcomesOf(calls)
      expect(rotated).toBeLessThanOrEqual(1)
      expect(rotated + replayed + failed).toBe(calls.length)
      generation += rotated
      expect(await read(store, session)).toMatchObject({ generation })
    }
    expect(generation).toBeGreaterThan(0)
  })

  it('never lets more sessions live than the limit', async () => {
    const store = storeWith(settings)
    for (const onLimit of ['evict', 'refuse'] as const) {
      const user = newUser()
      const limit = { max: 3, onLimit }
      const logins = Array.from({ length: 20 }, async () =>
        store.create(login(newSession(user), { limit })),
      )
      const outcomes = await outcomesOf(logins)
      const live = await listed(store, user)
      expect(live.length).toBeLessThanOrEqual(3)
      if (level === 'serializable') {
        expect(outcomes['created']).toBeGreaterThan(0)
        continue
      }
      // There no lock protects a count: it fails, which is an outage.
      expect(Object.keys(outcomes).filter((outcome) => /^[a-z]/.test(outcome))).toEqual([])
      expect(live).toEqual([])
    }
  })

  it('ends what it is told to end, or says that it did not', async () => {
    const plain = database.store()
    const store = storeWith(settings)
    const sessions = await parallel(10, async () => open(plain))
    const calls = sessions.flatMap((session) => [
      store.rotate(refresh(session)),
      store.revoke({ sid: session.sid }),
      store.rotate(refresh(session, { policy: NO_GRACE })),
    ])
    const results = await Promise.allSettled(calls)
    for (const [place, session] of sessions.entries()) {
      const revoking = results[3 * place + 1]
      const isOver = revoking?.status === 'fulfilled'
      expect((await listed(plain, session.user)).length).toBeLessThanOrEqual(isOver ? 0 : 1)
    }
  })
})

describe('a login that replaces, in the way of another', () => {
  it('waits for it, and finds the old one gone', async () => {
    const store = storeWith({})
    const old = await open(store)
    const somebody = await begin()
    const inTransaction = database.store({ pool: somebody.client })
    await inTransaction.replace(replacement(old, newSession(old.user)))
    const replacing = store.replace(replacement(old, newSession(old.user)))
    await sleep(50)
    await somebody.end('commit')
    expect(await replacing).toEqual({ outcome: 'gone' })
    expect(await listed(store, old.user)).toHaveLength(1)
  })
})
