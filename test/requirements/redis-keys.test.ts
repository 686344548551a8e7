import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import { Redis } from 'ioredis'
import type { Store } from '../../lib/store.ts'
import { createKeys } from '../../stores/redis/keys.ts'
import { redisStore } from '../../stores/redis.ts'
import {
  check,
  hash,
  newSession,
  newUser,
  open,
  read,
  refresh,
  replacement,
} from '../stores/contract/support.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'

/** Its own: what is counted here is the server's. */
let server: RedisServer
let client: Redis
let store: Store

beforeAll(async () => {
  server = await startRedis()
  client = new Redis(server.url)
  store = redisStore({ client, prefix: 'app' })
})

afterAll(async () => {
  await store.close()
  client.disconnect()
  await server.cleanUp()
})

/** The commands that the server has run, by name. */
async function commands(): Promise<string[]> {
  const stats = await client.info('commandstats')
  return [...stats.matchAll(/^cmdstat_([^:]+):/gm)].map(([, name = '']) => name)
}

describe('keys on Redis', () => {
  it('are a prefix, a tag of two characters and a hash, whatever the user is called', () => {
    const keys = createKeys('app', () => 'h'.repeat(43))
    const text = fc.string({ unit: 'binary' })
    fc.assert(
      fc.property(text, text, (tenant, id) => {
        const user = { tenant, id }
        expect(keys.baseOfUser(user) + keys.nameOf(user)).toMatch(/^app:\{[\w-]{2}\}[\w-]{22}$/)
      }),
    )
  })

  it('are found by name: no operation searches for them', async () => {
    const user = newUser()
    const session = await open(store, user)
    const signal = new AbortController().signal
    await check(store, session.sid)
    await store.rotate(refresh(session))
    await store.update({ sid: session.sid, dataVer: 0, data: { a: 1 } })
    await store.list({ user, limit: 10 })
    await store.deny({ sid: session.sid, jti: 'x', expiresAt: Date.now() + 60_000 })
    await store.replace(replacement(session, newSession(user)))
    const other = await open(store, user)
    await store.revoke({ sid: other.sid })
    await store.revokeUser({ user })
    await store.limit.take('*', 1, 60_000)
    await store.audit.append([{ type: 'x', at: Date.now(), result: 'success', user }])
    await store.audit.query({ limit: 10, user })
    await store.keys.save(0, 'x')
    await store.keys.load()
    await store.feed.read({ cursor: null, waitMs: 0, signal })
    await store.prune()
    await store.inspect()

    const ran = await commands()
    expect(ran).toEqual(expect.arrayContaining(['evalsha', 'xadd', 'zadd']))
    expect(
      ran.filter((name) => /^(?:keys|[shz]?scan|sort|randomkey|flush\w+)$/.test(name)),
    ).toEqual([])
  })
})

describe('a family that is refreshed for long', () => {
  it('takes no more room after 10,000 refreshes than after ten', async () => {
    const session = await open(store)
    const room = async () => {
      const names = await client.keys('app:*')
      const sizes = await Promise.all(names.map(async (name) => client.memory('USAGE', name)))
      return {
        names: names.toSorted(),
        bytes: sizes.reduce((sum: number, one) => sum + Number(one), 0),
      }
    }
    let generation = 0
    const refreshTo = async (last: number) => {
      while (generation < last) {
        const { outcome } = await store.rotate(
          refresh(session, { generation: generation++, attemptHash: hash() }),
        )
        if (outcome !== 'rotated') throw new Error(`the refresh gave ${outcome}`)
      }
    }
    await refreshTo(10)
    const before = await room()
    await refreshTo(10_000)
    const after = await room()
    // Others may be over by now.
    expect(before.names).toEqual(expect.arrayContaining(after.names))
    expect(after.bytes).toBeLessThanOrEqual(before.bytes + 64)
    expect((await read(store, session)).generation).toBe(10_000)
  })
})
