// The least an app can do: no expiry beyond the server's, no rotation, no revocation of others.
import { hash, randomBytes } from 'node:crypto'
import type { Request } from 'express'
import { Redis } from 'ioredis'
import { Pool } from 'pg'
import type { Contender, Servers } from './contender.ts'
import { bearer, flipEnd } from './contender.ts'

const COOKIE = 'hand'
const COOKIE_PATTERN = /(?:^|; )hand=([\w-]{43})(?:;|$)/

/** Nothing is asked of anybody: the ceiling. */
export async function bare(): Promise<Contender> {
  return { handlers: [], good: [], tampered: [] }
}

/** The same, on a server that spares Express the exchange of prototypes. */
export async function bareOwnPrototypes(): Promise<Contender> {
  return { ...(await bare()), ownPrototypes: true }
}

/** A Map of tokens as they are sent: the least that any guard of tokens can cost. */
export async function tokenMap(_servers: Servers, sessions: number): Promise<Contender> {
  const tokens = Array.from({ length: sessions }, () => randomBytes(450).toString('base64url'))
  const users = new Map(
    tokens.map((token, n) => [`Bearer ${token}`, { id: `user${n}`, roles: ['reader', 'writer'] }]),
  )
  return {
    handlers: [
      (req, res, next) => {
        const user = users.get(req.headers.authorization ?? '')
        if (user === undefined) {
          res.sendStatus(401)
          return
        }
        Object.assign(req, { auth: user })
        res.setHeader('Cache-Control', 'no-store')
        next()
      },
    ],
    good: tokens.map(bearer),
    tampered: tokens.slice(0, 1).map((token) => bearer(flipEnd(token))),
    revokeLast: async () => users.delete(`Bearer ${tokens.at(-1) ?? ''}`),
  }
}

/** One GET; the commands of a tick travel together. */
export async function redisGet({ redis }: Servers, sessions: number): Promise<Contender> {
  const client = new Redis(redis, { enableAutoPipelining: true })
  return asContender(
    sessions,
    async (key, user) => client.set(`hand:${key}`, JSON.stringify(user), 'EX', 86_400),
    async (key) => {
      const text = await client.get(`hand:${key}`)
      return text === null ? null : JSON.parse(text)
    },
    async (key) => client.del(`hand:${key}`),
  )
}

/** One prepared SELECT by primary key. */
export async function postgresSelect({ postgres }: Servers, sessions: number): Promise<Contender> {
  const pool = new Pool({ connectionString: postgres, max: 10 })
  await pool.query('create table if not exists hand (key text primary key, "user" json not null)')
  return asContender(
    sessions,
    async (key, user) => pool.query('insert into hand values ($1, $2)', [key, user]),
    async (key) => {
      const { rows } = await pool.query<{ user: object }>({
        name: 'hand',
        text: 'select "user" from hand where key = $1',
        values: [key],
      })
      return rows[0]?.user ?? null
    },
    async (key) => pool.query('delete from hand where key = $1', [key]),
  )
}

/** A cookie with a random id, of which the server keeps the hash. */
async function asContender(
  sessions: number,
  save: (key: string, user: object) => Promise<unknown>,
  find: (key: string) => Promise<object | null>,
  remove: (key: string) => Promise<unknown>,
): Promise<Contender> {
  const keyOf = (id: string) => hash('sha256', id, 'base64url')
  const ids = Array.from({ length: sessions }, () => randomBytes(32).toString('base64url'))
  await Promise.all(
    ids.map(async (id, n) => save(keyOf(id), { id: `user${n}`, roles: ['reader', 'writer'] })),
  )
  const credential = (id: string) => ({ cookie: `${COOKIE}=${id}` })
  const users = new WeakMap<Request, object>()
  return {
    handlers: [
      async (req, res, next) => {
        const id = COOKIE_PATTERN.exec(req.headers.cookie ?? '')?.[1]
        const user = id === undefined ? null : await find(keyOf(id))
        if (user === null) {
          res.sendStatus(401)
          return
        }
        users.set(req, user)
        next()
      },
    ],
    good: ids.map(credential),
    tampered: [credential(randomBytes(32).toString('base64url'))],
    revokeLast: async () => remove(keyOf(ids.at(-1) ?? '')),
  }
}
