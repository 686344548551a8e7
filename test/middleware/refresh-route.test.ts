import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { createKeyRing } from '../../lib/key-ring.ts'
import { formatRefreshToken, readRefreshToken } from '../../lib/refresh-token.ts'
import type { Store } from '../../lib/store.ts'
import { memoryStore } from '../../middleware/index.ts'
import { halves, signAs } from '../support/forge.ts'
import type { Login, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  cookiesOf,
  HOUR,
  MINUTE,
  NOW,
  openKit,
  readLogin,
  SECOND,
  SECRET,
  sendMethod,
  SIGNING_KEY,
  setCookies,
  spyOn,
  typesOf,
  until,
} from '../support/kit.ts'

afterEach(closeKits)

type Headers = Record<string, string>

function refresh(kit: TestKit, headers: Headers, body?: object): request.Test {
  const sent = request(kit.server).post('/auth/refresh').set(headers)
  return body === undefined ? sent : sent.send(body)
}

async function openWith(options: TestOptions = {}): Promise<TestKit> {
  return openKit({ options })
}

/** The refresh token of any generation of a login, as its holder once had it. */
function tokenOf(login: Login, generation: number): string {
  const ring = createKeyRing([SECRET])
  const token = readRefreshToken(ring, login.refresh)
  if (token === null) throw new Error('no refresh token')
  return formatRefreshToken(ring, { ...token, generation })
}

function cookieOf(login: Login, generation: number): string {
  return `${COOKIES.refresh}=${tokenOf(login, generation)}`
}

/** What every failed refresh looks like. */
function expectFailure(
  res: request.Response,
  status: number,
  code: string,
  outcome: 'terminal' | 'retryable',
): void {
  expect(res.body).toMatchObject({ status, code, outcome, error: expect.any(String) })
  expect(res.status).toBe(status)
  expect(res.headers['content-type']).toBe('application/problem+json; charset=utf-8')
  expect(res.headers['cache-control']).toBe('no-store')
  expect(setCookies(res)).toEqual([])
}

