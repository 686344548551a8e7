import { parseJsonObject, tokenRefused } from './access-token-format.ts'
import { isIdentifier } from './identifier.ts'
import type { JsonObject } from './session.ts'

/** Claims an app cannot set: registered ones, latchkey's own, and names that reach a prototype. */
export const RESERVED_CLAIMS = [
  'iss',
  'sub',
  'aud',
  'exp',
  'nbf',
  'iat',
  'jti',
  'sid',
  'gen',
  'ver',
  'auth_time',
  'tenant',
  'roles',
  'scope',
  'amr',
  'acr',
  'act',
  'cnf',
  'client_id',
  '__proto__',
  'constructor',
  'prototype',
] as const

/** The name of a claim an app cannot set. */
export type ReservedClaim = (typeof RESERVED_CLAIMS)[number]

/** Whether an app cannot set the claim of this name. */
export function isReservedClaim(name: string): boolean {
  return RESERVED.has(name)
}

const RESERVED: ReadonlySet<string> = new Set(RESERVED_CLAIMS)

// RFC 6749 §3.3: words of printable ASCII without quote and backslash, one space between two.
const SCOPE = /^[!#-[\]-~]+(?: [!#-[\]-~]+)*$/

/** Who acts for the subject of a token; `act` is for whom they act in turn (RFC 8693 §4.1). */
export interface Actor {
  /** The service's id. */
  readonly sub: string
  readonly act?: Actor
}

/** How many may act for one another. */
export const MAX_ACTORS = 4

interface CommonClaims<Claims extends object> {
  readonly iss: string
  /** For whom the token is, one an element. */
  readonly aud: readonly string[]
  /** The user's id; a service's own token names the service. */
  readonly sub: string
  /** The user's tenant, `''` in an app without tenants. */
  readonly tenant: string
  readonly jti: string
  readonly issuedAtMs: number
  readonly expiresAtMs: number
  readonly roles: readonly string[]
  /** Granted scope, one word an element. */
  readonly scope: readonly string[]
  /** Authentication level (`acr`), null when the app has none. */
  readonly level: string | null
  readonly amr: readonly string[]
  /** The service that asked for the token, null for a token that came from a login. */
  readonly clientId: string | null
  /** Who acts for the user, null when nobody does. */
  readonly actor: Actor | null
  /** The app's own claims: all that are not reserved. */
  readonly claims: Readonly<Claims>
}

/** What an access token of a user's session says. */
export interface SessionClaims<Claims extends object = JsonObject> extends CommonClaims<Claims> {
  /** Session id. */
  readonly sid: string
  /** Generation of the refresh token this token came with. */
  readonly gen: number
  /** Version of the attributes in this token. */
  readonly ver: number
  /** When the user last proved who they are, epoch milliseconds. */
  readonly authTimeMs: number
}

/** What a service's own token says. It has no session, and `sub` is no user. */
export interface ServiceClaims<Claims extends object = JsonObject> extends CommonClaims<Claims> {
  readonly sid: null
  readonly gen: null
  readonly ver: null
  readonly authTimeMs: null
  /** The same as `sub`. */
  readonly clientId: string
}

/**
 * What a verified access token says. Frozen to its depths: it is remembered and shared by requests.
 *
 * @typeParam Claims - the app's own claims
 */
export type AccessClaims<Claims extends object = JsonObject> =
  | SessionClaims<Claims>
  | ServiceClaims<Claims>

/** What a verifier demands of claims. */
export interface ClaimsPolicy {
  readonly issuer: string
  /** One of these must be in `aud`. */
  readonly audience: readonly string[]
  /** The longest time from `iat` to `exp`. */
  readonly maxLifetimeMs: number
  /** How far clocks may be apart. */
  readonly clockSkewMs: number
}

/**
 * Reads the payload of a token whose signature has been verified. Whether it has expired is for
 * {@link isExpired} to say.
 *
 * @param payload - the payload's text
 * @param now - epoch milliseconds
 * @throws {AuthError} `token_invalid` when a claim is missing, malformed, for somebody else, or of a
 *   time to come; `cause` names the claim
 *
 * @remarks RFC 7519 §4.1, RFC 9068 §2.2 and §4, RFC 8725 §3.8 to §3.10, OWASP ASVS 5.0 9.2.
 */
export function readClaims<Claims extends object = JsonObject>(
  payload: string,
  policy: ClaimsPolicy,
  now: number,
): AccessClaims<Claims> {
  const members = parseJsonObject(payload)
  if (members === undefined) throw tokenRefused('the payload is not a JSON object')
  const { iss, sub, aud, exp, nbf, iat, jti, sid, gen, ver, auth_time: authTime } = members
  const { tenant = '', roles = [], scope, amr = [], acr } = members
  const { client_id: clientId = null, act = null } = members

  demand(iss === policy.issuer, 'iss')
  demand(isFor(aud, policy.audience), 'aud')
  demand(isIdentifier(sub), 'sub')
  demand(isIdentifier(jti), 'jti')
  demand(isCount(iat) && iat * 1000 <= now + policy.clockSkewMs, 'iat')
  demand(nbf === undefined || (isCount(nbf) && nbf * 1000 <= now + policy.clockSkewMs), 'nbf')
  demand(isCount(exp) && exp > iat && (exp - iat) * 1000 <= policy.maxLifetimeMs, 'exp')
  demand(tenant === '' || isIdentifier(tenant), 'tenant')
  demand(isTexts(roles), 'roles')
  demand(scope === undefined || (typeof scope === 'string' && SCOPE.test(scope)), 'scope')
  demand(isTexts(amr), 'amr')
  demand(acr === undefined || typeof acr === 'string', 'acr')
  demand(clientId === null || isIdentifier(clientId), 'client_id')
  demand(act === null || isActor(act), 'act')

  const common = {
    iss: policy.issuer,
    aud: typeof aud === 'string' ? [aud] : aud,
    sub,
    tenant,
    jti,
    issuedAtMs: iat * 1000,
    expiresAtMs: exp * 1000,
    roles,
    scope: scope === undefined ? [] : scope.split(' '),
    level: acr ?? null,
    amr,
    clientId,
    actor: act,
    claims: ownClaims<Claims>(members),
  }
  if (sid === undefined) {
    // RFC 9068 §5, RFC 6749 §4.4: without a session it is a service's own, and says nothing of a user.
    demand(clientId !== null, 'sid')
    for (const name of OF_A_USER) demand(members[name] === undefined, name)
    demand(clientId === sub, 'client_id')
    const none = { sid: null, gen: null, ver: null, authTimeMs: null }
    return deepFreeze(Object.assign(common, { clientId, ...none }))
  }
  demand(isIdentifier(sid), 'sid')
  demand(isCount(gen), 'gen')
  demand(isCount(ver), 'ver')
  demand(isCount(authTime), 'auth_time')
  // Not a spread: to add members to a copy of so many takes sixty times as long.
  return deepFreeze(Object.assign(common, { sid, gen, ver, authTimeMs: authTime * 1000 }))
}

const OF_A_USER = ['gen', 'ver', 'auth_time', 'tenant', 'roles', 'amr', 'acr', 'act'] as const

function isActor(value: unknown): value is Actor {
  let at = value
  for (let depth = 0; depth < MAX_ACTORS; depth++) {
    if (typeof at !== 'object' || at === null) return false
    const { sub, act, ...others }: { sub?: unknown; act?: unknown } = at
    if (!isIdentifier(sub) || Object.keys(others).length > 0) return false
    if (act === undefined) return true
    at = act
  }
  return false
}

/** Whether the token is over at `now`. */
export function isExpired(
  claims: Pick<AccessClaims, 'expiresAtMs'>,
  clockSkewMs: number,
  now: number,
): boolean {
  return now >= claims.expiresAtMs + clockSkewMs
}

function demand(holds: boolean, claim: string): asserts holds {
  if (!holds) throw tokenRefused(`claim ${claim}`)
}

function isFor(aud: unknown, audience: readonly string[]): aud is string | readonly string[] {
  const named = typeof aud === 'string' ? [aud] : aud
  return isTexts(named) && audience.some((one) => named.includes(one))
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function ownClaims<Claims extends object>(members: Readonly<Record<string, unknown>>): Claims {
  const own: Record<string, unknown> = {}
  for (const name of Object.keys(members)) if (!RESERVED.has(name)) own[name] = members[name]
  // The app declares the type of claims it put in itself; the signature says they are unchanged.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return own as Claims
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    for (const member of Object.values(value)) deepFreeze(member)
    Object.freeze(value)
  }
  return value
}
