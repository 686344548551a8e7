import { sign } from 'node:crypto'
import { inspect } from 'node:util'
import { afterEach, describe, expect, it, jest } from '@jest/globals'
import * as fc from 'fast-check'
import { AuthError } from '../../lib/errors.ts'
import type { Algorithm } from '../../lib/signing-keys.ts'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import type { TestParty } from '../support/access-tokens.ts'
import {
  AUDIENCE,
  ISSUER,
  NOW,
  TTL_MS,
  openParty,
  testClaims,
  testKey,
  testSession,
} from '../support/access-tokens.ts'
import {
  BASE64URL,
  P256_ORDER,
  aliasesOf,
  ecdsaTwin,
  forge,
  halves,
  partsOf,
  segment,
  signAs,
  toBytes32,
  withSignature,
} from '../support/forge.ts'

const jwk = testKey('ES256')
const { privateKey, publicKey } = halves(jwk)
const party = openParty(parseSigningKeys([jwk]))
const { kid } = party.keys.active
const header = { alg: 'ES256', typ: 'at+jwt', kid }
const valid = forge(header, testClaims(), privateKey)

const rsaJwk = testKey('RS256')
const rsa = halves(rsaJwk)
const rsaParty = openParty(parseSigningKeys([rsaJwk]))
const rsaHeader = { alg: 'RS256', typ: 'at+jwt', kid: rsaParty.keys.active.kid }

const attacker = halves(generateSigningKey())

/** The error a token gets; it must say nothing of the token, neither in text nor in its causes. */
async function failure(token: string, { verifier }: TestParty = party): Promise<unknown> {
  const error: unknown = await verifier.verify(token).then(
    () => 'accepted',
    (err: unknown) => err,
  )
  expect(verifier.remembered(token)).toBeUndefined()
  if (token.length > 20) expect(inspect(error, { depth: 10 })).not.toContain(token.slice(0, 200))
  return error
}

const INVALID = { code: 'token_invalid', status: 401, message: 'the access token is not valid' }

afterEach(() => {
  party.verifier.forget()
  jest.restoreAllMocks()
})

it('accepts the token that the attacks start from', async () => {
  await expect(party.verifier.verify(valid)).resolves.toMatchObject({ sub: 'alice', jti: 'a-jti' })
  const rsaToken = forge(rsaHeader, testClaims(), rsa.privateKey, 'RS256')
  await expect(rsaParty.verifier.verify(rsaToken)).resolves.toMatchObject({ sub: 'alice' })
})

/** A token without a signature. */
function unsigned(alg: unknown): string {
  return `${segment({ ...header, alg })}.${segment(testClaims())}.`
}