describe('a refresh by cookie', () => {
  it('answers like a login, with one generation more, and no secret in the body', async () => {
    const kit = await openWith()
    const login = await kit.login()
    const res = await refresh(kit, { Cookie: login.refreshCookie }).expect(200)
    const renewed = readLogin(res)
    expect(renewed.sid).toBe(login.sid)
    expect(renewed.session).toBe(login.session)
    expect(renewed.refresh).toBe(tokenOf(login, 1))
    expect(res.body).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: expect.any(Number),
      server_time: expect.stringMatching(/^2026-06-01T/),
      session: expect.objectContaining({ id: login.sid, current: true }),
    })
    expect(res.headers['cache-control']).toBe('no-store')
    expect(res.text).not.toMatch(/lk[rs]_/)
    await request(kit.server).get('/jwt').set('Authorization', renewed.bearer).expect(200)
  })

  it('sets both cookies with every attribute, until the absolute deadline', async () => {
    const kit = await openWith({ absoluteTimeout: '30d' })
    const login = await kit.login()
    await kit.tick(HOUR)
    const res = await refresh(kit, { Cookie: login.refreshCookie }).expect(200)
    const left = 30 * 24 * 3600 - 3600
    expect(setCookies(res)).toEqual([
      `${COOKIES.session}=${login.session}; Max-Age=${left}; Path=/; HttpOnly; Secure; SameSite=Lax`,
      `${COOKIES.refresh}=${tokenOf(login, 1)}; Max-Age=${left}; Path=/; HttpOnly; Secure; SameSite=Strict`,
    ])
  })

  it('sets cookies that end with the browser for remember: false', async () => {
    const kit = await openWith()
    kit.users.set('alice', { id: 'alice', remember: false })
    const login = await kit.login()
    const res = await refresh(kit, { Cookie: login.refreshCookie }).expect(200)
    for (const line of [...setCookies(login.res), ...setCookies(res)]) {
      expect(line).not.toMatch(/Max-Age|Expires/i)
      expect(line).toMatch(/; Path=\/; HttpOnly; Secure; SameSite=/)
    }
    expect(setCookies(res)).toHaveLength(2)
  })

  it('sets the access cookie as well with accessToken: cookie', async () => {
    const kit = await openWith({ accessToken: 'cookie' })
    const login = await kit.login()
    const res = await refresh(kit, { Cookie: login.refreshCookie }).expect(200)
    expect([...cookiesOf(res).keys()]).toEqual(Object.values(COOKIES))
    expect(res.body).not.toHaveProperty('access_token')
  })

  it('makes one successor of a hundred parallel refreshes, and all are 200', async () => {
    const kit = await openWith()
    const login = await kit.login()
    kit.spy.reset()
    const answers = await Promise.all(
      Array.from({ length: 100 }, async () => refresh(kit, { Cookie: login.refreshCookie })),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    const successors = answers.map((res) => cookiesOf(res).get(COOKIES.refresh))
    expect(new Set(successors)).toEqual(new Set([tokenOf(login, 1)]))
    expect(await kit.generationOf(login.sid)).toBe(1)
    expect(kit.spy.calls).toEqual(Array.from({ length: 100 }, () => 'rotate'))
    expect(typesOf(kit)).not.toContain('authn_token_reuse')
    await request(kit.server).get('/session').set('Cookie', login.sessionCookie).expect(200)
  })

  it('never extends the absolute end', async () => {
    const kit = await openWith({ absoluteTimeout: '2h', idleTimeout: '2h' })
    const login = await kit.login()
    const ends = login.res.body as { session: { expires_at: string } }
    for (let generation = 0; generation < 3; generation++) {
      await kit.tick(30 * MINUTE)
      const res = await refresh(kit, { Cookie: cookieOf(login, generation) }).expect(200)
      expect(res.body).toMatchObject({ session: { expires_at: ends.session.expires_at } })
    }
    await kit.tick(30 * MINUTE)
    expectFailure(
      await refresh(kit, { Cookie: cookieOf(login, 3) }),
      401,
      'session_ended',
      'terminal',
    )
  })

  it('works under the new secret after the secrets were rotated, and re-issues under it', async () => {
    const one = await openWith()
    const login = await one.login()
    const fresh = 'another-secret-of-more-than-thirty-two-bytes'
    const two = await openKit({
      spy: one.spy,
      clock: one.clock,
      options: { secrets: [fresh, SECRET] },
    })
    const res = await refresh(two, { Cookie: login.refreshCookie }).expect(200)
    const renewed = readLogin(res)
    expect(readRefreshToken(createKeyRing([fresh]), renewed.refresh)).toMatchObject({
      sid: login.sid,
      generation: 1,
    })
    expect(renewed.session).not.toBe(login.session)
    // A node where the old secret was dropped knows only what was re-issued.
    const three = await openKit({ spy: one.spy, clock: one.clock, options: { secrets: [fresh] } })
    await request(three.server).get('/session').set('Cookie', renewed.cookie).expect(200)
    await request(three.server).get('/session').set('Cookie', login.cookie).expect(401)
    expectFailure(
      await refresh(three, { Cookie: login.refreshCookie }),
      401,
      'refresh_invalid',
      'terminal',
    )
    await refresh(three, { Cookie: renewed.refreshCookie }).expect(200)
  })

  it('ignores duplicates that do not verify; two that do are nobody’s', async () => {
    const kit = await openWith()
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    const forged = `${COOKIES.refresh}=${alice.refresh.slice(0, -22)}${'A'.repeat(22)}`
    expectFailure(
      await refresh(kit, { Cookie: `${alice.refreshCookie}; ${bob.refreshCookie}` }),
      400,
      'credentials_ambiguous',
      'retryable',
    )
    expect(await kit.generationOf(alice.sid)).toBe(0)
    await refresh(kit, { Cookie: `${forged}; ${alice.refreshCookie}; ${forged}x` }).expect(200)
    expectFailure(
      await refresh(kit, { Cookie: `${forged}; ${forged}x` }),
      401,
      'refresh_invalid',
      'terminal',
    )
  })
})

