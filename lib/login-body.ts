import { ConfigError, AuthError } from './errors.ts'
import type { JsonObject } from './session.ts'

/** NIST SP 800-63B-4 §3.1.1.2 wants 64 characters at least; beyond this only hashing gets dearer. */
const MAX_TEXT_BYTES = 1024

/** What every app calls it. */
const PASSWORD = 'password'

/**
 * The names of the members a login may have.
 *
 * @throws {ConfigError} `invalid_option`
 */
export function parseCredentials(credentials: unknown): readonly string[] | null {
  if (credentials === undefined) return null
  const given: readonly unknown[] = Array.isArray(credentials) ? credentials : []
  const names = given.filter((name): name is string => typeof name === 'string' && name !== '')
  if (names.length > 0 && names.length === given.length) return names
  throw new ConfigError('credentials', "must be a list of names, such as ['username', 'password']")
}

/**
 * Refuses a login whose body no form of the app's sends, before anything is counted, looked up or
 * hashed. Says the same whoever it is about.
 *
 * @param names - the members there may be, each a text; null when that is the app's to judge
 * @throws {AuthError} `invalid_request` (400), also for a password of more than 1024 bytes: it is
 *   never cut
 */
export function refuseOddLogin(body: JsonObject, names: readonly string[] | null): void {
  for (const [name, value] of Object.entries(body)) {
    if (names?.includes(name) === false) {
      throw new AuthError('invalid_request', 'the request has a member that means nothing here')
    }
    if (typeof value !== 'string') {
      if (names !== null) throw new AuthError('invalid_request', 'the members must be texts')
    } else if ((names !== null || name === PASSWORD) && Buffer.byteLength(value) > MAX_TEXT_BYTES) {
      throw new AuthError('invalid_request', `a member has at most ${MAX_TEXT_BYTES} bytes`)
    }
  }
}
