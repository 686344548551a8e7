import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import type { Redis } from 'ioredis'
import type { Store } from '../../lib/store.ts'
import { redisStore } from '../../stores/redis.ts'
import { closeKits } from '../support/kit.ts'
import { ask, askFields, until } from '../support/redis-commands.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import {
  check,
  HOUR,
  MINUTE,
  login,
  newSession,
  newUser,
  NO_GRACE,
  open,
  refresh,
  replacement,
} from './contract/support.ts'
import {
  clientOf,
  closeNodes,
  DEADLINE_MS,
  generationOf,
  lastingClientOf,
  openNode,
  OUTAGE,
  SLACK_MS,
} from './redis/node.ts'
import { newPrefix } from './redis/open.ts'

let server: RedisServer
let admin: Redis
const others: RedisServer[] = []

beforeAll(async () => {
  server = await startRedis({ config: { appendonly: 'yes' } })
  admin = lastingClientOf(server)
})

afterEach(async () => {
  await closeNodes()
  await closeKits()
  for (const other of others.splice(0)) await other.cleanUp()
})

afterAll(async () => {
  admin.disconnect()
  await server.cleanUp()
})

describe('a server without memory', () => {
  let store: Store
  let client: Redis
  let prefix: string
  let nowMs: number

  beforeAll(() => {
    client = lastingClientOf(server)
    prefix = newPrefix()
    nowMs = Date.now()
    store = redisStore({ client, prefix, clock: () => nowMs })
  })

  afterEach(async () => {
    await admin.config('SET', 'maxmemory', '0')
  })

  afterAll(async () => {
    await store.close()
    client.disconnect()
  })

  /** All that is stored, by key. */
  async function stored(): Promise<Record<string, string>> {
    const keys = await admin.keys(`${prefix}*`)
    const dumps = await Promise.all(keys.toSorted().map(async (key) => admin.dumpBuffer(key)))
    const texts = dumps.map((dump) => dump.toString('hex'))
    return Object.fromEntries(keys.toSorted().map((key, place) => [key, texts[place] ?? '']))
  }

  it('refuses every change as a whole, goes on to answer checks, and recovers', async () => {
    const user = newUser()
    const session = await open(store, user)
    const other = await open(store, user)
    const rotated = await store.rotate(refresh(session))
    if (rotated.outcome !== 'rotated') throw new Error(rotated.outcome)
    await store.limit.take('login', 1, HOUR)
    const before = await stored()
    expect(Object.keys(before).length).toBeGreaterThanOrEqual(3)

    const changes: Record<string, () => Promise<unknown>> = {
      create: async () => store.create(login(newSession(user))),
      'create that evicts': async () =>
        store.create(login(newSession(user), { limit: { max: 1, onLimit: 'evict' } })),
      replace: async () => store.replace(replacement(session, newSession(user))),
      rotate: async () => store.rotate(refresh(rotated.session)),
      'rotate that finds theft': async () =>
        store.rotate(refresh(session, { policy: NO_GRACE, onReuse: 'session' })),
      'rotate that finds theft and ends all': async () =>
        store.rotate(refresh(session, { policy: NO_GRACE, onReuse: 'user' })),
      revoke: async () => store.revoke({ sid: session.sid }),
      revokeUser: async () => store.revokeUser({ user }),
      'revokeUser of nobody': async () => store.revokeUser({ user: newUser() }),
      'update of attributes': async () =>
        store.update({ sid: session.sid, ver: 0, attributes: session.attributes }),
      'update of data': async () =>
        store.update({ sid: session.sid, dataVer: 0, data: { much: 'x'.repeat(1000) } }),
      deny: async () => store.deny({ sid: session.sid, jti: 'j', expiresAt: nowMs + HOUR }),
      'limit.take': async () => store.limit.take('login', 1, HOUR),
      'audit.append': async () =>
        store.audit.append([{ type: 'session_created', at: nowMs, result: 'success' }]),
      'keys.save': async () => store.keys.save(0, 'document'),
    }
    await admin.config('SET', 'maxmemory', '1')
    for (const [name, change] of Object.entries(changes)) {
      const failure: unknown = await change().then(
        () => `${name} went through`,
        (error: unknown) => error,
      )
      expect(String(failure)).toContain('OOM')
    }
    expect(await check(store, session.sid, { seedHash: session.seedHash })).toBe('alive')
    // Also when a touch and a confirmation would be due: they are left out.
    nowMs += 2 * MINUTE
    expect(await check(store, session.sid, { generation: 1 })).toBe('alive')
    expect((await store.list({ user, limit: 10 })).items).toHaveLength(2)
    expect(await stored()).toEqual(before)

    await admin.config('SET', 'maxmemory', '0')
    expect((await store.rotate(refresh(rotated.session))).outcome).toBe('rotated')
    expect((await store.revokeUser({ user })).revoked.toSorted()).toEqual(
      [session.sid, other.sid].toSorted(),
    )
  })

  it('answers 503 to who logs in or refreshes, and lets in who is logged in', async () => {
    const node = await openNode({ client: clientOf(server) })
    const tokens = await node.login()
    await node.quiet()
    await admin.config('SET', 'maxmemory', '1')
    const refused = await node.refresh(tokens.refresh)
    expect(refused).toMatchObject({ ...OUTAGE, outcome: 'retryable' })
    const credentials = { username: 'bob', password: 'correct-horse-battery-staple' }
    expect(await node.post('/auth/login', credentials)).toMatchObject(OUTAGE)
    const authorization = `Session ${tokens.session}`
    expect(await node.post('/auth/logout', {}, { authorization })).toMatchObject(OUTAGE)
    expect(await node.getSession(tokens)).toMatchObject({ status: 200 })
    expect(await node.get('/sensitive', tokens)).toMatchObject({ status: 200 })
    await admin.config('SET', 'maxmemory', '0')
    const retry = await node.refresh(tokens.refresh)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(await node.post('/auth/logout', {}, { authorization })).toMatchObject({ status: 204 })
  })
})

