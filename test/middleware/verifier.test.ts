import { createServer } from 'node:http'
import { afterEach, describe, expect, it } from '@jest/globals'
import express from 'express'
import request from 'supertest'
import type { ConfigError } from '../../lib/errors.ts'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import type {
  Verifier,
  VerifierEvent,
  VerifierGuardOptions,
  VerifierOptions,
} from '../../middleware/verifier/index.ts'
import { AuthError, createVerifier, problemOf } from '../../middleware/verifier/index.ts'
import { AUDIENCE, ISSUER, NOW, testClaims } from '../support/access-tokens.ts'
import { forge, halves } from '../support/forge.ts'
import type { JwksServer } from '../support/jwks-server.ts'
import { startJwksServer } from '../support/jwks-server.ts'
import { closeKits, echo, sendRaw } from '../support/kit.ts'
import { listen } from '../support/kit.ts'

const jwk = generateSigningKey()
const { privateKey } = halves(jwk)
const { jwks } = parseSigningKeys([jwk])
const header = { alg: 'ES256', typ: 'at+jwt', kid: jwk.kid }

function token(changes: Record<string, unknown> = {}): string {
  return forge(header, testClaims(changes), privateKey)
}

const valid = token()
const stranger = forge(header, testClaims(), halves(generateSigningKey()).privateKey)

const open = new Set<{ close(): unknown }>()

afterEach(async () => {
  await closeKits()
  await Promise.all([...open].map(async (one) => one.close()))
  open.clear()
})

type Setup = Partial<VerifierOptions> & { readonly guard?: VerifierGuardOptions }

/** A service with one route behind `requireJwt`. */
async function openService({ guard, ...options }: Setup = {}) {
  const at = { now: NOW }
  const events: VerifierEvent[] = []
  const verifier = createVerifier({
    issuer: ISSUER,
    audience: AUDIENCE[0],
    jwks,
    clock: () => at.now,
    onEvent: (event) => events.push(event),
    ...options,
  })
  open.add(verifier)
  const app = express()
  app.get('/', verifier.requireJwt(guard), echo)
  app.get('/who', verifier.requireJwt(), (req, res) => {
    res.json(verifier.getAuth(req))
  })
  const { server, port } = await listen(app)
  const get = (text: string | null = valid) =>
    text === null
      ? request(server).get('/')
      : request(server).get('/').set('Authorization', `Bearer ${text}`)
  return { verifier, app, server, port, at, events, get }
}

async function openJwks(): Promise<JwksServer> {
  const server = await startJwksServer()
  open.add(server)
  server.publish(jwks.keys)
  return server
}

