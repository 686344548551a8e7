import { afterEach, describe, expect, it } from '@jest/globals'
import type { RequestHandler } from 'express'
import request from 'supertest'
import type { HybridGuardOptions, Latchkey } from '../../middleware/index.ts'
import type { TestClaims, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  echo,
  MINUTE,
  openKit,
  readLogin,
  SECOND,
  sendRaw,
  setCookies,
  spyOn,
  typesOf,
  until,
} from '../support/kit.ts'
import { memoryStore } from '../../middleware/index.ts'

afterEach(closeKits)

async function guardedKit(
  guard: HybridGuardOptions<TestClaims>,
  options: TestOptions = {},
): Promise<TestKit> {
  return openKit({
    options,
    routes: (app, { hybridGuard }) => app.all('/guarded', hybridGuard(guard), echo),
  })
}

/** A kit with these guards in a row on `/guarded`. */
async function chainedKit(
  guards: (latchkey: Latchkey<TestClaims>, kit: () => TestKit) => RequestHandler[],
  options: TestOptions = {},
): Promise<TestKit> {
  const holder: { kit?: TestKit } = {}
  const get = (): TestKit => {
    if (holder.kit === undefined) throw new Error('not open yet')
    return holder.kit
  }
  holder.kit = await openKit({
    options,
    routes: (app, latchkey) => app.all('/guarded', ...guards(latchkey, get), echo),
  })
  return holder.kit
}

describe('hybridGuard', () => {
  it('passes a Bearer token without any store call', async () => {
    const kit = await openKit()
    const { sid, bearer } = await kit.login()
    kit.spy.reset()
    for (let round = 0; round < 3; round++) {
      const res = await request(kit.server).get('/hybrid').set('Authorization', bearer).expect(200)
      expect(res.body).toMatchObject({ kind: 'jwt', sid, checked: false, hasSession: false })
      expect(setCookies(res)).toEqual([])
    }
    expect(kit.spy.calls).toEqual([])
  })

  it('takes a session token too, which is then a store check', async () => {
    const kit = await openKit()
    const { sid, session, cookie } = await kit.login()
    for (const headers of [{ Authorization: `Session ${session}` }, { Cookie: cookie }]) {
      kit.spy.reset()
      const res = await request(kit.server)
        .get('/hybrid')
        .set(headers as Record<string, string>)
        .expect(200)
      expect(res.body).toMatchObject({ kind: 'session', sid, checked: true, hasSession: true })
      expect(kit.spy.calls).toEqual(['check'])
    }
  })

  it.each([
    ['sensitive', { sensitive: true }],
    ['level', { level: 'high', sample: 0 }],
    ['maxAuthAge', { maxAuthAge: '5m', sample: 0 }],
    ['bindDevice', { bindDevice: true, sample: 0 }],
    ['sample 1', { sample: 1 }],
  ] as const)('asks the store exactly once for %s', async (_, options) => {
    const kit = await guardedKit(options, { deviceBinding: () => 'one' })
    kit.users.set('alice', { id: 'alice', level: 'high' })
    const { bearer } = await kit.login()
    kit.spy.reset()
    const res = await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
    expect(res.body).toMatchObject({ kind: 'jwt', checked: true, hasSession: true })
    expect(kit.spy.calls).toEqual(['check'])
  })

  it.each([
    ['roles', { roles: ['admin'], sample: 0 }],
    ['scope', { scope: ['all'], sample: 0 }],
    ['check', { check: () => true, sample: 0 }],
    ['nothing', { sample: 0 }],
  ] as const)('asks no store for %s', async (_, options) => {
    const kit = await guardedKit(options)
    kit.users.set('root', { id: 'root', roles: ['admin'], scope: ['all'] })
    const { bearer } = await kit.login('root')
    kit.spy.reset()
    await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
    expect(kit.spy.calls).toEqual([])
  })

  it.each([
    ['junk', '401'],
    ['Basic YQ==', '401'],
    ['constructor x', '401'],
    ['Bearer junk', '401'],
    ['Session junk', '401'],
    ['', '401'],
  ])('never falls back from Authorization: %s to good cookies', async (value, status) => {
    const kit = await openKit({ options: { accessToken: 'cookie' } })
    const { cookie, access } = await kit.login()
    kit.spy.reset()
    for (const path of ['/hybrid', '/sensitive']) {
      const res = await sendRaw(kit.port, `GET ${path}`, [
        `Authorization: ${value}`,
        `Cookie: ${cookie}; ${COOKIES.access}=${access}`,
      ])
      expect(String(res.status)).toBe(status)
      expect(res.head).toContain('WWW-Authenticate: Bearer error="invalid_token"')
    }
    expect(kit.spy.calls).toEqual([])
  })

  it('never falls back from a bad access cookie to a good session cookie', async () => {
    const kit = await openKit({ options: { accessToken: 'cookie' } })
    const { sessionCookie } = await kit.login()
    await request(kit.server)
      .get('/sensitive')
      .set('Cookie', `${sessionCookie}; ${COOKIES.access}=junk`)
      .expect(401, /token_invalid/)
  })

  it('takes the Authorization header of one user although the cookies are another’s', async () => {
    const kit = await openKit()
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    const res = await request(kit.server)
      .post('/sensitive')
      .set({ Authorization: alice.bearer, Cookie: bob.cookie, 'Sec-Fetch-Site': 'cross-site' })
      .expect(200)
    expect(res.body).toMatchObject({ user: 'alice' })
  })

  it('answers 401 with a bare Bearer challenge when no credentials came', async () => {
    const kit = await openKit()
    const res = await request(kit.server).get('/sensitive').expect(401)
    expect(res.headers['www-authenticate']).toBe('Bearer')
  })

  it('refuses two Authorization headers', async () => {
    const kit = await openKit()
    const { bearer, session } = await kit.login()
    const res = await sendRaw(kit.port, 'GET /hybrid', [
      `Authorization: ${bearer}`,
      `Authorization: Session ${session}`,
    ])
    expect(res.status).toBe(400)
  })
})

