import type { Server } from 'node:http'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { Express, Request, Response as ExpressResponse } from 'express'
import express from 'express'
import request from 'supertest'
import type { FeedPage, Store } from '../../lib/store.ts'
import type {
  Guard,
  Latchkey,
  LatchkeyEvent,
  LatchkeyOptions,
  User,
} from '../../middleware/index.ts'
import { createLatchkey, generateSigningKey, memoryStore } from '../../middleware/index.ts'

export const ISSUER = 'https://app.example'
export const NOW = Date.UTC(2026, 5, 1)
export const SECRET = 'eN0yvJ3w8qZrT5uXk2LmHs7BdPfGaCi9RtYo4WbQx1E'
export const PASSWORD = 'correct-horse-battery-staple'
export const SIGNING_KEY = generateSigningKey()
export const SECOND = 1000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE

/** What the app's own claims are in these tests. */
export type TestClaims = Record<string, string>
export type TestUser = User<TestClaims>
export type TestOptions = Partial<LatchkeyOptions<TestClaims>>

/** A store operation by its path: `check`, `feed.read`. */
export type Operation = string
/** What happens to a store operation. `late` does the work and answers after any deadline. */
export type Fault = 'throws' | 'rejects' | 'hangs' | 'late'
/** `deaf` completes its reads and brings no news. */
export type FeedMode = 'live' | 'deaf' | 'hangs' | 'fails'

/** How long a feed read waits at most: a clock that jumps is noticed soon. */
const FEED_WAIT_MS = 10

/** A store whose calls are counted and recorded, and which fails on demand. */
export interface StoreSpy {
  readonly store: Store
  /** The store behind it, for changes that no node may hear of by its own hand. */
  readonly raw: Store
  readonly faults: Map<Operation, Fault>
  feed: FeedMode
  /** How long a `late` answer takes. */
  lateMs: number
  /** The calls since the last `reset`, without feed, audit and rate limits. */
  readonly calls: Operation[]
  /** The JSON of everything the store was handed, feed reads excepted. */
  readonly inputs: string[]
  reset(): void
}

/** All operations of the contract, as paths. */
export function operationsOf(store: Store): Operation[] {
  return Object.entries(store).flatMap(([name, member]: [string, unknown]) =>
    isCall(member)
      ? [name]
      : Object.entries(member as object)
          .filter(([, inner]: [string, unknown]) => isCall(inner))
          .map(([inner]) => `${name}.${inner}`),
  )
}

type Call = (...input: unknown[]) => Promise<unknown>

function isCall(member: unknown): member is Call {
  return typeof member === 'function'
}

export function spyOn(raw: Store): StoreSpy {
  const spy: StoreSpy = {
    store: raw,
    raw,
    faults: new Map(),
    feed: 'live',
    lateMs: 600,
    calls: [],
    inputs: [],
    reset: () => void spy.calls.splice(0),
  }

  function wrap(name: Operation, call: Call): Call {
    // Not async: a driver may throw synchronously too.
    return (...input) => {
      if (name === 'feed.read') return readFeed(call, input)
      if (!/^(?:audit|limit)\./.test(name)) spy.calls.push(name)
      spy.inputs.push(JSON.stringify([name, ...input]))
      const fault = spy.faults.get(name)
      if (fault === 'throws') throw new Error(`driver: ${name} threw`)
      if (fault === 'rejects') return Promise.reject(new Error(`driver: ${name} rejected`))
      if (fault === 'hangs') return never()
      const answer = call(...input)
      return fault === 'late' ? answer.then(async (output) => later(output, spy.lateMs)) : answer
    }
  }

  async function readFeed(call: Call, input: unknown[]): Promise<unknown> {
    if (spy.faults.has('feed.read') || spy.feed === 'fails') throw new Error('driver: feed failed')
    if (spy.feed === 'hangs') return never()
    const asked = input[0] as { waitMs: number }
    const page = (await call({
      ...asked,
      waitMs: Math.min(asked.waitMs, FEED_WAIT_MS),
    })) as FeedPage
    // It may have been turned while the read was waiting.
    const mode = spy.feed as FeedMode
    if (mode === 'hangs') return never()
    return mode === 'deaf' ? { ...page, entries: [] } : page
  }

  const wrapMembers = (prefix: string, members: object): object =>
    Object.fromEntries(
      Object.entries(members).map(([name, member]: [string, unknown]) => {
        if (isCall(member)) return [name, wrap(`${prefix}${name}`, member)]
        const isGroup = typeof member === 'object' && member !== null
        return [name, isGroup ? wrapMembers(`${name}.`, member) : member]
      }),
    )
  return Object.assign(spy, { store: wrapMembers('', raw) as Store })
}

