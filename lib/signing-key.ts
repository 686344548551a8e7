import type { JsonWebKey, KeyObject } from 'node:crypto'
import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import type { Algorithm } from './access-token-format.ts'
import { KEY_ID } from './access-token-format.ts'
import { ConfigError } from './errors.ts'
import { findRsaFlaw } from './rsa-key.ts'

/** A key as a JWK (RFC 7517) with its algorithm; private where it signs. */
export interface SigningJwk {
  readonly kty: string
  readonly alg: Algorithm
  /** Letters, digits, `.`, `_` and `-`, at most 64. @defaultValue the thumbprint (RFC 7638) */
  readonly kid?: string | undefined
  readonly use?: string | undefined
  readonly key_ops?: readonly string[] | undefined
  readonly crv?: string | undefined
  readonly x?: string | undefined
  readonly y?: string | undefined
  readonly n?: string | undefined
  readonly e?: string | undefined
  readonly d?: string | undefined
  readonly p?: string | undefined
  readonly q?: string | undefined
  readonly dp?: string | undefined
  readonly dq?: string | undefined
  readonly qi?: string | undefined
}

/** A key as PEM (private: PKCS#8, public: SPKI) with its algorithm. */
export interface SigningPem {
  readonly pem: string
  readonly alg: Algorithm
  /** Letters, digits, `.`, `_` and `-`, at most 64. @defaultValue the thumbprint (RFC 7638) */
  readonly kid?: string | undefined
}

/** A key that never leaves a KMS or an HSM: a callback signs. */
export interface SigningCallback {
  readonly alg: Algorithm
  /** Letters, digits, `.`, `_` and `-`, at most 64. @defaultValue the thumbprint (RFC 7638) */
  readonly kid?: string | undefined
  /** Its public half, a JWK or PEM (SPKI). */
  readonly publicKey: string | Omit<SigningJwk, 'alg'>
  /**
   * Signs data, not its hash: `alg` over `data`. For ES256 r and s in 64 bytes or DER. What it throws,
   * and an answer later than 2 s, is 503 `signing_unavailable`.
   */
  readonly sign: (data: Uint8Array) => Promise<Uint8Array> | Uint8Array
}

/** A signing key as an app gives it. After position 0 a public key will do: it only verifies. */
export type SigningKeyInput = SigningJwk | SigningPem | SigningCallback

/** The public members of a key. */
export interface PublicMembers {
  readonly kty: string
  readonly crv?: string
  readonly x?: string
  readonly y?: string
  readonly n?: string
  readonly e?: string
}

/** A key that was read and found fit. */
export interface ParsedKey extends KeyPair {
  readonly kid: string
  readonly alg: Algorithm
  readonly thumbprint: string
  readonly members: PublicMembers
  /** Signs where there is no private key. */
  readonly callback: SigningCallback['sign'] | undefined
}

interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject | undefined
}

/** What a key of each algorithm must be (RFC 7518 §3.3 to §3.5, RFC 8037 §3.1). */
const KEY_TYPES: Readonly<Record<Algorithm, { readonly type: string; readonly curve?: string }>> = {
  ES256: { type: 'ec', curve: 'prime256v1' },
  EdDSA: { type: 'ed25519' },
  PS256: { type: 'rsa' },
  RS256: { type: 'rsa' },
}

/**
 * Reads one key.
 *
 * @param option - the option's name, for the error
 * @throws {ConfigError} `invalid_option` when it is weak, inconsistent, not for its algorithm or not
 *   for signing
 */
export function parseSigningKey(input: SigningKeyInput, option: string): ParsedKey {
  const alg = readAlgorithm(input, option)
  const pair = readPair(input, option)
  refuseUnfit(pair, alg, option)
  const members = publicMembers(pair.publicKey)
  const thumbprint = thumbprintOf(members)
  const kid = input.kid ?? thumbprint
  if (typeof kid !== 'string' || !KEY_ID.test(kid)) {
    throw new ConfigError(option, `must have a kid of 1 to 64 letters, digits, '.', '_' and '-'`)
  }
  return {
    ...pair,
    kid,
    alg,
    thumbprint,
    members,
    callback: 'sign' in input ? input.sign : undefined,
  }
}

function readPair(input: SigningKeyInput, option: string): KeyPair {
  if ('pem' in input) return readPem(input.pem, option)
  if (!('sign' in input)) return readJwk(input, option)
  if (typeof input.sign !== 'function')
    throw new ConfigError(option, 'must have a function to sign')
  const { publicKey: given } = input
  const pair = typeof given === 'string' ? readPem(given, option) : readGivenJwk(given, option)
  if (pair.privateKey === undefined) return pair
  throw new ConfigError(option, 'has a private key as publicKey; give its public half')
}

