import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { createAccessTokenVerifier } from '../../lib/access-token-verifier.ts'
import { parseSigningKeys } from '../../lib/signing-keys.ts'
import type { AuthRequestOptions, Guard } from '../../middleware/index.ts'
import { createLatchkey } from '../../middleware/index.ts'
import type { TestClaims, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  ISSUER,
  MINUTE,
  NOW,
  openKit,
  SECRET,
  sendRaw,
  SIGNING_KEY,
} from '../support/kit.ts'

const AUDIENCE = 'https://orders.internal'

afterEach(closeKits)

async function openGate(
  options: Partial<AuthRequestOptions<TestClaims>> = {},
  guard: (latchkey: TestKit['latchkey']) => Guard = (latchkey) =>
    latchkey.hybridGuard({ sample: 0 }),
  kitOptions: TestOptions = {},
): Promise<TestKit> {
  return openKit({
    options: kitOptions,
    routes(app, latchkey) {
      const given = { guard: guard(latchkey), audience: AUDIENCE, ...options }
      app.all('/check', latchkey.authRequest(given as AuthRequestOptions<TestClaims>))
    },
  })
}

function ask(kit: TestKit, headers: Record<string, string>, method = 'GET'): request.Test {
  return request(kit.server)
    .get('/check')
    .set({ host: 'app.example', 'x-original-method': method, ...headers })
}

describe('authRequest', () => {
  it('answers 204 with a token for the service, and keeps it out of caches', async () => {
    const kit = await openGate()
    const login = await kit.login()
    const res = await ask(kit, { authorization: login.bearer })
    expect(res.status).toBe(204)
    expect(res.get('Cache-Control')).toBe('no-store')
    const verifier = createAccessTokenVerifier({
      issuer: ISSUER,
      audience: [AUDIENCE],
      keys: parseSigningKeys([SIGNING_KEY]),
      maxLifetimeMs: MINUTE,
      clockSkewMs: 0,
      clock: () => NOW,
    })
    const claims = await verifier.verify((res.get('Authorization') ?? '').replace('Bearer ', ''))
    expect(claims).toMatchObject({ sub: 'alice', sid: login.sid })
  })

  it('answers 204 with plain headers', async () => {
    const headers = { 'x-user-id': (auth: { userId: string }) => auth.userId }
    const kit = await openGate({ audience: undefined, headers })
    const res = await ask(kit, { authorization: (await kit.login()).bearer })
    expect(res.status).toBe(204)
    expect(res.get('X-User-Id')).toBe('alice')
    expect(res.get('Authorization')).toBeUndefined()
  })

  it('answers 204 with nothing for nobody', async () => {
    const kit = await openGate({}, (latchkey) => latchkey.requireJwt({ optional: true }))
    const res = await ask(kit, {})
    expect(res.status).toBe(204)
    expect(res.get('Authorization')).toBeUndefined()
    expect(res.get('Cache-Control')).toBe('no-store')
  })

  it('answers as the guard does, and says the code in a header too', async () => {
    const kit = await openGate()
    const res = await ask(kit, {})
    expect(res.status).toBe(401)
    expect(res.get('WWW-Authenticate')).toBe('Bearer')
    expect(res.get('Latchkey-Code')).toBe('credentials_missing')
    expect(res.body).toMatchObject({ code: 'credentials_missing' })
  })

  it('says the code beside an answer of the app’s own', async () => {
    const kit = await openGate({}, undefined, {
      onError: (error, _req, res) => void res.status(418).json({ mine: error.code }),
    })
    const res = await ask(kit, {})
    expect(res.status).toBe(418)
    expect(res.get('Latchkey-Code')).toBe('credentials_missing')
  })

  it('says the code nowhere else', async () => {
    const kit = await openGate()
    const res = await request(kit.server).get('/jwt')
    expect(res.status).toBe(401)
    expect(res.get('Latchkey-Code')).toBeUndefined()
  })

  it('sets no cookie and clears none', async () => {
    const kit = await openGate()
    const login = await kit.login()
    const good = await ask(kit, { cookie: login.cookie })
    await kit.latchkey.sessions.revoke(login.sid)
    const bad = await ask(kit, { cookie: login.cookie })
    expect([good.status, bad.status]).toEqual([204, 401])
    expect([good.get('Set-Cookie'), bad.get('Set-Cookie')]).toEqual([undefined, undefined])
  })
})

