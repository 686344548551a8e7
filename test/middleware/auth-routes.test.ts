/* oxlint-disable jest/expect-expect -- expectProblem and expectAlive assert */
import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { KitSetup, Login, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  cookiesOf,
  HOUR,
  ISSUER,
  MINUTE,
  openKit,
  PASSWORD,
  pause,
  readLogin,
  SECOND,
  sendMethod,
  sendRaw,
  setCookies,
  typesOf,
  until,
} from '../support/kit.ts'

afterEach(closeKits)

type Headers = Record<string, string>

async function openWith(options: TestOptions = {}, setup: KitSetup = {}): Promise<TestKit> {
  return openKit({ ...setup, options })
}

const CROSS: readonly Headers[] = [
  { 'Sec-Fetch-Site': 'cross-site' },
  { 'Sec-Fetch-Site': 'same-site' },
  { Origin: 'https://evil.example' },
  { Origin: 'null' },
  { Origin: 'http://app.example' },
]

const ROUTES: readonly (readonly [path: string, methods: readonly string[]])[] = [
  ['/login', ['POST']],
  ['/refresh', ['POST']],
  ['/logout', ['POST']],
  ['/logout-all', ['POST']],
  ['/session', ['GET']],
  ['/sessions', ['GET', 'DELETE']],
  [`/sessions/${'a'.repeat(24)}`, ['DELETE']],
  ['/step-up', ['POST']],
  ['/.well-known/jwks.json', ['GET']],
]

/** The status of each credential of a login: is it dead, or alive? */
async function expectAlive(kit: TestKit, login: Login, alive: boolean): Promise<void> {
  const agent = request(kit.server)
  const { bearer, sessionCookie } = login
  const statuses = [
    (await agent.get('/session').set('Cookie', sessionCookie)).status,
    (await agent.get('/jwt').set('Authorization', bearer)).status,
    (await agent.get('/hybrid').set('Authorization', bearer)).status,
    (await agent.get('/sensitive').set('Authorization', bearer)).status,
  ]
  expect(statuses).toEqual(alive ? [200, 200, 200, 200] : [401, 401, 401, 401])
  expect((await kit.stored(login.sid)) !== null).toBe(alive)
}

function expectProblem(res: request.Response, status: number, code: string): void {
  expect(res.body).toMatchObject({ type: 'about:blank', status, code })
  expect(res.status).toBe(status)
  expect(res.headers['content-type']).toBe('application/problem+json; charset=utf-8')
  expect(res.headers['cache-control']).toBe('no-store')
  expect(setCookies(res)).toEqual([])
}

const CLEARED = [
  `${COOKIES.session}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; Secure; SameSite=Lax`,
  `${COOKIES.refresh}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; Secure; SameSite=Strict`,
]

describe('the routes', () => {
  it.each(ROUTES)('%s takes %j, else 405 with Allow (RFC 9110 §15.5.6)', async (path, methods) => {
    const kit = await openWith()
    const login = await kit.login()
    const allow = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    kit.spy.reset()
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      if (allow.includes(method)) continue
      const res = await sendMethod(kit, method, `/auth${path}`).set({
        Cookie: login.cookie,
        Authorization: login.bearer,
      })
      expect(res.status).toBe(405)
      expect(res.headers['allow']).toBe(allow.join(', '))
      if (method !== 'HEAD') expectProblem(res, 405, 'method_not_allowed')
    }
    const options = await sendMethod(kit, 'OPTIONS', `/auth${path}`).expect(204)
    expect(options.headers['allow']).toBe([...allow, 'OPTIONS'].join(', '))
    expect(kit.spy.calls).toEqual([])
    await expectAlive(kit, login, true)
  })

  it.each(['TRACE', 'PROPFIND', 'LINK', 'QUERY', 'MOVE'])(
    'refuse the method %s',
    async (method) => {
      const kit = await openWith()
      const { cookie } = await kit.login()
      const { status } = await sendRaw(kit.port, `${method} /auth/logout`, [`Cookie: ${cookie}`])
      expect(status).toBeGreaterThanOrEqual(400)
      await request(kit.server).get('/session').set('Cookie', cookie).expect(200)
    },
  )

  it.each(['/session', '/sessions', '/.well-known/jwks.json'])(
    'answer HEAD %s without a body and with the headers of GET',
    async (path) => {
      const kit = await openWith()
      const { bearer } = await kit.login()
      const send = async (method: string) =>
        sendMethod(kit, method, `/auth${path}`).set('Authorization', bearer)
      const [head, get] = [await send('HEAD'), await send('GET')]
      expect(head.status).toBe(200)
      expect(head.headers['content-type']).toBe(get.headers['content-type'])
      expect(head.headers['cache-control']).toBe(get.headers['cache-control'])
    },
  )

  it.each([
    '/login/',
    '//login',
    '/login//',
    '/Login',
    '/LOGOUT',
    '/log%6Fut',
    '/%72efresh',
    '/refresh;x=1',
    '/refresh/..',
    '/refresh%00',
    '/refresh%2f',
    '/%zz',
    '/%',
    '/sessions/%zz',
    '/sessions/%c0%ae',
    '/sessions/a/b',
    '/sessions/',
    '/.well-known/jwks.json/',
    '/.well-known/',
    '/token',
    '/introspect',
    '/',
    '',
    '/constructor',
    '/__proto__',
  ])('do not know %s: 404, for every method, and nothing happens', async (path) => {
    const kit = await openWith()
    const login = await kit.login()
    for (const method of ['GET', 'POST', 'DELETE']) {
      const { status, head, body } = await sendRaw(kit.port, `${method} /auth${path}`, [
        `Cookie: ${login.cookie}`,
      ])
      expect(status).toBe(404)
      expect(JSON.parse(body)).toMatchObject({ code: 'not_found' })
      expect(head).toContain('application/problem+json')
      expect(head).not.toMatch(/set-cookie/i)
    }
    await expectAlive(kit, login, true)
  })

  it('are guarded the same wherever the app’s router lets them be reached', async () => {
    const kit = await openWith()
    const login = await kit.login()
    for (const path of ['/AUTH/sessions', '/Auth/session', '/auth/sessions?x', '//auth/sessions']) {
      const { status } = await sendRaw(kit.port, `GET ${path}`)
      expect([401, 404]).toContain(status)
    }
    const { status } = await sendRaw(kit.port, 'POST /AUTH/logout', [
      `Cookie: ${login.cookie}`,
      'Sec-Fetch-Site: cross-site',
    ])
    expect(status).toBe(403)
    await expectAlive(kit, login, true)
  })

  it('have security headers and no CORS headers on every answer', async () => {
    const kit = await openWith()
    for (const path of ['/session', '/nothing', '/.well-known/jwks.json', '/login']) {
      const res = await request(kit.server)
        .get(`/auth${path}`)
        .set('Origin', 'https://evil.example')
      expect(res.headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'cross-origin-resource-policy': 'same-origin',
        'content-security-policy': expect.stringContaining("frame-ancestors 'none'"),
      })
      expect(res.headers['content-type']).toMatch(/charset=utf-8/)
      expect(Object.keys(res.headers).join()).not.toMatch(/access-control|x-powered-by-latchkey/)
    }
  })

  it('trust no identity header', async () => {
    const kit = await openWith()
    const { bearer } = await kit.login()
    const res = await request(kit.server)
      .get('/auth/session')
      .set({
        Authorization: bearer,
        'X-User-Id': 'root',
        X_User_Id: 'root',
        'X-Forwarded-User': 'root',
        'X-HTTP-Method-Override': 'DELETE',
      })
      .expect(200)
    expect(res.body).toMatchObject({ user_id: 'alice' })
  })
})

