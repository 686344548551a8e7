import { afterEach, describe, expect, it, jest } from '@jest/globals'
import type { RequestHandler } from 'express'
import express from 'express'
import request from 'supertest'
import type { Latchkey, LatchkeyOptions } from '../../middleware/index.ts'
import {
  ConfigError,
  createLatchkey,
  generateSigningKey,
  InternalError,
  memoryStore,
} from '../../middleware/index.ts'
import type { TestClaims } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  cookiesOf,
  echo,
  ISSUER,
  listen,
  openKit,
  pause,
  SECRET,
  setCookies,
  SIGNING_KEY,
  spyOn,
} from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'
import { until } from '../support/redis-commands.ts'

const ENV = process.env['NODE_ENV']

afterEach(async () => {
  process.env['NODE_ENV'] = ENV
  jest.restoreAllMocks()
  await closeKits()
})

type Options = LatchkeyOptions<TestClaims>

/** Options that are good in production. */
function goodOptions(): Options {
  return { issuer: ISSUER, secrets: [SECRET], signingKeys: [SIGNING_KEY], store: memoryStore() }
}

/** What a kit is refused with at start. */
function startError(options: unknown): unknown {
  try {
    void createLatchkey(options as Options).close()
  } catch (error) {
    return error
  }
  return 'started'
}

