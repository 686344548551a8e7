import { afterEach, describe, expect, it } from '@jest/globals'
import { Redis } from 'ioredis'
import type { SessionRecord } from '../../lib/session.ts'
import type { Store } from '../../lib/store.ts'
import { memoryStore } from '../../stores/memory.ts'
import { createNames } from '../../stores/postgres/names.ts'
import { createKeys } from '../../stores/redis/keys.ts'
import { redisStore } from '../../stores/redis.ts'
import { open, refresh } from '../stores/contract/support.ts'
import { useDatabase } from '../stores/postgres/open.ts'
import { newPrefix } from '../stores/redis/open.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { sharedRedisUrl } from '../support/redis-server.ts'

const ROTATIONS = 10_000
/** The time by which a test on a busy machine has seen enough. */
const ENOUGH_MS = 3000
const AT_LEAST = 500

const cleanUps: (() => unknown)[] = []

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
})

function closing<Opened extends Store>(store: Opened): Opened {
  cleanUps.push(async () => store.close())
  return store
}

/** Refreshes one session again and again; how often. */
async function refreshOn(
  store: Store,
  first: SessionRecord,
  times: number,
): Promise<SessionRecord> {
  const end = performance.now() + ENOUGH_MS
  let session = first
  for (let done = 0; done < times && (done < AT_LEAST || performance.now() < end); done++) {
    const result = await store.rotate(refresh(session))
    if (result.outcome !== 'rotated') throw new Error(`the rotation gave ${result.outcome}`)
    ;({ session } = result)
  }
  expect(session.generation).toBeGreaterThanOrEqual(Math.min(times, AT_LEAST))
  return session
}

describe('a family of thousands of refreshes takes no more room than one', () => {
  it('in memory', async () => {
    const store = closing(memoryStore())
    const session = await refreshOn(store, await open(store), 2000)
    const before = process.memoryUsage().heapUsed
    const last = await refreshOn(store, session, 10 * ROTATIONS)
    // A hundred bytes a rotation would be ten megabytes; garbage that waits is allowed for.
    const grown = process.memoryUsage().heapUsed - before
    expect(grown).toBeLessThan(64 * 1024 * 1024)
    const page = await store.list({ user: last.user, limit: 100 })
    expect(page.items.map(({ generation }) => generation)).toEqual([last.generation])
  })

  it('on Redis', async () => {
    const client = new Redis(sharedRedisUrl())
    cleanUps.push(() => client.disconnect())
    const prefix = newPrefix()
    const store = closing(redisStore({ client, prefix }))
    const session = await refreshOn(store, await open(store), 100)
    const key = createKeys(prefix, String).sessionOf(session.sid)
    const facts = async () => [
      await client.memory('USAGE', key),
      (await client.keys(`${prefix}:*`)).length,
    ]
    const [bytes = 0, keys] = await facts()
    const last = await refreshOn(store, session, ROTATIONS)
    const [bytesAfter = 0, keysAfter] = await facts()
    expect(keysAfter).toBe(keys)
    // A few more digits of the generation, and the allocator's rounding.
    expect(Number(bytesAfter)).toBeLessThanOrEqual(Number(bytes) + 64)
    expect(last.generation).toBeGreaterThan(AT_LEAST)
  })

  describe('on Postgres', () => {
    const database = useDatabase(sharedPostgresUrl)

    it('in rows', async () => {
      const store = closing(database.store())
      const session = await refreshOn(store, await open(store), 100)
      const { session: table } = createNames(database.schema, 'latchkey_')
      const facts = async () => {
        const { rows } = await database.pool.query({
          text: `select count(*)::int as rows, max(pg_column_size(s.*)) as bytes from ${table} s`,
        })
        return rows[0] as { rows: number; bytes: number }
      }
      const before = await facts()
      const last = await refreshOn(store, session, ROTATIONS)
      const after = await facts()
      expect(after.rows).toBe(1)
      expect(after.bytes).toBeLessThanOrEqual(before.bytes + 16)
      expect(last.generation).toBeGreaterThan(AT_LEAST)
    })
  })
})
