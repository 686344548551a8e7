import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import type { Cluster } from 'ioredis'
import type { Store } from '../../lib/store.ts'
import { redisStore } from '../../stores/redis.ts'
import { closeKits } from '../support/kit.ts'
import type { RedisCluster, RedisClusterNode } from '../support/redis-cluster.ts'
import { startRedisCluster } from '../support/redis-cluster.ts'
import { loopTime } from '../support/loop-time.ts'
import { until } from '../support/redis-commands.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { login, newSession } from './contract/support.ts'
import { closeNodes, openNode, SLACK_MS } from './redis/node.ts'
import {
  connectThrough,
  connectTo,
  otherPrimary,
  primariesOf,
  shardsOf,
} from './redis/on-cluster.ts'
import { newPrefix } from './redis/open.ts'

/** No call that is answered is too late for want of a processor. */
const DEADLINE_MS = 4000
const NEVER = new AbortController().signal

let cluster: RedisCluster
const cleanUps: (() => unknown)[] = []

beforeAll(async () => {
  cluster = await startRedisCluster()
})

afterEach(async () => {
  await closeNodes()
  await closeKits()
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
})

afterAll(async () => {
  await cluster.cleanUp()
})

async function proxyOf(node: RedisClusterNode): Promise<TcpProxy> {
  const proxy = await startTcpProxy(node)
  cleanUps.push(() => proxy.stop())
  return proxy
}

function openStore(client: Cluster, prefix: string = newPrefix()): Store {
  const store = redisStore({ client, prefix })
  cleanUps.push(async () => {
    await store.close()
    client.disconnect()
  })
  return store
}

describe('a Cluster that has just been connected to', () => {
  it('serves the users of every primary from the first call on', async () => {
    const prefix = newPrefix()
    const shards = shardsOf(cluster, prefix)
    const users = await Promise.all(
      (await primariesOf(cluster)).map(async (primary) => shards.usersOf(primary, 1)),
    )
    const proxies = new Map<RedisClusterNode, TcpProxy>()
    for (const node of cluster.nodes) {
      const proxy = await proxyOf(node)
      proxy.delay(60)
      proxies.set(node, proxy)
    }
    // A service's address is no node's own, and it is there before they are.
    const { port } = await proxyOf(cluster.nodes[0] as RedisClusterNode)
    const client = connectThrough({ startupNodes: [{ host: '127.0.0.1', port }] }, proxies)
    const store = openStore(client, prefix)
    const results = await Promise.all(
      users.flat().map(async (id) => store.create(login(newSession({ tenant: '', id })))),
    )
    expect(results.map(({ outcome }) => outcome)).toEqual(['created', 'created', 'created'])
  })

  it('one of whose primaries is silent serves the users of the others', async () => {
    const prefix = newPrefix()
    const shards = shardsOf(cluster, prefix)
    const silent = await otherPrimary(cluster, await shards.feedPrimary())
    const [hit = ''] = await shards.usersOf(silent, 1)
    const others = await shards.usersOf(silent, 3, false)
    const proxy = await proxyOf(silent)
    proxy.halfOpen()
    const client = connectThrough(cluster, new Map([[silent, proxy]]))
    const options = { storeDeadline: `${DEADLINE_MS}ms` } as const
    const node = await openNode({ client, prefix, options, sighted: false })
    const attempt = async (id = '') => {
      const sentAt = loopTime()
      const outcome = await node.latchkey.sessions.list(id).then(
        () => 'served',
        ({ code }: { code: string }) => code,
      )
      return { outcome, tookMs: loopTime() - sentAt }
    }
    const first = await Promise.all([hit, ...others].map(attempt))
    for (const { tookMs } of first) expect(tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    expect(first[0]).toMatchObject({ outcome: 'store_unavailable' })
    await until(
      'the others are served',
      async () => (await attempt(others[0])).outcome === 'served',
    )
    // It was waited for once.
    for (let round = 0; round < 8; round++) {
      const answers = await Promise.all([hit, ...others].map(attempt))
      const outcomes = answers.map(({ outcome }) => outcome)
      expect(outcomes).toEqual(['store_unavailable', 'served', 'served', 'served'])
      for (const { tookMs } of answers) expect(tookMs).toBeLessThan(SLACK_MS)
    }
    await proxy.restore()
    await until('all are served', async () => (await attempt(hit)).outcome === 'served')
  })
})

describe("the app's own client of a Cluster", () => {
  it.each([
    ['with a key prefix of its own', { keyPrefix: 'app:' }],
    ['that connects late', { lazyConnect: true }],
    ['that reads from replicas', { scaleReads: 'slave' }],
    ['that subscribes to shards', { shardedSubscribers: true }],
    ['that waits for nothing', { redisOptions: { commandTimeout: 100, socketTimeout: 100 } }],
  ] as const)('%s does', async (_what, options) => {
    const client = connectTo(cluster, options)
    const store = openStore(client)
    expect(await store.limit.take('key', 2, 60_000)).toMatchObject({ used: 2 })
    expect(await store.limit.take('key', 1, 60_000)).toMatchObject({ used: 3 })
    const { cursor } = await store.feed.read({ cursor: null, waitMs: 0, signal: NEVER })
    await store.feed.read({ cursor, waitMs: 200, signal: NEVER })
  })
})

describe('a node of a Cluster that takes connections and says nothing', () => {
  it('is given up and connected to anew', async () => {
    const prefix = newPrefix()
    const feedPrimary = await shardsOf(cluster, prefix).feedPrimary()
    let taken = 0
    let isSilent = true
    const listener = createServer((socket) => {
      taken += 1
      socket.on('error', () => {})
      cleanUps.push(() => socket.destroy())
      if (isSilent) return
      const real = connect(feedPrimary.port, '127.0.0.1')
      real.on('error', () => {})
      cleanUps.push(() => real.destroy())
      socket.pipe(real).pipe(socket)
    })
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    cleanUps.push(() => listener.close())
    const client = connectThrough(
      cluster,
      new Map([[feedPrimary, listener.address() as AddressInfo]]),
    )
    const store = openStore(client, prefix)
    // The app's own connection, that of the commands and that of the feed.
    await until('all have connected', async () => taken >= 3)
    isSilent = false
    const page = await until('the feed is read', async () =>
      store.feed.read({ cursor: null, waitMs: 0, signal: NEVER }),
    )
    expect(page.complete).toBe(true)
  })
})

describe('a primary that comes back empty before anybody has noticed', () => {
  it('is told of, also to an app whose nodes reconnect by themselves', async () => {
    const prefix = newPrefix()
    const client = connectTo(cluster, { clusterNodeRetryStrategy: () => 50 })
    const store = openStore(client, prefix)
    const { cursor } = await store.feed.read({ cursor: null, waitMs: 0, signal: NEVER })
    // A young Cluster names its replicas late, and whatever is connected to makes a read ask again.
    await store.feed.read({ cursor, waitMs: 200, signal: NEVER })
    await store.feed.read({ cursor, waitMs: 0, signal: NEVER })
    const feedPrimary = await shardsOf(cluster, prefix).feedPrimary()
    await feedPrimary.restart()
    // No read has failed meanwhile: only the connection tells.
    await cluster.waitOk()
    const page = await until('the feed is read', async () =>
      store.feed.read({ cursor, waitMs: 0, signal: NEVER }),
    )
    expect(page.rolledBack).toBe(true)
  })
})