describe('createLatchkey', () => {
  it.each([
    ['issuer', { issuer: undefined }, "'https://app.example'"],
    ['issuer', { issuer: 'app.example' }, 'absolute URL'],
    ['issuer', { issuer: 'http://app.example' }, 'https'],
    ['issuer', { issuer: 'https://app.example/?x' }, 'query'],
    ['issuer', { issuer: 'https://u:p@app.example' }, 'credentials'],
    ['audience', { audience: [] }, 'list of texts'],
    ['audience', { audience: [''] }, 'list of texts'],
    ['secrets', { secrets: SECRET }, 'list'],
    ['secrets', { secrets: [] }, 'at least one'],
    ['secrets[0]', { secrets: ['short'] }, 'randomBytes'],
    ['secrets[1]', { secrets: [SECRET, SECRET] }, 'twice'],
    ['secrets[0]', { secrets: [7] }, 'text or bytes'],
    ['signingKeys', { signingKeys: SIGNING_KEY }, 'list'],
    ['signingKeys', { signingKeys: [] }, 'at least one'],
    ['store', { store: {} }, 'memoryStore()'],
    ['store', { store: 'memory' }, 'memoryStore()'],
    ['store', { store: memoryStore }, 'memoryStore()'],
    ['authenticate', { authenticate: 'x' }, 'function'],
    ['loadUser', { loadUser: {} }, 'function'],
    ['authorizeAdmin', { authorizeAdmin: true }, 'function'],
    ['deviceBinding', { deviceBinding: 'ip' }, 'function'],
    ['onError', { onError: 1 }, 'function'],
    ['onEvent', { onEvent: [] }, 'function'],
    ['clock', { clock: 5 }, 'function'],
    ['accessTokenTtl', { accessTokenTtl: 900 }, "'"],
    ['accessTokenTtl', { accessTokenTtl: '2d' }, ''],
    ['idleTimeout', { idleTimeout: '31d' }, 'absoluteTimeout'],
    ['absoluteTimeout', { absoluteTimeout: 'forever' }, ''],
    ['reuseGrace', { reuseGrace: '61s' }, ''],
    ['lostResponseWindow', { lostResponseWindow: '25h' }, ''],
    ['clockSkew', { clockSkew: '61s' }, ''],
    ['storeDeadline', { storeDeadline: '1ms' }, ''],
    ['maxStaleness', { maxStaleness: '0s' }, ''],
    ['onReuse', { onReuse: 'all' }, "'session' or 'user'"],
    ['onStoreFailure', { onStoreFailure: 'allow' }, "'accept-signature' or 'deny'"],
    ['delivery', { delivery: 'both' }, "'cookie' or 'body'"],
    ['accessToken', { accessToken: 'header' }, "'cookie' or 'body'"],
    ['maxSessions.perUser', { maxSessions: { perUser: 0 } }, '1 to 1000'],
    ['maxSessions.onLimit', { maxSessions: { onLimit: 'x' } }, "'evict' or 'refuse'"],
    ['maxSessions.max', { maxSessions: { max: 1 } }, ''],
    ['cookies.secure', { cookies: { secure: 'auto' } }, 'true or false'],
    ['cookies.sameSite', { cookies: { sameSite: 'none' } }, "'lax' or 'strict'"],
    ['cookies.names.session', { cookies: { names: { session: 'a b' } } }, ''],
    ['cookies.names.session', { cookies: { domain: 'app.example' } }, '__Host-'],
    ['cookies.names', { cookies: { names: { session: 'x', refresh: 'x' } } }, 'differ'],
    ['cookies.names.csrf', { cookies: { names: { csrf: 'x' } } }, ''],
    ['cookies.httpOnly', { cookies: { httpOnly: false } }, ''],
    ['allowedOrigins', { allowedOrigins: '*' }, 'list'],
    ['allowedOrigins[0]', { allowedOrigins: ['*'] }, 'exact origin'],
    ['allowedOrigins[0]', { allowedOrigins: ['https://a.example/'] }, 'exact origin'],
    ['allowedOrigins[0]', { allowedOrigins: ['https://*.example'] }, 'exact origin'],
    ['allowedOrigins[0]', { allowedOrigins: ['null'] }, 'exact origin'],
    ['csrf.off', { csrf: { off: true } }, ''],
    ['csrf.requireOrigin', { csrf: { requireOrigin: 1 } }, 'true or false'],
    ['strict', { strict: 'yes' }, 'true or false'],
    ['isuer', { isuer: 'x' }, 'issuer'],
    ['secret', { secret: 'x' }, 'secrets'],
    ['__proto__', JSON.parse('{"__proto__":{"issuer":"https://evil.example"}}') as object, ''],
  ])('refuses a bad %s at start, and says how to mend it', (option, wrong, hint) => {
    const error = startError({ ...goodOptions(), ...ownMembers(wrong) })
    expect(error).toBeInstanceOf(ConfigError)
    expect(error).toMatchObject({ code: 'invalid_option', option })
    expect((error as Error).message).toContain(option)
    expect((error as Error).message).toContain(hint)
    expect((error as Error).message).not.toContain(SECRET)
  })

  it.each([undefined, null, 'https://app.example', 7])('refuses %p for options', (options) => {
    expect(startError(options)).toMatchObject({ code: 'invalid_option', option: 'options' })
  })

  it('takes undefined for absent, a null prototype, and never writes into the options', async () => {
    const names = ['audience', 'authenticate', 'loadUser', 'delivery', 'cookies', 'csrf', 'onError']
    const options = Object.assign(
      Object.create(null) as Options,
      goodOptions(),
      Object.fromEntries(names.map((name) => [name, undefined])),
    )
    const before = JSON.stringify(options)
    const kit = createLatchkey(Object.freeze(options))
    expect(JSON.stringify(options)).toBe(before)
    await kit.close()
  })
})

/** `__proto__` too, which a spread would set instead of define. */
function ownMembers(members: object): object {
  const own = {}
  for (const [name, value] of Object.entries(members)) {
    Object.defineProperty(own, name, { value, enumerable: true })
  }
  return own
}

