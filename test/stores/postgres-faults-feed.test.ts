import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from '@jest/globals'
import type { FeedEntry } from '../../lib/store.ts'
import { postgresStore } from '../../stores/postgres.ts'
import { closeKits } from '../support/kit.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { newUser, open, revocation } from './contract/support.ts'
import type { Node, NodeSetup } from './postgres/node.ts'
import { backendsOf, closeNodes, openNode, poolOf, terminate } from './postgres/node.ts'
import { newSchema, useDatabase } from './postgres/open.ts'
import type { Tokens } from './redis/node.ts'

const BREAKS = 20
const SHARED = {
  get url() {
    return sharedPostgresUrl()
  },
  get port() {
    return Number(new URL(sharedPostgresUrl()).port)
  },
}

const database = useDatabase(sharedPostgresUrl)
const proxies: TcpProxy[] = []
const cleanUps: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const proxy of proxies) await proxy.restore()
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
  await closeNodes()
  await closeKits()
  for (const proxy of proxies.splice(0)) proxy.stop()
})

async function newProxy(): Promise<TcpProxy> {
  const proxy = await startTcpProxy(SHARED)
  proxies.push(proxy)
  return proxy
}

/** A node whose feed alone is reached by the address; its pool is well. */
async function openHere(setup: Partial<NodeSetup>): Promise<Node> {
  const { url, port } = SHARED
  // No call is late for want of a processor.
  const options = { storeDeadline: '4s', ...setup.options } as const
  const store = { operationTimeout: '3s', ...setup.store } as const
  return openNode({ url, schema: database.schema, via: { port }, ...setup, options, store })
}

/** Waits until the node refuses a token because it was told so: who asks learns that it is over. */
async function hears(node: Node, tokens: Pick<Tokens, 'access'>): Promise<void> {
  const refused = await until('it refuses', async () => {
    const answer = await node.get('/jwt', tokens)
    // On a busy machine it may be blind for a moment, and ask.
    return answer.status !== 200 && answer.code !== 'session_ended' && answer
  })
  expect(refused).toMatchObject({ status: 401, code: 'session_revoked' })
}

describe('the connection of the feed', () => {
  it('that dies in silence again and again is replaced, loses nothing, and leaves nothing behind', async () => {
    const name = newSchema()
    const feedVia = { port: 0 }
    const { url, port } = SHARED
    const pool = poolOf({
      url,
      schema: database.schema,
      via: { port },
      feedVia,
      pool: { application_name: name, max: 1 },
    })
    const { schema } = database
    const store = postgresStore({ pool, schema, operationTimeout: '10s', pruneInterval: false })
    cleanUps.push(
      async () => pool.end(),
      async () => store.close(),
    )
    let proxy = await newProxy()
    feedVia.port = proxy.port
    const never = new AbortController().signal
    let { cursor } = await store.feed.read({ cursor: null, waitMs: 0, signal: never })
    const missed: FeedEntry[] = []
    const told: FeedEntry[] = []
    for (let n = 0; n < BREAKS; n++) {
      const next = await newProxy()
      feedVia.port = next.port
      proxy.halfOpen()
      const session = await open(store)
      await store.revoke({ sid: session.sid })
      missed.push(revocation(session))
      const signal = AbortSignal.timeout(30)
      await expect(store.feed.read({ cursor, waitMs: 0, signal })).rejects.toThrow()
      const page = await store.feed.read({ cursor, waitMs: 0, signal: never })
      expect(page).toMatchObject({ complete: true, rolledBack: false })
      ;({ cursor } = page)
      told.push(...page.entries)
      // What was closed meanwhile is heard of late; what was not stays.
      await proxy.restore()
      proxy = next
    }
    const sids = new Set(told.map(({ sid }) => sid))
    expect(missed.filter(({ sid }) => !sids.has(sid))).toEqual([])
    // One of the pool, and one for the feed.
    await until('nothing is left', async () => {
      return (await backendsOf(SHARED, { name })).length <= 2
    })
  })

  it('that is cut again and again is made anew, no more than one at a time', async () => {
    const proxy = await newProxy()
    const node = await openHere({ feedVia: proxy })
    const other = await openHere({})
    const tokens = await node.login()
    await node.quiet()
    for (let n = 0; n < BREAKS; n++) {
      if (n % 2 === 0) proxy.cutAll()
      else await terminate(SHARED, node.name)
      await sleep(40)
    }
    await node.sighted()
    expect(node.latchkey.health().ok).toBe(true)
    await other.latchkey.sessions.revoke(tokens.sid)
    await hears(node, tokens)
    await until('nothing is left', async () => {
      const backends = await backendsOf(SHARED, node)
      return backends.length <= node.pool.totalCount + 1
    })
  })

  it('that dies in silence costs the node no sight when another can be made', async () => {
    const [first, second] = [await newProxy(), await newProxy()]
    const feedVia = { port: first.port }
    // A minute: without another connection it would not hear of anything, and be blind before long.
    const node = await openHere({ feedVia, options: { maxStaleness: '60s' } })
    const other = await openHere({})
    const tokens = await node.login()
    await node.quiet()
    feedVia.port = second.port
    first.halfOpen()
    await other.latchkey.sessions.revoke(tokens.sid)
    await hears(node, tokens)
    expect(node.latchkey.health()).toMatchObject({ ok: true, feed: { blind: null } })
  })

  it('that dies in silence for longer makes the node ask, until it has read all it missed', async () => {
    const proxy = await newProxy()
    const options = { maxStaleness: '2s' } as const
    const node = await openHere({ feedVia: proxy, options })
    const other = await openHere({})
    const [early, late, lasting] = [
      await node.login('early'),
      await node.login('late'),
      await node.login('lasting'),
    ]
    await node.quiet()
    proxy.halfOpen()
    await other.latchkey.sessions.revoke(early.sid)
    expect(await node.blind()).toBe('stale')
    const { staleness_ms: staleness } = node.latchkey.health().feed
    expect(staleness).toBeGreaterThan(2000)
    // Its pool is well: it knows no less than the store.
    expect(await node.get('/jwt', early)).toMatchObject({ status: 401, code: 'session_ended' })
    expect(await node.get('/jwt', late)).toMatchObject({ status: 200 })
    expect(node.checks).toBe(2)
    await other.latchkey.sessions.revoke(late.sid)

    await proxy.restore()
    await node.sighted()
    await hears(node, late)
    await until('it need not ask any more', async () => {
      const { checks } = node
      const { status } = await node.get('/jwt', lasting)
      return status === 200 && node.checks === checks
    })
  })
})

describe('a store that polls', () => {
  it('hears of revocations without a word from the server', async () => {
    const node = await openHere({ store: { listen: false } })
    const other = await openHere({})
    const tokens = await node.login(newUser().id)
    await node.quiet()
    await terminate(SHARED, node.name)
    await other.latchkey.sessions.revoke(tokens.sid)
    await hears(node, tokens)
    expect(node.latchkey.health().ok).toBe(true)
  })
})