describe('the algorithm', () => {
  it.each(['none', 'None', 'nOnE', 'NONE', '', 'ES256'])(
    'is never "%s" without a signature (RFC 8725 §3.2)',
    async (alg) => {
      expect(await failure(unsigned(alg))).toMatchObject(INVALID)
      expect(await failure(`${unsigned(alg)}AAAA`)).toMatchObject(INVALID)
      expect(await failure(unsigned(alg).slice(0, -1))).toMatchObject(INVALID)
    },
  )

  it.each(['none', 'None', 'es256', 'ES256 ', 'ES384', 'RS256', ''])(
    'in the header must be that of the key: "%s"',
    async (alg) => {
      expect(await failure(forge({ ...header, alg }, testClaims(), privateKey))).toMatchObject({
        ...INVALID,
        cause: { message: 'access token: alg is not that of the key' },
      })
    },
  )

  it.each([1, null, ['ES256'], {}, undefined])('is text: %j', async (alg) => {
    expect(await failure(forge({ ...header, alg }, testClaims(), privateKey))).toMatchObject(
      INVALID,
    )
  })

  const pem = publicKey.export({ format: 'pem', type: 'spki' }).toString()
  const rsaPem = rsa.publicKey.export({ format: 'pem', type: 'spki' }).toString()
  const publicJwk = publicKey.export({ format: 'jwk' })
  const secrets: [name: string, target: TestParty, target: string, secret: Buffer | string][] = [
    ['EC PEM', party, kid, pem],
    ['EC PEM after a space', party, kid, ` ${pem}`],
    ['EC PEM without its last newline', party, kid, pem.trim()],
    ['EC DER', party, kid, publicKey.export({ format: 'der', type: 'spki' })],
    ['EC JWK', party, kid, JSON.stringify(publicJwk)],
    ['EC JWKS', party, kid, JSON.stringify(party.keys.jwks)],
    ['EC x', party, kid, Buffer.from(publicJwk.x ?? '', 'base64url')],
    ['empty', party, kid, ''],
    ['RSA PEM', rsaParty, rsaHeader.kid, rsaPem],
    ['RSA PEM after a newline', rsaParty, rsaHeader.kid, `\n${rsaPem}`],
    ['RSA PKCS#1', rsaParty, rsaHeader.kid, rsa.publicKey.export({ format: 'pem', type: 'pkcs1' })],
    ['RSA DER', rsaParty, rsaHeader.kid, rsa.publicKey.export({ format: 'der', type: 'spki' })],
    ['RSA modulus', rsaParty, rsaHeader.kid, Buffer.from(rsaJwk.n ?? '', 'base64url')],
  ]
  it.each(secrets)(
    'is no HMAC with the public key as its secret: %s (CVE-2023-48223)',
    async (_name, target, targetKid, secret) => {
      for (const alg of ['HS256', 'HS384', 'HS512']) {
        const forged = forge({ alg, typ: 'at+jwt', kid: targetKid }, testClaims(), secret, alg)
        expect(await failure(forged, target)).toMatchObject(INVALID)
      }
    },
  )

  it.each(['PS256', 'RS384', 'RS512', 'PS384', 'PS512'])(
    'is not swapped within the family: %s by an RS256 key (RFC 8725 §3.1)',
    async (alg) => {
      const forged = forge({ ...rsaHeader, alg }, testClaims(), rsa.privateKey, alg)
      expect(await failure(forged, rsaParty)).toMatchObject(INVALID)
      const mislabelled = forge(rsaHeader, testClaims(), rsa.privateKey, alg)
      expect(await failure(mislabelled, rsaParty)).toMatchObject(INVALID)
    },
  )
})

describe('the key', () => {
  it.each([
    '../../dev/null',
    "' OR '1'='1",
    `${kid}\0`,
    `${kid} `,
    'k'.repeat(65),
    'k'.repeat(2000),
    '',
    'ключ',
    1,
    null,
    [kid],
    { kid },
    undefined,
  ])('is not looked up by a malformed kid: %j', async (bad) => {
    const find = jest.spyOn(party.keys, 'find')
    const forged = forge({ ...header, kid: bad }, testClaims(), privateKey)
    expect(await failure(forged)).toMatchObject(INVALID)
    expect(find).not.toHaveBeenCalled()
  })

  it.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'unknown', `${kid}x`])(
    'is not found by the kid %s',
    async (bad) => {
      expect(await failure(forge({ ...header, kid: bad }, testClaims(), privateKey))).toMatchObject(
        INVALID,
      )
    },
  )

  it('is not another one under the same kid', async () => {
    expect(await failure(forge(header, testClaims(), attacker.privateKey))).toMatchObject(INVALID)
  })

  const attackerJwk = { ...attacker.publicKey.export({ format: 'jwk' }), alg: 'ES256', kid }
  const members: [name: string, extra: object][] = [
    ['jwk', { jwk: attackerJwk }],
    [
      'x5c',
      { x5c: [attacker.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')] },
    ],
    ['x5t', { x5t: 'AAAA' }],
    ['jku', { jku: 'http://169.254.169.254/latest/meta-data' }],
    ['jku of a file', { jku: 'file:///etc/passwd' }],
    ['jku like ours', { jku: `${ISSUER}.evil.example/jwks.json` }],
    ['x5u', { x5u: 'http://127.0.0.1:1/cert.pem' }],
    ['crit', { crit: ['x'], x: 1 }],
    ['empty crit', { crit: [] }],
    ['b64 false', { b64: false, crit: ['b64'] }],
    ['b64 true', { b64: true, crit: ['b64'] }],
    ['b64 alone', { b64: true }],
    ['zip', { zip: 'DEF' }],
    ['cty', { cty: 'JWT' }],
    ['enc', { enc: 'A256GCM' }],
    ['nonce', { nonce: '1' }],
    ['null', { x: null }],
  ]
  it.each(members)(
    'is not brought by the token, nor anything else: %s in the header (RFC 7515 §4.1)',
    async (_name, extra) => {
      const fetch = jest.spyOn(globalThis, 'fetch').mockRejectedValue(new Error('no network'))
      for (const key of [attacker.privateKey, privateKey]) {
        expect(await failure(forge({ ...header, ...extra }, testClaims(), key))).toMatchObject(
          INVALID,
        )
      }
      expect(fetch).not.toHaveBeenCalled()
    },
  )

  it('is not in a member named __proto__', async () => {
    const text = JSON.stringify(header).replace('{', '{"__proto__":{"crit":["x"]},')
    expect(await failure(forge(text, testClaims(), privateKey))).toMatchObject(INVALID)
    const inherited = `{"__proto__":${JSON.stringify(header)},"a":1,"b":2}`
    expect(await failure(forge(inherited, testClaims(), privateKey))).toMatchObject(INVALID)
  })
})