describe('in production', () => {
  it.each([
    ['secrets', undefined, 'randomBytes(32)'],
    ['signingKeys', undefined, 'ES256'],
    ['store', undefined, 'memoryStore()'],
    ['secrets', null, 'randomBytes(32)'],
    ['signingKeys', null, 'ES256'],
    ['store', null, 'memoryStore()'],
  ])('a kit does not start without %s (%p), and says how to mend it', (option, value, hint) => {
    process.env['NODE_ENV'] = 'production'
    const error = startError({ ...goodOptions(), [option]: value })
    expect(error).toMatchObject({ code: 'invalid_option', option })
    expect((error as Error).message).toContain('production')
    expect((error as Error).message).toContain(hint)
  })

  it('a kit does not start with cookies.secure false, and an http issuer gets secure cookies', async () => {
    process.env['NODE_ENV'] = 'production'
    expect(startError({ ...goodOptions(), cookies: { secure: false } })).toMatchObject({
      option: 'cookies.secure',
    })
    const kit = await openKit({ options: { issuer: 'http://localhost:3000' } })
    const { res } = await kit.login()
    for (const line of setCookies(res)) expect(line).toMatch(/^__Host-.*; Secure; /)
  })

  it('a kit that has all of it starts without a warning', async () => {
    process.env['NODE_ENV'] = 'production'
    const warn = jest.spyOn(process, 'emitWarning')
    await createLatchkey(goodOptions()).close()
    expect(warn).not.toHaveBeenCalled()
  })
})

describe('in development', () => {
  it('a kit draws what is missing and says what that means, once each', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const kit = createLatchkey({ issuer: ISSUER })
    await kit.close()
    expect(warn.mock.calls.map((call) => (call as unknown[])[2])).toEqual([
      'development_secrets',
      'development_signingKeys',
      'development_store',
    ])
    for (const [message] of warn.mock.calls) expect(String(message)).toContain('roduction')
  })

  it('an http issuer on loopback gets cookies without prefix and Secure, and they work', async () => {
    const kit = await openKit({ options: { issuer: 'http://localhost:3000' } })
    const { res } = await kit.login()
    const jar = cookiesOf(res)
    expect([...jar.keys()]).toEqual(['latchkey-session', 'latchkey-refresh'])
    for (const line of setCookies(res)) expect(line).not.toMatch(/Secure|__Host-/)
    const session = jar.get('latchkey-session') ?? ''
    await request(kit.server)
      .get('/session')
      .set('Cookie', `latchkey-session=${session}`)
      .expect(200)
    // The names of production are other cookies: none is taken for the other.
    await request(kit.server)
      .get('/session')
      .set('Cookie', `${COOKIES.session}=${session}`)
      .expect(401)
    await request(kit.server)
      .post('/session')
      .set({
        Cookie: `latchkey-session=${session}`,
        Host: 'localhost:3000',
        Origin: 'http://localhost:3000',
      })
      .expect(200)
  })
})

describe('a factory that was not called', () => {
  const FACTORIES = [
    'requireSession',
    'requireJwt',
    'hybridGuard',
    'refreshRoute',
    'authRoutes',
  ] as const

  it.each(FACTORIES)('shows at start with app.use(%s)', async (name) => {
    const { latchkey } = await openKit()
    const factory = latchkey[name] as unknown as RequestHandler
    const app = express()
    for (const use of [() => app.use(factory), () => app.use('/path', factory)]) {
      expect(use).toThrow(`write ${name}()`)
    }
  })

  it.each(FACTORIES)('is 500 at the first request elsewhere, not a pass: %s', async (name) => {
    const { latchkey } = await openKit()
    const factory = latchkey[name] as unknown as RequestHandler
    const app = express()
    const router = express.Router()
    router.use(factory)
    app.get('/get', factory, echo)
    app.use('/router', router, echo)
    const { server } = await listen(app)
    for (const path of ['/get', '/router', '/router/x']) {
      const res = await request(server).get(path)
      expect(res.status).toBe(500)
      expect(res.text).not.toContain('passed')
    }
  })

  it('keeps its name in stacks', async () => {
    const { latchkey } = await openKit()
    for (const name of FACTORIES) expect(latchkey[name].name).toBe(name)
    expect(latchkey.requireJwt().name).toBe('requireJwtMiddleware')
    expect(latchkey.requireSession().name).toBe('requireSessionMiddleware')
    expect(latchkey.hybridGuard().name).toBe('hybridGuardMiddleware')
    expect(latchkey.refreshRoute().name).toBe('refreshRouteMiddleware')
  })

  it('may be destructured', async () => {
    const { requireJwt, getAuth, sessions, health } = (await openKit()).latchkey
    expect(requireJwt()).toBeInstanceOf(Function)
    expect(health().ok).toBe(true)
    expect(await sessions.find('x')).toBeNull()
    expect(() => getAuth({} as never)).toThrow('no guard')
  })
})

