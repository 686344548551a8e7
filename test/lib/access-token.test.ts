import { hash } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, importJWK, jwtVerify } from 'jose'
import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import { RESERVED_CLAIMS } from '../../lib/access-token-claims.ts'
import type { SessionRecord } from '../../lib/session.ts'
import type { Algorithm } from '../../lib/signing-keys.ts'
import { parseSigningKeys } from '../../lib/signing-keys.ts'
import { createTokenCache } from '../../lib/token-cache.ts'
import {
  AUDIENCE,
  ISSUER,
  NOW,
  SKEW_MS,
  TTL_MS,
  openParty,
  testClaims,
  testKey,
  testSession,
} from '../support/access-tokens.ts'
import { forge, halves } from '../support/forge.ts'

const ALGORITHMS: readonly Algorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']

const attributes = {
  roles: ['admin', 'editor'],
  scope: ['read:a', 'write:b'],
  level: 'mfa',
  amr: ['pwd', 'otp'],
  claims: { plan: 'gold', limits: { seats: [1, 2] } },
}
const rich = testSession({
  user: { tenant: 'acme', id: 'alice' },
  generation: 3,
  ver: 2,
  attributes,
})

function withClaims(claims: SessionRecord['attributes']['claims']): SessionRecord {
  return testSession({ attributes: { ...attributes, claims } })
}

describe('an access token', () => {
  it.each(ALGORITHMS)('says after verification what the session is: %s', async (alg) => {
    const { issuer, verifier, keys } = openParty(parseSigningKeys([testKey(alg)]))
    const { token, jti, expiresAt, expiresInS } = await issuer.issue(rich)
    expect(await verifier.verify(token)).toEqual({
      iss: ISSUER,
      aud: [...AUDIENCE],
      sub: 'alice',
      clientId: null,
      actor: null,
      tenant: 'acme',
      sid: rich.sid,
      jti,
      gen: 3,
      ver: 2,
      authTimeMs: NOW - 6000,
      issuedAtMs: NOW,
      expiresAtMs: expiresAt,
      roles: ['admin', 'editor'],
      scope: ['read:a', 'write:b'],
      level: 'mfa',
      amr: ['pwd', 'otp'],
      claims: { plan: 'gold', limits: { seats: [1, 2] } },
    })
    expect(expiresAt).toBe(NOW + TTL_MS)
    expect(expiresInS).toBe(900)
    expect(decodeProtectedHeader(token)).toEqual({ alg, typ: 'at+jwt', kid: keys.active.kid })
  })

  it.each(ALGORITHMS)('is verified by any JWT library from the JWKS: %s', async (alg) => {
    const { issuer, keys } = openParty(parseSigningKeys([testKey(alg)]))
    const { token } = await issuer.issue(rich)
    const [jwk] = keys.jwks.keys
    await expect(
      jwtVerify(token, await importJWK({ ...jwk }), {
        algorithms: [alg],
        issuer: ISSUER,
        audience: AUDIENCE[1],
        typ: 'at+jwt',
        currentDate: new Date(NOW),
      }),
    ).resolves.toMatchObject({ payload: { sub: 'alice' } })
  })

  it('has its claims in a fixed order, and only those it needs', async () => {
    const { issuer } = openParty()
    const order = ['iss', 'aud', 'sub', 'exp', 'iat', 'jti', 'sid', 'gen', 'ver', 'auth_time']
    expect(Object.keys(decodeJwt((await issuer.issue(testSession())).token))).toEqual(order)
    expect(Object.keys(decodeJwt((await issuer.issue(rich)).token))).toEqual([
      ...order,
      'tenant',
      'roles',
      'scope',
      'amr',
      'acr',
      'plan',
      'limits',
    ])
  })

  it('has empty attributes where the token has none', async () => {
    const { issuer, verifier } = openParty()
    const { token } = await issuer.issue(testSession())
    expect(await verifier.verify(token)).toMatchObject({
      tenant: '',
      roles: [],
      scope: [],
      level: null,
      amr: [],
      claims: {},
    })
  })

  it('has a jti of 128 bits, another each time', async () => {
    const { issuer } = openParty()
    const jtis = new Set<string>()
    for (let index = 0; index < 50; index++) {
      const { jti } = await issuer.issue(testSession())
      expect(jti).toMatch(/^[\w-]{22}$/)
      jtis.add(jti)
    }
    expect(jtis.size).toBe(50)
  })

  it('names one audience as text, several as an array', async () => {
    const { token: several } = await openParty().issuer.issue(testSession())
    expect(decodeJwt(several).aud).toEqual(AUDIENCE)
    const { issuer, verifier } = openParty(undefined, { audience: [AUDIENCE[1]] })
    const { token: one } = await issuer.issue(testSession())
    expect(decodeJwt(one).aud).toBe(AUDIENCE[1])
    await expect(verifier.verify(one)).resolves.toMatchObject({ sub: 'alice' })
  })

  it('gives claims that nobody can change', async () => {
    const { issuer, verifier } = openParty()
    const claims = await verifier.verify((await issuer.issue(rich)).token)
    const parts = [claims, claims.roles, claims.scope, claims.amr, claims.claims]
    const { limits } = claims.claims
    for (const part of [...parts, limits, (limits as { seats: unknown }).seats]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })
})

describe('the end of an access token', () => {
  it('is up to 5 % early, at random, in whole seconds', async () => {
    for (const [random, seconds] of [
      [0, 900],
      [0.5, 877],
      [1 - Number.EPSILON, 855],
    ] as const) {
      const { issuer } = openParty(undefined, { random: () => random })
      expect(await issuer.issue(testSession())).toMatchObject({
        expiresInS: seconds,
        expiresAt: NOW + seconds * 1000,
      })
    }
  })

  it('is never after the session or the longest lifetime', async () => {
    const { keys } = openParty()
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          now: fc.integer({ min: NOW, max: NOW + 5000 }),
          idle: fc.integer({ min: 2000, max: 2 * TTL_MS }),
          absolute: fc.integer({ min: 2000, max: 2 * TTL_MS }),
          random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        }),
        async ({ now, idle, absolute, random }) => {
          const party = openParty(keys, { random: () => random })
          party.now = now
          const deadlines = { idleDeadline: now + idle, absoluteDeadline: now + absolute }
          const { token, expiresAt } = await party.issuer.issue(testSession(deadlines))
          expect(expiresAt).toBeLessThanOrEqual(now + Math.min(idle, absolute))
          const { exp = 0, iat = 0 } = decodeJwt(token)
          expect(exp - iat).toBeLessThanOrEqual(TTL_MS / 1000)
          await expect(party.verifier.verify(token)).resolves.toMatchObject({
            expiresAtMs: expiresAt,
          })
        },
      ),
      { numRuns: 100 },
    )
  })

  it.each([
    { idleDeadline: NOW + 999 },
    { absoluteDeadline: NOW + 999 },
    { idleDeadline: NOW - 1 },
  ])('is not put behind that of a session in its last second: %j', async (deadline) => {
    await expect(openParty().issuer.issue(testSession(deadline))).rejects.toMatchObject({
      code: 'session_ended',
    })
  })
})