describe('the type', () => {
  it.each([
    'JWT',
    'rt+jwt',
    'jwt',
    'at+jwt ',
    'xat+jwt',
    'application/jwt',
    'x/at+jwt',
    '',
    1,
    null,
  ])('must be at+jwt, not %j (RFC 9068 §4)', async (typ) => {
    expect(await failure(forge({ ...header, typ }, testClaims(), privateKey))).toMatchObject(
      INVALID,
    )
  })

  it('must be there (RFC 9068 §4)', async () => {
    expect(await failure(forge({ alg: 'ES256', kid }, testClaims(), privateKey))).toMatchObject(
      INVALID,
    )
    const padded = { alg: 'ES256', kid, cty: 'at+jwt' }
    expect(await failure(forge(padded, testClaims(), privateKey))).toMatchObject(INVALID)
  })

  it.each(['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/At+Jwt'])(
    'may be spelt %s (RFC 7515 §4.1.9)',
    async (typ) => {
      const token = forge({ ...header, typ }, testClaims(), privateKey)
      await expect(party.verifier.verify(token)).resolves.toMatchObject({ sub: 'alice' })
    },
  )

  it.each([
    'lks_aaaaaa.abcdefghijklmnopqrstuvwx.c2VlZA.bWFj',
    'lkr_aaaaaa.abcdefghijklmnopqrstuvwx.0.c2VlZA.bWFj',
    'lks_aaaaaa.c2VlZA.bWFj',
    `lks_${valid}`,
  ])('is not that of a session or refresh token: %s', async (token) => {
    expect(await failure(token)).toMatchObject(INVALID)
  })
})

