import { randomBytes } from 'node:crypto'
import express from 'express'
import type { PoolConfig } from 'pg'
import { Client, Pool } from 'pg'
import type { Health, Latchkey, LatchkeyEvent } from '../../../middleware/index.ts'
import { createLatchkey } from '../../../middleware/index.ts'
import type { PostgresStore, PostgresStoreOptions } from '../../../stores/postgres.ts'
import { postgresStore } from '../../../stores/postgres.ts'
import type { TestClaims, TestOptions } from '../../support/kit.ts'
import { echo, ISSUER, listen, PASSWORD, SECRET, SIGNING_KEY } from '../../support/kit.ts'
import { loopTime } from '../../support/loop-time.ts'
import { query } from '../../support/postgres-commands.ts'
import { until } from '../../support/redis-commands.ts'
import type { Answer, Tokens } from '../redis/node.ts'

/** A server that a test may break, or the address that leads to one. */
export interface Address {
  readonly port: number
}

export interface NodeSetup {
  /** Who connects, and where: a URL of the harness. */
  readonly url: string
  readonly schema: string
  /** Where the pool connects to, in the place of the URL's port. */
  readonly via?: Address
  /** Where the store's own connection, the one that follows the feed, connects to. @defaultValue `via` */
  readonly feedVia?: Address
  readonly pool?: PoolConfig
  readonly store?: Partial<PostgresStoreOptions>
  readonly options?: TestOptions
  /** Whether to wait until it sees. @defaultValue true */
  readonly sighted?: boolean
}

/** What a client does over HTTP. */
export interface HttpClient {
  /** Logs in; after an outage it tries again, as people do. */
  login(user?: string): Promise<Tokens>
  refresh(token: string, headers?: Readonly<Record<string, string>>): Promise<Answer>
  get(path: '/jwt' | '/sensitive', tokens: Pick<Tokens, 'access'>): Promise<Answer>
  getSession(tokens: Pick<Tokens, 'session'>): Promise<Answer>
  logout(tokens: Pick<Tokens, 'session'>): Promise<Answer>
  post(path: string, body: object, headers?: Readonly<Record<string, string>>): Promise<Answer>
  /** Refreshes until it is no outage, with one attempt id, as clients do. */
  refreshed(token: string): Promise<Answer>
  readonly closed: boolean
}

/** An app on one node: `/auth`, `/session`, `/jwt` and `/sensitive`, over HTTP. */
export interface Node extends HttpClient {
  readonly latchkey: Latchkey<TestClaims>
  readonly store: PostgresStore
  readonly pool: Pool
  readonly schema: string
  /** What its connections call themselves in `pg_stat_activity`. */
  readonly name: string
  readonly port: number
  readonly events: LatchkeyEvent[]
  /** How often it has asked the store for a session. */
  readonly checks: number
  /** Waits until the node sees the feed. */
  sighted(): Promise<void>
  /** Waits until it does not, and says why. */
  blind(): Promise<string>
  /** Waits until it sees by what it asked after that moment, by `performance.now`; its health then. */
  hasReadSince(at: number): Promise<Health>
  /** Waits until the store answers again. */
  recovered(): Promise<void>
  /** Waits until nothing is on its way to the store but the feed's reads. */
  quiet(): Promise<void>
  typesOf(): string[]
  close(): Promise<void>
}

const open = new Set<Node>()

/** Closes what {@link openNode} opened. */
export async function closeNodes(): Promise<void> {
  const nodes = [...open]
  open.clear()
  await Promise.all(nodes.map(async (node) => node.close()))
}

/** A schema for nodes, on a server that goes with the test. */
export async function migrated(url: string): Promise<string> {
  const schema = `test_${randomBytes(6).toString('hex')}`
  const pool = new Pool({ connectionString: url, max: 1 })
  const store = postgresStore({ pool, schema, pruneInterval: false })
  await store.migrate()
  await store.close()
  await pool.end()
  return schema
}

/**
 * A pool as an app makes it. The store's own connection has the pool's options and may have another
 * address, so that a fault meets the one and not the other.
 */
export function poolOf(setup: NodeSetup): Pool {
  const { username, password, port, pathname } = new URL(setup.url)
  const { via = { port: Number(port) }, feedVia = via } = setup
  class Routed extends Client {
    constructor(options: PoolConfig) {
      // The options of a pool are one object, of which the store's own connection has a copy.
      const route = options === pool.options ? via : feedVia
      super(Object.assign(options, { port: route.port }))
    }
  }
  const pool: Pool = new Pool({
    host: '127.0.0.1',
    user: username,
    password,
    database: pathname.slice(1),
    connectionTimeoutMillis: 2000,
    ...setup.pool,
    Client: Routed as never,
  })
  return pool
}

