import { afterAll, afterEach, describe, expect, it } from '@jest/globals'
import type { Request, Response } from 'express'
import request from 'supertest'
import type { AccessClaims } from '../../lib/access-token-claims.ts'
import type { AccessTokenVerifier } from '../../lib/access-token-verifier.ts'
import { createAccessTokenVerifier } from '../../lib/access-token-verifier.ts'
import { parseSigningKeys } from '../../lib/signing-keys.ts'
import type { Guard, IdentityOptions, SigningKeyInput } from '../../middleware/index.ts'
import {
  createLatchkey,
  generateSigningKey,
  managedKeys,
  memoryStore,
} from '../../middleware/index.ts'
import { forge, halves, signAs } from '../support/forge.ts'
import type { KitSetup, Login, TestClaims, TestKit } from '../support/kit.ts'
import {
  closeKits,
  ISSUER,
  MINUTE,
  openKit,
  SECOND,
  SECRET,
  SIGNING_KEY,
  typesOf,
} from '../support/kit.ts'

const AUDIENCE = 'https://orders.internal'
type Options = IdentityOptions<TestClaims>

afterEach(closeKits)

/** Answers what a proxy would copy. */
function showHeaders(req: Request, res: Response): void {
  res.json({ headers: req.headers, distinct: req.headersDistinct, raw: req.rawHeaders })
}

interface Gateway extends TestKit {
  readonly verifier: AccessTokenVerifier
  /** What the service behind would get of a request with this `Authorization` or cookie. */
  send(headers: Record<string, string>): Promise<request.Response>
  /** The token it would get. */
  tokenOf(headers: Record<string, string>): Promise<string>
  claimsOf(headers: Record<string, string>): Promise<AccessClaims>
}

async function openGateway(
  options: Options = { audience: AUDIENCE },
  guard: (latchkey: TestKit['latchkey']) => Guard[] = (latchkey) => [
    latchkey.hybridGuard({ sample: 0 }),
  ],
  setup: KitSetup = {},
): Promise<Gateway> {
  const kit = await openKit({
    ...setup,
    routes(app, latchkey) {
      app.use('/orders', ...guard(latchkey), latchkey.forwardIdentity(options), showHeaders)
      setup.routes?.(app, latchkey)
    },
  })
  const verifier = createAccessTokenVerifier({
    issuer: ISSUER,
    audience: [AUDIENCE],
    keys: parseSigningKeys([SIGNING_KEY]),
    maxLifetimeMs: MINUTE,
    clockSkewMs: 0,
    cacheBytes: 0,
    clock: () => kit.clock.now,
  })
  const send = async (headers: Record<string, string>) =>
    request(kit.server).get('/orders/1').set(headers)
  const tokenOf = async (headers: Record<string, string>) => {
    const res = await send(headers)
    if (res.status !== 200) throw new Error(`${res.status} ${res.text}`)
    const body = res.body as { headers: Record<string, string> }
    return (body.headers['authorization'] ?? '').replace(/^Bearer /, '')
  }
  const claimsOf = async (headers: Record<string, string>) =>
    verifier.verify(await tokenOf(headers))
  return { ...kit, verifier, send, tokenOf, claimsOf }
}

function bearer(login: Login): Record<string, string> {
  return { authorization: login.bearer }
}

function decodeJson(segment: string): Record<string, unknown> {
  // The signature is no JSON.
  const text = Buffer.from(segment, 'base64url').toString()
  return text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {}
}