describe('claims', () => {
  const now = NOW / 1000
  const bad: [claim: string, value: unknown][] = [
    // CVE-2025-30144: an array that has our issuer among others.
    ...[[ISSUER], ['https://evil.example', ISSUER], `${ISSUER}/`, 'https://APP.example', ''].map(
      (value): [string, unknown] => ['iss', value],
    ),
    ...[`${ISSUER} `, `${ISSUER}.evil.example`, null, 1, { 0: ISSUER }, undefined].map(
      (value): [string, unknown] => ['iss', value],
    ),
    ...[[], [[AUDIENCE[0]]], { 0: AUDIENCE[0] }, `${AUDIENCE[0]} `, `${AUDIENCE[0]}/`].map(
      (value): [string, unknown] => ['aud', value],
    ),
    ...['', '*', null, 1, true, undefined, [AUDIENCE[0], 1], [AUDIENCE[0], null], ['other']].map(
      (value): [string, unknown] => ['aud', value],
    ),
    ...['9999999999', null, undefined, 0, -1, now, now - 1, now + 900.5, true, [now + 60]].map(
      (value): [string, unknown] => ['exp', value],
    ),
    ...[now + TTL_MS / 1000 + 1, now + 315_360_000, 2 ** 53, Number.MAX_SAFE_INTEGER].map(
      (value): [string, unknown] => ['exp', value],
    ),
    ...[now + 31, now + 31_536_000, String(now), null, undefined, -1, now - 0.5, now - 1].map(
      (value): [string, unknown] => ['iat', value],
    ),
    ...[now + 31, '0', null, 0.5, -1, false, [0]].map((value): [string, unknown] => ['nbf', value]),
    ...[undefined, null, '0', 0.5, -1].map((value): [string, unknown] => ['auth_time', value]),
    ...['sub', 'jti', 'sid'].flatMap((claim) =>
      [
        { $ne: null },
        ['u1'],
        1,
        true,
        null,
        undefined,
        '',
        'u1\0',
        'u\n1',
        'u\u0085',
        '\u007f',
        '\ud800',
        'u'.repeat(256),
      ].map((value): [string, unknown] => [claim, value]),
    ),
    ...['gen', 'ver'].flatMap((claim) =>
      [undefined, null, '0', -1, 0.5, 2 ** 53, true].map((value): [string, unknown] => [
        claim,
        value,
      ]),
    ),
    ...[null, 1, ['t'], 't\0', '\udfff', {}].map((value): [string, unknown] => ['tenant', value]),
    ...['roles', 'amr'].flatMap((claim) =>
      ['admin', null, { 0: 'admin' }, [1], [['admin']], [null]].map((value): [string, unknown] => [
        claim,
        value,
      ]),
    ),
    ...['', ' ', 'a  b', ' a', 'a ', 'a\tb', 'a"b', 'a\\b', 'é', ['a'], null, 1].map(
      (value): [string, unknown] => ['scope', value],
    ),
    ...[1, null, ['a'], {}].map((value): [string, unknown] => ['acr', value]),
  ]
  it.each(bad)('%s is not %j', async (claim, value) => {
    expect(await failure(forge(header, testClaims({ [claim]: value }), privateKey))).toMatchObject({
      ...INVALID,
      cause: { message: expect.stringMatching(new RegExp(`^access token: claim (${claim}|exp)$`)) },
    })
  })

  it.each([
    ['exp', '1e400'],
    ['exp', '1e308'],
    ['exp', '-1e400'],
    ['iat', '-1e400'],
    ['nbf', '1e400'],
    ['auth_time', '1e400'],
    ['gen', '1e400'],
  ])('%s is not the number %s', async (claim, text) => {
    const claims = JSON.stringify(testClaims({ [claim]: 'HERE' })).replace('"HERE"', text)
    expect(await failure(forge(header, claims, privateKey))).toMatchObject(INVALID)
  })

  it.each([
    ['aud', ['other', AUDIENCE[1]]],
    ['aud', [AUDIENCE[0]]],
    ['iat', now + 30],
    ['nbf', now + 30],
    ['nbf', 0],
    ['exp', now + 1],
    ['sub', 'u'.repeat(255)],
    ['sub', '😀 user@example.org'],
    ['tenant', 'acme'],
    ['scope', 'read:a write:b !#[]~'],
  ])('%s may be %j', async (claim, value) => {
    const token = forge(header, testClaims({ [claim]: value }), privateKey)
    await expect(party.verifier.verify(token)).resolves.toMatchObject({ jti: 'a-jti' })
  })

  it('that are over are token_expired, only if all else is right', async () => {
    const past = { iat: now - 600, exp: now - 30 }
    const over = forge(header, testClaims(past), privateKey)
    expect(await failure(over)).toMatchObject({ code: 'token_expired', status: 401 })
    expect(await failure(forge(header, testClaims(past), attacker.privateKey))).toMatchObject(
      INVALID,
    )
    const worse = forge(header, testClaims({ ...past, aud: 'other' }), privateKey)
    expect(await failure(worse)).toMatchObject(INVALID)
    const within = forge(header, testClaims({ iat: now - 600, exp: now - 29 }), privateKey)
    await expect(party.verifier.verify(within)).resolves.toMatchObject({ sub: 'alice' })
  })
})