function readGivenJwk(given: unknown, option: string): KeyPair {
  if (typeof given === 'object' && given !== null && 'kty' in given) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each member is looked at
    return readJwk(given as SigningJwk, option)
  }
  throw new ConfigError(option, 'must have its publicKey as a JWK or PEM')
}

function readAlgorithm(input: SigningKeyInput, option: string): Algorithm {
  // Options come from JavaScript as well.
  const given: unknown = input
  if (typeof given !== 'object' || given === null) {
    throw new ConfigError(option, 'must be a JWK, { pem, alg }, or { alg, publicKey, sign }')
  }
  if ('kty' in given && given.kty === 'oct') {
    throw new ConfigError(option, 'is symmetric; access tokens are signed by a private key')
  }
  if (typeof input.alg !== 'string' || !Object.hasOwn(KEY_TYPES, input.alg)) {
    throw new ConfigError(option, `must have alg: one of ${Object.keys(KEY_TYPES).join(', ')}`)
  }
  return input.alg
}

function readPem(pem: string, option: string): KeyPair {
  if (typeof pem !== 'string') throw new ConfigError(option, 'must have its pem as text')
  try {
    const privateKey = createPrivateKey(pem)
    return { privateKey, publicKey: createPublicKey(privateKey) }
  } catch {
    // A public key, then, or nothing.
  }
  try {
    return { privateKey: undefined, publicKey: createPublicKey(pem) }
  } catch (cause) {
    throw new ConfigError(option, 'is not PEM of a PKCS#8 or SPKI key', { cause })
  }
}

function readJwk(jwk: SigningJwk, option: string): KeyPair {
  const { kty, crv, x, y, n, e, d, p, q, dp, dq, qi, use, key_ops: operations } = jwk
  const needed = d === undefined ? 'verify' : 'sign'
  if (use !== undefined && use !== 'sig') throw new ConfigError(option, 'must have use "sig"')
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes(needed))) {
    throw new ConfigError(option, `must have "${needed}" in key_ops`)
  }
  const members = { kty, crv, x, y, n, e }
  try {
    const publicKey = createPublicKey({ key: textsOf(members), format: 'jwk' })
    if (d === undefined) return { privateKey: undefined, publicKey }
    const secret = textsOf({ ...members, d, p, q, dp, dq, qi })
    return { privateKey: createPrivateKey({ key: secret, format: 'jwk' }), publicKey }
  } catch {
    // What node:crypto says may quote a member.
    throw new ConfigError(option, 'is not a key: a member is missing or malformed')
  }
}

/** The members that are text; the rest is missing, and node:crypto will say so. */
function textsOf(members: Readonly<Record<string, unknown>>): JsonWebKey {
  return Object.fromEntries(
    Object.entries(members).filter(([, value]) => typeof value === 'string'),
  )
}

function refuseUnfit({ publicKey, privateKey }: KeyPair, alg: Algorithm, option: string): void {
  const { type, curve } = KEY_TYPES[alg]
  const { asymmetricKeyType, asymmetricKeyDetails } = publicKey
  if (asymmetricKeyType !== type || asymmetricKeyDetails?.namedCurve !== curve) {
    throw new ConfigError(option, `is no key for ${alg}`)
  }
  const flaw =
    type === 'rsa' ? findRsaFlaw((privateKey ?? publicKey).export({ format: 'jwk' })) : null
  if (typeof flaw === 'string') throw new ConfigError(option, flaw)
  if (privateKey === undefined) return
  if (!belongTogether(publicKey, privateKey)) {
    throw new ConfigError(option, 'has a private half that does not belong to its public one')
  }
}

/** The halves come apart when a JWK is put together by hand: what one signs the other must verify. */
function belongTogether(publicKey: KeyObject, privateKey: KeyObject): boolean {
  const digest = publicKey.asymmetricKeyType === 'ed25519' ? null : 'sha256'
  const probe = Buffer.from('latchkey')
  try {
    return verify(digest, probe, publicKey, sign(digest, probe, privateKey))
  } catch {
    return false
  }
}

/** The public members of a key, in the one spelling node:crypto gives them. */
export function publicMembers(publicKey: KeyObject): PublicMembers {
  const { kty = '', ...members } = publicKey.export({ format: 'jwk' })
  return { kty, ...members }
}

/** The key's name by its content; RFC 7638 §3.2: the required members in alphabetical order. */
export function thumbprintOf({ crv, e, kty, n, x, y }: PublicMembers): string {
  return createHash('sha256').update(JSON.stringify({ crv, e, kty, n, x, y })).digest('base64url')
}