describe("the app's claims", () => {
  it.each(RESERVED_CLAIMS)('never override %s, and one warning says so', async (name) => {
    const { issuer, verifier, warnings } = openParty()
    const claims = JSON.parse(`{"${name}":"mallory","plan":"gold"}`) as { plan: string }
    const session = withClaims(claims)
    const { token } = await issuer.issue(session)
    await issuer.issue(session)
    const { token: plain } = await issuer.issue(withClaims({ plan: 'gold' }))
    expect(decodeJwt(token)).toEqual({ ...decodeJwt(plain), jti: expect.any(String) })
    expect((await verifier.verify(token)).claims).toEqual({ plan: 'gold' })
    expect(warnings).toEqual([expect.stringContaining(`reserved_claim: the claim "${name}"`)])
  })

  it('may be anything that is JSON', async () => {
    const { issuer, verifier } = openParty()
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.string({ maxLength: 10 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 }),
        async (made) => {
          const json = JSON.stringify(made)
          fc.pre(json.length < 1000 && RESERVED_CLAIMS.every((name) => !Object.hasOwn(made, name)))
          const claims = JSON.parse(json) as Record<string, string>
          const { token } = await issuer.issue(withClaims(claims))
          expect((await verifier.verify(token)).claims).toEqual(claims)
        },
      ),
      { numRuns: 100 },
    )
  })
})