describe('POST /login', () => {
  it('answers the tokens, the session and its cookies', async () => {
    const kit = await openWith()
    const { res, session, refresh, sid } = await kit.login('alice', {
      headers: { 'User-Agent': 'A Browser' },
    })
    expect(res.body).toEqual({
      access_token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
      token_type: 'Bearer',
      expires_in: expect.any(Number),
      server_time: '2026-06-01T00:00:00.000Z',
      session: {
        id: sid,
        user_id: 'alice',
        created_at: '2026-06-01T00:00:00.000Z',
        last_seen_at: '2026-06-01T00:00:00.000Z',
        expires_at: '2026-07-01T00:00:00.000Z',
        idle_expires_at: '2026-06-08T00:00:00.000Z',
        auth_time: '2026-06-01T00:00:00.000Z',
        level: null,
        device: { label: 'A Browser', ip: expect.stringContaining('127.0.0.1') },
        current: true,
      },
    })
    expect(setCookies(res)).toEqual([
      `${COOKIES.session}=${session}; Max-Age=2592000; Path=/; HttpOnly; Secure; SameSite=Lax`,
      `${COOKIES.refresh}=${refresh}; Max-Age=2592000; Path=/; HttpOnly; Secure; SameSite=Strict`,
    ])
    expect(res.headers['cache-control']).toBe('no-store')
    expect(res.text).not.toMatch(/lk[rs]_/)
  })

  it('answers all tokens in the body and no cookie with delivery: body', async () => {
    const kit = await openWith({ delivery: 'body' })
    const { res } = await kit.login()
    expect(res.body).toMatchObject({
      refresh_token: expect.stringMatching(/^lkr_/),
      session_token: expect.stringMatching(/^lks_/),
    })
    expect(setCookies(res)).toEqual([])
  })

  it('asks delivery for each request; anything but body is cookie', async () => {
    const kit = await openWith({ delivery: (req) => req.get('X-Delivery') as 'body' })
    const body = await kit.login('alice', { headers: { 'X-Delivery': 'body' } })
    const cookie = await kit.login('alice', { headers: { 'X-Delivery': 'both' } })
    expect(setCookies(body.res)).toEqual([])
    expect(setCookies(cookie.res)).toHaveLength(2)
    expect(cookie.res.body).not.toHaveProperty('session_token')
  })

  it('sets a Strict session cookie by option, and other names', async () => {
    const kit = await openWith({
      cookies: { sameSite: 'strict', names: { session: '__Host-sid' } },
    })
    const { res } = await kit.login()
    expect(setCookies(res)[0]).toMatch(/^__Host-sid=lks_.*SameSite=Strict$/)
  })

  it('answers 401 invalid_credentials alike for whatever authenticate does not know', async () => {
    const kit = await openWith()
    const send = async (body: object) => request(kit.server).post('/auth/login').send(body)
    const answers = [
      await send({ username: 'nobody', password: PASSWORD }),
      await send({ username: 'alice', password: 'wrong' }),
      await send({ username: { $ne: null }, password: PASSWORD }),
      await send({}),
      await request(kit.server).post('/auth/login'),
    ]
    for (const res of answers) {
      expectProblem(res, 401, 'invalid_credentials')
      expect(res.text).toBe(answers[0]?.text)
      expect(res.headers['www-authenticate']).toBe('Session')
      expect(res.body).toMatchObject({ error: 'invalid_grant' })
    }
    expect(kit.spy.calls).toEqual([])
    expect(typesOf(kit)).toContain('authn_login_fail')
  })

  it.each(CROSS)('from another origin sets no cookie: %j (login CSRF)', async (headers) => {
    let asked = 0
    const kit = await openWith({ authenticate: () => ({ id: `user-${asked++}` }) })
    const res = await request(kit.server).post('/auth/login').set(headers).send({})
    expectProblem(res, 403, 'cross_origin')
    expect(asked).toBe(0)
    expect(kit.spy.calls).toEqual([])
  })

  it('from another origin is open to delivery: body, where nothing is set', async () => {
    const kit = await openWith({ delivery: 'body' })
    await kit.login('alice', { headers: { 'Sec-Fetch-Site': 'cross-site' } })
    expect(typesOf(kit)).toContain('authn_login_success')
  })

  it('over a login replaces the old session', async () => {
    const kit = await openWith()
    const old = await kit.login()
    const fresh = await kit.login('alice', { headers: { Cookie: old.cookie } })
    expect(fresh.sid).not.toBe(old.sid)
    expect(fresh.session).not.toContain(old.session.split('.')[2])
    await expectAlive(kit, old, false)
    await expectAlive(kit, fresh, true)
    await request(kit.server).post('/auth/refresh').set('Cookie', old.refreshCookie).expect(401)
  })

  it('over a login by a Session header replaces the old session too', async () => {
    const kit = await openWith({ delivery: 'body' })
    const old = await kit.login()
    await kit.login('alice', { headers: { Authorization: `Session ${old.session}` } })
    await expectAlive(kit, old, false)
  })

  it("over another user's login ends that session", async () => {
    const kit = await openWith()
    const alice = await kit.login('alice')
    const alice2 = await kit.login('alice')
    const bob = await kit.login('bob', { headers: { Cookie: alice.cookie } })
    await expectAlive(kit, alice, false)
    await expectAlive(kit, alice2, true)
    await expectAlive(kit, bob, true)
  })

  it('that fails leaves the session it came with', async () => {
    const kit = await openWith()
    const old = await kit.login()
    await request(kit.server)
      .post('/auth/login')
      .set('Cookie', old.cookie)
      .send({ username: 'alice', password: 'wrong' })
      .expect(401)
    await expectAlive(kit, old, true)
  })

  it.each([
    ['an invented session', () => `${COOKIES.session}=lks_abcdef.x.y.z`],
    ['two sessions that verify', (a: Login, b: Login) => `${a.sessionCookie}; ${b.sessionCookie}`],
    ['a planted duplicate', (a: Login) => `${COOKIES.session}=x; ${a.sessionCookie}`],
    [
      'ten of them',
      () => Array.from({ length: 10 }, (_, i) => `${COOKIES.session}=${i}`).join('; '),
    ],
  ])('is the way out of %s', async (_, cookie) => {
    const kit = await openWith()
    const [a, b] = [await kit.login(), await kit.login('bob')]
    const fresh = await kit.login('alice', { headers: { Cookie: cookie(a, b) } })
    expect(fresh.sid).not.toBe(a.sid)
    await expectAlive(kit, fresh, true)
    await expectAlive(kit, b, true)
  })

  it('never adopts a session that was planted: the attacker’s token is no way in (fixation)', async () => {
    const kit = await openWith()
    const attacker = await kit.login('bob')
    const victim = await kit.login('alice', { headers: { Cookie: attacker.cookie } })
    expect(victim.sid).not.toBe(attacker.sid)
    await expectAlive(kit, attacker, false)
    const res = await request(kit.server).get('/session').set('Cookie', victim.sessionCookie)
    expect(res.body).toMatchObject({ user: 'alice' })
  })

  it('does not orphan the new session when ending the other user’s fails: 503, no cookie, nothing open', async () => {
    const kit = await openWith()
    const alice = await kit.login('alice')
    kit.spy.faults.set('revoke', 'rejects')
    const res = await request(kit.server)
      .post('/auth/login')
      .set('Cookie', alice.cookie)
      .send({ username: 'bob', password: PASSWORD })
    expectProblem(res, 503, 'store_unavailable')
  })

  it('reserved claims of authenticate never override registered ones', async () => {
    const kit = await openWith()
    const claims = {
      sub: 'root',
      exp: '9999999999',
      aud: '*',
      sid: 'x',
      roles: 'admin',
      plan: 'pro',
    }
    kit.users.set('alice', { id: 'alice', claims: claims as never })
    const { bearer, access, sid } = await kit.login()
    const payload = JSON.parse(
      Buffer.from(access.split('.')[1] ?? '', 'base64url').toString(),
    ) as Record<string, unknown>
    expect(payload).toMatchObject({ sub: 'alice', aud: ISSUER, iss: ISSUER, sid, plan: 'pro' })
    expect(payload).not.toHaveProperty('roles')
    expect(payload['exp']).toBeLessThan(kit.clock.now / SECOND + 901)
    for (const path of ['/jwt', '/sensitive']) {
      const res = await request(kit.server).get(path).set('Authorization', bearer).expect(200)
      expect(res.body).toMatchObject({ user: 'alice', sid })
    }
    expect(typesOf(kit)).toContain('warning')
  })
})

