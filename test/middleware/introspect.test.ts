import { afterEach, describe, expect, it } from '@jest/globals'
import { decodeJwt } from 'jose'
import request from 'supertest'
import { forge, halves } from '../support/forge.ts'
import type { Login, TestKit } from '../support/kit.ts'
import { closeKits, HOUR, ISSUER, MINUTE, NOW, openKit, SIGNING_KEY } from '../support/kit.ts'
import {
  AS_BILLING,
  AS_ORDERS,
  exchange,
  issued,
  machineToken,
  openServices,
  ORDERS_API,
  postForm,
} from '../support/token-services.ts'
import { generateSigningKey } from '../../middleware/index.ts'

afterEach(closeKits)

const INACTIVE = '{"active":false}'

function introspect(kit: TestKit, token: string, authorization?: string | null): request.Test {
  return postForm(kit, '/auth/introspect', { token }, authorization)
}

async function expectInactive(kit: TestKit, token: string): Promise<void> {
  const res = await introspect(kit, token)
  expect([res.status, res.text]).toEqual([200, INACTIVE])
}

function sign(claims: object, key = SIGNING_KEY): string {
  const header = { alg: 'ES256', typ: 'at+jwt', kid: key.kid }
  return forge(header, claims, halves(key).privateKey)
}

/** With another last character. */
function otherEnd(text: string): string {
  return `${text.slice(0, -1)}${text.endsWith('A') ? 'B' : 'A'}`
}

