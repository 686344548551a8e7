import { describe, expect, it } from '@jest/globals'
import type { ReadJwkSet } from '../../lib/jwk-set.ts'
import { importPublicKey, readJwkSet } from '../../lib/jwk-set.ts'
import type { Algorithm, PublicJwk } from '../../lib/signing-keys.ts'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import { testKey } from '../support/access-tokens.ts'
import { drawKeyPair } from '../support/key-pair.ts'

/** A key as an issuer publishes it. */
function published(alg: Algorithm = 'ES256'): PublicJwk {
  const [key] = parseSigningKeys([testKey(alg)]).jwks.keys
  if (key === undefined) throw new Error('no key')
  return key
}

function read(...keys: object[]): ReadJwkSet {
  const set = readJwkSet({ keys })
  if (typeof set === 'string') throw new Error(set)
  return set
}

const es256 = published()
const other = published()

describe('a set of public keys', () => {
  it.each<Algorithm>(['ES256', 'EdDSA', 'PS256', 'RS256'])(
    'gives the %s key that the kit publishes',
    async (alg) => {
      const key = published(alg)
      const set = read(key)
      expect(set.ignored).toEqual([])
      expect(set.keys).toMatchObject([{ kid: key.kid, alg }])
      await expect(importPublicKey(set.keys[0]!)).resolves.toMatchObject({ kid: key.kid, alg })
    },
  )

  it('takes nothing of a key but its public members', () => {
    const { keys } = read({ ...es256, x5u: 'https://evil.example', jku: 'x', ext: true })
    const { kty, crv, x, y } = es256
    expect(keys[0]?.members).toEqual({ kty, crv, x, y })
  })

  it.each([
    ['nothing', undefined],
    ['null', null],
    ['a text', 'keys'],
    ['a list', [es256]],
    ['an object without keys', {}],
    ['keys that are no list', { keys: { 0: es256 } }],
    ['an empty set (no key can be used)', { keys: [] }],
    ['a key that is no object', { keys: [es256, 'key'] }],
    ['a key that is null', { keys: [es256, null] }],
    ['more than 100 keys', { keys: Array.from({ length: 101 }, (_, at) => ({ kid: `${at}` })) }],
    ['two keys of one kid', { keys: [es256, { ...other, kid: es256.kid }] }],
    [
      'two keys of one kid, one not for signatures',
      { keys: [es256, { kid: es256.kid, use: 'enc' }] },
    ],
    ['the same key twice', { keys: [es256, es256] }],
    ['a private key', { keys: [other, generateSigningKey()] }],
    ['a private RSA key', { keys: [es256, testKey('RS256')] }],
    ['a member of a private RSA key', { keys: [es256, { ...published('RS256'), dp: 'AQAB' }] }],
    ['a private member that is no text', { keys: [{ ...es256, d: null }] }],
    ['a symmetric key', { keys: [es256, { kty: 'oct', kid: 'h', alg: 'HS256', k: 'c2VjcmV0' }] }],
  ])('is refused as a whole when it is %s', (_what, set) => {
    expect(readJwkSet(set)).toEqual(expect.any(String))
  })

  it('is refused without a word of what stands in it', () => {
    const secret = generateSigningKey()
    const why = readJwkSet({ keys: [secret] })
    expect(why).toEqual('keys[0] is not public')
    expect(JSON.stringify(readJwkSet({ keys: [{ kid: 'sécret', n: 'sécret' }] }))).not.toContain(
      'sécret',
    )
  })

  const weak = drawKeyPair('rsa', { modulusLength: 1024 }).publicKey.export({
    format: 'jwk',
  })
  const rsa = published('RS256')

  it.each<[string, object]>([
    ['without a kid', { ...other, kid: undefined }],
    ['with a kid that is no text', { ...other, kid: 7 }],
    ['with a malformed kid', { ...other, kid: '../../dev/null' }],
    ['for encryption', { ...other, use: 'enc' }],
    ['whose operations are others', { ...other, key_ops: ['sign'] }],
    ['whose operations are no list', { ...other, key_ops: 'verify' }],
    ['without alg', { ...other, alg: undefined }],
    ['with another alg', { ...other, alg: 'ES384' }],
    ['with alg none', { ...other, alg: 'none' }],
    ['with a symmetric alg', { ...other, alg: 'HS256' }],
    ['with the name of a member of every object as alg', { ...other, alg: 'constructor' }],
    ['of another type than its alg', { ...other, kty: 'RSA' }],
    ['of another curve than its alg', { ...other, crv: 'secp256k1' }],
    ['of another family than its alg', { ...rsa, alg: 'ES256' }],
    ['without a coordinate', { ...other, y: undefined }],
    ['with a short coordinate', { ...other, x: other.x?.slice(1) }],
    ['with a member that is no base64url', { ...rsa, n: `${rsa.n}=` }],
    ['of RSA with 1024 bits', { ...weak, kid: 'weak', alg: 'RS256' }],
    ['of RSA with exponent 1', { ...rsa, e: 'AQ' }],
    ['of RSA with exponent 3', { ...rsa, e: 'Aw' }],
    ['of RSA with 16384 bits', { ...rsa, n: `${'A'.repeat(2700)}${rsa.n}` }],
    ['of RSA with an endless exponent', { ...rsa, e: 'B'.repeat(5000) }],
  ])('goes on without a key %s', (_what, key) => {
    const set = read(es256, key)
    expect(set.keys.map(({ kid }) => kid)).toEqual([es256.kid])
    expect(set.ignored).toHaveLength(1)
    expect(readJwkSet({ keys: [key] })).toEqual(expect.stringMatching(/^has no key/))
  })

  it('takes a key that says it is for verifying', () => {
    expect(read({ ...es256, key_ops: ['verify'] }).keys).toHaveLength(1)
  })

  it('has no key that is not on its curve', async () => {
    const [key] = read({ ...es256, y: es256.x }).keys
    await expect(importPublicKey(key!)).rejects.toThrow()
  })
})
