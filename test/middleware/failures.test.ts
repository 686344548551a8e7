import { afterEach, describe, expect, it, jest } from '@jest/globals'
import type { NextFunction, Request, Response } from 'express'
import express from 'express'
import request from 'supertest'
import { memoryStore } from '../../middleware/index.ts'
import type { AnyLatchkeyError, GuardOptions } from '../../middleware/index.ts'
import type { Fault, KitSetup, Login, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  echo,
  openKit,
  operationsOf,
  PASSWORD,
  pause,
  sendRaw,
  setCookies,
  typesOf,
  until,
} from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'

afterEach(closeKits)

type Headers = Record<string, string>

/** One request, and the store operations it cannot do without. */
interface Case {
  readonly name: string
  readonly needs: readonly string[]
  readonly status: number
  readonly send: (kit: TestKit, credentials: Credentials) => request.Test
}

/** Credentials that were made without HTTP, to be quick. */
interface Credentials {
  readonly user: string
  readonly sid: string
  readonly session: Headers
  readonly refresh: Headers
  readonly bearer: Headers
  /** The session of another user. */
  readonly foreign: Headers
}

async function makeCredentials(kit: TestKit, user: string): Promise<Credentials> {
  kit.users.set(user, { id: user })
  const [own, foreign] = [
    await kit.latchkey.sessions.open({ id: user }),
    await kit.latchkey.sessions.open({ id: `${user}-other` }),
  ]
  return {
    user,
    sid: own.session.id,
    session: { Cookie: `${COOKIES.session}=${own.sessionToken}` },
    refresh: { Cookie: `${COOKIES.refresh}=${own.refreshToken}` },
    bearer: { Authorization: `Bearer ${own.accessToken}` },
    foreign: { Cookie: `${COOKIES.session}=${foreign.sessionToken}` },
  }
}

function get(path: string, by: 'session' | 'bearer' | 'refresh') {
  return (kit: TestKit, credentials: Credentials) =>
    request(kit.server).get(path).set(credentials[by])
}

function post(path: string, by: 'session' | 'bearer' | 'refresh' | 'foreign' | null) {
  return (kit: TestKit, credentials: Credentials) =>
    request(kit.server)
      .post(path)
      .set(by === null ? {} : credentials[by])
}

const CASES: readonly Case[] = [
  { name: 'requireSession', needs: ['check'], status: 200, send: get('/session', 'session') },
  { name: 'requireJwt', needs: [], status: 200, send: get('/jwt', 'bearer') },
  { name: 'hybridGuard', needs: [], status: 200, send: get('/hybrid', 'bearer') },
  {
    name: 'hybridGuard by session',
    needs: ['check'],
    status: 200,
    send: get('/hybrid', 'session'),
  },
  { name: 'sensitive', needs: ['check'], status: 200, send: get('/sensitive', 'bearer') },
  { name: 'optional', needs: ['check'], status: 200, send: get('/optional', 'session') },
  {
    name: 'login',
    needs: ['create'],
    status: 200,
    send: (kit, { user }) =>
      request(kit.server).post('/auth/login').send({ username: user, password: PASSWORD }),
  },
  {
    name: 'login over a login',
    needs: ['replace'],
    status: 200,
    send: (kit, { user, session }) =>
      request(kit.server)
        .post('/auth/login')
        .set(session)
        .send({ username: user, password: PASSWORD }),
  },
  {
    name: "login over another user's login",
    needs: ['replace', 'revoke'],
    status: 200,
    send: (kit, { user, foreign }) =>
      request(kit.server)
        .post('/auth/login')
        .set(foreign)
        .send({ username: user, password: PASSWORD }),
  },
  {
    name: 'refresh',
    needs: ['check', 'rotate', 'update'],
    status: 200,
    send: post('/auth/refresh', 'refresh'),
  },
  { name: 'logout', needs: ['revoke'], status: 204, send: post('/auth/logout', 'session') },
  {
    name: 'logout by refresh',
    needs: ['revoke'],
    status: 204,
    send: post('/auth/logout', 'refresh'),
  },
  {
    name: 'logout by access',
    needs: ['revoke'],
    status: 204,
    send: post('/auth/logout', 'bearer'),
  },
  { name: 'logout of nobody', needs: [], status: 204, send: post('/auth/logout', null) },
  {
    name: 'logout-all',
    needs: ['check', 'revokeUser'],
    status: 200,
    send: post('/auth/logout-all', 'session'),
  },
  { name: 'session', needs: ['check'], status: 200, send: get('/auth/session', 'bearer') },
  {
    name: 'sessions',
    needs: ['check', 'list'],
    status: 200,
    send: get('/auth/sessions', 'session'),
  },
  {
    name: 'end one',
    needs: ['check', 'revoke'],
    status: 204,
    send: (kit, { sid, bearer }) => request(kit.server).delete(`/auth/sessions/${sid}`).set(bearer),
  },
  {
    name: 'end others',
    needs: ['check', 'revokeUser'],
    status: 200,
    send: (kit, { bearer }) => request(kit.server).delete('/auth/sessions').set(bearer),
  },
  {
    name: 'end a user',
    needs: ['check', 'revokeUser'],
    status: 200,
    send: (kit, { bearer }) =>
      request(kit.server).delete('/auth/sessions?user_id=nobody').set(bearer),
  },
  {
    name: 'step-up',
    needs: ['check', 'replace'],
    status: 200,
    send: (kit, { user, session }) =>
      request(kit.server)
        .post('/auth/step-up')
        .set(session)
        .send({ username: user, password: PASSWORD }),
  },
  { name: 'jwks', needs: [], status: 200, send: get('/auth/.well-known/jwks.json', 'bearer') },
  {
    name: 'signIn',
    needs: ['create'],
    status: 200,
    send: (kit, { user }) => request(kit.server).post('/sign-in').set('X-User', user),
  },
  { name: 'signOut', needs: ['revoke'], status: 200, send: post('/sign-out', 'session') },
]