describe('the token of forwardIdentity', () => {
  it('says what the access token said, for the service and for one minute', async () => {
    const kit = await openGateway(undefined, undefined, {
      options: { authenticate: () => DORA, maxSessions: { perUser: 5 } },
    })
    const login = await kit.login()
    const own = await kit.latchkey.sessions.find(login.sid)
    await request(kit.server).post('/auth/refresh').set('Cookie', login.refreshCookie)
    kit.clock.now += 5 * SECOND
    const claims = await kit.claimsOf(bearer(login))
    expect(claims).toMatchObject({
      iss: ISSUER,
      sub: 'dora',
      tenant: 'acme',
      sid: login.sid,
      gen: 0,
      ver: 0,
      authTimeMs: own?.authTime,
      issuedAtMs: kit.clock.now,
      expiresAtMs: kit.clock.now + MINUTE,
      roles: ['admin', 'buyer'],
      scope: ['orders:read', 'orders:write'],
      level: 'high',
      amr: ['pwd', 'otp'],
      claims: { plan: 'pro' },
    })
    const [, payload = ''] = login.access.split('.')
    const { jti } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { jti: string }
    expect(claims.jti).not.toBe(jti)
  })

  it('says the same of who came with a session token', async () => {
    const kit = await openGateway(undefined, undefined, { options: { authenticate: () => DORA } })
    const login = await kit.login()
    const claims = await kit.claimsOf({ cookie: login.sessionCookie })
    expect(claims).toMatchObject({
      sub: 'dora',
      tenant: 'acme',
      sid: login.sid,
      roles: ['admin', 'buyer'],
      scope: ['orders:read', 'orders:write'],
      level: 'high',
      amr: ['pwd', 'otp'],
      claims: { plan: 'pro' },
    })
  })

  it('says the same when the near cache answered', async () => {
    const kit = await openGateway(undefined, (latchkey) => [latchkey.requireSession()], {
      options: { nearCache: true },
    })
    const login = await kit.login()
    await kit.claimsOf({ cookie: login.sessionCookie })
    kit.spy.reset()
    expect((await kit.claimsOf({ cookie: login.sessionCookie })).sub).toBe('alice')
    expect(kit.spy.calls).toEqual([])
  })

  it('confirms no refresh token that its client may not have', async () => {
    const kit = await openGateway()
    const login = await kit.login()
    await request(kit.server).post('/auth/refresh').set('Cookie', login.refreshCookie)
    expect(await kit.generationOf(login.sid)).toBe(1)
    expect((await kit.claimsOf({ cookie: login.sessionCookie })).gen).toBe(0)
    expect((await kit.claimsOf(bearer(login))).gen).toBe(0)
  })

  it('is no good at the kit itself, whatever its route', async () => {
    const kit = await openGateway()
    const token = await kit.tokenOf(bearer(await kit.login()))
    for (const path of ['/jwt', '/hybrid', '/sensitive', '/orders/1', '/auth/session']) {
      const res = await request(kit.server).get(path).set('Authorization', `Bearer ${token}`)
      expect([path, res.status]).toEqual([path, 401])
    }
  })

  it('ends no later than the session, and no later than the access token', async () => {
    const kit = await openGateway(undefined, undefined, {
      options: { idleTimeout: '40s', absoluteTimeout: '1m', accessTokenTtl: '20s' },
    })
    const login = await kit.login()
    const bySession = await kit.claimsOf({ cookie: login.sessionCookie })
    expect(bySession.expiresAtMs).toBe(kit.clock.now + 40 * SECOND)
    const byToken = await kit.claimsOf(bearer(login))
    expect(byToken.expiresAtMs).toBeLessThanOrEqual(kit.clock.now + 20 * SECOND)
  })

  it('lives for a second at least, for the access token that was just let pass', async () => {
    const kit = await openGateway(undefined, (latchkey) => [latchkey.requireJwt()])
    const login = await kit.login()
    const { expires_in: endsInS } = login.res.body as { expires_in: number }
    await kit.tick((endsInS + 20) * SECOND)
    const claims = await kit.claimsOf(bearer(login))
    expect(claims.expiresAtMs).toBe(kit.clock.now + SECOND)
  })

  it('stands alone in a header of its own', async () => {
    const kit = await openGateway({ audience: AUDIENCE, header: 'X-Identity' })
    const res = await kit.send({ ...bearer(await kit.login()), 'x-identity': 'spoofed' })
    const { headers, distinct, raw } = res.body as Views
    expect((await kit.verifier.verify(headers['x-identity'] ?? '')).sub).toBe('alice')
    expect(distinct['x-identity']).toEqual([headers['x-identity']])
    expect(raw.filter((text) => text.toLowerCase() === 'x-identity')).toHaveLength(1)
    expect(raw[raw.indexOf('x-identity') + 1]).toBe(headers['x-identity'])
    expect(headers['authorization']).toBeUndefined()
  })
})

