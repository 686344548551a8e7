import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { decodeJwt } from 'jose'
import request from 'supertest'
import { REVOKED } from '../../lib/heard-set.ts'
import type { FeedEntry, Store } from '../../lib/store.ts'
import { generateSigningKey, privateKeyJwt } from '../../middleware/index.ts'
import { forge, halves } from '../support/forge.ts'
import type { TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, echo, ISSUER, MINUTE, NOW, spyOn, until } from '../support/kit.ts'
import type { Place } from '../support/places.ts'
import { inMemory, onPostgres, onRedis } from '../support/places.ts'
import { until as eventually } from '../support/redis-commands.ts'
import { hangUpAll, listenTo } from '../support/revocation-stream.ts'
import {
  AS_BILLING,
  AS_ORDERS,
  exchange,
  EXCHANGE,
  issued,
  machineToken,
  openServices,
  ORDERS_API,
  postForm,
} from '../support/token-services.ts'

const KEY = generateSigningKey()
const BY_ASSERTION = {
  services: privateKeyJwt({ orders: { jwks: { keys: [publicHalf()] }, scope: [] } }),
}

afterEach(async () => {
  hangUpAll()
  await closeKits()
})

function publicHalf() {
  const { d: _, ...jwk } = KEY
  return jwk
}

/** An assertion of orders, good once, for a minute from then on. */
function assertion(now: number): Record<string, string> {
  const claims = { iss: 'orders', sub: 'orders', aud: ISSUER, jti: 'once', exp: now / 1000 + 60 }
  return {
    client_assertion: forge({ alg: 'ES256', kid: KEY.kid }, claims, halves(KEY).privateKey),
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  }
}

async function introspect(kit: TestKit, token: string): Promise<Record<string, unknown>> {
  const res = await postForm(kit, '/auth/introspect', { token })
  expect(res.status).toBe(200)
  return res.body as Record<string, unknown>
}

async function revoke(kit: TestKit, token: string, as = AS_ORDERS): Promise<number> {
  return (await postForm(kit, '/auth/revoke', { token }, as)).status
}

async function bearer(kit: TestKit, path: string, token: string): Promise<number> {
  return (await request(kit.server).get(path).set('Authorization', `Bearer ${token}`)).status
}

/** Waits until a guard that asks no store refuses it. */
async function refused(kit: TestKit, path: string, token: string): Promise<void> {
  await eventually('it is refused', async () => (await bearer(kit, path, token)) === 401)
}

