import { afterEach, describe, expect, it } from '@jest/globals'
import type { Request } from 'express'
import { Redis } from 'ioredis'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import request from 'supertest'
import { atPace } from '../../lib/managed-keys-options.ts'
import { managedKeys, memoryStore } from '../../middleware/index.ts'
import type { Verifier, VerifierOptions } from '../../middleware/verifier/index.ts'
import { createVerifier, remoteFeed } from '../../middleware/verifier/index.ts'
import { redisStore } from '../../stores/redis.ts'
import type { Login, TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, ISSUER, MINUTE, NOW, openKit, pause, spyOn, until } from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'
import { sharedRedisUrl } from '../support/redis-server.ts'
import { CREDENTIAL, askServices } from '../support/services.ts'
import { newPrefix } from '../stores/redis/open.ts'

/** A machine under load may take its time. */
const LONG = 10_000
const closing: (() => unknown)[] = []
/** Closed last: nodes still use them. */
const stores: (() => unknown)[] = []

afterEach(async () => {
  // Streams end before the servers that feed them.
  for (const close of closing.splice(0).toReversed()) await close()
  await closeKits()
  for (const close of stores.splice(0)) await close()
})

interface ServiceOptions extends Partial<VerifierOptions> {
  readonly hears: boolean
  /** What it is called in the query of the JWKS. */
  readonly name: string
}

/** A service that has only the public keys of the issuer, as this node shows them. */
function openService(node: TestKit, { hears, name, ...options }: ServiceOptions): Verifier {
  const auth = `http://127.0.0.1:${node.port}/auth`
  const feed = remoteFeed({ url: `${auth}/revocations`, credential: CREDENTIAL })
  const verifier = createVerifier({
    issuer: ISSUER,
    audience: ISSUER,
    jwks: `${auth}/.well-known/jwks.json?by=${name}`,
    ...(hears ? { feed } : {}),
    ...options,
  })
  closing.push(async () => verifier.close())
  return verifier
}

function kidOf({ access }: Login): string {
  return decodeProtectedHeader(access).kid ?? ''
}