interface Views {
  readonly headers: Record<string, string>
  readonly distinct: Record<string, string[]>
  readonly raw: string[]
}

const DORA = {
  id: 'dora',
  tenant: 'acme',
  roles: ['admin', 'buyer'],
  scope: ['orders:read', 'orders:write'],
  level: 'high',
  amr: ['pwd', 'otp'],
  claims: { plan: 'pro' },
}

describe('forwardIdentity remembers a token', () => {
  it('until half of its life is over', async () => {
    const kit = await openGateway()
    const login = await kit.login()
    const first = await kit.tokenOf(bearer(login))
    await kit.tick(29 * SECOND)
    expect(await kit.tokenOf(bearer(login))).toBe(first)
    await kit.tick(SECOND)
    expect(await kit.tokenOf(bearer(login))).not.toBe(first)
  })

  it('for one session only', async () => {
    const kit = await openGateway()
    const [alice, bob, again] = [await kit.login(), await kit.login('bob'), await kit.login()]
    const tokens = new Set([
      await kit.tokenOf(bearer(alice)),
      await kit.tokenOf(bearer(bob)),
      await kit.tokenOf(bearer(again)),
      await kit.tokenOf({ cookie: alice.sessionCookie }),
      await kit.tokenOf({ cookie: bob.sessionCookie }),
    ])
    expect(tokens.size).toBe(5)
    expect((await kit.claimsOf(bearer(bob))).sub).toBe('bob')
  })

  it('and never gives a narrow token of a session what a wide one says', async () => {
    const kit = await openGateway(undefined, undefined, { options: { authenticate: () => DORA } })
    const login = await kit.login()
    const [header = {}, payload = {}] = login.access.split('.').map(decodeJson)
    const actor = { sub: 'billing', act: { sub: 'cron' } }
    const narrow = forge(
      header,
      { ...payload, jti: 'narrow', scope: 'orders:read', act: actor, client_id: 'billing' },
      halves(SIGNING_KEY).privateKey,
    )
    const wide = await kit.claimsOf(bearer(login))
    const said = await kit.claimsOf({ authorization: `Bearer ${narrow}` })
    expect(wide).toMatchObject({ scope: DORA.scope, actor: null, clientId: null })
    expect(said).toMatchObject({ scope: ['orders:read'], actor, clientId: 'billing' })
    expect(await kit.claimsOf(bearer(login))).toMatchObject({ scope: DORA.scope, actor: null })
  })

  it('for one audience only', async () => {
    const kit = await openGateway(undefined, undefined, {
      routes: (app, latchkey) =>
        app.use(
          '/stock',
          latchkey.requireJwt(),
          latchkey.forwardIdentity({ audience: 'https://stock.internal' }),
          showHeaders,
        ),
    })
    const login = await kit.login()
    const orders = await kit.tokenOf(bearer(login))
    const res = await request(kit.server).get('/stock').set(bearer(login))
    const [, stock = ''] = (res.body as Views).headers['authorization']?.split(' ') ?? []
    expect(stock).not.toBe(orders)
    await expect(kit.verifier.verify(stock)).rejects.toMatchObject({ code: 'token_invalid' })
  })

  it('no longer than the attributes stay as they are', async () => {
    const kit = await openGateway()
    const login = await kit.login()
    const cookie = login.sessionCookie
    expect((await kit.claimsOf({ cookie })).roles).toEqual([])
    await kit.latchkey.sessions.update(login.sid, { roles: ['buyer'] })
    const after = await kit.claimsOf({ cookie })
    expect(after).toMatchObject({ roles: ['buyer'], ver: 1 })
    // The access token is older than the change.
    expect((await kit.send(bearer(login))).body).toMatchObject({ code: 'token_stale' })
  })

  it('but gives it to nobody once the session has ended', async () => {
    const kit = await openGateway()
    const login = await kit.login()
    await kit.tokenOf(bearer(login))
    await kit.latchkey.sessions.revoke(login.sid)
    const res = await kit.send(bearer(login))
    expect(res.status).toBe(401)
    expect(res.body).toMatchObject({ code: 'session_revoked' })
  })

  it.each([
    [
      'session_revoked',
      'access',
      async (kit: TestKit, sid: string) => kit.latchkey.sessions.revoke(sid),
    ],
    [
      'session_revoked',
      'session',
      async (kit: TestKit, sid: string) => kit.latchkey.sessions.revoke(sid),
    ],
    [
      'token_stale',
      'access',
      async (kit: TestKit, sid: string) => kit.latchkey.sessions.update(sid, { roles: ['buyer'] }),
    ],
    [
      'token_stale',
      'session',
      async (kit: TestKit, sid: string) => kit.latchkey.sessions.update(sid, { roles: ['buyer'] }),
    ],
  ] as const)(
    'and looks at the feed after the guard has: %s, %s token',
    async (code, kind, change) => {
      let meanwhile = async (): Promise<unknown> => undefined
      const kit = await openGateway(undefined, (latchkey) => [
        latchkey.hybridGuard({ sample: 0 }),
        async (_req, _res, next) => {
          await meanwhile()
          next()
        },
      ])
      const login = await kit.login()
      const credential = kind === 'access' ? bearer(login) : { cookie: login.sessionCookie }
      await kit.tokenOf(credential)
      meanwhile = async () => change(kit, login.sid)
      const res = await kit.send(credential)
      expect(res.status).toBe(401)
      expect(res.body).toMatchObject({ code })
    },
  )

  it('no longer than its key is there', async () => {
    const kit = await openGateway(undefined, undefined, {
      options: { signingKeys: managedKeys({ alg: 'ES256' }) },
    })
    const { sessionCookie: cookie } = await kit.login()
    const kidOf = (token: string) => decodeJson(token.split('.')[0] ?? '')['kid']
    const before = await kit.tokenOf({ cookie })
    expect(await kit.tokenOf({ cookie })).toBe(before)
    await kit.latchkey.keys.retire(String(kidOf(before)))
    expect(kidOf(await kit.tokenOf({ cookie }))).not.toBe(kidOf(before))
  })
})

