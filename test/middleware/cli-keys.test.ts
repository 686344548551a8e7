import { afterEach, describe, expect, it } from '@jest/globals'
import { Redis } from 'ioredis'
import { Pool } from 'pg'
import { parseSigningKeys } from '../../lib/signing-keys.ts'
import type { SigningJwk } from '../../lib/signing-keys.ts'
import type { Store } from '../../lib/store.ts'
import { runCli } from '../../middleware/cli/run.ts'
import { managedKeys } from '../../middleware/index.ts'
import { postgresStore } from '../../stores/postgres.ts'
import { redisStore } from '../../stores/redis.ts'
import { closeKits, openKit, SECRET, spyOn, until } from '../support/kit.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { sharedRedisUrl } from '../support/redis-server.ts'
import { newSchema } from '../stores/postgres/open.ts'
import { newPrefix } from '../stores/redis/open.ts'

async function run(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  let [out, err] = ['', '']
  const code = await runCli(['keys', ...args], {
    env,
    print: (text) => (out += text),
    complain: (text) => (err += text),
  })
  return { code, out, err }
}

const cleanUps: (() => Promise<unknown>)[] = []

afterEach(async () => {
  await closeKits()
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
})

async function onRedis(): Promise<{ store: Store; env: NodeJS.ProcessEnv; args: string[] }> {
  const prefix = newPrefix()
  const client = new Redis(sharedRedisUrl())
  const store = redisStore({ client, prefix })
  cleanUps.push(
    async () => client.disconnect(),
    async () => store.close(),
  )
  return { store, env: { REDIS_URL: sharedRedisUrl() }, args: ['--prefix', prefix] }
}

async function onPostgres(): Promise<{ store: Store; env: NodeJS.ProcessEnv; args: string[] }> {
  const schema = newSchema()
  const pool = new Pool({ connectionString: sharedPostgresUrl(), connectionTimeoutMillis: 10_000 })
  const store = postgresStore({ pool, schema, pruneInterval: false, operationTimeout: '10s' })
  await store.migrate()
  cleanUps.push(
    async () => pool.end(),
    async () => pool.query(`drop schema "${schema}" cascade`),
    async () => store.close(),
  )
  return { store, env: { DATABASE_URL: sharedPostgresUrl() }, args: ['--schema', schema] }
}

describe('npx latchkey keys generate', () => {
  it.each([
    ['ES256', []],
    ['EdDSA', ['--alg', 'EdDSA']],
    ['PS256', ['--alg', 'PS256']],
  ])(
    'prints a private JWK that signs: %s',
    async (alg, args) => {
      const { code, out } = await run(['generate', ...args])
      expect(code).toBe(0)
      const jwk = JSON.parse(out) as SigningJwk
      expect(jwk.d).toEqual(expect.any(String))
      expect(parseSigningKeys([jwk]).active.alg).toBe(alg)
    },
    30_000,
  )
})

describe('npx latchkey keys', () => {
  it.each([
    [[]],
    [['rotat']],
    [['generate', '--alg', 'HS256']],
    [['generate', 'x']],
    [['retire']],
    [['retire', '--url', 'redis://localhost']],
    [['list']],
    [['list', '--url', 'mysql://user:sesame@localhost/db']],
    [['list', '--secrets', 'sesame']],
  ])('is misused with %j, and says so in one line', async (args) => {
    const { code, out, err } = await run(args, { LATCHKEY_SECRETS: SECRET })
    expect([code, out]).toEqual([2, ''])
    expect(err).toMatch(/^latchkey: [^\n]{5,160}\n$/)
    expect(err).not.toMatch(/sesame/)
  })

  it('takes secrets from the environment, and no two stores at once', async () => {
    const env = { REDIS_URL: 'redis://127.0.0.1:1', DATABASE_URL: 'postgres://127.0.0.1:1/db' }
    expect((await run(['list'], { ...env, LATCHKEY_SECRETS: SECRET })).code).toBe(2)
    expect((await run(['list'], { REDIS_URL: env.REDIS_URL })).err).toContain('LATCHKEY_SECRETS')
  })

  it('fails on a store that is not there, without its password', async () => {
    for (const url of ['redis://:sesame@127.0.0.1:1', 'postgres://user:sesame@127.0.0.1:1/db']) {
      const { code, err } = await run(['list', '--url', url], { LATCHKEY_SECRETS: SECRET })
      expect([url, code]).toEqual([url, 1])
      expect(err).toMatch(/^latchkey: [^\n]+\n$/)
      expect(err).not.toContain('sesame')
      expect(err).toMatch(/: (?:connect ECONNREFUSED|Redis connection)/)
    }
  }, 60_000)

  it('says that a store has no such tables', async () => {
    const { env } = await onPostgres()
    const { code, err } = await run(['list', '--schema', 'elsewhere'], {
      ...env,
      LATCHKEY_SECRETS: SECRET,
    })
    expect([code, err]).toEqual([1, expect.stringContaining('elsewhere')])
  })
})

describe.each([
  ['Redis', onRedis],
  ['Postgres', onPostgres],
] as const)('npx latchkey keys on %s', (_, open) => {
  it('lists, rotates and retires the keys of nodes that run', async () => {
    const { store, env: place, args } = await open()
    const env = { ...place, LATCHKEY_SECRETS: SECRET }
    const none = await run(['rotate', ...args], env)
    expect([none.code, none.err]).toEqual([
      1,
      expect.stringContaining(`no managed keys at ${args.join(' ')}`),
    ])
    expect(await store.keys.load()).toBeNull()

    const kit = await openKit({
      spy: spyOn(store),
      options: { signingKeys: managedKeys(), clock: Date.now, storeDeadline: '10s' },
    })
    await kit.latchkey.ready()
    const [first] = kit.latchkey.keys.list()
    const listed = await run(['list', ...args], env)
    expect(listed).toEqual({
      code: 0,
      err: '',
      out: expect.stringMatching(
        new RegExp(`^active {4}ES256 {2}${first!.kid} {2}signs from \\S+\n$`),
      ),
    })

    const rotated = await run(['rotate', ...args, '--alg', 'EdDSA'], env)
    expect(rotated.out).toMatch(/^active .*\nnext {6}EdDSA .*\n$/)
    expect((await run(['rotate', ...args], env)).out).toBe(rotated.out)
    await until(() => kit.latchkey.keys.list().length === 2)
    const next = kit.latchkey.keys.list()[1]!
    expect(next).toMatchObject({ state: 'next', alg: 'EdDSA' })
    expect(next.activeAt! - next.publishedAt!).toBe(18 * 60_000)

    const retired = await run(['retire', first!.kid, ...args], env)
    expect(retired.out).toMatch(/^active {4}EdDSA .*\n$/)
    await until(() => kit.latchkey.keys.list().length === 1)
    expect(kit.latchkey.keys.list()[0]).toMatchObject({ kid: next.kid, state: 'active' })
    expect((await run(['retire', ...args, first!.kid], env)).code).toBe(0)
    for (const kid of ['no-such-key', `--${'x'.repeat(41)}`]) {
      const { code, err } = await run(['retire', kid, ...args], env)
      expect([code, err]).toEqual([1, expect.stringContaining('no such key')])
    }

    const other = { ...place, LATCHKEY_SECRETS: 'x9Kd2LmQ7vR4tY1wZ6bN8cF3gH5jP0sA_uEoIiTqXnM' }
    const foreign = await run(['rotate', ...args], other)
    expect(foreign).toEqual({ code: 2, out: '', err: expect.stringContaining('any of secrets') })
    expect(kit.latchkey.keys.list()).toHaveLength(1)
  }, 60_000)
})
