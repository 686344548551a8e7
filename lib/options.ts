import type { Auth, RegisteredClaims } from './auth.ts'
import type { User } from './attributes.ts'
import type { Audience, AudienceOptions } from './audiences.ts'
import { parseAudiences } from './audiences.ts'
import type { CookieRole, CookieSpec } from './cookies.ts'
import { checkCookieSpec } from './cookies.ts'
import type { DeviceBindingOptions, DeviceSettings } from './device-options.ts'
import { parseDeviceBinding } from './device-options.ts'
import type { SiteData } from './clear-site-data.ts'
import { parseClearSiteData } from './clear-site-data.ts'
import type { CorsOptions } from './cors-options.ts'
import { parseCors } from './cors-options.ts'
import type { OriginPolicy } from './cross-origin.ts'
import type { Duration } from './duration.ts'
import { parseDuration } from './duration.ts'
import { ConfigError } from './errors.ts'
import type { LatchkeyEvent } from './events.ts'
import type { OnStoreFailure } from './option-values.ts'
import { ON_STORE_FAILURE, oneOf, parseAudience, parseIssuer } from './option-values.ts'
import type { RateLimitOptions, RateLimitSettings } from './rate-limit-options.ts'
import { parseRateLimits } from './rate-limit-options.ts'
import { parseCredentials } from './login-body.ts'
import type { RotationPolicy } from './rotation.ts'
import type { Session } from './auth.ts'
import type { JsonObject, Lifetimes } from './session.ts'
import type { ServiceAuthenticator } from './service.ts'
import type { ManagedKeys } from './managed-keys-options.ts'
import type { SigningKeyInput } from './signing-keys.ts'
import type { SessionLimit, Store } from './store.ts'
import { rejectUnknownOptions } from './unknown-options.ts'

/** How credentials reach the client. */
export type Delivery = 'cookie' | 'body'

/** Options of the cookies. All cookies are HttpOnly with `Path=/`. */
export interface CookieOptions {
  /**
   * Whether cookies need https. False is for development on plain http and refused in production.
   *
   * @defaultValue true; in development false when the issuer is http, which only loopback may be
   */
  readonly secure?: boolean | undefined
  /** SameSite of the session cookie; the other two are always Strict. @defaultValue `'lax'` */
  readonly sameSite?: 'lax' | 'strict' | undefined
  /**
   * The names. @defaultValue `__Host-latchkey-session`, `__Host-latchkey-refresh`,
   * `__Host-latchkey-access`, `__Host-latchkey-device`; without the prefix when `secure` is false
   */
  readonly names?: Partial<Record<CookieRole | 'device', string>> | undefined
  /** A parent domain that shares the cookies. Needs names without `__Host-`. @defaultValue none */
  readonly domain?: string | undefined
}

/**
 * Everything `createLatchkey` takes that does not belong to one web framework.
 *
 * @typeParam Claims - the app's own claims
 * @typeParam Req - the framework's request
 */
