import { randomBytes } from 'node:crypto'
import type { Request, Response, Router } from 'express'
import type { User } from '../lib/attributes.ts'
import type { Auth, RegisteredClaims } from '../lib/auth.ts'
import { createSessionChecks } from '../lib/check-session.ts'
import { createCore } from '../lib/core.ts'
import { ConfigError } from '../lib/errors.ts'
import type { Finding } from '../lib/findings.ts'
import { findEnvironment, finding, refuseErrors } from '../lib/findings.ts'
import { createKeyRing } from '../lib/key-ring.ts'
import { oneOf } from '../lib/option-values.ts'
import { DELIVERIES, parseOptions } from '../lib/options.ts'
import { findSecrets } from '../lib/secret-findings.ts'
import { parseServices } from '../lib/service.ts'
import type { KeyControl } from '../lib/key-control.ts'
import { createKeyControl } from '../lib/key-control.ts'
import { isManagedKeys } from '../lib/managed-keys-options.ts'
import type { Sessions } from '../lib/sessions.ts'
import { createSessions } from '../lib/sessions.ts'
import { generateSigningKey, parseSigningKeys } from '../lib/signing-keys.ts'
import type { AuditEvent, AuditQuery, Page } from '../lib/store.ts'
import { waitAloud } from '../lib/wait-aloud.ts'
import { memoryStore } from '../stores/memory.ts'
import type { AuthRequestOptions } from './auth-request.ts'
import { createAuthRequest } from './auth-request.ts'
import { createAuthRoutes } from './auth-routes.ts'
import type { Context, LatchkeyOptions } from './context.ts'
import { createMemo } from './context.ts'
import { createCookieWatch } from './doctor-cookies.ts'
import type { Guard } from './as-guard.ts'
import { refuseUncalled } from './as-guard.ts'
import { createForwardIdentity } from './forward-identity.ts'
import type { HybridGuardOptions, SessionGuardOptions, TokenGuardOptions } from './guard-options.ts'
import type { Health } from './health.ts'
import { readHealth } from './health.ts'
import { createHybridGuard } from './hybrid-guard.ts'
import type { IdentityOptions } from './identity-options.ts'
import { createRefreshRoute } from './refresh-route.ts'
import { createRequireJwt } from './require-jwt.ts'
import { createRequireSession } from './require-session.ts'
import type { MetadataOptions } from './metadata.ts'
import { createMetadataRoute } from './metadata.ts'
import { requireAuth } from './route.ts'
import { createSampler } from './sampler.ts'
import type { SignedIn, SignInOptions } from './sign-in.ts'
import { createSignIn, createSignOut } from './sign-in.ts'

/**
 * Everything an app does with logins. All members stand alone and may be destructured.
 *
 * @typeParam Claims - the app's own claims
 */
