import { afterAll, afterEach, describe, expect, it } from '@jest/globals'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import request from 'supertest'
import { atPace } from '../../lib/managed-keys-options.ts'
import type { Store } from '../../lib/store.ts'
import type { Login, TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, HOUR, MINUTE, openKit, pause, spyOn, until } from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'
import type { Place } from '../support/places.ts'
import { onPostgres, onRedis } from '../support/places.ts'

const places: Place[] = []

afterEach(async () => {
  await closeKits()
  for (const place of places.splice(0)) await place.close()
})
afterAll(closeKits)

/** Nodes that start at once, by the real clock. A slow machine is not what is tested. */
async function openNodes(
  make: () => Place,
  count: number,
  options: TestOptions,
): Promise<TestKit[]> {
  const place = make()
  places.push(place)
  const stores: Store[] = []
  for (let index = 0; index < count; index++) stores.push(await place.open())
  return Promise.all(
    stores.map(async (store) =>
      openKit({
        spy: spyOn(store),
        options: {
          clock: Date.now,
          storeDeadline: '10s',
          maxStaleness: '1m',
          rateLimits: false,
          ...options,
        },
      }),
    ),
  )
}

function kidOf({ access }: Login): string {
  return decodeProtectedHeader(access).kid ?? ''
}

async function jwt(kit: TestKit, bearer: string): Promise<number> {
  return (await request(kit.server).get('/jwt').set('Authorization', bearer)).status
}

/** The times of production; nothing is heard but by the feed. */
const unpolled = atPace({
  rotateEveryMs: 30 * 24 * HOUR,
  publishAheadMs: 24 * HOUR,
  pace: { knownAfterMs: 16 * MINUTE, pollMs: HOUR, cooldownMs: 5000 },
})

describe.each([
  ['Redis', onRedis],
  ['Postgres', onPostgres],
] as const)('managed keys on %s', (_, make) => {
  it('are made once by ten nodes that start together, and rotated once by all of them', async () => {
    const nodes = await openNodes(make, 10, { signingKeys: unpolled })
    await Promise.all(nodes.map(async ({ latchkey }) => latchkey.ready()))
    const made = () =>
      new Set(nodes.flatMap(({ latchkey }) => latchkey.keys.list().map(({ kid }) => kid)))
    expect(made().size).toBe(1)
    const logins = await Promise.all(nodes.map(async (node) => node.login()))
    const rotated = await Promise.all(nodes.map(async ({ latchkey }) => latchkey.keys.rotate()))
    expect(new Set(rotated.map(({ kid }) => kid)).size).toBe(1)
    await until(() => nodes.every(({ latchkey }) => latchkey.keys.list().length === 2))
    expect(made().size).toBe(2)
    const answers = await Promise.all(
      logins.map(async ({ bearer }, index) => jwt(nodes[(index + 1) % 10]!, bearer)),
    )
    expect(new Set(answers)).toEqual(new Set([200]))
    const events = nodes.flatMap((node) => node.events)
    expect(events.filter(({ type }) => type === 'signing_key_rotated')).toHaveLength(2)
  }, 60_000)

  it('are gone on every node by the feed when they are retired', async () => {
    const nodes = await openNodes(make, 3, { signingKeys: unpolled })
    const login = await nodes[0]!.login()
    for (const node of nodes) expect(await jwt(node, login.bearer)).toBe(200)
    await nodes[1]!.latchkey.keys.retire(kidOf(login))
    expect(await jwt(nodes[1]!, login.bearer)).toBe(401)
    const knows = ({ latchkey }: TestKit) =>
      latchkey.keys.list().some(({ kid }) => kid === kidOf(login))
    await until(() => !nodes.some(knows))
    for (const node of nodes) expect(await jwt(node, login.bearer)).toBe(401)
    const fresh = await nodes[2]!.login()
    for (const node of nodes) expect(await jwt(node, fresh.bearer)).toBe(200)
  }, 60_000)

  it('rotate ten times under load, with two nodes that issue and two that verify, without one 401', async () => {
    // A machine that stalls is not what is tested: then the clock of all nodes stands still.
    const [begun, startedAt] = [loopTime(), Date.now()]
    const clock = () => startedAt + loopTime() - begun
    const hasExpired = ({ access }: Login) => (decodeJwt(access).exp ?? 0) * 1000 <= clock()
    const [one, two, ...verifiers] = await openNodes(() => make({ clock }), 4, {
      clock,
      signingKeys: atPace({
        rotateEveryMs: 1500,
        publishAheadMs: 750,
        pace: { knownAfterMs: 200, pollMs: 150, cooldownMs: 50 },
      }),
      accessTokenTtl: '10s',
      clockSkew: '250ms',
    })
    const issuers = [one!, two!]
    await Promise.all([...issuers, ...verifiers].map(async ({ latchkey }) => latchkey.ready()))
    const out: Login[] = []
    const kids = new Set<string>()
    const answers = new Map<string, number>()
    const end = new AbortController()

    async function issue(issuer: TestKit): Promise<void> {
      while (!end.signal.aborted) {
        // Each their own: an old session that makes room for a new one would be a 401 by itself.
        const id = `user-${kids.size}-${out.length}`
        issuer.users.set(id, { id })
        const login = await issuer.login(id)
        kids.add(kidOf(login))
        out.push(login)
        await verify(login)
        await pause(5)
      }
    }

    async function verify(login: Login): Promise<void> {
      for (const verifier of verifiers) {
        const res = await request(verifier.server).get('/jwt').set('Authorization', login.bearer)
        // A slow machine may ask too late.
        if (res.status === 401 && hasExpired(login)) continue
        const answer = res.status === 200 ? '200' : `${res.status} ${res.text}`
        answers.set(answer, (answers.get(answer) ?? 0) + 1)
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

    const load = Promise.all([...issuers.map(issue), verifyOld(), verifyOld()])
    for (let waited = 0; kids.size < 11 && waited < 100_000; waited += 50) await pause(50)
    end.abort()
    await load
    expect(kids.size).toBeGreaterThanOrEqual(11)
    expect([...answers.keys()]).toEqual(['200'])
    expect(answers.get('200')).toBeGreaterThan(200)
  }, 150_000)
})
