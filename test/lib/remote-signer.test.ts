import { sign } from 'node:crypto'
import { afterEach, describe, expect, it, jest } from '@jest/globals'
import type { Algorithm, SigningCallback, SigningKeys } from '../../lib/signing-keys.ts'
import { parseSigningKeys } from '../../lib/signing-keys.ts'
import { signJwt } from '../../lib/sign-jwt.ts'
import { openParty, testKey, testSession } from '../support/access-tokens.ts'
import { halves, signAs } from '../support/forge.ts'

const ALGORITHMS: readonly Algorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']
const jwk = testKey('ES256')
const { privateKey, publicKey } = halves(jwk)
const spki = publicKey.export({ format: 'pem', type: 'spki' }).toString()

type Sign = SigningCallback['sign']

const raw: Sign = (data) => sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })

function open(callback: Sign, failures: unknown[] = []): SigningKeys {
  const input = { alg: 'ES256', publicKey: spki, sign: callback } as const
  return parseSigningKeys([input], (error) => failures.push(error))
}

afterEach(() => {
  jest.useRealTimers()
})

describe('a key behind a callback', () => {
  it.each(ALGORITHMS)('signs tokens that verify, and is in the JWKS: %s', async (alg) => {
    const own = testKey(alg)
    const pair = halves(own)
    const { kty, crv, x, y, n, e } = own
    const shown = { kty, crv, x, y, n, e }
    const keys = parseSigningKeys([
      {
        alg,
        kid: 'kms-1',
        publicKey: shown,
        sign: async (data) => signAs(alg, pair.privateKey, Buffer.from(data).toString('latin1')),
      },
    ])
    await keys.ready()
    const party = openParty(keys)
    const { token } = await party.issuer.issue(testSession())
    await expect(party.verifier.verify(token)).resolves.toMatchObject({ sub: 'alice' })
    expect(keys.jwks.keys).toEqual([
      expect.objectContaining({ kid: 'kms-1', alg, use: 'sig', kty: own.kty }),
    ])
  })

  it('may answer an ECDSA signature as DER, of any length', async () => {
    const party = openParty(open((data) => sign('sha256', data, privateKey)))
    // One in 128 has an r or s that is shorter than the others.
    for (let turn = 0; turn < 600; turn++) {
      const token = await signJwt(party.keys.active, { turn }, 'at+jwt')
      expect(Buffer.from(token.split('.')[2] ?? '', 'base64url')).toHaveLength(64)
    }
  })

  const der = sign('sha256', Buffer.from('x'), privateKey)
  const answers: [string, Sign][] = [
    ['throws', () => Promise.reject(new Error('the KMS is away'))],
    [
      'throws at once',
      () => {
        throw new Error('the KMS is away')
      },
    ],
    ['answers nothing', (() => undefined) as unknown as Sign],
    ['answers text', (() => 'c2ln') as unknown as Sign],
    ['answers zeros', () => new Uint8Array(64)],
    ['answers no bytes', () => new Uint8Array(0)],
    ['answers too few', async (data) => (await raw(data)).subarray(1)],
    ['signs something else', () => raw(Buffer.from('something else'))],
    [
      'signs with another key',
      (data) => signAs('ES256', halves(testKey('ES256')).privateKey, Buffer.from(data).toString()),
    ],
    ['signs something else, as DER', () => der],
    ['answers DER that is cut', () => der.subarray(0, -1)],
    [
      'answers DER of another curve',
      () =>
        Buffer.concat([
          Buffer.from([0x30, 0x48, 2, 34]),
          Buffer.alloc(34, 1),
          Buffer.from([2, 34]),
          Buffer.alloc(34, 1),
        ]),
    ],
    ['changes the data', (data) => raw(data.fill(0))],
  ]
  it.each(answers)('gives no token when it %s', async (_, callback) => {
    const failures: unknown[] = []
    const keys = open(callback, failures)
    const refused = { code: 'signing_unavailable', status: 503, headers: { 'Retry-After': '1' } }
    await expect(keys.ready()).rejects.toMatchObject(refused)
    await expect(signJwt(keys.active, {}, 'at+jwt')).rejects.toMatchObject(refused)
    expect(failures).toHaveLength(2)
  })

  it('is not waited for longer than 2 s', async () => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] })
    const keys = open(async () => new Promise(() => {}))
    const answer = expect(keys.ready()).rejects.toMatchObject({ code: 'signing_unavailable' })
    await jest.advanceTimersByTimeAsync(1999)
    await jest.advanceTimersByTimeAsync(1)
    await answer
  })

  it('is tried once by all who wait, and not again while it signs', async () => {
    let calls = 0
    let isAway = false
    const keys = open(async (data) => {
      calls++
      if (isAway) throw new Error('away')
      return raw(data)
    })
    await Promise.all(Array.from({ length: 20 }, async () => keys.ready()))
    expect(calls).toBe(1)
    await keys.ready()
    expect(calls).toBe(1)
    isAway = true
    await expect(signJwt(keys.active, {}, 'at+jwt')).rejects.toMatchObject({ status: 503 })
    // Nobody knows whether it is back: that is asked before anything changes.
    await Promise.allSettled(Array.from({ length: 20 }, async () => keys.ready()))
    expect(calls).toBe(3)
    isAway = false
    await keys.ready()
    expect(calls).toBe(4)
  })

  it('is not asked for more than 256 signatures at a time', async () => {
    let calls = 0
    const release: (() => void)[] = []
    const keys = open(async (data) => {
      calls++
      await new Promise<void>((resolve) => release.push(resolve))
      return raw(data)
    })
    const asked = Array.from({ length: 300 }, async () => signJwt(keys.active, {}, 'at+jwt'))
    const settled = Promise.allSettled(asked)
    await new Promise(setImmediate)
    expect(calls).toBe(256)
    for (const go of release) go()
    const states = (await settled).map(({ status }) => status)
    expect(states.filter((status) => status === 'fulfilled')).toHaveLength(256)
  })

  const inputs: [string, unknown][] = [
    ['sign is no function', { alg: 'ES256', publicKey: spki, sign: 'arn:aws:kms' }],
    ['there is no public key', { alg: 'ES256', sign: raw }],
    ['the public key is nonsense', { alg: 'ES256', publicKey: 'x', sign: raw }],
    ['the public key is a private one', { alg: 'ES256', publicKey: jwk, sign: raw }],
    [
      'the public key is private PEM',
      { alg: 'ES256', publicKey: privateKey.export({ format: 'pem', type: 'pkcs8' }), sign: raw },
    ],
    ['alg is not that of the key', { alg: 'RS256', publicKey: spki, sign: raw }],
    ['alg is missing', { publicKey: spki, sign: raw }],
    ['kid is malformed', { alg: 'ES256', kid: 'arn:aws:kms', publicKey: spki, sign: raw }],
  ]
  it.each(inputs)('is refused at start when %s', (_, input) => {
    expect(() => parseSigningKeys([input as never])).toThrow(/^latchkey: signingKeys\[0\] /)
  })
})