const OPERATIONS = operationsOf(memoryStore())
const FAULTS: readonly Fault[] = ['throws', 'rejects', 'hangs', 'late']
const DEADLINE_MS = 80

async function openFaulty(onError?: TestOptions['onError']): Promise<TestKit> {
  const setup: KitSetup = {
    options: {
      storeDeadline: '80ms',
      authorizeAdmin: () => true,
      // Every refresh changes the attributes, so that it writes them.
      loadUser: ({ id }, session) => ({ id, roles: [`r${session.ver}`] }),
      ...(onError === undefined ? {} : { onError }),
    },
    routes: (app, { requireSession, signIn, signOut }) => {
      app.get('/optional', requireSession({ optional: true }), echo)
      app.post('/sign-in', (req, res, next) => {
        signIn(req, res, { id: req.get('X-User') ?? '' }).then(() => echo(req, res), next)
      })
      app.post('/sign-out', (req, res, next) => {
        signOut(req, res).then(() => echo(req, res), next)
      })
    },
  }
  const kit = await openKit(setup)
  // Not twice the deadline: after a stall of as long Node may let the later of two timers go first.
  kit.spy.lateMs = 100 * DEADLINE_MS
  return kit
}

describe('the routes of this list', () => {
  it('answer as they should while the store is well, with no more calls than they need', async () => {
    const kit = await openFaulty()
    for (const [index, { name, needs, status, send }] of CASES.entries()) {
      const credentials = await makeCredentials(kit, `user-${index}`)
      kit.spy.reset()
      const res = await send(kit, credentials)
      expect([name, res.status]).toEqual([name, status])
      expect([name, ...kit.spy.calls]).toEqual([name, ...needs])
    }
  })

  it('use every operation there is but those nobody has a use for yet', () => {
    const used = new Set(CASES.flatMap(({ needs }) => needs))
    expect(OPERATIONS.filter((name) => !used.has(name)).toSorted()).toEqual([
      'audit.append',
      'audit.query',
      'close',
      'deny',
      'feed.read',
      'inspect',
      'isDenied',
      'keys.load',
      'keys.save',
      'limit.take',
      'prune',
    ])
  })
})