describe('spelling', () => {
  const [head, body, signature] = partsOf(valid)
  const spellings: [name: string, token: string][] = [
    ['padding', `${valid}==`],
    ['one pad', `${valid}=`],
    ['a newline after', `${valid}\n`],
    ['a newline before', `\n${valid}`],
    ['a space after', `${valid} `],
    ['a space within', `${head}.${body}.${signature.slice(0, 9)} ${signature.slice(9)}`],
    ['a tab within the payload', `${head}.${body.slice(0, 9)}\t${body.slice(9)}.${signature}`],
    ['a NUL', `${valid}\0`],
    ['a byte order mark', `\ufeff${valid}`],
    ['a dot more', `${valid}.`],
    ['a dot before', `.${valid}`],
    ['plain base64', valid.replaceAll('-', '+').replaceAll('_', '/').replace(/$/, '+')],
    ['percent encoding', valid.replaceAll('.', '%2E')],
    ['full-width letters', valid.replace(/e/, 'ｅ')],
    ['a scheme', `Bearer ${valid}`],
    ['quotes', `"${valid}"`],
    ['an impossible length', `${head}.${body}.${signature}AAA`],
    ['nothing', ''],
    ['two dots', '..'],
    ['two segments', `${head}.${body}`],
    ['no header', `.${body}.${signature}`],
    ['no payload', `${head}..${signature}`],
  ]
  it.each(spellings)('has no alias: %s', async (_name, token) => {
    expect(await failure(token)).toMatchObject(INVALID)
  })

  it('has no alias by unused bits of the signature (RFC 4648 §3.5)', async () => {
    const aliases = aliasesOf(signature)
    expect(aliases).toHaveLength(15)
    for (const alias of aliases) {
      expect(await failure(`${head}.${body}.${alias}`)).toMatchObject(INVALID)
    }
  })

  it('has one last character for each value of its last bits (RFC 4648 §3.5)', async () => {
    for (const text of ['A', 'AA', 'AAA', 'AAAA', 'AAAAA']) {
      for (const last of BASE64URL) {
        const isCanonical =
          Buffer.from(text + last, 'base64url').toString('base64url') === text + last
        const message = expect.stringMatching(/not canonical/)
        const expected = isCanonical ? expect.not.objectContaining({ message }) : { message }
        for (const token of [
          `${text}${last}.AAAA.AAAA`,
          `${head}.${text}${last}.AAAA`,
          `${head}.AAAA.${text}${last}`,
        ]) {
          expect(await failure(token)).toMatchObject({ ...INVALID, cause: expected })
        }
      }
    }
  })

  it('has no alias by unused bits of header and payload, even if they are signed', async () => {
    let tried = 0
    for (const pad of ['', 'x', 'xx']) {
      const text = segment(testClaims({ pad }))
      // Whitespace is JSON, and gives the header any length.
      const spaced = segment(JSON.stringify(header) + ' '.repeat(pad.length))
      for (const input of [
        ...aliasesOf(text).map((alias) => `${head}.${alias}`),
        ...aliasesOf(spaced).map((alias) => `${alias}.${body}`),
      ]) {
        const token = `${input}.${segment(signAs('ES256', privateKey, input))}`
        expect(await failure(token)).toMatchObject(INVALID)
        tried += 1
      }
    }
    expect(tried).toBe(2 * (15 + 3))
  })
})

describe('signatures', () => {
  it('the twin (r, n − s) names the same session and token, so no list misses it', async () => {
    const { token } = await party.issuer.issue(testSession())
    const twin = withSignature(token, ecdsaTwin(Buffer.from(partsOf(token)[2], 'base64url')))
    expect(twin).not.toBe(token)
    const [first, second] = [await party.verifier.verify(token), await party.verifier.verify(twin)]
    expect([second.jti, second.sid, second.iss]).toEqual([first.jti, first.sid, first.iss])
  })

  it('are not DER', async () => {
    const der = sign('sha256', Buffer.from(valid.slice(0, valid.lastIndexOf('.'))), privateKey)
    expect(await failure(withSignature(valid, der))).toMatchObject(INVALID)
  })

  const special = [0n, 1n, P256_ORDER - 1n, P256_ORDER]
  it.each(special.flatMap((r) => special.map((s): [bigint, bigint] => [r, s])))(
    'are not r = %d, s = %d (CVE-2022-21449)',
    async (r, s) => {
      const forged = withSignature(valid, Buffer.concat([toBytes32(r), toBytes32(s)]))
      expect(await failure(forged)).toMatchObject(INVALID)
    },
  )

  it.each([0, 1, 32, 63, 65, 96, 128])('are not of %d bytes', async (length) => {
    const bytes = Buffer.from(partsOf(valid)[2], 'base64url')
    const cut = Buffer.concat([bytes, Buffer.alloc(64)]).subarray(0, length)
    expect(await failure(withSignature(valid, cut))).toMatchObject(INVALID)
  })

  it('of Ed25519 have no twin (s + L)', async () => {
    const edJwk = testKey('EdDSA')
    const edParty = openParty(parseSigningKeys([edJwk]))
    const { token } = await edParty.issuer.issue(testSession())
    const bytes = Buffer.from(partsOf(token)[2], 'base64url')
    const order = 2n ** 252n + 27742317777372353535851937790883648493n
    const s = BigInt(`0x${Buffer.from(bytes.subarray(32).toReversed()).toString('hex')}`)
    const twin = Buffer.concat([bytes.subarray(0, 32), toBytes32(s + order).toReversed()])
    expect(await failure(withSignature(token, twin), edParty)).toMatchObject(INVALID)
  })
})