async function never(): Promise<never> {
  return new Promise(() => {})
}

async function later<Value>(value: Value, ms: number): Promise<Value> {
  return new Promise((resolve) => setTimeout(() => resolve(value), ms).unref())
}

export async function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Waits until something is so; a test that waits in vain fails and does not keep its worker busy. */
export async function until(condition: () => boolean, most = 4000): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > most) throw new Error(`waited in vain: ${String(condition)}`)
    await pause(5)
  }
}

/** A kit with an app around it. */
export interface TestKit {
  readonly latchkey: Latchkey<TestClaims>
  readonly app: Express
  readonly server: Server
  readonly port: number
  readonly spy: StoreSpy
  readonly clock: { now: number }
  readonly events: LatchkeyEvent[]
  /** Whom `authenticate` knows, by username. */
  readonly users: Map<string, TestUser>
  /** Waits until the node sees again, after the clock was moved. */
  sighted(): Promise<void>
  /** Moves the clock and waits until the node has noticed. */
  tick(ms: number): Promise<void>
  /** Logs in over HTTP. */
  login(username?: string, options?: LoginOptions): Promise<Login>
  /** What the session is like in the store; null when it is over. Touches nothing. */
  stored(sid: string): ReturnType<Latchkey<TestClaims>['sessions']['find']>
  generationOf(sid: string): Promise<number | null>
}

export interface LoginOptions {
  readonly headers?: Record<string, string>
  readonly password?: string
}

/** What a login gave. */
export interface Login {
  readonly res: request.Response
  readonly sid: string
  readonly access: string
  readonly session: string
  readonly refresh: string
  /** A `Cookie` header with session and refresh cookie. */
  readonly cookie: string
  readonly sessionCookie: string
  readonly refreshCookie: string
  readonly bearer: string
}

export const COOKIES = {
  session: '__Host-latchkey-session',
  refresh: '__Host-latchkey-refresh',
  access: '__Host-latchkey-access',
} as const

const open = new Set<() => Promise<void>>()

/** Closes all kits and servers; for `afterEach` or `afterAll`. */
export async function closeKits(): Promise<void> {
  const closing = [...open]
  open.clear()
  await Promise.all(closing.map(async (close) => close()))
}

/** Serves an app on a free port until {@link closeKits}. */
export async function listen(app: Express): Promise<{ server: Server; port: number }> {
  const server = createServer(app)
  return { server, port: await serve(server) }
}

