import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, jest } from '@jest/globals'
import type { Pool } from 'pg'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { postgresStore } from '../../stores/postgres.ts'
import { closeKits } from '../support/kit.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { newUser, open, parallel } from './contract/support.ts'
import { backendsOf, closeNodes, openNode, poolOf } from './postgres/node.ts'
import { newSchema, useDatabase } from './postgres/open.ts'

jest.setTimeout(60_000)

const NEVER = new AbortController().signal
const SERVER = {
  get url() {
    return sharedPostgresUrl()
  },
  get port() {
    return Number(new URL(sharedPostgresUrl()).port)
  },
}

const database = useDatabase(sharedPostgresUrl)
const names = createNames(database.schema, 'latchkey_')
const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  await closeNodes()
  await closeKits()
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
})

async function newProxy(): Promise<TcpProxy> {
  const proxy = await startTcpProxy(SERVER)
  cleanUps.push(async () => {
    await proxy.restore()
    proxy.stop()
  })
  return proxy
}

interface Setup {
  readonly operationTimeout?: `${number}ms` | `${number}s`
  readonly onConnect?: () => Promise<void>
}

interface Opened {
  readonly store: PostgresStore
  readonly pool: Pool
  readonly name: string
}

/** A store whose server is reached by the address. */
function openStore(
  via: { readonly port: number },
  { operationTimeout = '200ms', onConnect }: Setup = {},
): Opened {
  const name = newSchema()
  const { schema } = database
  const pool = poolOf({
    url: SERVER.url,
    schema,
    via,
    pool: {
      application_name: name,
      max: 2,
      connectionTimeoutMillis: 20_000,
      idleTimeoutMillis: 0,
      // oxlint-disable-next-line typescript/no-misused-promises -- pg-pool waits for it
      ...(onConnect && { onConnect }),
    },
  })
  const store = postgresStore({ pool, schema, operationTimeout, pruneInterval: false })
  cleanUps.push(
    async () => pool.end(),
    async () => store.close(),
  )
  return { store, pool, name }
}

async function ask(store: PostgresStore): Promise<unknown> {
  return store.list({ user: newUser(), limit: 1 })
}

describe('a server that takes longer to be connected to than an operation may take', () => {
  it('is of use: the node logs in, follows and logs out, on few connections', async () => {
    const proxy = await newProxy()
    // As 50 ms there and 50 ms back are to the defaults, with room for a busy machine.
    proxy.delay(350)
    const node = await openNode({
      url: SERVER.url,
      schema: database.schema,
      via: proxy,
      pool: { max: 2, connectionTimeoutMillis: 20_000 },
      store: { operationTimeout: '1s' },
      options: { storeDeadline: '1250ms' },
    })
    const tokens = await node.login()
    const checked = await until('it is checked', async () => {
      const { status } = await node.getSession(tokens)
      return status !== 503 && status
    })
    expect(checked).toBe(200)
    const ended = await until('it is ended', async () => {
      const { status } = await node.logout(tokens)
      return status !== 503 && status
    })
    expect(ended).toBe(204)
    // An answer to the first logout that came too late told the node nothing: it has to hear of it.
    const refused = await until('it has heard', async () => {
      const answer = await node.get('/jwt', tokens)
      return answer.status === 401 && answer.code !== 'session_ended' && answer
    })
    expect(refused.code).toBe('session_revoked')
    await until('nothing is left', async () => {
      const backends = await backendsOf(SERVER, node)
      return node.pool.waitingCount === 0 && backends.length <= node.pool.totalCount + 1
    })
  })
})

describe('a thousand revocations at once, on ten connections to a server that is far away', () => {
  it('are all acknowledged, in the trail and heard of; who is checked meanwhile is not held up', async () => {
    const near = database.store()
    const user = newUser()
    const sids = await parallel(1000, async () => (await open(near)).sid)
    const proxy = await newProxy()
    const node = await openNode({
      url: SERVER.url,
      schema: database.schema,
      via: proxy,
      pool: { max: 10, connectionTimeoutMillis: 20_000 },
      // Ten at a time would be half of them.
      store: { operationTimeout: '9s' },
      options: { storeDeadline: '10s' },
    })
    const tokens = await node.login(user.id)
    proxy.delay(200)
    const revoking = sids.map(async (sid) => node.latchkey.sessions.revoke(sid))
    const checking = node.get('/sensitive', tokens)
    const results = await Promise.allSettled(revoking)
    expect(results.filter(({ status }) => status === 'rejected')).toEqual([])
    expect(results.every((one) => one.status === 'fulfilled' && one.value)).toBe(true)
    expect(await checking).toMatchObject({ status: 200 })
    const counts = [
      `select count(*)::int from ${names.session} where sid = any($1)`,
      `select count(distinct session_id)::int from ${names.audit}
       where type = 'session_revoked' and session_id = any($1)`,
      `select count(distinct sid)::int from ${names.feed} where ver is null and sid = any($1)`,
    ]
    const counted = counts.map(async (text) => {
      const { rows } = await database.pool.query<{ count: number }>(text, [sids])
      return rows[0]?.count
    })
    expect(await Promise.all(counted)).toEqual([0, 1000, 1000])
  })
})

