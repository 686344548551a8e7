import type { VerificationKey } from './access-token-format.ts'
import type { VerificationKeys } from './access-token-verifier.ts'
import { AuthError, ConfigError } from './errors.ts'
import type { ReadJwkSet } from './jwk-set.ts'
import { importPublicKey, readJwkSet } from './jwk-set.ts'

/** How the keys of a verifier are doing. */
export interface PublicKeysStatus {
  /** How many keys tokens can be verified with now. */
  readonly count: number
  /** How old the set is, in milliseconds; null before the first, and for keys that never change. */
  readonly ageMs: number | null
  /** Whether the last try to get a newer set failed. */
  readonly failing: boolean
}

/** The public keys of an issuer, seen from a service. */
export interface PublicKeys extends Required<VerificationKeys> {
  /** Gets the keys before anybody asks for one. Nothing is fetched before this or `seek`. */
  start(): void
  /** Resolves once there are keys, or none will come. */
  readonly ready: Promise<void>
  status(): PublicKeysStatus
  /** The issuer said that its keys changed. */
  reload(): void
  close(): void
}

/** There is no key to judge any token by: nothing is wrong with the token. */
export function keysUnavailable(cause: unknown): AuthError {
  return new AuthError('keys_unavailable', "the issuer's keys cannot be had", { cause })
}

/**
 * Keys that the app hands over, as the issuer publishes them. What is ignored in a set from elsewhere
 * is an error in one the app wrote.
 *
 * @throws {ConfigError} `invalid_option` for a set with any flaw
 */
export function staticKeys(jwks: unknown): PublicKeys {
  const set = checkSet(jwks)
  const keys = new Map<string, VerificationKey>()
  const loading = load()
  // Whoever waits for it hears of it; nobody has to.
  loading.catch(() => {})

  async function load(): Promise<void> {
    for (const text of set.keys) {
      try {
        keys.set(text.kid, await importPublicKey(text))
      } catch (cause) {
        throw new ConfigError('jwks', 'has a key that is none', { cause })
      }
    }
  }

  return {
    find: (kid) => keys.get(kid),
    async seek() {
      try {
        await loading
      } catch (cause) {
        throw keysUnavailable(cause)
      }
    },
    start() {},
    ready: loading,
    status: () => ({ count: set.keys.length, ageMs: null, failing: false }),
    reload() {},
    close() {},
  }
}

function checkSet(jwks: unknown): ReadJwkSet {
  const set = readJwkSet(jwks)
  if (typeof set === 'string') throw new ConfigError('jwks', set)
  const [flaw] = set.ignored
  if (flaw !== undefined) throw new ConfigError('jwks', flaw)
  return set
}
