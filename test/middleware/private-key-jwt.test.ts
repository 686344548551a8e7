import { afterEach, describe, expect, it } from '@jest/globals'
import type { KeyObject } from 'node:crypto'
import { createAssertionCheck } from '../../lib/client-assertion.ts'
import type { SigningJwk } from '../../lib/signing-key.ts'
import { generateSigningKey, privateKeyJwt, serviceSecrets } from '../../middleware/index.ts'
import { forge, halves } from '../support/forge.ts'
import type { TestKit } from '../support/kit.ts'
import { closeKits, ISSUER, NOW, spyOn } from '../support/kit.ts'
import { memoryStore } from '../../middleware/index.ts'
import { AS_ORDERS, openServices, ORDERS, postForm } from '../support/token-services.ts'

afterEach(closeKits)

const KEY = generateSigningKey()
const OTHER = generateSigningKey()
const RSA = generateSigningKey('PS256')
const TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const TOKEN_ENDPOINT = `${ISSUER}/auth/token`

function publicHalf({ kid, alg, ...jwk }: SigningJwk): SigningJwk {
  const names = ['kty', 'crv', 'x', 'y', 'n', 'e'] as const
  const members = Object.fromEntries(names.map((name) => [name, jwk[name]]))
  return { ...members, kid, alg, kty: jwk.kty }
}

let count = 0

interface Assertion {
  readonly header?: object
  readonly claims?: object
  readonly key?: KeyObject | Buffer | string
  readonly alg?: string
}

function assertion({ header, claims, key, alg = 'ES256' }: Assertion = {}): string {
  const payload = {
    iss: 'orders',
    sub: 'orders',
    aud: ISSUER,
    exp: NOW / 1000 + 60,
    iat: NOW / 1000,
    jti: `assertion-${++count}`,
    ...claims,
  }
  const whole = header ?? { alg, kid: KEY.kid }
  return forge(whole, payload, key ?? halves(KEY).privateKey, alg)
}

async function open(setup: Parameters<typeof openServices>[0] = {}): Promise<TestKit> {
  const services = [
    serviceSecrets({ billing: ORDERS.hash }),
    privateKeyJwt(
      {
        orders: { jwks: { keys: [publicHalf(KEY)] }, scope: ['stock:read'] },
        stock: { jwks: { keys: [publicHalf(OTHER), publicHalf(RSA)] } },
      },
      { audience: TOKEN_ENDPOINT },
    ),
  ]
  return openServices({ ...setup, options: { services, ...setup.options } })
}

async function statusOf(kit: TestKit, text: string, form: object = {}): Promise<number> {
  const sent = { token: 'x', client_assertion: text, client_assertion_type: TYPE, ...form }
  return (await postForm(kit, '/auth/introspect', sent, null)).status
}

