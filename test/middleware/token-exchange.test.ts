import { sign } from 'node:crypto'
import { afterEach, describe, expect, it } from '@jest/globals'
import { decodeJwt } from 'jose'
import type { Request } from 'express'
import request from 'supertest'
import type { SigningKeyInput } from '../../middleware/index.ts'
import type { KitSetup, TestKit } from '../support/kit.ts'
import { closeKits, guarded, ISSUER, MINUTE, NOW, SECOND, sendMethod } from '../support/kit.ts'
import {
  AS_BILLING,
  EXCHANGE,
  exchange,
  issued,
  machineToken,
  openServices,
  ORDERS_API,
  postForm,
  STOCK_API,
  TOKEN_TYPES,
} from '../support/token-services.ts'
import { drawKeyPair } from '../support/key-pair.ts'

afterEach(closeKits)

/** Exchanges as the user's own client does, with what authenticates it. */
function exchangeOwn(
  kit: TestKit,
  headers: Record<string, string>,
  form: Record<string, string> = {},
): request.Test {
  return request(kit.server)
    .post('/auth/token')
    .set(headers)
    .type('form')
    .send({ grant_type: EXCHANGE, audience: ORDERS_API, ...form })
}

describe('token exchange by a service', () => {
  it("makes of a user's token one for another audience, of the same session", async () => {
    const kit = await openServices()
    const { access, sid } = await kit.login()
    const came = decodeJwt(access)
    const res = await exchange(kit, { subject_token: access })
    expect(res.headers).toMatchObject({ 'cache-control': 'no-store' })
    const { token, claims } = issued(res)
    expect(res.body).toEqual({
      access_token: token,
      issued_token_type: TOKEN_TYPES.access,
      token_type: 'Bearer',
      expires_in: 300,
      scope: 'stock:read stock:write profile',
    })
    expect(claims).toEqual({
      iss: ISSUER,
      aud: ORDERS_API,
      sub: 'alice',
      iat: NOW / 1000,
      exp: NOW / 1000 + 300,
      jti: expect.not.stringMatching(String(came.jti)),
      sid,
      gen: came['gen'],
      ver: came['ver'],
      auth_time: came['auth_time'],
      scope: 'stock:read stock:write profile',
      client_id: 'orders',
      act: { sub: 'orders' },
    })
    expect(kit.events.at(-1)).toMatchObject({
      type: 'authn_token_created',
      user: { id: 'alice' },
      sessionId: sid,
      cause: 'token_exchange',
      detail: { audience: ORDERS_API, service: 'orders', jti: claims['jti'] },
    })
  })

  it('takes a session token too', async () => {
    const kit = await openServices()
    const { session, sid } = await kit.login()
    const subject_token_type = TOKEN_TYPES.session
    const { claims } = issued(await exchange(kit, { subject_token: session, subject_token_type }))
    expect(claims).toMatchObject({ sid, sub: 'alice', act: { sub: 'orders' } })
  })

  it('grants what is asked for, what came in and what the audience may have at most', async () => {
    const kit = await openServices()
    const { access } = await kit.login()
    const scopeOf = async (form: Record<string, string>) =>
      (await exchange(kit, { subject_token: access, ...form })).body as Record<string, unknown>
    expect(await scopeOf({ audience: STOCK_API })).toMatchObject({ scope: 'stock:read' })
    expect(await scopeOf({ scope: 'profile' })).toMatchObject({ scope: 'profile' })
    const wider = [
      { scope: 'admin' },
      { scope: 'profile admin' },
      { audience: STOCK_API, scope: 'stock:write' },
      { scope: '"' },
      { scope: 'profile  stock:read' },
    ]
    for (const form of wider) {
      expect(await scopeOf(form)).toMatchObject({ error: 'invalid_scope', code: 'invalid_scope' })
    }
  })

  it('never widens again what was narrowed', async () => {
    const kit = await openServices()
    const { access } = await kit.login()
    const narrow = issued(await exchange(kit, { subject_token: access, scope: 'profile' }))
    const again = issued(await exchange(kit, { subject_token: narrow.token }))
    expect(again.claims).toMatchObject({ scope: 'profile', aud: ORDERS_API })
    const wider = await exchange(kit, { subject_token: narrow.token, scope: 'stock:read' })
    expect(wider.body).toMatchObject({ error: 'invalid_scope' })
  })

  it('makes of an exchanged token none for another audience', async () => {
    const kit = await openServices({ options: { audiences: [ORDERS_API, STOCK_API, ISSUER] } })
    const { access } = await kit.login()
    const first = issued(await exchange(kit, { subject_token: access }))
    const own = issued(await exchange(kit, { subject_token: access, audience: ISSUER }))
    for (const [subject_token, audience] of [
      [first.token, STOCK_API],
      [first.token, ISSUER],
      [own.token, ORDERS_API],
    ] as const) {
      const res = await exchange(kit, { subject_token, audience })
      expect([res.status, res.body]).toEqual([
        400,
        expect.objectContaining({ error: 'invalid_target' }),
      ])
    }
    expect(await exchange(kit, { subject_token: own.token, audience: ISSUER })).toMatchObject({
      status: 200,
    })
  })

  it.each([
    ['an unknown audience', { audience: 'https://evil.example' }],
    ['an audience as a near miss', { audience: `${ORDERS_API}/` }],
    ['a prototype', { audience: '__proto__' }],
    ['two targets', { resource: STOCK_API }],
    ["the kit's own audience, which is not listed", { audience: ISSUER }],
  ])('refuses %s', async (_, form) => {
    const kit = await openServices()
    const { access } = await kit.login()
    const res = await exchange(kit, { subject_token: access, ...form })
    expect([res.status, res.body]).toEqual([
      400,
      expect.objectContaining({ error: 'invalid_target' }),
    ])
  })

  it('refuses an audience that is not for this service', async () => {
    const kit = await openServices()
    const { access } = await kit.login()
    const res = await exchange(kit, { subject_token: access }, AS_BILLING)
    expect(res.body).toMatchObject({ error: 'invalid_target' })
    const good = await exchange(kit, { subject_token: access, audience: STOCK_API }, AS_BILLING)
    expect(issued(good).claims).toMatchObject({ client_id: 'billing', aud: STOCK_API })
  })

  it('never outlives the token that came in, nor the session', async () => {
    const kit = await openServices({ options: { idleTimeout: '20m', accessTokenTtl: '15m' } })
    const { access, session } = await kit.login()
    const { exp = 0 } = decodeJwt(access)
    kit.clock.now = exp * 1000 - 60 * SECOND
    await kit.tick(0)
    const late = issued(await exchange(kit, { subject_token: access }))
    expect(late.claims['exp']).toBe(exp)
    expect(late.claims['iat']).toBe(exp - 60)
    // A moment later it is taken still, for the clocks' sake, but nothing is left to hand on.
    kit.clock.now = exp * 1000
    await kit.tick(0)
    const over = await exchange(kit, { subject_token: access })
    expect([over.status, over.body]).toEqual([
      400,
      expect.objectContaining({ error: 'invalid_request', code: 'subject_token_invalid' }),
    ])
    const subject_token_type = TOKEN_TYPES.session
    const other = issued(await exchange(kit, { subject_token: session, subject_token_type }))
    expect(other.claims['exp']).toBe(exp + 300)
  })

  it('names who acts, the newest outermost, and not for ever', async () => {
    const kit = await openServices({ options: { audiences: [STOCK_API] } })
    const { access } = await kit.login()
    const form = { audience: STOCK_API }
    const first = issued(await exchange(kit, { ...form, subject_token: access }))
    const second = issued(await exchange(kit, { ...form, subject_token: first.token }, AS_BILLING))
    expect(second.claims['act']).toEqual({ sub: 'billing', act: { sub: 'orders' } })
    const same = issued(await exchange(kit, { ...form, subject_token: second.token }, AS_BILLING))
    expect(same.claims['act']).toEqual(second.claims['act'])
    const third = issued(await exchange(kit, { ...form, subject_token: same.token }))
    const fourth = issued(await exchange(kit, { ...form, subject_token: third.token }, AS_BILLING))
    const fifth = await exchange(kit, { ...form, subject_token: fourth.token })
    expect(fifth.body).toMatchObject({ code: 'subject_token_invalid' })
  })

  it.each(['a logout', 'a change of rights', 'a revocation of the token'])(
    'is over after %s',
    async (what) => {
      const kit = await openServices()
      const { access, bearer, sid } = await kit.login()
      if (what === 'a logout') {
        await request(kit.server).post('/auth/logout').set('Authorization', bearer).expect(204)
      } else if (what === 'a change of rights') {
        await kit.latchkey.sessions.update(sid, { scope: [] })
      } else await postForm(kit, '/auth/revoke', { token: access }).expect(200)
      const res = await exchange(kit, { subject_token: access })
      expect([res.status, res.body]).toEqual([
        400,
        expect.objectContaining({ error: 'invalid_request', code: 'subject_token_invalid' }),
      ])
    },
  )

  it('is over on a node that was not told and does not hear', async () => {
    const kit = await openServices({ feed: 'deaf' })
    const { access, sid } = await kit.login()
    await kit.spy.raw.revoke({ sid })
    const res = await exchange(kit, { subject_token: access })
    expect(res.body).toMatchObject({ code: 'subject_token_invalid' })
  })

  it('makes tokens that end with the session', async () => {
    const kit = await openServices()
    const { access, sid } = await kit.login()
    const { token } = issued(await exchange(kit, { subject_token: access }))
    const isActive = async () => (await postForm(kit, '/auth/introspect', { token })).text
    expect(await isActive()).toContain('"active":true')
    await kit.latchkey.sessions.revoke(sid)
    expect(await isActive()).toBe('{"active":false}')
  })

  it('takes no token that is none of these, of another type, or half logged in', async () => {
    const kit = await openServices()
    const { access, session, refresh } = await kit.login()
    const machine = await machineToken(kit)
    kit.users.set('bob', { id: 'bob', level: 'partial' })
    const partial = await kit.login('bob')
    for (const [subject_token, subject_token_type] of [
      ['x', TOKEN_TYPES.access],
      [machine, TOKEN_TYPES.access],
      [refresh, TOKEN_TYPES.access],
      [refresh, TOKEN_TYPES.refresh],
      [refresh, TOKEN_TYPES.session],
      [session, TOKEN_TYPES.access],
      [access, TOKEN_TYPES.session],
      [access, 'urn:ietf:params:oauth:token-type:saml2'],
      [partial.access, TOKEN_TYPES.access],
      [partial.session, TOKEN_TYPES.session],
    ] as const) {
      const res = await exchange(kit, { subject_token, subject_token_type })
      expect(res.body).toMatchObject({ error: 'invalid_request', code: 'subject_token_invalid' })
    }
    expect(await kit.stored((await kit.login()).sid)).not.toBeNull()
  })

  it.each([
    ['grant_type', { grant_type: '' }, 'invalid_request'],
    ['an unknown grant_type', { grant_type: 'password' }, 'unsupported_grant_type'],
    ['no subject_token', { subject_token: '' }, 'invalid_request'],
    ['no subject_token_type', { subject_token_type: '' }, 'invalid_request'],
    ['no audience', { audience: '' }, 'invalid_request'],
    ['an actor of its own', { actor_token: 'x', actor_token_type: 'x' }, 'invalid_request'],
    [
      'a wish for a refresh token',
      { requested_token_type: TOKEN_TYPES.refresh },
      'invalid_request',
    ],
  ])('refuses a request with %s', async (_, form, error) => {
    const kit = await openServices()
    const { access } = await kit.login()
    const res = await exchange(kit, { subject_token: access, ...form })
    expect([res.status, res.type]).toEqual([400, 'application/json'])
    expect(res.body).toMatchObject({ error, error_description: expect.any(String) })
  })

  it('knows the service before it looks at the token', async () => {
    const kit = await openServices()
    const { access } = await kit.login()
    kit.spy.reset()
    for (const authorization of [null, 'Basic b3JkZXJzOng=']) {
      const answers = [access, 'x'].map(async (token) =>
        exchange(kit, { subject_token: token }, authorization),
      )
      for (const res of await Promise.all(answers)) {
        expect([res.status, res.body]).toEqual([
          401,
          expect.objectContaining({ error: 'invalid_client' }),
        ])
      }
    }
    expect(kit.spy.calls).toEqual([])
  })

  it('takes the token it was given, also of a service that no header and no form names', async () => {
    const services = ({ headers }: Request) =>
      headers['x-client'] === 'orders' ? { id: 'orders' } : null
    const kit = await openServices({ options: { services } })
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    for (const cookie of [{}, { Cookie: bob.sessionCookie }]) {
      const res = await exchange(kit, { subject_token: alice.access }, null).set({
        'X-Client': 'orders',
        ...cookie,
      })
      expect(issued(res).claims).toMatchObject({ sub: 'alice', act: { sub: 'orders' } })
    }
  })

  it('is 503 while the store fails', async () => {
    const kit = await openServices()
    const { access } = await kit.login()
    kit.spy.faults.set('check', 'hangs')
    const res = await exchange(kit, { subject_token: access })
    expect([res.status, res.headers['retry-after']]).toEqual([503, '1'])
  })
})