describe('a session the feed has not told of', () => {
  /** A kit whose node hears no news: what is revoked on the raw store only the store knows. */
  async function deafKit(options: TestOptions = {}): Promise<TestKit> {
    return openKit({ feed: 'deaf', options })
  }

  it('is refused by a sensitive check, not by signature alone', async () => {
    const kit = await deafKit()
    const { sid, bearer, cookie } = await kit.login()
    await kit.spy.raw.revoke({ sid })
    const get = async (path: string, headers: Record<string, string>) =>
      (await request(kit.server).get(path).set(headers)).status
    expect(await get('/hybrid', { Authorization: bearer })).toBe(200)
    expect(await get('/sensitive', { Authorization: bearer })).toBe(401)
    expect(await get('/session', { Cookie: cookie })).toBe(401)
    expect(await get('/hybrid', { Cookie: cookie })).toBe(401)
  })

  it('is token_stale in a sensitive check after its attributes changed', async () => {
    const kit = await deafKit()
    const { sid, bearer } = await kit.login('root')
    const found = await kit.spy.raw.check({ sid, peek: true, idleTimeoutMs: MINUTE })
    if (found.outcome !== 'alive') throw new Error('not alive')
    await kit.spy.raw.update({
      sid,
      ver: 0,
      attributes: { ...found.session.attributes, roles: [] },
    })
    await request(kit.server)
      .get('/sensitive')
      .set('Authorization', bearer)
      .expect(401, /token_stale/)
  })

  it('is refused when its token was denied by jti', async () => {
    const kit = await deafKit()
    const { sid, access, bearer } = await kit.login()
    const payload = Buffer.from(access.split('.')[1] ?? '', 'base64url').toString()
    const { jti, exp } = JSON.parse(payload) as { jti: string; exp: number }
    await kit.spy.raw.deny({ sid, jti, expiresAt: exp * 1000 })
    await request(kit.server).get('/sensitive').set('Authorization', bearer).expect(401)
  })
})