describe('payloads', () => {
  it('of duplicate members mean the last, in header and payload alike', async () => {
    const claims = JSON.stringify(testClaims())
    const twice = claims.replace('{', '{"sub":"mallory",')
    const token = forge(header, twice, privateKey)
    await expect(party.verifier.verify(token)).resolves.toMatchObject({ sub: 'alice' })

    const last = JSON.stringify(header).replace(/\}$/, ',"alg":"none"}')
    expect(await failure(forge(last, claims, privateKey))).toMatchObject(INVALID)
    const first = JSON.stringify(header).replace('{', '{"alg":"none",')
    await expect(party.verifier.verify(forge(first, claims, privateKey))).resolves.toMatchObject({
      sub: 'alice',
    })
  })

  const claims = JSON.stringify(testClaims())
  const odd: [name: string, payload: unknown][] = [
    ['an array (CVE-2026-107723)', [testClaims()]],
    ['an empty array', []],
    ['a text', '"x"'],
    ['a number', '1'],
    ['null', 'null'],
    ['empty', ' '],
    ['after a byte order mark', `\ufeff${claims}`],
    ['invalid UTF-8', Buffer.from(claims.replace('alice', 'ali\xffe'), 'latin1')],
    ['overlong UTF-8', Buffer.from(claims.replace('alice', 'ali\xc1\x81e'), 'latin1')],
    ['a lone surrogate in UTF-8', Buffer.from(claims.replace('alice', '\xed\xa0\x80'), 'latin1')],
    ['UTF-16', Buffer.from(claims, 'utf16le')],
    ['cut short', claims.slice(0, -1)],
    ['followed by more', `${claims}{}`],
    ['with a comment', `${claims}//`],
    ['another token', valid],
  ]
  it.each(odd)('are not %s', async (_name, payload) => {
    const error = await failure(forge(header, payload, privateKey))
    expect(error).toMatchObject(INVALID)
    expect(error).not.toMatchObject({ cause: { message: expect.stringContaining('claim') } })
  })

  it('that are not JSON are not quoted, nor are headers', async () => {
    for (const token of [
      forge(header, 'canary', privateKey),
      forge('canary', testClaims(), privateKey),
      forge({ ...header, kid: 'canary' }, testClaims(), privateKey),
      forge({ ...header, typ: 'canary' }, testClaims(), privateKey),
      forge(header, testClaims({ sub: 'canary', exp: 1 }), privateKey),
    ]) {
      const error = await failure(token)
      expect(error).toMatchObject(INVALID)
      expect(inspect(error, { depth: 10 })).not.toContain('canary')
    }
  })

  it('reach no prototype', async () => {
    expect(await failure(forge(header, `{"__proto__":${claims}}`, privateKey))).toMatchObject(
      INVALID,
    )
    const text = claims.replace('{', '{"__proto__":{"admin":true},"constructor":1,"prototype":2,')
    const token = forge(header, text, privateKey)
    const verified = await party.verifier.verify(token)
    expect(Object.keys(verified.claims)).toEqual([])
    expect(Object.getPrototypeOf(verified.claims)).toBe(Object.prototype)
    expect(verified.claims).not.toHaveProperty('admin')
  })

  it.each([
    ['a JWE', `${segment({ alg: 'dir', enc: 'A256GCM', typ: 'at+jwt', kid })}..aaaa.aaaa.aaaa`],
    ['five parts', `${valid}.aaaa.aaaa`],
    ['four parts', `${valid}.aaaa`],
    ['a general JWS', JSON.stringify({ payload: partsOf(valid)[1], signatures: [] })],
    [
      'a flattened JWS',
      JSON.stringify({
        protected: partsOf(valid)[0],
        payload: partsOf(valid)[1],
        signature: partsOf(valid)[2],
      }),
    ],
  ])('are not in %s', async (_name, token) => {
    expect(await failure(token)).toMatchObject(INVALID)
  })

  it.each([
    ['10 MB of a good alphabet', () => 'A'.repeat(10_000_000)],
    ['10 MB of dots', () => '.'.repeat(10_000_000)],
    ['10 MB, well signed', () => forge(header, testClaims({ pad: 'x'.repeat(7e6) }), privateKey)],
    ['nested 200,000 deep', () => forge(header, '['.repeat(200_000), privateKey)],
    ['4097 characters', () => `${valid}${'A'.repeat(4097 - valid.length)}`],
  ])('are refused before they cost anything: %s', async (_name, make) => {
    const token = make()
    const parse = jest.spyOn(JSON, 'parse')
    // What takes its time takes it at every try; a machine that stalls does not.
    let best = Infinity
    for (let tries = 0; tries < 10 && best >= 50; tries++) {
      const began = performance.now()
      expect(await party.verifier.verify(token).catch((err: unknown) => err)).toMatchObject({
        ...INVALID,
        cause: { message: 'access token: too long' },
      })
      best = Math.min(best, performance.now() - began)
    }
    expect(best).toBeLessThan(50)
    expect(parse).not.toHaveBeenCalled()
  })

  it.each([
    ['[', ']'],
    ['{"a":', '}'],
  ])('nested as deep as fits do no harm: %s', async (open, close) => {
    const depth = Math.floor(2300 / (open.length + close.length))
    const broken = forge(header, open.repeat(depth), privateKey)
    expect(await failure(broken)).toMatchObject(INVALID)
    const deep: unknown = JSON.parse(`${open.repeat(depth)}1${close.repeat(depth)}`)
    const verified = await party.verifier.verify(forge(header, testClaims({ deep }), privateKey))
    expect(verified.claims['deep']).toEqual(deep)
  })
})

