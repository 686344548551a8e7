import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { GuardOptions } from '../../middleware/index.ts'
import type { TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  echo,
  MINUTE,
  openKit,
  readLogin,
  SECOND,
  sendMethod,
  sendRaw,
  setCookies,
  until,
} from '../support/kit.ts'

afterEach(closeKits)

async function guardedKit(guard: GuardOptions, options: TestOptions = {}): Promise<TestKit> {
  return openKit({
    options,
    routes: (app, { requireJwt }) => app.all('/guarded', requireJwt(guard), echo),
  })
}

const INVALID = 'Bearer error="invalid_token", error_description='

describe('requireJwt', () => {
  it('passes a Bearer token without any store call', async () => {
    const kit = await openKit()
    const { sid, access } = await kit.login()
    kit.spy.reset()
    for (const scheme of ['Bearer', 'bearer', 'BEARER', 'bEaReR ']) {
      const res = await request(kit.server)
        .get('/jwt')
        .set('Authorization', `${scheme} ${access}`)
        .expect(200)
      expect(res.body).toMatchObject({ kind: 'jwt', user: 'alice', sid, checked: false })
      expect(res.body).toMatchObject({ hasSession: false })
      expect(res.headers['cache-control']).toBe('no-store')
      expect(setCookies(res)).toEqual([])
    }
    expect(kit.spy.calls).toEqual([])
  })

  it('answers 401 without an error attribute when no credentials came (RFC 6750 §3)', async () => {
    const kit = await openKit()
    const { cookie } = await kit.login()
    for (const headers of [{}, { Cookie: cookie }, { 'Proxy-Authorization': 'Bearer x' }]) {
      const res = await request(kit.server)
        .get('/jwt')
        .set(headers as Record<string, string>)
        .expect(401)
      expect(res.headers['www-authenticate']).toBe('Bearer')
      expect(res.headers['cache-control']).toBe('no-store')
      expect(res.body).toMatchObject({ code: 'credentials_missing' })
    }
  })

  it.each([
    ['Basic with a token', (access: string) => `Basic ${access}`],
    ['an unknown scheme', (access: string) => `constructor ${access}`],
    ['toString', (access: string) => `toString ${access}`],
    ['__proto__', (access: string) => `__proto__ ${access}`],
    ['Session with a JWT', (access: string) => `Session ${access}`],
    ['no space', (access: string) => `Bearer${access}`],
    ['a comma', (access: string) => `Bearer,${access}`],
    ['a tab', (access: string) => `Bearer\t${access}`],
    ['two tokens', (access: string) => `Bearer ${access} ${access}`],
    ['a trailing =', (access: string) => `Bearer ${access}==`],
    ['an empty token', () => 'Bearer'],
    ['an empty header', () => ''],
    ['a quoted token', (access: string) => `Bearer "${access}"`],
    ['two segments', (access: string) => `Bearer ${access.split('.').slice(0, 2).join('.')}`],
    ['9 KB', (access: string) => `Bearer ${access.padEnd(9000, 'A')}`],
  ])('refuses %s with invalid_token, next to a good cookie too', async (_, header) => {
    const kit = await openKit({ options: { accessToken: 'cookie' } })
    const { access, cookie } = await kit.login()
    for (const extra of [[], [`Cookie: ${cookie}; ${COOKIES.access}=${access}`]]) {
      const { status, head } = await sendRaw(kit.port, 'GET /jwt', [
        `Authorization: ${header(access)}`,
        ...extra,
      ])
      expect(status).toBe(401)
      expect(head).toContain(`WWW-Authenticate: ${INVALID}`)
    }
  })

  it('refuses two Authorization headers, whatever they hold', async () => {
    const kit = await openKit()
    const { access } = await kit.login()
    const good = `Authorization: Bearer ${access}`
    for (const headers of [
      [good, good],
      [good, 'authorization: '],
      ['AUTHORIZATION: Basic x', good],
    ]) {
      const { status, head, body } = await sendRaw(kit.port, 'GET /jwt', headers)
      expect(status).toBe(400)
      expect(JSON.parse(body)).toMatchObject({ code: 'credentials_ambiguous' })
      expect(head).toContain('WWW-Authenticate: Bearer error="invalid_request"')
    }
  })

  it('reads no query string and no body (RFC 9700 §4.3.2)', async () => {
    const kit = await openKit()
    const { access } = await kit.login()
    await request(kit.server)
      .post(`/jwt?access_token=${access}`)
      .type('form')
      .send({ access_token: access })
      .expect(401, /credentials_missing/)
  })

  it('takes no session token and no refresh token for an access token, and no state changes', async () => {
    const kit = await openKit()
    const { sid, session, refresh, access } = await kit.login()
    kit.spy.reset()
    for (const text of [session, refresh]) {
      await request(kit.server).get('/jwt').set('Authorization', `Bearer ${text}`).expect(401)
    }
    await request(kit.server).post('/auth/refresh').send({ refresh_token: access }).expect(401)
    await request(kit.server).post('/auth/refresh').send({ refresh_token: session }).expect(401)
    expect(kit.spy.calls).toEqual([])
    expect(await kit.generationOf(sid)).toBe(0)
  })

  it('is 401 token_expired after the end and the clock skew, not a moment before', async () => {
    const kit = await openKit({ options: { accessTokenTtl: '10s', clockSkew: '5s' } })
    const { bearer, res } = await kit.login()
    const { expires_in: seconds } = res.body as { expires_in: number }
    expect(seconds).toBeGreaterThanOrEqual(9)
    await kit.tick(seconds * SECOND + 5 * SECOND - 1)
    await request(kit.server).get('/jwt').set('Authorization', bearer).expect(200)
    await kit.tick(1)
    const late = await request(kit.server).get('/jwt').set('Authorization', bearer).expect(401)
    expect(late.body).toMatchObject({ code: 'token_expired' })
    expect(late.headers['www-authenticate']).toBe(`${INVALID}"the access token has expired"`)
  })
})