export interface CoreOptions<Claims extends object, Req> {
  /** The kit's name in tokens: an absolute https origin or URL; http on loopback. `iss`. */
  readonly issuer: string
  /** For whom access tokens are. @defaultValue the issuer */
  readonly audience?: string | readonly string[] | undefined
  /**
   * What opaque tokens are proved with: position 0 signs, all verify; each at least 32 bytes.
   * Rotate: append everywhere, move to the front, drop later.
   *
   * @defaultValue drawn at start; refused in production
   */
  readonly secrets?: readonly (string | Uint8Array)[] | undefined
  /** Where sessions are kept. @defaultValue `memoryStore()`; refused in production unless named */
  readonly store?: Store | undefined
  /**
   * Private keys of access tokens: JWK or PKCS#8 PEM with `alg`, or a callback that signs; position 0
   * signs, all verify. Or `managedKeys()`, which the nodes make, share and rotate by themselves.
   *
   * @defaultValue one ES256 key drawn at start; refused in production
   */
  readonly signingKeys?: readonly SigningKeyInput[] | ManagedKeys | undefined
  /**
   * Checks credentials, the JSON object the client sent as the login's body: who it is, or null.
   * Throwing answers 500. It has no time limit but its own: give what it asks one. Without it there is
   * no login and no step-up route.
   */
  readonly authenticate?:
    | ((credentials: JsonObject, req: Req) => MaybePromise<User<Claims> | null>)
    | undefined
  /**
   * Names of the members a login's and a step-up's body may have, each a text of at most 1024 bytes;
   * anything else is 400 before it is looked at. A `password` is never longer than that.
   *
   * @defaultValue the body is whatever `authenticate` makes of it
   */
  readonly credentials?: readonly string[] | undefined
  /**
   * Asked at every refresh: what the user is now, or null to end the session. Throwing, or taking
   * more than 2 s, answers 503 and the client tries again.
   *
   * @defaultValue the session's attributes stay as they are
   */
  readonly loadUser?:
    | ((
        user: { readonly id: string; readonly tenant: string },
        session: Session<Claims>,
      ) => MaybePromise<User<Claims> | null>)
    | undefined
  /** Who may see and end other users' sessions, and read the audit trail. @defaultValue nobody */
  readonly authorizeAdmin?: ((auth: Auth<Claims>, req: Req) => MaybePromise<boolean>) | undefined
  /**
   * Says which backend service sent a request: who may introspect and revoke tokens, and have tokens of
   * its own. One authenticator, such as `serviceSecrets({ … })`, or several, of which the first that
   * knows decides. What one throws is 500, never a pass.
   *
   * @defaultValue there are none, nor the routes for them
   */
  readonly services?: ServiceAuthenticator<Req> | readonly ServiceAuthenticator<Req>[] | undefined
  /**
   * For whom else `POST /token` makes tokens: names, or names with what they may be. The issuer's own
   * guards take them only if the name is in `audience` too.
   *
   * @defaultValue nobody
   */
  readonly audiences?: readonly string[] | Readonly<Record<string, AudienceOptions>> | undefined
  /** Life of an access token. @defaultValue `'15m'` */
  readonly accessTokenTtl?: Duration | undefined
  /** Longest pause between two activities of a session. At most `absoluteTimeout`. @defaultValue `'7d'` */
  readonly idleTimeout?: Duration | undefined
  /** Longest life of a session, whatever happens. @defaultValue `'30d'` */
  readonly absoluteTimeout?: Duration | undefined
  /** How long a used refresh token still gets the same successor. At most `'60s'`. @defaultValue `'10s'` */
  readonly reuseGrace?: Duration | undefined
  /**
   * The same while nobody was seen to use the successor: the answer was lost. At most `'24h'`.
   *
   * @defaultValue `'0s'`, off
   */
  readonly lostResponseWindow?: Duration | undefined
  /** What a stolen refresh token ends: its session, or all of its user's. @defaultValue `'session'` */
  readonly onReuse?: 'session' | 'user' | undefined
  /** Tolerance between clocks, on access tokens only. At most `'60s'`. @defaultValue `'30s'` */
  readonly clockSkew?: Duration | undefined
  /** Live sessions a user may have. @defaultValue `{ perUser: 100, onLimit: 'evict' }` */
  readonly maxSessions?:
    | { readonly perUser?: number | undefined; readonly onLimit?: 'evict' | 'refuse' | undefined }
    | undefined
  /**
   * What tells one device from another, never the ip; kept as a hash. Undefined: nothing does. A
   * function is for grace and `bindDevice`; an object says also what a changed device does.
   *
   * @defaultValue nothing
   */
  readonly deviceBinding?:
    | ((req: Req) => string | undefined)
    | DeviceBindingOptions<Req>
    | undefined
  /** How session and refresh token reach the client. @defaultValue `'cookie'` */
  readonly delivery?: Delivery | ((req: Req) => Delivery) | undefined
  /** How the access token reaches the client. @defaultValue `'body'` */
  readonly accessToken?: Delivery | undefined
  /** @defaultValue see {@link CookieOptions} */
  readonly cookies?: CookieOptions | undefined
  /** Further origins whose pages may use the cookies, exact. @defaultValue none */
  readonly allowedOrigins?: readonly string[] | undefined
  /** `requireOrigin` refuses unsafe requests that say nothing of their origin. @defaultValue false */
  readonly csrf?: { readonly requireOrigin?: boolean | undefined } | undefined
  /** Origins whose pages may read what `authRoutes` answers. @defaultValue none */
  readonly cors?: CorsOptions | undefined
  /**
   * What a browser removes of the site at a logout; true is `['cache', 'storage']`.
   *
   * @defaultValue false
   */
  readonly clearSiteData?: boolean | readonly SiteData[] | undefined
  /** How much is too much; false turns all limits off. @defaultValue see {@link RateLimitOptions} */
  readonly rateLimits?: RateLimitOptions | false | undefined
  /**
   * Keeps sessions in this process, so that most `requireSession` cost no round trip; a revocation
   * reaches it by the feed, within milliseconds. `maxSessions` bounds it, 10,000 by default.
   *
   * @defaultValue false
   */
  readonly nearCache?: boolean | { readonly maxSessions?: number | undefined } | undefined
  /** How long a store call may take. @defaultValue `'250ms'` */
  readonly storeDeadline?: Duration | undefined
  /** @defaultValue `'accept-signature'` */
  readonly onStoreFailure?: OnStoreFailure | undefined
  /** How long a node may hear nothing of the feed before it counts as blind. @defaultValue `'5s'` */
  readonly maxStaleness?: Duration | undefined
  /**
   * Does not start with a weak secret, nor become `ready()` on an unsafe store, instead of warning of
   * it. `ready()` then rejects; await it before listening.
   *
   * @defaultValue false
   */
  readonly strict?: boolean | undefined
  /** Wall clock, epoch milliseconds. @defaultValue `Date.now` */
  readonly clock?: (() => number) | undefined
  /** Every event, for logs and metrics. What it throws is contained. @defaultValue none */
  readonly onEvent?: ((event: LatchkeyEvent) => void) | undefined
}