/** `'good'`, or the code of the refusal. */
async function ask(verifier: Verifier, { access }: Login): Promise<string> {
  try {
    await verifier.verify(access)
    return 'good'
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

async function atNode(node: TestKit, { bearer }: Login): Promise<number> {
  return (await request(node.server).get('/jwt').set('Authorization', bearer)).status
}

describe('managed keys and verifiers by URL', () => {
  it('rotate on the times of production, without one token refused', async () => {
    // All clocks run alike and fast, so all times keep their proportions: two hundred and fifty seconds in one.
    // On a machine that stalls they stand still.
    const begun = loopTime()
    const now = () => NOW + (loopTime() - begun) * 250
    const clock = {
      get now() {
        return now()
      },
    }
    const spy = spyOn(memoryStore({ clock: now }))
    const looks: { readonly by: unknown; readonly at: number }[] = []
    const options: TestOptions = {
      services: askServices,
      // As managedKeys has them, but for how often the nodes read, which is by the real clock.
      signingKeys: atPace({
        rotateEveryMs: 36 * MINUTE,
        publishAheadMs: 18 * MINUTE,
        pace: { knownAfterMs: 16 * MINUTE, pollMs: 100, cooldownMs: 50 },
      }),
      clockSkew: '60s',
      // Of this clock, a read that waits a hundredth of a second has waited for two and a half.
      maxStaleness: '5m',
      storeDeadline: '10s',
      rateLimits: false,
    }
    const openNode = async () =>
      openKit({
        options,
        spy,
        clock,
        before: (app) =>
          app.use('/auth/.well-known', ({ query }: Request, _res, next) => {
            looks.push({ by: query['by'], at: now() })
            next()
          }),
      })
    const nodes = [await openNode(), await openNode()] as const
    await Promise.all(nodes.map(async ({ latchkey }) => latchkey.ready()))
    const patient = { clock: now, clockSkew: '60s', maxStaleness: '5m' } as const
    const verifiers = [
      openService(nodes[0], { name: 'deaf', hears: false, ...patient }),
      openService(nodes[1], { name: 'hearing', hears: true, ...patient }),
    ]
    await Promise.all(verifiers.map(async (verifier) => verifier.ready()))

    const out: Login[] = []
    const kids = new Set<string>()
    const answers = new Map<string, number>()
    const end = new AbortController()
    const hasExpired = ({ access }: Login) => (decodeJwt(access).exp ?? 0) * 1000 <= now()

    async function verify(login: Login): Promise<void> {
      for (const verifier of verifiers) {
        const answer = await ask(verifier, login)
        // A slow machine may ask too late.
        if (answer === 'token_expired' && hasExpired(login)) continue
        answers.set(answer, (answers.get(answer) ?? 0) + 1)
      }
    }

    async function issue(node: TestKit, at: number): Promise<void> {
      for (let turn = 0; !end.signal.aborted; turn++) {
        // Each their own: an old session that makes room for a new one would be refused by itself.
        const id = `user-${at}-${turn}`
        node.users.set(id, { id })
        const login = await node.login(id)
        kids.add(kidOf(login))
        out.push(login)
        await verify(login)
        await pause(20)
      }
    }

    /** The oldest tokens that live: their keys are the first to go. */
    async function verifyOld(): Promise<void> {
      while (!end.signal.aborted) {
        while (out[0] !== undefined && hasExpired(out[0])) out.shift()
        if (out[0] !== undefined) await verify(out[0])
        await pause(5)
      }
    }

    const load = Promise.all([...nodes.map(issue), verifyOld()])
    // By the third rotation, the first two keys have been published, used, kept and dropped.
    for (let waited = 0; kids.size < 4 && waited < 400_000; waited += 50) await pause(50)
    end.abort()
    await load
    expect(kids.size).toBeGreaterThanOrEqual(4)
    expect([...answers.keys()]).toEqual(['good'])
    expect(answers.get('good')).toBeGreaterThan(200)
    // It never had to look for a key that it did not know: it asked when what it had was over.
    const deaf = looks.filter(({ by }) => by === 'deaf').map(({ at }) => at)
    const pauses = deaf.slice(1).map((at, index) => at - (deaf[index] ?? 0))
    expect(pauses.length).toBeGreaterThan(10)
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(5 * MINUTE)
  }, 500_000)

  it('are refused everywhere once they are retired: by feed at once, else when the JWKS is over', async () => {
    const prefix = newPrefix()
    const openNode = async () => {
      const client = new Redis(sharedRedisUrl())
      const store = redisStore({ client, prefix })
      stores.push(async () => {
        await store.close()
        client.disconnect()
      })
      return openKit({
        spy: spyOn(store),
        options: {
          services: askServices,
          signingKeys: managedKeys(),
          clock: Date.now,
          storeDeadline: '10s',
          maxStaleness: '1m',
        },
      })
    }
    const [a, b] = [await openNode(), await openNode()]
    await Promise.all([a, b].map(async ({ latchkey }) => latchkey.ready()))
    let laterMs = 0
    const clock = () => Date.now() + laterMs
    const deaf = openService(b, { name: 'deaf', hears: false, clock })
    const hearing = openService(b, { name: 'hearing', hears: true, maxStaleness: '1m' })
    await Promise.all([deaf, hearing].map(async (verifier) => verifier.ready()))

    const login = await a.login()
    expect([await atNode(a, login), await atNode(b, login)]).toEqual([200, 200])
    expect([await ask(deaf, login), await ask(hearing, login)]).toEqual(['good', 'good'])

    expect(await a.latchkey.keys.retire(kidOf(login))).toBe(true)
    expect(await atNode(a, login)).toBe(401)
    await until(() => !b.latchkey.keys.list().some(({ kid }) => kid === kidOf(login)), LONG)
    expect(await atNode(b, login)).toBe(401)
    let answer = 'good'
    for (let tries = 0; answer === 'good' && tries < 2000; tries++) {
      answer = await ask(hearing, login)
      await pause(5)
    }
    expect(answer).toBe('token_invalid')

    // Who hears nothing believes its JWKS: five minutes, and one more while a newer is got.
    expect(await ask(deaf, login)).toBe('good')
    laterMs = 6 * MINUTE + 1000
    expect(await ask(deaf, login)).toBe('token_invalid')

    const fresh = await b.login()
    expect([await atNode(a, fresh), await atNode(b, fresh)]).toEqual([200, 200])
    expect([await ask(deaf, fresh), await ask(hearing, fresh)]).toEqual(['good', 'good'])
  }, 60_000)
})