describe('the memo of a request', () => {
  /** Ends the session behind the node's back, between two guards of one request. */
  const revokeBehind =
    (kit: () => TestKit, sidOf: () => string): RequestHandler =>
    async (_req, _res, next) => {
      await kit().spy.raw.revoke({ sid: sidOf() })
      next()
    }

  it.each(['requireJwt', 'hybridGuard'] as const)(
    'never lets the weak result of %s satisfy a stronger guard',
    async (first) => {
      for (const strong of [
        { sensitive: true },
        { level: 'high' },
        { maxAuthAge: '5m' },
        { bindDevice: true },
      ] as const) {
        let sid = ''
        const kit = await chainedKit(
          (latchkey, get) => [
            first === 'requireJwt' ? latchkey.requireJwt() : latchkey.hybridGuard({ sample: 0 }),
            revokeBehind(get, () => sid),
            latchkey.hybridGuard({ ...strong, sample: 0 }),
          ],
          { deviceBinding: () => 'one' },
        )
        kit.spy.feed = 'deaf'
        kit.users.set('alice', { id: 'alice', level: 'high' })
        const login = await kit.login()
        sid = login.sid
        kit.spy.reset()
        const res = await request(kit.server).get('/guarded').set('Authorization', login.bearer)
        expect(res.status).toBe(401)
        expect(res.body).toMatchObject({ code: 'session_ended' })
        expect(kit.spy.calls).toEqual(['check'])
      }
    },
  )

  it('spares the second store call to who was checked already', async () => {
    const kit = await chainedKit(({ hybridGuard }) => [
      hybridGuard({ sensitive: true }),
      hybridGuard({ sensitive: true }),
      hybridGuard({ maxAuthAge: '5m' }),
      hybridGuard({ sample: 1 }),
    ])
    const { bearer } = await kit.login()
    kit.spy.reset()
    const res = await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
    expect(res.body).toMatchObject({ checked: true })
    expect(kit.spy.calls).toEqual(['check'])
  })

  it.each(['requireJwt', 'hybridGuard'] as const)(
    'keeps the strong result through a weaker %s',
    async (weaker) => {
      const kit = await chainedKit((latchkey) => [
        latchkey.hybridGuard({ sensitive: true }),
        latchkey[weaker](),
      ])
      const { bearer } = await kit.login()
      kit.spy.reset()
      const res = await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
      expect(res.body).toMatchObject({ checked: true, hasSession: true })
      expect(kit.spy.calls).toEqual(['check'])
    },
  )

  it('is shared by requireSession and hybridGuard for one session token', async () => {
    const kit = await chainedKit(({ hybridGuard, requireSession }) => [
      requireSession(),
      hybridGuard({ sensitive: true }),
      requireSession(),
    ])
    const { cookie, session } = await kit.login()
    for (const headers of [{ Cookie: cookie }, { Authorization: `Session ${session}` }]) {
      kit.spy.reset()
      await request(kit.server)
        .get('/guarded')
        .set(headers as Record<string, string>)
        .expect(200)
      expect(kit.spy.calls).toEqual(['check'])
    }
  })

  it('is not shared by two credentials of one request', async () => {
    const kit = await chainedKit(
      ({ hybridGuard, requireSession }) => [requireSession(), hybridGuard({ sensitive: true })],
      { accessToken: 'cookie' },
    )
    const { cookie, access } = await kit.login()
    kit.spy.reset()
    await request(kit.server)
      .get('/guarded')
      .set('Cookie', `${cookie}; ${COOKIES.access}=${access}`)
      .expect(200)
    expect(kit.spy.calls).toEqual(['check', 'check'])
  })

  it('does not outlive a change of the Authorization header', async () => {
    let other = ''
    const kit = await chainedKit(({ hybridGuard }) => [
      hybridGuard({ sensitive: true }),
      (req, _res, next) => {
        req.headers.authorization = other
        next()
      },
      hybridGuard({ sensitive: true }),
    ])
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    other = bob.bearer
    const res = await request(kit.server).get('/guarded').set('Authorization', alice.bearer)
    expect(res.body).toMatchObject({ user: 'bob' })
  })

  it.each([
    ['Bearer', (login: { bearer: string; session: string }) => login.bearer],
    ['Session', (login: { bearer: string; session: string }) => `Session ${login.session}`],
  ])('asks the policy of every guard anew (%s)', async (_, header) => {
    for (const [later, status] of [
      [{ roles: ['admin'] }, 403],
      [{ scope: ['all'] }, 403],
      [{ level: 'high' }, 401],
      [{ check: () => false }, 403],
      [{ bindDevice: true }, 401],
    ] as const) {
      let device = 'one'
      const kit = await chainedKit(
        ({ hybridGuard }) => [
          hybridGuard({ sensitive: true }),
          (_req, _res, next) => {
            device = 'two'
            next()
          },
          hybridGuard(later),
        ],
        { deviceBinding: () => device },
      )
      const login = await kit.login()
      const res = await request(kit.server).get('/guarded').set('Authorization', header(login))
      expect(res.status).toBe(status)
    }
  })

  it.each([
    ['an access token', (login: { bearer: string; session: string }) => login.bearer],
    ['a session token', (login: { bearer: string; session: string }) => `Session ${login.session}`],
  ])('asks the feed again for %s', async (_, header) => {
    let sid = ''
    const kit = await chainedKit((latchkey) => [
      latchkey.hybridGuard({ sensitive: true }),
      async (_req, _res, next) => {
        await latchkey.sessions.revoke(sid)
        next()
      },
      latchkey.hybridGuard({ sample: 0 }),
    ])
    const login = await kit.login()
    sid = login.sid
    await request(kit.server)
      .get('/guarded')
      .set('Authorization', header(login))
      .expect(401, /session_revoked/)
  })

  it('leaves nobody behind whom a weaker guard knew', async () => {
    let sid = ''
    const kit = await chainedKit(
      (latchkey, get) => [
        latchkey.requireJwt(),
        revokeBehind(get, () => sid),
        latchkey.hybridGuard({ sensitive: true, optional: true }),
      ],
      { accessToken: 'cookie' },
    )
    kit.spy.feed = 'deaf'
    const login = await kit.login()
    sid = login.sid
    const res = await request(kit.server)
      .get('/guarded')
      .set('Cookie', `${COOKIES.access}=${login.access}`)
      .expect(200)
    expect(res.body).toEqual({ passed: true, auth: null })
  })

  it('of one kit is nothing to another', async () => {
    const two = await openKit({ options: { issuer: 'https://other.example' } })
    const kit = await chainedKit(({ hybridGuard }) => [
      hybridGuard({ sensitive: true }),
      two.latchkey.hybridGuard({ sensitive: true }),
    ])
    const { bearer } = await kit.login()
    await request(kit.server).get('/guarded').set('Authorization', bearer).expect(401)
  })
})

