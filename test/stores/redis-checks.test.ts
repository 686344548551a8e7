import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { Redis } from 'ioredis'
import type { CheckInput, Store } from '../../lib/store.ts'
import { redisStore } from '../../stores/redis.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/redis-commands.ts'
import { LIFETIMES, newUser, open, read, refresh } from './contract/support.ts'
import { newPrefix } from './redis/open.ts'
import { patient } from './redis/patience.ts'

const MINUTE = 60_000
const idleTimeoutMs = 30 * MINUTE

/** Its own: what is counted here is the server's. */
let server: RedisServer
let client: Redis
let prefix: string
let store: Store
const past: Store[] = []

beforeAll(async () => {
  server = await startRedis()
  client = patient(new Redis(server.url))
})

afterAll(async () => {
  client.disconnect()
  await server.cleanUp()
})

beforeEach(async () => {
  prefix = newPrefix()
  store = redisStore({ client, prefix })
  // The first check learns what time it is at the server, and goes by a script.
  await until('it knows the time', async () => {
    const { sid } = await open(store, newUser())
    return !(await ranBy({ sid, idleTimeoutMs })).includes('evalsha')
  })
})

afterEach(async () => {
  await Promise.all([store, ...past.splice(0)].map(async (one) => one.close()))
})

/** A store of the same sessions that lives some time ago. */
function storeOf(agoMs: number): Store {
  const made = redisStore({ client, prefix, clock: () => Date.now() - agoMs })
  past.push(made)
  return made
}

/** What a check makes the server do, but for what is asked beside it, and by who has just connected. */
async function ranBy(input: CheckInput): Promise<string[]> {
  await client.config('RESETSTAT')
  await store.check(input)
  const stats = await client.info('commandstats')
  return [...stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)]
    .flatMap(([, name = '', calls]) => Array.from({ length: Number(calls) }, () => name))
    .filter((name) => !/^(?:config|info|time|client)/.test(name))
}

describe('a check that writes nothing', () => {
  it('is one GET', async () => {
    const { sid, seedHash } = await open(store, newUser())
    expect(await ranBy({ sid, seedHash, idleTimeoutMs })).toEqual(['get'])
    expect(await ranBy({ sid: `${sid.slice(0, -1)}~`, idleTimeoutMs })).toEqual(['get'])
  })

  it('is one MGET when a token of the session is asked for as well', async () => {
    const { sid } = await open(store, newUser())
    expect(await ranBy({ sid, jti: 'a', generation: 7, idleTimeoutMs })).toEqual(['mget'])
  })

  it('is one MGET of a denied token, however long ago the session was seen', async () => {
    const { sid } = await open(storeOf(2 * MINUTE), newUser())
    await store.deny({ sid, jti: 'a', expiresAt: Date.now() + MINUTE })
    expect(await ranBy({ sid, jti: 'a', idleTimeoutMs })).toEqual(['mget'])
    expect(await store.check({ sid, jti: 'a', idleTimeoutMs })).toMatchObject({ denied: true })
    expect(await store.check({ sid, jti: 'b', idleTimeoutMs })).toMatchObject({ denied: false })
  })

  it('is one GET of a peek, however long ago the session was seen', async () => {
    const { sid } = await open(storeOf(2 * MINUTE), newUser())
    expect(await ranBy({ sid, peek: true, idleTimeoutMs })).toEqual(['get'])
  })
})

describe('a check by the server’s clock', () => {
  it('says gone of a session whose time has gone by', async () => {
    const brief = { ...LIFETIMES, idleTimeoutMs: 150 }
    const { sid } = await open(store, newUser(), { lifetimes: brief })
    const other = await open(store, newUser())
    await sleep(200)
    expect(await store.check({ sid, idleTimeoutMs: 150 })).toEqual({ outcome: 'gone' })
    const input = { sid: other.sid, idleTimeoutMs }
    expect(await store.check(input)).toMatchObject({ outcome: 'alive' })
  })

  it('denies no token for longer than it was denied', async () => {
    const { sid } = await open(store, newUser())
    await store.deny({ sid, jti: 'a', expiresAt: Date.now() + 150 })
    await sleep(200)
    expect(await store.check({ sid, jti: 'a', idleTimeoutMs })).toMatchObject({ denied: false })
  })

  it('says invalid for another seed, and does not touch', async () => {
    const { sid, seedHash } = await open(storeOf(2 * MINUTE), newUser())
    const other = seedHash.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'))
    const before = await client.getBuffer(keyOf(sid))
    expect(await store.check({ sid, seedHash: other, idleTimeoutMs })).toEqual({
      outcome: 'invalid',
    })
    expect(await client.getBuffer(keyOf(sid))).toEqual(before)
  })

  it('says invalid for another seed when there is nothing to write', async () => {
    const { sid } = await open(store, newUser())
    const other = await open(store, newUser())
    const input = { sid, seedHash: other.seedHash, idleTimeoutMs }
    expect(await store.check(input)).toEqual({ outcome: 'invalid' })
    expect(await ranBy(input)).toEqual(['get'])
  })

  it('touches a session that was not seen for a minute, by a script, once', async () => {
    const session = await open(storeOf(2 * MINUTE), newUser())
    const input = { sid: session.sid, idleTimeoutMs }
    const ran = await ranBy(input)
    expect(ran).toEqual(expect.arrayContaining(['get', 'evalsha', 'set', 'zadd']))
    const touched = await read(store, session)
    expect(touched.lastSeenAt).toBeGreaterThan(session.lastSeenAt + MINUTE)
    expect(touched.idleDeadline).toBe(touched.lastSeenAt + idleTimeoutMs)
    expect(await ranBy(input)).toEqual(['get'])
  })

  it('confirms a refresh by a token of its generation, by a script, once', async () => {
    const session = await open(store, newUser())
    await store.rotate(refresh(session))
    const input = { sid: session.sid, jti: 'a', generation: 1, idleTimeoutMs }
    expect(await ranBy({ ...input, generation: 0 })).toEqual(['mget'])
    expect(await ranBy(input)).toEqual(expect.arrayContaining(['mget', 'evalsha', 'set']))
    expect(await read(store, session)).toMatchObject({ confirmed: true, generation: 1 })
    expect(await ranBy(input)).toEqual(['mget'])
  })
})

describe('a store that does not know the server’s time', () => {
  it('checks by the script, which does', async () => {
    const { sid } = await open(storeOf(2 * MINUTE), newUser())
    await store.close()
    store = redisStore({ client, prefix })
    const ran = await ranBy({ sid, idleTimeoutMs })
    expect(ran).not.toContain('mget')
    expect(ran).toEqual(expect.arrayContaining(['evalsha', 'set']))
  })

  it('is one whose connection was lost', async () => {
    const { sid } = await open(store, newUser())
    await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    const ran = await until('it is back', async () => ranBy({ sid, idleTimeoutMs }))
    expect(ran).toContain('evalsha')
  })
})

function keyOf(sid: string): string {
  return `${prefix}:{${sid.slice(0, 2)}}${sid.slice(2)}`
}
