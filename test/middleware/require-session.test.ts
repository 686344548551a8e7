import { afterEach, describe, expect, it } from '@jest/globals'
import type { Request, RequestHandler, Response } from 'express'
import request from 'supertest'
import type { SessionGuardOptions } from '../../middleware/index.ts'
import type { TestClaims, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  cookiesOf,
  echo,
  HOUR,
  MINUTE,
  openKit,
  sendMethod,
  sendRaw,
  setCookies,
  typesOf,
} from '../support/kit.ts'

afterEach(closeKits)

/** A kit with `/guarded` behind `requireSession` with these options. */
async function guardedKit(
  guard: SessionGuardOptions<TestClaims>,
  options: TestOptions = {},
): Promise<TestKit> {
  return openKit({
    options,
    routes: (app, { requireSession }) => app.all('/guarded', requireSession(guard), echo),
  })
}

describe('requireSession', () => {
  it('passes a session cookie and a Session header with one store call each', async () => {
    const kit = await openKit()
    const { sid, sessionCookie, session } = await kit.login()
    for (const headers of [
      { Cookie: sessionCookie },
      { Authorization: `Session ${session}` },
      { Authorization: `sEsSiOn   ${session}` },
    ]) {
      kit.spy.reset()
      const res = await request(kit.server).get('/session').set(headers).expect(200)
      expect(res.body).toMatchObject({ kind: 'session', user: 'alice', sid, checked: true })
      expect(res.body).toMatchObject({ hasSession: true })
      expect(res.headers['cache-control']).toBe('no-store')
      expect(setCookies(res)).toEqual([])
      expect(kit.spy.calls).toEqual(['check'])
    }
  })

  it('lets nobody in unjudged where another Promise is the global one, as with zone.js', async () => {
    const kit = await openKit()
    const { sessionCookie, access, sid } = await kit.login()
    const native = globalThis.Promise
    globalThis.Promise = class Foreign<Value> extends native<Value> {}
    try {
      const send = async (path: string, field: string, value: string) =>
        (await request(kit.server).get(path).set(field, value)).status
      const all = async () => [
        await send('/session', 'Cookie', sessionCookie),
        await send('/jwt', 'Authorization', `Bearer ${access}`),
        await send('/hybrid', 'Authorization', `Bearer ${access}`),
      ]
      expect(await all()).toEqual([200, 200, 200])
      await kit.latchkey.sessions.revoke(sid)
      expect(await all()).toEqual([401, 401, 401])
      expect(await send('/session', 'Cookie', sessionCookie.replace(/.$/, '~'))).toBe(401)
    } finally {
      globalThis.Promise = native
    }
  })

  it('answers 401 without an error attribute when no credentials came (RFC 6750 §3)', async () => {
    const kit = await openKit()
    const res = await request(kit.server).get('/session').expect(401)
    expect(res.headers).toMatchObject({
      'www-authenticate': 'Session',
      'cache-control': 'no-store',
      'content-type': 'application/problem+json; charset=utf-8',
    })
    expect(res.body).toMatchObject({ status: 401, code: 'credentials_missing' })
    expect(kit.spy.calls).toEqual([])
  })

  it.each([
    ['an invented token', (token: string) => token.replace(/^lks_.{6}/, 'lks_AAAAAA')],
    ['a truncated one', (token: string) => token.slice(0, -1)],
    ['one with a byte more', (token: string) => `${token}A`],
    ['a changed MAC', (token: string) => token.slice(0, -22) + 'A'.repeat(22)],
    [
      'another seed under the MAC',
      (token: string) => token.replace(/\.[^.]{43}\./, `.${'A'.repeat(43)}.`),
    ],
    [
      'another session id under the MAC',
      (token: string) => token.replace(/\.[^.]{24}\./, `.${'A'.repeat(24)}.`),
    ],
    ['quotes around it', (token: string) => `"${token}"`],
    ['percent encoding', (token: string) => token.replace('_', '%5F')],
    ['a %00', (token: string) => `${token}%00`],
    ['8 KiB of it', (token: string) => token.padEnd(8192, 'A')],
    ['nothing', () => ''],
  ])('refuses %s before any store is asked', async (_, change) => {
    const kit = await openKit()
    const { session } = await kit.login()
    kit.spy.reset()
    const res = await request(kit.server)
      .get('/session')
      .set('Cookie', `${COOKIES.session}=${change(session)}`)
      .expect(401)
    expect(res.body).toMatchObject({ code: 'token_invalid' })
    expect(res.headers['www-authenticate']).toBe(
      'Session error="invalid_token", error_description="the session token is not good"',
    )
    expect(kit.spy.calls).toEqual([])
  })

  it('never adopts a foreign id: a refresh token or an access token proves no session', async () => {
    const kit = await openKit()
    const { access, refresh } = await kit.login()
    for (const text of [access, refresh, refresh.replace('lkr_', 'lks_')]) {
      await request(kit.server).get('/session').set('Authorization', `Session ${text}`).expect(401)
      await request(kit.server)
        .get('/session')
        .set('Cookie', `${COOKIES.session}=${text}`)
        .expect(401)
    }
    expect(typesOf(kit)).not.toContain('authn_token_reuse')
  })
})