describe('two kits in one process', () => {
  const other = {
    issuer: 'https://other.example',
    secrets: ['another-secret-of-more-than-thirty-two-bytes'],
    signingKeys: [generateSigningKey()],
  }

  it('refuse each other’s tokens, by header, cookie and body', async () => {
    const [one, two] = [await openKit(), await openKit({ options: other })]
    for (const [mine, theirs] of [
      [one, two],
      [two, one],
    ] as const) {
      const login = await theirs.login()
      mine.spy.reset()
      const agent = request(mine.server)
      for (const path of ['/session', '/jwt', '/hybrid', '/sensitive', '/auth/session']) {
        for (const headers of [
          { Authorization: login.bearer },
          { Authorization: `Session ${login.session}` },
          { Cookie: login.cookie },
        ]) {
          const res = await agent.get(path).set(headers as Record<string, string>)
          expect(res.status).toBe(401)
        }
      }
      await agent.post('/auth/refresh').set('Cookie', login.cookie).expect(401)
      await agent.post('/auth/refresh').send({ refresh_token: login.refresh }).expect(401)
      await agent.post('/auth/logout').set('Cookie', login.cookie).expect(204)
      expect(mine.spy.calls).toEqual([])
      await request(theirs.server).get('/session').set('Cookie', login.cookie).expect(200)
    }
  })

  it('refuse a token for another audience, or of another issuer, with the same keys', async () => {
    const one = await openKit({ options: { audience: 'https://a.example' } })
    const [audience, issuer] = [
      await openKit({ options: { audience: 'https://b.example' } }),
      await openKit({ options: { issuer: 'https://app.example/', audience: 'https://a.example' } }),
    ]
    const { bearer } = await one.login()
    for (const kit of [audience, issuer]) {
      await request(kit.server).get('/jwt').set('Authorization', bearer).expect(401)
    }
    await request(one.server).get('/jwt').set('Authorization', bearer).expect(200)
  })

  it('do not see each other’s guard of a request', async () => {
    const two = await openKit({ options: other })
    const one = await openKit({
      routes: (app, { requireSession }) =>
        app.get('/other', requireSession(), (req, res) => void res.json(two.latchkey.getAuth(req))),
    })
    const { cookie } = await one.login()
    await request(one.server).get('/other').set('Cookie', cookie).expect(500)
  })
})

describe('getAuth', () => {
  it('throws where no guard let the request pass, whatever req.auth says', async () => {
    const kit = await openKit({
      routes: (app, { getAuth, requireJwt }) => {
        const show: RequestHandler = (req, res) => void res.json(getAuth(req))
        const spoof: RequestHandler = (req, _res, next) => {
          Object.assign(req, { auth: { userId: 'root', roles: ['admin'] } })
          next()
        }
        app.get('/none', show)
        app.get('/spoofed', spoof, show)
        app.get('/optional', requireJwt({ optional: true }), show)
        app.get('/guarded', requireJwt(), spoof, show)
      },
    })
    const { bearer } = await kit.login()
    for (const path of ['/none', '/spoofed', '/optional']) {
      await request(kit.server).get(path).expect(500)
    }
    const res = await request(kit.server).get('/guarded').set('Authorization', bearer).expect(200)
    expect(res.body).toMatchObject({ userId: 'alice', roles: [], kind: 'jwt', checked: false })
  })
})