describe('forwardIdentity while the key cannot sign', () => {
  /** A key in a KMS that can be away. */
  function openKms() {
    const { privateKey, publicKey } = halves(SIGNING_KEY)
    const kms = { away: false, calls: 0 }
    const key: SigningKeyInput = {
      alg: 'ES256',
      kid: SIGNING_KEY.kid,
      publicKey: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      sign: async (data) => {
        kms.calls++
        if (kms.away) throw new Error('the KMS is away')
        return signAs('ES256', privateKey, Buffer.from(data).toString('latin1'))
      },
    }
    return { kms, key }
  }

  it('is 503, and nothing of what the client said goes on', async () => {
    const { kms, key } = openKms()
    let passed = 0
    const kit = await openKit({
      options: { signingKeys: [key] },
      routes: (app, latchkey) =>
        app.use(
          '/orders',
          latchkey.requireJwt(),
          latchkey.forwardIdentity({ audience: AUDIENCE }),
          (_req, res) => {
            passed++
            res.end()
          },
        ),
    })
    const { bearer: authorization } = await kit.login()
    kms.away = true
    const res = await request(kit.server).get('/orders').set({ authorization })
    expect([res.status, res.body]).toEqual([
      503,
      expect.objectContaining({ code: 'signing_unavailable' }),
    ])
    expect(res.get('Retry-After')).toBe('1')
    expect(passed).toBe(0)
    kms.away = false
    expect((await request(kit.server).get('/orders').set({ authorization })).status).toBe(200)
  })

  it('goes on with the tokens that it remembers', async () => {
    const { kms, key } = openKms()
    const kit = await openGateway(undefined, undefined, { options: { signingKeys: [key] } })
    const login = await kit.login()
    const token = await kit.tokenOf(bearer(login))
    kms.away = true
    const { calls } = kms
    expect(await kit.tokenOf(bearer(login))).toBe(token)
    expect(kms.calls).toBe(calls)
  })
})

