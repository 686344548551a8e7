// What a session costs in Redis: npx tsx bench/redis-memory.ts (about a minute)
import express from 'express'
import { Redis } from 'ioredis'
import type { User } from '../middleware/index.ts'
import { createLatchkey, generateSigningKey } from '../middleware/index.ts'
import { startRedis } from '../test/support/redis-server.ts'
import { listen } from './support/listen.ts'
import { printNote, printTable } from './support/report.ts'
import {
  openStore,
  CHROME,
  forEachOf,
  IDLE_TIMEOUT_MS,
  newAttempt,
  newSession,
  POLICY,
} from './support/sessions.ts'

const SESSIONS = 300
const MANY = 100_000
const AUDIT_EVENTS = 100_000
const MINUTE = 60_000

const server = await startRedis({
  config: { appendonly: 'yes', 'auto-aof-rewrite-percentage': '0' },
})
const redis = new Redis(server.url)
try {
  await measureKeys()
  await measureServer()
} finally {
  redis.disconnect()
  await server.cleanUp()
}

/** MEMORY USAGE of every key that logins over HTTP leave. */
async function measureKeys(): Promise<void> {
  const rows: (string | number)[][] = []
  for (const [ids, idOf] of [
    ["'alice'", (n: number) => n.toString(36).padStart(5, 'a')],
    ['a UUID', (n: number) => `3b241101-e2bb-4255-8caf-${String(n).padStart(12, '0')}`],
  ] as const) {
    for (const each of [1, 3]) {
      const label = `user ids like ${ids}, ${each} a user`
      rows.push(...(await useApp(idOf, each)).map(([stage, costs]) => row(label, stage, costs)))
    }
  }
  printTable(`MEMORY USAGE in bytes a session (${SESSIONS} logins over HTTP)`, [
    ['', 'session key', 'user index', 'other keys', 'sum', 'audit trail'],
    ...rows,
  ])
  printNote('The audit trail is one capped stream: what it holds at its cap is below.')
}

interface Costs {
  readonly session: number
  readonly index: number
  readonly audit: number
  readonly other: number
}

function row(label: string, stage: string, { session, index, audit, other }: Costs) {
  const own = [session, index, other, session + index + other]
  return [`${label}: ${stage}`, ...[...own, audit].map((bytes) => Math.round(bytes / SESSIONS))]
}

/** Logs in, rotates each session and touches it, by way of an app that is like the example. */
async function useApp(
  idOf: (n: number) => string,
  each: number,
): Promise<[stage: string, costs: Costs][]> {
  await redis.flushall()
  let aheadMs = 0
  const clock = () => Date.now() + aheadMs
  const store = await openStore(redis, { clock })
  const userOf = (id: unknown): User => ({
    id: String(id),
    roles: [],
    level: 'password',
    amr: ['pwd'],
  })
  const latchkey = createLatchkey({
    issuer: 'https://app.example',
    secrets: ['a-bench-secret-of-more-than-thirty-two-bytes'],
    signingKeys: [generateSigningKey()],
    store,
    clock,
    delivery: 'body',
    authenticate: ({ username }) => userOf(username),
    loadUser: ({ id }) => userOf(id),
  })
  const app = express()
  app.use('/auth', latchkey.authRoutes())
  app.get('/session', latchkey.requireSession(), (_req, res) => void res.json({}))
  const { server: http, port } = await listen(app)
  const send = async (path: string, token: string | null, body: object | null): Promise<Tokens> => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: body === null ? 'GET' : 'POST',
      headers: {
        'user-agent': CHROME,
        'content-type': 'application/json',
        ...(token !== null && { authorization: `Session ${token}` }),
      },
      ...(body !== null && { body: JSON.stringify(body) }),
    })
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    const tokens: Tokens = JSON.parse(await answer.text())
    return tokens
  }
  try {
    await latchkey.ready()
    const users = Array.from({ length: SESSIONS }, (_, n) => idOf(Math.floor(n / each)))
    const logins: Tokens[] = []
    await forEachOf(users, 8, async (username) => {
      logins.push(await send('/auth/login', null, { username }))
    })
    const stages: [string, Costs][] = [['login', await weigh()]]
    await forEachOf(logins, 8, async ({ refresh_token }) => {
      await send('/auth/refresh', null, { refresh_token })
    })
    stages.push(['+ rotation', await weigh()])
    aheadMs = 2 * MINUTE
    await forEachOf(logins, 8, async ({ session_token }) => send('/session', session_token, null))
    stages.push(['+ touch', await weigh()])
    return stages
  } finally {
    http.closeAllConnections()
    http.close()
    await latchkey.close()
    await store.close()
  }
}