describe('the transport of requireSession', () => {
  it.each([
    ['junk', 'junk'],
    ['an empty header', ''],
    ['a scheme alone', 'Session'],
    ['a bad token', 'Session junk'],
    ['Basic', 'Basic YWxpY2U6c2VjcmV0'],
    ['Bearer', 'Bearer junk'],
    ['constructor', 'constructor junk'],
    ['__proto__', '__proto__ junk'],
  ])('is chosen first: %s next to a good cookie is refused', async (_, authorization) => {
    const kit = await openKit()
    const { cookie } = await kit.login()
    kit.spy.reset()
    const { status, body } = await sendRaw(kit.port, 'GET /session', [
      `Authorization: ${authorization}`,
      `Cookie: ${cookie}`,
    ])
    expect(status).toBe(401)
    expect(JSON.parse(body)).toMatchObject({ code: 'token_invalid' })
    expect(kit.spy.calls).toEqual([])
  })

  it('refuses two Authorization headers, of which Node keeps the first silently', async () => {
    const kit = await openKit()
    const { session } = await kit.login()
    const good = `Authorization: Session ${session}`
    for (const headers of [
      [good, good],
      [good, 'aUTHORIZATION: Basic x'],
      ['Authorization: Basic x', good],
    ]) {
      const { status, head, body } = await sendRaw(kit.port, 'GET /session', headers)
      expect(status).toBe(400)
      expect(JSON.parse(body)).toMatchObject({ code: 'credentials_ambiguous' })
      // RFC 6750 §3.1: more than one method is invalid_request.
      expect(head).toContain('WWW-Authenticate: Session error="invalid_request"')
    }
  })

  it('is no query string, no body and no other header', async () => {
    const kit = await openKit()
    const { session } = await kit.login()
    await request(kit.server)
      .post(`/session?session=${session}&access_token=${session}&${COOKIES.session}=${session}`)
      .set({ 'X-Session': session, 'X-User-Id': 'alice', 'X-Forwarded-User': 'alice' })
      .send({ session_token: session })
      .expect(401, /credentials_missing/)
  })
})

