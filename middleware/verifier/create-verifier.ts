import type { Request } from 'express'
import type { AccessClaims } from '../../lib/access-token-claims.ts'
import type { Auth, RegisteredClaims } from '../../lib/auth.ts'
import { ConfigError } from '../../lib/errors.ts'
import { createVerifierCore } from '../../lib/verifier-core.ts'
import type { VerifierCoreOptions } from '../../lib/verifier-options.ts'
import { parseVerifierOptions } from '../../lib/verifier-options.ts'
import type { ErrorHandler } from '../answer.ts'
import type { Guard } from '../as-guard.ts'
import { refuseUncalled } from '../as-guard.ts'
import type { AuthMemo } from '../request-auth.ts'
import { readAuth } from '../request-auth.ts'
import type { VerifierHealth } from './health.ts'
import { readVerifierHealth } from './health.ts'
import type { VerifierGuardOptions } from './require-jwt.ts'
import { createRequireJwt } from './require-jwt.ts'

/** Everything `createVerifier` takes. */
export interface VerifierOptions extends VerifierCoreOptions {
  /**
   * Answers refusals and failures itself. The error carries `status`, `code` and `headers`.
   *
   * @defaultValue problem+json (RFC 9457)
   */
  readonly onError?: ErrorHandler | undefined
}

/**
 * What a service has that only knows the issuer's public keys. All members stand alone and may be
 * destructured.
 *
 * @typeParam Claims - the app's own claims
 */
export interface Verifier<Claims extends object = RegisteredClaims> {
  /** Guard for Express: an access token by `Authorization: Bearer`. */
  readonly requireJwt: (options?: VerifierGuardOptions<Claims>) => Guard
  /**
   * Who is asking, after a guard.
   *
   * @throws {InternalError} when no guard of this verifier let the request pass
   */
  readonly getAuth: (req: Request) => Auth<Claims>
  /**
   * The claims of a good access token, without Express: for workers, sockets and other frameworks.
   * What a guard asks for, such as a role or a scope, is then for the caller to ask; and whether it is
   * a user's: a service's own token has `sid: null`.
   *
   * @throws {AuthError} 401: `token_invalid`, `token_expired`, `token_stale`, `token_revoked`,
   *   `session_revoked`; 503: `keys_unavailable`, `feed_unavailable`. {@link problemOf} makes an answer
   *   of it
   */
  readonly verify: (token: string) => Promise<AccessClaims<Claims>>
  /** How this verifier is doing. Asks nobody. */
  readonly health: () => VerifierHealth
  /**
   * Gets the keys, and resolves once they are there and, with a `feed`, everything has been heard.
   * Waits for an issuer that cannot be reached, and the process with it; after 10 s that is a process
   * warning, `not_ready`.
   *
   * @throws {ConfigError} `invalid_option`: keys that were handed over are none
   */
  readonly ready: () => Promise<void>
  /** Ends the connection of the feed and whatever waits. Tokens are verified still. */
  readonly close: () => Promise<void>
}

/**
 * Makes a verifier: the kit's `requireJwt` for a service that has neither its store nor its secrets.
 * Imports nothing but jose, and runs where there is no Node.
 *
 * @typeParam Claims - the app's own claims, as the kit puts them into tokens
 * @throws {ConfigError} `invalid_option`, naming the option and the fix
 *
 * @example
 * ```ts
 * const verifier = createVerifier({
 *   issuer: 'https://app.example',
 *   audience: 'https://billing.example',
 *   jwks: 'https://app.example/auth/.well-known/jwks.json',
 * })
 * app.get('/invoices', verifier.requireJwt({ scope: ['invoices:read'] }), invoices)
 * ```
 */
export function createVerifier<Claims extends object = RegisteredClaims>(
  options: VerifierOptions,
): Verifier<Claims> {
  const settings = parseVerifierOptions(options, ['onError'])
  const { onError } = options
  if (onError !== undefined && typeof onError !== 'function') {
    throw new ConfigError('onError', 'must be a function')
  }
  const core = createVerifierCore(settings)
  const memo = createAuthMemo()
  return {
    requireJwt: refuseUncalled('requireJwt', createRequireJwt<Claims>(core, memo, onError)),
    getAuth: (req) => readAuth<Claims>(memo(req)),
    async verify(token) {
      const claims = await core.verify(token, settings.onStoreFailure)
      // The app declares the type of claims it put in itself; the signature says they are unchanged.
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion
      return claims as AccessClaims<object> as AccessClaims<Claims>
    },
    health: () => readVerifierHealth(core),
    ready: async () => core.ready(),
    close: async () => core.close(),
  }
}

/** An accessor for what only this verifier sees of a request. */
function createAuthMemo(): (req: Request) => AuthMemo {
  const key = Symbol('latchkey/verifier')
  return (req: Request & { [key]?: AuthMemo }) => (req[key] ??= {})
}