describe('authenticate', () => {
  it.each([
    ['null', null, 401, 'invalid_credentials'],
    ['undefined', undefined, 401, 'invalid_credentials'],
    ['false', false, 500, 'internal_error'],
    ['a text', 'alice', 500, 'internal_error'],
    ['an array', [{ id: 'alice' }], 500, 'internal_error'],
    ['no id', {}, 500, 'internal_error'],
    ['a number for an id', { id: 7 }, 500, 'internal_error'],
    ['an empty id', { id: '' }, 400, 'user_invalid'],
    ['a lone surrogate', { id: 'a\ud800' }, 400, 'user_invalid'],
    ['a NUL', { id: 'a\u0000b' }, 400, 'user_invalid'],
    ['a line break', { id: 'a\r\nb' }, 400, 'user_invalid'],
    ['256 characters', { id: 'a'.repeat(256) }, 400, 'user_invalid'],
    ['an ill-formed tenant', { id: 'a', tenant: '\ud801' }, 400, 'user_invalid'],
    ['a tenant that is a number', { id: 'a', tenant: 1 }, 500, 'internal_error'],
    ['roles that are a text', { id: 'a', roles: 'admin' }, 500, 'internal_error'],
    ['a role that is a number', { id: 'a', roles: [1] }, 500, 'internal_error'],
    ['a scope with a space', { id: 'a', scope: ['read write'] }, 500, 'internal_error'],
    ['a level that is an object', { id: 'a', level: {} }, 500, 'internal_error'],
    ['cyclic claims', { id: 'a', claims: cyclic() }, 500, 'internal_error'],
    ['claims that are an array', { id: 'a', claims: [] }, 500, 'internal_error'],
    [
      'claims too large for a token',
      { id: 'a', claims: { x: 'x'.repeat(4000) } },
      500,
      'internal_error',
    ],
  ])('that returns %s', async (_, returned, status, code) => {
    const kit = await openWith({ authenticate: () => returned as never })
    const res = await request(kit.server).post('/auth/login').send({})
    expectProblem(res, status, code)
    expect(kit.spy.calls).toEqual([])
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
    ['gives a number for an id', () => ({ id: 5 })],
    [
      'throws null',
      () => {
        throw null as unknown as Error
      },
    ],
    [
      'throws an AuthError look-alike',
      () => {
        throw Object.assign(new Error('private'), { status: 200, code: 'x' })
      },
    ],
  ])('that %s is 500 without detail, and no session', async (_, fail) => {
    const kit = await openWith({ authenticate: fail as never })
    const res = await request(kit.server).post('/auth/login').send({})
    expectProblem(res, 500, 'internal_error')
    expect(res.body).toMatchObject({ error: 'server_error' })
    expect(res.text).not.toMatch(/private|stack|at /)
    expect(kit.spy.calls).toEqual([])
    expect(typesOf(kit)).toContain('hook_failure')
  })

  it('is all there is of login and step-up: without it there are no such routes', async () => {
    const kit = await openWith({ authenticate: undefined })
    for (const path of ['/auth/login', '/auth/step-up']) {
      for (const method of ['POST', 'GET', 'OPTIONS']) {
        expect((await sendMethod(kit, method, path)).status).toBe(404)
      }
    }
  })

  it('tells users apart byte for byte, and tenants too', async () => {
    const kit = await openWith({
      authenticate: ({ id, tenant }) => ({ id: id as string, tenant: tenant as string }),
    })
    const login = async (body: object) =>
      readLogin(await request(kit.server).post('/auth/login').send(body).expect(200))
    const names = [
      { id: 'caf\u00e9' },
      { id: 'cafe\u0301' },
      { id: 'Alice' },
      { id: 'alice' },
      { id: 'alice ' },
      { id: 'alice', tenant: 'a' },
      { id: 'lice', tenant: 'aa' },
      { id: '}' },
      { id: '{x}' },
      { id: "'; DROP TABLE sessions; --" },
      { id: '__proto__' },
      { id: 'constructor' },
    ]
    for (const name of names) {
      const { bearer } = await login(name)
      const res = await request(kit.server)
        .get('/auth/sessions')
        .set('Authorization', bearer)
        .expect(200)
      expect(res.body).toMatchObject({ sessions: [{ user_id: name.id, current: true }] })
      expect((res.body as { sessions: unknown[] }).sessions).toHaveLength(1)
    }
  })

  it('that was slow while the user was revoked opens no session: 401 stale_login', async () => {
    const gate: { open?: () => void } = {}
    const kit = await openWith(
      {
        authenticate: async () => {
          await new Promise<void>((resolve) => (gate.open = resolve))
          return { id: 'alice' }
        },
      },
      { clock: realClock() },
    )
    const slow = request(kit.server)
      .post('/auth/login')
      .send({})
      .then((res) => res)
    await until(() => gate.open !== undefined)
    await pause(5)
    await kit.latchkey.sessions.revokeUser('alice', { reason: 'password_changed' })
    await pause(5)
    gate.open?.()
    const res = await slow
    expectProblem(res, 401, 'stale_login')
    const page = await kit.latchkey.sessions.list('alice')
    expect(page.items).toEqual([])
  })
})