describe('private_key_jwt', () => {
  it('knows a service by its signature, beside other ways', async () => {
    const kit = await open()
    const form = { grant_type: 'client_credentials', client_assertion_type: TYPE }
    const res = await postForm(kit, '/auth/token', { ...form, client_assertion: assertion() }, null)
    expect([res.status, res.body]).toEqual([200, expect.objectContaining({ scope: 'stock:read' })])
    const basic = `Basic ${Buffer.from(`billing:${ORDERS.secret}`).toString('base64')}`
    expect(await postForm(kit, '/auth/introspect', { token: 'x' }, basic)).toMatchObject({
      status: 200,
    })
  })

  it.each<[string, Assertion]>([
    ['without a kid, of its only key', { header: { alg: 'ES256' } }],
    ['with a typ', { header: { alg: 'ES256', kid: KEY.kid, typ: 'client-authentication+jwt' } }],
    ['for the token endpoint', { claims: { aud: TOKEN_ENDPOINT } }],
    ['for both', { claims: { aud: [ISSUER, TOKEN_ENDPOINT] } }],
    ['without iat', { claims: { iat: undefined } }],
  ])('takes an assertion %s', async (_, made) => {
    expect(await statusOf(await open(), assertion(made))).toBe(200)
  })

  it.each<[string, Assertion]>([
    ['of another key', { key: halves(OTHER).privateKey }],
    ['of another service', { claims: { iss: 'stock', sub: 'stock' } }],
    ['about another subject', { claims: { sub: 'stock' } }],
    ['of nobody', { claims: { iss: 'nobody', sub: 'nobody' } }],
    ['of nobody, by its own key', { header: { alg: 'ES256' }, claims: { iss: 'no', sub: 'no' } }],
    ['of a prototype', { claims: { iss: '__proto__', sub: '__proto__' } }],
    ['for another server', { claims: { aud: 'https://evil.example' } }],
    ['for another server too', { claims: { aud: [ISSUER, 'https://evil.example'] } }],
    ['for nobody', { claims: { aud: [] } }],
    ['for an audience that is no text', { claims: { aud: [[ISSUER]] } }],
    ['without an end', { claims: { exp: undefined } }],
    ['that is over', { claims: { exp: NOW / 1000 - 31 } }],
    ['that lives too long', { claims: { exp: NOW / 1000 + 331 } }],
    ['whose end is no instant', { claims: { exp: '9999999999' } }],
    ['of a time to come', { claims: { iat: NOW / 1000 + 31 } }],
    ['that is not good yet', { claims: { nbf: NOW / 1000 + 31 } }],
    ['without jti', { claims: { jti: undefined } }],
    ['with a jti that is no text', { claims: { jti: 7 } }],
    ['of an access token’s type', { header: { alg: 'ES256', kid: KEY.kid, typ: 'at+jwt' } }],
    ['that brings its key', { header: { alg: 'ES256', kid: KEY.kid, jwk: publicHalf(KEY) } }],
    ['with crit', { header: { alg: 'ES256', kid: KEY.kid, crit: ['x'] } }],
    ['with an unknown kid', { header: { alg: 'ES256', kid: 'x' } }],
    ['with a kid that is no text', { header: { alg: 'ES256', kid: [KEY.kid] } }],
    ['of alg none', { header: { alg: 'none', kid: KEY.kid } }],
    ['of an HMAC with the public key', { alg: 'HS256', key: JSON.stringify(publicHalf(KEY)) }],
    [
      'of another algorithm of the key',
      {
        alg: 'RS256',
        header: { alg: 'RS256', kid: RSA.kid },
        key: halves(RSA).privateKey,
        claims: { iss: 'stock', sub: 'stock' },
      },
    ],
    [
      'without a kid, of one of several keys',
      {
        header: { alg: 'ES256' },
        key: halves(OTHER).privateKey,
        claims: { iss: 'stock', sub: 'stock' },
      },
    ],
  ])('refuses an assertion %s, and does not use it up', async (_, made) => {
    const kit = await open()
    expect(await statusOf(kit, assertion(made))).toBe(401)
    expect(kit.spy.inputs.filter((input) => input.startsWith('["limit.take"'))).toEqual([])
  })

  it.each(['x', 'a.b.c', `${assertion()}==`, ` ${assertion()}`, 'a'.repeat(9000)])(
    'refuses what is no assertion: %#',
    async (text) => {
      expect(await statusOf(await open(), text)).toBe(401)
    },
  )

  it('takes an assertion once, on all nodes, also at the same moment', async () => {
    const spy = spyOn(memoryStore({ clock: () => NOW }))
    const [here, there] = [await open({ spy }), await open({ spy })]
    const text = assertion()
    const all = await Promise.all(
      [here, there, here, there].map(async (kit) => statusOf(kit, text)),
    )
    expect(all.toSorted((a, b) => a - b)).toEqual([200, 401, 401, 401])
    expect(await statusOf(there, text)).toBe(401)
    expect(await statusOf(there, assertion())).toBe(200)
  })

  it('remembers it for as long as it would be taken', async () => {
    const kit = await open()
    const text = assertion()
    expect(await statusOf(kit, text)).toBe(200)
    kit.clock.now = NOW + 89_999
    expect(await statusOf(kit, text)).toBe(401)
    kit.clock.now = NOW + 90_000
    expect(await statusOf(kit, text)).toBe(401)
  })

  it('remembers it for nodes whose clocks are slow, also when that of the first was fast', async () => {
    const store = { now: NOW }
    const spy = spyOn(memoryStore({ clock: () => store.now }))
    const fast = await open({ spy, clock: { now: NOW + 30_000 } })
    const slow = await open({ spy, clock: { now: NOW - 30_000 } })
    const text = assertion()
    expect(await statusOf(fast, text)).toBe(200)
    store.now = NOW + 60_000 + 59_999
    slow.clock.now = store.now - 30_000
    expect(await statusOf(slow, text)).toBe(401)
  })

  it('takes as long for a name that nobody has', async () => {
    const check = createAssertionCheck({ orders: { jwks: { keys: [publicHalf(KEY)] } } })
    const kit = { issuer: ISSUER, now: () => NOW, once: async () => true }
    const texts = ['orders', 'nobody'].map(
      (iss) => `${assertion({ claims: { iss, sub: iss } }).slice(0, -86)}${'i'.repeat(85)}A`,
    )
    const times: number[][] = [[], []]
    for (let round = 0; round < 200; round++) {
      for (const [index, text] of texts.entries()) {
        const began = performance.now()
        expect(await check(text, kit)).toBeNull()
        times[index]?.push(performance.now() - began)
      }
    }
    // A signature is a score of times the rest; the quickest are free of whatever else goes on.
    const [known = 0, unknown = 0] = times.map((all) => all.toSorted((a, b) => a - b)[20])
    expect(unknown).toBeGreaterThan(known / 4)
  })

  it('is 503 while the store cannot say whether it was used', async () => {
    const kit = await open()
    kit.spy.faults.set('limit.take', 'rejects')
    expect(await statusOf(kit, assertion())).toBe(503)
  })

  it('needs its type, the name it proves, and no second way', async () => {
    const kit = await open()
    expect(await statusOf(kit, assertion(), { client_assertion_type: 'x' })).toBe(401)
    expect(await statusOf(kit, assertion(), { client_id: 'orders' })).toBe(200)
    expect(await statusOf(kit, assertion(), { client_id: 'stock' })).toBe(401)
    const form = { token: 'x', client_assertion: assertion(), client_assertion_type: TYPE }
    expect(await postForm(kit, '/auth/introspect', form, AS_ORDERS)).toMatchObject({ status: 400 })
  })

  it.each([
    ['a private key', { orders: { jwks: { keys: [KEY] } } }],
    ['no key', { orders: { jwks: { keys: [] } } }],
    ['no set', { orders: {} }],
    ['two of one kid', { orders: { jwks: { keys: [publicHalf(KEY), publicHalf(KEY)] } } }],
    ['a key without alg', { orders: { jwks: { keys: [{ ...publicHalf(KEY), alg: undefined }] } } }],
    ['a symmetric key', { orders: { jwks: { keys: [{ kty: 'oct', k: 'AAAA', alg: 'HS256' }] } } }],
    ['a misspelt member', { orders: { jwks: { keys: [publicHalf(KEY)] }, scopes: [] } }],
    ['a list', []],
  ])('refuses %s at start', (_, services) => {
    expect(() => privateKeyJwt(services as never)).toThrow(
      expect.objectContaining({ code: 'invalid_option' }),
    )
  })
})