/** Has a server listen on a free port until {@link closeKits}. */
export async function serve(server: Server): Promise<number> {
  // Else a machine that stalls makes it close connections that the next request is already on its way to.
  server.keepAliveTimeout = 0
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  open.add(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return (server.address() as AddressInfo).port
}

export interface KitSetup {
  /** Options of the kit, over the defaults of the tests. */
  readonly options?: TestOptions
  /** Another kit's store, to play a second node. */
  readonly spy?: StoreSpy
  readonly clock?: { now: number }
  /** How the feed is when the kit starts. */
  readonly feed?: FeedMode
  /** Runs before the kit's routes are mounted. */
  readonly before?: (app: Express) => void
  /** Runs after the kit's routes were mounted. */
  readonly routes?: (app: Express, latchkey: Latchkey<TestClaims>) => void
}

/**
 * Opens a kit on a spied memory store, and an app with `/auth` and one route a guard: `/session`,
 * `/jwt`, `/hybrid`, `/sensitive`, which answer what the guard found out, whatever the method.
 */
export async function openKit(setup: KitSetup = {}): Promise<TestKit> {
  const clock = setup.clock ?? { now: NOW }
  const spy = setup.spy ?? spyOn(memoryStore({ clock: () => clock.now }))
  spy.feed = setup.feed ?? spy.feed
  const events: LatchkeyEvent[] = []
  const users = new Map<string, TestUser>([
    ['alice', { id: 'alice' }],
    ['bob', { id: 'bob' }],
    ['root', { id: 'root', roles: ['admin'] }],
  ])
  const latchkey = createLatchkey<TestClaims>({
    issuer: ISSUER,
    secrets: [SECRET],
    signingKeys: [SIGNING_KEY],
    store: spy.store,
    clock: () => clock.now,
    authenticate: ({ username, password }) =>
      password === PASSWORD && typeof username === 'string' ? (users.get(username) ?? null) : null,
    authorizeAdmin: (auth) => auth.roles.includes('admin'),
    onEvent: (event) => events.push(event),
    ...setup.options,
  })
  open.add(async () => latchkey.close())

  const app = express()
  setup.before?.(app)
  app.use('/auth', latchkey.authRoutes())
  app.all('/session', latchkey.requireSession(), echo)
  app.all('/jwt', latchkey.requireJwt(), echo)
  app.all('/hybrid', latchkey.hybridGuard({ sample: 0 }), echo)
  app.all('/sensitive', latchkey.hybridGuard({ sensitive: true }), echo)
  setup.routes?.(app, latchkey)
  const { server, port } = await listen(app)

  async function sighted(): Promise<void> {
    await until(() => latchkey.health().ok)
  }

  const kit: TestKit = {
    latchkey,
    app,
    server,
    port,
    spy,
    clock,
    events,
    users,
    sighted,
    async tick(ms) {
      clock.now += ms
      // One read that was sent before the jump may complete after it.
      await pause(2)
      await sighted()
    },
    async login(username = 'alice', { headers = {}, password = PASSWORD } = {}) {
      const res = await request(server)
        .post('/auth/login')
        .set(headers)
        .send({ username, password })
      if (res.status !== 200) throw new Error(`login: ${res.status} ${res.text}`)
      return readLogin(res)
    },
    stored: async (sid) => latchkey.sessions.find(sid),
    async generationOf(sid) {
      const found = await spy.raw.check({ sid, peek: true, idleTimeoutMs: HOUR })
      return found.outcome === 'alive' ? found.session.generation : null
    },
  }
  if (spy.feed === 'live' || spy.feed === 'deaf') await sighted()
  spy.reset()
  return kit
}

/** The credentials in an answer of login, refresh or step-up. */
export function readLogin(res: request.Response): Login {
  const jar = cookiesOf(res)
  const body = res.body as Record<string, string | undefined> & { session: { id: string } }
  const session = body['session_token'] ?? jar.get(COOKIES.session) ?? ''
  const refresh = body['refresh_token'] ?? jar.get(COOKIES.refresh) ?? ''
  const access = body['access_token'] ?? jar.get(COOKIES.access) ?? ''
  return {
    res,
    sid: body.session.id,
    access,
    session,
    refresh,
    sessionCookie: `${COOKIES.session}=${session}`,
    refreshCookie: `${COOKIES.refresh}=${refresh}`,
    cookie: `${COOKIES.session}=${session}; ${COOKIES.refresh}=${refresh}`,
    bearer: `Bearer ${access}`,
  }
}

/** The `Set-Cookie` headers of an answer. */
export function setCookies(res: request.Response): readonly string[] {
  return res.get('Set-Cookie') ?? []
}

/** The cookies an answer sets, by name. */
export function cookiesOf(res: request.Response): Map<string, string> {
  return new Map(
    setCookies(res).map((line) => {
      const [pair = ''] = line.split(';')
      const at = pair.indexOf('=')
      return [pair.slice(0, at), pair.slice(at + 1)]
    }),
  )
}

/** Answers what the guard found out. */
export function echo(req: Request, res: ExpressResponse): void {
  const { auth } = req
  res.json(
    auth === undefined
      ? { passed: true, auth: null }
      : {
          passed: true,
          kind: auth.kind,
          user: auth.userId,
          sid: auth.sessionId,
          level: auth.level,
          checked: auth.checked,
          hasSession: auth.session !== undefined,
        },
  )
}

/** An app with one route behind these guards. */
export function guarded(...guards: Guard[]): (app: Express) => void {
  return (app) => void app.all('/guarded', ...guards, echo)
}

/** A request with a method by its name. */
export function sendMethod(kit: TestKit, method: string, path: string): request.Test {
  const agent = request(kit.server)
  const send = agent[method.toLowerCase() as 'post'].bind(agent)
  return send(path)
}

/** The types of the captured events, oldest first. */
export function typesOf(kit: TestKit): string[] {
  return kit.events.map(({ type }) => type)
}

/**
 * Sends bytes and returns what comes back: for what no client library would send. The connection is
 * closed by the server (`Connection: close` is added).
 */
export async function sendRaw(
  port: number,
  requestLine: string,
  headers: readonly string[] = [],
  body = '',
): Promise<{ status: number; head: string; body: string }> {
  const lines = [`${requestLine} HTTP/1.1`, 'Host: app.example', 'Connection: close', ...headers]
  const text = await new Promise<string>((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let received = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => (received += chunk))
    socket.on('error', (error) => (received === '' ? reject(error) : resolve(received)))
    socket.on('close', () => resolve(received))
    socket.write(Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1'))
  })
  const [head = '', ...rest] = text.split('\r\n\r\n')
  return { status: Number(head.split(' ')[1]), head, body: rest.join('\r\n\r\n') }
}
