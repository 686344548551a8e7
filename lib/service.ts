import { ConfigError } from './errors.ts'
import { isIdentifier } from './identifier.ts'

/** A backend that proves who it is by itself: a client in OAuth's words, never a user. */
export interface Service {
  /** Its name: `client_id`, and `sub` of its own tokens. 1 to 255 characters. */
  readonly id: string
  /** What it may be granted, one word an element. @defaultValue nothing */
  readonly scope?: readonly string[] | undefined
  /** For which of the kit's audiences it may have tokens. @defaultValue all of them */
  readonly audiences?: readonly string[] | undefined
}

/** What an authenticator of services has of the kit. */
export interface ServiceKit {
  /** The kit's `issuer`. */
  readonly issuer: string
  /** The kit's wall clock, epoch milliseconds. */
  readonly now: () => number
  /**
   * Remembers on all nodes that something was used: true for the first who asks with this key within
   * `forMs`. One round trip to the store.
   *
   * @throws {StoreUnavailable} it is not known whether it was used
   */
  readonly once: (key: string, forMs: number) => Promise<boolean>
}

/**
 * Says which service sent a request, or null when it does not know. It looks at the request's headers
 * and, on routes that take one, at its form in `req.body`; never at the token it is about.
 *
 * @typeParam Req - the framework's request
 */
export type ServiceAuthenticator<Req> = ((
  req: Req,
  kit: ServiceKit,
) => Service | null | Promise<Service | null>) & {
  /** The methods it takes, for the metadata (RFC 8414 §2). @defaultValue not told */
  readonly methods?: readonly ServiceMethod[]
}

/** How a service can prove who it is, in the words of RFC 7591 §2 and OpenID Connect Core §9. */
export type ServiceMethod = 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt'

// RFC 6749 §3.3
const SCOPE_WORD = /^[!#-[\]-~]+$/

/** Whether it is a list of words that a scope can be made of. */
export function isScope(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) && value.every((word) => typeof word === 'string' && SCOPE_WORD.test(word))
  )
}

/** Whether an authenticator of the app's returned a service. */
export function isService(value: unknown): value is Service {
  if (typeof value !== 'object' || value === null) return false
  const { id, scope, audiences }: { id?: unknown; scope?: unknown; audiences?: unknown } = value
  return (
    isIdentifier(id) &&
    (scope === undefined || isScope(scope)) &&
    (audiences === undefined || (Array.isArray(audiences) && audiences.every(isIdentifier)))
  )
}

/**
 * Reads `services`: one authenticator or several, asked in their order; none for undefined.
 *
 * @throws {ConfigError} `invalid_option`
 */
export function parseServices<Req>(
  services: ServiceAuthenticator<Req> | readonly ServiceAuthenticator<Req>[] | undefined,
): readonly ServiceAuthenticator<Req>[] {
  if (services === undefined) return []
  const list = typeof services === 'function' ? [services] : services
  const given: unknown = list
  if (
    !Array.isArray(given) ||
    given.length === 0 ||
    !given.every((one) => typeof one === 'function')
  ) {
    throw new ConfigError('services', 'must be a function or a list of functions')
  }
  return list
}