describe('a used refresh token', () => {
  it('two generations later ends the session, its access tokens and its cookies, nothing else', async () => {
    const kit = await openWith()
    const other = await kit.login()
    const login = await kit.login()
    const first = readLogin(await refresh(kit, { Cookie: login.refreshCookie }).expect(200))
    const second = readLogin(await refresh(kit, { Cookie: first.refreshCookie }).expect(200))
    const agent = request(kit.server)
    await agent.get('/jwt').set('Authorization', second.bearer).expect(200)

    const reused = await refresh(kit, { Cookie: login.refreshCookie })
    expectFailure(reused, 401, 'refresh_reused', 'terminal')
    expect(reused.body).toMatchObject({ error: 'invalid_grant' })
    for (const one of [login, first, second]) {
      for (const path of ['/jwt', '/hybrid', '/sensitive']) {
        await agent.get(path).set('Authorization', one.bearer).expect(401)
      }
      await agent.get('/session').set('Cookie', one.cookie).expect(401)
      expectFailure(
        await refresh(kit, { Cookie: one.refreshCookie }),
        401,
        'session_revoked',
        'terminal',
      )
    }
    await agent.get('/session').set('Cookie', other.cookie).expect(200)
    await agent.get('/jwt').set('Authorization', other.bearer).expect(200)
    await refresh(kit, { Cookie: other.refreshCookie }).expect(200)
    expect(kit.events.find(({ type }) => type === 'authn_token_reuse')).toMatchObject({
      user: { id: 'alice' },
      sessionId: login.sid,
      result: 'failure',
      detail: { distance: 2, revoked: 1 },
    })
  })

  it('is caught whatever its age: any ancestor still verifies', async () => {
    const kit = await openWith()
    const login = await kit.login()
    for (let generation = 0; generation < 20; generation++) {
      await refresh(kit, { Cookie: cookieOf(login, generation) }).expect(200)
    }
    expectFailure(
      await refresh(kit, { Cookie: login.refreshCookie }),
      401,
      'refresh_reused',
      'terminal',
    )
    expect(await kit.generationOf(login.sid)).toBeNull()
  })

  it("ends all of the user's sessions with onReuse: 'user', and nobody else's", async () => {
    const kit = await openWith({ onReuse: 'user' })
    const [other, bob, login] = [await kit.login(), await kit.login('bob'), await kit.login()]
    await refresh(kit, { Cookie: cookieOf(login, 0) }).expect(200)
    await refresh(kit, { Cookie: cookieOf(login, 1) }).expect(200)
    const reused = await refresh(kit, { Cookie: cookieOf(login, 0) })
    expectFailure(reused, 401, 'refresh_reused', 'terminal')
    expect(await kit.stored(other.sid)).toBeNull()
    const agent = request(kit.server)
    await agent.get('/jwt').set('Authorization', other.bearer).expect(401)
    await agent.get('/session').set('Cookie', other.cookie).expect(401)
    await agent.get('/jwt').set('Authorization', bob.bearer).expect(200)
    await agent.get('/session').set('Cookie', bob.cookie).expect(200)
  })

  it.each([
    ['0', 0, 200],
    ['1 ms before the end of grace', 10 * SECOND - 1, 200],
    ['the end of grace', 10 * SECOND, 401],
    ['an hour', HOUR, 401],
  ])('once, after %s', async (_, ageMs, status) => {
    const kit = await openWith()
    const login = await kit.login()
    await refresh(kit, { Cookie: login.refreshCookie }).expect(200)
    await kit.tick(ageMs)
    const res = await refresh(kit, { Cookie: login.refreshCookie })
    expect(res.status).toBe(status)
    if (status === 200) {
      expect(readLogin(res).refresh).toBe(tokenOf(login, 1))
      expect(await kit.generationOf(login.sid)).toBe(1)
    } else {
      expectFailure(res, 401, 'refresh_reused', 'terminal')
    }
  })

  it('gets no grace with reuseGrace 0s, but the same attempt does, for as long as it is the last', async () => {
    const kit = await openWith({ reuseGrace: '0s' })
    const login = await kit.login()
    const attempt = { Cookie: login.refreshCookie, 'Idempotency-Key': 'an-attempt-of-the-client' }
    await refresh(kit, attempt).expect(200)
    await kit.tick(HOUR)
    expect(readLogin(await refresh(kit, attempt).expect(200)).refresh).toBe(tokenOf(login, 1))
    expect(await kit.generationOf(login.sid)).toBe(1)
    await refresh(kit, { Cookie: login.refreshCookie }).expect(401, /refresh_reused/)
  })

  it('with another attempt id is reuse after grace', async () => {
    const kit = await openWith()
    const login = await kit.login()
    const key = (value: string) => ({ Cookie: login.refreshCookie, 'Idempotency-Key': value })
    await refresh(kit, key('attempt-number-0001')).expect(200)
    await kit.tick(11 * SECOND)
    const res = await refresh(kit, key('attempt-number-0002'))
    expectFailure(res, 401, 'refresh_reused', 'terminal')
    expect(await kit.generationOf(login.sid)).toBeNull()
  })

  it('gets no grace from another device', async () => {
    const kit = await openWith({ deviceBinding: (req) => req.get('X-Device') })
    const login = await kit.login('alice', { headers: { 'X-Device': 'one' } })
    const from = (device: string) => ({ Cookie: login.refreshCookie, 'X-Device': device })
    await refresh(kit, from('one')).expect(200)
    await refresh(kit, from('one')).expect(200)
    expectFailure(await refresh(kit, from('two')), 401, 'refresh_reused', 'terminal')
    expect(await kit.generationOf(login.sid)).toBeNull()
  })

  it('within lostResponseWindow is answered while nobody used the successor', async () => {
    const kit = await openWith({ lostResponseWindow: '1h' })
    const [lost, used] = [await kit.login(), await kit.login()]
    for (const login of [lost, used]) await refresh(kit, { Cookie: login.refreshCookie })
    await kit.tick(30 * MINUTE)
    const again = await refresh(kit, { Cookie: lost.refreshCookie }).expect(200)
    expect(readLogin(again).refresh).toBe(tokenOf(lost, 1))
    const successor = await refresh(kit, { Cookie: used.refreshCookie }).expect(200)
    await request(kit.server)
      .get('/sensitive')
      .set('Authorization', readLogin(successor).bearer)
      .expect(200)
    await refresh(kit, { Cookie: used.refreshCookie }).expect(401, /refresh_reused/)
  })

  it('of a session that is over is no reuse', async () => {
    const kit = await openWith()
    const login = await kit.login()
    await refresh(kit, { Cookie: cookieOf(login, 0) }).expect(200)
    await refresh(kit, { Cookie: cookieOf(login, 1) }).expect(200)
    kit.spy.feed = 'deaf'
    await kit.spy.raw.revoke({ sid: login.sid })
    expectFailure(
      await refresh(kit, { Cookie: cookieOf(login, 0) }),
      401,
      'session_ended',
      'terminal',
    )
    expect(typesOf(kit)).not.toContain('authn_token_reuse')
  })

  it('ahead of the store is recovered up to 16 generations, audited; further ahead it is invalid', async () => {
    const kit = await openWith()
    const [near, far] = [await kit.login(), await kit.login()]
    await refresh(kit, { Cookie: cookieOf(near, 16) }).expect(200)
    expect(await kit.generationOf(near.sid)).toBe(17)
    expect(typesOf(kit)).toContain('authn_token_recovered')
    expectFailure(
      await refresh(kit, { Cookie: cookieOf(far, 17) }),
      401,
      'refresh_invalid',
      'terminal',
    )
    expect(await kit.generationOf(far.sid)).toBe(0)
    expect(typesOf(kit)).toContain('malicious_token')
  })
})

