import { once } from 'node:events'
import { afterEach, describe, expect, it } from '@jest/globals'
import { Redis } from 'ioredis'
import type { Store } from '../../lib/store.ts'
import type { RedisStoreOptions } from '../../stores/redis.ts'
import { redisStore } from '../../stores/redis.ts'
import { until } from '../support/redis-commands.ts'
import { sharedRedisUrl, startRedis } from '../support/redis-server.ts'
import { newPrefix } from './redis/open.ts'

const clients: Redis[] = []
const stores: Store[] = []

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  for (const client of clients.splice(0)) client.disconnect()
})

function newClient(): Redis {
  const client = new Redis(sharedRedisUrl())
  client.on('error', () => {})
  clients.push(client)
  return client
}

/** Makes a store of options that may be wrong. */
function making(options: unknown): () => unknown {
  return () => redisStore(options as RedisStoreOptions)
}

function refusalOf(option: string): Error {
  return expect.objectContaining({ code: 'invalid_option', option }) as unknown as Error
}

describe('a client that cannot serve', () => {
  it.each([undefined, null, 'redis://localhost', 6379, {}, { get: () => null }])(
    'is refused at start: %p',
    (client) => expect(making({ client })).toThrow(refusalOf('client')),
  )

  it('is refused when it is older than ioredis 5', () => {
    const client = newClient()
    const older = new Proxy(client, {
      has: (target, name) => name !== 'expiretime' && name in target,
    })
    expect(making({ client: older })).toThrow(refusalOf('client'))
  })

  it('is refused in subscriber mode, in which the older protocol takes no commands', async () => {
    const client = new Redis(sharedRedisUrl(), { protocol: 2 })
    clients.push(client)
    await client.subscribe('news')
    expect(making({ client })).toThrow(refusalOf('client'))
  })

  it('is refused as a monitor', async () => {
    // Of a server that others use, ioredis may get what they do before it knows that it is a monitor;
    // the client that it is made from is another, unless it never connects.
    const server = await startRedis()
    const client = new Redis(server.port, '127.0.0.1', { lazyConnect: true })
    const monitor = await client.monitor()
    try {
      expect(making({ client: monitor })).toThrow(refusalOf('client'))
    } finally {
      monitor.disconnect()
      client.disconnect()
      await server.cleanUp()
    }
  })

  it('is refused when it is closed', async () => {
    const client = newClient()
    const ended = once(client, 'end')
    await client.quit()
    await ended
    expect(making({ client })).toThrow(refusalOf('client'))
  })

  it('makes no connection when it is refused', () => {
    const client = newClient()
    let made = 0
    client.duplicate = () => {
      made += 1
      return client
    }
    expect(making({ client, prefix: '{}' })).toThrow(refusalOf('prefix'))
    expect(made).toBe(0)
  })
})

describe('a prefix', () => {
  it.each(['', '{app}', 'a{b', 'a}b', 'a b', 'a*', 'a\nb', 'ü', 'x'.repeat(33), 7, null])(
    'is refused: %p',
    (prefix) => expect(making({ client: newClient(), prefix })).toThrow(refusalOf('prefix')),
  )
})

describe("the app's own client", () => {
  it.each([
    ['with a key prefix of its own', { keyPrefix: 'app:' }],
    ['that connects late', { lazyConnect: true }],
    ['that reads strings as numbers', { stringNumbers: true }],
    ['that shows friendly stacks', { showFriendlyErrorStack: true }],
    ['that retries for ever', { maxRetriesPerRequest: null }],
    ['that pipelines by itself', { enableAutoPipelining: true }],
    ['that waits for nothing', { commandTimeout: 100, socketTimeout: 100 }],
  ])('%s does, and stays open', async (_what, options) => {
    const client = new Redis(sharedRedisUrl(), options)
    client.on('error', () => {})
    clients.push(client)
    const store = redisStore({ client, prefix: newPrefix() })
    stores.push(store)
    expect(await store.limit.take('key', 2, 60_000)).toMatchObject({ used: 2 })
    expect(await store.limit.take('key', 1, 60_000)).toMatchObject({ used: 3 })
    const signal = new AbortController().signal
    const page = await store.feed.read({ cursor: null, waitMs: 0, signal })
    expect(Math.abs(page.now - Date.now())).toBeLessThan(5000)
    await store.feed.read({ cursor: page.cursor, waitMs: 200, signal })
    await store.close()
    // One of them waits for no longer than a busy machine may take.
    expect(await until('it answers', async () => client.ping())).toBe('PONG')
  })
})
