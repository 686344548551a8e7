import type { Request } from 'express'
import type { Auth, RegisteredClaims } from '../lib/auth.ts'
import type { Duration } from '../lib/duration.ts'
import { parseDuration } from '../lib/duration.ts'
import { ConfigError } from '../lib/errors.ts'
import type { Requirements } from '../lib/guard-policy.ts'
import { isIdentifier } from '../lib/identifier.ts'
import type { OnStoreFailure } from '../lib/option-values.ts'
import { ON_STORE_FAILURE, oneOf } from '../lib/option-values.ts'
import type { MaybePromise } from '../lib/options.ts'
import { rejectUnknownOptions } from '../lib/unknown-options.ts'

/** Options of every guard. */
export interface GuardOptions {
  /**
   * Lets requests without credentials pass, without `req.auth`; so does a cookie that is no longer
   * good. A credential in `Authorization` is still refused with 401 when it is bad, and a store
   * that fails is still 503.
   *
   * @defaultValue false
   */
  readonly optional?: boolean | undefined
  /** At least one of these roles, else 403 `forbidden`. @defaultValue none is asked */
  readonly roles?: readonly string[] | undefined
  /** All of these scopes, else 403 `insufficient_scope`. @defaultValue none is asked */
  readonly scope?: readonly string[] | undefined
  /**
   * What happens to a plain access token while neither the feed nor the store can be asked:
   * `'accept-signature'` lets it pass until it expires, `'deny'` answers 503.
   *
   * @defaultValue the kit's `onStoreFailure`
   */
  readonly onStoreFailure?: OnStoreFailure | undefined
}

/** Options of the guards that take access tokens. */
export interface TokenGuardOptions extends GuardOptions {
  /**
   * Whether a service's own token passes too, with `req.auth.kind === 'service'` and no user. It has
   * scope, and never a role or a level. @defaultValue false, 403 `forbidden`
   */
  readonly services?: boolean | undefined
}

/** Options of the guards that ask the store. */
export interface SessionGuardOptions<
  Claims extends object = RegisteredClaims,
> extends GuardOptions {
  /** Longest time since the user proved who they are, else 401 `step_up_required`. */
  readonly maxAuthAge?: Duration | undefined
  /** The level, or one of several, by name; else 401 `step_up_required`. */
  readonly level?: string | readonly string[] | undefined
  /** Whether the device must be the one that logged in, else 401 `device_mismatch`. Needs the kit's `deviceBinding`. */
  readonly bindDevice?: boolean | undefined
  /** The app's own condition, else 403 `forbidden`. What it throws is 500, never a pass. */
  readonly check?: ((auth: Auth<Claims>, req: Request) => MaybePromise<boolean>) | undefined
}

/** Options of `hybridGuard`. */
export interface HybridGuardOptions<
  Claims extends object = RegisteredClaims,
> extends SessionGuardOptions<Claims> {
  /** As in {@link TokenGuardOptions}. @defaultValue false */
  readonly services?: boolean | undefined
  /** Asks the store for the session of every access token. @defaultValue false */
  readonly sensitive?: boolean | undefined
  /**
   * Share of requests, 0 to 1, whose session is asked for all the same, at most once a minute a
   * session and node. It keeps the session from going idle, and never fails a request for a
   * failure of the store.
   *
   * @defaultValue 0.1
   */
  readonly sample?: number | undefined
}

/** Guard options, checked and complete. */
export interface ParsedGuardOptions<Claims extends object> {
  readonly optional: boolean
  readonly requirements: Requirements
  readonly onStoreFailure: OnStoreFailure
  readonly bindDevice: boolean
  readonly check: ((auth: Auth<Claims>, req: Request) => MaybePromise<boolean>) | null
  readonly sensitive: boolean
  readonly sample: number
  readonly services: boolean
}

/** The three guards. */
export type GuardName = 'requireJwt' | 'requireSession' | 'hybridGuard'

const COMMON = ['optional', 'roles', 'scope', 'onStoreFailure']
const SESSION = [...COMMON, 'maxAuthAge', 'level', 'bindDevice', 'check']
const KNOWN: Readonly<Record<GuardName, readonly string[]>> = {
  requireJwt: [...COMMON, 'services'],
  requireSession: SESSION,
  hybridGuard: [...SESSION, 'sensitive', 'sample', 'services'],
}

const DEFAULT_SAMPLE = 0.1

/**
 * Checks a guard's options once, when the guard is made.
 *
 * @param guard - the guard's name, for the error
 * @param options - what the app wrote
 * @param kit - what the guard takes from the kit
 * @throws {ConfigError} `invalid_option`
 */
export function parseGuardOptions<Claims extends object>(
  guard: GuardName,
  options: HybridGuardOptions<Claims>,
  kit: {
    readonly onStoreFailure: OnStoreFailure
    readonly hasDeviceBinding: boolean
    /** Which options it has, when not those the kit's guard has. */
    readonly known?: readonly string[]
  },
): ParsedGuardOptions<Claims> {
  const given: unknown = options
  if (typeof given !== 'object' || given === null) {
    throw new ConfigError(guard, 'takes an object of options')
  }
  rejectUnknownOptions(guard, options, kit.known ?? KNOWN[guard])
  const { level, maxAuthAge, check, sample = DEFAULT_SAMPLE } = options
  if (check !== undefined && typeof check !== 'function') {
    throw new ConfigError(`${guard}.check`, 'must be a function')
  }
  if (typeof sample !== 'number' || !(sample >= 0 && sample <= 1)) {
    throw new ConfigError(`${guard}.sample`, 'must be a share from 0 to 1')
  }
  const bindDevice = flag(guard, 'bindDevice', options.bindDevice)
  if (bindDevice && !kit.hasDeviceBinding) {
    throw new ConfigError(`${guard}.bindDevice`, 'needs deviceBinding in createLatchkey')
  }
  return {
    optional: flag(guard, 'optional', options.optional),
    requirements: {
      roles: words(guard, 'roles', options.roles),
      scope: words(guard, 'scope', options.scope),
      levels:
        level === undefined
          ? null
          : words(guard, 'level', typeof level === 'string' ? [level] : level),
      maxAuthAgeMs:
        maxAuthAge === undefined ? null : parseDuration(`${guard}.maxAuthAge`, maxAuthAge),
    },
    onStoreFailure: oneOf(
      `${guard}.onStoreFailure`,
      options.onStoreFailure ?? kit.onStoreFailure,
      ON_STORE_FAILURE,
    ),
    bindDevice,
    check: check ?? null,
    sensitive: flag(guard, 'sensitive', options.sensitive),
    sample,
    services: flag(guard, 'services', options.services),
  }
}

function flag(guard: string, name: string, value: unknown = false): boolean {
  if (typeof value !== 'boolean') throw new ConfigError(`${guard}.${name}`, 'must be true or false')
  return value
}

function words(guard: string, name: string, value: unknown = []): readonly string[] {
  if (!Array.isArray(value) || !value.every(isIdentifier)) {
    throw new ConfigError(`${guard}.${name}`, "must be a list of texts, such as ['admin']")
  }
  return [...value]
}