/** A clock that goes by itself. */
function realClock(): { now: number } {
  return {
    get now() {
      return Date.now()
    },
  }
}

function cyclic(): object {
  const claims: Record<string, unknown> = {}
  claims['self'] = claims
  return claims
}

describe('maxSessions', () => {
  it('evicts the least recently active one', async () => {
    const kit = await openWith({ maxSessions: { perUser: 2 } })
    const first = await kit.login()
    await kit.tick(2 * MINUTE)
    const second = await kit.login()
    await kit.tick(2 * MINUTE)
    await request(kit.server).get('/session').set('Cookie', first.cookie).expect(200)
    const bob = await kit.login('bob')
    const third = await kit.login()
    await expectAlive(kit, first, true)
    await expectAlive(kit, second, false)
    await expectAlive(kit, third, true)
    await expectAlive(kit, bob, true)
    expect(typesOf(kit)).toContain('session_limit_evicted')
  })

  it("refuses with 403 session_limit with onLimit: 'refuse', also 20 at once", async () => {
    const kit = await openWith({ maxSessions: { perUser: 3, onLimit: 'refuse' } })
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () =>
        request(kit.server).post('/auth/login').send({ username: 'alice', password: PASSWORD }),
      ),
    )
    const refused = answers.filter(({ status }) => status !== 200)
    expect(refused).toHaveLength(17)
    for (const res of refused) expectProblem(res, 403, 'session_limit')
    expect(typesOf(kit)).toContain('excess_sessions_exceeded')
    // One that is replaced does not count.
    const [login] = answers.filter(({ status }) => status === 200).map((res) => readLogin(res))
    await kit.login('alice', { headers: { Cookie: login?.cookie ?? '' } })
  })
})