describe("token exchange by the user's own client", () => {
  it.each(['Bearer', 'Session', 'cookie'])('takes the credential that came: %s', async (kind) => {
    const kit = await openServices()
    const { bearer, session, sessionCookie, sid } = await kit.login()
    const headers: Record<string, string> =
      kind === 'cookie'
        ? { Cookie: sessionCookie }
        : { Authorization: kind === 'Bearer' ? bearer : `Session ${session}` }
    const { claims } = issued(await exchangeOwn(kit, headers, { scope: 'profile' }))
    expect(claims).toMatchObject({ sid, aud: ORDERS_API, scope: 'profile' })
    expect(claims).not.toHaveProperty('act')
    expect(claims).not.toHaveProperty('client_id')
  })

  it('takes cookies from its own pages only', async () => {
    const kit = await openServices()
    const { sessionCookie } = await kit.login()
    const foreign = { Cookie: sessionCookie, 'Sec-Fetch-Site': 'cross-site' }
    expect(await exchangeOwn(kit, foreign)).toMatchObject({ status: 403 })
  })

  it('is 401 for who sent nothing, or what is over', async () => {
    const kit = await openServices()
    const { bearer, sid } = await kit.login()
    expect(await exchangeOwn(kit, {})).toMatchObject({ status: 401 })
    await kit.latchkey.sessions.revoke(sid)
    expect(await exchangeOwn(kit, { Authorization: bearer })).toMatchObject({
      status: 401,
      body: { code: 'session_revoked' },
    })
  })

  it('has no token of somebody else exchanged', async () => {
    const kit = await openServices()
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    const form = { subject_token: bob.access, subject_token_type: TOKEN_TYPES.access }
    const res = await exchangeOwn(kit, { Authorization: alice.bearer }, form)
    expect([res.status, res.body]).toEqual([
      401,
      expect.objectContaining({ error: 'invalid_client' }),
    ])
  })

  it('is there without services, as soon as there are audiences', async () => {
    const kit = await openServices({ options: { services: undefined } })
    const { bearer } = await kit.login()
    expect(await exchangeOwn(kit, { Authorization: bearer })).toMatchObject({ status: 200 })
    for (const path of ['/auth/introspect', '/auth/revoke']) {
      expect(await postForm(kit, path, { token: 'x' })).toMatchObject({ status: 404 })
    }
    const machine = await postForm(kit, '/auth/token', { grant_type: 'client_credentials' })
    expect(machine).toMatchObject({ status: 401, body: { error: 'invalid_client' } })
  })
})

