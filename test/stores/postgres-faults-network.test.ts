import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import type { Pool } from 'pg'
import type { SessionRecord } from '../../lib/session.ts'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { postgresStore } from '../../stores/postgres.ts'
import { closeKits, COOKIES } from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'
import { query } from '../support/postgres-commands.ts'
import type { PostgresServer } from '../support/postgres-server.ts'
import { startPostgres } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import {
  check,
  feedEnd,
  heard,
  listed,
  login,
  newSession,
  newUser,
  NO_GRACE,
  open,
  read,
  refresh,
  replacement,
  revocation,
} from './contract/support.ts'
import type { Node, NodeSetup } from './postgres/node.ts'
import { backendsOf, closeNodes, migrated, openNode, poolOf } from './postgres/node.ts'
import { DEADLINE_MS, generationOf, OUTAGE, SLACK_MS } from './redis/node.ts'

/** For nodes whose outages are not timed: late for no other reason than the fault. */
const PATIENT = {
  store: { operationTimeout: '9s' },
  options: { storeDeadline: '10s', reuseGrace: '0s' },
  pool: { max: 1, connectionTimeoutMillis: 10_000 },
} as const

let server: PostgresServer
let proxy: TcpProxy
let schema: string
const cleanUps: (() => unknown)[] = []

beforeAll(async () => {
  server = await startPostgres()
  schema = await migrated(server.url)
})

beforeEach(async () => {
  proxy = await startTcpProxy(server)
})

afterEach(async () => {
  server.resume()
  await proxy.restore()
  await closeNodes()
  await closeKits()
  proxy.stop()
  for (const cleanUp of cleanUps.splice(0)) await cleanUp()
})

afterAll(async () => {
  await server.cleanUp()
})

/** Opens a node whose pool of one connection is reached by the proxy, and its feed directly. */
async function openSplit(setup: Partial<NodeSetup> = {}): Promise<Node> {
  return openNode({
    url: server.url,
    schema,
    via: proxy,
    feedVia: server,
    ...PATIENT,
    ...setup,
  })
}

/** The generation that is stored. */
async function storedGeneration(sid: string): Promise<number> {
  const { session } = createNames(schema, 'latchkey_')
  const sql = `select generation::int from ${session} where sid = $1`
  const [row] = await query<{ generation: number }>(server, sql, [sid])
  return row?.generation ?? Number.NaN
}