describe('signIn and signOut', () => {
  /** An app with its own login: `/in?user=…` and `/out`. */
  const own =
    (options: { label?: string } = {}) =>
    (app: express.Express, { signIn, signOut }: Latchkey<TestClaims>) => {
      app.all('/in', (req, res, next) => {
        signIn(req, res, { id: req.get('X-User') ?? '', claims: { plan: 'pro' } }, options).then(
          (signedIn) => void res.json(signedIn),
          next,
        )
      })
      app.all('/out', (req, res, next) => {
        signOut(req, res).then(() => void res.json({ out: true }), next)
      })
    }

  it('by cookie: sets the cookies, gives the access token only, no-store', async () => {
    const kit = await openKit({ routes: own({ label: 'My Passkey' }) })
    const res = await request(kit.server).post('/in').set('X-User', 'alice').expect(200)
    expect(Object.keys(res.body as object)).toEqual(['session', 'expiresIn', 'accessToken'])
    expect(res.body).toMatchObject({
      session: { userId: 'alice', claims: { plan: 'pro' }, device: { label: 'My Passkey' } },
    })
    expect(setCookies(res)).toHaveLength(2)
    expect(res.headers['cache-control']).toBe('no-store')
    expect(res.text).not.toMatch(/lk[rs]_|seed|[hH]ash/)
  })

  it('opens no session that nobody would get, when the answer is on its way', async () => {
    let failure: unknown
    const kit = await openKit({
      routes: (app, { signIn }) => {
        app.post('/in', (req, res) => {
          res.json({})
          signIn(req, res, { id: 'alice' }).catch((error: unknown) => (failure = error))
        })
      },
    })
    await request(kit.server).post('/in').expect(200)
    await until('signIn has failed', async () => failure !== undefined)
    expect(failure).toBeInstanceOf(InternalError)
    expect((failure as Error).message).toContain('the answer is on its way')
    const { items } = await kit.latchkey.sessions.list({ id: 'alice' })
    expect(items).toEqual([])
  })

  it('by body: gives all tokens, sets nothing', async () => {
    const kit = await openKit({ options: { delivery: 'body' }, routes: own() })
    const res = await request(kit.server).post('/in').set('X-User', 'alice').expect(200)
    expect(res.body).toMatchObject({
      refreshToken: expect.stringMatching(/^lkr_/),
      sessionToken: expect.stringMatching(/^lks_/),
      accessToken: expect.any(String),
    })
    expect(setCookies(res)).toEqual([])
  })

  it('by function, for each request', async () => {
    const kit = await openKit({
      options: { delivery: (req) => (req.get('X-App') === '1' ? 'body' : 'cookie') },
      routes: own(),
    })
    const send = async (headers: Record<string, string>) =>
      request(kit.server)
        .post('/in')
        .set({ 'X-User': 'alice', ...headers })
    expect(setCookies(await send({ 'X-App': '1' }))).toEqual([])
    expect(setCookies(await send({}))).toHaveLength(2)
  })

  it('with accessToken: cookie leaves no token at all to the body', async () => {
    const kit = await openKit({ options: { accessToken: 'cookie' }, routes: own() })
    const res = await request(kit.server).post('/in').set('X-User', 'alice').expect(200)
    expect(Object.keys(res.body as object)).toEqual(['session', 'expiresIn'])
    const jar = cookiesOf(res)
    expect([...jar.keys()]).toEqual(Object.values(COOKIES))
    for (const value of jar.values()) expect(res.text).not.toContain(value)
    const renewed = await request(kit.server)
      .post('/auth/refresh')
      .set('Cookie', `${COOKIES.refresh}=${jar.get(COOKIES.refresh)}`)
      .expect(200)
    expect(renewed.body).not.toHaveProperty('access_token')
    for (const value of cookiesOf(renewed).values()) expect(renewed.text).not.toContain(value)
  })

  it('replaces the session that came along, also over a GET from another site (OAuth callback)', async () => {
    const kit = await openKit({ routes: own() })
    const old = await kit.login()
    await request(kit.server)
      .get('/in')
      .set({ 'X-User': 'bob', Cookie: old.cookie, 'Sec-Fetch-Site': 'cross-site' })
      .expect(200)
    expect(await kit.stored(old.sid)).toBeNull()
  })

  it('does not let a POST of another origin end the session that the browser adds', async () => {
    const kit = await openKit({ routes: own() })
    const old = await kit.login()
    await request(kit.server)
      .post('/in')
      .set({ 'X-User': 'bob', Cookie: old.cookie, 'Sec-Fetch-Site': 'cross-site' })
      .expect(200)
    expect(await kit.stored(old.sid)).not.toBeNull()
  })

  it('rejects an ill-formed user, and opens nothing when delivery throws', async () => {
    const kit = await openKit({
      options: {
        delivery: () => {
          throw new Error('broken')
        },
      },
      routes: own(),
    })
    const res = await request(kit.server).post('/in').set('X-User', 'alice')
    expect(res.status).toBe(500)
    expect(kit.spy.calls).toEqual([])
    const good = await openKit({ routes: own() })
    await request(good.server).post('/in').set('X-User', '').expect(400)
    expect(good.spy.calls).toEqual([])
  })

  it('signs out what verifies, clears the cookies, and refuses pages of another origin', async () => {
    const kit = await openKit({ routes: own() })
    const login = await kit.login()
    const refused = await request(kit.server)
      .post('/out')
      .set({ Cookie: login.cookie, 'Sec-Fetch-Site': 'cross-site' })
    expect(refused.status).toBe(403)
    expect(setCookies(refused)).toEqual([])
    expect(await kit.stored(login.sid)).not.toBeNull()
    const bare = await request(kit.server).post('/out').set('Sec-Fetch-Site', 'cross-site')
    expect(setCookies(bare)).toEqual([])
    const res = await request(kit.server).post('/out').set('Cookie', login.cookie).expect(200)
    expect(cookiesOf(res)).toEqual(
      new Map([
        [COOKIES.session, ''],
        [COOKIES.refresh, ''],
      ]),
    )
    expect(await kit.stored(login.sid)).toBeNull()
  })

  it('keeps the cookies when the store fails', async () => {
    const kit = await openKit({ routes: own() })
    const login = await kit.login()
    kit.spy.faults.set('revoke', 'rejects')
    const res = await request(kit.server).post('/out').set('Cookie', login.cookie)
    expect(res.status).toBe(503)
    expect(setCookies(res)).toEqual([])
  })
})