describe('the method that authRequest goes by', () => {
  const evil = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }

  it.each(['POST', 'PUT', 'PATCH', 'DELETE', 'get', 'PURGE', 'M-SEARCH'])(
    'is the original one: a cookie does not let %s pass from another origin',
    async (method) => {
      const kit = await openGate()
      const { sessionCookie: cookie } = await kit.login()
      const res = await ask(kit, { cookie, ...evil }, method)
      expect(res.status).toBe(403)
      expect(res.get('Latchkey-Code')).toBe('cross_origin')
      expect((await ask(kit, { cookie, origin: ISSUER }, method)).status).toBe(204)
    },
  )

  it.each(['GET', 'HEAD', 'OPTIONS'])('lets %s pass from anywhere', async (method) => {
    const kit = await openGate()
    const { sessionCookie: cookie } = await kit.login()
    expect((await ask(kit, { cookie, ...evil }, method)).status).toBe(204)
  })

  it.each([
    ['missing', []],
    ['empty', ['X-Original-Method:']],
    ['there twice', ['X-Original-Method: GET', 'X-Original-Method: POST']],
    ['no token', ['X-Original-Method: GE T']],
    ['too long', [`X-Original-Method: ${'X'.repeat(33)}`]],
    ['in another header', ['X-Forwarded-Method: GET']],
  ])('must be said by the proxy, else it is 500 and an event: %s', async (_what, headers) => {
    const kit = await openGate()
    const { bearer } = await kit.login()
    const all = [`Authorization: ${bearer}`, ...headers]
    const { status, head } = await sendRaw(kit.port, 'GET /check', all)
    expect(status).toBe(500)
    expect(head).not.toMatch(/^authorization:/im)
    expect(kit.events).toContainEqual(
      expect.objectContaining({ type: 'hook_failure', error: expect.any(Error) }),
    )
  })

  it('is in the header that the app names', async () => {
    const kit = await openGate({ methodHeader: 'X-Forwarded-Method' })
    const { sessionCookie: cookie } = await kit.login()
    const send = async (method: string) =>
      ask(kit, { cookie, ...evil, 'x-forwarded-method': method }, 'GET')
    expect((await send('POST')).status).toBe(403)
    expect((await send('GET')).status).toBe(204)
  })

  it('cannot be made safe by a header when the question itself is not', async () => {
    const kit = await openGate()
    const { sessionCookie: cookie } = await kit.login()
    const res = await request(kit.server)
      .post('/check')
      .set({ cookie, ...evil, 'x-original-method': 'GET' })
    expect(res.status).toBe(403)
  })

  it('counts for that question alone', async () => {
    const kit = await openGate()
    const { sessionCookie: cookie } = await kit.login()
    const res = await request(kit.server)
      .post('/session')
      .set({ cookie, ...evil, 'x-original-method': 'GET' })
    expect(res.status).toBe(403)
  })
})

describe('authRequest without a guard of its kit', () => {
  it('is 500 with another kit’s', async () => {
    const other = createLatchkey({ issuer: ISSUER, secrets: [SECRET], signingKeys: [SIGNING_KEY] })
    const kit = await openGate({}, () => other.requireJwt({ optional: true }))
    const res = await ask(kit, {})
    await other.close()
    expect(res.status).toBe(500)
    expect(res.get('Latchkey-Code')).toBe('internal_error')
  })

  it('is 500 with none at all', async () => {
    const kit = await openGate({}, () => async (_req, _res, next) => next())
    expect((await ask(kit, {})).status).toBe(500)
  })

  it('leaves an error to Express', async () => {
    const kit = await openGate({}, () => async (_req, _res, next) => next(new Error('guard')))
    expect((await ask(kit, {})).status).toBe(500)
  })

  it.each<[string, unknown]>([
    ['authRequest', undefined],
    ['authRequest.guard', { audience: AUDIENCE }],
    ['authRequest.guard', { audience: AUDIENCE, guard: {} }],
    ['authRequest', { guard: () => undefined }],
    [
      'authRequest.methodHeader',
      { audience: AUDIENCE, guard: () => undefined, methodHeader: 'x_m' },
    ],
    ['authRequest.gaurd', { audience: AUDIENCE, gaurd: () => undefined }],
    ['authRequest.audience', { audience: ISSUER, guard: () => undefined }],
  ])('refuses wrong options at start: %s of %j', async (option, options) => {
    const { latchkey } = await openKit()
    expect(() => latchkey.authRequest(options as never)).toThrow(
      expect.objectContaining({ code: 'invalid_option', option }),
    )
  })
})