describe('POST /logout', () => {
  const credentials: readonly (readonly [
    string,
    (login: Login) => { headers?: Headers; body?: object },
  ])[] = [
    ['the session cookie', ({ sessionCookie }) => ({ headers: { Cookie: sessionCookie } })],
    ['the refresh cookie', ({ refreshCookie }) => ({ headers: { Cookie: refreshCookie } })],
    ['both', ({ cookie }) => ({ headers: { Cookie: cookie } })],
    ['the access cookie', ({ access }) => ({ headers: { Cookie: `${COOKIES.access}=${access}` } })],
    ['a Session header', ({ session }) => ({ headers: { Authorization: `Session ${session}` } })],
    ['a Bearer header', ({ bearer }) => ({ headers: { Authorization: bearer } })],
    ['refresh_token in the body', ({ refresh }) => ({ body: { refresh_token: refresh } })],
  ]

  it.each(credentials)('with %s ends the session before it answers', async (_, carry) => {
    const kit = await openWith()
    const [login, other] = [await kit.login(), await kit.login()]
    const { headers = {}, body } = carry(login)
    kit.spy.reset()
    const sent = request(kit.server).post('/auth/logout').set(headers)
    const res = await (body === undefined ? sent : sent.send(body)).expect(204)
    expect(kit.spy.calls).toEqual(['revoke'])
    expect(setCookies(res)).toEqual(CLEARED)
    expect(res.headers['cache-control']).toBe('no-store')
    await expectAlive(kit, login, false)
    await expectAlive(kit, other, true)
    await request(kit.server).post('/auth/refresh').set('Cookie', login.refreshCookie).expect(401)
    expect(kit.events.find(({ type }) => type === 'session_logout')).toMatchObject({
      user: { id: 'alice' },
      sessionId: login.sid,
      cause: 'logout',
    })
  })

  it('is 204 again, without credentials, and with such as never were (RFC 7009 §2.2)', async () => {
    const kit = await openWith()
    const login = await kit.login()
    const logout = async (headers: Headers, body?: object) => {
      const sent = request(kit.server).post('/auth/logout').set(headers)
      const res = await (body === undefined ? sent : sent.send(body))
      expect(res.status).toBe(204)
      expect(setCookies(res)).toEqual(CLEARED)
    }
    await logout({ Cookie: login.cookie })
    await logout({ Cookie: login.cookie })
    await logout({ Authorization: login.bearer })
    kit.spy.reset()
    await logout({})
    await logout({ Cookie: `${COOKIES.session}=x; ${COOKIES.refresh}=y; ${COOKIES.access}=z` })
    await logout({ Authorization: 'Bearer x' })
    await logout({ Authorization: 'Session x' })
    await logout({ Authorization: 'Basic x' })
    await logout({}, { refresh_token: 'lkr_x' })
    expect(kit.spy.calls).toEqual([])
  })

  it('with an expired access token alone ends nothing', async () => {
    const kit = await openWith()
    const login = await kit.login()
    await kit.tick(HOUR)
    await request(kit.server).post('/auth/logout').set('Authorization', login.bearer).expect(204)
    await request(kit.server).get('/session').set('Cookie', login.cookie).expect(200)
  })

  it('ends each session of which something verifies, and no other', async () => {
    const kit = await openWith()
    const [a, b, c, stranger] = [
      await kit.login(),
      await kit.login(),
      await kit.login(),
      await kit.login('bob'),
    ]
    const strangers = stranger.session.slice(0, -22) + 'A'.repeat(22)
    await request(kit.server)
      .post('/auth/logout')
      .set({
        Cookie: `${a.sessionCookie}; ${COOKIES.session}=${strangers}; ${b.refreshCookie}`,
        Authorization: c.bearer,
      })
      .expect(204)
    for (const login of [a, b, c]) await expectAlive(kit, login, false)
    await expectAlive(kit, stranger, true)
  })

  it('ends no session by a right id with a wrong seed', async () => {
    const kit = await openWith()
    const login = await kit.login()
    // A store that was restored from a copy may know the id with another seed.
    const two = await openWith({ secrets: ['b'.repeat(32)] })
    await request(two.server).post('/auth/logout').set('Cookie', login.cookie).expect(204)
    await expectAlive(kit, login, true)
  })

  it.each(CROSS)('by cookie from another origin is 403 and ends nothing: %j', async (headers) => {
    const kit = await openWith()
    const login = await kit.login()
    for (const cookie of [
      login.cookie,
      login.sessionCookie,
      login.refreshCookie,
      `${COOKIES.access}=${login.access}`,
    ]) {
      const res = await request(kit.server)
        .post('/auth/logout')
        .set({ ...headers, Cookie: cookie })
      expectProblem(res, 403, 'cross_origin')
    }
    await expectAlive(kit, login, true)
  })

  it.each(CROSS)(
    'from another origin removes no cookie, where a form brings none along: %j',
    async (headers) => {
      const kit = await openWith()
      const login = await kit.login()
      const form = { ...headers, 'Content-Type': 'application/x-www-form-urlencoded' }
      const res = await request(kit.server).post('/auth/logout').set(form).expect(204)
      expect(setCookies(res)).toEqual([])
      // Who has a token at hand may end its session from anywhere.
      const own = await request(kit.server)
        .post('/auth/logout')
        .set({ ...headers, Authorization: login.bearer })
        .expect(204)
      expect(setCookies(own)).toEqual([])
      await expectAlive(kit, login, false)
    },
  )

  it('answers 503 and keeps the cookies when the end cannot be stored', async () => {
    const kit = await openWith()
    const login = await kit.login()
    kit.spy.faults.set('revoke', 'rejects')
    const res = await request(kit.server).post('/auth/logout').set('Cookie', login.cookie)
    expectProblem(res, 503, 'store_unavailable')
    expect(res.headers['retry-after']).toBe('1')
    kit.spy.faults.clear()
    await expectAlive(kit, login, true)
    await request(kit.server).post('/auth/logout').set('Cookie', login.cookie).expect(204)
    await expectAlive(kit, login, false)
  })

  it.each([[{ refresh_token: 7 }], [{ refresh_token: ['x'] }], [{ token: 'x' }], [{ all: true }]])(
    'refuses %j',
    async (body) => {
      const kit = await openWith()
      const login = await kit.login()
      const res = await request(kit.server)
        .post('/auth/logout')
        .set('Cookie', login.cookie)
        .send(body)
      expectProblem(res, 400, 'invalid_request')
      await expectAlive(kit, login, true)
    },
  )

  it('clears the access cookie as well with accessToken: cookie', async () => {
    const kit = await openWith({ accessToken: 'cookie' })
    const login = await kit.login()
    const res = await request(kit.server).post('/auth/logout').set('Cookie', login.cookie)
    expect(cookiesOf(res)).toEqual(
      new Map(Object.values(COOKIES).map((name) => [name, ''] as const)),
    )
  })
})

describe('POST /logout-all', () => {
  it('ends all sessions of the user, and says how many', async () => {
    const kit = await openWith()
    const logins = [await kit.login(), await kit.login(), await kit.login()]
    const bob = await kit.login('bob')
    const res = await request(kit.server)
      .post('/auth/logout-all')
      .set('Cookie', logins[0]?.cookie ?? '')
      .expect(200)
    expect(res.body).toEqual({ revoked: 3 })
    expect(setCookies(res)).toEqual(CLEARED)
    expect(res.headers['cache-control']).toBe('no-store')
    for (const login of logins) await expectAlive(kit, login, false)
    await expectAlive(kit, bob, true)
  })

  it('takes a live credential', async () => {
    const kit = await openWith()
    const [login, other] = [await kit.login(), await kit.login()]
    await kit.spy.raw.revoke({ sid: login.sid })
    for (const headers of [{}, { Authorization: login.bearer }, { Cookie: login.cookie }]) {
      const res = await request(kit.server)
        .post('/auth/logout-all')
        .set(headers as Headers)
      expect(res.status).toBe(401)
      expect(setCookies(res)).toEqual([])
    }
    await expectAlive(kit, other, true)
  })

  it('answers 503 and keeps the cookies when the store fails', async () => {
    const kit = await openWith()
    const login = await kit.login()
    kit.spy.faults.set('revokeUser', 'rejects')
    const res = await request(kit.server).post('/auth/logout-all').set('Cookie', login.cookie)
    expectProblem(res, 503, 'store_unavailable')
    await expectAlive(kit, login, true)
  })

  it.each(CROSS)('by cookie from another origin is 403: %j', async (headers) => {
    const kit = await openWith()
    const login = await kit.login()
    const res = await request(kit.server)
      .post('/auth/logout-all')
      .set({ ...headers, Cookie: login.cookie })
    expectProblem(res, 403, 'cross_origin')
    await expectAlive(kit, login, true)
    // A token in a header ends sessions from anywhere, but this browser's cookies stay.
    const own = await request(kit.server)
      .post('/auth/logout-all')
      .set({ ...headers, Authorization: login.bearer })
      .expect(200)
    expect(setCookies(own)).toEqual([])
  })
})

