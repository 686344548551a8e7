// latchkey as apps use it: from the package, with its defaults.
import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import type { Guard, Latchkey, OpenedSession, RegisteredClaims, Store } from 'latchkey'
import { createLatchkey, generateSigningKey, memoryStore } from 'latchkey'
import { postgresStore } from 'latchkey/stores/postgres'
import { redisStore } from 'latchkey/stores/redis'
import { Pool } from 'pg'
import type { Contender, Credential, Prepare, Servers } from './contender.ts'
import { bearer, flipEnd, forgeJwt } from './contender.ts'

/** Makes the store of one contender, which shares nothing with the others'. */
type OpenStore = (servers: Servers, name: string) => Promise<Store>

const inMemory: OpenStore = async () => memoryStore()

const onRedis: OpenStore = async ({ redis }, name) =>
  redisStore({ client: new Redis(redis), prefix: `bench-${name}` })

const onPostgres: OpenStore = async ({ postgres }, name) => {
  const pool = new Pool({ connectionString: postgres, max: 10 })
  // A machine that is busy with other things is to be seen in the figures, not to end the bench.
  const tablePrefix = `bench_${name.replaceAll('-', '_')}_`
  const store = postgresStore({ pool, tablePrefix, operationTimeout: '2s' })
  await store.migrate()
  return store
}

type Opened = OpenedSession<RegisteredClaims>

interface Recipe {
  readonly store: OpenStore
  readonly guard: (latchkey: Latchkey) => Guard
  readonly nearCache?: boolean
  readonly good: (opened: Opened) => Credential
  readonly tampered: (opened: Opened) => readonly Credential[]
}

const byJwt = {
  good: ({ accessToken }: Opened) => bearer(accessToken),
  tampered: ({ accessToken }: Opened) => forgeJwt(accessToken).map(bearer),
}

const cookie = (token: string): Credential => ({ cookie: `__Host-latchkey-session=${token}` })

const bySession = {
  guard: ({ requireSession }: Latchkey) => requireSession(),
  good: ({ sessionToken }: Opened) => cookie(sessionToken),
  tampered({ sessionToken }: Opened) {
    const [kid = '', sid = '', ...rest] = sessionToken.split('.')
    return [flipEnd(sessionToken), [kid, flipEnd(sid), ...rest].join('.')].map(cookie)
  },
}

const RECIPES = {
  jwt: { store: onRedis, guard: ({ requireJwt }) => requireJwt(), ...byJwt },
  hybrid: { store: onRedis, guard: ({ hybridGuard }) => hybridGuard(), ...byJwt },
  sensitive: {
    store: onRedis,
    guard: ({ hybridGuard }) => hybridGuard({ sensitive: true }),
    ...byJwt,
  },
  memory: { store: inMemory, ...bySession },
  redis: { store: onRedis, ...bySession },
  'redis-near': { store: onRedis, nearCache: true, ...bySession },
  postgres: { store: onPostgres, ...bySession },
  'postgres-near': { store: onPostgres, nearCache: true, ...bySession },
} satisfies Record<string, Recipe>

/** Which of latchkey's guards, on which store. */
export type LatchkeyName = keyof typeof RECIPES

/** How to prepare this guard. */
export function latchkey(name: LatchkeyName): Prepare {
  const recipe: Recipe = RECIPES[name]
  return async (servers, count): Promise<Contender> => {
    const kit = createLatchkey({
      issuer: 'https://app.example',
      secrets: [randomBytes(32)],
      signingKeys: [generateSigningKey()],
      store: await recipe.store(servers, name),
      nearCache: recipe.nearCache ?? false,
      storeDeadline: '2s',
      accessTokenTtl: '25m',
    })
    await kit.ready()
    const opened: Opened[] = []
    for (let n = 0; n < count; n++) {
      opened.push(await kit.sessions.open({ id: `user${n}`, roles: ['reader', 'writer'] }))
    }
    const first = opened.at(0)
    return {
      handlers: [recipe.guard(kit)],
      good: opened.map(recipe.good),
      tampered: first === undefined ? [] : recipe.tampered(first),
      revokeLast: async () => kit.sessions.revoke(opened.at(-1)?.session.id ?? ''),
    }
  }
}
