import { spawnSync } from 'node:child_process'
import { createSecretKey } from 'node:crypto'
import { inspect } from 'node:util'
import { describe, expect, it } from '@jest/globals'
import { calculateJwkThumbprint } from 'jose'
import { findRsaFlaw } from '../../lib/rsa-key.ts'
import type { Algorithm, SigningJwk, SigningKeyInput } from '../../lib/signing-keys.ts'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import { testKey } from '../support/access-tokens.ts'
import { halves } from '../support/forge.ts'
import { drawKeyPair } from '../support/key-pair.ts'

const ALGORITHMS: readonly Algorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']
const ec = testKey('ES256')
const ed = testKey('EdDSA')
const rsa = testKey('PS256')
const otherEc = testKey('ES256')
const otherRsa = testKey('RS256')
const KEYS = { ES256: ec, EdDSA: ed, PS256: rsa, RS256: { ...rsa, alg: 'RS256' } } as const

function publicOf(jwk: SigningJwk): SigningJwk {
  return without(jwk, 'd', 'p', 'q', 'dp', 'dq', 'qi', 'key_ops')
}

function without(jwk: SigningJwk, ...names: readonly string[]): SigningJwk {
  return Object.fromEntries(
    Object.entries(jwk).filter(([name]) => !names.includes(name)),
  ) as unknown as SigningJwk
}

function pemOf(jwk: SigningJwk): string {
  return halves(jwk).privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
}

function spkiOf(jwk: SigningJwk): string {
  return halves(jwk).publicKey.export({ format: 'pem', type: 'spki' }).toString()
}

function rsaOf(modulusLength: number, publicExponent = 65537): SigningJwk {
  const { privateKey } = drawKeyPair('rsa', { modulusLength, publicExponent })
  return { kty: 'RSA', ...privateKey.export({ format: 'jwk' }), alg: 'PS256' }
}

function integer(member: string | undefined): bigint {
  return BigInt(`0x${Buffer.from(member ?? '', 'base64url').toString('hex')}`)
}

function base64url(value: bigint): string {
  const hex = value.toString(16)
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex').toString('base64url')
}

