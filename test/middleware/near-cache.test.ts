import { afterEach, describe, expect, it } from '@jest/globals'
import type { NextFunction, Request, Response } from 'express'
import request from 'supertest'
import { createKeyRing } from '../../lib/key-ring.ts'
import { drawSeed } from '../../lib/session-id.ts'
import { formatSessionToken } from '../../lib/session-token.ts'
import type { JsonObject } from '../../lib/session.ts'
import type { FeedPage, Store } from '../../lib/store.ts'
import type { SessionGuardOptions } from '../../middleware/index.ts'
import { createLatchkey, memoryStore } from '../../middleware/index.ts'
import type { KitSetup, Login, StoreSpy, TestClaims, TestKit } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  echo,
  guarded,
  HOUR,
  ISSUER,
  MINUTE,
  NOW,
  openKit,
  pause,
  readLogin,
  SECOND,
  SECRET,
  setCookies,
  SIGNING_KEY,
  spyOn,
} from '../support/kit.ts'

afterEach(closeKits)

/** A node with a near cache. `/session` also says what it knows of the session. */
async function openNear(setup: KitSetup = {}): Promise<TestKit> {
  return openKit({
    ...setup,
    options: { nearCache: true, ...setup.options },
    routes(app, latchkey) {
      app.all('/what', latchkey.requireSession(), ({ auth }: Request, res: Response) => {
        res.json({ roles: auth?.roles, data: auth?.session?.data, checked: auth?.checked })
      })
      setup.routes?.(app, latchkey)
    },
  })
}

/** A second node on the store of the first. */
async function openBeside(kit: TestKit, setup: KitSetup = {}): Promise<TestKit> {
  return openNear({ spy: kit.spy, clock: kit.clock, ...setup })
}

interface Answered {
  readonly status: number
  readonly body: Record<string, unknown>
  /** What it cost. */
  readonly calls: readonly string[]
}

async function get(
  kit: TestKit,
  { session }: { readonly session: string },
  path = '/session',
): Promise<Answered> {
  kit.spy.reset()
  const res = await request(kit.server).get(path).set('Authorization', `Session ${session}`)
  return {
    status: res.status,
    body: res.body as Record<string, unknown>,
    calls: [...kit.spy.calls],
  }
}

const FROM_STORE = { status: 200, calls: ['check'], body: { checked: true, hasSession: true } }
const FROM_CACHE = { status: 200, calls: [], body: { checked: false, hasSession: true } }
const REVOKED = { status: 401, body: { code: 'session_revoked' } }

/** Logs in, and has the node keep the session near. */
async function loginNear(kit: TestKit, username?: string): Promise<Login> {
  const login = await kit.login(username)
  await keepNear(kit, login)
  return login
}

async function keepNear(kit: TestKit, login: Login): Promise<void> {
  await get(kit, login)
  expect(await get(kit, login)).toMatchObject(FROM_CACHE)
}

/** Waits until the node has heard of that many sessions. */
async function hears(kit: TestKit, sessions: number): Promise<void> {
  for (let tries = 0; kit.latchkey.health().feed.heard < sessions; tries++) {
    if (tries > 200) throw new Error(`not heard: ${JSON.stringify(kit.latchkey.health())}`)
    await pause(5)
  }
}

async function post(kit: TestKit, path: string, cookie: string): Promise<request.Response> {
  return request(kit.server).post(path).set('Cookie', cookie)
}