describe('GET /session and GET /sessions', () => {
  it('show this session, whichever credential asks', async () => {
    const kit = await openWith({ accessToken: 'cookie' })
    const login = await kit.login()
    for (const headers of [
      { Cookie: login.sessionCookie },
      { Cookie: `${login.sessionCookie}; ${COOKIES.session}=junk` },
      { Cookie: `${login.sessionCookie}; ${COOKIES.access}=${login.access}` },
      { Authorization: login.bearer },
      { Authorization: `Session ${login.session}` },
    ]) {
      const res = await request(kit.server).get('/auth/session').set(headers).expect(200)
      expect(res.body).toMatchObject({ id: login.sid, user_id: 'alice', current: true })
      expect(res.headers['cache-control']).toBe('no-store')
    }
  })

  it('ask the store: a signature alone is not enough', async () => {
    const kit = await openKit({ feed: 'deaf' })
    const login = await kit.login()
    await kit.spy.raw.revoke({ sid: login.sid })
    for (const path of ['/auth/session', '/auth/sessions']) {
      await request(kit.server).get(path).set('Authorization', login.bearer).expect(401)
    }
  })

  it('list in pages, with nothing secret and nobody else’s', async () => {
    const kit = await openWith()
    await kit.login('bob')
    const logins: Login[] = []
    for (let index = 0; index < 5; index++) {
      logins.push(await kit.login())
      kit.clock.now += SECOND
    }
    await kit.tick(0)
    const [first] = logins
    const seen: { id: string; current: boolean }[] = []
    let cursor = ''
    for (let page = 0; page < 3; page++) {
      const res = await request(kit.server)
        .get(`/auth/sessions?limit=2${cursor}`)
        .set('Authorization', first?.bearer ?? '')
        .expect(200)
      const body = res.body as { sessions: typeof seen; next_cursor: string | null }
      expect(res.headers['cache-control']).toBe('no-store')
      expect(res.text).not.toMatch(/lk[rs]_|seed|hash/i)
      seen.push(...body.sessions)
      cursor = `&cursor=${encodeURIComponent(body.next_cursor ?? '')}`
      expect(body.next_cursor === null).toBe(page === 2)
    }
    expect(seen.map(({ id }) => id)).toEqual(logins.map(({ sid }) => sid).toReversed())
    expect(seen.map(({ current }) => current)).toEqual([false, false, false, false, true])
  })

  it.each([
    'limit=0',
    'limit=101',
    'limit=-1',
    'limit=1e1',
    'limit=0x10',
    'limit=',
    'limit=1&limit=2',
    'limit[]=1',
    'limit=1.5',
    'limit=%2010',
    'cursor=a&cursor=b',
    `cursor=${'x'.repeat(513)}`,
    'access_token=x',
    '__proto__=x',
    'constructor=x',
  ])('refuse ?%s', async (query) => {
    const kit = await openWith()
    const { bearer } = await kit.login()
    const res = await request(kit.server)
      .get(`/auth/sessions?${query}`)
      .set('Authorization', bearer)
    expectProblem(res, 400, 'invalid_request')
  })

  it.each(['x', '', '0.0.0', '../../etc', "' OR 1=1", '9'.repeat(50), '1.2', '%00'])(
    'show an empty page for the cursor %j that no page gave out, never an error',
    async (cursor) => {
      const kit = await openWith()
      const { bearer } = await kit.login()
      const res = await request(kit.server)
        .get(`/auth/sessions?cursor=${encodeURIComponent(cursor)}`)
        .set('Authorization', bearer)
      expect(res.status).toBe(200)
      expect(res.body).toMatchObject({ next_cursor: null })
    },
  )
})

describe('DELETE /sessions/:id', () => {
  function end(kit: TestKit, id: string, bearer: string): request.Test {
    return request(kit.server).delete(`/auth/sessions/${id}`).set('Authorization', bearer)
  }

  it('ends one of one’s own, also the current one, and sets no cookie', async () => {
    const kit = await openWith()
    const [one, two] = [await kit.login(), await kit.login()]
    const res = await end(kit, one.sid, two.bearer).expect(204)
    expect(setCookies(res)).toEqual([])
    await expectAlive(kit, one, false)
    await expectAlive(kit, two, true)
    await end(kit, two.sid, two.bearer).expect(204)
    await expectAlive(kit, two, false)
  })

  it("answers someone else's, an unknown and an ill-formed id with the same bytes", async () => {
    const kit = await openWith()
    const [alice, bob, ended] = [await kit.login(), await kit.login('bob'), await kit.login()]
    await end(kit, ended.sid, alice.bearer).expect(204)
    const answers = await Promise.all(
      [
        bob.sid,
        'A'.repeat(24),
        `${bob.sid.slice(0, 2)}${'A'.repeat(22)}`,
        ended.sid,
        'x',
        'a%00b',
      ].map(async (id) => end(kit, id, alice.bearer)),
    )
    for (const res of answers) {
      expectProblem(res, 404, 'not_found')
      expect(res.text).toBe(answers[0]?.text)
      const { date: _date, ...headers } = res.headers
      const { date: _other, ...same } = answers[0]?.headers ?? {}
      expect(headers).toEqual(same)
    }
    await expectAlive(kit, bob, true)
  })

  it('takes the id as it is: no kit secret and no token is an id', async () => {
    const kit = await openWith()
    const alice = await kit.login()
    await end(kit, alice.session, alice.bearer).expect(404)
    await expectAlive(kit, alice, true)
  })

  it('ends any for an admin who logged in lately, audited with both names', async () => {
    const kit = await openWith()
    const [root, alice] = [await kit.login('root'), await kit.login()]
    await end(kit, alice.sid, root.bearer).expect(204)
    await expectAlive(kit, alice, false)
    expect(kit.events.filter(({ type }) => type === 'authz_admin')).toMatchObject([
      { actor: { id: 'root' }, result: 'success', detail: { ended_session: alice.sid } },
    ])
    expect(kit.events.findLast(({ type }) => type === 'session_revoked')).toMatchObject({
      user: { id: 'alice' },
      actor: { id: 'root' },
      cause: 'ended_by_admin',
    })
    expectProblem(await end(kit, 'A'.repeat(24), root.bearer), 404, 'not_found')
  })

  it('asks an admin whose login is old to step up, whether or not the session exists', async () => {
    const kit = await openWith()
    const [root, alice] = [await kit.login('root'), await kit.login()]
    await kit.tick(5 * MINUTE + SECOND)
    const answers = [
      await end(kit, alice.sid, root.bearer),
      await end(kit, 'A'.repeat(24), root.bearer),
    ]
    for (const res of answers) {
      expectProblem(res, 401, 'step_up_required')
      expect(res.text).toBe(answers[0]?.text)
      expect(res.headers['www-authenticate']).toContain('max_age="300"')
    }
    await expectAlive(kit, alice, true)
    const own = await kit.login('root')
    await end(kit, own.sid, root.bearer).expect(204)
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('private detail')
      },
      500,
    ],
    ['returns 1', () => 1, 404],
    ["returns 'yes'", () => 'yes', 404],
    ['returns a promise of false', async () => false, 404],
    ['is absent', undefined, 404],
  ])('is for nobody else when authorizeAdmin %s', async (_, authorizeAdmin, status) => {
    const kit = await openWith({ authorizeAdmin: authorizeAdmin as never })
    const [root, alice] = [await kit.login('root'), await kit.login()]
    const res = await end(kit, alice.sid, root.bearer)
    expect(res.status).toBe(status)
    expect(res.text).not.toContain('private')
    await expectAlive(kit, alice, true)
  })

  it('is not for pages of another origin', async () => {
    const kit = await openWith()
    const login = await kit.login()
    const res = await request(kit.server)
      .delete(`/auth/sessions/${login.sid}`)
      .set({ Cookie: login.cookie, 'Sec-Fetch-Site': 'cross-site' })
    expectProblem(res, 403, 'cross_origin')
    await expectAlive(kit, login, true)
  })
})