describe('a forged refresh token', () => {
  it.each([
    ['nothing', () => ''],
    ['junk', () => 'junk'],
    ['a session token', (login: Login) => login.session],
    ['an access token', (login: Login) => login.access],
    ['a generation more under the same MAC', (login: Login) => login.refresh.replace('.0.', '.1.')],
    ['a generation with a leading zero', (login: Login) => login.refresh.replace('.0.', '.00.')],
    ['a negative generation', (login: Login) => login.refresh.replace('.0.', '.-1.')],
    ['a generation beyond 2^31', (login: Login) => login.refresh.replace('.0.', '.4294967296.')],
    ['a session prefix', (login: Login) => login.refresh.replace('lkr_', 'lks_')],
    ['another kid', (login: Login) => login.refresh.replace(/^lkr_.{6}/, 'lkr_constr')],
    ['a space behind', (login: Login) => `${login.refresh} x`],
    ['8 KB', (login: Login) => login.refresh.padEnd(8192, 'A')],
  ])('%s is refused before any store call and changes nothing', async (_, forge) => {
    const kit = await openWith()
    const login = await kit.login()
    kit.spy.reset()
    const text = forge(login)
    expectFailure(
      await refresh(kit, { Cookie: `${COOKIES.refresh}=${text}` }),
      401,
      'refresh_invalid',
      'terminal',
    )
    expectFailure(
      await refresh(kit, {}, { refresh_token: text }),
      401,
      'refresh_invalid',
      'terminal',
    )
    expect(kit.spy.calls).toEqual([])
    expect(await kit.generationOf(login.sid)).toBe(0)
  })

  it('of another secret, or with another seed, is refused', async () => {
    const kit = await openWith()
    const login = await kit.login()
    const token = readRefreshToken(createKeyRing([SECRET]), login.refresh)
    if (token === null) throw new Error('no token')
    const strange = createKeyRing(['x'.repeat(32)])
    await refresh(kit, {}, { refresh_token: formatRefreshToken(strange, token) }).expect(401)
    expect(typesOf(kit)).not.toContain('malicious_token')
    const seed = Buffer.alloc(32).toString('base64url')
    const forged = formatRefreshToken(createKeyRing([SECRET]), { ...token, seed })
    expectFailure(
      await refresh(kit, {}, { refresh_token: forged }),
      401,
      'refresh_invalid',
      'terminal',
    )
    // Only who has the secret gets here.
    expect(typesOf(kit)).toContain('malicious_token')
    expect(await kit.generationOf(login.sid)).toBe(0)
  })
})

