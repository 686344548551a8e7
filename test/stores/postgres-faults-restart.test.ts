import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { closeKits, SIGNING_KEY } from '../support/kit.ts'
import type { PostgresServer } from '../support/postgres-server.ts'
import { startPostgres } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import type { HttpClient, Node, NodeSetup } from './postgres/node.ts'
import {
  backendsOf,
  closeNodes,
  httpClient,
  migrated,
  openNode,
  terminate,
} from './postgres/node.ts'
import type { WatchedStorm } from './postgres/storm.ts'
import { stormAt } from './postgres/storm.ts'
import { generationOf, OUTAGE } from './redis/node.ts'
import { widest } from './redis/storm.ts'

const CLIENTS = 16
/** A client whose answer was lost may have to wait for long until it is answered again. */
const OPTIONS = { maxStaleness: '2s', storeDeadline: '5s', reuseGrace: '60s' } as const

let server: PostgresServer
let node: Node
let app: App

/** An app in another process. */
interface App extends HttpClient {
  readonly name: string
  /** Closes it and waits until its process has ended by itself; its exit code. */
  end(): Promise<number | null>
  kill(): void
}

beforeAll(async () => {
  server = await startPostgres()
  const schema = await migrated(server.url)
  const options = { ...OPTIONS, signingKeys: [SIGNING_KEY] }
  const setup: NodeSetup = {
    url: server.url,
    schema,
    options,
    store: { operationTimeout: '4s' },
  }
  // They live through all that follows.
  ;[node, app] = await Promise.all([openNode(setup), startApp(setup)])
})

afterAll(async () => {
  app.kill()
  await closeNodes()
  await closeKits()
  await server.cleanUp()
})

async function startApp(toldTo: NodeSetup): Promise<App> {
  const script = fileURLToPath(new URL('postgres/app.ts', import.meta.url))
  const child: ChildProcess = fork(script, { execArgv: ['--import', 'tsx'] })
  const exit = once(child, 'exit')
  child.send(toldTo)
  const [{ port, name }] = (await once(child, 'message')) as [{ port: number; name: string }]
  return {
    ...httpClient(port),
    name,
    async end() {
      child.send('close')
      const [code] = (await exit) as [number | null]
      return code
    },
    kill: () => void child.kill('SIGKILL'),
  }
}

/** Waits until as many answers were good as there are clients. */
async function refreshes(storm: WatchedStorm): Promise<void> {
  const good = () => storm.answers.filter(({ status }) => status === 200).length
  const before = good()
  await until('they are refreshed', async () => good() >= before + CLIENTS)
}

/** What every outage has to leave behind. */
async function expectUnharmed(storm: WatchedStorm): Promise<void> {
  expect(storm.clients.map(({ refused }) => refused)).toEqual(storm.clients.map(() => undefined))
  const outages = storm.answers.filter(({ status }) => status === 503)
  for (const outage of outages) {
    expect(outage).toMatchObject({ ...OUTAGE, outcome: 'retryable' })
    expect(outage.retryAfter).toBeGreaterThanOrEqual(1)
  }
  expect(widest(storm.clients)).toBe(1)
  for (const { tokens } of storm.clients) {
    expect(await node.refreshed(tokens.refresh)).toMatchObject({ status: 200 })
  }
  await node.sighted()
  expect(node.pool.waitingCount).toBe(0)
  expect(node.typesOf()).not.toContain('authn_token_reuse')
  // Nothing that was acknowledged is lost.
  expect(node.typesOf()).not.toContain('authn_token_recovered')
  const tokens = await app.login()
  expect(await app.refreshed(tokens.refresh)).toMatchObject({ status: 200 })
}

describe('a storm of rotations', () => {
  it.each([
    ['stopped in good order', async () => server.stop('fast')],
    ['killed', async () => server.kill()],
  ])('survives that the server is %s and started again', async (_what, end) => {
    const storm = await stormAt([node, app], CLIENTS)
    await refreshes(storm)
    await end()
    await until('an outage was met', async () => storm.outages > 0)
    await server.restart()
    await node.recovered()
    await refreshes(storm)
    await storm.stop()
    expect(storm.outages).toBeGreaterThan(0)
    await expectUnharmed(storm)
  })

  it('survives that its connections are ended over and over', async () => {
    const storm = await stormAt([node, app], CLIENTS)
    let ended = 0
    await until('forty connections were ended', async () => {
      ended += await terminate(server, node.name, app.name)
      return ended >= 40 && storm.outages > 0
    })
    await node.recovered()
    await refreshes(storm)
    await storm.stop()
    expect(storm.outages).toBeGreaterThan(0)
    await expectUnharmed(storm)
  })

  it('survives that one process of the server dies, and all others with it', async () => {
    const storm = await stormAt([node, app], CLIENTS)
    await refreshes(storm)
    await until('one has died', async () => {
      const [backend] = await backendsOf(server, node)
      return process.kill(backend?.pid ?? Number.NaN, 'SIGKILL')
    })
    await until('the server has noticed', async () => server.log().includes('reinitializing'))
    await node.recovered()
    await refreshes(storm)
    await storm.stop()
    expect(storm.outages).toBeGreaterThan(0)
    await expectUnharmed(storm)
  })
})

describe('connections that end while nobody uses them', () => {
  it('are nobody’s business: the next request has another', async () => {
    const tokens = await node.login()
    await node.quiet()
    await terminate(server, node.name)
    await until('the pool has noticed', async () => node.pool.totalCount === 0)
    const answer = await node.refreshed(tokens.refresh)
    expect(generationOf(answer.tokens.refresh)).toBe(1)
    await node.sighted()
  })
})

describe('the process of an app', () => {
  it('has lived through all of this, and has nothing left over that keeps it from ending', async () => {
    const tokens = await app.login()
    expect(await app.refreshed(tokens.refresh)).toMatchObject({ status: 200 })
    expect(await app.end()).toBe(0)
  })
})