describe('ready, health and close', () => {
  it('ready resolves once the feed was loaded, and health says so before and after', async () => {
    const spy = spyOn(memoryStore())
    spy.feed = 'hangs'
    const kit = createLatchkey({ ...goodOptions(), store: spy.store, storeDeadline: '50ms' })
    let ready = false
    const waiting = kit.ready().then(() => (ready = true))
    await pause(20)
    expect(ready).toBe(false)
    expect(kit.health()).toMatchObject({ ok: false, feed: { blind: 'starting' } })
    spy.feed = 'live'
    await waiting
    expect(kit.health()).toEqual({
      ok: true,
      store: 'up',
      feed: {
        blind: null,
        staleness_ms: expect.any(Number),
        clock_offset_ms: expect.any(Number),
        heard: 0,
      },
      audit_dropped: 0,
    })
    await kit.close()
  })

  it('health asks nobody', async () => {
    const kit = await openKit()
    for (let round = 0; round < 10; round++) kit.latchkey.health()
    expect(kit.spy.calls).toEqual([])
  })

  it('close writes the audit trail, ends the wait of the feed, and may be called twice', async () => {
    const kit = await openKit()
    await kit.login()
    const began = loopTime()
    await kit.latchkey.close()
    await kit.latchkey.close()
    await kit.latchkey.ready()
    expect(loopTime() - began).toBeLessThan(400)
    const { items } = await kit.spy.raw.audit.query({ limit: 100 })
    expect(items.map(({ type }) => type)).toContain('authn_login_success')
  })

  it('close returns although the store hangs', async () => {
    const kit = await openKit({ options: { storeDeadline: '50ms' } })
    await kit.login()
    kit.spy.feed = 'hangs'
    kit.spy.faults.set('audit.append', 'hangs')
    const began = loopTime()
    await kit.latchkey.close()
    expect(loopTime() - began).toBeLessThan(1000)
  })

  it('close leaves a store the app made open, and closes one the kit made', async () => {
    const store = memoryStore()
    await createLatchkey({ ...goodOptions(), store }).close()
    expect(await store.inspect()).toEqual([])
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const kit = createLatchkey({ issuer: ISSUER })
    await kit.close()
    await expect(kit.sessions.list('alice')).rejects.toMatchObject({ code: 'store_unavailable' })
  })
})