export interface Latchkey<Claims extends object = RegisteredClaims> {
  /** Guard: a session token, and the store is asked. */
  readonly requireSession: (options?: SessionGuardOptions<Claims>) => Guard
  /** Guard: an access token, judged by signature and feed; no store. */
  readonly requireJwt: (options?: TokenGuardOptions) => Guard
  /** Guard: an access token first; the store is asked when the operation calls for it. */
  readonly hybridGuard: (options?: HybridGuardOptions<Claims>) => Guard
  /**
   * Between a guard and a reverse proxy: takes what the client says of identity out of the request, and
   * puts in who the guard found: a JWT of one minute for `audience`, or plain `headers`. Takes the
   * client's credentials of this kit out too. After an optional guard that found nobody, nothing is put
   * in; without any guard it is 500.
   */
  readonly forwardIdentity: (options: IdentityOptions<Claims>) => Guard
  /**
   * Handler for a proxy that asks whether a request may pass, such as nginx with `auth_request`: 204
   * with the headers of `forwardIdentity`, or the refusal of `guard`.
   */
  readonly authRequest: (options: AuthRequestOptions<Claims>) => Guard
  /** `POST` handler that buys the next credentials with a refresh token. Part of `authRoutes`. */
  readonly refreshRoute: () => Guard
  /** The router with login, refresh, logout, sessions, step-up and the public keys. */
  readonly authRoutes: () => Router
  /**
   * Answers the issuer's metadata (RFC 8414), by which generic clients find the routes; for the root of
   * the issuer's origin: `app.use(latchkey.metadataRoute({ authPath: '/auth' }))`. Everything else
   * passes on. `doctor()` says when `authRoutes` is reached elsewhere.
   *
   * @throws {ConfigError} `invalid_option`
   */
  readonly metadataRoute: (options: MetadataOptions) => Guard
  /**
   * Signs in a user the app has authenticated itself: opens the session, replaces one that came
   * along, sets the cookies. Resolves once the store has acknowledged it.
   *
   * @throws {AuthError} `session_limit`, `stale_login`, `user_invalid`; `signing_unavailable` (503)
   * @throws {StoreUnavailable} no cookie was set
   * @throws {InternalError} the user has a wrong shape, or the answer is on its way already
   */
  readonly signIn: (
    req: Request,
    res: Response,
    user: User<Claims>,
    options?: SignInOptions,
  ) => Promise<SignedIn<Claims>>
  /**
   * Ends the sessions whose credentials came with the request, and clears the cookies.
   *
   * @throws {AuthError} `cross_origin`
   * @throws {StoreUnavailable} nothing is known to have ended; the cookies stay
   */
  readonly signOut: (req: Request, res: Response) => Promise<void>
  /**
   * Who is asking, after a guard.
   *
   * @throws {InternalError} when no guard of this kit let the request pass
   */
  readonly getAuth: (req: Request) => Auth<Claims>
  /** Sessions outside of any request. */
  readonly sessions: Sessions<Claims>
  /** The signing keys. */
  readonly keys: KeyControl
  /** The audit trail. */
  readonly audit: {
    /** Events, newest first; `limit` 1 to 100. @throws {StoreUnavailable} */
    query(query: AuditQuery): Promise<Page<AuditEvent>>
  }
  /** How this node is doing. Asks nobody. */
  readonly health: () => Health
  /**
   * What works now and will bite: what was said at start and since, and what the store says of its
   * server when asked now. Empty when all is well. Never rejects, and holds no secret.
   */
  readonly doctor: () => Promise<readonly Finding[]>
  /**
   * Resolves once this node has loaded the feed, and its keys where they are managed: from then on
   * `requireJwt` asks no store. A key behind a callback has signed once then. However long a store
   * that is away takes, it waits, and the process with it; after 10 s it says so, the warning
   * `not_ready`.
   *
   * @throws {ConfigError} `invalid_option`: the managed keys in the store cannot be opened; with
   *   `strict`, the store is unsafe: the message lists how
   * @throws {AuthError} `signing_unavailable` when the callback of the signing key fails
   */
  readonly ready: () => Promise<void>
  /** Writes what is buffered and stops following the feed. A store the app made stays open. */
  readonly close: () => Promise<void>
}

/** How often a session that is used on another device, or after its end, is reported, milliseconds. */
const NEWS_MS = 3_600_000

/**
 * Makes a kit.
 *
 * @typeParam Claims - the app's own claims, as `authenticate` returns them
 * @throws {ConfigError} `invalid_option`, naming the option and the fix
 *
 * @example
 * ```ts
 * const latchkey = createLatchkey({ issuer: 'https://app.example', secrets, signingKeys, store, authenticate })
 * app.use('/auth', latchkey.authRoutes())
 * app.get('/api', latchkey.requireJwt(), api)
 * ```
 */
