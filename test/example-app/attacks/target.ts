import { randomBytes } from 'node:crypto'
import { Agent, request } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { createKeyRing } from '../../../lib/key-ring.ts'
import type { KeyRing } from '../../../lib/key-ring.ts'
import { readRefreshToken } from '../../../lib/refresh-token.ts'
import { generateSigningKey } from '../../../middleware/index.ts'
import { startExample } from '../../support/example-process.ts'
import type { ExampleEnd, ExampleProcess } from '../../support/example-process.ts'
import { query } from '../../support/postgres-commands.ts'
import { sharedPostgresUrl } from '../../support/postgres-server.ts'
import { startRedis } from '../../support/redis-server.ts'
import type { RedisServer } from '../../support/redis-server.ts'
import { dumpPostgres, dumpRedis } from './dump.ts'

export const PASSWORDS = {
  alice: 'wonderland-7',
  bob: 'builder-7',
  root: 'admin-only-7',
} as const
/** How long the store may take. */
export const STORE_DEADLINE_MS = 5000
export type Person = keyof typeof PASSWORDS
export type StoreName = 'memory' | 'redis' | 'postgres'

/** Header fields as they go over the wire, in order, duplicates and all. */
export type Fields = readonly (readonly [name: string, value: string])[]

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** `status` and the answer's code, for comparing. */
  readonly code: string
}

export interface LoggedIn {
  readonly sid: string
  readonly session: string
  readonly refresh: string
  readonly access: string
  readonly cookie: readonly [string, string]
  readonly bearer: readonly [string, string]
}

export interface Sent {
  readonly headers?: Fields
  /** JSON, unless it is text. */
  readonly body?: unknown
}

/** The example as a process, on one store, with what an attacker and a judge need. */
export class Target {
  readonly store: StoreName
  readonly secret: string = randomBytes(32).toString('base64url')
  readonly signingKey = generateSigningKey()
  readonly ring: KeyRing = createKeyRing([this.secret])
  /** Everything that must never be seen where it does not belong. */
  readonly canaries = new Set<string>([...Object.values(PASSWORDS), this.secret])
  /** Bodies of all refusals. */
  readonly refusals: string[] = []
  #example: ExampleProcess | undefined
  #aged: { readonly login: LoggedIn; readonly at: number } | undefined
  // No connection is kept: the server may close one in the instant it is used again.
  #agent = new Agent({ keepAlive: false, maxSockets: 128 })
  #redis: RedisServer | undefined
  #database = `attacks_${randomBytes(6).toString('hex')}`

  constructor(store: StoreName) {
    this.store = store
  }

