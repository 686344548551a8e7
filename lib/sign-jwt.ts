import type { Algorithm } from './access-token-format.ts'
import type { JsonObject } from './session.ts'

/** What signs: a private key in this process, or a service behind a callback. */
export interface SigningKey {
  readonly kid: string
  readonly alg: Algorithm
  /** How long its signatures are, in bytes. */
  readonly signatureBytes: number
  /**
   * The signature of a JWS signing input, in the form of its algorithm (RFC 7518 §3.3 to §3.5, RFC
   * 8037 §3.1).
   *
   * @throws {AuthError} `signing_unavailable` when the key is elsewhere and cannot be used now
   */
  sign(input: Uint8Array): Promise<Uint8Array>
}

/**
 * Signs a JWT (RFC 7519, compact form). Its header has `alg`, `typ` and `kid`, in this order, and
 * nothing else.
 *
 * @param payload - the claims; whoever calls answers for them
 * @param typ - what the token is, such as `at+jwt`: no kind of token may pass for another (RFC 8725
 *   §3.11)
 * @throws {AuthError} `signing_unavailable` when the key cannot be used now
 */
export async function signJwt(key: SigningKey, payload: JsonObject, typ: string): Promise<string> {
  const header = { alg: key.alg, typ, kid: key.kid }
  const input = `${encode(JSON.stringify(header))}.${encode(JSON.stringify(payload))}`
  const signature = await key.sign(Buffer.from(input, 'latin1'))
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}

/**
 * How long the JWT will be that {@link signJwt} makes of this, in characters.
 *
 * @param payload - the claims at their longest
 */
export function signedLength(key: SigningKey, payload: JsonObject, typ: string): number {
  const header = { alg: key.alg, typ, kid: key.kid }
  const parts = [header, payload].map((part) => Buffer.byteLength(JSON.stringify(part)))
  return [...parts, key.signatureBytes].map(encodedLength).reduce((sum, part) => sum + 1 + part, -1)
}

function encode(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64url')
}

/** How many characters of base64url so many bytes become. */
function encodedLength(bytes: number): number {
  return Math.ceil((bytes * 4) / 3)
}