describe('DELETE /sessions', () => {
  it('ends all of one’s own but the current one', async () => {
    const kit = await openWith()
    const [one, two, current] = [await kit.login(), await kit.login(), await kit.login()]
    const bob = await kit.login('bob')
    const res = await request(kit.server)
      .delete('/auth/sessions')
      .set('Cookie', current.cookie)
      .expect(200)
    expect(res.body).toEqual({ revoked: 2 })
    expect(setCookies(res)).toEqual([])
    await expectAlive(kit, one, false)
    await expectAlive(kit, two, false)
    await expectAlive(kit, current, true)
    await expectAlive(kit, bob, true)
  })

  it('ends all of a user’s for an admin, of that tenant only', async () => {
    const kit = await openWith()
    kit.users.set('alice-t', { id: 'alice', tenant: 't' })
    const [root, alice, tenant] = [
      await kit.login('root'),
      await kit.login(),
      await kit.login('alice-t'),
    ]
    const del = (query: string, login: Login) =>
      request(kit.server).delete(`/auth/sessions?${query}`).set('Authorization', login.bearer)
    expect((await del('user_id=alice&tenant=t', root).expect(200)).body).toEqual({ revoked: 1 })
    await expectAlive(kit, tenant, false)
    await expectAlive(kit, alice, true)
    expect((await del('user_id=alice', root).expect(200)).body).toEqual({ revoked: 1 })
    await expectAlive(kit, alice, false)
    expect((await del('user_id=nobody', root).expect(200)).body).toEqual({ revoked: 0 })
    await expectAlive(kit, root, true)
  })

  it('is 403 for anybody else, also for their own id, and 401 for an old admin login', async () => {
    const kit = await openWith()
    const [root, alice, bob] = [await kit.login('root'), await kit.login(), await kit.login('bob')]
    for (const id of ['alice', 'bob', 'nobody']) {
      const res = await request(kit.server)
        .delete(`/auth/sessions?user_id=${id}`)
        .set('Authorization', bob.bearer)
      expectProblem(res, 403, 'forbidden')
    }
    await kit.tick(5 * MINUTE + SECOND)
    const res = await request(kit.server)
      .delete('/auth/sessions?user_id=alice')
      .set('Authorization', root.bearer)
    expectProblem(res, 401, 'step_up_required')
    for (const login of [alice, bob]) await expectAlive(kit, login, true)
  })

  it.each([
    'user_id=',
    'user_id=a&user_id=b',
    'user_id=%00',
    'user_id=a%0d%0ab',
    `user_id=${'a'.repeat(256)}`,
    'user_id=a&tenant=%07',
    'user_id=a&tenant=b&tenant=c',
    'tenant=t',
    'id=alice',
    'user_id[]=a',
    'user_id[$ne]=a',
    'userId=alice',
    'all=true',
  ])('refuses ?%s, and ends nothing', async (query) => {
    const kit = await openWith()
    const [root, other] = [await kit.login('root'), await kit.login('root')]
    const res = await request(kit.server)
      .delete(`/auth/sessions?${query}`)
      .set('Authorization', root.bearer)
    expect(res.status).toBe(400)
    expect(setCookies(res)).toEqual([])
    await expectAlive(kit, other, true)
  })

  it('refuses the same with an extended query parser', async () => {
    const kit = await openWith({}, { before: (app) => app.set('query parser', 'extended') })
    const root = await kit.login('root')
    for (const query of ['user_id[]=a', 'user_id[a]=b', 'user_id=a&tenant[x]=y', '[__proto__]=x']) {
      const res = await request(kit.server)
        .delete(`/auth/sessions?${query}`)
        .set('Authorization', root.bearer)
      expect([400, 200]).toContain(res.status)
      if (res.status === 200) expect(res.body).toEqual({ revoked: 0 })
    }
    await expectAlive(kit, root, true)
  })
})

