import { importJWK } from 'jose'
import type { Algorithm, VerificationKey } from './access-token-format.ts'
import { KEY_ID } from './access-token-format.ts'
import { findRsaFlaw } from './rsa-key.ts'

/** A public key as it stands in a set, checked as far as its text goes. */
export interface PublicKeyText {
  readonly kid: string
  readonly alg: Algorithm
  /** Its public members, without anything else. */
  readonly members: Readonly<Record<string, string>>
}

/** A set of public keys (RFC 7517 §5). */
export interface ReadJwkSet {
  readonly keys: readonly PublicKeyText[]
  /** Keys that are left out, and why: their position and the flaw, never their text. */
  readonly ignored: readonly string[]
}

/** How many keys a set may have: each costs time to check. */
export const MAX_KEYS = 100

/** RFC 7518 §6.2.2, §6.3.2 and §6.4.1. */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'] as const

/** 8192 bits: a longer modulus makes every verification slow. */
const MAX_MODULUS_LENGTH = 1366

const BASE64URL = /^[A-Za-z0-9_-]+$/
/** 32 bytes. */
const COORDINATE = /^[A-Za-z0-9_-]{43}$/

/** What a key of each algorithm must be (RFC 7518 §3.3 to §3.5, RFC 8037 §3.1). */
const SHAPES: Readonly<
  Record<
    Algorithm,
    {
      readonly kty: string
      readonly crv?: string
      readonly members: Readonly<Record<string, RegExp>>
    }
  >
> = {
  ES256: { kty: 'EC', crv: 'P-256', members: { x: COORDINATE, y: COORDINATE } },
  EdDSA: { kty: 'OKP', crv: 'Ed25519', members: { x: COORDINATE } },
  PS256: { kty: 'RSA', members: { n: BASE64URL, e: BASE64URL } },
  RS256: { kty: 'RSA', members: { n: BASE64URL, e: BASE64URL } },
}

/**
 * Reads a set of public keys.
 *
 * A set that cannot be what its issuer meant is refused as a whole: not an object with `keys`, more
 * than {@link MAX_KEYS}, two keys of one `kid`, a private or symmetric key. A key that is merely not
 * for access tokens, or too weak, is left out (RFC 7517 §5), and so is one without `kid` or `alg`:
 * a token names its key, and the key names the algorithm.
 *
 * @param value - parsed JSON
 * @returns the keys, or why the set is refused; never quotes it
 */
export function readJwkSet(value: unknown): ReadJwkSet | string {
  if (!isObject(value) || !Array.isArray(value['keys'])) {
    return 'is not an object with a list of keys'
  }
  const entries: readonly unknown[] = value['keys']
  if (entries.length > MAX_KEYS) return `has more than ${MAX_KEYS} keys`
  const keys: PublicKeyText[] = []
  const ignored: string[] = []
  const kids = new Set<string>()
  for (const [position, entry] of entries.entries()) {
    if (!isObject(entry)) return `keys[${position}] is not an object`
    if (PRIVATE_MEMBERS.some((name) => Object.hasOwn(entry, name))) {
      return `keys[${position}] is not public`
    }
    const { kid } = entry
    if (typeof kid === 'string') {
      if (kids.has(kid)) return `keys[${position}] has the kid of a key before it`
      kids.add(kid)
    }
    const key = readKey(entry)
    if (typeof key === 'string') ignored.push(`keys[${position}] ${key}`)
    else keys.push(key)
  }
  if (keys.length === 0) return ['has no key that can be used', ...ignored].join('; ')
  return { keys, ignored }
}

/** A key, or why it is of no use. */
function readKey(entry: Readonly<Record<string, unknown>>): PublicKeyText | string {
  const { kid, alg, kty, crv, use, key_ops: operations } = entry
  if (typeof kid !== 'string' || !KEY_ID.test(kid)) return 'has no kid, or one that is malformed'
  if (use !== undefined && use !== 'sig') return 'is not for signatures'
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    return 'is not for verifying'
  }
  if (!isAlgorithm(alg)) return 'has no alg, or another one'
  const shape = SHAPES[alg]
  if (kty !== shape.kty || (shape.crv !== undefined && crv !== shape.crv)) {
    return 'is not of the kind its alg asks for'
  }
  const members: Record<string, string> = { kty: shape.kty, ...(shape.crv && { crv: shape.crv }) }
  for (const [name, pattern] of Object.entries(shape.members)) {
    const member = entry[name]
    if (typeof member !== 'string' || !pattern.test(member)) return 'has a malformed member'
    members[name] = member
  }
  const { n, e } = members
  if (n === undefined) return { kid, alg, members }
  if (n.length > MAX_MODULUS_LENGTH || (e?.length ?? 0) > MAX_MODULUS_LENGTH) return 'is too long'
  return findRsaFlaw({ n, e }) ?? { kid, alg, members }
}

/**
 * Makes a key that verifies.
 *
 * @throws {Error} when it is none after all, such as a point that is not on its curve
 */
export async function importPublicKey({
  kid,
  alg,
  members,
}: PublicKeyText): Promise<VerificationKey> {
  const key = await importJWK({ ...members, alg }, alg)
  if (key instanceof Uint8Array) throw new TypeError('is symmetric')
  return Object.freeze({ kid, alg, key })
}

function isAlgorithm(alg: unknown): alg is Algorithm {
  return typeof alg === 'string' && Object.hasOwn(SHAPES, alg)
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