describe('what a refresh takes', () => {
  it('the token in the body, and answers in the body without a cookie', async () => {
    const kit = await openWith()
    const login = await kit.login()
    const res = await refresh(kit, {}, { refresh_token: login.refresh }).expect(200)
    expect(res.body).toMatchObject({
      refresh_token: tokenOf(login, 1),
      session_token: login.session,
      access_token: expect.any(String),
    })
    expect(setCookies(res)).toEqual([])
    expect(res.headers['cache-control']).toBe('no-store')
  })

  it('not the token from a cookie in a body: a script does not get an HttpOnly cookie to read', async () => {
    const kit = await openWith({ delivery: 'body' })
    const login = await kit.login()
    const res = await refresh(kit, { Cookie: login.refreshCookie }).expect(200)
    expect(res.text).not.toMatch(/lk[rs]_/)
    expect(setCookies(res)).toHaveLength(2)
  })

  it('not both', async () => {
    const kit = await openWith()
    const login = await kit.login()
    for (const cookie of [login.refreshCookie, `${COOKIES.refresh}=junk`]) {
      expectFailure(
        await refresh(kit, { Cookie: cookie }, { refresh_token: login.refresh }),
        400,
        'credentials_ambiguous',
        'retryable',
      )
    }
    expect(await kit.generationOf(login.sid)).toBe(0)
  })

  it.each([
    [{ refresh_token: 1 }],
    [{ refresh_token: null }],
    [{ refresh_token: ['lkr_'] }],
    [{ refresh_token: {} }],
    [{ refreshToken: 'lkr_' }],
    [{ refresh_token: 'lkr_', grant_type: 'refresh_token' }],
    [{ constructor: {} }],
  ])('no other body: %j', async (body) => {
    const kit = await openWith()
    const login = await kit.login()
    for (const headers of [{}, { Cookie: login.refreshCookie }]) {
      expectFailure(await refresh(kit, headers, body), 400, 'invalid_request', 'retryable')
    }
    expect(await kit.generationOf(login.sid)).toBe(0)
  })

  it('neither the query, nor a header, nor a session cookie', async () => {
    const kit = await openWith()
    const login = await kit.login()
    const res = await request(kit.server)
      .post(`/auth/refresh?refresh_token=${login.refresh}`)
      .set({ Authorization: `Bearer ${login.refresh}`, Cookie: login.sessionCookie })
    expectFailure(res, 401, 'credentials_missing', 'terminal')
    expect(res.headers['www-authenticate']).toBe('Session')
    expect(await kit.generationOf(login.sid)).toBe(0)
  })

  it.each(['GET', 'HEAD', 'PUT', 'DELETE', 'PATCH'])('not %s', async (method) => {
    const kit = await openKit({
      routes: (app, { refreshRoute }) => app.use('/renew', refreshRoute()),
    })
    const login = await kit.login()
    for (const path of ['/auth/refresh', '/renew']) {
      const res = await sendMethod(kit, method, path).set('Cookie', login.cookie)
      expect(res.status).toBe(405)
      expect(res.headers['allow']).toBe('POST')
      expect(setCookies(res)).toEqual([])
    }
    expect(await kit.generationOf(login.sid)).toBe(0)
  })

  it('a standalone route works like the one of authRoutes', async () => {
    const kit = await openKit({
      routes: (app, { refreshRoute }) => app.post('/renew', refreshRoute()),
    })
    const login = await kit.login()
    const res = await request(kit.server).post('/renew').set('Cookie', login.cookie).expect(200)
    expect(readLogin(res).refresh).toBe(tokenOf(login, 1))
    expectFailure(await request(kit.server).post('/renew'), 401, 'credentials_missing', 'terminal')
  })

  it.each([
    'short',
    'x'.repeat(65),
    'has a space in it..',
    'semi;colon;semi;colon',
    'ünïcödé-attempt-id',
  ])('no Idempotency-Key like %s', async (key) => {
    const kit = await openWith()
    const login = await kit.login()
    const headers = { Cookie: login.refreshCookie, 'Idempotency-Key': key }
    expectFailure(await refresh(kit, headers), 400, 'invalid_request', 'retryable')
    expect(await kit.generationOf(login.sid)).toBe(0)
  })
})