describe('duplicate session cookies', () => {
  it('do not count when they do not verify, wherever they stand', async () => {
    const kit = await openKit()
    const { sid, session, sessionCookie } = await kit.login()
    const planted = `${COOKIES.session}=${session.slice(0, -22)}${'A'.repeat(22)}`
    const junk = `${COOKIES.session}=junk`
    for (const cookie of [
      `${planted}; ${sessionCookie}`,
      `${sessionCookie}; ${planted}`,
      `${junk}; ${planted};;; ${sessionCookie}; x`,
      `${sessionCookie}; ${sessionCookie}`,
    ]) {
      const res = await request(kit.server).get('/session').set('Cookie', cookie).expect(200)
      expect(res.body).toMatchObject({ sid })
    }
  })

  it('are refused when two verify and differ', async () => {
    const kit = await openKit()
    const [alice, bob] = [await kit.login('alice'), await kit.login('bob')]
    const { status, body } = await sendRaw(kit.port, 'GET /session', [
      `Cookie: ${alice.sessionCookie}`,
      `Cookie: ${bob.sessionCookie}`,
    ])
    expect(status).toBe(400)
    expect(JSON.parse(body)).toMatchObject({ code: 'credentials_ambiguous' })
  })

  it('are refused when there are too many to look at', async () => {
    const kit = await openKit()
    const { sessionCookie } = await kit.login()
    const junk = Array.from({ length: 5 }, (_, index) => `${COOKIES.session}=junk${index}`)
    await request(kit.server)
      .get('/session')
      .set('Cookie', [...junk, sessionCookie].join('; '))
      .expect(400, /credentials_ambiguous/)
  })

  it('lend their text to no other guard of the request', async () => {
    // The first duplicate is an access token that the store denies: what the session cookie beside it
    // is worth must not be taken for what this token is worth.
    const kit = await openKit({
      options: { accessToken: 'cookie' },
      routes: (app, { requireSession, hybridGuard }) =>
        app.get('/guarded', requireSession(), hybridGuard({ sensitive: true }), echo),
    })
    const login = await kit.login()
    const { jti, exp } = JSON.parse(
      Buffer.from(login.access.split('.')[1] ?? '', 'base64url').toString(),
    ) as { jti: string; exp: number }
    await kit.spy.raw.deny({ sid: login.sid, jti, expiresAt: exp * 1000 })
    await request(kit.server)
      .get('/guarded')
      .set(
        'Cookie',
        `${COOKIES.session}=${login.access}; ${login.sessionCookie}; ${COOKIES.access}=${login.access}`,
      )
      .expect(401, /token_revoked/)
  })

  it.each([
    ['a no-break space', (cookie: string) => `\u00a0${cookie}`],
    [
      'another case',
      (cookie: string) => cookie.toLowerCase().replace(/=.*/, cookie.replace(/.*?=/, '=')),
    ],
    ['a nameless cookie', (cookie: string) => `=${cookie}`],
    ['an unprefixed name', (cookie: string) => cookie.replace('__Host-', '')],
    ['a __Secure- name', (cookie: string) => cookie.replace('__Host-', '__Secure-')],
    ['another separator', (cookie: string) => `$Version=1, ${cookie}`],
  ])('are not what %s makes (RFC 6265bis prefixes)', async (_, change) => {
    const kit = await openKit()
    const { sessionCookie } = await kit.login()
    const { status } = await sendRaw(kit.port, 'GET /session', [`Cookie: ${change(sessionCookie)}`])
    expect(status).toBe(401)
  })
})

describe('the cross-origin check of requireSession', () => {
  it.each([
    ['POST', { 'Sec-Fetch-Site': 'cross-site' }, 403],
    ['POST', { 'Sec-Fetch-Site': 'same-site' }, 403],
    ['PUT', { 'Sec-Fetch-Site': 'cross-site' }, 403],
    ['PATCH', { 'Sec-Fetch-Site': 'cross-site' }, 403],
    ['DELETE', { 'Sec-Fetch-Site': 'cross-site' }, 403],
    ['POST', { 'Sec-Fetch-Site': 'same-origin, cross-site' }, 403],
    ['POST', { Origin: 'null' }, 403],
    ['POST', { Origin: 'https://app.example.evil.com' }, 403],
    ['POST', { Origin: 'https://app-example' }, 403],
    ['POST', { Origin: 'http://app.example' }, 403],
    ['POST', { Origin: 'http://app.example', Host: 'app.example' }, 403],
    ['POST', { Origin: 'https://app.example:8443' }, 403],
    ['POST', { Origin: 'https://evil.example', 'X-Forwarded-Host': 'evil.example' }, 403],
    ['POST', { Origin: 'javascript:alert(1)', Host: '' }, 403],
    ['POST', { 'Sec-Fetch-Site': 'same-origin' }, 200],
    ['POST', { 'Sec-Fetch-Site': 'none' }, 200],
    ['POST', { Origin: 'https://app.example' }, 200],
    ['POST', { Origin: 'https://admin.example', 'Sec-Fetch-Site': 'same-site' }, 200],
    ['POST', { Origin: 'https://inner.example', Host: 'inner.example' }, 200],
    ['POST', {}, 200],
    ['GET', { 'Sec-Fetch-Site': 'cross-site' }, 200],
    ['HEAD', { 'Sec-Fetch-Site': 'cross-site' }, 200],
  ])('%s with %j and a cookie: %i', async (method, headers, status) => {
    const kit = await openKit({ options: { allowedOrigins: ['https://admin.example'] } })
    const { cookie, session } = await kit.login()
    kit.spy.reset()
    const send = async (credential: Record<string, string>) =>
      sendMethod(kit, method, '/session').set({
        ...(headers as Record<string, string>),
        ...credential,
      })
    const res = await send({ Cookie: cookie })
    expect(res.status).toBe(status)
    if (status === 403) {
      expect(res.body).toMatchObject({ code: 'cross_origin' })
      expect(kit.spy.calls).toEqual([])
      expect(typesOf(kit)).toContain('malicious_csrf')
    }
    // What a page must add itself cannot be added by a page of another origin.
    expect((await send({ Authorization: `Session ${session}` })).status).toBe(200)
  })

  it('refuses who says nothing of their origin with csrf.requireOrigin', async () => {
    const kit = await openKit({ options: { csrf: { requireOrigin: true } } })
    const { cookie } = await kit.login('alice', { headers: { Origin: 'https://app.example' } })
    await request(kit.server).post('/session').set('Cookie', cookie).expect(403)
    await request(kit.server).get('/session').set('Cookie', cookie).expect(200)
  })

  it('is not switched off by a junk Authorization header', async () => {
    const kit = await openKit()
    const { cookie } = await kit.login()
    await request(kit.server)
      .post('/session')
      .set({ Cookie: cookie, Authorization: 'x', 'Sec-Fetch-Site': 'cross-site' })
      .expect(401)
  })
})

