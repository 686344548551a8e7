// How soon a session revoked on one node is refused on another, and by a verifier that listens to the
// other: app processes, and a client that revokes on A and asks B until it answers 401.
import { rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { generateSigningKey } from '../middleware/index.ts'
import { startRedisCluster } from '../test/support/redis-cluster.ts'
import { startRedis } from '../test/support/redis-server.ts'
import { load } from './http/load.ts'
import type { NodeSettings, Question } from './delay-node.ts'
import type { Child } from './support/children.ts'
import { startPinnedChild } from './support/children.ts'
import { ALL_CORES } from './support/pin.ts'
import { startBench } from './support/postgres.ts'
import { formatTable, quantile } from './support/report.ts'

const CONFIG = { appendonly: 'yes' }
/** One at a time: longer than a follower pauses after news, so that the next one finds it waiting. */
const PAUSE_MS = [50, 150] as const
/** 167 a second. */
const STEADY_MS = 6
/** Between two questions whether B refuses; where many ask at once, it is longer. */
const QUESTION_MS = 1
const STEADY_QUESTION_MS = 10
/** Revocations that are not counted: what runs for the first time is slow for other reasons. */
const WARM_UP = 20
const LOAD_SECONDS = 2
const CONNECTIONS = 32

const agent = new Agent({ keepAlive: true })

type Spread = readonly [p50: number, p99: number, max: number]

/** One way to revoke, on one kind of server. Milliseconds. */
export interface DelayRow {
  readonly server: string
  readonly mode: string
  readonly revocations: number
  /** From A's call of the store until B has heard; null where B has no store. */
  readonly heard: Spread | null
  /** From the request to A until B refuses. */
  readonly fromSending: Spread
  /** From A's answer until B refuses. */
  readonly fromAnswer: Spread
  /** Requests sent to B after A had answered, that B still let pass. */
  readonly passed: number
}

interface Session {
  readonly sid: string
  readonly accessToken: string
}

interface Node {
  readonly child: Child
  readonly port: number
}

interface Times {
  readonly sid: string
  /** When A called its store, on the clock of the nodes. */
  readonly calledAt: number
  readonly fromSending: number
  readonly fromAnswer: number
  readonly passed: number
}

/** @param count - revocations in each mode; a quarter of it under load */
export async function measureDelay(count: number): Promise<DelayRow[]> {
  const rows: DelayRow[] = []
  const redis = await startRedis({ config: CONFIG })
  try {
    const nodes = [{ host: '127.0.0.1', port: redis.port }]
    rows.push(...(await onTwoNodes('Redis', { nodes, cluster: false }, count)))
  } finally {
    await redis.cleanUp()
  }
  const cluster = await startRedisCluster({ config: CONFIG })
  try {
    const server = { nodes: cluster.startupNodes, cluster: true }
    rows.push(...(await onTwoNodes('Redis Cluster of 3 + 3', server, count)))
  } finally {
    await cluster.cleanUp()
  }
  const bench = await startBench(2)
  try {
    rows.push(...(await onTwoNodes('Postgres', { postgres: bench.server.url }, count)))
  } finally {
    await bench.close()
  }
  return rows
}

async function onTwoNodes(
  name: string,
  server: NodeSettings['server'],
  count: number,
): Promise<DelayRow[]> {
  const settings: NodeSettings = { server, signingKey: generateSigningKey() }
  const open = async (): Promise<Node> => {
    const file = 'delay-node.ts'
    const child = await startPinnedChild(ALL_CORES, file, JSON.stringify(settings))
    return { child, port: await ask<number>(child, { ask: 'port' }) }
  }
  const [a, b] = await Promise.all([open(), open()])
  try {
    const alone = await oneByOne(a, b, count)
    const steady = await manyASecond(a, b, count)
    const remote = await onVerifier(a, b, Math.ceil(count / 4))
    const saturated = await underLoad(a, b, Math.ceil(count / 4))
    const heard = new Map(await ask<[string, number][]>(b.child, { ask: 'heard' }))
    return [
      rowOf(name, 'one at a time, nodes idle', alone, heard),
      rowOf(name, '167 a second', steady, heard),
      rowOf(name, 'one at a time, a verifier that listens to the other node', remote, null),
      rowOf(name, 'one at a time, nodes saturated with requests', saturated, heard),
    ]
  } finally {
    await Promise.all([a.child.stop(), b.child.stop()])
    agent.destroy()
  }
}

async function oneByOne(a: Node, b: Node, count: number): Promise<Times[]> {
  const times: Times[] = []
  for (const session of await openSessions(a, b, WARM_UP + count)) {
    const [least, most] = PAUSE_MS
    await sleep(least + Math.random() * (most - least))
    times.push(await revoke(a, b, session, QUESTION_MS))
  }
  return times.slice(WARM_UP)
}

/** Asks a service that has the public keys only, and hears of revocations from B. */
async function onVerifier(a: Node, b: Node, count: number): Promise<Times[]> {
  const child = await startPinnedChild(ALL_CORES, 'delay-verifier.ts', String(b.port))
  try {
    return await oneByOne(a, { child, port: await ask<number>(child, { ask: 'port' }) }, count)
  } finally {
    await child.stop()
  }
}

async function manyASecond(a: Node, b: Node, count: number): Promise<Times[]> {
  const sessions = await openSessions(a, b, count)
  const startedAt = performance.now()
  return Promise.all(
    sessions.map(async (session, n) => {
      await sleep(Math.max(0, startedAt + n * STEADY_MS - performance.now()))
      return revoke(a, b, session, STEADY_QUESTION_MS)
    }),
  )
}

async function underLoad(a: Node, b: Node, count: number): Promise<Times[]> {
  const sessions = await openSessions(a, b, count)
  const others = await ask<Session[]>(a.child, { ask: 'open', count: 1 })
  const file = join(tmpdir(), `latchkey-bench-delay-${process.pid}`)
  const lines = others.map(({ accessToken }) => `authorization: Bearer ${accessToken}\n`)
  writeFileSync(file, lines.join(''), { mode: 0o600 })
  const over = new AbortController()
  const saturate = async ({ port }: Node) => {
    while (!over.signal.aborted) {
      const options = { connections: CONNECTIONS, seconds: LOAD_SECONDS, path: '/jwt' }
      const { failed, requests } = await load(port, file, options)
      // Some time out on a machine that does other things as well.
      if (failed > requests / 100) throw new Error(`${failed} requests of the load have failed`)
    }
  }
  const loads = Promise.all([saturate(a), saturate(b)])
  try {
    // Until both are busy.
    await sleep(500)
    const times: Times[] = []
    for (const session of sessions) {
      const [least, most] = PAUSE_MS
      await sleep(least + Math.random() * (most - least))
      times.push(await revoke(a, b, session, QUESTION_MS))
    }
    return times
  } finally {
    over.abort()
    await loads
    rmSync(file, { force: true })
  }
}

/** Sessions that B has let pass. */
async function openSessions(a: Node, b: Node, count: number): Promise<Session[]> {
  const sessions = await ask<Session[]>(a.child, { ask: 'open', count })
  for (const session of sessions) {
    if ((await get(b, session)) !== 200) throw new Error('B refuses a session that is alive')
  }
  await sleep(200)
  return sessions
}

/**
 * Revokes on A while asking B, one request after the other, until it refuses.
 *
 * @param pauseMs - between two questions, which are not to be a load themselves
 */
async function revoke(a: Node, b: Node, session: Session, pauseMs: number): Promise<Times> {
  const sentAt = performance.now()
  let answeredAt = Infinity
  const answer = send(a, 'POST', `/revoke/${session.sid}`).then(({ status, text }) => {
    answeredAt = performance.now()
    if (status !== 200) throw new Error(`A answered ${status}`)
    const { sentAt: calledAt }: { sentAt: number } = JSON.parse(text)
    return calledAt
  })
  let passed = 0
  for (;;) {
    const askedAt = performance.now()
    const status = await get(b, session)
    if (status === 401) break
    if (status !== 200) throw new Error(`B answered ${status}`)
    if (askedAt > answeredAt) passed++
    await sleep(pauseMs)
  }
  const refusedAt = performance.now()
  const calledAt = await answer
  const { sid } = session
  return {
    sid,
    calledAt,
    fromSending: refusedAt - sentAt,
    fromAnswer: refusedAt - answeredAt,
    passed,
  }
}

function rowOf(
  server: string,
  mode: string,
  times: readonly Times[],
  heard: ReadonlyMap<string, number> | null,
): DelayRow {
  return {
    server,
    mode,
    revocations: times.length,
    heard:
      heard === null
        ? null
        : spreadOf(times.map(({ sid, calledAt }) => (heard.get(sid) ?? Infinity) - calledAt)),
    fromSending: spreadOf(times.map((one) => one.fromSending)),
    fromAnswer: spreadOf(times.map((one) => one.fromAnswer)),
    passed: times.reduce((sum, { passed }) => sum + passed, 0),
  }
}

function spreadOf(values: readonly number[]): Spread {
  return [quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)]
}

