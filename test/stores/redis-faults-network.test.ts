import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { Redis } from 'ioredis'
import type { ScriptName } from '../../stores/redis/scripts.ts'
import { scriptNames, scriptOf } from '../../stores/redis/scripts.ts'
import { closeKits, COOKIES } from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'
import { until } from '../support/redis-commands.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import type { Answer, Node, Tokens } from './redis/node.ts'
import {
  clientOf,
  closeNodes,
  DEADLINE_MS,
  generationOf,
  HURRIED,
  kept,
  lastingClientOf,
  openNode,
  OUTAGE,
  SLACK_MS,
  splitClient,
} from './redis/node.ts'

let server: RedisServer
let proxy: TcpProxy
let watcher: Redis
let monitor: Redis
/** The SHA-1 of every script that a client sent. */
let sent: string[] = []
const cleanUps: (() => unknown)[] = []

beforeAll(async () => {
  server = await startRedis()
  watcher = lastingClientOf(server)
  // Else what is lost is the answer that a script is not known, and nothing ran.
  await Promise.all(scriptNames().map(async (name) => watcher.script('LOAD', scriptOf(name))))
  monitor = await watcher.monitor()
  monitor.on('monitor', (_time: string, [command = '', what = '']: string[], source: string) => {
    if (source === 'lua') return
    if (command.toLowerCase() === 'evalsha') sent.push(what)
    if (command.toLowerCase() === 'eval') sent.push(shaOf(what))
  })
})

beforeEach(async () => {
  proxy = await startTcpProxy(server)
})

afterEach(async () => {
  server.resume()
  await proxy.restore()
  await closeNodes()
  await closeKits()
  proxy.stop()
  for (const cleanUp of cleanUps.splice(0)) await cleanUp()
})

afterAll(async () => {
  monitor.disconnect()
  watcher.disconnect()
  await server.cleanUp()
})

function shaOf(script: string): string {
  return createHash('sha1').update(script).digest('hex')
}

/** How often the server was asked to run this script since the last time. */
async function countSent(name: ScriptName): Promise<number> {
  // What a monitor sees of this comes after all that was before.
  const marker = `marker-${Math.random()}`
  const seen = new Promise((resolve) => {
    const listener = (_time: string, args: string[]) => {
      if (!args.includes(marker)) return
      monitor.off('monitor', listener)
      resolve(undefined)
    }
    monitor.on('monitor', listener)
  })
  await watcher.echo(marker)
  await seen
  const sha = shaOf(scriptOf(name))
  const count = sent.filter((one) => one === sha).length
  sent = []
  return count
}