describe('a session that is over', () => {
  it('is refused after logout, on this node and on another', async () => {
    const one = await openKit()
    const two = await openKit({ spy: one.spy, clock: one.clock })
    const { cookie, sid } = await one.login()
    await request(two.server).get('/session').set('Cookie', cookie).expect(200)
    await request(one.server).post('/auth/logout').set('Cookie', cookie).expect(204)
    await request(two.server).get('/session').set('Cookie', cookie).expect(401)
    await request(one.server)
      .get('/session')
      .set('Cookie', cookie)
      .expect(401, /session_revoked/)
    expect(await one.stored(sid)).toBeNull()
  })

  it('ends at its idle deadline, which activity moves, but never past the absolute one', async () => {
    const kit = await openKit({ options: { idleTimeout: '1h', absoluteTimeout: '2h' } })
    const { cookie } = await kit.login()
    const get = async (status: number) =>
      request(kit.server).get('/session').set('Cookie', cookie).expect(status)
    await kit.tick(HOUR - 1)
    await get(200)
    await kit.tick(HOUR - 1)
    await get(200)
    await kit.tick(2)
    await get(401)
  })

  it('ends by idleness to the millisecond', async () => {
    const kit = await openKit({ options: { idleTimeout: '1h' } })
    const { cookie } = await kit.login()
    await kit.tick(HOUR)
    await request(kit.server)
      .get('/session')
      .set('Cookie', cookie)
      .expect(401, /session_ended/)
  })

  it('is refused even by a store that was rolled back, and is ended there again', async () => {
    const kit = await openKit()
    const { cookie, sid } = await kit.login()
    await kit.latchkey.sessions.revoke(sid)
    kit.spy.reset()
    await request(kit.server)
      .get('/session')
      .set('Cookie', cookie)
      .expect(401, /session_revoked/)
    expect(kit.spy.calls).toEqual(['revoke'])
  })
})