/** The rows as a table. */
export function formatDelay(rows: readonly DelayRow[]): string {
  const head = ['heard', 'refused, from sending it', 'refused, from its answer'].flatMap((what) => [
    `${what}: p50`,
    'p99',
    'max',
  ])
  const table: (string | number)[][] = []
  for (const { server, mode, revocations, heard, fromSending, fromAnswer, passed } of rows) {
    const all = [...(heard ?? ['', '', '']), ...fromSending, ...fromAnswer]
    const times = all.map((ms) => (typeof ms === 'number' ? ms.toFixed(2) : ms))
    table.push([`${server}: ${mode}`, revocations, ...times, passed])
  }
  return formatTable([['ms', 'revocations', ...head, 'sent after, yet let pass'], ...table])
}

async function ask<Answer>(child: Child, question: Question): Promise<Answer> {
  return child.ask(question)
}

async function get(node: Node, { accessToken }: Session): Promise<number> {
  const headers = { authorization: `Bearer ${accessToken}` }
  return (await send(node, 'GET', '/jwt', headers)).status
}

async function send(
  node: Node,
  method: string,
  path: string,
  headers = {},
): Promise<{ status: number; text: string }> {
  const options = { agent, host: '127.0.0.1', port: node.port, method, path, headers }
  return new Promise((resolve, reject) => {
    const req = request(options, (res) => {
      const chunks: string[] = []
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => chunks.push(chunk))
      res.once('end', () => resolve({ status: res.statusCode ?? 0, text: chunks.join('') }))
    })
    req.once('error', reject)
    req.end()
  })
}