describe("an exchanged token at the kit's own guards", () => {
  const routes: KitSetup['routes'] = (app, latchkey) =>
    guarded(latchkey.hybridGuard({ sensitive: true, scope: ['stock:write'] }))(app)

  it('is refused: it is for somebody else', async () => {
    const kit = await openServices()
    const { access } = await kit.login()
    const { token } = issued(await exchange(kit, { subject_token: access }))
    for (const path of ['/jwt', '/hybrid', '/sensitive', '/auth/session']) {
      const res = await request(kit.server).get(path).set('Authorization', `Bearer ${token}`)
      expect([res.status, res.body]).toEqual([
        401,
        expect.objectContaining({ code: 'token_invalid' }),
      ])
    }
  })

  it('stays as narrow as it is where its audience is ours, also when the store was asked', async () => {
    const kit = await openServices({ routes, options: { audiences: [ISSUER] } })
    const { access, bearer } = await kit.login()
    await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
    const form = { audience: ISSUER, subject_token: access, scope: 'profile' }
    const { token } = issued(await exchange(kit, form))
    const narrow = `Bearer ${token}`
    await request(kit.server).get('/sensitive').set('Authorization', narrow).expect(200)
    const res = await request(kit.server).get('/guarded').set('Authorization', narrow)
    expect([res.status, res.body]).toEqual([
      403,
      expect.objectContaining({ code: 'insufficient_scope' }),
    ])
  })
})