describe('a server that takes no commands now', () => {
  afterEach(async () => {
    await ask(server, 'REPLICAOF', 'NO', 'ONE')
    await admin.config('SET', 'replica-serve-stale-data', 'yes')
  })

  it('is 503 while it is a replica, without a storm of connections, and recovers', async () => {
    const options = { maxStaleness: '1s' } as const
    const node = await openNode({ client: clientOf(server), options })
    const tokens = await node.login()
    await node.quiet()
    const before = await connectionsOf(server)
    await ask(server, 'REPLICAOF', '127.0.0.1', '1')
    const demotedAt = performance.now()
    for (let calls = 0; calls < 200; calls++) {
      const answer = await node.refresh(tokens.refresh)
      expect(answer).toMatchObject({ ...OUTAGE, outcome: 'retryable' })
      expect(answer.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    }
    // It reconnects, in case somebody else is the primary now; no faster than its pauses allow.
    const tookMs = performance.now() - demotedAt
    expect((await connectionsOf(server)) - before).toBeLessThan(10 + (2 * tookMs) / 50)
    expect(await node.blind()).toBe('stale')
    expect(await node.get('/sensitive', tokens)).not.toMatchObject({ status: 401 })

    await ask(server, 'REPLICAOF', 'NO', 'ONE')
    await node.recovered()
    const retry = await until('it refreshes', async () => {
      const answer = await node.refresh(tokens.refresh)
      return answer.status === 200 && answer
    })
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    await node.sighted()
  })

  it('is 503 while it is a replica that refuses old news (MASTERDOWN)', async () => {
    const node = await openNode({ client: clientOf(server) })
    const tokens = await node.login()
    await node.quiet()
    await admin.config('SET', 'replica-serve-stale-data', 'no')
    await ask(server, 'REPLICAOF', '127.0.0.1', '1')
    for (let calls = 0; calls < 20; calls++) {
      expect(await node.refresh(tokens.refresh)).toMatchObject(OUTAGE)
      expect(await node.getSession(tokens)).toMatchObject(OUTAGE)
    }
    await ask(server, 'REPLICAOF', 'NO', 'ONE')
    await admin.config('SET', 'replica-serve-stale-data', 'yes')
    await until('it refreshes', async () => {
      const { status } = await node.refresh(tokens.refresh)
      expect([200, 503]).toContain(status)
      return status === 200
    })
    await node.sighted()
  })

  it('is 503 while it loads its data (LOADING)', async () => {
    const slow = await startRedis({
      config: {
        'key-load-delay': '4000',
        'loading-process-events-interval-bytes': '2048',
      },
    })
    others.push(slow)
    const node = await openNode({ client: clientOf(slow) })
    const tokens = await node.login()
    await node.quiet()
    const filler = clientOf(slow)
    const fillers = Array.from({ length: 500 }, (_, n) => [`filler-${n}`, 'x'.repeat(200)])
    await filler.mset(Object.fromEntries(fillers) as Record<string, string>)
    await filler.save()
    await slow.kill()
    const restarting = slow.restart()
    const over = new AbortController()
    let loading = 0
    void restarting.then(() => over.abort())
    while (!over.signal.aborted) {
      const said = await ask(slow, 'GET', 'x').catch(String)
      if (String(said).includes('LOADING')) loading += 1
      const answer = await node.refresh(tokens.refresh)
      // It may be back before this process hears of it.
      if (answer.status === 200) break
      expect(answer).toMatchObject(OUTAGE)
    }
    await restarting
    expect(loading).toBeGreaterThan(0)
    await node.recovered()
    expect(await node.refresh(tokens.refresh)).toMatchObject({ status: 200 })
    await node.sighted()
  })
})

/** How many connections a server ever accepted. */
async function connectionsOf(at: RedisServer): Promise<number> {
  const stats = await askFields(at, 'INFO', 'stats')
  return Number(stats['total_connections_received'])
}

describe('a node whose clock is a minute ahead', () => {
  it('is blind and asks the store; sessions are no matter of clocks', async () => {
    const one = await openNode({ client: clientOf(server) })
    const two = await openNode({
      client: clientOf(server),
      prefix: one.prefix,
      options: { clock: () => Date.now() + 60_000 },
      sighted: false,
    })
    await two.latchkey.ready()
    expect(await two.blind()).toBe('clock')
    expect(one.latchkey.health().ok).toBe(true)
    const tokens = await one.login()
    await Promise.all([one.quiet(), two.quiet()])

    // The blind one asks for what the other takes on its signature.
    const scripts = async () => {
      const stats = await askFields(server, 'INFO', 'commandstats')
      return Number(/calls=(\d+)/.exec(stats['cmdstat_evalsha'] ?? '')?.[1])
    }
    const before = await scripts()
    expect(await one.get('/jwt', tokens)).toMatchObject({ status: 200 })
    expect(await scripts()).toBe(before)
    expect(await two.get('/jwt', tokens)).toMatchObject({ status: 200 })
    expect(await scripts()).toBe(before + 1)

    // What it issues is from the future to the other, whose client refreshes and goes on.
    const ahead = await two.refresh(tokens.refresh)
    expect(ahead.status).toBe(200)
    expect(await two.get('/jwt', ahead.tokens)).toMatchObject({ status: 200 })
    expect(await one.get('/jwt', ahead.tokens)).toMatchObject({
      status: 401,
      code: 'token_invalid',
      cookies: [],
    })
    const back = await one.refresh(ahead.tokens.refresh)
    expect(back.status).toBe(200)
    expect(generationOf(back.tokens.refresh)).toBe(2)
    expect(await one.get('/jwt', back.tokens)).toMatchObject({ status: 200 })

    // Deadlines are the store's: both say the same of the same session.
    for (const node of [one, two]) {
      expect(await node.getSession(tokens)).toMatchObject({ status: 200 })
    }
    const [seen, seenAhead] = await Promise.all(
      [one, two].map(async (node) => node.latchkey.sessions.find(tokens.sid)),
    )
    expect(seenAhead).toEqual(seen)
    const fresh = await two.login('bob')
    const opened = await one.latchkey.sessions.find(fresh.sid)
    expect(Math.abs((opened?.createdAt ?? 0) - Date.now())).toBeLessThan(10_000)

    // A revocation is heard by a blind node, too.
    await one.latchkey.sessions.revoke(tokens.sid)
    await until('it has heard', async () => (await two.get('/jwt', back.tokens)).status === 401)
    expect([...one.typesOf(), ...two.typesOf()]).not.toContain('authn_token_reuse')
  })
})