describe('a connection that is lost after the commit', () => {
  it('is 503 for a refresh; the retry with the same attempt gets the same successor', async () => {
    const node = await openSplit()
    const { sid, refresh: token } = await node.login()
    await node.quiet()
    proxy.dropReplies(1)
    const headers = { 'idempotency-key': 'one-attempt-of-one-client' }
    const lost = await node.refresh(token, headers)
    expect(lost).toMatchObject({ ...OUTAGE, outcome: 'retryable' })
    expect(lost.retryAfter).toBeGreaterThanOrEqual(1)
    // It was done, and trying again was left to the client.
    expect(await storedGeneration(sid)).toBe(1)

    const retry = await node.refresh(token, headers)
    expect(retry.status).toBe(200)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(await storedGeneration(sid)).toBe(1)
    expect(node.events).toContainEqual(
      expect.objectContaining({ type: 'session_replayed', cause: 'attempt' }),
    )
    const again = await node.refresh(token, headers)
    expect(again.tokens.refresh).toBe(retry.tokens.refresh)
    expect(node.typesOf()).not.toContain('authn_token_reuse')
    expect(await node.refresh(retry.tokens.refresh)).toMatchObject({ status: 200 })
  })

  it('is 503 for a refresh; the retry within the grace gets the same successor', async () => {
    const node = await openSplit({ options: { ...PATIENT.options, reuseGrace: '60s' } })
    const { sid, refresh: token } = await node.login()
    await node.quiet()
    proxy.dropReplies(1)
    expect(await node.refresh(token)).toMatchObject(OUTAGE)
    const retry = await node.refresh(token)
    expect(retry.status).toBe(200)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(await storedGeneration(sid)).toBe(1)
    expect(node.events).toContainEqual(
      expect.objectContaining({ type: 'session_replayed', cause: 'grace' }),
    )
  })

  it('is 503 for a refresh by cookie, and the cookies are left alone', async () => {
    const node = await openSplit({ options: { ...PATIENT.options, reuseGrace: '60s' } })
    const { refresh: token } = await node.login()
    await node.quiet()
    proxy.dropReplies(1)
    const cookie = `${COOKIES.refresh}=${token}`
    expect(await node.post('/auth/refresh', {}, { cookie })).toMatchObject(OUTAGE)
    const retry = await node.post('/auth/refresh', {}, { cookie })
    expect(retry.status).toBe(200)
    expect(retry.cookies.join()).toContain(COOKIES.refresh)
  })

  it('is 503 for a logout, and the session is over on all nodes all the same', async () => {
    const node = await openSplit()
    const other = await openNode({ url: server.url, schema })
    const tokens = await node.login()
    await node.quiet()
    proxy.dropReplies(1)
    expect(await node.logout(tokens)).toMatchObject(OUTAGE)
    await until('both have heard', async () => {
      const answers = await Promise.all([node.get('/jwt', tokens), other.get('/jwt', tokens)])
      return answers.every(({ status }) => status === 401)
    })
    expect(await node.logout(tokens)).toMatchObject({ status: 204 })
  })
})

describe('a request that never arrived', () => {
  it('is the same to the client', async () => {
    const node = await openSplit()
    const { sid, refresh: token } = await node.login()
    await node.quiet()
    proxy.cutAfterBytes(0, 'requests')
    expect(await node.refresh(token)).toMatchObject(OUTAGE)
    expect(await storedGeneration(sid)).toBe(0)
    const retry = await node.refresh(token)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(node.typesOf()).not.toContain('session_replayed')
  })
})