describe('a refresh from another origin', () => {
  it.each([
    [{ 'Sec-Fetch-Site': 'cross-site' }],
    [{ 'Sec-Fetch-Site': 'same-site' }],
    [{ Origin: 'https://evil.example' }],
    [{ Origin: 'null' }],
    [{ Origin: 'http://app.example' }],
    [{ Origin: 'https://app.example.evil.com' }],
  ])('by cookie is 403 and leaves the generation: %j', async (headers) => {
    const kit = await openWith()
    const login = await kit.login()
    kit.spy.reset()
    expectFailure(
      await refresh(kit, { ...(headers as Headers), Cookie: login.cookie }),
      403,
      'cross_origin',
      'retryable',
    )
    expect(kit.spy.calls).toEqual([])
    expect(await kit.generationOf(login.sid)).toBe(0)
    expect(typesOf(kit)).toContain('malicious_csrf')
    // What stands in the body was put there by who has it.
    await refresh(kit, headers as Headers, { refresh_token: login.refresh }).expect(200)
  })

  it('has no CORS headers', async () => {
    const kit = await openWith()
    const login = await kit.login()
    const res = await refresh(kit, { Origin: 'https://app.example', Cookie: login.cookie })
    expect(res.status).toBe(200)
    expect(Object.keys(res.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
    expect(res.headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
    })
  })
})

describe('loadUser', () => {
  it('null ends the session: 401 terminal, and its tokens are dead at once', async () => {
    let enabled = true
    const kit = await openWith({ loadUser: ({ id }) => (enabled ? { id } : null) })
    const login = await kit.login()
    const renewed = readLogin(await refresh(kit, { Cookie: login.refreshCookie }).expect(200))
    enabled = false
    expectFailure(
      await refresh(kit, { Cookie: renewed.refreshCookie }),
      401,
      'session_ended',
      'terminal',
    )
    await request(kit.server).get('/jwt').set('Authorization', renewed.bearer).expect(401)
    await request(kit.server).get('/session').set('Cookie', renewed.cookie).expect(401)
    expect(await kit.stored(login.sid)).toBeNull()
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('private detail')
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('private detail')
      },
    ],
  ])('that %s is 503, and the retry is a replay', async (_, fail) => {
    let broken = true
    const kit = await openWith({ loadUser: ({ id }) => (broken ? fail() : { id }) })
    const login = await kit.login()
    const res = await refresh(kit, { Cookie: login.refreshCookie })
    expectFailure(res, 503, 'user_lookup_failed', 'retryable')
    expect(res.headers['retry-after']).toBe('1')
    expect(res.text).not.toContain('private')
    broken = false
    const again = await refresh(kit, { Cookie: login.refreshCookie }).expect(200)
    expect(readLogin(again).refresh).toBe(tokenOf(login, 1))
  })

  it('that never answers is 503 after two seconds', async () => {
    const kit = await openWith({ loadUser: async () => new Promise(() => {}) })
    const login = await kit.login()
    const began = performance.now()
    expectFailure(
      await refresh(kit, { Cookie: login.refreshCookie }),
      503,
      'user_lookup_failed',
      'retryable',
    )
    expect(performance.now() - began).toBeGreaterThan(1900)
    expect(await kit.stored(login.sid)).not.toBeNull()
  })

  it.each([
    ['another user', { id: 'bob' }],
    ['another tenant', { id: 'alice', tenant: 'other' }],
    ['no id', {}],
    ['an ill-formed id', { id: '\ud800' }],
    ['a text', 'alice'],
    ['undefined', undefined],
    ['false', false],
    ['an array', [{ id: 'alice' }]],
    ['roles that are a text', { id: 'alice', roles: 'admin' }],
    ['a scope with a space', { id: 'alice', scope: ['read write'] }],
    ['claims with a bigint', { id: 'alice', claims: { n: 1n } }],
  ])('that returns %s is 500, and nobody is logged out', async (_, returned) => {
    const kit = await openWith({ loadUser: () => returned as never })
    const login = await kit.login()
    expectFailure(
      await refresh(kit, { Cookie: login.refreshCookie }),
      500,
      'internal_error',
      'retryable',
    )
    expect(await kit.stored(login.sid)).toMatchObject({ userId: 'alice', roles: [] })
    await request(kit.server).get('/session').set('Cookie', login.cookie).expect(200)
  })

  it('whose news are in the next token, and void the tokens before it', async () => {
    const kit = await openWith({
      loadUser: ({ id }, session) => ({ id, roles: ['reader'], level: session.level ?? 'x' }),
    })
    kit.users.set('alice', { id: 'alice', roles: ['admin'], level: 'mfa', amr: ['pwd'] })
    const login = await kit.login()
    const renewed = readLogin(await refresh(kit, { Cookie: login.refreshCookie }).expect(200))
    expect(await kit.stored(login.sid)).toMatchObject({
      roles: ['reader'],
      level: 'mfa',
      amr: ['pwd'],
      ver: 1,
    })
    const agent = request(kit.server)
    await agent
      .get('/jwt')
      .set('Authorization', login.bearer)
      .expect(401, /token_stale/)
    await agent.get('/jwt').set('Authorization', renewed.bearer).expect(200)
  })

  it('that is slow lets no credential leave after a logout was acknowledged', async () => {
    const gate: { open?: () => void } = {}
    let reached: () => void = () => {}
    const atGate = new Promise<void>((resolve) => (reached = resolve))
    const kit = await openWith({
      loadUser: async ({ id }) => {
        reached()
        await new Promise<void>((resolve) => (gate.open = resolve))
        return { id, roles: ['new'] }
      },
    })
    const login = await kit.login()
    const slow = refresh(kit, { Cookie: login.refreshCookie }).then((res) => res)
    await atGate
    await request(kit.server).post('/auth/logout').set('Cookie', login.cookie).expect(204)
    gate.open?.()
    const res = await slow
    expect(res.status).toBe(401)
    expect(res.body).toMatchObject({ outcome: 'terminal' })
    expect(setCookies(res)).toEqual([])
    expect(await kit.stored(login.sid)).toBeNull()
  })
})