describe('with a near cache', () => {
  it('the second request asks no store, says so, and has the session', async () => {
    const kit = await openNear()
    const login = await kit.login()
    expect(await get(kit, login)).toMatchObject(FROM_STORE)
    for (let times = 0; times < 3; times++) {
      expect(await get(kit, login)).toMatchObject({
        ...FROM_CACHE,
        body: { ...FROM_CACHE.body, kind: 'session', user: 'alice', sid: login.sid },
      })
    }
  })

  it('a cookie and a header are one session', async () => {
    const kit = await openNear()
    const login = await loginNear(kit)
    kit.spy.reset()
    const res = await request(kit.server)
      .get('/session')
      .set('Cookie', login.sessionCookie)
      .expect(200)
    expect(res.body).toMatchObject({ checked: false })
    expect(res.headers['cache-control']).toBe('no-store')
    expect(kit.spy.calls).toEqual([])
    await request(kit.server)
      .post('/session')
      .set({ Cookie: login.sessionCookie, 'Sec-Fetch-Site': 'cross-site' })
      .expect(403, /cross_origin/)
  })

  it('it is off unless asked for', async () => {
    const kit = await openKit()
    const login = await kit.login()
    for (let times = 0; times < 3; times++) {
      expect(await get(kit, login)).toMatchObject(FROM_STORE)
    }
  })

  it('roles, scope and check are judged by what is near', async () => {
    const kit = await openNear({
      routes: (app, { requireSession }) => {
        const guards: Record<string, SessionGuardOptions<TestClaims>> = {
          admin: { roles: ['admin'] },
          write: { scope: ['write'] },
          root: { check: ({ userId, session }) => userId === 'root' && session !== undefined },
          optional: { optional: true },
        }
        for (const [path, options] of Object.entries(guards)) {
          app.get(`/only/${path}`, requireSession(options), echo)
        }
      },
    })
    kit.users.set('root', { id: 'root', roles: ['admin'], scope: ['write'] })
    const [alice, root] = [await loginNear(kit), await loginNear(kit, 'root')]
    for (const path of ['admin', 'write', 'root']) {
      expect(await get(kit, root, `/only/${path}`)).toMatchObject(FROM_CACHE)
      expect(await get(kit, alice, `/only/${path}`)).toMatchObject({ status: 403, calls: [] })
    }
    expect(await get(kit, alice, '/only/optional')).toMatchObject(FROM_CACHE)
  })

  it('a half logged in session passes no more than without one', async () => {
    const kit = await openNear()
    kit.users.set('half', { id: 'half', level: 'partial' })
    const login = await kit.login('half')
    for (let times = 0; times < 3; times++) {
      expect(await get(kit, login)).toMatchObject({
        status: 401,
        body: { code: 'step_up_required' },
      })
    }
  })

  it('what a handler does to its session stays with its request', async () => {
    const inner = memoryStore({ clock: () => NOW })
    // A store whose records come over a wire: they are not frozen.
    const store: Store = {
      ...inner,
      check: async (input) => structuredClone(await inner.check(input)),
    }
    const clock = { now: NOW }
    const kit = await openNear({
      clock,
      spy: spyOn(store),
      routes: (app, { requireSession }) => {
        app.get('/greedy', requireSession(), ({ auth }: Request, res: Response) => {
          const greedy = auth as unknown as { roles: string[]; session: { data: { of: string[] } } }
          for (const take of [
            () => greedy.roles.push('admin'),
            () => greedy.session.data.of.push('all'),
          ]) {
            try {
              take()
            } catch {
              // As good as not done.
            }
          }
          res.json({})
        })
      },
    })
    const login = await loginNear(kit)
    await kit.latchkey.sessions.update(login.sid, { data: { of: ['one'] } })
    // Once as the store gave it, then as the cache did.
    for (let times = 0; times < 2; times++) {
      await get(kit, login, '/greedy')
      expect((await get(kit, login, '/what')).body).toEqual({
        roles: [],
        data: { of: ['one'] },
        checked: false,
      })
    }
  })

  it('the seed still has to be right', async () => {
    const kit = await openNear()
    const login = await loginNear(kit)
    const ring = createKeyRing([SECRET])
    const forged = formatSessionToken(ring, { sid: login.sid, seed: drawSeed() })
    const invalid = { status: 401, body: { code: 'token_invalid' } }
    expect(await get(kit, { session: forged })).toMatchObject({ ...invalid, calls: [] })
    expect(await get(kit, { session: `${login.session.slice(0, -1)}!` })).toMatchObject(invalid)
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
  })

  it('a wrong seed that comes first fills nothing in', async () => {
    const kit = await openNear()
    const login = await kit.login()
    const seed = drawSeed()
    const forged = formatSessionToken(createKeyRing([SECRET]), { sid: login.sid, seed })
    expect(await get(kit, { session: forged })).toMatchObject({ status: 401, calls: ['check'] })
    expect(await get(kit, { session: forged })).toMatchObject({ status: 401, calls: ['check'] })
    expect(await get(kit, login)).toMatchObject(FROM_STORE)
  })

  it('holds no more sessions than it may', async () => {
    const kit = await openNear({ options: { nearCache: { maxSessions: 2 } } })
    const [one, two, three] = [await loginNear(kit), await loginNear(kit), await loginNear(kit)]
    expect(await get(kit, three)).toMatchObject(FROM_CACHE)
    expect(await get(kit, two)).toMatchObject(FROM_CACHE)
    expect(await get(kit, one)).toMatchObject(FROM_STORE)
  })
})