describe('a connection that is lost after the commit, to the store', () => {
  let pool: Pool
  let store: PostgresStore
  /** Not by the proxy. */
  let direct: PostgresStore
  let directPool: Pool

  beforeEach(() => {
    pool = poolOf({ url: server.url, schema, via: proxy, pool: PATIENT.pool })
    directPool = poolOf({ url: server.url, schema, pool: { connectionTimeoutMillis: 10_000 } })
    const options = { schema, operationTimeout: '10s', pruneInterval: false } as const
    store = postgresStore({ ...options, pool })
    direct = postgresStore({ ...options, pool: directPool })
  })

  afterEach(async () => {
    await Promise.all([store.close(), direct.close()])
    await Promise.all([pool.end(), directPool.end()])
  })

  /** Does something whose answer is lost, and does it again. */
  async function twice<Result>(act: () => Promise<Result>): Promise<Result> {
    // The connection is there: the next reply is that of the act.
    await store.list({ user: newUser(), limit: 1 })
    proxy.dropReplies(1)
    await expect(act()).rejects.toThrow()
    return act()
  }

  it('of a login: the retry with the same session id and seed answers the same session', async () => {
    const user = newUser()
    const input = login(newSession(user), { limit: { max: 1, onLimit: 'refuse' } })
    const result = await twice(async () => store.create(input))
    expect(result).toMatchObject({ outcome: 'created', revoked: [] })
    expect(await listed(direct, user)).toEqual([input.session.sid])
    const { session } = result as { session: SessionRecord }
    expect(session).toEqual(await read(direct, session))
  })

  it('of a login that replaces: the retry answers the new session, the old one ended once', async () => {
    const old = await open(direct)
    const cursor = await feedEnd(direct)
    const input = replacement(old, newSession(old.user))
    const result = await twice(async () => store.replace(input))
    expect(result).toMatchObject({ outcome: 'created', session: { sid: input.session.sid } })
    expect(await listed(direct, old.user)).toEqual([input.session.sid])
    expect(await heard(direct, cursor, [old])).toEqual([revocation(old)])
  })

  it('of a rotation: the retry answers the same successor', async () => {
    const session = await open(direct)
    const input = refresh(session, { policy: NO_GRACE })
    const result = await twice(async () => store.rotate(input))
    expect(result).toMatchObject({ outcome: 'replayed', cause: 'attempt' })
    expect((result as { session: SessionRecord }).session.generation).toBe(1)
    expect(await read(direct, session)).toMatchObject({ generation: 1 })
  })

  it.each(['session', 'user'] as const)(
    'of a theft that was found: the %s is over, once',
    async (onReuse) => {
      const session = await open(direct)
      const other = await open(direct, session.user)
      await direct.rotate(refresh(session))
      const cursor = await feedEnd(direct)
      const input = refresh(session, { policy: NO_GRACE, onReuse })
      expect(await twice(async () => store.rotate(input))).toEqual({ outcome: 'gone' })
      expect(await heard(direct, cursor, [session])).toEqual([revocation(session)])
      expect(await check(direct, other.sid)).toBe(onReuse === 'user' ? 'gone' : 'alive')
    },
  )

  it('of a revocation: the retry finds it gone, and it is in the feed once', async () => {
    const session = await open(direct)
    const cursor = await feedEnd(direct)
    const result = await twice(async () => store.revoke({ sid: session.sid }))
    expect(result).toEqual({ outcome: 'gone' })
    expect(await heard(direct, cursor, [session])).toEqual([revocation(session)])
  })

  it('of a revocation of a user: all is gone, and the user is marked', async () => {
    const session = await open(direct)
    const { user } = session
    const cursor = await feedEnd(direct)
    expect(await twice(async () => store.revokeUser({ user }))).toEqual({ revoked: [] })
    expect(await heard(direct, cursor, [session])).toEqual([revocation(session)])
    const late = await direct.create(login(newSession(user), { loginAgeMs: 60_000 }))
    expect(late.outcome).toBe('stale_login')
  })

  it('of an update: the retry meets its own change', async () => {
    const session = await open(direct)
    const cursor = await feedEnd(direct)
    const attributes = { ...session.attributes, roles: ['admin'] }
    const result = await twice(async () =>
      store.update({ sid: session.sid, ver: session.ver, attributes }),
    )
    expect(result).toMatchObject({ outcome: 'conflict', session: { ver: 1, attributes } })
    expect(await heard(direct, cursor, [session])).toEqual([{ sid: session.sid, ver: 1 }])
    const data = { basket: [1, 2] }
    const updated = await twice(async () =>
      store.update({ sid: session.sid, dataVer: session.dataVer, data }),
    )
    expect(updated).toMatchObject({ outcome: 'conflict', session: { dataVer: 1, data } })
  })

  it('of a key document: the retry is refused, and what is stored is its own', async () => {
    const saved = await direct.keys.load()
    const version = saved?.version ?? 0
    expect(await twice(async () => store.keys.save(version, 'document'))).toBe(false)
    expect(await direct.keys.load()).toEqual({ version: version + 1, document: 'document' })
  })
})