describe('a store that does not answer a refresh', () => {
  it.each(['throws', 'rejects', 'hangs', 'late'] as const)(
    'and %s: 503 with Retry-After, no cookie, and the retry gets the same successor',
    async (fault) => {
      const kit = await openWith({ storeDeadline: '50ms' })
      const login = await kit.login()
      kit.spy.faults.set('rotate', fault)
      const res = await refresh(kit, { Cookie: login.refreshCookie })
      expectFailure(res, 503, 'store_unavailable', 'retryable')
      expect(res.headers['retry-after']).toBe('1')
      expect(res.body).toMatchObject({ error: 'temporarily_unavailable' })
      kit.spy.faults.clear()
      const again = await refresh(kit, { Cookie: login.refreshCookie }).expect(200)
      expect(readLogin(again).refresh).toBe(tokenOf(login, 1))
      expect(await kit.generationOf(login.sid)).toBe(1)
    },
  )
})

describe('no failure of a refresh', () => {
  it('clears a cookie: a late answer never deletes a newer login', async () => {
    const kit = await openWith()
    const login = await kit.login()
    await request(kit.server).post('/auth/logout').set('Cookie', login.cookie).expect(204)
    // The answer to the old tab's refresh arrives after the user has logged in again.
    const newer = await kit.login()
    const late = await refresh(kit, { Cookie: login.refreshCookie })
    expectFailure(late, 401, 'session_revoked', 'terminal')
    await request(kit.server).get('/session').set('Cookie', newer.cookie).expect(200)
  })

  it('revives a session, and no credential leaves after a logout was acknowledged', async () => {
    const raw = memoryStore({ clock: () => NOW })
    const way: { open?: () => void } = {}
    // The store has rotated already when the logout comes, but its answer is still on the way.
    const rotate: Store['rotate'] = async (input) => {
      const result = await raw.rotate(input)
      await new Promise<void>((resolve) => (way.open = resolve))
      return result
    }
    const spy = spyOn({ ...raw, rotate })
    const kit = await openKit({ spy, options: { storeDeadline: '10s' } })
    const login = await kit.login()
    const slow = refresh(kit, { Cookie: login.refreshCookie }).then((res) => res)
    await until(() => way.open !== undefined)
    await request(kit.server).post('/auth/logout').set('Cookie', login.cookie).expect(204)
    way.open?.()
    expectFailure(await slow, 401, 'session_revoked', 'terminal')
    expect(await kit.stored(login.sid)).toBeNull()
    await request(kit.server).get('/session').set('Cookie', login.cookie).expect(401)
  })
})