describe('an answer that is lost', () => {
  it('of a refresh is 503, is not sent again, and the retry gets the same successor', async () => {
    const node = await openNode({ client: splitClient(proxy, server) })
    const login = await node.login()
    await node.quiet()
    await countSent('rotate')

    proxy.dropReplies(1)
    const lost = await node.refresh(login.refresh)
    expect(lost).toMatchObject({ ...OUTAGE, outcome: 'retryable' })
    expect(lost.retryAfter).toBeGreaterThanOrEqual(1)
    expect(lost.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    await node.recovered()
    // It ran, and reconnecting did not run it again.
    expect(await countSent('rotate')).toBe(1)

    const retry = await node.refresh(login.refresh)
    expect(retry.status).toBe(200)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(node.typesOf()).toContain('session_replayed')
    expect(node.typesOf()).not.toContain('authn_token_reuse')
    expect(await node.refresh(retry.tokens.refresh)).toMatchObject({ status: 200 })
  })

  it('of a refresh by cookie leaves the cookies alone', async () => {
    const node = await openNode({ client: splitClient(proxy, server) })
    const { refresh } = await node.login()
    await node.quiet()
    proxy.dropReplies(1)
    const cookie = `${COOKIES.refresh}=${refresh}`
    expect(await node.post('/auth/refresh', {}, { cookie })).toMatchObject(OUTAGE)
    await node.recovered()
    const retry = await node.post('/auth/refresh', {}, { cookie })
    expect(retry.status).toBe(200)
    expect(retry.cookies.join()).toContain(COOKIES.refresh)
  })

  it("without any grace is answered by the client's own attempt id", async () => {
    const options = { reuseGrace: '0s' } as const
    const node = await openNode({ client: splitClient(proxy, server), options })
    const login = await node.login()
    await node.quiet()
    proxy.dropReplies(1)
    const headers = { 'idempotency-key': 'one-attempt-of-one-client' }
    expect(await node.refresh(login.refresh, headers)).toMatchObject(OUTAGE)
    await node.recovered()
    const retry = await node.refresh(login.refresh, headers)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(node.typesOf()).not.toContain('authn_token_reuse')
  })

  it('of a request that never arrived is the same to the client', async () => {
    const node = await openNode({ client: splitClient(proxy, server) })
    const login = await node.login()
    await node.quiet()
    await countSent('rotate')
    proxy.cutAfterBytes(0, 'requests')
    expect(await node.refresh(login.refresh)).toMatchObject(OUTAGE)
    await node.recovered()
    expect(await countSent('rotate')).toBe(0)
    const retry = await node.refresh(login.refresh)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(node.typesOf()).not.toContain('session_replayed')
  })

  it('of a revocation is 503, and the session is over on all nodes all the same', async () => {
    const node = await openNode({ client: splitClient(proxy, server) })
    const other = await openNode({ client: clientOf(server), prefix: node.prefix })
    const login = await node.login()
    await node.quiet()
    proxy.dropReplies(1)
    const authorization = `Session ${login.session}`
    expect(await node.post('/auth/logout', {}, { authorization })).toMatchObject(OUTAGE)
    await until('both have heard', async () => {
      const answers = await Promise.all([node.get('/jwt', login), other.get('/jwt', login)])
      return answers.every(({ status }) => status === 401)
    })
    await node.recovered()
    expect(await node.post('/auth/logout', {}, { authorization })).toMatchObject({ status: 204 })
  })
})

describe.each([
  { what: 'a connection that is half open', stall: () => proxy.halfOpen(), direct: false },
  { what: 'a server that is stopped', stall: () => server.pause(), direct: true },
])('$what', ({ stall, direct }) => {
  it('ends every call in time, queues nothing for long, and comes back by itself', async () => {
    const node = await openHurried(direct ? server : proxy)
    const login = await until('logged in', async () => node.login())
    await node.quiet()
    stall()

    const bursts: Promise<number[]>[] = []
    for (let burst = 0; burst < 7; burst++) {
      bursts.push(Promise.all(Array.from({ length: 300 }, async () => failing(node, login.sid))))
      await sleep(250)
    }
    const times = (await Promise.all(bursts)).flat()
    expect(Math.max(...times)).toBeLessThan(DEADLINE_MS + SLACK_MS)
    // The silent connection is given up, and with it all that waits there.
    await until('nothing is queued', async () => queued(node) < 50)

    const refused = await node.refresh(login.refresh)
    expect(refused).toMatchObject(OUTAGE)
    expect(refused.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    expect(await node.getSession(login)).toMatchObject(OUTAGE)
    // The signature is good; sensitive routes ask.
    expect(await node.get('/jwt', login)).toMatchObject({ status: 200 })
    expect(await node.get('/sensitive', login)).toMatchObject(OUTAGE)

    server.resume()
    await proxy.restore()
    await node.recovered()
    const retry = await refreshed(node, login)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    await node.sighted()
  })
})

/** A node whose calls end soon. What it knows it goes by for as long as the test takes. */
async function openHurried(to: { readonly port: number }): Promise<Node> {
  const options = { ...HURRIED, maxStaleness: '60s' } as const
  return openNode({ client: clientOf(to), options, impatient: true })
}

/** A refresh that is made again for as long as this process or the server is too slow for the deadline. */
async function refreshed(node: Node, { refresh }: Tokens): Promise<Answer> {
  return until('it refreshes', async () => {
    const answer = await node.refresh(refresh)
    return answer.status !== 503 && answer
  })
}

/** How long a call took to fail. */
async function failing(node: Node, sid: string): Promise<number> {
  const sentAt = loopTime()
  await expect(node.latchkey.sessions.find(sid)).rejects.toMatchObject({
    code: 'store_unavailable',
  })
  return loopTime() - sentAt
}

/** What waits on the connections of a store: sent and unanswered, or not sent. */
function queued(node: Node): number {
  const waiting = node.connections.map((connection) => {
    const { commandQueue, offlineQueue } = connection as unknown as Record<
      'commandQueue' | 'offlineQueue',
      { readonly length: number }
    >
    return commandQueue.length + offlineQueue.length + connection.autoPipelineQueueSize
  })
  return waiting.reduce((sum, count) => sum + count, 0)
}

describe('a server that takes connections and says nothing', () => {
  it('is given up, also before it has said anything', async () => {
    let taken = 0
    const silent = createServer((socket) => {
      taken += 1
      socket.on('error', () => {})
      cleanUps.push(() => socket.destroy())
      // One for the commands and one for the feed: whoever took them has vanished.
      if (taken <= 2) return
      const real = connect(server.port, '127.0.0.1')
      real.on('error', () => {})
      cleanUps.push(() => real.destroy())
      socket.pipe(real).pipe(socket)
    })
    silent.listen(0, '127.0.0.1')
    cleanUps.push(() => silent.close())
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const client = kept(new Redis({ host: '127.0.0.1', port, lazyConnect: true }))
    const node = await openNode({ client, sighted: false })
    await node.sighted()
    await node.recovered()
    expect(taken).toBeGreaterThan(2)
  })
})

describe('a server that is half a second late', () => {
  it('is 503 in time, piles nothing up, and is well when it is well again', async () => {
    const node = await openHurried(proxy)
    const login = await until('logged in', async () => node.login())
    await node.quiet()
    proxy.delay(500)
    let most = 0
    for (let round = 0; round < 8; round++) {
      const answers = await Promise.all([
        node.refresh(login.refresh),
        node.getSession(login),
        ...Array.from({ length: 20 }, async () => node.get('/sensitive', login)),
      ])
      for (const answer of answers) {
        expect(answer).toMatchObject(OUTAGE)
        expect(answer.retryAfter).toBeGreaterThanOrEqual(1)
        expect(answer.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
      }
      most = Math.max(most, queued(node))
    }
    // What was asked in half a second is on the wire, and as much waits behind it.
    expect(most).toBeLessThan(22 * 5)
    expect(await node.get('/jwt', login)).toMatchObject({ status: 200 })
    proxy.delay(0)
    await node.recovered()
    const retry = await refreshed(node, login)
    expect(generationOf(retry.tokens.refresh)).toBe(1)
    expect(node.typesOf()).not.toContain('authn_token_reuse')
    await node.sighted()
  })
})

describe('a server that is far away', () => {
  it('is followed as long as its answers come within the deadline', async () => {
    // To connect takes longer than that: it is several answers.
    proxy.delay(400)
    const options = { storeDeadline: '1s' } as const
    const node = await openNode({ client: clientOf(proxy), options, sighted: false })
    await node.sighted()
    const login = await until('logged in', async () => node.login())
    expect(await refreshed(node, login)).toMatchObject({ status: 200 })
    proxy.cutAll()
    await node.recovered()
    await node.sighted()
  })
})