describe('sample', () => {
  it('0 never asks', async () => {
    const kit = await guardedKit({ sample: 0 })
    const { bearer } = await kit.login()
    kit.spy.reset()
    for (let round = 0; round < 20; round++) {
      await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
    }
    expect(kit.spy.calls).toEqual([])
  })

  it('1 asks once a minute a session, and finds what the feed did not tell', async () => {
    const kit = await guardedKit({ sample: 1 })
    kit.spy.feed = 'deaf'
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    kit.spy.reset()
    for (let round = 0; round < 5; round++) {
      await request(kit.server).get('/guarded').set('Authorization', alice.bearer).expect(200)
    }
    expect(kit.spy.calls).toEqual(['check'])
    await kit.spy.raw.revoke({ sid: bob.sid })
    await request(kit.server).get('/guarded').set('Authorization', bob.bearer).expect(401)
    expect(kit.spy.calls).toEqual(['check', 'check'])
  })

  it('0.1 by default: now and then, not always', async () => {
    const kit = await openKit({
      routes: (app, { hybridGuard }) => app.get('/guarded', hybridGuard(), echo),
    })
    const logins = await Promise.all(
      Array.from({ length: 300 }, async (_, index) =>
        kit.latchkey.sessions.open({ id: `user-${index}` }),
      ),
    )
    kit.spy.reset()
    for (const { accessToken } of logins) {
      await request(kit.server)
        .get('/guarded')
        .set('Authorization', `Bearer ${accessToken}`)
        .expect(200)
    }
    // 30 are expected; outside of these bounds once in a million million runs.
    expect(kit.spy.calls.length).toBeGreaterThan(1)
    expect(kit.spy.calls.length).toBeLessThan(80)
  })

  it('is the touch: a session that only sends access tokens does not go idle', async () => {
    const kit = await guardedKit({ sample: 1 }, { idleTimeout: '1h' })
    const { sid, bearer } = await kit.login()
    await kit.tick(2 * MINUTE)
    await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
    expect((await kit.stored(sid))?.lastSeenAt).toBe(kit.clock.now)
  })

  it.each(['throws', 'rejects', 'hangs'] as const)(
    'never fails a request for a store that %s',
    async (fault) => {
      const kit = await guardedKit({ sample: 1 }, { storeDeadline: '30ms' })
      const { bearer } = await kit.login()
      kit.spy.faults.set('check', fault)
      const res = await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
      expect(res.body).toMatchObject({ checked: false })
    },
  )

  it.each([-0.1, 1.1, NaN, '0.5', null])('refuses %p', async (sample) => {
    const { latchkey } = await openKit()
    expect(() => latchkey.hybridGuard({ sample: sample as number })).toThrow(
      expect.objectContaining({ option: 'hybridGuard.sample' }),
    )
  })
})