describe('the size of an access token', () => {
  it('over 1 KiB is worth one warning', async () => {
    const { issuer, warnings } = openParty()
    await issuer.issue(withClaims({ text: 'x'.repeat(200) }))
    expect(warnings).toEqual([])
    await issuer.issue(withClaims({ text: 'x'.repeat(900) }))
    await issuer.issue(withClaims({ text: 'x'.repeat(900) }))
    expect(warnings).toEqual([expect.stringContaining('large_access_token')])
  })

  it('over 3.5 KiB is an error, which does not quote the claims', async () => {
    const { issuer } = openParty()
    const session = withClaims({ text: 'secret-'.repeat(450) })
    const error = { code: 'internal_error', message: expect.stringMatching(/\d{4} .*3584/) }
    await expect(issuer.issue(session)).rejects.toMatchObject(error)
    await expect(issuer.issue(session)).rejects.not.toMatchObject({
      message: expect.stringContaining('secret'),
    })
    expect(() => issuer.assertFits(session.attributes, session.user)).toThrow(
      expect.objectContaining(error),
    )
  })

  it.each(ALGORITHMS)('is known before a session is opened: %s', async (alg) => {
    const { issuer, verifier, warnings } = openParty(parseSigningKeys([testKey(alg)]))
    const fits = (length: number): boolean => {
      const { user, attributes: own } = withClaims({ text: 'é'.repeat(length) })
      try {
        issuer.assertFits(own, user)
        return true
      } catch {
        return false
      }
    }
    let [low, high] = [0, 2000]
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (fits(middle)) low = middle
      else high = middle
    }
    expect(low).toBeGreaterThan(900)
    expect(warnings).toEqual([])
    const longest = { generation: 2 ** 31 - 1, ver: 2 ** 31 - 1 }
    const { token } = await issuer.issue({ ...withClaims({ text: 'é'.repeat(low) }), ...longest })
    expect(token.length).toBeGreaterThan(3584 - 16)
    await expect(verifier.verify(token)).resolves.toMatchObject({ sub: 'alice' })
  })
})

describe('a remembered token', () => {
  it('is the same object as was verified', async () => {
    const { issuer, verifier } = openParty()
    const { token } = await issuer.issue(rich)
    expect(verifier.remembered(token)).toBeUndefined()
    const claims = await verifier.verify(token)
    expect(verifier.remembered(token)).toBe(claims)
    expect(verifier.remembered(`${token}=`)).toBeUndefined()
  })

  it('is forgotten when it expires, at the millisecond', async () => {
    const party = openParty()
    const { token, expiresAt } = await party.issuer.issue(rich)
    await party.verifier.verify(token)
    party.now = expiresAt + SKEW_MS - 1
    expect(party.verifier.remembered(token)).toBeDefined()
    await expect(party.verifier.verify(token)).resolves.toBeDefined()
    party.now += 1
    expect(party.verifier.remembered(token)).toBeUndefined()
    await expect(party.verifier.verify(token)).rejects.toMatchObject({ code: 'token_expired' })
  })

  it('is not accepted when the clock goes back behind its issue', async () => {
    const party = openParty()
    const { token } = await party.issuer.issue(rich)
    await party.verifier.verify(token)
    party.now = NOW - SKEW_MS
    expect(party.verifier.remembered(token)).toBeDefined()
    party.now -= 1
    expect(party.verifier.remembered(token)).toBeUndefined()
    await expect(party.verifier.verify(token)).rejects.toMatchObject({ code: 'token_invalid' })
  })

  it('is gone after forget', async () => {
    const { issuer, verifier } = openParty()
    const { token } = await issuer.issue(rich)
    await verifier.verify(token)
    verifier.forget()
    expect(verifier.remembered(token)).toBeUndefined()
  })

  it('is none where the cache has no bytes', async () => {
    const { issuer, verifier } = openParty(undefined, { cacheBytes: 0 })
    const { token } = await issuer.issue(rich)
    await verifier.verify(token)
    expect(verifier.remembered(token)).toBeUndefined()
  })

  it('was never one that was refused', async () => {
    const { keys, verifier } = openParty()
    const { privateKey } = halves(testKey('ES256'))
    const header = { alg: 'ES256', typ: 'at+jwt', kid: keys.active.kid }
    const forged = forge(header, testClaims(), privateKey)
    await expect(verifier.verify(forged)).rejects.toMatchObject({ code: 'token_invalid' })
    expect(verifier.remembered(forged)).toBeUndefined()
  })
})

