/* oxlint-disable jest/expect-expect -- the expect of supertest asserts */
import { afterEach, describe, expect, it } from '@jest/globals'
import type { Express } from 'express'
import request from 'supertest'
import type { Latchkey } from '../../middleware/index.ts'
import type { Login, TestClaims, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  echo,
  MINUTE,
  openKit,
  PASSWORD,
  readLogin,
  typesOf,
} from '../support/kit.ts'

afterEach(closeKits)

type Headers = Record<string, string>

/** Every guard there is, with nothing asked for and with what a stronger login has. */
function everyGuard(app: Express, kit: Latchkey<TestClaims>): void {
  const { requireSession, requireJwt, hybridGuard } = kit
  const plain = { s: requireSession, h: hybridGuard }
  for (const [name, guard] of Object.entries(plain)) {
    app.all(`/${name}-plain`, guard(), echo)
    app.all(`/${name}-level`, guard({ level: 'mfa' }), echo)
    app.all(`/${name}-levels`, guard({ level: ['mfa', 'hardware'] }), echo)
    app.all(`/${name}-age`, guard({ maxAuthAge: '5m' }), echo)
    app.all(`/${name}-both`, guard({ level: ['mfa', 'hardware'], maxAuthAge: '90s' }), echo)
    app.all(`/${name}-partial`, guard({ level: 'partial' }), echo)
    app.all(`/${name}-roles`, guard({ roles: ['r'] }), echo)
    app.all(`/${name}-scope`, guard({ scope: ['s'] }), echo)
    app.all(`/${name}-check`, guard({ check: () => true }), echo)
    app.all(`/${name}-optional`, guard({ optional: true }), echo)
  }
  app.all('/h-sensitive', hybridGuard({ sensitive: true }), echo)
  app.all('/h-sampled', hybridGuard({ sample: 1 }), echo)
  app.all('/j-plain', requireJwt(), echo)
  app.all('/j-roles', requireJwt({ roles: ['r'] }), echo)
  app.all('/j-scope', requireJwt({ scope: ['s'] }), echo)
  app.all('/j-optional', requireJwt({ optional: true }), echo)
}

async function openWith(options: TestOptions = {}): Promise<TestKit> {
  const kit = await openKit({ options, routes: everyGuard })
  kit.users.set('alice', { id: 'alice', level: 'password', roles: ['r'], scope: ['s'] })
  return kit
}

/** How each guard may be asked. */
const CREDENTIALS: readonly (readonly [string, RegExp, (login: Login) => Headers])[] = [
  ['a session cookie', /^[sh]/, ({ sessionCookie }) => ({ Cookie: sessionCookie })],
  ['a Session header', /^[sh]/, ({ session }) => ({ Authorization: `Session ${session}` })],
  ['a Bearer header', /^[jh]/, ({ bearer }) => ({ Authorization: bearer })],
]

const NEAR: readonly (readonly [string, TestOptions])[] = [
  ['from the store', {}],
  ['with the near cache', { nearCache: true }],
]

describe.each(CREDENTIALS)('step-up, asked for %s', (kind, guards, headersOf) => {
  const scheme = kind.startsWith('a Bearer') ? 'Bearer' : undefined

  it.each([
    ['level', 'acr_values="mfa"'],
    ['levels', 'acr_values="mfa hardware"'],
    ['age', 'max_age="300"'],
    ['both', 'acr_values="mfa hardware", max_age="90"'],
  ])('at %s is 401 step_up_required with %s (RFC 9470 §3)', async (asked, parameters) => {
    const kit = await openWith()
    const login = await kit.login()
    await kit.tick(6 * MINUTE)
    for (const guard of ['s', 'h'].filter((one) => guards.test(one))) {
      const res = await request(kit.server).get(`/${guard}-${asked}`).set(headersOf(login))
      expect(res.status).toBe(401)
      expect(res.body).toMatchObject({ status: 401, code: 'step_up_required' })
      expect(res.headers).toMatchObject({
        'www-authenticate':
          `${scheme ?? (guard === 's' ? 'Session' : 'Bearer')} ` +
          'error="insufficient_user_authentication", ' +
          `error_description="log in again to do this", ${parameters}`,
        'cache-control': 'no-store',
      })
    }
    expect(typesOf(kit)).toContain('authz_fail')
  })

  it('is over after POST /step-up with a better login, and only then', async () => {
    const kit = await openWith()
    const login = await kit.login()
    await kit.tick(6 * MINUTE)
    const headers = headersOf(login)
    const weak = await request(kit.server)
      .post('/auth/step-up')
      .set(headers)
      .send({ username: 'alice', password: PASSWORD })
      .expect(200)
    kit.users.set('alice', { id: 'alice', level: 'mfa' })
    const strong = await request(kit.server)
      .post('/auth/step-up')
      .set(headersOf(readLogin(weak)))
      .send({ username: 'alice', password: PASSWORD })
      .expect(200)
    const guard = guards.test('s') ? 's' : 'h'
    for (const asked of ['level', 'age', 'both']) {
      const get = (one: Login) => request(kit.server).get(`/${guard}-${asked}`).set(headersOf(one))
      await get(readLogin(strong)).expect(200)
      await get(login).expect(401, /session_revoked/)
    }
  })
})