describe('requireJwt of a verifier', () => {
  it('lets pass who has a good token, with req.auth as the kit has it', async () => {
    const { server } = await openService()
    const full = token({
      tenant: 'acme',
      roles: ['admin'],
      scope: 'read write',
      acr: 'mfa',
      plan: 'pro',
    })
    const res = await request(server).get('/who').set('Authorization', `bearer ${full}`)
    expect(res.status).toBe(200)
    expect(res.headers['cache-control']).toBe('no-store')
    expect(res.body).toEqual({
      kind: 'jwt',
      userId: 'alice',
      sessionId: 'a-sid',
      tenant: 'acme',
      roles: ['admin'],
      scope: ['read', 'write'],
      level: 'mfa',
      authTime: NOW,
      claims: { plan: 'pro' },
      checked: false,
    })
  })

  it('answers 401 without an error attribute when no credentials came (RFC 6750 §3)', async () => {
    const { get } = await openService()
    const res = await get(null)
    expect(res.status).toBe(401)
    expect(res.headers['www-authenticate']).toBe('Bearer')
    expect(res.headers['content-type']).toBe('application/problem+json; charset=utf-8')
    expect(res.headers['cache-control']).toBe('no-store')
    expect(JSON.parse(res.text)).toMatchObject({
      type: 'about:blank',
      title: 'Unauthorized',
      status: 401,
      code: 'credentials_missing',
    })
  })

  it.each([
    ['forged', stranger, 'token_invalid'],
    ['of another issuer', token({ iss: `${ISSUER}/` }), 'token_invalid'],
    ['for somebody else', token({ aud: 'https://other.example' }), 'token_invalid'],
    ['for the issuer itself', token({ aud: ISSUER }), 'token_invalid'],
    ['of a longer life than the kit gives', token({ exp: NOW / 1000 + 901 }), 'token_invalid'],
    ['over', token({ iat: NOW / 1000 - 900, exp: NOW / 1000 - 30 }), 'token_expired'],
    [
      'without kid',
      forge({ alg: 'ES256', typ: 'at+jwt' }, testClaims(), privateKey),
      'token_invalid',
    ],
    [
      'of an unknown kid',
      forge({ ...header, kid: 'x' }, testClaims(), privateKey),
      'token_invalid',
    ],
    [
      'of the wrong type',
      forge({ ...header, typ: 'JWT' }, testClaims(), privateKey),
      'token_invalid',
    ],
    [
      'with a key of its own',
      forge({ ...header, jwk: jwks.keys[0] }, testClaims(), privateKey),
      'token_invalid',
    ],
    ['no token', 'x', 'token_invalid'],
  ])('answers 401 to a token that is %s', async (_what, text, code) => {
    const { get } = await openService()
    const res = await get(text)
    expect([res.status, JSON.parse(res.text).code]).toEqual([401, code])
    expect(res.headers['www-authenticate']).toMatch(/^Bearer error="invalid_token", error_desc/)
  })

  it('takes the last half minute for a difference of clocks', async () => {
    const { get, at } = await openService()
    at.now = NOW + 929_999
    expect((await get()).status).toBe(200)
    at.now = NOW + 930_000
    expect((await get()).status).toBe(401)
  })

  it('reads neither cookies nor query strings, and no other scheme', async () => {
    const { server } = await openService()
    const asked = request(server)
    const cookie = `__Host-latchkey-access=${valid}; latchkey-access=${valid}`
    expect((await asked.get('/').set('Cookie', cookie)).status).toBe(401)
    expect((await asked.get(`/?access_token=${valid}`)).status).toBe(401)
    expect((await asked.get('/').set('Authorization', `Session ${valid}`)).status).toBe(401)
    expect((await asked.get('/').set('Authorization', valid)).status).toBe(401)
  })

  it('answers 400 to two Authorization headers', async () => {
    const { port } = await openService()
    const line = `Authorization: Bearer ${valid}`
    const { status, head } = await sendRaw(port, 'GET /', [line, line])
    expect(status).toBe(400)
    expect(head).toMatch(/www-authenticate: Bearer error="invalid_request"/i)
  })

  it.each<[string, VerifierGuardOptions, Record<string, unknown>, number, string]>([
    ['a role', { roles: ['admin'] }, { roles: ['user'] }, 403, 'forbidden'],
    ['a scope', { scope: ['a', 'b'] }, { scope: 'a' }, 403, 'insufficient_scope'],
    ['a level', { level: 'mfa' }, { acr: 'pwd' }, 401, 'step_up_required'],
    ['a whole login', {}, { acr: 'partial' }, 401, 'step_up_required'],
    [
      'a fresh login',
      { maxAuthAge: '1m' },
      { auth_time: NOW / 1000 - 61 },
      401,
      'step_up_required',
    ],
    ['a condition', { check: () => false }, {}, 403, 'forbidden'],
    ['a condition that is only truthy', { check: () => 1 as never }, {}, 403, 'forbidden'],
  ])('refuses who lacks %s', async (_what, guard, claims, status, code) => {
    const { get, events } = await openService({ guard })
    const res = await get(token(claims))
    expect([res.status, JSON.parse(res.text).code]).toEqual([status, code])
    expect(events).toMatchObject([
      { type: 'authz_fail', cause: code, user: { id: 'alice' }, sessionId: 'a-sid' },
    ])
  })

  it('says who acted for the user that was refused', async () => {
    const { get, events } = await openService({ guard: { roles: ['admin'] } })
    await get(token({ client_id: 'orders', act: { sub: 'orders' } }))
    expect(events).toMatchObject([{ user: { id: 'alice' }, detail: { service: 'orders' } }])
  })

  it.each<[VerifierGuardOptions, Record<string, unknown>]>([
    [{ roles: ['admin', 'ops'] }, { roles: ['ops'] }],
    [{ scope: ['a', 'b'] }, { scope: 'c b a' }],
    [{ level: ['mfa', 'hw'] }, { acr: 'hw' }],
    [{ maxAuthAge: '1m' }, { auth_time: NOW / 1000 - 60 }],
    [{ check: async (auth) => auth.userId === 'alice' }, {}],
  ])('lets pass who has what %j asks', async (guard, claims) => {
    const { get } = await openService({ guard })
    expect((await get(token(claims))).status).toBe(200)
  })

  const service = forge(
    header,
    {
      iss: ISSUER,
      aud: AUDIENCE[0],
      sub: 'billing',
      client_id: 'billing',
      scope: 'read',
      iat: NOW / 1000,
      exp: NOW / 1000 + 300,
      jti: 'a-service-jti',
    },
    privateKey,
  )

  it.each<[VerifierGuardOptions, number, string]>([
    [{}, 403, 'forbidden'],
    [{ services: true, level: 'mfa' }, 403, 'forbidden'],
    [{ services: true, maxAuthAge: '1d' }, 403, 'forbidden'],
    [{ services: true, scope: ['write'] }, 403, 'insufficient_scope'],
  ])('refuses the token of a service where the guard has %j', async (guard, status, code) => {
    const { get, events } = await openService({ guard })
    const res = await get(service)
    expect([res.status, JSON.parse(res.text).code]).toEqual([status, code])
    expect(events).toMatchObject([{ type: 'authz_fail', detail: { service: 'billing' } }])
    expect(events[0]).not.toHaveProperty('user')
  })

  it('takes the token of a service where it is told to', async () => {
    const { get } = await openService({ guard: { services: true, scope: ['read'] } })
    const res = await get(service)
    expect([res.status, res.body]).toMatchObject([200, { kind: 'service', user: '', sid: '' }])
  })

  it('answers 500 when a condition throws, and tells the cause to onEvent only', async () => {
    const error = new Error('database of the app')
    const { get, events } = await openService({
      guard: { check: () => Promise.reject(error) },
    })
    const res = await get()
    expect(res.status).toBe(500)
    expect(res.text).not.toContain('database')
    expect(events).toMatchObject([{ type: 'hook_failure', cause: 'check', error }])
  })

  it('lets nobody pass as nobody when it is optional, and still refuses a bad token', async () => {
    const { get } = await openService({ guard: { optional: true } })
    expect((await get(null)).body).toEqual({ passed: true, auth: null })
    expect((await get(stranger)).status).toBe(401)
    expect((await get()).body).toMatchObject({ user: 'alice' })
  })

  it('hands refusals to onError instead', async () => {
    const { get } = await openService({
      onError: (error, _req, res) => void res.status(418).json({ code: error.code }),
    })
    const res = await get(stranger)
    expect([res.status, res.body]).toEqual([418, { code: 'token_invalid' }])
  })

  it('is found out when it was not called', () => {
    const verifier = createVerifier({ issuer: ISSUER, audience: ISSUER, jwks })
    expect(() => express().use(verifier.requireJwt as never)).toThrow(/requireJwt\(\)/)
  })

  it('takes only what it can judge', () => {
    const { requireJwt } = createVerifier({ issuer: ISSUER, audience: ISSUER, jwks })
    expect(() => requireJwt({ bindDevice: true } as never)).toThrow(/bindDevice is not an option/)
    expect(() => requireJwt({ role: ['x'] } as never)).toThrow(/did you mean "roles"/)
  })
})