  get url(): string {
    if (this.#example === undefined) throw new Error('the example does not run')
    return this.#example.url
  }

  /** A login that was refreshed when the process started. */
  get aged(): { readonly login: LoggedIn; readonly at: number } {
    if (this.#aged === undefined) throw new Error('the example did not start')
    return this.#aged
  }

  get port(): number {
    return Number(new URL(this.url).port)
  }

  get #storeUrl(): string {
    if (this.#redis !== undefined) return this.#redis.url
    const url = new URL(sharedPostgresUrl())
    url.pathname = `/${this.#database}`
    return url.href
  }

  async start(): Promise<void> {
    // The example's prefix is fixed: on a shared server it would meet others.
    if (this.store === 'redis') this.#redis = await startRedis()
    if (this.store === 'postgres') {
      await query({ url: sharedPostgresUrl() }, `create database ${this.#database}`)
    }
    const d = (this.signingKey as { d?: unknown }).d
    if (typeof d === 'string') this.canaries.add(d)
    this.#example = await startExample({
      STORE: this.store,
      // A machine that stalls is not what is tested.
      STORE_DEADLINE: `${STORE_DEADLINE_MS}ms`,
      LATCHKEY_SECRETS: this.secret,
      LATCHKEY_SIGNING_KEY: JSON.stringify(this.signingKey),
      ...(this.store === 'redis' && { REDIS_URL: this.#storeUrl }),
      ...(this.store === 'postgres' && { DATABASE_URL: this.#storeUrl }),
    })
    const login = await this.login('alice')
    await this.refresh(login.refresh)
    this.#aged = { login, at: Date.now() }
  }

  /** Ends the process; what it printed. */
  async stop(): Promise<ExampleEnd | undefined> {
    this.#agent.destroy()
    const example = this.#example
    this.#example = undefined
    return example?.stop()
  }

  async cleanUp(): Promise<void> {
    await this.stop()
    await this.#redis?.cleanUp()
    if (this.store === 'postgres') {
      const drop = `drop database if exists ${this.#database} with (force)`
      await query({ url: sharedPostgresUrl() }, drop)
    }
  }

  /** All that the store keeps, one line an entry; nothing where it is in the process. */
  async dump(): Promise<string[]> {
    if (this.store === 'redis') return dumpRedis(this.#storeUrl)
    return this.store === 'postgres' ? dumpPostgres(this.#storeUrl) : []
  }

  async send(method: string, path: string, { headers = [], body }: Sent = {}): Promise<Answer> {
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
    const has = (name: string) => headers.some(([field]) => field.toLowerCase() === name)
    const fields: (readonly [string, string])[] = [...headers]
    if (!has('host')) fields.unshift(['Host', `localhost:${this.port}`])
    if (text !== undefined) {
      fields.push(['Content-Length', String(Buffer.byteLength(text))])
      if (!has('content-type')) fields.push(['Content-Type', 'application/json'])
    } else if (method === 'POST') {
      // Else Node would send an empty body in chunks.
      fields.push(['Content-Length', '0'])
    }
    const answer = await new Promise<Answer>((resolve, reject) => {
      const options = { host: '127.0.0.1', port: this.port, method, path, agent: this.#agent }
      const req = request({ ...options, headers: fields.flat() }, (res) => {
        let received = ''
        res.setEncoding('utf8').on('data', (chunk: string) => (received += chunk))
        res.on('error', reject).on('end', () => {
          const status = res.statusCode ?? 0
          const code = `${status} ${readCode(received)}`.trim()
          resolve({ status, headers: res.headers, text: received, code })
        })
      })
      req.on('error', reject).end(text)
    })
    if (answer.status >= 400) this.refusals.push(answer.text)
    return answer
  }

  async login(person: Person, headers: Fields = []): Promise<LoggedIn> {
    const body = { username: person, password: PASSWORDS[person] }
    let answer = await this.send('POST', '/auth/login', { headers, body })
    // A store on a busy machine may be late; people try again.
    for (let tries = 0; answer.status === 503 && tries < 5; tries++) {
      answer = await this.send('POST', '/auth/login', { headers, body })
    }
    if (answer.status !== 200) throw new Error(`login: ${answer.code}`)
    return this.readTokens(answer)
  }

  async refresh(token: string, headers: Fields = []): Promise<Answer> {
    const cookie = ['Cookie', `latchkey-refresh=${token}`] as const
    return this.send('POST', '/auth/refresh', { headers: [cookie, ...headers] })
  }

  /** The credentials in an answer. */
  readTokens(answer: Answer): LoggedIn {
    const { access_token: access, session: facts } = JSON.parse(answer.text) as {
      access_token: string
      session: { id: string }
    }
    const [session = '', refresh = ''] = ['session', 'refresh'].map(
      (role) => /=(?<value>[^;]*)/.exec(cookieOf(answer, `latchkey-${role}=`))?.groups?.['value'],
    )
    for (const text of [access, session, refresh, seedOf(refresh)]) this.canaries.add(text)
    return {
      sid: facts.id,
      session,
      refresh,
      access,
      cookie: ['Cookie', `latchkey-session=${session}; latchkey-refresh=${refresh}`],
      bearer: ['Authorization', `Bearer ${access}`],
    }
  }

  /** What the guards of either kind say to these credentials. */
  async statuses({ cookie, bearer }: LoggedIn): Promise<number[]> {
    const answers = await Promise.all([
      this.send('GET', '/api/session', { headers: [cookie] }),
      this.send('GET', '/api/jwt', { headers: [bearer] }),
      this.send('GET', '/api/hybrid', { headers: [bearer] }),
    ])
    return answers.map(({ status }) => status)
  }

  /** Which generation a refresh token is of. */
  generationOf(token: string): number | undefined {
    return readRefreshToken(this.ring, token)?.generation
  }
}

export const ALIVE = [200, 200, 200]
export const DEAD = [401, 401, 401]

export function seedOf(refresh: string): string {
  return refresh.split('.')[3] ?? ''
}

function cookieOf({ headers }: Answer, start: string): string {
  return headers['set-cookie']?.find((line) => line.startsWith(start)) ?? ''
}

function readCode(text: string): string {
  try {
    const { code } = JSON.parse(text) as { code?: unknown }
    return typeof code === 'string' ? code : ''
  } catch {
    return ''
  }
}