describe('POST /introspect', () => {
  it('says what a good access token says, and that it is for Bearer', async () => {
    const kit = await openServices()
    kit.users.set('alice', {
      id: 'alice',
      tenant: 'acme',
      roles: ['admin'],
      scope: ['stock:read'],
      level: 'mfa',
      amr: ['pwd'],
      claims: { plan: 'pro' },
    })
    const { access, sid } = await kit.login()
    const { jti, exp } = decodeJwt(access)
    const res = await introspect(kit, access)
    expect(res.headers).toMatchObject({ 'cache-control': 'no-store' })
    expect(res.type).toBe('application/json')
    expect(res.body).toEqual({
      active: true,
      token_type: 'Bearer',
      token_use: 'access_token',
      iss: ISSUER,
      aud: ISSUER,
      sub: 'alice',
      exp,
      iat: NOW / 1000,
      jti,
      scope: 'stock:read',
      sid,
      auth_time: NOW / 1000,
      tenant: 'acme',
      roles: ['admin'],
      amr: ['pwd'],
      acr: 'mfa',
    })
  })

  it('says of session and refresh tokens that they are no Bearer tokens', async () => {
    const kit = await openServices()
    const { session, refresh, sid } = await kit.login()
    const known = { active: true, sub: 'alice', sid, iss: ISSUER, aud: ISSUER }
    const ofSession = await introspect(kit, session)
    expect(ofSession.body).toMatchObject({
      ...known,
      token_type: 'Session',
      token_use: 'session_token',
      exp: NOW / 1000 + 7 * 86_400,
      iat: NOW / 1000,
    })
    const ofRefresh = await introspect(kit, refresh)
    expect(ofRefresh.body).toMatchObject({ ...known, token_use: 'refresh_token' })
    expect(ofRefresh.body).not.toHaveProperty('token_type')
  })

  it("says of a service's own token which service, and of an exchanged one who acts", async () => {
    const kit = await openServices()
    const machine = await introspect(kit, await machineToken(kit), AS_BILLING)
    expect(machine.body).toMatchObject({ active: true, sub: 'orders', client_id: 'orders' })
    expect(machine.body).not.toHaveProperty('sid')
    const { access, sid } = await kit.login()
    const { token } = issued(await exchange(kit, { subject_token: access }))
    const { body } = await introspect(kit, token)
    const act = { sub: 'orders' }
    expect(body).toMatchObject({ active: true, sub: 'alice', sid, aud: ORDERS_API, act })
  })

  it('is no activity: it writes nothing', async () => {
    const kit = await openServices()
    const { access, session, refresh, sid } = await kit.login()
    await kit.tick(10 * MINUTE)
    const before = await kit.stored(sid)
    for (const token of [access, session, refresh]) await introspect(kit, token).expect(200)
    expect(await kit.stored(sid)).toEqual(before)
  })

  it('says the same, to the byte, of everything that is not good', async () => {
    const kit = await openServices()
    const [login, ended, denied] = [await kit.login(), await kit.login(), await kit.login()]
    const machine = await machineToken(kit)
    const { access, session, refresh } = login
    const valid = decodeJwt(access)
    const renewed = await request(kit.server)
      .post('/auth/refresh')
      .set('Cookie', login.refreshCookie)
    expect(renewed.status).toBe(200)
    await kit.latchkey.sessions.revoke(ended.sid)
    await postForm(kit, '/auth/revoke', { token: denied.access }).expect(200)
    await postForm(kit, '/auth/revoke', { token: machine }).expect(200)
    const other = generateSigningKey()
    const texts = {
      garbage: 'x',
      blanks: ' ',
      spaced: ` ${access}`,
      'with padding': `${access}==`,
      long: `${access}${'A'.repeat(5000)}`,
      'of another key': sign(valid, other),
      'of another issuer': sign({ ...valid, iss: 'https://evil.example' }),
      'for another audience': sign({ ...valid, aud: 'https://elsewhere.example' }),
      'no access token': forge(
        { alg: 'ES256', typ: 'JWT', kid: SIGNING_KEY.kid },
        valid,
        halves(SIGNING_KEY).privateKey,
      ),
      'alg none': `${Buffer.from('{"alg":"none","typ":"at+jwt","kid":"x"}').toString('base64url')}.${access.split('.')[1]}.`,
      'a used refresh token': refresh,
      'a forged session token': otherEnd(session),
      'a session id': login.sid,
      'of an ended session': ended.access,
      'the session token of one': ended.session,
      'the refresh token of one': ended.refresh,
      'that was revoked': denied.access,
      "a service's that was revoked": machine,
      'of an unknown session': sign({ ...valid, sid: otherEnd(login.sid) }),
      "of another user's session": sign({ ...valid, sub: 'bob' }),
    }
    const answers = await Promise.all(
      Object.values(texts).map(async (token) => introspect(kit, token)),
    )
    const seen = answers.map(({ status, text, headers }) => {
      const { date: _, ...rest } = headers as Record<string, string>
      return JSON.stringify([status, text, rest])
    })
    expect(Object.keys(texts).filter((_, index) => seen[index] !== seen[0])).toEqual([])
    expect(answers[0]?.text).toBe(INACTIVE)
    await kit.tick(HOUR)
    await expectInactive(kit, access)
  })

  it('does not take a half logged in session for one', async () => {
    const kit = await openServices()
    kit.users.set('alice', { id: 'alice', level: 'partial' })
    const { access, session, refresh } = await kit.login()
    for (const token of [access, session, refresh]) await expectInactive(kit, token)
    expect((await introspect(kit, access)).text).toBe(INACTIVE)
  })

  it('does not take a token that is older than a change', async () => {
    const kit = await openServices()
    const { access, sid } = await kit.login()
    await kit.latchkey.sessions.update(sid, { roles: ['reader'] })
    expect((await introspect(kit, access)).text).toBe(INACTIVE)
  })

  it('holds to what this node heard, whatever the store says', async () => {
    const kit = await openServices()
    const login = await kit.login()
    kit.spy.faults.set('check', 'rejects')
    await kit.latchkey.sessions.revoke(login.sid)
    expect((await introspect(kit, login.session)).text).toBe(INACTIVE)
  })

  it('holds to what the store knows, also where the feed brought nothing', async () => {
    const kit = await openServices({ feed: 'deaf' })
    const [stale, denied] = [await kit.login(), await kit.login()]
    const { sid } = stale
    const found = await kit.spy.raw.check({ sid, peek: true, idleTimeoutMs: HOUR })
    if (found.outcome !== 'alive') throw new Error(found.outcome)
    const { ver, attributes } = found.session
    await kit.spy.raw.update({ sid, ver, attributes: { ...attributes, roles: ['reader'] } })
    const { jti = '', exp = 0 } = decodeJwt(denied.access)
    await kit.spy.raw.deny({ sid: denied.sid, jti, expiresAt: exp * 1000 })
    for (const { access } of [stale, denied]) {
      expect((await introspect(kit, access)).text).toBe(INACTIVE)
    }
  })

  it('holds to a denial that this node heard, whatever the store says', async () => {
    const kit = await openServices()
    const { access } = await kit.login()
    await postForm(kit, '/auth/revoke', { token: access }).expect(200)
    kit.spy.faults.set('check', 'rejects')
    expect((await introspect(kit, access)).text).toBe(INACTIVE)
  })

  it.each(['access', 'session', 'refresh'] as const)(
    'is 503 for a good %s token while the store fails',
    async (kind) => {
      const kit = await openServices()
      const login = await kit.login()
      kit.spy.faults.set('check', 'rejects')
      const res = await introspect(kit, login[kind])
      expect(res.status).toBe(503)
      expect(res.headers).toMatchObject({ 'retry-after': '1', 'cache-control': 'no-store' })
      expect(res.body).toMatchObject({ error: 'temporarily_unavailable' })
      expect((await introspect(kit, 'garbage')).text).toBe(INACTIVE)
    },
  )

  it("is 503 for a service's own token while the store fails", async () => {
    const kit = await openServices()
    const machine = await machineToken(kit)
    kit.spy.faults.set('isDenied', 'hangs')
    const res = await introspect(kit, machine)
    expect(res.status).toBe(503)
  })

  it('knows the service before it looks at the token', async () => {
    const kit = await openServices()
    const { access } = await kit.login()
    kit.spy.reset()
    const wrong = 'Basic b3JkZXJzOndyb25n'
    const answers = await Promise.all(
      [access, 'garbage', ''].flatMap((token) => [
        introspect(kit, token, null),
        introspect(kit, token, wrong),
      ]),
    )
    for (const res of answers) {
      expect(res.status).toBe(401)
      expect(res.body).toMatchObject({ error: 'invalid_client', code: 'invalid_client' })
      expect(res.headers['www-authenticate']).toBe('Basic realm="services", charset="UTF-8"')
    }
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1)
    expect(kit.spy.calls).toEqual([])
  })

  it('takes a form only, of 16 KiB at most, with each parameter once', async () => {
    const kit = await openServices()
    const { access } = await kit.login()
    const post = () => request(kit.server).post('/auth/introspect').set('Authorization', AS_ORDERS)
    expect(await post().send({ token: access })).toMatchObject({ status: 415 })
    expect(await post().type('text/plain').send(`token=${access}`)).toMatchObject({ status: 415 })
    expect(await post()).toMatchObject({ status: 400, body: { error: 'invalid_request' } })
    expect(await post().type('form').send('token=')).toMatchObject({ status: 400 })
    const twice = await post().type('form').send(`token=${access}&token=${access}`)
    expect(twice).toMatchObject({ status: 400, body: { error: 'invalid_request' } })
    const huge = await post()
      .type('form')
      .send(`token=${'a'.repeat(10_000_000)}`)
    expect(huge.status).toBe(413)
    const known = await post().type('form').send(`token=${access}&token_type_hint=junk&x=1`)
    expect(known.body).toMatchObject({ active: true })
    const get = await request(kit.server).get('/auth/introspect').query({ token: access })
    expect(get.status).toBe(405)
  })

  it('is not there without services', async () => {
    const kit = await openKit()
    for (const path of ['/auth/introspect', '/auth/revoke', '/auth/token']) {
      expect(await postForm(kit, path, { token: 'x' })).toMatchObject({ status: 404 })
    }
  })
})

describe('what stands for what', () => {
  it.each<[string, (login: Login) => string]>([
    ['refresh token', ({ refresh }) => refresh],
    ['session token', ({ session }) => session],
    ['access token', ({ access }) => access],
  ])('no %s authenticates a service', async (_, pick) => {
    const kit = await openServices()
    const token = pick(await kit.login())
    const sent = [`Bearer ${token}`, `Session ${token}`, `Basic ${token}`]
    const statuses = await Promise.all(
      sent.map(async (header) => (await introspect(kit, 'x', header)).status),
    )
    expect(statuses).toEqual([401, 401, 401])
  })
})