describe("a service's part of a user, where the audience is ours", () => {
  async function openDelegated(): Promise<{ kit: TestKit; sid: string; bearer: string }> {
    const kit = await openServices({ options: { audiences: [ISSUER] } })
    kit.users.set('root', { id: 'root', roles: ['admin'], scope: ['profile'] })
    const { access, sid } = await kit.login('root')
    const form = { audience: ISSUER, subject_token: access, scope: 'profile' }
    const { token } = issued(await exchange(kit, form))
    return { kit, sid, bearer: `Bearer ${token}` }
  }

  it.each([
    ['POST', '/auth/logout-all'],
    ['POST', '/auth/step-up'],
    ['GET', '/auth/session'],
    ['GET', '/auth/sessions'],
    ['GET', '/auth/sessions?user_id=bob'],
    ['DELETE', '/auth/sessions'],
    ['DELETE', '/auth/sessions?user_id=root'],
    ['DELETE', '/auth/sessions/:id'],
    ['GET', '/auth/audit'],
  ])('sees and ends no sessions: %s %s', async (method, path) => {
    const { kit, sid, bearer } = await openDelegated()
    const sent = sendMethod(kit, method, path.replace(':id', sid))
    expect(await sent.set('Authorization', bearer)).toMatchObject({
      status: 403,
      body: { code: 'forbidden' },
    })
    expect(await kit.stored(sid)).not.toBeNull()
    expect(kit.events.at(-1)).toMatchObject({
      type: 'authz_fail',
      user: { id: 'root' },
      detail: { service: 'orders' },
    })
  })

  it('logs nobody out', async () => {
    const { kit, sid, bearer } = await openDelegated()
    await request(kit.server).post('/auth/logout').set('Authorization', bearer).expect(204)
    expect(await kit.stored(sid)).not.toBeNull()
  })

  it('is handed on by services only, never by whoever found it', async () => {
    const { kit, bearer } = await openDelegated()
    const res = await exchangeOwn(kit, { Authorization: bearer }, { audience: ISSUER })
    expect([res.status, res.body]).toEqual([403, expect.objectContaining({ code: 'forbidden' })])
  })
})