describe('plain headers of forwardIdentity', () => {
  it('say what the app makes of the user, and nothing where it has nothing to say', async () => {
    const kit = await openGateway(
      {
        headers: {
          'X-User-Id': (auth) => auth.userId,
          'x-tenant': (auth) => auth.tenant || undefined,
          'x-roles': (auth) => auth.roles,
          'x-plan': (auth) => auth.claims['plan'],
          'x-checked': (auth) => auth.checked,
          'x-none': () => null,
        },
      },
      undefined,
      { options: { authenticate: () => ({ ...DORA, roles: ['a,b', 'c'] }) } },
    )
    const { headers } = (await kit.send(bearer(await kit.login()))).body as Views
    expect(headers).toMatchObject({
      'x-user-id': 'dora',
      'x-tenant': 'acme',
      'x-roles': 'a%2Cb,c',
      'x-plan': 'pro',
      'x-checked': 'false',
    })
    expect(headers).not.toHaveProperty('x-none')
    expect(headers).not.toHaveProperty('authorization')
  })

  it('carry any user’s name, whole and on one line', async () => {
    const name = ' Zoë, 100 %\u2028\u{1f511}"; x=1 '
    const kit = await openGateway({ headers: { 'x-user-id': (auth) => auth.userId } }, undefined, {
      options: { authenticate: () => ({ id: name }) },
    })
    const { raw } = (await kit.send(bearer(await kit.login()))).body as Views
    const value = raw[raw.indexOf('x-user-id') + 1] ?? ''
    expect(value).toMatch(/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/)
    expect(value).not.toContain(',')
    expect(decodeURIComponent(value)).toBe(name)
  })

  it.each<[string, () => never]>([
    [
      'throws',
      () => {
        throw new Error('hook')
      },
    ],
    ['gives an object', () => ({ admin: true }) as never],
    ['gives a promise', () => Promise.resolve('x') as never],
    ['gives a list in a list', () => [['x']] as never],
    ['gives half a character', () => '\ud800' as never],
    ['gives too much', () => 'x'.repeat(5000) as never],
  ])('are a 500 that goes nowhere when the app %s', async (_what, read) => {
    const kit = await openGateway({ headers: { 'x-user-id': read } })
    const res = await kit.send(bearer(await kit.login()))
    expect(res.status).toBe(500)
    expect(res.body).toMatchObject({ code: 'internal_error' })
    const failure = kit.events.find(({ type }) => type === 'hook_failure')
    expect(failure).toMatchObject({ cause: 'forwardIdentity.headers' })
    expect(failure?.error).toBeInstanceOf(Error)
  })
})

describe('forwardIdentity without anybody', () => {
  const spoofed = { 'x-user-id': 'root', 'x-forwarded-user': 'root', cookie: 'theme=dark' }

  it('puts nothing in after an optional guard', async () => {
    const kit = await openGateway(undefined, (latchkey) => [
      latchkey.requireJwt({ optional: true }),
    ])
    const { headers, distinct, raw } = (await kit.send(spoofed)).body as Views
    expect(headers).toMatchObject({ cookie: 'theme=dark' })
    expect(headers).not.toHaveProperty('authorization')
    expect(JSON.stringify([headers, distinct, raw])).not.toContain('root')
  })

  it('is 500 without a guard before it', async () => {
    const kit = await openGateway(undefined, () => [])
    const res = await kit.send(bearer(await kit.login()))
    expect(res.status).toBe(500)
    expect(typesOf(kit)).toContain('hook_failure')
  })

  it('does not take another kit’s guard for one of its own', async () => {
    const other = createLatchkey({ issuer: ISSUER, secrets: [SECRET], signingKeys: [SIGNING_KEY] })
    const kit = await openGateway(undefined, () => [other.requireJwt({ optional: true })])
    const res = await kit.send({})
    await other.close()
    expect(res.status).toBe(500)
  })

  it('passes on no credential that a browser sent for nothing', async () => {
    const kit = await openGateway(undefined, (latchkey) => [
      latchkey.requireJwt({ optional: true }),
    ])
    const login = await kit.login()
    const { headers } = (await kit.send({ cookie: `${login.cookie}; a=1` })).body as Views
    expect(headers['cookie']).toBe('a=1')
  })
})