describe.each(OPERATIONS)('while the store fails at %s', (operation) => {
  const isUsed = CASES.some(({ needs }) => needs.includes(operation))

  it.each(isUsed ? FAULTS : (['rejects', 'hangs'] as const))(
    'and %s: who needs it answers 503 within the deadline, everybody else as ever',
    async (fault) => {
      const kit = await openFaulty()
      const prepared = await Promise.all(
        CASES.map(async (one, index) => ({
          one,
          credentials: await makeCredentials(kit, `user-${index}`),
        })),
      )
      kit.spy.faults.set(operation, fault)
      await Promise.all(
        prepared.map(async ({ one: { name, needs, status, send }, credentials }) => {
          const began = loopTime()
          const res = await send(kit, credentials)
          if (!needs.includes(operation)) {
            expect([name, res.status]).toEqual([name, status])
            return
          }
          expect([name, res.status]).toEqual([name, 503])
          expect(loopTime() - began).toBeLessThan(2000)
          expect(setCookies(res)).toEqual([])
          expect(res.headers['retry-after']).toBe('1')
          expect(res.text).not.toMatch(/passed|driver|lk[rs]_/)
          if (!name.startsWith('sign')) {
            expect(res.body).toMatchObject({ code: 'store_unavailable' })
            expect(res.headers['cache-control']).toBe('no-store')
            expect(res.headers).not.toHaveProperty('www-authenticate')
          }
        }),
      )

      // What did not happen is as it was, and the retry is good.
      kit.spy.faults.clear()
      if (fault === 'late') return
      for (const { one, credentials } of prepared) {
        const { name, needs, status, send } = one
        if (!needs.includes(operation)) continue
        const res = await send(kit, credentials)
        expect([name, res.status]).toEqual([name, status])
      }
    },
  )
})

describe('a write that was done although its answer was late', () => {
  it('is done again without harm', async () => {
    const kit = await openFaulty()
    kit.spy.faults.set('revoke', 'late')
    const credentials = await makeCredentials(kit, 'alice')
    await request(kit.server).post('/auth/logout').set(credentials.session).expect(503)
    kit.spy.faults.clear()
    const res = await request(kit.server).post('/auth/logout').set(credentials.session).expect(204)
    expect(setCookies(res)).toHaveLength(2)
    expect(await kit.stored(credentials.sid)).toBeNull()
  })
})