describe('a connection that is made when its operation is nearly over', () => {
  it('is not closed for that: the next operation has its answer', async () => {
    const proxy = await newProxy()
    let made = 0
    const { store, pool } = openStore(proxy, {
      operationTimeout: '5s',
      async onConnect() {
        made += 1
        await sleep(4000)
        proxy.halfOpen()
      },
    })
    await expect(ask(store)).rejects.toThrow('in time')
    // The answer comes when nobody waits for it any more, and the connection is still in time.
    await proxy.restore()
    await until('it has answered', async () => pool.idleCount === 1)
    await ask(store)
    expect([made, pool.totalCount]).toEqual([1, 1])
  })

  it('is closed when it does not answer in its own time either', async () => {
    const proxy = await newProxy()
    const { store, pool } = openStore(proxy, {
      operationTimeout: '4s',
      async onConnect() {
        await sleep(200)
        proxy.halfOpen()
      },
    })
    await expect(ask(store)).rejects.toThrow('in time')
    await until('it is closed', async () => pool.totalCount === 0)
  })
})

describe('a connection of the feed that is still being made', () => {
  it('is not waited for once its read is given up, and serves the next', async () => {
    const proxy = await newProxy()
    const { store } = openStore(proxy, { operationTimeout: '20s' })
    proxy.halfOpen()
    for (let n = 0; n < 5; n++) {
      const read = store.feed.read({ cursor: null, waitMs: 0, signal: AbortSignal.timeout(20) })
      // Long before a connection is given up.
      const isOver = Promise.race([read, sleep(10_000, 'late', { ref: false })])
      await expect(isOver).rejects.toThrow('given up')
      // The first may not have reached the proxy yet.
      if (n === 0) await until('one is being made', async () => proxy.connections > 0)
      expect(proxy.connections).toBe(1)
    }
    await proxy.restore()
    await store.feed.read({ cursor: null, waitMs: 0, signal: NEVER })
    expect(proxy.connections).toBe(1)
  })

  it('has as long as an operation, where that is longer than two seconds', async () => {
    const proxy = await newProxy()
    const { store } = openStore(proxy, { operationTimeout: '20s' })
    proxy.halfOpen()
    const [page] = await Promise.all([
      store.feed.read({ cursor: null, waitMs: 0, signal: NEVER }),
      sleep(2500).then(async () => proxy.restore()),
    ])
    expect(page).toMatchObject({ complete: true })
    expect(proxy.connections).toBe(1)
  })

  it('is closed with the store, whatever the server says', async () => {
    const connected = new Set<Socket>()
    let taken = 0
    const silent = createServer((socket) => {
      taken += 1
      connected.add(socket)
      socket.on('error', () => {}).on('close', () => connected.delete(socket))
      socket.resume()
    })
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    cleanUps.push(() => silent.close())
    const { store } = openStore(silent.address() as AddressInfo)
    const read = store.feed.read({ cursor: null, waitMs: 0, signal: NEVER })
    await until('it is taken', async () => taken === 1)
    await store.close()
    await expect(read).rejects.toThrow('ended')
    await until('it is closed', async () => connected.size === 0)
    expect(taken).toBe(1)
  })
})

/** Has a connection of the feed made that was asked nothing yet; its process at the server. */
async function listening({ store, name }: Opened, proxy: TcpProxy): Promise<number> {
  return until('it listens', async () => {
    const [backend] = await backendsOf(SERVER, { name })
    const listens = backend?.state === 'idle' && backend.query.startsWith('listen')
    if (backend !== undefined) return listens && backend.pid
    // None is being made, or it took too long.
    proxy.halfOpen()
    const given = store.feed.read({ cursor: null, waitMs: 0, signal: AbortSignal.timeout(10) })
    await expect(given).rejects.toThrow('given up')
    await proxy.restore()
    return false
  })
}

describe('the first answer to a new connection of the feed', () => {
  it('may come after its read was given up: the next has the connection', async () => {
    const proxy = await newProxy()
    const opened = openStore(proxy, { operationTimeout: '20s' })
    const { store, name } = opened
    const before = await listening(opened, proxy)
    proxy.halfOpen()
    const late = store.feed.read({ cursor: null, waitMs: 0, signal: AbortSignal.timeout(500) })
    await expect(late).rejects.toThrow('given up')
    await proxy.restore()
    const page = await store.feed.read({ cursor: null, waitMs: 0, signal: NEVER })
    expect(page.complete).toBe(true)
    const after = await backendsOf(SERVER, { name })
    expect(after.map(({ pid }) => pid)).toEqual([before])
  })

  it('is not waited for any longer than an operation', async () => {
    const proxy = await newProxy()
    const opened = openStore(proxy, { operationTimeout: '300ms' })
    const { store, name } = opened
    const before = await listening(opened, proxy)
    proxy.halfOpen()
    const late = store.feed.read({ cursor: null, waitMs: 0, signal: AbortSignal.timeout(10) })
    await expect(late).rejects.toThrow('given up')
    await sleep(600)
    await proxy.restore()
    // Two seconds for a connection may be too few.
    const page = await until('the feed is read', async () =>
      store.feed.read({ cursor: null, waitMs: 0, signal: NEVER }),
    )
    expect(page.complete).toBe(true)
    // The server hears of the end of the old one late.
    await until('another answers', async () => {
      const backends = await backendsOf(SERVER, { name })
      return backends.length === 1 && backends[0]?.pid !== before
    })
  })
})