describe("a service's own token at a verifier", () => {
  const own = token({
    sub: 'billing',
    client_id: 'billing',
    scope: 'orders:read',
    ...Object.fromEntries(
      ['sid', 'gen', 'ver', 'auth_time', 'tenant', 'roles', 'amr', 'acr'].map((name) => [
        name,
        undefined,
      ]),
    ),
  })

  it('is 403 where the guard was not told of services, optional or not', async () => {
    for (const guard of [{}, { optional: true }]) {
      const { get, events } = await openService({ guard })
      const res = await get(own)
      expect([res.status, res.body]).toEqual([403, expect.objectContaining({ code: 'forbidden' })])
      expect(events.at(-1)).toMatchObject({ type: 'authz_fail', detail: { service: 'billing' } })
    }
  })

  it('passes where it was, as no user', async () => {
    const { get } = await openService({ guard: { services: true, scope: ['orders:read'] } })
    const res = await get(own)
    expect([res.status, res.body]).toEqual([
      200,
      expect.objectContaining({ kind: 'service', user: '' }),
    ])
  })

  it.each([{ level: 'mfa' }, { maxAuthAge: '5m' as const }, { roles: ['admin'] }])(
    'is 403 all the same where only a person can pass: %j',
    async (guard) => {
      const { get } = await openService({ guard: { services: true, ...guard } })
      expect((await get(own)).status).toBe(403)
    },
  )
})