describe('a blind node', () => {
  async function openBlind(
    options: TestOptions = {},
    guard: GuardOptions = {},
  ): Promise<{ kit: TestKit; login: Login }> {
    const kit = await openKit({
      options,
      routes: (app, { requireJwt, hybridGuard }) => {
        app.get('/own', requireJwt(guard), echo)
        app.get('/own-hybrid', hybridGuard({ ...guard, sample: 0 }), echo)
      },
    })
    const login = await kit.login('root')
    kit.spy.feed = 'fails'
    // Longer than maxStaleness, for this node and the store alike.
    await pause(15)
    kit.clock.now += 6000
    await until(() => typesOf(kit).includes('feed_blind'))
    expect(kit.latchkey.health()).toMatchObject({ ok: false, feed: { blind: 'stale' } })
    kit.spy.reset()
    return { kit, login }
  }

  /** How many whole seconds have passed: none, but on a machine that stalls. */
  function countSeconds(): () => number {
    const began = performance.now()
    return () => Math.floor((performance.now() - began) / 1000)
  }

  const jwt = (kit: TestKit, login: Login, path = '/jwt') =>
    request(kit.server).get(path).set('Authorization', login.bearer)

  it('asks the store for every access token, once for many requests', async () => {
    const { kit, login } = await openBlind()
    const seconds = countSeconds()
    const answers = await Promise.all(
      Array.from({ length: 50 }, async (_, index) =>
        jwt(kit, login, index % 2 === 0 ? '/jwt' : '/hybrid'),
      ),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(new Set(kit.spy.calls)).toEqual(new Set(['check']))
    // An answer is good for a second.
    expect(kit.spy.calls.length).toBeLessThanOrEqual(1 + seconds())
  })

  it('refuses what the store says is over, at once and from then on', async () => {
    const { kit, login } = await openBlind()
    await kit.spy.raw.revoke({ sid: login.sid })
    for (const path of ['/jwt', '/hybrid', '/sensitive']) {
      expect((await jwt(kit, login, path)).status).toBe(401)
    }
    kit.spy.faults.set('check', 'rejects')
    await jwt(kit, login).expect(401)
  })

  it('accepts the signature while the store does not answer either, and says so', async () => {
    const { kit, login } = await openBlind()
    kit.spy.faults.set('check', 'rejects')
    for (const path of ['/jwt', '/hybrid']) {
      const res = await jwt(kit, login, path)
      expect(res.status).toBe(200)
      expect(res.body).toMatchObject({ checked: false })
    }
    expect(kit.events.map(({ cause }) => cause)).toContain('accepted_on_signature')
  })

  it('still refuses what it heard before, and what is expired or forged', async () => {
    const { kit, login } = await openBlind()
    await kit.latchkey.sessions.revoke(login.sid)
    kit.spy.faults.set('check', 'rejects')
    await jwt(kit, login).expect(401)
    await request(kit.server).get('/jwt').set('Authorization', `${login.bearer}A`).expect(401)
    expect(kit.latchkey.health().ok).toBe(false)
  })

  it.each([
    ['the kit', { onStoreFailure: 'deny' }, {}],
    ['the guard', {}, { onStoreFailure: 'deny' }],
    ['the guard over the kit', { onStoreFailure: 'accept-signature' }, { onStoreFailure: 'deny' }],
  ] as const)("answers 503 then with onStoreFailure 'deny' by %s", async (_, options, guard) => {
    const { kit, login } = await openBlind(options, guard)
    kit.spy.faults.set('check', 'rejects')
    for (const path of ['/own', '/own-hybrid']) {
      const res = await jwt(kit, login, path)
      expect(res.status).toBe(503)
      expect(res.headers['retry-after']).toBe('1')
    }
  })

  it("lets the guard accept the signature against the kit's 'deny'", async () => {
    const { kit, login } = await openBlind(
      { onStoreFailure: 'deny' },
      { onStoreFailure: 'accept-signature' },
    )
    kit.spy.faults.set('check', 'rejects')
    expect((await jwt(kit, login, '/own')).status).toBe(200)
    expect((await jwt(kit, login, '/jwt')).status).toBe(503)
  })

  it.each(['accept-signature', 'deny'] as const)(
    'answers 503 to sensitive and session guards whatever onStoreFailure is (%s)',
    async (onStoreFailure) => {
      const { kit, login } = await openBlind({ onStoreFailure })
      kit.spy.faults.set('check', 'rejects')
      for (const [path, headers] of [
        ['/sensitive', { Authorization: login.bearer }],
        ['/session', { Cookie: login.cookie }],
        ['/hybrid', { Cookie: login.cookie }],
        ['/auth/session', { Authorization: login.bearer }],
      ] as const) {
        const res = await request(kit.server)
          .get(path)
          .set(headers as Headers)
        expect(res.status).toBe(503)
        expect(res.headers['retry-after']).toBe('1')
      }
    },
  )

  it('leaves a failing store alone after some failures, and only then', async () => {
    const { kit, login } = await openBlind()
    kit.spy.faults.set('check', 'rejects')
    const seconds = countSeconds()
    for (let round = 0; round < 12; round++) await jwt(kit, login).expect(200)
    expect(kit.spy.calls.length).toBeGreaterThanOrEqual(5)
    // It is tried again after a second.
    expect(kit.spy.calls.length).toBeLessThanOrEqual(5 + seconds())
  })

  it.each(['session_ended', 'token_stale'])(
    'does not take refusals for failures: %s, however often, never becomes a pass',
    async (code) => {
      const { kit, login } = await openBlind()
      const logins = await Promise.all(Array.from({ length: 8 }, async () => kit.login('root')))
      for (const { sid } of [login, ...logins]) {
        if (code === 'session_ended') await kit.spy.raw.revoke({ sid })
        else {
          const found = await kit.spy.raw.check({ sid, peek: true, idleTimeoutMs: 1000 })
          if (found.outcome !== 'alive') throw new Error('not alive')
          const attributes = { ...found.session.attributes, roles: [] }
          await kit.spy.raw.update({ sid, ver: 0, attributes })
        }
      }
      for (let round = 0; round < 3; round++) {
        for (const one of [login, ...logins]) {
          expect((await jwt(kit, one)).status).toBe(401)
          expect((await jwt(kit, one, '/hybrid')).status).toBe(401)
        }
      }
      // Nor does anybody else pay for it.
      kit.spy.reset()
      const other = await kit.login('bob')
      await jwt(kit, other).expect(200)
      expect(kit.spy.calls).toEqual(['create', 'check'])
    },
  )

  it('says so in health and in events, and recovers', async () => {
    const { kit, login } = await openBlind()
    expect(kit.latchkey.health()).toMatchObject({ ok: false, store: 'down' })
    kit.spy.feed = 'live'
    await kit.sighted()
    expect(kit.latchkey.health()).toMatchObject({ ok: true, store: 'up', feed: { blind: null } })
    await until(() => typesOf(kit).findLast((type) => type.startsWith('feed_')) === 'feed_sighted')
    kit.spy.reset()
    await jwt(kit, login).expect(200)
    expect(kit.spy.calls).toEqual([])
  })

  it.each(['hangs', 'fails'] as const)(
    'from its start on, with a feed that %s, trusts no signature alone',
    async (feed) => {
      const kit = await openKit({ feed })
      const login = await kit.login()
      expect(kit.latchkey.health()).toMatchObject({
        ok: false,
        feed: { blind: 'starting', staleness_ms: null },
      })
      kit.spy.reset()
      await jwt(kit, login).expect(200)
      expect(kit.spy.calls).toEqual(['check'])
      await kit.spy.raw.revoke({ sid: login.sid })
      await pause(1010)
      await jwt(kit, login).expect(401)
    },
  )
})

describe('onError', () => {
  interface Seen {
    readonly error: AnyLatchkeyError
    readonly hasRequest: boolean
  }

  async function openWithHandler(
    handler?: (
      error: AnyLatchkeyError,
      req: Request,
      res: Response,
      next: NextFunction,
    ) => void | Promise<void>,
  ): Promise<{ kit: TestKit; seen: Seen[] }> {
    const seen: Seen[] = []
    const kit = await openFaulty((error, req, res, next) => {
      seen.push({ error, hasRequest: req.method !== '' })
      if (handler !== undefined) return void handler(error, req, res, next)
      if (!('status' in error)) throw new Error('nothing to answer')
      res.status(error.status).set(error.headers).json({ own: error.code })
    })
    return { kit, seen }
  }

  it('answers in the place of problem+json, with status, code and headers at hand', async () => {
    const { kit, seen } = await openWithHandler()
    const { session, bearer, refresh } = await makeCredentials(kit, 'alice')
    const agent = request(kit.server)
    const answers = [
      await agent.get('/session'),
      await agent.get('/jwt').set('Authorization', 'Bearer x'),
      await agent.post('/session').set({ ...session, 'Sec-Fetch-Site': 'cross-site' }),
      await agent.get('/auth/login'),
      await agent.get('/auth/nothing'),
      await agent.post('/auth/login').send('x'),
      await agent.post('/auth/login').type('json').send('{'),
      await agent.post('/auth/refresh'),
      await agent.get('/auth/%zz'),
    ]
    kit.spy.faults.set('check', 'rejects').set('rotate', 'rejects')
    answers.push(
      await agent.get('/session').set(session),
      await agent.get('/auth/session').set(bearer),
      await agent.post('/auth/refresh').set(refresh),
    )
    expect(answers.map(({ status, body }) => [status, (body as { own: string }).own])).toEqual([
      [401, 'credentials_missing'],
      [401, 'token_invalid'],
      [403, 'cross_origin'],
      [405, 'method_not_allowed'],
      [404, 'not_found'],
      [415, 'unsupported_media_type'],
      [400, 'invalid_request'],
      [401, 'credentials_missing'],
      [404, 'not_found'],
      [503, 'store_unavailable'],
      [503, 'store_unavailable'],
      [503, 'store_unavailable'],
    ])
    expect(answers[3]?.headers['allow']).toBe('POST')
    expect(answers[9]?.headers['retry-after']).toBe('1')
    for (const { error, hasRequest } of seen) {
      expect(hasRequest).toBe(true)
      expect(error).toMatchObject({ name: expect.any(String), message: expect.any(String) })
    }
  })

  it('gets the cause of a 500, which the client does not', async () => {
    const seen: AnyLatchkeyError[] = []
    const boom = new Error('private detail')
    const kit = await openKit({
      options: {
        authenticate: () => {
          throw boom
        },
        onError: (error, _req, res) => {
          seen.push(error)
          res.status(500).json({ own: error.code })
        },
      },
    })
    await request(kit.server).post('/auth/login').send({}).expect(500)
    expect(seen).toMatchObject([{ code: 'internal_error', cause: boom }])
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('handler')
      },
    ],
    [
      'throws undefined',
      () => {
        throw undefined as unknown as Error
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('handler')
      },
    ],
    [
      'rejects with undefined',
      async () => {
        throw undefined as unknown as Error
      },
    ],
    [
      'rejects with 0',
      async () => {
        throw 0 as unknown as Error
      },
    ],
  ])('that %s ends in an error answer, never in a pass or a hanging request', async (_, fail) => {
    const kit = await openKit({
      options: { onError: fail as () => void },
      before: (app) => app.set('env', 'test'),
    })
    for (const path of ['/session', '/jwt', '/auth/session', '/auth/nothing']) {
      const res = await request(kit.server).get(path)
      expect(res.status).toBe(500)
      expect(res.text).not.toContain('passed')
    }
  })

  it.each([undefined, null, 0, '', 'route', 'router'])(
    'that goes on with %p lets nobody pass: the refusal goes to the app’s own error handler',
    async (said) => {
      const kit = await openKit({
        options: { onError: (_error, _req, _res, next) => next(said) },
        routes: (app, latchkey) => {
          const router = express.Router()
          router.use(latchkey.requireJwt())
          app.use('/mine', router)
          app.use(echo)
        },
      })
      for (const path of ['/mine', '/jwt', '/auth/session', '/auth/nothing']) {
        const res = await request(kit.server).get(path)
        expect([path, res.status]).toEqual([path, path === '/auth/nothing' ? 404 : 401])
        expect(res.text).not.toContain('passed')
      }
    },
  )

  it('may hand the error on to the app’s own error handler, status and headers with it', async () => {
    const kit = await openKit({
      options: { onError: (error, _req, _res, next) => next(error) },
    })
    const res = await request(kit.server).get('/session')
    expect(res.status).toBe(401)
    expect(res.text).not.toContain('passed')
  })
})