describe('a session that this node ends is not near any more', () => {
  const ends: [name: string, end: (kit: TestKit, login: Login) => Promise<unknown>][] = [
    ['sessions.revoke', async ({ latchkey }, { sid }) => latchkey.sessions.revoke(sid)],
    ['sessions.revokeUser', async ({ latchkey }) => latchkey.sessions.revokeUser('alice')],
    ['logout', async (kit, { cookie }) => post(kit, '/auth/logout', cookie)],
    ['logout-all', async (kit, { cookie }) => post(kit, '/auth/logout-all', cookie)],
    [
      'a login over it',
      async (kit, { cookie }) => kit.login('alice', { headers: { Cookie: cookie } }),
    ],
    [
      'a login of somebody else over it',
      async (kit, { cookie }) => kit.login('bob', { headers: { Cookie: cookie } }),
    ],
    ['the session limit', async (kit) => kit.login()],
    [
      'reuse of a refresh token',
      async (kit, { refreshCookie }) => {
        expect((await post(kit, '/auth/refresh', refreshCookie)).status).toBe(200)
        const res = await post(kit, '/auth/refresh', refreshCookie)
        expect(res.body).toMatchObject({ code: 'refresh_reused' })
      },
    ],
    [
      'an admin',
      async (kit, { sid }) => {
        const { cookie } = await kit.login('root')
        await request(kit.server).delete(`/auth/sessions/${sid}`).set('Cookie', cookie).expect(204)
      },
    ],
  ]
  const options = { maxSessions: { perUser: 1 }, reuseGrace: '0s' } as const

  it.each(ends)('%s', async (_, end) => {
    const kit = await openNear({ options })
    const login = await loginNear(kit)
    await end(kit, login)
    expect(await get(kit, login)).toMatchObject(REVOKED)
  })

  it.each(ends)('nor on another node, as soon as that heard: %s', async (_, end) => {
    const one = await openNear({ options })
    const two = await openBeside(one, { options })
    const login = await loginNear(one)
    await keepNear(two, login)
    await end(one, login)
    await hears(two, 1)
    expect(await get(two, login)).toMatchObject(REVOKED)
    expect(await get(one, login)).toMatchObject(REVOKED)
  })

  it('a user whom loadUser does not know any more', async () => {
    let gone = false
    const kit = await openNear({ options: { loadUser: () => (gone ? null : { id: 'alice' }) } })
    const login = await loginNear(kit)
    gone = true
    expect((await post(kit, '/auth/refresh', login.cookie)).status).toBe(401)
    expect(await get(kit, login)).toMatchObject(REVOKED)
  })

  it('a step-up replaces it: the old one is refused, the new one kept', async () => {
    const kit = await openNear()
    const login = await loginNear(kit)
    const res = await request(kit.server)
      .post('/auth/step-up')
      .set('Cookie', login.cookie)
      .send({ username: 'alice', password: 'correct-horse-battery-staple' })
      .expect(200)
    expect(await get(kit, login)).toMatchObject(REVOKED)
    await keepNear(kit, readLogin(res))
  })

  it('other sessions of the user stay near', async () => {
    const kit = await openNear()
    const [one, two] = [await loginNear(kit), await loginNear(kit)]
    await kit.latchkey.sessions.revoke(one.sid)
    expect(await get(kit, two)).toMatchObject(FROM_CACHE)
  })

  it('a check that is under way when it ends does not bring it back', async () => {
    const kit = await openNear()
    const login = await kit.login()
    kit.spy.faults.set('check', 'late')
    kit.spy.lateMs = 50
    const underWay = get(kit, login)
    await reached(kit.spy, 'check')
    await kit.latchkey.sessions.revoke(login.sid)
    expect(await underWay).toMatchObject(REVOKED)
    kit.spy.faults.clear()
    expect(await get(kit, login)).toMatchObject(REVOKED)
  })
})

/** Waits until the store was asked. */
async function reached(spy: StoreSpy, operation: string): Promise<void> {
  for (let tries = 0; !spy.calls.includes(operation); tries++) {
    if (tries > 200) throw new Error(`${operation} was not asked`)
    await pause(1)
  }
}

