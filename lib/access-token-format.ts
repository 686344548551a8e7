import type { CryptoKey, KeyObject } from 'jose'
import { AuthError } from './errors.ts'

/** Signature algorithms an access token can have (RFC 7518 §3.1, RFC 8037 §3.1). */
export type Algorithm = 'ES256' | 'EdDSA' | 'PS256' | 'RS256'

/** A public key that verifies access tokens. It names the algorithm; a token never does. */
export interface VerificationKey {
  readonly kid: string
  readonly alg: Algorithm
  readonly key: CryptoKey | KeyObject
}

/** What the header of an access token says, before anything is verified. */
export interface TokenHeader {
  readonly alg: string
  readonly kid: string
}

/** The longest access token that is looked at, in characters. */
export const MAX_TOKEN_LENGTH = 4096

/** What a key id looks like. */
export const KEY_ID: RegExp = /^[A-Za-z0-9._-]{1,64}$/

const THREE_SEGMENTS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/

// RFC 9068 §4 names both spellings; media types are case-insensitive (RFC 7515 §4.1.9).
const ACCESS_TOKEN_TYPE = /^(?:application\/)?at\+jwt$/i

/**
 * Reads the header of an access token, and refuses every spelling but the one an issuer writes:
 * three segments of canonical base64url, the header of exactly `alg`, `typ` and `kid`. A token thus
 * has one text, and nothing in it can bring its own key, name a URL, or change how it is verified.
 *
 * @throws {AuthError} `token_invalid`, for every flaw alike; `cause` says which
 *
 * @remarks RFC 8725 §3.1 and §3.9, RFC 9068 §4, RFC 4648 §3.5 (canonical encodings).
 */
export function readTokenHeader(token: string): TokenHeader {
  const header = readHeader(token)
  const { alg, typ, kid } = header
  if (typeof alg !== 'string' || typeof typ !== 'string' || typeof kid !== 'string') {
    throw tokenRefused('the header lacks alg, typ or kid')
  }
  if (Object.keys(header).length !== 3) throw tokenRefused('the header has other members')
  if (!ACCESS_TOKEN_TYPE.test(typ)) throw tokenRefused('typ is not at+jwt')
  if (!KEY_ID.test(kid)) throw tokenRefused('kid is malformed')
  return { alg, kid }
}

/**
 * The header of any compact JWS in its one canonical spelling, whatever its members.
 *
 * @throws {AuthError} `token_invalid`
 */
export function readHeader(token: string): Readonly<Record<string, unknown>> {
  // Before anything that costs time in proportion to the length.
  if (token.length > MAX_TOKEN_LENGTH) throw tokenRefused('too long')
  if (!THREE_SEGMENTS.test(token)) throw tokenRefused('not three segments of base64url')
  const headerEnd = token.indexOf('.')
  const payloadEnd = token.indexOf('.', headerEnd + 1)
  const isCanonical =
    isCanonicalSegment(token, 0, headerEnd) &&
    isCanonicalSegment(token, headerEnd + 1, payloadEnd) &&
    isCanonicalSegment(token, payloadEnd + 1, token.length)
  if (!isCanonical) throw tokenRefused('not canonical base64url')

  const text = token.slice(0, headerEnd).replaceAll('-', '+').replaceAll('_', '/')
  // A byte beyond ASCII is a character of its own here; no member that is taken can have one.
  const header = parseJsonObject(atob(text))
  if (header === undefined) throw tokenRefused('the header is not a JSON object')
  return header
}

/**
 * The one answer to an access token that is not valid.
 *
 * @param reason - which rule it broke, or what was thrown; never part of the token
 */
export function tokenRefused(reason: unknown): AuthError {
  const cause = typeof reason === 'string' ? new Error(`access token: ${reason}`) : reason
  return new AuthError('token_invalid', 'the access token is not valid', { cause })
}

/** The members of a JSON object, or undefined when the text is anything else. */
export function parseJsonObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isJsonObject(value) ? value : undefined
  } catch {
    // What JSON.parse says quotes the text, which may be anybody's.
    return undefined
  }
}

function isJsonObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether the segment re-encodes to itself: no impossible length, no unused bit set. */
function isCanonicalSegment(token: string, start: number, end: number): boolean {
  const last = token.charAt(end - 1)
  switch ((end - start) % 4) {
    case 0:
      return true
    case 2:
      return 'AQgw'.includes(last)
    case 3:
      return 'AEIMQUYcgkosw048'.includes(last)
    default:
      return false
  }
}
