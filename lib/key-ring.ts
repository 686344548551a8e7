import { createHmac, createSecretKey, hkdfSync, timingSafeEqual } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { ConfigError } from './errors.ts'
import { open, seal } from './sealing.ts'

/** What a derived key is for. A MAC made for one purpose never verifies for another. */
export type Purpose = 'session-token' | 'refresh-token'

/** The app's `secrets`, turned into one key per secret and purpose. */
export interface KeyRing {
  /** Key id of the secret that signs. */
  readonly activeKid: string
  /** MAC of a text under the signing secret: 128 bits, 22 characters base64url. */
  sign(purpose: Purpose, text: string): string
  /** Whether `mac` is the MAC of `text` under the secret named by `kid`; in constant time. */
  verify(purpose: Purpose, kid: string, text: string, mac: string): boolean
  /**
   * Encrypts the private signing keys under the signing secret.
   *
   * @param bound - what must be the same at opening
   */
  sealKeys(text: string, bound: string): string
  /** The text of such a seal, under the secret named by `kid`; null when it does not open. */
  openKeys(kid: string, sealed: string, bound: string): string | null
}

/** One secret's keys. */
interface Derived extends Record<Purpose, KeyObject> {
  readonly 'signing-keys': KeyObject
}

const MIN_SECRET_BYTES = 32
const MAC_BYTES = 16
const SALT = 'latchkey/v1'

/**
 * Derives the keys of all `secrets` by HKDF-SHA-256 (RFC 5869). Position 0 signs, all verify.
 *
 * @param secrets - texts or bytes, each at least 32 bytes
 * @throws {ConfigError} `invalid_option` for an empty list, a short secret, or the same secret twice
 */
export function createKeyRing(secrets: readonly (string | Uint8Array)[]): KeyRing {
  // One text, as it comes from the environment, would be a list of its characters or no list at all.
  if (!Array.isArray(secrets)) throw new ConfigError('secrets', 'must be a list: [secret]')
  const rings = new Map<string, Derived>()
  for (const [index, secret] of secrets.entries()) {
    const bytes = secretBytes(secret, `secrets[${index}]`)
    const kid = derive(bytes, 'kid', 5).toString('base64url').slice(0, 6)
    if (rings.has(kid)) {
      throw new ConfigError(`secrets[${index}]`, 'stands in the list twice; remove one')
    }
    rings.set(kid, {
      'session-token': createSecretKey(derive(bytes, 'session-token', 32)),
      'refresh-token': createSecretKey(derive(bytes, 'refresh-token', 32)),
      'signing-keys': createSecretKey(derive(bytes, 'signing-keys', 32)),
    })
  }
  const [first] = rings
  if (first === undefined) throw new ConfigError('secrets', 'must name at least one secret')
  const [activeKid, active] = first

  return {
    activeKid,
    sign: (purpose, text) => mac(active[purpose], text),
    verify(purpose, kid, text, presented) {
      const ring = rings.get(kid)
      if (ring === undefined) return false
      const expected = Buffer.from(mac(ring[purpose], text), 'utf8')
      // As latin1, a character beyond it would pass for the one its low byte names.
      const actual = Buffer.from(presented, 'utf8')
      return expected.length === actual.length && timingSafeEqual(expected, actual)
    },
    sealKeys: (text, bound) => seal(active['signing-keys'], text, bound),
    openKeys(kid, sealed, bound) {
      const ring = rings.get(kid)
      return ring === undefined ? null : open(ring['signing-keys'], sealed, bound)
    },
  }
}

function mac(key: KeyObject, text: string): string {
  return createHmac('sha256', key).update(text).digest().toString('base64url', 0, MAC_BYTES)
}

function derive(secret: Uint8Array, info: string, length: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, SALT, `latchkey ${info}`, length))
}

function secretBytes(secret: unknown, option: string): Uint8Array {
  const bytes = typeof secret === 'string' ? Buffer.from(secret, 'utf8') : secret
  if (!(bytes instanceof Uint8Array)) throw new ConfigError(option, 'must be text or bytes')
  if (bytes.length < MIN_SECRET_BYTES) {
    throw new ConfigError(
      option,
      `must have at least ${MIN_SECRET_BYTES} bytes, has ${bytes.length}; ` +
        `make one with: node -p "crypto.randomBytes(32).toString('base64url')"`,
    )
  }
  return bytes
}