describe('a session that is changed', () => {
  const what = async (kit: TestKit, login: Login) => (await get(kit, login, '/what')).body

  it('has its new roles with the next request', async () => {
    const kit = await openNear()
    const login = await loginNear(kit)
    await kit.latchkey.sessions.update(login.sid, { roles: ['editor'] })
    expect(await what(kit, login)).toMatchObject({ roles: ['editor'], checked: true })
    expect(await what(kit, login)).toMatchObject({ roles: ['editor'], checked: false })
  })

  it('has its new data with the next request, on the node that changed it', async () => {
    const kit = await openNear()
    const login = await loginNear(kit)
    for (const data of [{ cart: 1 }, { cart: 2 }, null]) {
      await kit.latchkey.sessions.update(login.sid, { data })
      expect(await what(kit, login)).toMatchObject({ data, checked: true })
      expect(await what(kit, login)).toMatchObject({ data, checked: false })
    }
  })

  it('has its new roles on another node as soon as that heard', async () => {
    const one = await openNear()
    const two = await openBeside(one)
    const login = await loginNear(one)
    await keepNear(two, login)
    await one.latchkey.sessions.update(login.sid, { roles: ['editor'] })
    await hears(two, 1)
    expect(await what(two, login)).toMatchObject({ roles: ['editor'], checked: true })
    expect(await what(two, login)).toMatchObject({ roles: ['editor'], checked: false })
  })

  it('has its new data on another node within a minute', async () => {
    const one = await openNear({ options: { maxStaleness: '5m' } })
    const two = await openBeside(one, { options: { maxStaleness: '5m' } })
    const login = await loginNear(one)
    await keepNear(two, login)
    await one.latchkey.sessions.update(login.sid, { data: { cart: 1 } })
    one.clock.now += MINUTE - 1
    expect(await what(two, login)).toMatchObject({ data: null, checked: false })
    one.clock.now += 1
    expect(await what(two, login)).toMatchObject({ data: { cart: 1 }, checked: true })
  })

  it('has its new roles after a refresh that loaded the user', async () => {
    const roles: string[] = []
    const kit = await openNear({ options: { loadUser: () => ({ id: 'alice', roles }) } })
    const login = await loginNear(kit)
    roles.push('editor')
    expect((await post(kit, '/auth/refresh', login.cookie)).status).toBe(200)
    expect(await what(kit, login)).toMatchObject({ roles: ['editor'], checked: true })
  })

  it('stays near over a refresh that changed nothing of the user', async () => {
    const kit = await openNear()
    const login = await loginNear(kit)
    const res = await post(kit, '/auth/refresh', login.cookie)
    expect(setCookies(res)).not.toEqual([])
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
  })

  it.each<[string, { readonly roles?: string[]; readonly data?: JsonObject }]>([
    ['roles', { roles: ['editor'] }],
    ['data', { data: { cart: 1 } }],
  ])('%s: a check that is under way meanwhile is not kept', async (_, patch) => {
    const kit = await openNear()
    const login = await kit.login()
    kit.spy.faults.set('check', 'late')
    kit.spy.lateMs = 100
    const underWay = what(kit, login)
    await reached(kit.spy, 'check')
    kit.spy.faults.clear()
    await kit.latchkey.sessions.update(login.sid, patch)
    expect(await underWay).toMatchObject({ roles: [], data: null })
    expect(await what(kit, login)).toMatchObject({ ...patch, checked: true })
  })
})

