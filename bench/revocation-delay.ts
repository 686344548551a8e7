// How soon a session revoked on one node is refused on another:
// npx tsx bench/revocation-delay.ts [redis | postgres | remote] (about two minutes each)
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { generateSigningKey } from '../middleware/index.ts'
import { startRedisCluster } from '../test/support/redis-cluster.ts'
import { startRedis } from '../test/support/redis-server.ts'
import type { NodeSettings, Question } from './revocation-delay-node.ts'
import { startChild } from './support/children.ts'
import type { Child } from './support/children.ts'
import { startBench } from './support/postgres.ts'
import { printNote, printTable, quantile } from './support/report.ts'

const REVOCATIONS = 1000
const BATCH = 250
/** Longer than a follower pauses after news: the next one finds it waiting. */
const IDLE_MS = 40
const OTHERS_EVERY_MS = 10
const CONFIG = { appendonly: 'yes' }

const agent = new Agent({ keepAlive: true })

interface Session {
  readonly sid: string
  readonly accessToken: string
}

const rows: string[][] = []
const commands: string[] = []

const [only = 'all'] = process.argv.slice(2)
if (only === 'all' || only === 'redis') await measureRedis()
if (only === 'all' || only === 'postgres') await measurePostgres()
if (only === 'all' || only === 'remote') await measureRemote()

async function measureRedis(): Promise<void> {
  const server = await startRedis({ config: CONFIG })
  try {
    const nodes = [{ host: '127.0.0.1', port: server.port }]
    await onTwoNodes({ nodes, cluster: false }, async (a, b) => {
      await measure('one Redis, idle', a, b, REVOCATIONS)
      await measure('one Redis, 100 others a second', a, b, REVOCATIONS / 2, OTHERS_EVERY_MS)
    })
  } finally {
    await server.cleanUp()
  }

  const cluster = await startRedisCluster({ config: CONFIG })
  try {
    await onTwoNodes({ nodes: cluster.startupNodes, cluster: true }, async (a, b) =>
      measure('Cluster of 3 + 3, idle', a, b, REVOCATIONS),
    )
  } finally {
    await cluster.cleanUp()
  }
}

async function measurePostgres(): Promise<void> {
  const bench = await startBench(2)
  try {
    const postgres = bench.server.url
    await onTwoNodes({ postgres, listen: true }, async (a, b) => {
      await measure('Postgres, idle', a, b, REVOCATIONS)
      await measure('Postgres, 100 others a second', a, b, REVOCATIONS / 2, OTHERS_EVERY_MS)
    })
    await onTwoNodes({ postgres, listen: false }, async (a, b) =>
      measure('Postgres without LISTEN, idle', a, b, REVOCATIONS / 4),
    )
  } finally {
    await bench.close()
  }
}

/** B is a service that has the public keys only, and listens to a node: to A itself, or to another. */
async function measureRemote(): Promise<void> {
  const server = await startRedis({ config: CONFIG })
  try {
    const nodes = [{ host: '127.0.0.1', port: server.port }]
    await onTwoNodes({ nodes, cluster: false }, async (a, other) => {
      for (const [name, heard] of [
        ['verifier that listens to A, idle', a],
        ['verifier that listens to another node, idle', other],
      ] as const) {
        const child = await startChild('revocation-delay-verifier.ts', String(heard.port))
        try {
          const b = { child, port: await ask<number>(child, { ask: 'port' }) }
          await measure(name, a, b, REVOCATIONS)
        } finally {
          await child.stop()
        }
      }
    })
  } finally {
    await server.cleanUp()
  }
}

printTable('A revocation on A until requireJwt on B has answered 401, in ms', [
  [
    '',
    'revocations',
    'from sending it: p50',
    'p99',
    'max',
    'from its answer: p50',
    'p99',
    'max',
    'sent after the answer, yet let pass',
  ],
  ...rows,
])
printNote(commands.join('\n'))

interface Node {
  readonly child: Child
  readonly port: number
}