describe('audiences', () => {
  it.each([
    ['a text', 'https://a.example', 'audiences'],
    ['an empty name', [''], 'audiences'],
    ['a misspelt option', { a: { scopes: [] } }, 'audiences["a"].scopes'],
    ['a scope that is no list', { a: { scope: 'x' } }, 'audiences["a"].scope'],
    ['a life longer than that of access tokens', { a: { ttl: '16m' } }, 'audiences["a"].ttl'],
    ['too short a life', { a: { ttl: '1s' } }, 'audiences["a"].ttl'],
  ])('refuses %s', async (_, audiences, option) => {
    await expect(
      openServices({ options: { audiences: audiences as never } }),
    ).rejects.toMatchObject({ code: 'invalid_option', option })
  })

  it('have tokens of their own life, never longer than an access token', async () => {
    const kit = await openServices({ options: { accessTokenTtl: '2m', audiences: [ORDERS_API] } })
    const { access } = await kit.login()
    const res = await exchange(kit, { subject_token: access })
    const { expires_in: seconds } = res.body as { expires_in: number }
    expect(seconds).toBeLessThanOrEqual((2 * MINUTE) / SECOND)
  })
})

describe('token exchange while the signature takes its time', () => {
  const { privateKey, publicKey } = drawKeyPair('ec', { namedCurve: 'P-256' })

  it.each([
    ['session', 'its session ends'],
    ['access', 'its session ends'],
    ['access', 'the token itself is revoked'],
  ] as const)('makes nothing of a token of type %s when %s meanwhile', async (type, what) => {
    let meanwhile = async (): Promise<unknown> => undefined
    const key: SigningKeyInput = {
      alg: 'ES256',
      publicKey: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      async sign(data) {
        await meanwhile()
        return sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
      },
    }
    const kit = await openServices({ options: { signingKeys: [key] } })
    const login = await kit.login()
    const form = { subject_token: login[type], subject_token_type: TOKEN_TYPES[type] }
    expect((await exchange(kit, form)).status).toBe(200)
    meanwhile =
      what === 'its session ends'
        ? async () => kit.latchkey.sessions.revoke(login.sid)
        : async () => postForm(kit, '/auth/revoke', { token: login.access })
    const res = await exchange(kit, form)
    expect([res.status, res.body]).toMatchObject([400, { code: 'subject_token_invalid' }])
  })
})