describe('chance', () => {
  it('no single changed, added or removed character is accepted', async () => {
    const character = fc.oneof(
      fc.constantFrom(...'ABCabc019-_.=+/ \n\t\0~é'.split('')),
      fc.string({ minLength: 1, maxLength: 1 }),
    )
    const edit = fc.constantFrom('change', 'insert', 'delete')
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: valid.length }), character, edit, async (at, text, kind) => {
        const rest = valid.slice(kind === 'insert' ? at : at + 1)
        const edited = valid.slice(0, at) + (kind === 'delete' ? '' : text) + rest
        fc.pre(edited !== valid)
        expect(await failure(edited)).toMatchObject(INVALID)
      }),
      { numRuns: 1500 },
    )
  })

  it('no garbage throws anything but AuthError', async () => {
    const part = fc.oneof(
      fc.json().map(segment),
      fc.uint8Array({ maxLength: 80 }).map(segment),
      fc.constantFrom(segment(header), segment(testClaims()), partsOf(valid)[2]),
      fc.string(),
    )
    const garbage = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(part, { maxLength: 6 }).map((parts) => parts.join('.')),
      fc.json().map((claims) => forge(header, claims, privateKey)),
    )
    await fc.assert(
      fc.asyncProperty(garbage, async (token) => {
        fc.pre(token !== valid)
        const error = await failure(token)
        expect(error).toBeInstanceOf(AuthError)
        expect(error).toMatchObject(INVALID)
      }),
      { numRuns: 1500 },
    )
  })

  it.each([undefined, null, 1, {}, [valid], Buffer.from(valid)])(
    'what is no text is refused: %#',
    async (value) => {
      const token = value as string
      await expect(party.verifier.verify(token)).rejects.toMatchObject(INVALID)
    },
  )
})

describe('keys of all algorithms', () => {
  const algorithms: readonly Algorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']
  it.each(algorithms)('%s: an edited payload is refused', async (alg) => {
    const own = openParty(parseSigningKeys([testKey(alg)]))
    const { token } = await own.issuer.issue(testSession())
    const [head, , signature] = partsOf(token)
    const edited = `${head}.${segment(testClaims({ sub: 'root' }))}.${signature}`
    expect(await failure(edited, own)).toMatchObject(INVALID)
  })
})