describe('onEvent', () => {
  it.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('sink')
      },
    ],
    [
      'throws null',
      () => {
        throw null as unknown as Error
      },
    ],
    [
      'throws what cannot be printed',
      () => {
        throw Object.create(null) as Error
      },
    ],
    [
      'throws what throws when printed',
      () => {
        throw {
          toString: () => {
            throw new Error('no')
          },
        } as unknown as Error
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('sink')
      },
    ],
    [
      'rejects with nothing',
      async () => {
        throw undefined as unknown as Error
      },
    ],
  ])('that %s changes nothing', async (_, sink) => {
    const warnings = jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const unhandled: unknown[] = []
    const onUnhandled = (reason: unknown) => void unhandled.push(reason)
    process.on('unhandledRejection', onUnhandled)
    const kit = await openKit({ options: { onEvent: sink } })
    const login = await kit.login()
    const agent = request(kit.server)
    await agent.get('/session').set('Cookie', login.cookie).expect(200)
    await agent.post('/auth/login').send({ username: 'alice', password: 'wrong' }).expect(401)
    await agent
      .post('/session')
      .set({ Cookie: login.cookie, 'Sec-Fetch-Site': 'cross-site' })
      .expect(403)
    await agent.post('/auth/refresh').set('Cookie', login.cookie).expect(200)
    kit.spy.faults.set('check', 'rejects')
    await agent.get('/session').set('Cookie', login.cookie).expect(503)
    kit.spy.faults.clear()
    await agent.post('/auth/logout').set('Cookie', login.cookie).expect(204)
    await pause(5)
    process.off('unhandledRejection', onUnhandled)
    expect(unhandled).toEqual([])
    expect(warnings.mock.calls[0]?.slice(1)).toEqual(['LatchkeyWarning', 'on_event_failed'])
    warnings.mockRestore()
  })
})

describe('an answer that was already sent', () => {
  it('is left alone: the failure goes to Express, and nothing passes', async () => {
    let reached = 0
    const kit = await openKit({
      routes: (app, { requireSession }) => {
        app.get(
          '/sent',
          (_req, res, next) => {
            res.write('begun')
            next()
          },
          requireSession(),
          () => {
            reached++
          },
        )
      },
    })
    const { body } = await sendRaw(kit.port, 'GET /sent')
    expect(body).toContain('begun')
    expect(body).not.toContain('credentials_missing')
    expect(reached).toBe(0)
    await request(kit.server).get('/auth/.well-known/jwks.json').expect(200)
  })

  it('a guard that lets pass an answer already begun does not throw', async () => {
    const kit = await openKit({
      routes: (app, { requireJwt }) => {
        app.get(
          '/sent',
          (_req, res, next) => {
            res.write('begun')
            next()
          },
          requireJwt(),
          (_req, res) => res.end(' and done'),
        )
      },
    })
    const { bearer } = await kit.login()
    const { body } = await sendRaw(kit.port, 'GET /sent', [`Authorization: ${bearer}`])
    expect(body).toContain('and done')
  })
})