describe('who asks for more than an open session always asks the store', () => {
  const CHECKED = { status: 200, calls: ['check'], body: { checked: true } }

  it.each<[string, SessionGuardOptions<TestClaims>]>([
    ['maxAuthAge', { maxAuthAge: '1h' }],
    ['level', { level: 'mfa' }],
    ['levels', { level: ['password', 'mfa'] }],
    ['bindDevice', { bindDevice: true }],
    ['bindDevice, optional', { bindDevice: true, optional: true }],
  ])('%s', async (_, guard) => {
    const kit = await openNear({
      options: { deviceBinding: () => 'one' },
      routes: (app, { requireSession }) => guarded(requireSession(guard))(app),
    })
    kit.users.set('alice', { id: 'alice', level: 'mfa' })
    const login = await loginNear(kit)
    for (let times = 0; times < 3; times++) {
      expect(await get(kit, login, '/guarded')).toMatchObject(CHECKED)
    }
    kit.spy.faults.set('check', 'rejects')
    expect(await get(kit, login, '/guarded')).toMatchObject({ status: 503 })
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
  })

  it.each(['/hybrid', '/sensitive'])('a session token at %s', async (path) => {
    const kit = await openNear()
    const login = await loginNear(kit)
    for (let times = 0; times < 3; times++) {
      expect(await get(kit, login, path)).toMatchObject(CHECKED)
    }
  })

  it.each(['/auth/session', '/auth/sessions'])('the route %s', async (path) => {
    const kit = await openNear()
    const login = await loginNear(kit)
    const { status, calls } = await get(kit, login, path)
    expect({ status, calls: calls.filter((call) => call === 'check') }).toEqual({
      status: 200,
      calls: ['check'],
    })
  })

  it('an access token is none of its business', async () => {
    const kit = await openNear()
    const login = await loginNear(kit)
    kit.spy.reset()
    for (const path of ['/sensitive', '/sensitive']) {
      const res = await request(kit.server).get(path).set('Authorization', login.bearer).expect(200)
      expect(res.body).toMatchObject({ kind: 'jwt', checked: true })
    }
    expect(kit.spy.calls).toEqual(['check', 'check'])
  })
})

describe('guards one after another', () => {
  type Guards = Parameters<NonNullable<KitSetup['routes']>>[1]

  async function chain(make: (latchkey: Guards) => ReturnType<typeof guarded>): Promise<Answered> {
    const kit = await openNear({ routes: (app, latchkey) => make(latchkey)(app) })
    const login = await loginNear(kit)
    return get(kit, login, '/guarded')
  }

  it('what was near is not enough for a stronger one', async () => {
    expect(
      await chain(({ requireSession }) =>
        guarded(requireSession(), requireSession({ maxAuthAge: '1h' })),
      ),
    ).toMatchObject(FROM_STORE)
    expect(
      await chain(({ requireSession, hybridGuard }) =>
        guarded(requireSession(), hybridGuard({ sensitive: true })),
      ),
    ).toMatchObject(FROM_STORE)
  })

  it('what the store said is not forgotten for a weaker one', async () => {
    expect(
      await chain(({ requireSession }) =>
        guarded(requireSession({ maxAuthAge: '1h' }), requireSession()),
      ),
    ).toMatchObject(FROM_STORE)
    expect(
      await chain(({ requireSession }) =>
        guarded(requireSession(), requireSession({ maxAuthAge: '1h' }), requireSession()),
      ),
    ).toMatchObject(FROM_STORE)
  })

  it('two weak ones ask nobody', async () => {
    expect(
      await chain(({ requireSession }) => guarded(requireSession(), requireSession())),
    ).toMatchObject(FROM_CACHE)
  })

  it('a miss is asked once for all of them', async () => {
    const kit = await openNear({
      routes: (app, { requireSession }) =>
        guarded(requireSession(), requireSession({ maxAuthAge: '1h' }), requireSession())(app),
    })
    expect(await get(kit, await kit.login(), '/guarded')).toMatchObject(FROM_STORE)
  })

  it.each<[string, SessionGuardOptions<TestClaims>]>([
    ['near', {}],
    ['asked for', { maxAuthAge: '1h' }],
  ])('a session that is ended between two of them passes the first only: %s', async (_, first) => {
    let sid = ''
    const kit = await openNear({
      routes: (app, { requireSession, sessions }) => {
        const end = (_req: Request, _res: Response, next: NextFunction) => {
          void sessions.revoke(sid).finally(next)
        }
        app.get('/guarded', requireSession(first), end, requireSession(), echo)
      },
    })
    const login = await loginNear(kit)
    sid = login.sid
    expect(await get(kit, login, '/guarded')).toMatchObject(REVOKED)
  })
})