describe('the options of requireSession', () => {
  it('roles: one of them is enough, none is 403 forbidden', async () => {
    const kit = await guardedKit({ roles: ['admin', 'editor'] })
    kit.users.set('ed', { id: 'ed', roles: ['editor'] })
    kit.users.set('other', { id: 'other', roles: ['editors', 'Admin'] })
    const [ed, other] = [await kit.login('ed'), await kit.login('other')]
    await request(kit.server).get('/guarded').set('Cookie', ed.cookie).expect(200)
    const res = await request(kit.server).get('/guarded').set('Cookie', other.cookie).expect(403)
    expect(res.body).toMatchObject({ code: 'forbidden' })
    expect(res.headers['www-authenticate']).toBeUndefined()
    expect(typesOf(kit)).toContain('authz_fail')
  })

  it('scope: all of them, else 403 insufficient_scope with the challenge (RFC 6750 §3.1)', async () => {
    const kit = await guardedKit({ scope: ['read', 'write'] })
    kit.users.set('reader', { id: 'reader', scope: ['read'] })
    kit.users.set('writer', { id: 'writer', scope: ['write', 'read', 'more'] })
    const [reader, writer] = [await kit.login('reader'), await kit.login('writer')]
    await request(kit.server).get('/guarded').set('Cookie', writer.cookie).expect(200)
    const res = await request(kit.server).get('/guarded').set('Cookie', reader.cookie).expect(403)
    expect(res.headers['www-authenticate']).toBe(
      'Session error="insufficient_scope", error_description="the scope does not cover this", scope="read write"',
    )
  })

  it('level: one of them, else 401 with acr_values (RFC 9470 §3)', async () => {
    const kit = await guardedKit({ level: ['mfa', 'hardware'] })
    kit.users.set('strong', { id: 'strong', level: 'hardware' })
    kit.users.set('weak', { id: 'weak', level: 'password' })
    const strong = await kit.login('strong')
    await request(kit.server).get('/guarded').set('Cookie', strong.cookie).expect(200)
    for (const name of ['weak', 'alice']) {
      const { cookie } = await kit.login(name)
      const res = await request(kit.server).get('/guarded').set('Cookie', cookie).expect(401)
      expect(res.body).toMatchObject({ code: 'step_up_required' })
      expect(res.headers['www-authenticate']).toBe(
        'Session error="insufficient_user_authentication", error_description="log in again to do this", acr_values="mfa hardware"',
      )
    }
  })

  it('level: an empty list lets nobody pass', async () => {
    const kit = await guardedKit({ level: [] })
    const { cookie } = await kit.login()
    await request(kit.server).get('/guarded').set('Cookie', cookie).expect(401)
  })

  it('maxAuthAge: to the millisecond, else 401 with max_age (RFC 9470 §3)', async () => {
    const kit = await guardedKit({ maxAuthAge: '5m' })
    const { cookie } = await kit.login()
    await kit.tick(5 * MINUTE)
    await request(kit.server).get('/guarded').set('Cookie', cookie).expect(200)
    await kit.tick(1)
    const res = await request(kit.server).get('/guarded').set('Cookie', cookie).expect(401)
    expect(res.headers['www-authenticate']).toBe(
      'Session error="insufficient_user_authentication", error_description="log in again to do this", max_age="300"',
    )
  })

  it('maxAuthAge: a refresh does not make a login fresh again', async () => {
    const kit = await guardedKit({ maxAuthAge: '5m' })
    const { cookie } = await kit.login()
    await kit.tick(6 * MINUTE)
    const res = await request(kit.server).post('/auth/refresh').set('Cookie', cookie).expect(200)
    const [renewed = ''] = setCookies(res)
    await request(kit.server).get('/guarded').set('Cookie', renewed).expect(401)
  })

  it('a partial session passes no guard that does not ask for it', async () => {
    const kit = await guardedKit({ level: 'partial' })
    kit.users.set('half', { id: 'half', level: 'partial' })
    const { cookie, bearer } = await kit.login('half')
    await request(kit.server).get('/guarded').set('Cookie', cookie).expect(200)
    await request(kit.server)
      .get('/session')
      .set('Cookie', cookie)
      .expect(401, /step_up_required/)
    for (const path of ['/jwt', '/hybrid', '/sensitive', '/auth/sessions', '/auth/session']) {
      await request(kit.server).get(path).set('Authorization', bearer).expect(401)
    }
  })

  it('bindDevice: another device is 401 device_mismatch, before the handler', async () => {
    const kit = await guardedKit(
      { bindDevice: true },
      { deviceBinding: (req) => req.get('X-Device') },
    )
    const { cookie } = await kit.login('alice', { headers: { 'X-Device': 'one' } })
    const get = async (headers: Record<string, string>) =>
      request(kit.server)
        .get('/guarded')
        .set({ Cookie: cookie, ...headers })
    expect((await get({ 'X-Device': 'one' })).status).toBe(200)
    for (const headers of [{ 'X-Device': 'two' }, {}, { 'X-Device': '' }]) {
      const res = await get(headers)
      expect(res.status).toBe(401)
      expect(res.body).toMatchObject({ code: 'device_mismatch' })
      expect(res.headers['www-authenticate']).toMatch(/^Session error="invalid_token"/)
    }
    const unbound = await kit.login('alice')
    await request(kit.server).get('/guarded').set('Cookie', unbound.cookie).expect(200)
    await request(kit.server)
      .get('/guarded')
      .set({ Cookie: unbound.cookie, 'X-Device': 'one' })
      .expect(401)
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('private detail')
      },
    ],
    ['returns a promise', async () => 'one'],
    ['returns a number', () => 7],
  ])('deviceBinding that %s is 500 without detail', async (_, hook) => {
    let broken = false
    const kit = await guardedKit(
      { bindDevice: true },
      { deviceBinding: (() => (broken ? hook() : 'one')) as () => string },
    )
    const { cookie } = await kit.login()
    broken = true
    const res = await request(kit.server).get('/guarded').set('Cookie', cookie).expect(500)
    expect(res.text).not.toContain('private')
  })

  it.each([
    ['true', () => true, 200],
    ['a promise of true', async () => true, 200],
    ['false', () => false, 403],
    ['undefined', () => undefined, 403],
    ['1', () => 1, 403],
    ["'true'", () => 'true', 403],
    ['{}', () => ({}), 403],
    ['a promise of false', async () => false, 403],
    [
      'a thrown error',
      () => {
        throw new Error('private detail')
      },
      500,
    ],
    [
      'a rejection',
      async () => {
        throw new Error('private detail')
      },
      500,
    ],
    [
      'a thrown true',
      () => {
        throw true as unknown as Error
      },
      500,
    ],
  ])('check: %s', async (_, check, status) => {
    const kit = await guardedKit({ check: check as () => boolean })
    const { cookie } = await kit.login()
    const res = await request(kit.server).get('/guarded').set('Cookie', cookie)
    expect(res.status).toBe(status)
    expect(res.text).not.toContain('private')
    if (status === 500) {
      expect(res.body).toMatchObject({
        code: 'internal_error',
        detail: 'the server failed to handle the request',
      })
      expect(typesOf(kit)).toContain('hook_failure')
    }
  })

  it('check: knows who asks and what they ask', async () => {
    const kit = await guardedKit({
      check: (auth, req) => auth.userId === req.query['of'] && auth.session?.userId === auth.userId,
    })
    const { cookie } = await kit.login()
    await request(kit.server).get('/guarded?of=alice').set('Cookie', cookie).expect(200)
    await request(kit.server).get('/guarded?of=bob').set('Cookie', cookie).expect(403)
  })

  it.each([
    [{ role: ['x'] }, 'requireSession.role'],
    [{ roles: 'admin' }, 'requireSession.roles'],
    [{ roles: [''] }, 'requireSession.roles'],
    [{ scope: [1] }, 'requireSession.scope'],
    [{ level: 1 }, 'requireSession.level'],
    [{ maxAuthAge: 300 }, 'requireSession.maxAuthAge'],
    [{ maxAuthAge: '5 minutes' }, 'requireSession.maxAuthAge'],
    [{ optional: 'yes' }, 'requireSession.optional'],
    [{ bindDevice: true }, 'requireSession.bindDevice'],
    [{ check: true }, 'requireSession.check'],
    [{ onStoreFailure: 'pass' }, 'requireSession.onStoreFailure'],
    [{ sensitive: true }, 'requireSession.sensitive'],
    [{ sample: 1 }, 'requireSession.sample'],
    [null, 'requireSession'],
    ['admin', 'requireSession'],
  ])('refuses %j when the guard is made', async (options, option) => {
    const { latchkey } = await openKit()
    expect(() => latchkey.requireSession(options as object)).toThrow(
      expect.objectContaining({ code: 'invalid_option', option }),
    )
  })

  it('takes undefined for absent', async () => {
    const kit = await guardedKit({
      optional: undefined,
      roles: undefined,
      scope: undefined,
      level: undefined,
      maxAuthAge: undefined,
      bindDevice: undefined,
      check: undefined,
      onStoreFailure: undefined,
    })
    const { cookie } = await kit.login()
    await request(kit.server).get('/guarded').set('Cookie', cookie).expect(200)
    await request(kit.server).get('/guarded').expect(401)
  })
})

