import type { AccessClaims, Actor } from './access-token-claims.ts'
import type { Device, JsonObject, SessionRecord } from './session.ts'

/**
 * Where an app says once what its own claims are, so that `req.auth.claims` is typed everywhere:
 *
 * ```ts
 * declare module 'latchkey' {
 *   interface Register { claims: { plan: 'free' | 'pro' } }
 * }
 * ```
 */
export interface Register {}

/** The claims an app registered; any JSON object when it registered none. */
export type RegisteredClaims = Register extends { readonly claims: infer Claims extends object }
  ? Claims
  : JsonObject

/** A session as apps see it. Instants are epoch milliseconds of the store's clock. */
export interface Session<Claims extends object = RegisteredClaims> {
  /** Session id: a public name, not a secret. */
  readonly id: string
  readonly userId: string
  /** `''` in an app without tenants. */
  readonly tenant: string
  readonly roles: readonly string[]
  readonly scope: readonly string[]
  readonly level: string | null
  readonly amr: readonly string[]
  readonly claims: Claims
  /** Version of what is said of the user. */
  readonly ver: number
  /** The app's data of this login; null when there is none. */
  readonly data: JsonObject | null
  readonly dataVer: number
  readonly device: Device
  readonly createdAt: number
  readonly lastSeenAt: number
  /** When the user last proved who they are. */
  readonly authTime: number
  /** The absolute end. */
  readonly expiresAt: number
  /** When it ends if nothing happens. */
  readonly idleExpiresAt: number
}

/**
 * Who is asking: `req.auth` after a guard.
 *
 * @typeParam Claims - the app's own claims
 */
export interface Auth<Claims extends object = RegisteredClaims> {
  /** By which credential. `'service'`: a backend's own token, and only where the guard takes them. */
  readonly kind: 'session' | 'jwt' | 'service'
  /** `''` for a service: it is no user, and no user has this id. */
  readonly userId: string
  /** `''` for a service. */
  readonly sessionId: string
  /** `''` in an app without tenants. */
  readonly tenant: string
  readonly roles: readonly string[]
  readonly scope: readonly string[]
  /** Authentication level, null when the app has none. */
  readonly level: string | null
  /** When the user last proved who they are, epoch milliseconds; 0 for a service. */
  readonly authTime: number
  readonly claims: Claims
  /** The service's id, with kind `'service'`. */
  readonly service?: string
  /** Who acts for the user, when the token says so (RFC 8693 §4.1). */
  readonly actor?: Actor
  /** The session, when the store was asked, for this request or by the near cache before. */
  readonly session?: Session<Claims>
  /** Whether the store said that the session is alive, for this request. */
  readonly checked: boolean
}

/** The session as apps see it. Without what only rotation needs, and without any hash. */
export function toSession<Claims extends object>(record: SessionRecord): Session<Claims> {
  const { attributes } = record
  return {
    id: record.sid,
    userId: record.user.id,
    tenant: record.user.tenant,
    roles: attributes.roles,
    scope: attributes.scope,
    level: attributes.level,
    amr: attributes.amr,
    claims: typedClaims<Claims>(attributes.claims),
    ver: record.ver,
    data: record.data,
    dataVer: record.dataVer,
    device: record.device,
    createdAt: record.createdAt,
    lastSeenAt: record.lastSeenAt,
    authTime: record.authTime,
    expiresAt: record.absoluteDeadline,
    idleExpiresAt: record.idleDeadline,
  }
}

/** Who an access token alone says is asking. */
export function authFromClaims<Claims extends object>(claims: AccessClaims): Auth<Claims> {
  const auth = {
    kind: claims.sid === null ? ('service' as const) : ('jwt' as const),
    userId: claims.sid === null ? '' : claims.sub,
    sessionId: claims.sid ?? '',
    tenant: claims.tenant,
    roles: claims.roles,
    scope: claims.scope,
    level: claims.level,
    authTime: claims.authTimeMs ?? 0,
    claims: typedClaims<Claims>(claims.claims),
    checked: false,
  }
  if (claims.sid === null) return { ...auth, service: claims.sub }
  return claims.actor === null ? auth : { ...auth, actor: claims.actor }
}

/**
 * `req.auth` from what the store said.
 *
 * @param checked - whether it said so for this request, rather than to the near cache before
 */
export function authFromRecord<Claims extends object>(
  kind: Auth['kind'],
  record: SessionRecord,
  checked: boolean = true,
): Auth<Claims> {
  const session = toSession<Claims>(record)
  return {
    kind,
    userId: session.userId,
    sessionId: session.id,
    tenant: session.tenant,
    roles: session.roles,
    scope: session.scope,
    level: session.level,
    authTime: session.authTime,
    claims: session.claims,
    session,
    checked,
  }
}

/**
 * `req.auth` from an access token whose session the store was asked for. A token that was narrowed
 * stays as narrow as it is.
 */
export function authFromChecked<Claims extends object>(
  { scope, actor }: AccessClaims,
  record: SessionRecord,
): Auth<Claims> {
  const auth = authFromRecord<Claims>('jwt', record)
  return {
    ...auth,
    scope: auth.scope.filter((word) => scope.includes(word)),
    ...(actor === null ? {} : { actor }),
  }
}

/** The app's claims at its own word: only `authenticate`, `loadUser` and `update` can put them in. */
export function typedClaims<Claims extends object>(claims: object): Claims {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see above
  return claims as Claims
}
