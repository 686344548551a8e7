import express from 'express'
import type { Cluster } from 'ioredis'
import { Redis } from 'ioredis'
import type { Store } from '../../../lib/store.ts'
import type { Latchkey, LatchkeyEvent } from '../../../middleware/index.ts'
import { createLatchkey } from '../../../middleware/index.ts'
import type { RedisStoreOptions } from '../../../stores/redis.ts'
import { redisStore } from '../../../stores/redis.ts'
import type { TestClaims, TestOptions } from '../../support/kit.ts'
import { echo, ISSUER, listen, PASSWORD, SECRET, SIGNING_KEY } from '../../support/kit.ts'
import { loopTime } from '../../support/loop-time.ts'
import { until } from '../../support/redis-commands.ts'
import { newPrefix } from './open.ts'
import { patient } from './patience.ts'

/** How long a store call may take where that is tested, and what it costs to tell of it, in `loopTime`. */
export const DEADLINE_MS = 250
export const SLACK_MS = 400
export const HURRIED = { storeDeadline: `${DEADLINE_MS}ms` } as const

export interface NodeSetup {
  /** The app's own client, which the node disconnects when it is closed. */
  readonly client: Redis | Cluster
  /** Nodes with the same prefix share their sessions. @defaultValue one nobody else uses */
  readonly prefix?: string
  readonly store?: Partial<RedisStoreOptions>
  /** @defaultValue a deadline no call misses for want of a processor */
  readonly options?: TestOptions
  /** Whether to wait until it sees. @defaultValue true */
  readonly sighted?: boolean
  /** Whether the store gives up a connection that is silent for two seconds. @defaultValue false */
  readonly impatient?: boolean
}

/** An app on one node: `/auth`, `/session`, `/jwt` and `/sensitive`, over HTTP. */
export interface Node {
  readonly latchkey: Latchkey<TestClaims>
  readonly store: Store
  readonly prefix: string
  /** The connections the store made for itself. */
  readonly connections: readonly Redis[]
  readonly events: LatchkeyEvent[]
  login(user?: string): Promise<Tokens>
  refresh(token: string, headers?: Readonly<Record<string, string>>): Promise<Answer>
  get(path: '/jwt' | '/sensitive', tokens: Pick<Tokens, 'access'>): Promise<Answer>
  getSession(tokens: Pick<Tokens, 'session'>): Promise<Answer>
  post(path: string, body: object, headers?: Readonly<Record<string, string>>): Promise<Answer>
  /** Waits until the node sees the feed. */
  sighted(): Promise<void>
  /** Waits until it does not, and says why. */
  blind(): Promise<string>
  /** Waits until the store answers again. */
  recovered(): Promise<void>
  /** Waits until nothing is on its way to the store but the feed's reads. */
  quiet(): Promise<void>
  typesOf(): string[]
  readonly closed: boolean
  close(): Promise<void>
}

/** What login and refresh give. */
export interface Tokens {
  readonly sid: string
  readonly access: string
  readonly refresh: string
  readonly session: string
}

/** What came back, and when. */
export interface Answer {
  readonly status: number
  /** The `code` of a failure. */
  readonly code: string | undefined
  readonly outcome: string | undefined
  readonly retryAfter: number
  readonly cookies: readonly string[]
  /** By `loopTime`. */
  readonly tookMs: number
  /** Empty texts unless it succeeded. */
  readonly tokens: Tokens
}

const open = new Set<Node>()
const clients = new Set<Redis | Cluster>()

/** Closes what {@link openNode}, {@link clientOf} and {@link kept} opened, also for a test that failed. */
export async function closeNodes(): Promise<void> {
  const nodes = [...open]
  open.clear()
  await Promise.all(nodes.map(async (node) => node.close()))
  for (const client of clients) client.disconnect()
  clients.clear()
}

/** A client of one server that gives up on nothing and tells nobody of its errors. */
export function clientOf({ port }: { readonly port: number }): Redis {
  return kept(lastingClientOf({ port }))
}

