import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import type { Redis } from 'ioredis'
import { FeedFollower } from '../../lib/feed.ts'
import type { FeedPage, FeedReadInput } from '../../lib/store.ts'
import type { Connection } from '../../stores/redis/connection.ts'
import { connect } from '../../stores/redis/connection.ts'
import { RedisFeed } from '../../stores/redis/feed.ts'
import { createKeys } from '../../stores/redis/keys.ts'
import { redisStore } from '../../stores/redis.ts'
import { ask, until } from '../support/redis-commands.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import { newUser, open } from './contract/support.ts'
import { lastingClientOf } from './redis/node.ts'
import { newPrefix } from './redis/open.ts'

const HOUR = 3_600_000
const NEVER = new AbortController().signal

let server: RedisServer
const cleanUps: (() => unknown)[] = []

beforeAll(async () => {
  server = await startRedis({ config: { appendonly: 'yes', appendfsync: 'always' } })
})

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
})

afterAll(async () => {
  await server.cleanUp()
})

interface Opened {
  readonly prefix: string
  readonly client: Redis
  readonly connection: Connection
  read(input?: Partial<FeedReadInput>): Promise<FeedPage>
}

/** A feed on a connection of its own; `wrap` plays faults on it. */
function openFeed(options: {
  readonly prefix?: string
  readonly retentionMs?: number
  readonly wrap?: (connection: Connection) => Connection
}): Opened {
  const { prefix = newPrefix(), retentionMs = HOUR, wrap = (same) => same } = options
  const client = lastingClientOf(server)
  const connection = connect(client, 'feed', () => {})
  const feed = new RedisFeed({
    connection: wrap(connection),
    key: createKeys(prefix, String).feed,
    retentionMs,
    clock: undefined,
  })
  cleanUps.push(() => {
    connection.close()
    client.disconnect()
  })
  return {
    prefix,
    client,
    connection,
    read: async (input = {}) => feed.read({ cursor: null, waitMs: 0, signal: NEVER, ...input }),
  }
}

/** Reads until it can: while the connection is made anew there is nothing to read from. */
async function readAgain(feed: Opened, cursor: string): Promise<FeedPage> {
  return until('the feed is read', async () => feed.read({ cursor }))
}

describe('a store that may have been rolled back', () => {
  it('is told of after a restart, once', async () => {
    const feed = openFeed({})
    const { cursor, rolledBack } = await feed.read()
    expect(rolledBack).toBe(false)
    await server.restart()
    const page = await readAgain(feed, cursor)
    expect(page.rolledBack).toBe(true)
    expect(await feed.read({ cursor })).toMatchObject({ rolledBack: false, complete: true })
  })

  it('is told of when the first read after it fails halfway', async () => {
    let failures = 0
    const feed = openFeed({
      wrap: (connection) => ({
        ...connection,
        client: new Proxy(connection.client, {
          get(client, name) {
            const member: unknown = Reflect.get(client, name, client)
            if (typeof member !== 'function') return member
            if (name !== 'call') return member.bind(client) as unknown
            return async (command: string, ...args: string[]) => {
              if (command !== 'XREAD' || failures === 0) return client.call(command, ...args)
              // What is asked in the same breath is answered.
              await sleep(30)
              failures -= 1
              throw new Error('the answer is lost')
            }
          },
        }),
      }),
    })
    const { cursor } = await feed.read()
    await server.restart()
    await until('connected', async () => feed.client.status === 'ready')
    failures = 2
    await until('it failed', async () => {
      await feed.read({ cursor }).catch(() => {})
      return failures === 0
    })
    expect(await readAgain(feed, cursor)).toMatchObject({ rolledBack: true })
  })

  it('is not told of when only the connection broke', async () => {
    const feed = openFeed({})
    const { cursor } = await feed.read()
    feed.connection.renew()
    expect(await readAgain(feed, cursor)).toMatchObject({ rolledBack: false, complete: true })
  })
})

describe('revocations that a store lost', () => {
  it('are made again also when it takes writes later than its feed is back', async () => {
    const feed = openFeed({})
    const store = redisStore({ client: feed.client, prefix: feed.prefix })
    cleanUps.push(async () => store.close())
    const sessions = [await open(store), await open(store), await open(store)]
    const lost = sessions.map(({ sid }) => sid)
    let refusals = 0
    const follower = new FeedFollower({
      read: async (input) => feed.read(input),
      revoke: async (sid) => {
        refusals += 1
        if (refusals <= 5) throw new Error('not yet')
        return store.revoke({ sid })
      },
      retentionMs: HOUR,
      maxStalenessMs: 5000,
      clockSkewMs: 30_000,
      deadlineMs: 250,
      clock: Date.now,
    })
    cleanUps.push(async () => follower.close())
    follower.start()
    await follower.ready
    // This node knows of revocations, and the server does not.
    follower.hear(lost.map((sid) => ({ sid, ver: Infinity })))
    await server.restart()
    await until('all are gone', async () => {
      const checks = lost.map(async (sid) => store.check({ sid, peek: true, idleTimeoutMs: HOUR }))
      return (await Promise.all(checks)).every(({ outcome }) => outcome === 'gone')
    })
    expect(refusals).toBeGreaterThanOrEqual(8)
  })
})

