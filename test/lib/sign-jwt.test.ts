import { describe, expect, it } from '@jest/globals'
import { decodeProtectedHeader, importJWK, jwtVerify } from 'jose'
import type { Algorithm } from '../../lib/signing-keys.ts'
import { parseSigningKeys } from '../../lib/signing-keys.ts'
import { signedLength, signJwt } from '../../lib/sign-jwt.ts'
import { testKey } from '../support/access-tokens.ts'

const ALGORITHMS: readonly Algorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']
const PAYLOAD = { sub: 'Jürgen \u{1F511}', note: 'a "quoted" text', list: [1, null, true] }

describe('a signed JWT', () => {
  it.each(ALGORITHMS)('is verified by another library, claims and all: %s', async (alg) => {
    const keys = parseSigningKeys([testKey(alg)])
    const token = await signJwt(keys.active, PAYLOAD, 'x+jwt')
    const [jwk] = keys.jwks.keys
    const { payload } = await jwtVerify(token, await importJWK({ ...jwk }), { algorithms: [alg] })
    expect(payload).toEqual(PAYLOAD)
    expect(Object.entries(decodeProtectedHeader(token))).toEqual([
      ['alg', alg],
      ['typ', 'x+jwt'],
      ['kid', keys.active.kid],
    ])
  })

  it.each(ALGORITHMS)('is as long as was said before: %s', async (alg) => {
    const { active } = parseSigningKeys([testKey(alg)])
    for (const text of ['', 'a', 'ab', 'abc', 'é'.repeat(1000)]) {
      const token = await signJwt(active, { text }, 'at+jwt')
      expect(signedLength(active, { text }, 'at+jwt')).toBe(token.length)
    }
  })

  it('is not made when the key cannot be used', async () => {
    const { active } = parseSigningKeys([testKey('ES256')])
    const broken = { ...active, sign: async () => Promise.reject(new Error('away')) }
    await expect(signJwt(broken, PAYLOAD, 'at+jwt')).rejects.toThrow('away')
  })
})