describe('POST /step-up', () => {
  function stepUp(
    kit: TestKit,
    headers: Headers,
    { username = 'alice', password = PASSWORD } = {},
  ): request.Test {
    return request(kit.server).post('/auth/step-up').set(headers).send({ username, password })
  }

  it('replaces the session: new id, new auth_time, the level of this login, the data kept', async () => {
    const kit = await openWith()
    const old = await kit.login()
    await kit.latchkey.sessions.update(old.sid, { data: { cart: [1, 2] } })
    await kit.tick(HOUR)
    kit.users.set('alice', { id: 'alice', level: 'mfa' })
    const fresh = readLogin(await stepUp(kit, { Cookie: old.cookie }).expect(200))
    expect(fresh.sid).not.toBe(old.sid)
    expect(fresh.res.body).toMatchObject({
      session: { auth_time: new Date(kit.clock.now).toISOString(), level: 'mfa', current: true },
    })
    expect(setCookies(fresh.res)).toHaveLength(2)
    await expectAlive(kit, old, false)
    await expectAlive(kit, fresh, true)
    expect(await kit.stored(fresh.sid)).toMatchObject({ data: { cart: [1, 2] } })
    await request(kit.server).post('/auth/refresh').set('Cookie', old.refreshCookie).expect(401)
    expect(typesOf(kit)).toContain('authn_step_up_success')
  })

  it('completes a partial session', async () => {
    const kit = await openWith()
    kit.users.set('alice', { id: 'alice', level: 'partial' })
    const half = await kit.login()
    await request(kit.server).get('/session').set('Cookie', half.cookie).expect(401)
    kit.users.set('alice', { id: 'alice', level: 'mfa' })
    const whole = readLogin(await stepUp(kit, { Cookie: half.cookie }).expect(200))
    await expectAlive(kit, whole, true)
    await request(kit.server).get('/session').set('Cookie', half.cookie).expect(401)
  })

  it.each([
    ['another user', { username: 'bob' }],
    ['a wrong password', { password: 'wrong' }],
    ['nobody', { username: 'nobody' }],
  ])('with %s is 401 and keeps the session', async (_, body) => {
    const kit = await openWith()
    const login = await kit.login()
    const res = await stepUp(kit, { Cookie: login.cookie }, body)
    expectProblem(res, 401, 'invalid_credentials')
    await expectAlive(kit, login, true)
    expect(typesOf(kit)).toContain('authn_step_up_fail')
    const { items } = await kit.latchkey.sessions.list('bob')
    expect(items).toEqual([])
  })

  it('with the same id of another tenant is another user', async () => {
    const kit = await openWith()
    const login = await kit.login()
    kit.users.set('alice', { id: 'alice', tenant: 'other' })
    expectProblem(await stepUp(kit, { Cookie: login.cookie }), 401, 'invalid_credentials')
    await expectAlive(kit, login, true)
  })

  it('needs a live session first', async () => {
    let asked = 0
    const kit = await openWith({
      authenticate: () => {
        asked++
        return { id: 'alice' }
      },
    })
    expectProblem(await stepUp(kit, {}), 401, 'credentials_missing')
    const login = await kit.login()
    await kit.spy.raw.revoke({ sid: login.sid })
    expect((await stepUp(kit, { Cookie: login.cookie })).status).toBe(401)
    expect((await stepUp(kit, { Authorization: login.bearer })).status).toBe(401)
    expect(asked).toBe(1)
  })

  it('fits in at the session limit, for it replaces', async () => {
    const kit = await openWith({ maxSessions: { perUser: 1, onLimit: 'refuse' } })
    const login = await kit.login()
    const fresh = readLogin(await stepUp(kit, { Cookie: login.cookie }).expect(200))
    await expectAlive(kit, login, false)
    await expectAlive(kit, fresh, true)
  })

  it('over the session limit is 403 and keeps the session', async () => {
    const one = await openWith()
    const [a, b] = [await one.login(), await one.login()]
    const strict = await openWith(
      { maxSessions: { perUser: 1, onLimit: 'refuse' } },
      { spy: one.spy, clock: one.clock },
    )
    expectProblem(await stepUp(strict, { Cookie: a.cookie }), 403, 'session_limit')
    await expectAlive(strict, a, true)
    await expectAlive(strict, b, true)
  })

  it('twice at once leaves one session, and the loser is told', async () => {
    const kit = await openWith()
    const login = await kit.login()
    const answers = await Promise.all(
      Array.from({ length: 10 }, async () => stepUp(kit, { Cookie: login.cookie }).then((r) => r)),
    )
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    for (const res of answers) if (res.status !== 200) expect(res.status).toBe(401)
    expect((await kit.latchkey.sessions.list('alice')).items).toHaveLength(1)
  })

  it.each(CROSS)(
    'from another origin sets no cookie, whichever credential: %j',
    async (headers) => {
      const kit = await openWith()
      const login = await kit.login()
      for (const credential of [{ Cookie: login.cookie }, { Authorization: login.bearer }]) {
        const res = await stepUp(kit, { ...headers, ...(credential as Headers) })
        expectProblem(res, 403, 'cross_origin')
      }
      await expectAlive(kit, login, true)
    },
  )

  it('keeps the session when delivery throws', async () => {
    let broken = false
    const kit = await openWith({
      delivery: () => {
        if (broken) throw new Error('private detail')
        return 'cookie'
      },
    })
    const login = await kit.login()
    broken = true
    expectProblem(await stepUp(kit, { Authorization: login.bearer }), 500, 'internal_error')
    await expectAlive(kit, login, true)
  })

  it('answers 503 and keeps the session when the store fails', async () => {
    const kit = await openWith()
    const login = await kit.login()
    kit.spy.faults.set('replace', 'rejects')
    expectProblem(await stepUp(kit, { Cookie: login.cookie }), 503, 'store_unavailable')
    await expectAlive(kit, login, true)
  })

  it('while all sessions are ended opens none: 401', async () => {
    const gate: { open?: () => void } = {}
    let slow = false
    const kit = await openWith({
      authenticate: async () => {
        if (slow) await new Promise<void>((resolve) => (gate.open = resolve))
        return { id: 'alice' }
      },
    })
    const login = await kit.login()
    slow = true
    const pending = stepUp(kit, { Cookie: login.cookie }).then((res) => res)
    await until(() => gate.open !== undefined)
    await request(kit.server).post('/auth/logout-all').set('Cookie', login.cookie).expect(200)
    gate.open?.()
    expect((await pending).status).toBe(401)
    expect((await kit.latchkey.sessions.list('alice')).items).toEqual([])
  })
})

describe('GET /.well-known/jwks.json', () => {
  it('shows public members only, for anybody, cacheable for a bounded time', async () => {
    const kit = await openWith()
    const res = await request(kit.server).get('/auth/.well-known/jwks.json').expect(200)
    const { keys } = JSON.parse(res.text) as { keys: Record<string, unknown>[] }
    expect(keys.map((key) => Object.keys(key).toSorted())).toEqual([
      ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
    ])
    expect(res.headers).toMatchObject({
      'content-type': 'application/jwk-set+json; charset=utf-8',
      'cache-control': 'public, max-age=300',
      'x-content-type-options': 'nosniff',
    })
    expect(kit.spy.calls).toEqual([])
    expect(kit.latchkey.keys.jwks).toEqual({ keys })
  })

  it('answers the same whatever credentials come along', async () => {
    const kit = await openWith()
    await request(kit.server)
      .get('/auth/.well-known/jwks.json')
      .set({ Authorization: 'Bearer junk', Cookie: `${COOKIES.session}=junk` })
      .expect(200)
    expect(kit.events.filter(({ result }) => result === 'failure')).toEqual([])
  })
})