describe('a node that may have missed something', () => {
  it.each(['hangs', 'fails'] as const)('asks the store once it is blind: feed %s', async (feed) => {
    const kit = await openNear()
    const login = await loginNear(kit)
    kit.spy.feed = feed
    kit.spy.faults.set('check', 'rejects')
    // Long enough to see, a node trusts what it heard.
    kit.clock.now += 4 * SECOND
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
    kit.clock.now += 4 * SECOND
    expect(kit.latchkey.health()).toMatchObject({ ok: false, feed: { blind: 'stale' } })
    expect(await get(kit, login)).toMatchObject({ status: 503, calls: ['check'] })
    kit.spy.faults.clear()
    for (let times = 0; times < 2; times++) {
      expect(await get(kit, login)).toMatchObject(FROM_STORE)
    }
  })

  it('learns of a missed revocation from the store as soon as it is blind', async () => {
    const kit = await openNear()
    const login = await loginNear(kit)
    kit.spy.feed = 'hangs'
    // A read that is under way still hears.
    await pause(50)
    await kit.spy.raw.revoke({ sid: login.sid })
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
    kit.clock.now += 6 * SECOND
    expect(await get(kit, login)).toMatchObject({ status: 401, body: { code: 'session_ended' } })
  })

  it('sees again with nothing near, and keeps sessions again', async () => {
    const kit = await openNear()
    const login = await loginNear(kit)
    kit.spy.feed = 'fails'
    kit.clock.now += 6 * SECOND
    for (let tries = 0; tries < 200 && !blindReported(kit); tries++) await pause(5)
    kit.spy.feed = 'live'
    await kit.sighted()
    expect(await get(kit, login)).toMatchObject(FROM_STORE)
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
  })

  it('keeps nothing before it has heard the retained feed', async () => {
    const one = await openNear()
    const login = await one.login()
    const two = await openBeside(one, { feed: 'hangs' })
    expect(two.latchkey.health()).toMatchObject({ feed: { blind: 'starting' } })
    for (let times = 0; times < 2; times++) {
      expect(await get(two, login)).toMatchObject(FROM_STORE)
    }
  })

  it('forgets all when the store was rolled back', async () => {
    const rollbacks: true[] = []
    const clock = { now: NOW }
    const inner = memoryStore({ clock: () => clock.now })
    const read = async (input: Parameters<Store['feed']['read']>[0]): Promise<FeedPage> => {
      const page = await inner.feed.read(input)
      return { ...page, rolledBack: rollbacks.pop() ?? page.rolledBack }
    }
    const kit = await openNear({
      clock,
      spy: spyOn({ ...inner, feed: { ...inner.feed, read } }),
    })
    const login = await loginNear(kit)
    rollbacks.push(true)
    for (let tries = 0; tries < 200 && rollbacks.length > 0; tries++) await pause(5)
    await pause(5)
    expect(kit.latchkey.health()).toMatchObject({ ok: true })
    expect(await get(kit, login)).toMatchObject(FROM_STORE)
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
  })

  it('by a clock too far from the store: asks the store', async () => {
    const storeClock = { now: NOW }
    const clock = { now: NOW }
    const kit = await openNear({
      clock,
      spy: spyOn(memoryStore({ clock: () => storeClock.now })),
    })
    const login = await loginNear(kit)
    storeClock.now += 31 * SECOND
    for (let tries = 0; tries < 200 && kit.latchkey.health().ok; tries++) await pause(5)
    expect(kit.latchkey.health()).toMatchObject({ feed: { blind: 'clock' } })
    for (let times = 0; times < 2; times++) {
      expect(await get(kit, login)).toMatchObject(FROM_STORE)
    }
  })

  it('when the store fails but the feed does not, what is near is good for its minute', async () => {
    const kit = await openNear({ options: { maxStaleness: '5m' } })
    const login = await loginNear(kit)
    kit.spy.faults.set('check', 'rejects')
    kit.clock.now += MINUTE - 1
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
    kit.clock.now += 1
    expect(await get(kit, login)).toMatchObject({ status: 503 })
  })
})

/** Waits until the node has read the feed since the clock was moved. */
async function reads({ latchkey }: TestKit): Promise<void> {
  for (let tries = 0; (latchkey.health().feed.staleness_ms ?? 0) > SECOND; tries++) {
    if (tries > 400) throw new Error(`no read: ${JSON.stringify(latchkey.health())}`)
    await pause(2)
  }
}

function blindReported({ events }: TestKit): boolean {
  return events.some(({ type }) => type === 'feed_blind')
}