describe.each([
  { what: 'a connection that is half open', stall: () => proxy.halfOpen(), direct: false },
  { what: 'a server that is frozen', stall: () => server.pause(), direct: true },
])('$what', ({ stall, direct }) => {
  it('ends every call in time, queues nothing for long, and comes back by itself', async () => {
    const options = { maxStaleness: '1s' } as const
    const node = await openNode({ url: server.url, schema, via: direct ? server : proxy, options })
    const tokens = await node.login()
    await node.quiet()
    stall()

    const bursts: Promise<number[]>[] = []
    for (let turn = 0; turn < 10; turn++) {
      const burst = Array.from({ length: 100 }, async () => failing(node, tokens.sid))
      bursts.push(Promise.all(burst))
      await sleep(100)
    }
    const times = (await Promise.all(bursts)).flat()
    expect(Math.max(...times)).toBeLessThan(DEADLINE_MS + SLACK_MS)

    const refused = await node.refresh(tokens.refresh)
    expect(refused).toMatchObject({ ...OUTAGE, outcome: 'retryable' })
    expect(refused.retryAfter).toBeGreaterThanOrEqual(1)
    expect(refused.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    expect(await node.getSession(tokens)).toMatchObject(OUTAGE)
    expect(await node.get('/sensitive', tokens)).toMatchObject(OUTAGE)
    expect(await node.blind()).toBe('stale')

    server.resume()
    await proxy.restore()
    await node.recovered()
    const retry = await node.refreshed(tokens.refresh)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    await node.sighted()
    expect(node.typesOf()).not.toContain('authn_token_reuse')
    // What was given up is gone, here and there, and nobody waits for anything.
    await until('nothing is left', async () => {
      const backends = await backendsOf(server, node)
      return node.pool.waitingCount === 0 && backends.length <= node.pool.totalCount + 1
    })
  })
})

/** How long a call took to fail. */
async function failing(node: Node, sid: string): Promise<number> {
  const sentAt = loopTime()
  await expect(node.latchkey.sessions.find(sid)).rejects.toMatchObject({
    code: 'store_unavailable',
  })
  return loopTime() - sentAt
}

describe('a server that takes connections and says nothing', () => {
  it('is given up, also before it has said anything', async () => {
    let taken = 0
    const silent = createServer((socket) => {
      taken += 1
      socket.on('error', () => {})
      cleanUps.push(() => socket.destroy())
      // Two of the pool and one for the feed: whoever took them has vanished.
      if (taken <= 3) return
      const real = connect(server.port, '127.0.0.1')
      real.on('error', () => {})
      cleanUps.push(() => real.destroy())
      socket.pipe(real).pipe(socket)
    })
    silent.listen(0, '127.0.0.1')
    cleanUps.push(() => silent.close())
    await once(silent, 'listening')
    const via = silent.address() as AddressInfo
    const pool = { max: 2, connectionTimeoutMillis: 500 }
    const node = await openNode({ url: server.url, schema, via, pool, sighted: false })
    expect(await node.post('/auth/refresh', { refresh_token: 'x' })).toMatchObject({ status: 401 })
    await node.recovered()
    await node.sighted()
    expect(taken).toBeGreaterThan(3)
  })
})

describe('a server that is half a second late', () => {
  it('is 503 in time, piles nothing up, and is well when it is well again', async () => {
    // Its feed is late, too: this long nobody asks the store for what a signature says.
    const options = { maxStaleness: '60s' } as const
    const node = await openNode({ url: server.url, schema, via: proxy, options })
    const tokens = await node.login()
    await node.quiet()
    proxy.delay(500)
    for (let round = 0; round < 4; round++) {
      const answers = await Promise.all([
        node.refresh(tokens.refresh),
        node.getSession(tokens),
        ...Array.from({ length: 20 }, async () => node.get('/sensitive', tokens)),
      ])
      for (const answer of answers) {
        expect(answer).toMatchObject(OUTAGE)
        expect(answer.retryAfter).toBeGreaterThanOrEqual(1)
        expect(answer.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
      }
    }
    expect(await node.get('/jwt', tokens)).toMatchObject({ status: 200 })
    proxy.delay(0)
    const wellAt = performance.now()
    await node.recovered()
    const retry = await node.refreshed(tokens.refresh)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(node.typesOf()).not.toContain('authn_token_reuse')
    await node.hasReadSince(wellAt)
    await until('nobody waits', async () => node.pool.waitingCount === 0)
  })
})