describe('auth_time', () => {
  it('is moved by no refresh, not by ten, neither in the session nor in the JWT', async () => {
    const kit = await openWith({ loadUser: ({ id }) => ({ id, level: 'password', roles: ['r'] }) })
    let login = await kit.login()
    const at = kit.clock.now
    const { auth_time: before } = payloadOf(login)
    for (let count = 1; count <= 10; count++) {
      await kit.tick(MINUTE)
      const res = await request(kit.server).post('/auth/refresh').set('Cookie', login.refreshCookie)
      login = readLogin(res)
      expect(res.body).toMatchObject({ session: { auth_time: new Date(at).toISOString() } })
      expect(payloadOf(login)).toMatchObject({ auth_time: before, gen: count })
    }
    expect(await kit.stored(login.sid)).toMatchObject({ authTime: at, lastSeenAt: kit.clock.now })
    for (const [path, headers] of [
      ['/s-age', { Cookie: login.sessionCookie }],
      ['/h-age', { Authorization: login.bearer }],
    ] as const) {
      await request(kit.server)
        .get(path)
        .set(headers)
        .expect(401, /step_up_required/)
    }
  })
})

function payloadOf({ access }: Login): Record<string, unknown> {
  const payload = Buffer.from(access.split('.')[1] ?? '', 'base64url').toString()
  return JSON.parse(payload) as Record<string, unknown>
}

const GUARDS = [
  ...['plain', 'level', 'levels', 'age', 'both', 'roles', 'scope', 'check'].flatMap((asked) => [
    `s-${asked}`,
    `h-${asked}`,
  ]),
  'h-sensitive',
  'h-sampled',
  'j-plain',
  'j-roles',
  'j-scope',
]

describe.each(NEAR)('a half logged in session, %s', (_, options) => {
  describe.each(CREDENTIALS)('by %s', (__, takes, headersOf) => {
    it('passes no guard that did not ask for it by name', async () => {
      const kit = await openWith(options)
      kit.users.set('half', { id: 'half', level: 'partial', roles: ['r'], scope: ['s'] })
      const half = await kit.login('half')
      const whole = await kit.login()
      for (const guard of GUARDS.filter((one) => takes.test(one))) {
        for (const method of ['get', 'post'] as const) {
          // Twice: what the near cache has learnt from the first is no way in either.
          for (let times = 0; times < 2; times++) {
            const res = await request(kit.server)[method](`/${guard}`).set(headersOf(half))
            expect([guard, res.status, (res.body as { code: string }).code]).toEqual([
              guard,
              401,
              'step_up_required',
            ])
          }
        }
      }
      // It is the level that keeps it out, and nothing else.
      for (const guard of ['plain', 'roles', 'scope']) {
        for (const kind of ['s', 'h', 'j'].filter((one) => takes.test(one))) {
          await request(kit.server).get(`/${kind}-${guard}`).set(headersOf(whole)).expect(200)
        }
      }
    })

    it('passes those that did, and no session of another level does', async () => {
      const kit = await openWith(options)
      kit.users.set('half', { id: 'half', level: 'partial' })
      kit.users.set('none', { id: 'none' })
      const half = await kit.login('half')
      for (const kind of ['s', 'h'].filter((one) => takes.test(one))) {
        const get = (login: Login) =>
          request(kit.server).get(`/${kind}-partial`).set(headersOf(login))
        await get(half).expect(200)
        for (const name of ['alice', 'none']) {
          await get(await kit.login(name)).expect(401, /step_up_required/)
        }
      }
    })

    it('is nobody, or refused, where a guard is optional', async () => {
      const kit = await openWith(options)
      kit.users.set('half', { id: 'half', level: 'partial' })
      const headers = headersOf(await kit.login('half'))
      for (const kind of ['s', 'h', 'j'].filter((one) => takes.test(one))) {
        const res = await request(kit.server).get(`/${kind}-optional`).set(headers)
        if ('Cookie' in headers) expect(res.body).toEqual({ passed: true, auth: null })
        else expect(res.body).toMatchObject({ code: 'step_up_required' })
      }
    })
  })

  it('by the access cookie is no different', async () => {
    const kit = await openWith({ ...options, accessToken: 'cookie' })
    kit.users.set('half', { id: 'half', level: 'partial', roles: ['r'], scope: ['s'] })
    const { access } = await kit.login('half')
    for (const guard of GUARDS.filter((one) => !one.startsWith('s'))) {
      const res = await request(kit.server)
        .get(`/${guard}`)
        .set('Cookie', `${COOKIES.access}=${access}`)
      expect([guard, res.status]).toEqual([guard, 401])
    }
  })

  it('gets to the routes for logging in and out only', async () => {
    const kit = await openWith(options)
    kit.users.set('half', { id: 'half', level: 'partial', roles: ['admin'] })
    const { bearer, cookie, sid } = await kit.login('half')
    const agent = request(kit.server)
    for (const path of ['/session', '/sessions', '/audit', '/sessions?user_id=alice']) {
      await agent
        .get(`/auth${path}`)
        .set('Authorization', bearer)
        .expect(401, /step_up_required/)
    }
    for (const path of ['/sessions', `/sessions/${sid}`, '/sessions?user_id=alice']) {
      await agent.delete(`/auth${path}`).set('Authorization', bearer).expect(401)
    }
    await agent.post('/auth/logout-all').set('Authorization', bearer).expect(401)
    // A refresh keeps it alive, and half logged in.
    const renewed = readLogin(await agent.post('/auth/refresh').set('Cookie', cookie).expect(200))
    await agent.get('/j-plain').set('Authorization', renewed.bearer).expect(401)
    await agent.post('/auth/logout').set('Cookie', cookie).expect(204)
  })
})