async function onTwoNodes(
  servers: NodeSettings['server'],
  act: (a: Node, b: Node) => Promise<void>,
): Promise<void> {
  const settings: NodeSettings = { server: servers, signingKey: generateSigningKey() }
  const open = async (): Promise<Node> => {
    const child = await startChild('revocation-delay-node.ts', JSON.stringify(settings))
    return { child, port: await ask<number>(child, { ask: 'port' }) }
  }
  const [a, b] = await Promise.all([open(), open()])
  try {
    await act(a, b)
  } finally {
    await Promise.all([a.child.stop(), b.child.stop()])
  }
}

async function measure(name: string, a: Node, b: Node, count: number, othersMs = 0): Promise<void> {
  const fromSending: number[] = []
  const fromAnswer: number[] = []
  let passed = 0
  let sent: Record<string, number> = {}
  for (let done = 0; done < count; done += BATCH) {
    const sessions = await ask<Session[]>(a.child, { ask: 'open', count: BATCH })
    const stop = othersMs === 0 ? undefined : await revokeOthers(a, othersMs)
    await sleep(200)
    await ask<unknown>(b.child, { ask: 'commands' })
    for (const session of sessions) {
      if ((await get(b, session)) !== 200) throw new Error('B refuses a session that is alive')
      await sleep(IDLE_MS + Math.random() * IDLE_MS)
      const times = await revoke(a, b, session)
      fromSending.push(times.refusedAt - times.sentAt)
      fromAnswer.push(times.refusedAt - times.answeredAt)
      passed += times.passedAfter
    }
    sent = add(sent, await ask<Record<string, number>>(b.child, { ask: 'commands' }))
    await stop?.()
  }
  const show = (values: readonly number[]) =>
    [0.5, 0.99, 1].map((share) => quantile(values, share).toFixed(2))
  rows.push([name, String(count), ...show(fromSending), ...show(fromAnswer), String(passed)])
  const list = Object.entries(sent).map(([command, times]) => `${command} ${times}`)
  commands.push(`- ${name}, all that B sent to the store: ${list.join(', ')}`)
}

/** Revokes on A while asking B, one request after the other, until it refuses. */
async function revoke(a: Node, b: Node, session: Session) {
  const sentAt = performance.now()
  let answeredAt = Infinity
  const answer = send(a, 'POST', `/revoke/${session.sid}`).then((status) => {
    answeredAt = performance.now()
    if (status !== 200) throw new Error(`A answered ${status}`)
  })
  let passedAfter = 0
  for (;;) {
    const askedAt = performance.now()
    const status = await get(b, session)
    if (status === 401) break
    if (status !== 200) throw new Error(`B answered ${status}`)
    if (askedAt > answeredAt) passedAfter++
  }
  const refusedAt = performance.now()
  await answer
  return { sentAt, answeredAt, refusedAt, passedAfter }
}

/** Sessions that nobody asks B about end all the while. */
async function revokeOthers(a: Node, everyMs: number): Promise<() => Promise<void>> {
  const sessions = await ask<Session[]>(a.child, { ask: 'open', count: 4000 })
  const loop = async () => {
    // Taken from the list, or the list was emptied: it is over.
    for (let next = sessions.pop(); next !== undefined; next = sessions.pop()) {
      await Promise.all([send(a, 'POST', `/revoke/${next.sid}`), sleep(everyMs)])
    }
  }
  const ended = loop()
  return async () => {
    sessions.length = 0
    await ended
  }
}

async function ask<Answer>(child: Child, question: Question): Promise<Answer> {
  return child.ask(question)
}

function add(a: Record<string, number>, b: Record<string, number>): Record<string, number> {
  const sum = { ...a }
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count
  return sum
}

async function get(node: Node, { accessToken }: Session): Promise<number> {
  return send(node, 'GET', '/jwt', { authorization: `Bearer ${accessToken}` })
}

async function send(node: Node, method: string, path: string, headers = {}): Promise<number> {
  const options = { agent, host: '127.0.0.1', port: node.port, method, path, headers }
  return new Promise((resolve, reject) => {
    const req = request(options, (res) => {
      res.resume()
      res.once('end', () => resolve(res.statusCode ?? 0))
    })
    req.once('error', reject)
    req.end()
  })
}