export function createLatchkey<Claims extends object = RegisteredClaims>(
  options: LatchkeyOptions<Claims>,
): Latchkey<Claims> {
  if (!isObject(options)) throw new ConfigError('options', 'must be an object')
  const production = process.env['NODE_ENV'] === 'production'
  const settings = parseOptions(options, production, ['onError'])
  if (options.onError !== undefined && typeof options.onError !== 'function') {
    throw new ConfigError('onError', 'must be a function')
  }
  if (typeof options.delivery !== 'function') {
    oneOf('delivery', options.delivery ?? 'cookie', DELIVERIES)
  }
  const services = parseServices(options.services)
  // null comes from configuration that is not there: it must not count as given.
  const given = {
    secrets: options.secrets ?? undefined,
    signingKeys: options.signingKeys ?? undefined,
    store: options.store ?? undefined,
  }
  const drawn = (['secrets', 'signingKeys', 'store'] as const).filter(
    (name) => given[name] === undefined,
  )
  const [missing] = drawn
  if (production && missing !== undefined) throw new ConfigError(missing, PRODUCTION_FIX[missing])

  const ring = createKeyRing(given.secrets ?? [randomBytes(32)])
  const givenKeys = given.signingKeys ?? [generateSigningKey()]
  const signingKeys = isManagedKeys(givenKeys)
    ? givenKeys
    : parseSigningKeys(list('signingKeys', givenKeys), (error) => {
        core.events.operational('hook_failure', { result: 'failure', cause: 'sign', error })
      })
  const store = given.store ?? memoryStore({ clock: settings.clock })
  refuseNoStore(store)
  const foundAtStart = [
    ...findSecrets(given.secrets ?? [], isManagedKeys(givenKeys) ? [] : givenKeys),
    ...findEnvironment(settings.issuer, process.env['NODE_ENV']),
  ]
  if (settings.strict) refuseErrors(foundAtStart)
  const core = createCore({ settings, store, ring, signingKeys, onEvent: options.onEvent })
  for (const name of drawn) {
    core.doctor.note(finding(`development_${name}`, `no ${name} given; ${DRAWN[name]}`))
  }
  for (const found of foundAtStart) core.doctor.note(found)

  const isDeviceNews = createSampler(NEWS_MS)
  const isEndedNews = createSampler(NEWS_MS)
  const context: Context<Claims> = {
    core,
    checks: createSessionChecks(core),
    options,
    services,
    authPath: { declared: null },
    reported: new WeakSet(),
    isDeviceNews: (sid) => isDeviceNews(sid, 1),
    isEndedNews: (sid) => isEndedNews(sid, 1),
    memo: createMemo(),
    cookieWatch: createCookieWatch(core),
  }
  return {
    requireSession: refuseUncalled('requireSession', createRequireSession(context)),
    requireJwt: refuseUncalled('requireJwt', createRequireJwt(context)),
    hybridGuard: refuseUncalled('hybridGuard', createHybridGuard(context)),
    forwardIdentity: refuseUncalled('forwardIdentity', createForwardIdentity(context)),
    authRequest: refuseUncalled('authRequest', createAuthRequest(context)),
    refreshRoute: refuseUncalled('refreshRoute', createRefreshRoute(context)),
    authRoutes: refuseUncalled('authRoutes', createAuthRoutes(context)),
    metadataRoute: refuseUncalled('metadataRoute', createMetadataRoute(context)),
    signIn: createSignIn(context),
    signOut: createSignOut(context),
    getAuth: (req) => requireAuth(context, req),
    sessions: createSessions<Claims>(core),
    keys: createKeyControl(core),
    audit: {
      query: async (query) =>
        core.store.audit.query({ ...query, limit: Math.min(100, Math.max(1, query.limit)) }),
    },
    health: () => readHealth(core),
    doctor: async () => core.doctor.examine(),
    async ready() {
      const loaded = settings.strict
        ? core.doctor.refuseUnsafe(core.follower.ready)
        : core.follower.ready
      await waitAloud(
        Promise.all([loaded, core.managedKeys?.loaded() ?? core.signingKeys.ready()]),
        () => core.events.lastError,
        (message) => core.events.warn('not_ready', message),
      )
    },
    async close() {
      core.hub.close()
      await core.managedKeys?.close()
      await core.follower.close()
      await core.events.flush()
      if (given.store === undefined) await store.close()
    },
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

function list<Item>(option: string, value: readonly Item[]): readonly Item[] {
  if (!Array.isArray(value)) throw new ConfigError(option, 'must be a list, such as [first]')
  return value
}

/** A database client in the place of a store would only show at the first request. */
function refuseNoStore(store: unknown): void {
  if (isObject(store) && 'rotate' in store && 'feed' in store) return
  throw new ConfigError('store', 'must be a store, such as memoryStore()')
}

type Drawn = 'secrets' | 'signingKeys' | 'store'

const PRODUCTION_FIX: Readonly<Record<Drawn, string>> = {
  secrets:
    'must be given in production: a list of secrets that all nodes share, each made with ' +
    `node -p "crypto.randomBytes(32).toString('base64url')"`,
  signingKeys:
    'must be given in production: a list of private keys that all nodes share, such as ' +
    "[JSON.parse(process.env.SIGNING_KEY)] with a JWK that has an alg of 'ES256'; or managedKeys()",
  store: 'must be named in production: memoryStore() if one process is all there is',
}

const DRAWN: Readonly<Record<Drawn, string>> = {
  secrets: 'drawn at start: a restart ends every session. Production refuses this',
  signingKeys: 'drawn at start: a restart voids every access token. Production refuses this',
  store: 'sessions are kept in this process only. Production refuses this',
}