describe('getAuth', () => {
  it('throws where no guard of this verifier was', async () => {
    const { verifier } = await openService()
    expect(() => verifier.getAuth({} as never)).toThrow(/no guard/)
  })
})

describe('verify', () => {
  it('gives the claims, without a request', async () => {
    const { verifier } = await openService()
    await expect(verifier.verify(token({ plan: 'pro' }))).resolves.toMatchObject({
      sub: 'alice',
      sid: 'a-sid',
      jti: 'a-jti',
      expiresAtMs: NOW + 900_000,
      claims: { plan: 'pro' },
    })
  })

  it('rejects what is not good with an error that problemOf turns into an answer', async () => {
    const { verifier } = await openService()
    const error: unknown = await verifier.verify(stranger).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'token_invalid', status: 401 })
    if (!(error instanceof AuthError)) throw error
    const { status, headers, body } = problemOf(error, 'Bearer')
    expect(status).toBe(401)
    expect(headers['WWW-Authenticate']).toMatch(/^Bearer error="invalid_token"/)
    expect(JSON.parse(body)).toMatchObject({ code: 'token_invalid' })
    await expect(verifier.verify(undefined as never)).rejects.toMatchObject({ status: 401 })
  })
})

describe('keys by URL', () => {
  it('are had with the first token, and kept', async () => {
    const server = await openJwks()
    const { get, verifier } = await openService({ jwks: server.url })
    expect(verifier.health()).toEqual({
      ok: false,
      keys: { count: 0, age_ms: null, failing: false },
      feed: null,
    })
    expect((await get()).status).toBe(200)
    expect((await get()).status).toBe(200)
    expect((await get(stranger)).status).toBe(401)
    expect(server.asked()).toBe(1)
    expect(verifier.health()).toMatchObject({ ok: true, keys: { count: 1, age_ms: 0 } })
  })

  it('are had before the first token by ready()', async () => {
    const server = await openJwks()
    const { verifier } = await openService({ jwks: server.url })
    await verifier.ready()
    expect(verifier.health().ok).toBe(true)
  })

  it('that cannot be had are 503 with Retry-After, also where the guard is optional', async () => {
    const server = await openJwks()
    server.answer = (_req, res) => res.writeHead(500).end()
    const { get, verifier, events } = await openService({
      jwks: server.url,
      guard: { optional: true },
    })
    const res = await get()
    expect(res.status).toBe(503)
    expect(res.headers['retry-after']).toBe('1')
    expect(JSON.parse(res.text)).toMatchObject({ code: 'keys_unavailable' })
    expect(events).toMatchObject([{ type: 'keys_failure', result: 'failure' }])
    expect(verifier.health()).toMatchObject({ ok: false, keys: { failing: true } })
    expect((await get('malformed')).status).toBe(401)
  })

  it('go on from the last good set while the issuer is down, and health says so', async () => {
    const server = await openJwks()
    const { get, verifier, at } = await openService({ jwks: server.url, accessTokenTtl: '1d' })
    const long = token({ exp: NOW / 1000 + 86_400 })
    expect((await get(long)).status).toBe(200)
    await server.close()
    at.now += 3_600_000
    expect((await get(long)).status).toBe(200)
    expect(verifier.health()).toMatchObject({
      ok: true,
      keys: { count: 1, age_ms: 3_600_000, failing: true },
    })
    expect((await get(forge({ ...header, kid: 'new' }, testClaims(), privateKey))).status).toBe(401)
  })

  it('are no longer good when they are gone, also for tokens that were seen before', async () => {
    const server = await openJwks()
    const { get, at, events } = await openService({ jwks: server.url })
    expect((await get()).status).toBe(200)
    server.publish(parseSigningKeys([generateSigningKey()]).jwks.keys)
    at.now += 12 * 60_000
    expect((await get()).status).toBe(401)
    expect(events).toMatchObject([{ type: 'keys_gone' }])
  })

  it('are never fetched from where a token says', async () => {
    const trap = createServer((_req, res) => res.end())
    await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve))
    open.add({ close: async () => new Promise((resolve) => trap.close(resolve)) })
    let asked = 0
    trap.on('request', () => asked++)
    const { port } = trap.address() as { port: number }
    const { get } = await openService()
    for (const name of ['jku', 'x5u']) {
      const evil = { ...header, [name]: `http://127.0.0.1:${port}/` }
      expect((await get(forge(evil, testClaims(), privateKey))).status).toBe(401)
    }
    expect(asked).toBe(0)
  })
})

