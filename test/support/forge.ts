import type { JsonWebKeyInput, KeyObject } from 'node:crypto'
import { constants, createHmac, createPrivateKey, createPublicKey, sign } from 'node:crypto'
import type { SigningJwk } from '../../lib/signing-keys.ts'

/** Writes a segment of a token: text and bytes as they are, everything else as JSON. */
export function segment(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64url')
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return Buffer.from(text, 'utf8').toString('base64url')
}

/** The halves of a private JWK. */
export function halves(jwk: SigningJwk): { privateKey: KeyObject; publicKey: KeyObject } {
  const privateKey = createPrivateKey({ key: { ...jwk } as JsonWebKeyInput['key'], format: 'jwk' })
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

/** Signs as a JWS algorithm does (RFC 7518 §3.1), with whatever key it is given. */
export function signAs(alg: string, key: KeyObject | Buffer | string, input: string): Buffer {
  const digest = alg === 'EdDSA' ? null : `sha${alg.slice(2)}`
  const data = Buffer.from(input)
  if (alg.startsWith('HS'))
    return createHmac(`sha${alg.slice(2)}`, key)
      .update(data)
      .digest()
  if (!isKeyObject(key)) throw new TypeError('only HMAC takes bytes')
  if (alg.startsWith('ES')) return sign(digest, data, { key, dsaEncoding: 'ieee-p1363' })
  if (alg.startsWith('PS')) {
    const padding = constants.RSA_PKCS1_PSS_PADDING
    return sign(digest, data, { key, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST })
  }
  return sign(digest, data, key)
}

/** A token of any header and payload, signed all the same. */
export function forge(
  header: unknown,
  payload: unknown,
  key: KeyObject | Buffer | string,
  alg = 'ES256',
): string {
  const input = `${segment(header)}.${segment(payload)}`
  return `${input}.${segment(signAs(alg, key, input))}`
}

/** The parts of a token. */
export function partsOf(token: string): [header: string, payload: string, signature: string] {
  const [header = '', payload = '', signature = ''] = token.split('.')
  return [header, payload, signature]
}

/** The token with another signature. */
export function withSignature(token: string, signature: Uint8Array): string {
  const [header, payload] = partsOf(token)
  return `${header}.${payload}.${segment(signature)}`
}

/** The alphabet of RFC 4648 §5. */
export const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** All other spellings of a segment that decode to the same bytes: its unused bits set. */
export function aliasesOf(text: string): string[] {
  const bytes = Buffer.from(text, 'base64url')
  return BASE64URL.split('')
    .map((last) => text.slice(0, -1) + last)
    .filter((alias) => alias !== text && Buffer.from(alias, 'base64url').equals(bytes))
}

/** The other signature that verifies wherever an ECDSA P-256 one does: (r, n − s). */
export function ecdsaTwin(signature: Uint8Array): Buffer {
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).toString('hex')}`)
  return Buffer.concat([signature.subarray(0, 32), toBytes32(P256_ORDER - s)])
}

/** Order of the group of P-256 (FIPS 186-4 D.1.2.3). */
export const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/** A number as 32 bytes. */
export function toBytes32(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(64, '0'), 'hex')
}

function isKeyObject(key: KeyObject | Buffer | string): key is KeyObject {
  return typeof key === 'object' && 'asymmetricKeyType' in key
}