describe('what the feed says, without a store read', () => {
  it('voids the tokens of an ended session on this node at once', async () => {
    const kit = await openKit()
    const { cookie, bearer } = await kit.login()
    await request(kit.server).get('/jwt').set('Authorization', bearer).expect(200)
    await request(kit.server).post('/auth/logout').set('Cookie', cookie).expect(204)
    kit.spy.reset()
    const res = await request(kit.server).get('/jwt').set('Authorization', bearer).expect(401)
    expect(res.body).toMatchObject({ code: 'session_revoked' })
    expect(kit.spy.calls).toEqual([])
  })

  it('voids them on another node within moments, also for tokens it has remembered', async () => {
    const one = await openKit()
    const two = await openKit({ spy: one.spy, clock: one.clock })
    const { cookie, bearer } = await one.login()
    await request(two.server).get('/jwt').set('Authorization', bearer).expect(200)
    await request(one.server).post('/auth/logout').set('Cookie', cookie).expect(204)
    await until(() => two.latchkey.health().feed.heard > 0)
    one.spy.reset()
    await request(two.server).get('/jwt').set('Authorization', bearer).expect(401)
    expect(one.spy.calls).toEqual([])
  })

  it('voids them on a node that starts later', async () => {
    const one = await openKit()
    const { cookie, bearer } = await one.login()
    await request(one.server).post('/auth/logout').set('Cookie', cookie).expect(204)
    const two = await openKit({ spy: one.spy, clock: one.clock })
    await request(two.server).get('/jwt').set('Authorization', bearer).expect(401)
    expect(one.spy.calls).toEqual([])
  })

  it('is 401 token_stale once attributes changed, and a refresh mends it', async () => {
    const kit = await guardedKit({ roles: ['admin'] })
    const { sid, bearer, cookie } = await kit.login('root')
    await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
    await kit.latchkey.sessions.update(sid, { roles: [] })
    kit.spy.reset()
    const res = await request(kit.server).get('/guarded').set('Authorization', bearer).expect(401)
    expect(res.body).toMatchObject({ code: 'token_stale' })
    expect(res.headers['www-authenticate']).toMatch(/^Bearer error="invalid_token"/)
    expect(kit.spy.calls).toEqual([])
    const renewed = readLogin(
      await request(kit.server).post('/auth/refresh').set('Cookie', cookie).expect(200),
    )
    await request(kit.server).get('/guarded').set('Authorization', renewed.bearer).expect(403)
    await request(kit.server).get('/jwt').set('Authorization', renewed.bearer).expect(200)
  })
})