describe('rotation of signing keys', () => {
  const [first, second] = [testKey('ES256'), testKey('EdDSA')]

  it('lets position 0 sign and all verify', async () => {
    const party = openParty(parseSigningKeys([first]))
    const { token: old } = await party.issuer.issue(rich)
    party.keys = parseSigningKeys([second, first])
    const { token: young } = await party.issuer.issue(rich)
    expect(decodeProtectedHeader(young)).toMatchObject({ alg: 'EdDSA' })
    await expect(party.verifier.verify(old)).resolves.toMatchObject({ sub: 'alice' })
    await expect(party.verifier.verify(young)).resolves.toMatchObject({ sub: 'alice' })
  })

  it('refuses the tokens of a key that was dropped, remembered ones too', async () => {
    const party = openParty(parseSigningKeys([first]))
    const { token } = await party.issuer.issue(rich)
    await party.verifier.verify(token)
    party.keys = parseSigningKeys([second])
    expect(party.verifier.remembered(token)).toBeUndefined()
    party.verifier.forget()
    expect(party.verifier.remembered(token)).toBeUndefined()
    await expect(party.verifier.verify(token)).rejects.toMatchObject({ code: 'token_invalid' })
  })

  it('refuses a token whose key is dropped while it is being verified', async () => {
    const party = openParty(parseSigningKeys([first]))
    const { token } = await party.issuer.issue(rich)
    const verifying = party.verifier.verify(token)
    party.keys = parseSigningKeys([second])
    await expect(verifying).rejects.toMatchObject({ code: 'token_invalid' })
  })

  it('refuses a token when another key gets the name of its own meanwhile', async () => {
    const [before, after] = [testKey('ES256'), testKey('ES256')].map((key) =>
      parseSigningKeys([{ ...key, kid: 'one' }]),
    )
    const party = openParty(before)
    const { token } = await party.issuer.issue(rich)
    const verifying = party.verifier.verify(token)
    party.keys = after ?? party.keys
    await expect(verifying).rejects.toMatchObject({ code: 'token_invalid' })
    expect(party.verifier.remembered(token)).toBeUndefined()
  })
})

function nthToken(index: number): string {
  // The end of a token is that of a signature: it is what the cache looks for.
  return hash('sha256', String(index), 'base64url').padStart(100, 't')
}

describe('the token cache', () => {
  const entry = 2 * 100 + 700
  const claims = { sub: 'alice' } as never

  it('stays within its bytes and keeps what is in use', () => {
    const cache = createTokenCache(20 * entry)
    cache.set(nthToken(0), 'k', claims)
    for (let index = 1; index < 1000; index++) {
      cache.set(nthToken(index), 'k', claims)
      expect(cache.get(nthToken(0))).toMatchObject({ kid: 'k', claims })
      const held = Array.from({ length: 25 }, (_, back) => index - back).filter(
        (other) => other > 0 && cache.get(nthToken(other)) !== undefined,
      )
      expect(held.length).toBeLessThan(20)
    }
  })

  it('drops what nobody asked for during one generation', () => {
    const cache = createTokenCache(20 * entry)
    for (let index = 0; index < 20; index++) cache.set(nthToken(index), 'k', claims)
    expect(cache.get(nthToken(0))).toBeDefined()
    for (let index = 20; index < 45; index++) cache.set(nthToken(index), 'k', claims)
    expect(cache.get(nthToken(0))).toBeUndefined()
  })

  it('counts a token once, however often it is set', () => {
    const cache = createTokenCache(20 * entry)
    cache.set(nthToken(1), 'k', claims)
    for (let index = 0; index < 100; index++) cache.set(nthToken(0), 'k', claims)
    expect(cache.get(nthToken(1))).toBeDefined()
  })

  it('remembers nothing that is larger than a generation', () => {
    const cache = createTokenCache(entry)
    cache.set(nthToken(0), 'k', claims)
    expect(cache.get(nthToken(0))).toBeUndefined()
  })

  it('knows a token by all of its text, not by its end alone', () => {
    const cache = createTokenCache(20 * entry)
    const [one, twin] = [`a${nthToken(0)}`, `b${nthToken(0)}`]
    cache.set(one, 'k', claims)
    expect(cache.get(one)).toBeDefined()
    expect(cache.get(twin)).toBeUndefined()
    // Nor when it is of the generation before.
    for (let index = 1; index < 15; index++) cache.set(nthToken(index), 'k', claims)
    expect(cache.get(twin)).toBeUndefined()
    expect(cache.get(one)).toBeDefined()
    cache.set(twin, 'other', claims)
    expect(cache.get(twin)).toMatchObject({ kid: 'other' })
  })

  it('is empty after clear', () => {
    const cache = createTokenCache(20 * entry)
    for (let index = 0; index < 15; index++) cache.set(nthToken(index), 'k', claims)
    expect(cache.get(nthToken(0))).toBeDefined()
    cache.clear()
    for (let index = 0; index < 15; index++) expect(cache.get(nthToken(index))).toBeUndefined()
  })
})