describe('time', () => {
  it.each([-29 * SECOND, 0, 29 * SECOND])(
    'the store is asked when the touch is due by its clock, %i ms from ours',
    async (offsetMs) => {
      const clock = { now: NOW }
      const kit = await openNear({
        clock,
        options: { maxStaleness: '5m' },
        spy: spyOn(memoryStore({ clock: () => clock.now + offsetMs })),
      })
      expect(kit.latchkey.health().feed.clock_offset_ms).toBe(offsetMs)
      const login = await loginNear(kit)
      clock.now += MINUTE - 1
      expect(await get(kit, login)).toMatchObject(FROM_CACHE)
      clock.now += 1
      expect(await get(kit, login)).toMatchObject(FROM_STORE)
      expect(await get(kit, login)).toMatchObject(FROM_CACHE)
      expect(await kit.stored(login.sid)).toMatchObject({ lastSeenAt: clock.now + offsetMs })
    },
  )

  it('who keeps coming does not go idle, at one store call a minute', async () => {
    const kit = await openNear({ options: { idleTimeout: '5m', maxStaleness: '5m' } })
    const login = await kit.login()
    let asked = 0
    let refused = 0
    for (let minute = 0; minute < 60; minute++) {
      for (let tens = 0; tens < 6; tens++) {
        kit.clock.now += 10 * SECOND
        const { status, calls } = await get(kit, login)
        if (status !== 200) refused++
        asked += calls.length
      }
      // Injected time runs faster than the follower reads.
      if (minute % 3 === 2) await reads(kit)
    }
    expect(refused).toBe(0)
    expect(asked).toBeGreaterThanOrEqual(60)
    expect(asked).toBeLessThanOrEqual(62)
    const stored = await kit.stored(login.sid)
    expect(stored?.lastSeenAt).toBeGreaterThan(NOW + HOUR - MINUTE - 1)
  })

  it('who stays away goes idle, near or not', async () => {
    const kit = await openNear({ options: { idleTimeout: '30s', maxStaleness: '5m' } })
    const login = await loginNear(kit)
    kit.clock.now += 15 * SECOND - 1
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
    kit.clock.now += 15 * SECOND + 1
    expect(await get(kit, login)).toMatchObject({
      status: 401,
      calls: ['check'],
      body: { code: 'session_ended' },
    })
  })

  it('the absolute end is the end, near or not', async () => {
    const kit = await openNear({
      options: { idleTimeout: '1m', absoluteTimeout: '1m', maxStaleness: '5m' },
    })
    const login = await kit.login()
    kit.clock.now += 50 * SECOND
    await keepNear(kit, login)
    kit.clock.now += 10 * SECOND - 1
    expect(await get(kit, login)).toMatchObject(FROM_CACHE)
    kit.clock.now += 1
    expect(await get(kit, login)).toMatchObject({ status: 401, body: { code: 'session_ended' } })
  })
})

describe('the option nearCache', () => {
  const make = (nearCache: unknown) => {
    const latchkey = createLatchkey({
      issuer: ISSUER,
      secrets: [SECRET],
      signingKeys: [SIGNING_KEY],
      store: memoryStore(),
      ...({ nearCache } as { nearCache: boolean }),
    })
    return latchkey.close()
  }

  it.each([true, false, undefined, {}, { maxSessions: 1 }, { maxSessions: 1_000_000 }])(
    'may be %j',
    async (nearCache) => {
      await expect(make(nearCache)).resolves.toBeUndefined()
    },
  )

  it.each([
    [{ maxSessions: 0 }, 'nearCache.maxSessions', /whole number from 1 to 1,000,000/],
    [{ maxSessions: 1.5 }, 'nearCache.maxSessions', /whole number/],
    [{ maxSesions: 5 }, 'nearCache.maxSesions', /did you mean "maxSessions"\?/],
    ['yes', 'nearCache', /must be true, false or/],
    [10_000, 'nearCache', /must be true, false or/],
  ])('may not be %j', (nearCache, option, message) => {
    expect(() => make(nearCache)).toThrow(
      expect.objectContaining({
        code: 'invalid_option',
        option,
        message: expect.stringMatching(message),
      }),
    )
  })

  it('false is as without', async () => {
    const kit = await openKit({ options: { nearCache: false } })
    const { cookie } = await kit.login()
    expect(cookie).toContain(COOKIES.session)
    kit.spy.reset()
    for (let times = 0; times < 2; times++) {
      await request(kit.server).get('/session').set('Cookie', cookie).expect(200)
    }
    expect(kit.spy.calls).toEqual(['check', 'check'])
  })
})