/** A value or a promise of it. */
export type MaybePromise<Value> = Value | Promise<Value>

/** Options, checked and complete. Durations are milliseconds. */
export interface Settings {
  readonly issuer: string
  readonly audience: readonly string[]
  /** For whom else tokens are made. */
  readonly audiences: ReadonlyMap<string, Audience>
  readonly accessTokenTtlMs: number
  readonly lifetimes: Lifetimes
  readonly rotation: RotationPolicy
  readonly onReuse: 'session' | 'user'
  readonly clockSkewMs: number
  readonly limit: SessionLimit
  /** Members of a login; null when any will do. */
  readonly credentials: readonly string[] | null
  readonly accessToken: Delivery
  readonly cookies: Readonly<Record<CookieRole, CookieSpec>>
  /** What a changed device does; undefined when the app did not say. */
  readonly device?: DeviceSettings | undefined
  readonly origins: OriginPolicy
  /** Origins whose pages may read answers; null when answers say nothing of that. */
  readonly corsOrigins: ReadonlySet<string> | null
  /** `Clear-Site-Data` of a logout; null for none. */
  readonly clearSiteData: string | null
  readonly rateLimits: RateLimitSettings
  /** How many sessions the near cache holds; 0 for no near cache. */
  readonly nearCacheSessions: number
  readonly storeDeadlineMs: number
  readonly onStoreFailure: OnStoreFailure
  readonly maxStalenessMs: number
  readonly strict: boolean
  readonly clock: () => number
}

/** All defaults. Durations as an app would write them. */
export const DEFAULTS = {
  accessTokenTtl: '15m',
  idleTimeout: '7d',
  absoluteTimeout: '30d',
  reuseGrace: '10s',
  lostResponseWindow: '0s',
  onReuse: 'session',
  clockSkew: '30s',
  maxSessionsPerUser: 100,
  onLimit: 'evict',
  delivery: 'cookie',
  accessToken: 'body',
  sameSite: 'lax',
  nearCacheSessions: 10_000,
  storeDeadline: '250ms',
  onStoreFailure: 'accept-signature',
  maxStaleness: '5s',
} as const

const KNOWN = [
  'issuer',
  'audience',
  'secrets',
  'store',
  'signingKeys',
  'authenticate',
  'credentials',
  'loadUser',
  'authorizeAdmin',
  'services',
  'audiences',
  'accessTokenTtl',
  'idleTimeout',
  'absoluteTimeout',
  'reuseGrace',
  'lostResponseWindow',
  'onReuse',
  'clockSkew',
  'maxSessions',
  'deviceBinding',
  'delivery',
  'accessToken',
  'cookies',
  'allowedOrigins',
  'csrf',
  'cors',
  'clearSiteData',
  'rateLimits',
  'nearCache',
  'storeDeadline',
  'onStoreFailure',
  'maxStaleness',
  'strict',
  'clock',
  'onEvent',
] as const satisfies readonly (keyof CoreOptions<RegisteredClaims, unknown>)[]

const FUNCTIONS = ['authenticate', 'loadUser', 'authorizeAdmin', 'clock', 'onEvent'] as const