describe('optional', () => {
  it('passes without credentials and with an ended cookie as nobody', async () => {
    const kit = await guardedKit({ optional: true })
    const { cookie } = await kit.login()
    const get = (headers: Record<string, string>) =>
      request(kit.server).get('/guarded').set(headers).expect(200)
    expect((await get({})).body).toEqual({ passed: true, auth: null })
    expect((await get({ Cookie: cookie })).body).toMatchObject({ user: 'alice' })
    await request(kit.server).post('/auth/logout').set('Cookie', cookie).expect(204)
    expect((await get({ Cookie: cookie })).body).toEqual({ passed: true, auth: null })
    expect((await get({ Cookie: `${COOKIES.session}=junk` })).body).toMatchObject({ auth: null })
  })

  it('still refuses a bad Authorization header, two of them, and a failing store', async () => {
    const kit = await guardedKit({ optional: true })
    const { cookie, session } = await kit.login()
    for (const value of ['Session junk', 'Basic x', 'junk']) {
      await request(kit.server).get('/guarded').set('Authorization', value).expect(401)
    }
    const { status } = await sendRaw(kit.port, 'GET /guarded', [
      `Authorization: Session ${session}`,
      `Authorization: Session ${session}`,
    ])
    expect(status).toBe(400)
    kit.spy.faults.set('check', 'rejects')
    await request(kit.server).get('/guarded').set('Cookie', cookie).expect(503)
  })

  it('still refuses who lacks a role, and a page of another origin', async () => {
    const kit = await guardedKit({ optional: true, roles: ['admin'] })
    const { cookie } = await kit.login()
    await request(kit.server)
      .get('/guarded')
      .set('Cookie', cookie)
      .expect(403, /forbidden/)
    await request(kit.server)
      .post('/guarded')
      .set({ Cookie: cookie, 'Sec-Fetch-Site': 'cross-site' })
      .expect(403, /cross_origin/)
  })

  it('leaves nobody behind whom a guard before it knew', async () => {
    let sid = ''
    const kit = await openKit({
      routes: (app, { requireSession, sessions, getAuth }) => {
        const revoke: RequestHandler = (_req, _res, next) => {
          void sessions.revoke(sid).finally(next)
        }
        const chain = [requireSession(), revoke, requireSession({ optional: true })]
        app.get('/guarded', chain, echo)
        app.get('/get-auth', chain, (req: Request, res: Response) => void res.json(getAuth(req)))
      },
    })
    const login = await kit.login()
    sid = login.sid
    const res = await request(kit.server).get('/guarded').set('Cookie', login.cookie).expect(200)
    expect(res.body).toEqual({ passed: true, auth: null })
    const again = await kit.login()
    sid = again.sid
    await request(kit.server).get('/get-auth').set('Cookie', again.cookie).expect(500)
  })

  it('leaves alone whom a guard of another kit knew', async () => {
    const other = await openKit({ options: { cookies: { names: { session: '__Host-other' } } } })
    const kit = await openKit({
      routes: (app, { requireSession }) => {
        app.get(
          '/guarded',
          other.latchkey.requireSession(),
          requireSession({ optional: true }),
          echo,
        )
      },
    })
    const { res: login } = await other.login('bob')
    const res = await request(kit.server)
      .get('/guarded')
      .set('Cookie', `__Host-other=${cookiesOf(login).get('__Host-other')}`)
      .expect(200)
    expect(res.body).toMatchObject({ user: 'bob' })
  })

  it.each([
    ['level', { level: 'mfa' }, 'step_up_required'],
    ['maxAuthAge', { maxAuthAge: '1m' }, 'step_up_required'],
    ['bindDevice', { bindDevice: true }, 'device_mismatch'],
  ] as const)('still refuses by %s whose cookie is good', async (_, guard, code) => {
    const kit = await guardedKit(
      { optional: true, ...guard },
      { deviceBinding: (req) => req.get('X-Device') },
    )
    const { cookie } = await kit.login('alice', { headers: { 'X-Device': 'one' } })
    await kit.tick(2 * MINUTE)
    const res = await request(kit.server).get('/guarded').set('Cookie', cookie)
    expect(res.body).toMatchObject({ status: 401, code })
  })
})