describe('createVerifier', () => {
  const good = { issuer: ISSUER, audience: ISSUER, jwks }

  it.each<[string, object, string]>([
    ['no issuer', { issuer: undefined }, 'issuer'],
    ['an issuer of http', { issuer: 'http://app.example' }, 'issuer'],
    ['no audience', { audience: undefined }, 'audience'],
    ['an empty audience', { audience: [] }, 'audience'],
    ['no keys', { jwks: undefined }, 'jwks'],
    ['keys by http', { jwks: 'http://app.example/jwks.json' }, 'jwks'],
    ['keys by file', { jwks: 'file:///etc/passwd' }, 'jwks'],
    ['keys by a URL with a password', { jwks: 'https://a:b@app.example/' }, 'jwks'],
    ['keys by a relative URL', { jwks: '/jwks.json' }, 'jwks'],
    ['an empty set of keys', { jwks: { keys: [] } }, 'jwks'],
    ['a private key', { jwks: { keys: [jwk] } }, 'jwks'],
    ['a key that would be ignored', { jwks: { keys: [...jwks.keys, { kid: 'x' }] } }, 'jwks'],
    ['a feed that cannot connect', { feed: { connect: true } as never }, 'feed'],
    ['a feed by its URL', { feed: 'https://app.example/auth/revocations' }, 'feed'],
    ['a life without unit', { accessTokenTtl: 900 }, 'accessTokenTtl'],
    ['another policy', { onStoreFailure: 'pass' }, 'onStoreFailure'],
    ['an onError that is none', { onError: true }, 'onError'],
    ['an onEvent that is none', { onEvent: {} }, 'onEvent'],
    ['an option of the kit', { secrets: [] }, 'secrets'],
  ])('refuses %s', (_what, change, option) => {
    let error: unknown
    try {
      createVerifier({ ...good, ...change })
    } catch (thrown) {
      error = thrown
    }
    expect((error as ConfigError).code).toBe('invalid_option')
    expect((error as ConfigError).option).toBe(option)
  })

  it('takes keys by http on loopback', () => {
    expect(() => createVerifier({ ...good, jwks: 'http://localhost:1/jwks.json' })).not.toThrow()
  })

  it('does not become ready with a key that is none, nor says that a token is bad', async () => {
    const [key] = jwks.keys
    const { get, verifier } = await openService({ jwks: { keys: [{ ...key, y: key?.x }] } })
    await expect(verifier.ready()).rejects.toMatchObject({ code: 'invalid_option', option: 'jwks' })
    expect((await get()).status).toBe(503)
  })

  it('contains what onEvent throws', async () => {
    const { get } = await openService({
      guard: { roles: ['x'] },
      onEvent: () => {
        throw new Error('sink')
      },
    })
    expect((await get()).status).toBe(403)
  })

  it('gives members that stand alone', async () => {
    const made: Verifier = createVerifier(good)
    const { verify, health, close } = made
    await expect(verify('x')).rejects.toMatchObject({ code: 'token_invalid' })
    expect(health().ok).toBe(true)
    await close()
  })
})
