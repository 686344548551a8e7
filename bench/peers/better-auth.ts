// better-auth as its pages show it: users in memory, sessions in Redis.
import { randomUUID } from 'node:crypto'
import { betterAuth } from 'better-auth'
import { memoryAdapter } from 'better-auth/adapters/memory'
import { fromNodeHeaders } from 'better-auth/node'
import { Redis } from 'ioredis'
import type { Contender, Credential, Servers } from '../http/contender.ts'
import { flipEnd } from '../http/contender.ts'

/** Its session of a request is read from Redis. */
export async function withRedis(servers: Servers, sessions: number): Promise<Contender> {
  return prepare(servers, sessions, false)
}

/** Its session of a request is a second, signed cookie; nobody is asked. */
export async function withCookieCache(servers: Servers, sessions: number): Promise<Contender> {
  return prepare(servers, sessions, true)
}

async function prepare(
  { redis }: Servers,
  count: number,
  cookieCache: boolean,
): Promise<Contender> {
  const client = new Redis(redis)
  const prefix = `better-auth-${cookieCache}:`
  const auth = betterAuth({
    baseURL: 'http://localhost:3000',
    secret: 'a-bench-secret-of-more-than-thirty-two-bytes',
    database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
    secondaryStorage: {
      get: async (key: string) => client.get(prefix + key),
      set: async (key: string, value: string, ttl?: number) =>
        ttl === undefined
          ? client.set(prefix + key, value)
          : client.set(prefix + key, value, 'EX', ttl),
      delete: async (key: string) => client.del(prefix + key),
    },
    emailAndPassword: {
      enabled: true,
      // Logins are not what is measured.
      password: { hash: async (text: string) => text, verify: async () => true },
    },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    session: { cookieCache: { enabled: cookieCache, maxAge: 3600 } },
  })
  const good: Credential[] = []
  for (let n = 0; n < count; n++) {
    const body = { email: `user${n}@example.com`, password: randomUUID(), name: `user${n}` }
    const { headers } = await auth.api.signUpEmail({ body, returnHeaders: true })
    const cookies: string[] = headers.getSetCookie()
    good.push({ cookie: cookies.map((cookie) => cookie.split(';')[0]).join('; ') })
  }
  return {
    handlers: [
      async (req, res, next) => {
        const session: unknown = await auth.api.getSession({
          headers: fromNodeHeaders(req.headers),
        })
        if (session === null) res.sendStatus(401)
        else next()
      },
    ],
    good,
    // All cookies of it: the last alone is enough to be let in when there is a cache.
    tampered: good.slice(0, 1).map(({ cookie = '' }) => ({
      cookie: cookie.split('; ').map(flipEnd).join('; '),
    })),
  }
}