/** Has {@link closeNodes} disconnect it. */
export function kept<Client extends Redis | Cluster>(client: Client): Client {
  clients.add(client)
  return client
}

/** The same for more than one test: whoever makes it disconnects it. */
export function lastingClientOf({ port }: { readonly port: number }): Redis {
  const client = new Redis({ host: '127.0.0.1', port })
  client.on('error', () => {})
  return client
}

/** A client whose commands pass the proxy, and whose feed does not: what is dropped is a command's. */
export function splitClient(
  commands: { readonly port: number },
  feed: { readonly port: number },
): Redis {
  const client = clientOf(feed)
  const duplicate = client.duplicate.bind(client)
  // A store asks for the connection of its commands first.
  let port = commands.port
  client.duplicate = (override) => {
    const made = duplicate({ ...override, port })
    ;({ port } = feed)
    return made
  }
  return client
}

export async function openNode(setup: NodeSetup): Promise<Node> {
  const { prefix = newPrefix(), impatient = false } = setup
  const client = impatient ? setup.client : patient(setup.client)
  const connections: Redis[] = []
  const duplicate = client.duplicate.bind(client) as (...args: unknown[]) => Redis
  client.duplicate = (...args: unknown[]): never => {
    const made = duplicate(...args)
    connections.push(made)
    return made as never
  }
  const store = redisStore({ client, prefix, ...setup.store })
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
    // A storm is to meet the store's refusals, and each request to ask it once.
    rateLimits: false,
    storeDeadline: '5s',
    ...setup.options,
  })
  const app = express()
  app.use('/auth', latchkey.authRoutes())
  app.get('/session', latchkey.requireSession(), echo)
  app.get('/jwt', latchkey.requireJwt(), echo)
  app.get('/sensitive', latchkey.hybridGuard({ sensitive: true }), echo)
  const { port } = await listen(app)

  async function send(path: string, init: RequestInit): Promise<Answer> {
    const sentAt = loopTime()
    const res = await fetch(`http://127.0.0.1:${port}${path}`, init)
    const text = await res.text()
    const body: unknown = text === '' ? {} : JSON.parse(text)
    return answerOf(res, body as Body, loopTime() - sentAt)
  }

  async function post(path: string, body: object, headers = {}): Promise<Answer> {
    return send(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
  }

  let closed = false
  const node: Node = {
    latchkey,
    store,
    prefix,
    connections,
    events,
    post,
    async login(user = 'alice') {
      const answer = await post('/auth/login', { username: user, password: PASSWORD })
      if (answer.status !== 200) throw new Error(`login: ${answer.status} ${answer.code}`)
      return answer.tokens
    },
    refresh: async (token, headers) => post('/auth/refresh', { refresh_token: token }, headers),
    get: async (path, { access }) => send(path, { headers: { authorization: `Bearer ${access}` } }),
    getSession: async ({ session }) =>
      send('/session', { headers: { authorization: `Session ${session}` } }),
    async sighted() {
      await until('the node sees', async () => latchkey.health().ok)
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
      // A tenth of a second after what it tells of, and in order: what came before the last login is
      // written when that is. Others write there too.
      await until('the trail is written', async () => {
        const last = events.findLast(({ type }) => type === 'authn_login_success')
        if (last?.sessionId === undefined) return true
        const { items } = await latchkey.audit.query({ sessionId: last.sessionId, limit: 100 })
        return items.some(({ type }) => type === last.type)
      })
      // In order: what the store is asked at start comes before.
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
      client.disconnect()
    },
  }
  open.add(node)
  if (setup.sighted !== false) await node.sighted()
  return node
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

/** What an outage looks like from outside, in time: nobody is logged out by it. */
export const OUTAGE = {
  status: 503,
  code: 'store_unavailable',
  cookies: [],
} as const

/** The generation in a refresh token. */
export function generationOf(token: string): number {
  return Number(token.split('.')[2])
}