describe.each([
  ['memory', inMemory],
  ['Redis', onRedis],
  ['Postgres', onPostgres],
] as const)('what services ask of two nodes on %s', (_, make) => {
  const clock = { now: NOW }
  let place: Place
  let stores: readonly [Store, Store]

  beforeAll(async () => {
    place = make({ clock: () => clock.now })
    // One after the other: the second finds the schema made.
    stores = [await place.open(), await place.open()]
  })

  afterAll(async () => place.close())

  async function openNodes(options: TestOptions = {}): Promise<[TestKit, TestKit]> {
    const [here, there] = stores.map(async (store) =>
      openServices({
        clock,
        spy: spyOn(store),
        options: { storeDeadline: '10s', maxStaleness: '1m', ...options },
        routes: (app, latchkey) => {
          app.get('/machine', latchkey.requireJwt({ services: true }), echo)
        },
      }),
    )
    return [await here!, await there!]
  }

  it("a service's own token of one is good at the other, and refused once it is revoked", async () => {
    const [here, there] = await openNodes()
    const token = await machineToken(here)
    expect(await introspect(there, token)).toMatchObject({ active: true, client_id: 'orders' })
    expect(await bearer(there, '/machine', token)).toBe(200)
    expect(await revoke(here, token, AS_BILLING)).toBe(400)
    expect(await introspect(there, token)).toMatchObject({ active: true })
    expect(await revoke(here, token)).toBe(200)
    expect(await bearer(here, '/machine', token)).toBe(401)
    expect(await introspect(there, token)).toEqual({ active: false })
    await refused(there, '/machine', token)
  })

  it('a token that is exchanged has the life of its session', async () => {
    const [here, there] = await openNodes()
    const { access, sid } = await here.login()
    const { token, claims } = issued(await exchange(there, { subject_token: access }))
    expect(claims).toMatchObject({ sid, aud: ORDERS_API, act: { sub: 'orders' } })
    const active = { active: true, sub: 'alice', sid, aud: ORDERS_API, act: { sub: 'orders' } }
    expect(await introspect(here, token)).toMatchObject(active)
    await here.latchkey.sessions.revoke(sid)
    expect(await introspect(there, token)).toEqual({ active: false })
    // Asked of the store, before the feed has told.
    const again = await exchange(there, { subject_token: access })
    expect([again.status, again.body.code]).toEqual([400, 'subject_token_invalid'])
  })

  it('a token that is exchanged can be revoked, and its session lives on', async () => {
    const [here, there] = await openNodes()
    const login = await here.login()
    const { token } = issued(await exchange(here, { subject_token: login.access }))
    expect(await revoke(there, token)).toBe(200)
    expect(await introspect(here, token)).toEqual({ active: false })
    for (const kind of ['access', 'session', 'refresh'] as const) {
      expect(await introspect(here, login[kind])).toMatchObject({ active: true, sid: login.sid })
    }
  })

  it('an access token that is revoked at one is inactive at the other, and is not exchanged', async () => {
    const [here, there] = await openNodes()
    const { access, sid } = await here.login()
    expect(await revoke(here, access)).toBe(200)
    expect(await introspect(there, access)).toEqual({ active: false })
    const res = await exchange(there, { subject_token: access })
    expect([res.status, res.body.code]).toEqual([400, 'subject_token_invalid'])
    await refused(there, '/jwt', access)
    expect(await there.stored(sid)).not.toBeNull()
  })

  it.each(['session', 'refresh'] as const)(
    'a %s token that is revoked at one ends its session at the other, once',
    async (kind) => {
      const [here, there] = await openNodes()
      const login = await there.login()
      expect(await revoke(here, login[kind])).toBe(200)
      expect(await there.stored(login.sid)).toBeNull()
      for (const token of [login.access, login.session, login.refresh]) {
        expect(await introspect(there, token)).toEqual({ active: false })
      }
      await refused(there, '/jwt', login.access)
      expect(await revoke(there, login[kind])).toBe(200)
      const ended = async () => {
        const { items } = await there.spy.raw.audit.query({ sessionId: login.sid, limit: 100 })
        return items.filter(({ type }) => type === 'session_revoked')
      }
      // Redis is told a moment later.
      await eventually('it is in the trail', async () => (await ended()).length > 0)
      expect(await ended()).toMatchObject([{ cause: 'revoked_by_service', user: { id: 'alice' } }])
    },
  )

  it('a node that has heard of nothing asks the store', async () => {
    const [here, there] = await openNodes()
    const [login, ended] = [await here.login(), await here.login()]
    const machine = await machineToken(here)
    const { token } = issued(await exchange(here, { subject_token: login.access }))
    const all = [machine, token, login.access, ended.access, ended.session, ended.refresh]
    for (const one of all) expect(await introspect(there, one)).toMatchObject({ active: true })
    there.spy.feed = 'deaf'
    for (const one of [machine, token, login.access, ended.refresh]) {
      expect(await revoke(here, one)).toBe(200)
    }
    for (const one of all) expect(await introspect(there, one)).toEqual({ active: false })
    for (const subject_token of [login.access, ended.access]) {
      const res = await exchange(there, { subject_token })
      expect([res.status, res.body.code]).toEqual([400, 'subject_token_invalid'])
    }
    // Its guards that ask nobody do not know.
    expect(await bearer(there, '/jwt', login.access)).toBe(200)
    expect(await bearer(there, '/sensitive', login.access)).toBe(401)
  })

  it('introspection is no activity, and a used refresh token is inactive', async () => {
    const [here, there] = await openNodes()
    const { access, session, refresh, refreshCookie, sid } = await here.login()
    here.clock.now += 5 * MINUTE
    await Promise.all([here.sighted(), there.sighted()])
    const before = await here.stored(sid)
    for (const token of [access, session, refresh]) {
      expect(await introspect(there, token)).toMatchObject({ active: true })
    }
    expect(await here.stored(sid)).toEqual(before)
    await request(here.server).post('/auth/refresh').set('Cookie', refreshCookie).expect(200)
    expect(await introspect(there, refresh)).toEqual({ active: false })
  })

  it('the stream tells of what either did, and is resumed at the other', async () => {
    const [here, there] = await openNodes()
    const logins = [await here.login(), await here.login('bob'), await there.login('root')]
    const [first, second, third] = logins.map(({ sid }) => sid)
    const machine = await machineToken(there)
    const jti = String(decodeJwt(machine).jti)
    const ear = await listenTo(here, { credential: AS_ORDERS })
    expect(ear.response.status).toBe(200)
    await there.latchkey.sessions.revoke(first ?? '')
    await until(() => ear.sids().includes(first ?? ''))
    ear.hangUp()
    await here.latchkey.sessions.revoke(second ?? '')
    await there.latchkey.sessions.update(third ?? '', { roles: [] })
    expect(await revoke(there, machine)).toBe(200)
    const back = await listenTo(there, { lastId: ear.lastId(), credential: AS_ORDERS })
    // In whatever order: a node knows at once what it did itself.
    const told = ({ sid, ver }: FeedEntry) =>
      back.entries().some((entry) => entry.sid === sid && entry.ver === ver)
    const news = [second, jti].map((name = '') => ({ sid: name, ver: REVOKED }))
    await until(() => [...news, { sid: third ?? '', ver: 1 }].every(told))
    expect((await listenTo(there, { credential: AS_BILLING })).response.status).toBe(200)
  })

  it('an assertion proves a service once, at whichever node', async () => {
    const nodes = await openNodes(BY_ASSERTION)
    const proof = assertion(clock.now)
    const form = { grant_type: 'client_credentials', ...proof }
    const answers = await Promise.all(
      Array.from({ length: 20 }, async (__, n) =>
        postForm(nodes[n % 2]!, '/auth/token', form, null),
      ),
    )
    const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b)
    expect(statuses).toEqual([200, ...Array.from({ length: 19 }, () => 401)])
    const { body } = answers.find(({ status }) => status === 401)!
    expect(body).toMatchObject({ error: 'invalid_client' })
    // Until it is over, and whatever it is for.
    for (const node of nodes) {
      node.clock.now += 30_000
      const res = await postForm(node, '/auth/introspect', { token: 'x', ...proof }, null)
      expect(res.status).toBe(401)
    }
  })

  it('refuses both grants to who is no service, and asks the store for nothing', async () => {
    const [here] = await openNodes()
    const { access } = await here.login()
    here.spy.reset()
    for (const grant_type of ['client_credentials', EXCHANGE]) {
      const res = await exchange(here, { grant_type, subject_token: access }, 'Basic eDp5')
      expect([res.status, res.body.error]).toEqual([401, 'invalid_client'])
    }
    expect(here.spy.calls).toEqual([])
  })
})