describe('signing keys', () => {
  it.each(ALGORITHMS)('sign from position 0 and verify by kid: %s', (alg) => {
    const jwk = { ...KEYS[alg], kid: 'my-key_1.a' }
    const keys = parseSigningKeys([jwk])
    expect(keys.active).toMatchObject({ kid: 'my-key_1.a', alg })
    expect(keys.find('my-key_1.a')).toMatchObject({
      kid: 'my-key_1.a',
      alg,
      key: { type: 'public' },
    })
    expect(keys.find('other')).toBeUndefined()
    expect(keys.find('__proto__')).toBeUndefined()
  })

  it.each(ALGORITHMS)(
    'are named by their thumbprint where they have no kid (RFC 7638): %s',
    async (alg) => {
      const jwk = without(KEYS[alg], 'kid')
      const thumbprint = await calculateJwkThumbprint(publicOf(jwk) as object)
      expect(parseSigningKeys([jwk]).active.kid).toBe(thumbprint)
      expect(parseSigningKeys([{ pem: pemOf(jwk), alg }]).active.kid).toBe(thumbprint)
      expect(generateSigningKey('ES256').kid).toMatch(/^[\w-]{43}$/)
    },
  )

  it.each(ALGORITHMS)('are shown by their public members only: %s', (alg) => {
    const { keys } = parseSigningKeys([{ ...KEYS[alg], kid: 'k' }, otherEc]).jwks
    const { kty, crv, x, y, n, e } = KEYS[alg]
    const members = Object.entries({ kty, crv, x, y, n, e }).filter(
      ([, value]) => value !== undefined,
    )
    expect(keys[0]).toEqual({ ...Object.fromEntries(members), kid: 'k', alg, use: 'sig' })
    expect(keys).toHaveLength(2)
    for (const key of keys) {
      for (const secret of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'])
        expect(key).not.toHaveProperty(secret)
    }
  })

  it.each(ALGORITHMS)('that are generated are read again: %s', (alg) => {
    const jwk = generateSigningKey(alg)
    expect(jwk).toMatchObject({ alg, use: 'sig' })
    expect(parseSigningKeys([jwk]).active).toMatchObject({ kid: jwk.kid, alg })
    expect(parseSigningKeys([JSON.parse(JSON.stringify(jwk)) as SigningJwk]).active.kid).toBe(
      jwk.kid,
    )
  })

  it('are ES256 by default', () => {
    expect(generateSigningKey()).toMatchObject({ alg: 'ES256', kty: 'EC', crv: 'P-256' })
  })

  it('may be public after position 0, as JWK or SPKI', () => {
    const keys = parseSigningKeys([
      ec,
      { ...publicOf(ed), kid: 'retired' },
      { pem: spkiOf(rsa), alg: 'RS256', kid: 'older' },
    ])
    expect(keys.find('retired')).toMatchObject({ alg: 'EdDSA' })
    expect(keys.find('older')).toMatchObject({ alg: 'RS256' })
  })

  it.each<[string, SigningKeyInput]>([
    ['use', { ...ec, use: 'sig' }],
    ['key_ops', { ...ec, key_ops: ['sign'] }],
    ['both operations', { ...ec, key_ops: ['sign', 'verify'] }],
    ['unknown members', { ...ec, ext: true } as SigningJwk],
    ['undefined members', { ...ec, kid: undefined, use: undefined, key_ops: undefined }],
  ])('may have %s', (_name, key) => {
    expect(parseSigningKeys([key]).active.alg).toBe('ES256')
  })

  it('are read again with the primes of RSA in either order', () => {
    expect(findRsaFlaw(rsa)).toBeUndefined()
    expect(findRsaFlaw({ ...rsa, p: rsa.q, q: rsa.p })).toBeUndefined()
  })
})

describe('signing keys are refused', () => {
  const p384 = drawKeyPair('ec', { namedCurve: 'P-384' }).privateKey
  const x25519 = drawKeyPair('x25519').privateKey
  const ed448 = drawKeyPair('ed448').privateKey
  const jwkOf = (key: typeof p384, alg: string): SigningJwk =>
    ({ ...key.export({ format: 'jwk' }), alg }) as unknown as SigningJwk
  const secret = createSecretKey(Buffer.alloc(32, 7)).export({ format: 'jwk' })
  const weak = rsaOf(1024)
  // A modulus as the flawed generator made them: its factors are powers of 65537 modulo small primes.
  const primorial = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73]
    .concat([79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167])
    .reduce((product, prime) => product * BigInt(prime), 1n)
  const factor = (k: bigint, a: number): bigint =>
    k * primorial + Array.from({ length: a }).reduce<bigint>((x) => (x * 65537n) % primorial, 1n)
  const roca = base64url(factor(3n ** 510n, 12) * factor(7n ** 287n, 31))

  const cases: [name: string, key: unknown][] = [
    ['nothing', undefined],
    ['null', null],
    ['text', pemOf(ec)],
    ['a number', 1],
    ['an empty object', {}],
    ['a symmetric key', { ...secret, alg: 'HS256' }],
    ['a symmetric key that claims ES256', { ...secret, alg: 'ES256' }],
    ['an empty symmetric key', { kty: 'oct', k: '', alg: 'HS256' }],
    ['no alg', without(ec, 'alg')],
    ['alg none', { ...ec, alg: 'none' }],
    ['alg ES224', { ...ec, alg: 'ES224' }],
    ['alg ES384', { ...ec, alg: 'ES384' }],
    ['alg of a prototype', { ...ec, alg: 'constructor' }],
    ['an array as alg', { ...ec, alg: ['ES256'] }],
    ['alg of another type', { ...ec, alg: 'EdDSA' }],
    ['an RSA key as ES256', { ...rsa, alg: 'ES256' }],
    ['an Ed25519 key as RS256', { ...ed, alg: 'RS256' }],
    ['P-384 as ES256', jwkOf(p384, 'ES256')],
    ['P-256 that says P-384', { ...ec, crv: 'P-384' }],
    ['X25519 as EdDSA', jwkOf(x25519, 'EdDSA')],
    ['Ed448 as EdDSA', jwkOf(ed448, 'EdDSA')],
    ['the wrong kty', { ...ec, kty: 'RSA' }],
    ['no kty', without(ec, 'kty')],
    ['use enc', { ...ec, use: 'enc' }],
    ['key_ops without sign', { ...ec, key_ops: ['verify'] }],
    ['key_ops for something else', { ...ec, key_ops: ['deriveBits'] }],
    ['key_ops as text', { ...ec, key_ops: 'sign' }],
    ['empty key_ops', { ...ec, key_ops: [] }],
    ['an empty kid', { ...ec, kid: '' }],
    ['a kid with a slash', { ...ec, kid: '../key' }],
    ['a long kid', { ...ec, kid: 'k'.repeat(65) }],
    ['a number as kid', { ...ec, kid: 1 }],
    ['a space as kid', { ...ec, kid: ' ' }],
    ['a public JWK', publicOf(ec)],
    ['a public PEM', { pem: spkiOf(ec), alg: 'ES256' }],
    ['a point off the curve', { ...ec, x: otherEc.x }],
    ['halves of two EC keys', { ...ec, x: otherEc.x, y: otherEc.y }],
    ['halves of two Ed25519 keys', { ...ed, x: testKey('EdDSA').x }],
    ['d of zero', { ...ec, d: Buffer.alloc(32).toString('base64url') }],
    ['a short d', { ...ec, d: ec.d?.slice(0, 20) }],
    ['a number as d', { ...ec, d: 7 }],
    ['no x', without(ec, 'x')],
    ['no n', without(rsa, 'n')],
    ['no primes', without(rsa, 'p', 'q', 'dp', 'dq', 'qi')],
    ['1024 bits', weak],
    ['an exponent of 3', rsaOf(2048, 3)],
    ['an exponent of 1', { ...rsa, e: 'AQ' }],
    ['an even exponent', { ...rsa, e: base64url(65538n) }],
    ['an exponent of 257', { ...rsa, e: base64url(257n) }],
    ['primes of another key', { ...rsa, p: weak.p, q: weak.q }],
    ['another n', { ...rsa, n: otherRsa.n }],
    ['another d', { ...rsa, d: otherRsa.d }],
    ['PEM that is none', { pem: 'MIIB', alg: 'ES256' }],
    ['bytes as PEM', { pem: Buffer.from(pemOf(ec)), alg: 'ES256' }],
    ['PEM for another algorithm', { pem: pemOf(ec), alg: 'RS256' }],
    ['PEM without alg', { pem: pemOf(ec) }],
    ['PEM of RSA-PSS', { pem: pssPem(), alg: 'PS256' }],
  ]
  it.each(cases)('at position 0: %s', (_name, key) => {
    expect(() => parseSigningKeys([key as SigningKeyInput])).toThrow(
      expect.objectContaining({ code: 'invalid_option', option: 'signingKeys[0]' }),
    )
  })

  it.each<[string, unknown]>([
    ['use enc', { ...publicOf(otherEc), use: 'enc' }],
    ['key_ops without verify', { ...publicOf(otherEc), key_ops: ['sign'] }],
    ['1024 bits', publicOf(weak)],
    ['ROCA (CVE-2017-15361)', { kty: 'RSA', n: roca, e: 'AQAB', alg: 'RS256' }],
    ['an even modulus', { ...publicOf(rsa), n: rsa.n?.replace(/.$/, 'A') }],
    ['a symmetric key', { ...secret, alg: 'HS256' }],
    ['the kid of another', { ...otherEc, kid: ec.kid }],
    ['the same key', ec],
    ['the same key under another kid', { ...ec, kid: 'other' }],
    ['the same key as PEM', { pem: spkiOf(ec), alg: 'ES256', kid: 'other' }],
  ])('at position 1: %s', (_name, key) => {
    expect(() => parseSigningKeys([ec, key as SigningKeyInput])).toThrow(
      expect.objectContaining({ code: 'invalid_option', option: 'signingKeys[1]' }),
    )
  })

  it('when one key would have two algorithms (RFC 8725 §3.1)', () => {
    expect(() => parseSigningKeys([rsa, { ...rsa, alg: 'RS256', kid: 'other' }])).toThrow(
      expect.objectContaining({ option: 'signingKeys[1]' }),
    )
  })

  it('when there is none', () => {
    expect(() => parseSigningKeys([])).toThrow(
      expect.objectContaining({ code: 'invalid_option', option: 'signingKeys' }),
    )
  })

  it('for the flaw they have', () => {
    expect(findRsaFlaw({ n: roca, e: 'AQAB' })).toMatch(/ROCA/)
    expect(findRsaFlaw(weak)).toMatch(/2048 bits/)
    expect(findRsaFlaw({ n: rsa.n, e: 'Aw' })).toMatch(/exponent/)
    expect(findRsaFlaw({ n: rsa.n, e: base64url(65538n) })).toMatch(/exponent/)
    expect(findRsaFlaw({ ...rsa, n: otherRsa.n })).toMatch(/private members/)
    expect(findRsaFlaw({ ...rsa, q: otherRsa.q })).toMatch(/private members/)
    const [d, p, q] = [rsa.d, rsa.p, rsa.q].map(integer) as [bigint, bigint, bigint]
    expect(findRsaFlaw({ ...rsa, d: base64url(d + p - 1n) })).toMatch(/private members/)
    expect(findRsaFlaw({ ...rsa, d: base64url(d + q - 1n) })).toMatch(/private members/)
    expect(findRsaFlaw({ ...rsa, d: base64url(d + (p - 1n) * (q - 1n)) })).toBeUndefined()
  })

  it('without a word of what is in them', () => {
    for (const [, key] of cases) {
      try {
        parseSigningKeys([key as SigningKeyInput])
      } catch (err) {
        const text = inspect(err, { depth: 10 })
        for (const part of [ec.d, ed.d, rsa.d, rsa.p, secret.k]) {
          expect(text).not.toContain(String(part).slice(0, 16))
        }
      }
    }
    expect(inspect(parseSigningKeys([ec]), { depth: 10 })).not.toContain(ec.d)
  })
})

function pssPem(): string {
  const { privateKey } = drawKeyPair('rsa-pss', { modulusLength: 2048 })
  return privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
}

it('the example of RFC 7638 §3.1 has the thumbprint printed there', () => {
  const n =
    '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw'
  const example: SigningJwk = { kty: 'RSA', n, e: 'AQAB', alg: 'RS256' }
  const { jwks } = parseSigningKeys([ec, example])
  expect(jwks.keys[1]?.kid).toBe('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
})

it('draws keys by the thousand, whenever the garbage collector comes', () => {
  // Little room for the young makes it come often; with the usual room it takes more keys.
  const code = `
import { generateSigningKey } from ${JSON.stringify(import.meta.resolve('../../lib/signing-keys.ts'))}
for (let n = 0; n < 10_000; n++) generateSigningKey()
console.log('drawn')`
  const flags = ['--max-semi-space-size=1', '--import', import.meta.resolve('tsx')]
  const { stdout, signal } = spawnSync(
    process.execPath,
    [...flags, '--input-type=module', '--eval', code],
    { encoding: 'utf8', timeout: 100_000, killSignal: 'SIGKILL' },
  )
  expect([stdout, signal]).toEqual(['drawn\n', null])
}, 120_000)