describe('the access cookie', () => {
  it('is read only with accessToken: cookie', async () => {
    const kit = await openKit()
    const { access } = await kit.login()
    await request(kit.server)
      .get('/jwt')
      .set('Cookie', `${COOKIES.access}=${access}`)
      .expect(401, /credentials_missing/)
  })

  it('passes, is Strict and HttpOnly, and the token is not in the body', async () => {
    const kit = await openKit({ options: { accessToken: 'cookie' } })
    const { access, res } = await kit.login()
    expect(res.body).not.toHaveProperty('access_token')
    expect(res.text).not.toContain(access)
    const line = setCookies(res).find((cookie) => cookie.startsWith(COOKIES.access)) ?? ''
    expect(line).toMatch(
      /; Max-Age=8\d\d; Path=\/; HttpOnly; Secure; SameSite=Strict$|; Max-Age=900; /,
    )
    kit.spy.reset()
    await request(kit.server).get('/jwt').set('Cookie', `${COOKIES.access}=${access}`).expect(200)
    expect(kit.spy.calls).toEqual([])
  })

  it('of another session than the session cookie is nobody’s', async () => {
    const kit = await openKit({ options: { accessToken: 'cookie' } })
    const [alice, bob, again] = [await kit.login(), await kit.login('bob'), await kit.login()]
    for (const other of [bob, again]) {
      for (const path of ['/jwt', '/hybrid', '/sensitive']) {
        await request(kit.server)
          .get(path)
          .set('Cookie', `${other.sessionCookie}; ${COOKIES.access}=${alice.access}`)
          .expect(400, /credentials_ambiguous/)
      }
    }
    // A planted session cookie does not verify, and does not count.
    await request(kit.server)
      .get('/jwt')
      .set('Cookie', `${COOKIES.session}=junk; ${COOKIES.access}=${alice.access}`)
      .expect(200)
  })

  it('counts when it verifies, whatever was planted next to it', async () => {
    const kit = await openKit({ options: { accessToken: 'cookie' } })
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    const good = `${COOKIES.access}=${alice.access}`
    const forged = `${COOKIES.access}=${alice.access.slice(0, -8)}AAAAAAAA`
    for (const cookie of [`${forged}; ${good}`, `${good}; ${forged}`, `${good}; ${good}`]) {
      const res = await request(kit.server).get('/jwt').set('Cookie', cookie).expect(200)
      expect(res.body).toMatchObject({ user: 'alice' })
    }
    await request(kit.server)
      .get('/jwt')
      .set('Cookie', `${good}; ${COOKIES.access}=${bob.access}`)
      .expect(400, /credentials_ambiguous/)
    await request(kit.server).get('/jwt').set('Cookie', `${forged}; ${forged}x`).expect(401)
  })

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])(
    'on %s from another origin is 403, where a Bearer token passes',
    async (method) => {
      const kit = await openKit({ options: { accessToken: 'cookie' } })
      const { access, bearer } = await kit.login()
      const cross = { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://evil.example' }
      for (const path of ['/jwt', '/hybrid', '/sensitive']) {
        const res = await sendMethod(kit, method, path).set({
          ...cross,
          Cookie: `${COOKIES.access}=${access}`,
        })
        expect(res.status).toBe(403)
        const passed = await sendMethod(kit, method, path).set({ ...cross, Authorization: bearer })
        expect(passed.status).toBe(200)
      }
    },
  )
})

describe('the options of requireJwt', () => {
  it('roles and scope, from the token', async () => {
    const kit = await guardedKit({ roles: ['editor'], scope: ['write'] })
    kit.users.set('ed', { id: 'ed', roles: ['editor'], scope: ['read', 'write'] })
    kit.users.set('no-role', { id: 'no-role', scope: ['write'] })
    kit.users.set('no-scope', { id: 'no-scope', roles: ['editor'], scope: ['writers'] })
    const status = async (name: string) => {
      const { bearer } = await kit.login(name)
      return request(kit.server).get('/guarded').set('Authorization', bearer)
    }
    expect((await status('ed')).status).toBe(200)
    expect((await status('no-role')).body).toMatchObject({ status: 403, code: 'forbidden' })
    const res = await status('no-scope')
    expect(res.status).toBe(403)
    expect(res.headers['www-authenticate']).toBe(
      'Bearer error="insufficient_scope", error_description="the scope does not cover this", scope="write"',
    )
  })

  it('optional: nobody, or an ended access cookie, passes as nobody; a bad header does not', async () => {
    const kit = await guardedKit({ optional: true }, { accessToken: 'cookie' })
    const { access, bearer, cookie } = await kit.login()
    const get = async (headers: Record<string, string>) =>
      request(kit.server).get('/guarded').set(headers)
    expect((await get({})).body).toEqual({ passed: true, auth: null })
    expect((await get({ Authorization: bearer })).body).toMatchObject({ user: 'alice' })
    await request(kit.server).post('/auth/logout').set('Cookie', cookie).expect(204)
    expect((await get({ Cookie: `${COOKIES.access}=${access}` })).body).toMatchObject({
      auth: null,
    })
    expect((await get({ Authorization: bearer })).status).toBe(401)
    expect((await get({ Authorization: 'Basic x' })).status).toBe(401)
  })

  it.each([
    [{ level: 'mfa' }, 'requireJwt.level'],
    [{ sensitive: true }, 'requireJwt.sensitive'],
    [{ maxAuthAge: '5m' }, 'requireJwt.maxAuthAge'],
    [{ check: () => true }, 'requireJwt.check'],
    [{ bindDevice: false }, 'requireJwt.bindDevice'],
    [{ scopes: [] }, 'requireJwt.scopes'],
    [{ onStoreFailure: 'x' }, 'requireJwt.onStoreFailure'],
    [null, 'requireJwt'],
  ])('refuses %j when the guard is made', async (options, option) => {
    const { latchkey } = await openKit()
    expect(() => latchkey.requireJwt(options as object)).toThrow(
      expect.objectContaining({ code: 'invalid_option', option }),
    )
  })

  it('a session that ended by idleness is refused: its tokens end no later', async () => {
    const kit = await openKit({ options: { idleTimeout: '10s', absoluteTimeout: '1m' } })
    const { bearer, res } = await kit.login()
    expect((res.body as { expires_in: number }).expires_in).toBeLessThanOrEqual(10)
    await kit.tick(MINUTE)
    await request(kit.server).get('/jwt').set('Authorization', bearer).expect(401)
  })
})