describe('a refresh while nothing can be signed', () => {
  it('is 503, and the token that was presented is as good as before however long that lasts', async () => {
    const { privateKey, publicKey } = halves(SIGNING_KEY)
    const kms = { away: false }
    const kit = await openWith({
      signingKeys: [
        {
          alg: 'ES256',
          publicKey: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
          async sign(data) {
            if (kms.away) throw new Error('the KMS is away')
            return signAs('ES256', privateKey, Buffer.from(data).toString('latin1'))
          },
        },
      ],
    })
    const login = await kit.login()
    kms.away = true
    // That it is away is known from whoever asks it first.
    await kit.latchkey.sessions.open({ id: 'bob' }).catch(() => null)
    kit.spy.reset()
    for (let tries = 0; tries < 3; tries++) {
      const res = await refresh(kit, { Cookie: login.refreshCookie })
      expectFailure(res, 503, 'signing_unavailable', 'retryable')
      // Longer than any replay is answered.
      await kit.tick(5 * MINUTE)
    }
    expect(kit.spy.calls).toEqual([])
    expect(await kit.generationOf(login.sid)).toBe(0)
    kms.away = false
    const res = await refresh(kit, { Cookie: login.refreshCookie })
    expect(res.status).toBe(200)
    expect(await kit.generationOf(login.sid)).toBe(1)
  })
})