export async function openNode(setup: NodeSetup): Promise<Node> {
  const { schema } = setup
  const name = `node-${randomBytes(6).toString('hex')}`
  const pool = poolOf({ ...setup, pool: { application_name: name, ...setup.pool } })
  const store = postgresStore({ pool, schema, pruneInterval: false, ...setup.store })
  const check = store.check.bind(store)
  let checks = 0
  store.check = async (input) => {
    checks += 1
    return check(input)
  }
  const events: LatchkeyEvent[] = []
  const latchkey = createLatchkey<TestClaims>({
    issuer: ISSUER,
    secrets: [SECRET],
    signingKeys: [SIGNING_KEY],
    store,
    delivery: 'body',
    authenticate: ({ username, password }) =>
      password === PASSWORD && typeof username === 'string' ? { id: username } : null,
    onEvent: (event) => events.push(event),
    // Counting is done beside what is asked for, on the connections that the faults are meant for.
    rateLimits: false,
    ...setup.options,
  })
  const app = express()
  app.use('/auth', latchkey.authRoutes())
  app.get('/session', latchkey.requireSession(), echo)
  app.get('/jwt', latchkey.requireJwt(), echo)
  app.get('/sensitive', latchkey.hybridGuard({ sensitive: true }), echo)
  const { port } = await listen(app)

  let closed = false
  const node: Node = {
    ...httpClient(port, () => closed),
    latchkey,
    store,
    pool,
    schema,
    name,
    port,
    events,
    get checks() {
      return checks
    },
    async sighted() {
      await until('the node sees', async () => latchkey.health().ok)
    },
    async hasReadSince(at) {
      return until('the node has read the feed', async () => {
        const health = latchkey.health()
        const isNew = (health.feed.staleness_ms ?? Infinity) < performance.now() - at
        return health.ok && isNew && health
      })
    },
    blind: async () =>
      until('the node is blind', async () => latchkey.health().feed.blind ?? false),
    async recovered() {
      await until('the store answers', async () => {
        await latchkey.sessions.find('A'.repeat(24))
        return true
      })
    },
    async quiet() {
      // In order: what came before the last login is written when that is. Others write there too.
      await until('the trail is written', async () => {
        const last = events.findLast(({ type }) => type === 'authn_login_success')
        if (last?.sessionId === undefined) return true
        const { items } = await latchkey.audit.query({ sessionId: last.sessionId, limit: 100 })
        return items.some(({ type }) => type === last.type)
      })
      // In order, too: what the store is asked at start are several statements.
      await latchkey.doctor()
    },
    typesOf: () => events.map(({ type }) => type),
    get closed() {
      return closed
    },
    async close() {
      closed = true
      open.delete(node)
      await latchkey.close()
      await store.close()
      await pool.end()
    },
  }
  open.add(node)
  if (setup.sighted !== false) await node.sighted()
  return node
}

/** Nodes of one app. */
export async function openNodes<Count extends number>(
  count: Count,
  setup: NodeSetup,
): Promise<Count extends 2 ? [Node, Node] : Node[]> {
  const nodes = await Promise.all(Array.from({ length: count }, async () => openNode(setup)))
  return nodes as Count extends 2 ? [Node, Node] : Node[]
}

/** Speaks to a node's app, wherever that runs. */
export function httpClient(port: number, isClosed: () => boolean = () => false): HttpClient {
  async function send(path: string, init: RequestInit): Promise<Answer> {
    const sentAt = loopTime()
    const res = await fetch(`http://127.0.0.1:${port}${path}`, init)
    const text = await res.text()
    const body: unknown = text === '' ? {} : JSON.parse(text)
    return answerOf(res, body as Body, loopTime() - sentAt)
  }

  const http: HttpClient = {
    post: async (path, body, headers = {}) =>
      send(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      }),
    login: async (user = 'alice') =>
      until('logged in', async () => {
        const credentials = { username: user, password: PASSWORD }
        const { status, code, tokens } = await http.post('/auth/login', credentials)
        if (status !== 200 && status !== 503) throw new Error(`login: ${status} ${code}`)
        return status === 200 && tokens
      }),
    refresh: async (token, headers) =>
      http.post('/auth/refresh', { refresh_token: token }, headers),
    async refreshed(token) {
      const headers = { 'idempotency-key': randomBytes(12).toString('hex') }
      return until('refreshed', async () => {
        const answer = await http.refresh(token, headers)
        return answer.status !== 503 && answer
      })
    },
    get: async (path, { access }) => send(path, { headers: { authorization: `Bearer ${access}` } }),
    getSession: async ({ session }) =>
      send('/session', { headers: { authorization: `Session ${session}` } }),
    logout: async ({ session }) =>
      http.post('/auth/logout', {}, { authorization: `Session ${session}` }),
    get closed() {
      return isClosed()
    },
  }
  return http
}

interface Body {
  readonly code?: string
  readonly outcome?: string
  readonly access_token?: string
  readonly refresh_token?: string
  readonly session_token?: string
  readonly session?: { readonly id: string }
}

function answerOf(res: Response, body: Body, tookMs: number): Answer {
  return {
    status: res.status,
    code: body.code,
    outcome: body.outcome,
    retryAfter: Number(res.headers.get('retry-after') ?? 'NaN'),
    cookies: res.headers.getSetCookie(),
    tookMs,
    tokens: {
      sid: body.session?.id ?? '',
      access: body.access_token ?? '',
      refresh: body.refresh_token ?? '',
      session: body.session_token ?? '',
    },
  }
}

/** A connection of a node, as the server has it. */
export interface Backend {
  readonly pid: number
  readonly state: string
  readonly wait_event_type: string | null
  readonly query: string
}

/** What the server knows of the connections of these nodes. */
export async function backendsOf(
  server: { readonly url: string },
  ...nodes: readonly Pick<Node, 'name'>[]
): Promise<Backend[]> {
  return query<Backend & Record<string, unknown>>(
    server,
    `select pid, state, wait_event_type, query from pg_stat_activity
     where application_name = any($1) and backend_type = 'client backend'`,
    [nodes.map(({ name }) => name)],
  )
}

/** Ends connections from the server's side; says how many. */
export async function terminate(
  server: { readonly url: string },
  ...names: readonly string[]
): Promise<number> {
  const rows = await query(
    server,
    `select pg_terminate_backend(pid) from pg_stat_activity
     where application_name = any($1) and backend_type = 'client backend'`,
    [names],
  )
  return rows.length
}
