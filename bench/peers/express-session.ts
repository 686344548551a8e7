// express-session with its stores as their own pages show them, and no sessions for strangers.
import pgSession from 'connect-pg-simple'
import { RedisStore } from 'connect-redis'
import type { Request, RequestHandler } from 'express'
import express from 'express'
import session from 'express-session'
import { Pool } from 'pg'
import { createClient } from 'redis'
import type { Contender, Credential, Servers } from '../http/contender.ts'
import { flipEnd } from '../http/contender.ts'
import { listen } from '../support/listen.ts'

interface Stored {
  userId?: string
  roles?: string[]
}

/** What express-session has put there. */
function sessionOf({ session: stored }: Request & { session?: Stored }): Stored {
  if (stored === undefined) throw new Error('express-session has not run')
  return stored
}

/** Its own store, which it says is not for production. */
export async function withMemory(_servers: Servers, sessions: number): Promise<Contender> {
  return withStore(new session.MemoryStore(), sessions)
}

/** connect-redis, which has come to want the client of `redis`. */
export async function withRedis({ redis }: Servers, sessions: number): Promise<Contender> {
  const client = createClient({ url: redis })
  await client.connect()
  return withStore(new RedisStore({ client, prefix: 'express-session:' }), sessions)
}

/** connect-pg-simple. */
export async function withPostgres({ postgres }: Servers, sessions: number): Promise<Contender> {
  const PostgresStore = pgSession(session)
  const pool = new Pool({ connectionString: postgres, max: 10 })
  return withStore(new PostgresStore({ pool, createTableIfMissing: true }), sessions)
}

async function withStore(store: object, count: number): Promise<Contender> {
  const middleware: RequestHandler = session({
    store,
    secret: 'a-bench-secret-of-more-than-thirty-two-bytes',
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 86_400_000 },
  })
  const requireUser: RequestHandler = (req, res, next) => {
    const { userId } = sessionOf(req)
    if (userId === undefined) res.sendStatus(401)
    else next()
  }
  const good = await logIn(middleware, count)
  return {
    handlers: [middleware, requireUser],
    good,
    tampered: good.slice(0, 1).map(({ cookie = '' }) => ({ cookie: flipEnd(cookie) })),
  }
}

/** Logs in as an app would; gives the cookies. */
async function logIn(middleware: RequestHandler, count: number): Promise<Credential[]> {
  const app = express()
  let logins = 0
  app.post('/login', middleware, (req, res) => {
    const current = sessionOf(req)
    current.userId = `user${logins++}`
    current.roles = ['reader', 'writer']
    res.sendStatus(204)
  })
  const { server, port } = await listen(app)
  const cookies: Credential[] = []
  for (let n = 0; n < count; n++) {
    const { headers } = await fetch(`http://127.0.0.1:${port}/login`, { method: 'POST' })
    const [cookie = ''] = (headers.get('set-cookie') ?? '').split(';')
    cookies.push({ cookie })
  }
  server.closeAllConnections()
  server.close()
  return cookies
}