describe('forwardIdentity keeps credentials when it is told to', () => {
  it('all of them with a header of its own', async () => {
    const kit = await openGateway({
      audience: AUDIENCE,
      header: 'x-identity',
      dangerouslyKeepCredentials: true,
    })
    const login = await kit.login()
    const sent = { ...bearer(login), cookie: login.cookie }
    expect((await kit.send(sent)).body).toMatchObject({ headers: sent })
  })

  it('but never Authorization beside its own', async () => {
    const kit = await openGateway({ audience: AUDIENCE, dangerouslyKeepCredentials: true })
    const login = await kit.login()
    const { headers, raw } = (await kit.send({ ...bearer(login), cookie: login.cookie }))
      .body as Views
    expect(headers['cookie']).toBe(login.cookie)
    expect(JSON.stringify([headers, raw])).not.toContain(login.access)
  })
})

describe('forwardIdentity options', () => {
  const kit = createLatchkey({
    issuer: ISSUER,
    audience: [ISSUER, 'https://api.example'],
    secrets: [SECRET],
    signingKeys: [generateSigningKey()],
    store: memoryStore(),
  })
  afterAll(async () => kit.close())
  const userId = () => 'x'

  it.each<[string, unknown]>([
    ['forwardIdentity', undefined],
    ['forwardIdentity', null],
    ['forwardIdentity', {}],
    ['forwardIdentity', { audience: AUDIENCE, headers: { 'x-user-id': userId } }],
    ['forwardIdentity.audience', { audience: '' }],
    ['forwardIdentity.audience', { audience: [AUDIENCE] }],
    ['forwardIdentity.audience', { audience: 'https://api.example' }],
    ['forwardIdentity.audiences', { audiences: AUDIENCE }],
    ['forwardIdentity.header', { audience: AUDIENCE, header: 'x_identity' }],
    ['forwardIdentity.header', { audience: AUDIENCE, header: 'Connection' }],
    ['forwardIdentity.header', { audience: AUDIENCE, header: 'x\r\ny' }],
    ['forwardIdentity.header', { audience: AUDIENCE, header: 7 }],
    ['forwardIdentity.headers', { headers: {} }],
    ['forwardIdentity.headers', { headers: [userId] }],
    ['forwardIdentity.headers', { headers: 'x-user-id' }],
    ['forwardIdentity.headers', { headers: { 'x-user-id': userId, 'X-User-Id': userId } }],
    ['forwardIdentity.headers.cookie', { headers: { cookie: userId } }],
    ['forwardIdentity.headers.x-user-id', { headers: { 'x-user-id': 'alice' } }],
    ['forwardIdentity.strip', { audience: AUDIENCE, strip: 'x-role' }],
    ['forwardIdentity.strip', { audience: AUDIENCE, strip: ['host'] }],
    [
      'forwardIdentity.dangerouslyKeepCredentials',
      { audience: AUDIENCE, dangerouslyKeepCredentials: 1 },
    ],
  ])('are refused at start when wrong: %s of %j', (option, options) => {
    expect(() => kit.forwardIdentity(options as never)).toThrow(
      expect.objectContaining({ code: 'invalid_option', option }),
    )
  })

  it('belong to a call', () => {
    const { forwardIdentity } = kit
    expect(() => Reflect.get(forwardIdentity, 'handle')).toThrow('is a factory')
  })
})