describe('a server that becomes a replica', () => {
  afterEach(async () => {
    await ask(server, 'REPLICAOF', 'NO', 'ONE')
  })

  it('is not read from, and promoted again may have been rolled back', async () => {
    const feed = openFeed({})
    const { cursor } = await feed.read()
    await ask(server, 'REPLICAOF', '127.0.0.1', '1')
    await expect(feed.read({ cursor })).rejects.toThrow()
    await expect(readOnce(feed, cursor)).rejects.toThrow()
    await ask(server, 'REPLICAOF', 'NO', 'ONE')
    expect(await readAgain(feed, cursor)).toMatchObject({ rolledBack: true })
  })

  it('ends a wait that is under way', async () => {
    const feed = openFeed({})
    const { cursor } = await feed.read()
    const waiting = feed.read({ cursor, waitMs: 30_000 })
    await sleep(50)
    await ask(server, 'REPLICAOF', '127.0.0.1', '1')
    // Else it would be answered when its time is over.
    await expect(waiting).rejects.toThrow()
  })
})

/** One read, on a connection that is there. */
async function readOnce(feed: Opened, cursor: string): Promise<FeedPage> {
  await until('connected', async () => {
    await feed.connection.ready()
    return true
  })
  return feed.read({ cursor })
}

describe('a follower that was away for longer than the feed keeps', () => {
  it('is told so, reads all that is left, and hears what matters', async () => {
    const prefix = newPrefix()
    const feed = openFeed({ prefix })
    const store = redisStore({ client: feed.client, prefix })
    cleanUps.push(async () => store.close())
    const key = createKeys(prefix, String).feed
    // What was revoked before it went away, and what was while it was away.
    await feed.client.xadd(key, `${Date.now() - 2 * HOUR}-0`, 'e', 'A'.repeat(24))
    const { sid } = await open(store)
    await store.revoke({ sid })
    await feed.client.xtrim(key, 'MINID', Date.now() - HOUR)

    const cursor = `${Date.now() - HOUR - 1000}-0`
    expect(await feed.read({ cursor })).toMatchObject({ complete: false })
    const inTime = `${Date.now() - HOUR + 10_000}-0`
    expect(await feed.read({ cursor: inTime })).toMatchObject({ complete: true })
    const whole = await feed.read({ cursor: null })
    expect(whole.complete).toBe(true)
    expect(whole.entries).toEqual([{ sid, ver: Infinity }])
  })

  it('starts over and sees again; what was cached meanwhile is dropped', async () => {
    const prefix = newPrefix()
    // An idle cursor is a minute old: this is gone after a second.
    const feed = openFeed({ prefix, retentionMs: 61_000 })
    const store = redisStore({ client: feed.client, prefix })
    cleanUps.push(async () => store.close())
    let away = false
    let incomplete = false
    let breaks = 0
    const sights: (string | null)[] = []
    const follower = new FeedFollower({
      read: async (input) => {
        if (away) throw new Error('away')
        const page = await feed.read(input)
        incomplete ||= !page.complete
        return page
      },
      revoke: async (sid) => store.revoke({ sid }),
      retentionMs: HOUR,
      // Longer than a read waits for news, or it sees for moments only; and than it takes to miss some.
      maxStalenessMs: 2000,
      clockSkewMs: 30_000,
      deadlineMs: 250,
      clock: Date.now,
      onSight: (cause) => sights.push(cause),
      onBreak: () => {
        breaks += 1
      },
    })
    cleanUps.push(async () => follower.close())
    follower.start()
    await follower.ready
    away = true
    await until('it is blind and said so', async () => sights.at(-1) === 'stale')
    expect(follower.blindness()).toBe('stale')
    const { sid } = await open(store, newUser())
    await store.revoke({ sid })
    away = false
    await until('it has met the gap', async () => incomplete)
    await until('it sees', async () => follower.blindness() === null)
    expect(follower.isRevoked(sid)).toBe(true)
    expect(breaks).toBeGreaterThan(0)
    await until('it said so', async () => sights.at(-1) === null)
    expect(sights).toContain('stale')
  })
})
