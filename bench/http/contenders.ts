import type { Contender, Prepare, Servers } from './contender.ts'
import { bare, bareOwnPrototypes, postgresSelect, redisGet, tokenMap } from './hand-written.ts'
import { latchkey } from './latchkey.ts'

/** One row of the table. */
interface Entry {
  readonly label: string
  /** What the row is bound by, in a few words. */
  readonly boundBy: string
  /** Left out of a quick run: another row says nearly the same. */
  readonly isExtra?: true
  /** Loaded when it is wanted: the peers have packages of their own. */
  readonly load: () => Promise<Prepare>
}

const CONTENDERS = {
  bare: {
    label: 'bare Express 5 (ceiling)',
    boundBy: 'Express and node:http',
    load: async () => bare,
  },
  'hand-map': {
    label: 'by hand: a Map of tokens',
    boundBy: 'the header, and what is put on request and response',
    isExtra: true,
    load: async () => tokenMap,
  },
  'hand-redis': {
    label: 'by hand: ioredis GET, auto-pipelined',
    boundBy: 'one round trip, shared by the requests of a tick',
    load: async () => redisGet,
  },
  'hand-postgres': {
    label: 'by hand: pg prepared SELECT, pool of 10',
    boundBy: '`pg`: about 15 µs a query even when the server is idle',
    load: async () => postgresSelect,
  },
  'express-session-memory': {
    label: 'express-session, MemoryStore',
    boundBy: 'its own work a request: HMAC, JSON, change hash, `Cookie` object',
    isExtra: true,
    load: async () => (await import('../peers/express-session.ts')).withMemory,
  },
  'express-session-redis': {
    label: 'express-session, connect-redis',
    boundBy: 'the same, a GET, and an EXPIRE on every request',
    load: async () => (await import('../peers/express-session.ts')).withRedis,
  },
  'express-session-postgres': {
    label: 'express-session, connect-pg-simple',
    boundBy: 'the same, a SELECT, and an UPDATE with its flush on every request',
    isExtra: true,
    load: async () => (await import('../peers/express-session.ts')).withPostgres,
  },
  'express-jwt': {
    label: 'express-jwt, RS256, KeyObject',
    boundBy: 'an RSA verification a request',
    load: async () => (await import('../peers/jwt.ts')).expressJwt,
  },
  'oauth2-jwt-bearer': {
    label: 'express-oauth2-jwt-bearer, RS256',
    boundBy: 'an RSA verification a request, in WebCrypto’s thread pool, and its validators',
    isExtra: true,
    load: async () => (await import('../peers/jwt.ts')).oauth2JwtBearer,
  },
  'passport-jwt': {
    label: 'passport-jwt, RS256, KeyObject',
    boundBy: 'an RSA verification a request, and what passport adds to each',
    isExtra: true,
    load: async () => (await import('../peers/jwt.ts')).passportJwt,
  },
  'better-auth': {
    label: 'better-auth, Redis secondary storage',
    boundBy: 'its endpoint machinery, and WebCrypto for each signed cookie',
    load: async () => (await import('../peers/better-auth.ts')).withRedis,
  },
  'better-auth-cache': {
    label: 'better-auth, the same with its cookie cache',
    boundBy: 'the same, and a second HMAC; no round trip',
    isExtra: true,
    load: async () => (await import('../peers/better-auth.ts')).withCookieCache,
  },
  'latchkey-jwt': {
    label: '**latchkey** `requireJwt()`',
    boundBy: 'a lookup by five characters of the signature; the feed in memory',
    load: async () => latchkey('jwt'),
  },
  'latchkey-hybrid': {
    label: '**latchkey** `hybridGuard()`, Redis',
    boundBy: 'the same; one check a minute and session',
    isExtra: true,
    load: async () => latchkey('hybrid'),
  },
  'latchkey-sensitive': {
    label: '**latchkey** `hybridGuard({ sensitive: true })`, Redis',
    boundBy: 'the same, and one MGET a request',
    load: async () => latchkey('sensitive'),
  },
  'latchkey-memory': {
    label: '**latchkey** `requireSession()`, memory',
    boundBy: 'the SHA-256 of the token',
    isExtra: true,
    load: async () => latchkey('memory'),
  },
  'latchkey-redis': {
    label: '**latchkey** `requireSession()`, Redis',
    boundBy: 'the SHA-256 of the token, and one GET a request',
    load: async () => latchkey('redis'),
  },
  'latchkey-redis-near': {
    label: '**latchkey** `requireSession()`, Redis, near cache',
    boundBy: 'the SHA-256 of the token; one check a minute and session',
    load: async () => latchkey('redis-near'),
  },
  'latchkey-postgres': {
    label: '**latchkey** `requireSession()`, Postgres',
    boundBy: 'the SHA-256 of the token, and one statement a request',
    load: async () => latchkey('postgres'),
  },
  'latchkey-postgres-near': {
    label: '**latchkey** `requireSession()`, Postgres, near cache',
    boundBy: 'the SHA-256 of the token; one check a minute and session',
    isExtra: true,
    load: async () => latchkey('postgres-near'),
  },
  'bare-own-prototypes': {
    label: 'bare Express 5, prototypes set by the server',
    boundBy: 'Express without `Object.setPrototypeOf`',
    isExtra: true,
    load: async () => bareOwnPrototypes,
  },
  'latchkey-jwt-own-prototypes': {
    label: '**latchkey** `requireJwt()`, prototypes set by the server',
    boundBy: 'what `requireJwt()` is bound by',
    isExtra: true,
    load: async () => async (servers, sessions) => ({
      ...(await latchkey('jwt')(servers, sessions)),
      ownPrototypes: true,
    }),
  },
} satisfies Record<string, Entry>

/** The name of a contender. */
export type ContenderName = keyof typeof CONTENDERS

/** All of them, in the order of the table. */
export const CONTENDER_NAMES: readonly ContenderName[] =
  Object.keys(CONTENDERS).filter(isContenderName)

/** Those of a quick run. */
export const QUICK_NAMES: readonly ContenderName[] = CONTENDER_NAMES.filter(
  (name) => describeContender(name).isExtra !== true,
)

/** Whether there is a contender of this name. */
export function isContenderName(name: string): name is ContenderName {
  return Object.hasOwn(CONTENDERS, name)
}

/** How it stands in the table. */
export function describeContender(name: ContenderName): Omit<Entry, 'load'> {
  return CONTENDERS[name]
}

/** Makes it ready, with so many open sessions. */
export async function prepare(
  name: ContenderName,
  servers: Servers,
  sessions: number,
): Promise<Contender> {
  const prepareIt: Prepare = await CONTENDERS[name].load()
  return prepareIt(servers, sessions)
}