const S = 1000
const MINUTE = 60 * S
const DAY = 1440 * MINUTE

/**
 * Checks all options once.
 *
 * @param options - what the app wrote; never changed
 * @param production - whether development conveniences are refused
 * @param alsoKnown - options that the framework layer reads itself
 * @throws {ConfigError} `invalid_option`, naming the option and the fix
 */
export function parseOptions<Claims extends object, Req>(
  options: CoreOptions<Claims, Req>,
  production: boolean,
  alsoKnown: readonly string[] = [],
): Settings {
  rejectUnknownOptions('', options, [...KNOWN, ...alsoKnown])
  for (const name of FUNCTIONS) {
    if (options[name] !== undefined && typeof options[name] !== 'function') {
      throw new ConfigError(name, 'must be a function')
    }
  }
  const strict: unknown = options.strict ?? false
  if (typeof strict !== 'boolean') throw new ConfigError('strict', 'must be true or false')
  const issuer = parseIssuer(options.issuer)
  const absoluteTimeoutMs = duration(options, 'absoluteTimeout', MINUTE, 400 * DAY)
  const accessTokenTtlMs = duration(options, 'accessTokenTtl', 10 * S, DAY)
  const idleTimeoutMs = duration(options, 'idleTimeout', 10 * S, 400 * DAY)
  if (idleTimeoutMs > absoluteTimeoutMs) {
    throw new ConfigError('idleTimeout', 'must not be longer than absoluteTimeout')
  }
  const cookies = parseCookies(options.cookies ?? {}, issuer, production)
  const origins = parseOrigins(issuer, options.allowedOrigins ?? [], options.csrf ?? {})
  return {
    issuer: options.issuer,
    audience: parseAudience(options.audience ?? options.issuer),
    audiences: parseAudiences(options.audiences, accessTokenTtlMs),
    accessTokenTtlMs,
    lifetimes: { idleTimeoutMs, absoluteTimeoutMs },
    rotation: {
      reuseGraceMs: duration(options, 'reuseGrace', 0, MINUTE),
      lostResponseWindowMs: duration(options, 'lostResponseWindow', 0, DAY),
    },
    onReuse: oneOf('onReuse', options.onReuse ?? DEFAULTS.onReuse, ['session', 'user']),
    clockSkewMs: duration(options, 'clockSkew', 0, MINUTE),
    limit: parseLimit(options.maxSessions),
    credentials: parseCredentials(options.credentials),
    accessToken: oneOf('accessToken', options.accessToken ?? DEFAULTS.accessToken, DELIVERIES),
    cookies,
    device: parseDeviceBinding(
      options.deviceBinding,
      cookies.session,
      options.cookies?.names?.device,
    ),
    origins: { ...origins, secure: cookies.session.secure },
    corsOrigins: parseCors(options.cors, origins.allowed),
    clearSiteData: parseClearSiteData(options.clearSiteData),
    rateLimits: parseRateLimits(options.rateLimits ?? {}),
    nearCacheSessions: parseNearCache(options.nearCache ?? false),
    storeDeadlineMs: duration(options, 'storeDeadline', 10, 10 * S),
    onStoreFailure: oneOf(
      'onStoreFailure',
      options.onStoreFailure ?? DEFAULTS.onStoreFailure,
      ON_STORE_FAILURE,
    ),
    maxStalenessMs: duration(options, 'maxStaleness', 1 * S, 5 * MINUTE),
    strict,
    clock: options.clock ?? Date.now,
  }
}

/** The values of `delivery` and `accessToken`. */
export const DELIVERIES: readonly Delivery[] = ['cookie', 'body']

type DurationOption = {
  [Name in keyof typeof DEFAULTS]: (typeof DEFAULTS)[Name] extends Duration ? Name : never
}[keyof typeof DEFAULTS]

function duration<Claims extends object, Req>(
  options: CoreOptions<Claims, Req>,
  name: DurationOption,
  minMs: number,
  maxMs: number,
): number {
  return parseDuration(name, options[name] ?? DEFAULTS[name], { minMs, maxMs })
}

/**
 * Refuses what is no group of these options. `csrf: true` would otherwise look like a group in which
 * every default holds.
 */
function checkGroup(name: string, group: unknown, known: readonly string[]): void {
  if (typeof group !== 'object' || group === null || Array.isArray(group)) {
    throw new ConfigError(name, `must be an object of ${known.join(', ')}`)
  }
  rejectUnknownOptions(name, group, known)
}