describe('the options of hybridGuard', () => {
  it.each(['Bearer', 'Session', 'Cookie'])('bindDevice compares, by %s', async (kind) => {
    const kit = await guardedKit(
      { bindDevice: true },
      { deviceBinding: (req) => req.get('X-Device') },
    )
    const login = await kit.login('alice', { headers: { 'X-Device': 'one' } })
    const credential = {
      Bearer: { Authorization: login.bearer },
      Session: { Authorization: `Session ${login.session}` },
      Cookie: { Cookie: login.cookie },
    }[kind] as Record<string, string>
    const get = async (device: Record<string, string>) =>
      request(kit.server)
        .get('/guarded')
        .set({ ...credential, ...device })
    expect((await get({ 'X-Device': 'one' })).status).toBe(200)
    for (const device of [{ 'X-Device': 'two' }, {}]) {
      const res = await get(device)
      expect(res.status).toBe(401)
      expect(res.body).toMatchObject({ code: 'device_mismatch' })
    }
  })

  it('maxAuthAge goes by the session, to which a refresh adds nothing; a step-up does', async () => {
    const kit = await guardedKit({ maxAuthAge: '5m' })
    const login = await kit.login()
    await kit.tick(5 * MINUTE + SECOND)
    const renewed = readLogin(
      await request(kit.server).post('/auth/refresh').set('Cookie', login.cookie).expect(200),
    )
    for (const { bearer } of [login, renewed]) {
      const res = await request(kit.server).get('/guarded').set('Authorization', bearer).expect(401)
      expect(res.headers['www-authenticate']).toBe(
        'Bearer error="insufficient_user_authentication", error_description="log in again to do this", max_age="300"',
      )
    }
    const stepped = readLogin(
      await request(kit.server)
        .post('/auth/step-up')
        .set('Authorization', renewed.bearer)
        .send({ username: 'alice', password: 'correct-horse-battery-staple' })
        .expect(200),
    )
    await request(kit.server).get('/guarded').set('Authorization', stepped.bearer).expect(200)
    await request(kit.server).get('/guarded').set('Authorization', renewed.bearer).expect(401)
  })

  it('level, with acr_values', async () => {
    const kit = await guardedKit({ level: 'mfa' })
    kit.users.set('strong', { id: 'strong', level: 'mfa' })
    const [strong, weak] = [await kit.login('strong'), await kit.login()]
    await request(kit.server).get('/guarded').set('Authorization', strong.bearer).expect(200)
    const res = await request(kit.server)
      .get('/guarded')
      .set('Authorization', weak.bearer)
      .expect(401)
    expect(res.headers['www-authenticate']).toMatch(/, acr_values="mfa"$/)
  })

  it('check runs for a plain token too, and nobody passes whom it does not want', async () => {
    const seen: unknown[] = []
    const kit = await guardedKit({
      sample: 0,
      check: (auth) => {
        seen.push(auth.userId, auth.checked)
        return auth.userId === 'bob'
      },
    })
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    await request(kit.server).get('/guarded').set('Authorization', alice.bearer).expect(403)
    await request(kit.server).get('/guarded').set('Authorization', bob.bearer).expect(200)
    expect(seen).toEqual(['alice', false, 'bob', false])
  })

  it('optional lets no store failure and no bad header pass', async () => {
    const kit = await guardedKit({ optional: true, sensitive: true })
    const { bearer, cookie } = await kit.login()
    await request(kit.server).get('/guarded').expect(200)
    await request(kit.server).get('/guarded').set('Authorization', 'Bearer x').expect(401)
    kit.spy.faults.set('check', 'rejects')
    for (const headers of [{ Authorization: bearer }, { Cookie: cookie }]) {
      await request(kit.server)
        .get('/guarded')
        .set(headers as Record<string, string>)
        .expect(503)
    }
  })

  it.each([
    [{ sensitiv: true }, 'hybridGuard.sensitiv'],
    [{ sensitive: 1 }, 'hybridGuard.sensitive'],
    [{ maxAuthAge: '-5m' }, 'hybridGuard.maxAuthAge'],
    [{ bindDevice: true }, 'hybridGuard.bindDevice'],
    [{ level: [''] }, 'hybridGuard.level'],
    [{ check: 'x' }, 'hybridGuard.check'],
    [null, 'hybridGuard'],
  ])('refuses %j when the guard is made', async (options, option) => {
    const { latchkey } = await openKit()
    expect(() => latchkey.hybridGuard(options as object)).toThrow(
      expect.objectContaining({ code: 'invalid_option', option }),
    )
  })
})

