import { randomBytes } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import type { Store } from '../../../lib/store.ts'
import { createKeys } from '../../../stores/redis/keys.ts'
import { decodeRecord } from '../../../stores/redis/record.ts'
import type { RedisStoreOptions } from '../../../stores/redis.ts'
import { redisStore } from '../../../stores/redis.ts'
import type { OpenedStore } from '../contract.ts'
import { testClock } from '../contract.ts'
import { until } from '../../support/redis-commands.ts'
import { patient } from './patience.ts'

const NEVER = new AbortController().signal

/** A prefix nobody else uses: one server serves all tests. */
export function newPrefix(): string {
  return `test-${randomBytes(6).toString('hex')}`
}

/** Opens a store on a client of its own, for the contract and the model. */
export function openOn(connect: () => Redis | Cluster): () => Promise<OpenedStore> {
  return async () => {
    const clock = testClock()
    const client = patient(connect())
    const prefix = newPrefix()
    const keys = createKeys(prefix, String)
    const store = redisStore({ client, prefix, clock: () => clock.now() })
    // The first calls wait for a while only.
    await until('both connections are there', async () => {
      await store.keys.load()
      return store.feed.read({ cursor: null, waitMs: 0, signal: NEVER })
    })
    return {
      store,
      clock,
      async close() {
        await store.close()
        client.disconnect()
      },
      async snapshot(sid) {
        const key = keys.sessionOf(sid)
        const value = await client.getBuffer(key)
        if (value === null) throw new Error('nothing to remember')
        const { user, idleDeadline, absoluteDeadline } = decodeRecord(sid, value)
        return async () => {
          await client.set(key, value, 'KEEPTTL')
          const index = `${keys.baseOfUser(user)}u${keys.nameOf(user)}`
          await client.zadd(index, Math.min(idleDeadline, absoluteDeadline), sid)
        }
      },
    }
  }
}

/** A store by the server's clock, as apps have it. */
export function plainStore(
  client: Redis | Cluster,
  options: Partial<RedisStoreOptions> = {},
): Store {
  return redisStore({ client: patient(client), prefix: newPrefix(), ...options })
}