function parseLimit(maxSessions: object = {}): SessionLimit {
  checkGroup('maxSessions', maxSessions, ['perUser', 'onLimit'])
  const { perUser, onLimit }: { perUser?: unknown; onLimit?: unknown } = maxSessions
  const max = perUser ?? DEFAULTS.maxSessionsPerUser
  if (typeof max !== 'number' || !Number.isInteger(max) || max < 1 || max > 1000) {
    throw new ConfigError('maxSessions.perUser', 'must be a whole number from 1 to 1000')
  }
  return {
    max,
    onLimit: oneOf('maxSessions.onLimit', onLimit ?? DEFAULTS.onLimit, ['evict', 'refuse']),
  }
}

function parseNearCache(nearCache: unknown): number {
  if (nearCache === false) return 0
  if (nearCache === true) return DEFAULTS.nearCacheSessions
  if (typeof nearCache !== 'object' || nearCache === null) {
    throw new ConfigError('nearCache', 'must be true, false or { maxSessions: 10_000 }')
  }
  rejectUnknownOptions('nearCache', nearCache, ['maxSessions'])
  const { maxSessions }: { maxSessions?: unknown } = nearCache
  const max = maxSessions ?? DEFAULTS.nearCacheSessions
  if (typeof max !== 'number' || !Number.isInteger(max) || max < 1 || max > 1_000_000) {
    throw new ConfigError('nearCache.maxSessions', 'must be a whole number from 1 to 1,000,000')
  }
  return max
}

function parseCookies(
  options: CookieOptions,
  issuer: URL,
  production: boolean,
): Record<CookieRole, CookieSpec> {
  checkGroup('cookies', options, ['secure', 'sameSite', 'names', 'domain'])
  const { secure = issuer.protocol === 'https:' || production, names = {}, domain } = options
  if (typeof secure !== 'boolean') throw new ConfigError('cookies.secure', 'must be true or false')
  if (!secure && production) {
    throw new ConfigError('cookies.secure', 'must not be false in production; remove it')
  }
  checkGroup('cookies.names', names, ['session', 'refresh', 'access', 'device'])
  const prefix = secure ? '__Host-' : ''
  const session = oneOf('cookies.sameSite', options.sameSite ?? DEFAULTS.sameSite, [
    'lax',
    'strict',
  ])
  const spec = (role: CookieRole, sameSite: CookieSpec['sameSite']): CookieSpec => {
    const made = { name: names[role] ?? `${prefix}latchkey-${role}`, secure, sameSite, domain }
    checkCookieSpec(`cookies.names.${role}`, made)
    return made
  }
  if (names.device !== undefined) {
    const made = { name: names.device, secure, sameSite: 'Lax', domain } as const
    checkCookieSpec('cookies.names.device', made)
  }
  const cookies = {
    session: spec('session', session === 'strict' ? 'Strict' : 'Lax'),
    refresh: spec('refresh', 'Strict'),
    access: spec('access', 'Strict'),
  }
  const all = [
    ...Object.values(cookies).map(({ name }) => name),
    names.device ?? `${prefix}latchkey-device`,
  ]
  if (new Set(all).size < all.length) {
    throw new ConfigError('cookies.names', 'must differ from each other')
  }
  return cookies
}

function parseOrigins(
  issuer: URL,
  allowedOrigins: readonly unknown[],
  csrf: { readonly requireOrigin?: unknown },
): OriginPolicy {
  if (!Array.isArray(allowedOrigins)) {
    throw new ConfigError('allowedOrigins', 'must be a list of origins')
  }
  checkGroup('csrf', csrf, ['requireOrigin'])
  const { requireOrigin = false } = csrf
  if (typeof requireOrigin !== 'boolean') {
    throw new ConfigError('csrf.requireOrigin', 'must be true or false')
  }
  const origins = allowedOrigins.map((origin: unknown, index) => {
    // An origin is compared as text: whatever is not spelled as URL.origin spells it never matches.
    if (
      typeof origin !== 'string' ||
      origin.includes('*') ||
      !URL.canParse(origin) ||
      new URL(origin).origin !== origin
    ) {
      throw new ConfigError(
        `allowedOrigins[${index}]`,
        "must be an exact origin, such as 'https://admin.app.example'",
      )
    }
    return origin
  })
  return { allowed: new Set([issuer.origin, ...origins]), requireOrigin }
}