interface Tokens {
  readonly session_token: string
  readonly refresh_token: string
}

/** Sums up all keys there are, by kind. */
async function weigh(): Promise<Costs> {
  // The audit trail is written in batches.
  await new Promise((resolve) => setTimeout(resolve, 300))
  const costs = { session: 0, index: 0, audit: 0, other: 0 }
  for (const key of await redis.keys('*')) {
    costs[kindOf(key)] += Number(await redis.memory('USAGE', key, 'SAMPLES', 0))
  }
  return costs
}

function kindOf(key: string): keyof Costs {
  if (key === 'latchkey:{audit}') return 'audit'
  if (/^latchkey:\{[\w-]{2}\}u[\w-]{22}$/.test(key)) return 'index'
  return /^latchkey:\{[\w-]{2}\}[\w-]{22}$/.test(key) ? 'session' : 'other'
}

/** What the server's memory grows by: with the tables of keys and deadlines, and what is wasted. */
async function measureServer(): Promise<void> {
  const rows: (string | number)[][] = []
  for (const each of [1, 3]) {
    await redis.flushall()
    let aheadMs = 0
    const store = await openStore(redis, { clock: () => Date.now() + aheadMs })
    try {
      const empty = await usedMemory()
      const inputs = Array.from({ length: MANY }, (_, n) =>
        newSession(
          Math.floor(n / each)
            .toString(36)
            .padStart(5, 'a'),
        ),
      )
      await forEachOf(inputs, 64, async (input) => store.create(input))
      const opened = await usedMemory()
      await forEachOf(inputs, 64, async ({ session: { sid, seedHash } }) =>
        store.rotate({
          sid,
          seedHash,
          generation: 0,
          attemptHash: newAttempt(),
          bindingHash: null,
          policy: POLICY,
          idleTimeoutMs: IDLE_TIMEOUT_MS,
          onReuse: 'session',
        }),
      )
      const rotated = await usedMemory()
      aheadMs = 2 * MINUTE
      await forEachOf(inputs, 64, async ({ session: { sid } }) =>
        store.check({ sid, idleTimeoutMs: IDLE_TIMEOUT_MS }),
      )
      const touched = await usedMemory()
      const costs = [opened, rotated, touched].map((bytes) => Math.round((bytes - empty) / MANY))
      rows.push([`${each} a user`, ...costs])
    } finally {
      await store.close()
    }
  }
  printTable(`used_memory in bytes a session (${MANY} sessions)`, [
    ['', 'login', '+ rotation', '+ touch'],
    ...rows,
  ])
  await measureAudit()
}

async function measureAudit(): Promise<void> {
  await redis.flushall()
  const store = await openStore(redis)
  try {
    const empty = await usedMemory()
    const user = { tenant: '', id: 'alice' }
    const { sid: sessionId } = newSession('alice').session
    const event = { user, sessionId, at: Date.now(), result: 'success', ip: '127.0.0.1' } as const
    const batch = Array.from({ length: 100 }, () => ({
      ...event,
      type: 'session_created',
      userAgent: CHROME,
    }))
    const batches = Array.from({ length: (2 * AUDIT_EVENTS) / batch.length }, () => batch)
    await forEachOf(batches, 8, async (events) => store.audit.append(events))
    const bytes = (await usedMemory()) - empty
    const kept = await redis.xlen('latchkey:{audit}')
    printNote(
      `The audit trail after ${2 * AUDIT_EVENTS} events: ${kept} kept, ` +
        `${(bytes / 2 ** 20).toFixed(1)} MiB of used_memory, ${Math.round(bytes / kept)} bytes each.`,
    )
  } finally {
    await store.close()
  }
}

async function usedMemory(): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1])
}