describe('the budget of store calls', () => {
  it('is one for login, refresh, logout and requireSession, two for step-up, none for a JWT', async () => {
    const kit = await openKit()
    const login = await kit.login()
    expect(kit.spy.calls).toEqual(['create'])
    const count = async (send: () => Promise<request.Response>, status: number) => {
      kit.spy.reset()
      const res = await send()
      expect(res.status).toBe(status)
      return [...kit.spy.calls]
    }
    const agent = request(kit.server)
    const { cookie, bearer } = login
    expect(await count(async () => agent.get('/jwt').set('Authorization', bearer), 200)).toEqual([])
    expect(await count(async () => agent.get('/session').set('Cookie', cookie), 200)).toEqual([
      'check',
    ])
    expect(await count(async () => agent.post('/auth/refresh').set('Cookie', cookie), 200)).toEqual(
      ['rotate'],
    )
    kit.spy.reset()
    const stepped = readLogin(
      await agent
        .post('/auth/step-up')
        .set('Authorization', bearer)
        .send({ username: 'alice', password: 'correct-horse-battery-staple' })
        .expect(200),
    )
    expect(kit.spy.calls).toEqual(['check', 'replace'])
    expect(
      await count(async () => agent.post('/auth/logout').set('Cookie', stepped.cookie), 204),
    ).toEqual(['revoke'])
    expect(await count(async () => agent.post('/auth/logout').set('Cookie', 'a=b'), 204)).toEqual(
      [],
    )
  })

  it('is one more for a refresh with loadUser, and another only when that changed something', async () => {
    let roles = ['reader']
    const kit = await openKit({ options: { loadUser: ({ id }) => ({ id, roles }) } })
    kit.users.set('alice', { id: 'alice', roles })
    const { cookie } = await kit.login()
    const refresh = async () => {
      kit.spy.reset()
      await request(kit.server).post('/auth/refresh').set('Cookie', cookie).expect(200)
      return [...kit.spy.calls]
    }
    expect(await refresh()).toEqual(['check', 'rotate'])
    roles = ['writer']
    expect(await refresh()).toEqual(['check', 'rotate', 'update'])
    expect(await refresh()).toEqual(['check', 'rotate'])
  })

  it('is one for a login over a login of the same user', async () => {
    const kit = await openKit()
    const { cookie } = await kit.login()
    kit.spy.reset()
    await kit.login('alice', { headers: { Cookie: cookie } })
    expect(kit.spy.calls).toEqual(['replace'])
  })
})

describe('two nodes', () => {
  it('refuse what either revoked, in the store at once and by feed within moments', async () => {
    const spy = spyOn(memoryStore())
    const clock = { now: Date.now() }
    spy.feed = 'live'
    const [one, two] = [await openKit({ spy, clock }), await openKit({ spy, clock })]
    const { bearer, sid } = await one.login()
    await request(two.server).get('/hybrid').set('Authorization', bearer).expect(200)
    await two.latchkey.sessions.revoke(sid)
    await request(one.server).get('/sensitive').set('Authorization', bearer).expect(401)
    await until(() => one.latchkey.health().feed.heard > 0)
    await request(one.server).get('/hybrid').set('Authorization', bearer).expect(401)
    expect(typesOf(two)).toContain('session_revoked')
  })
})
