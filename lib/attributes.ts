import { InternalError } from './errors.ts'
import type { ReservedClaim } from './access-token-claims.ts'
import { isIdentifier } from './identifier.ts'
import type { Attributes, JsonObject, JsonValue } from './session.ts'
import type { UserRef } from './user.ts'
import { isSameUser, parseUserRef } from './user.ts'

/** Names every object has; they are refused at run time only. */
type InheritedName = '__proto__' | 'constructor' | 'prototype'

/** Claims an app may add: anything but the names latchkey and the RFCs have taken. */
export type AppClaims<Claims> = Claims & {
  readonly [Name in Exclude<ReservedClaim, InheritedName>]?: never
}

/**
 * Who logged in, as `authenticate` and `loadUser` return it.
 *
 * @typeParam Claims - the app's own claims
 */
export interface User<Claims extends object = JsonObject> {
  /** The app's id of the user: 1 to 255 characters, byte-exact. */
  readonly id: string
  /** In an app with tenants: which one. Part of the user's name. */
  readonly tenant?: string | undefined
  readonly roles?: readonly string[] | undefined
  /** Granted scope, one word an element. */
  readonly scope?: readonly string[] | undefined
  /** Authentication level by the app's own name. `'partial'` passes no guard but those that ask for it. */
  readonly level?: string | undefined
  /** Authentication methods (RFC 8176): `['pwd', 'otp']`. */
  readonly amr?: readonly string[] | undefined
  readonly claims?: AppClaims<Claims> | undefined
  /** False makes cookies that end with the browser. @defaultValue `true` */
  readonly remember?: boolean | undefined
}

/** A user as latchkey keeps it. */
export interface ParsedUser {
  readonly ref: UserRef
  readonly attributes: Attributes
  readonly remember: boolean
}

// RFC 6749 §3.3: scope-token.
const SCOPE_WORD = /^[\x21\x23-\x5b\x5d-\x7e]{1,255}$/

/**
 * Reads what `authenticate` returned.
 *
 * @throws {AuthError} `user_invalid` (400) when the id or tenant cannot name a user
 * @throws {InternalError} when a field has the wrong shape: the app is at fault
 */
export function parseUser<Claims extends object>(user: User<Claims>): ParsedUser {
  if (!isPlainObject(user)) throw broken('must be an object with an id')
  // Numbers are what a database gives: a mistake of the app's, not a name that its user chose.
  if (typeof user.id !== 'string') throw broken('id must be a text, such as String(row.id)')
  if (!['string', 'undefined'].includes(typeof user.tenant)) throw broken('tenant must be a text')
  return {
    ref: parseUserRef(user),
    attributes: readAttributes(user, null),
    remember: user.remember !== false,
  }
}

/**
 * What the session's attributes become after `loadUser`. Roles, scope and claims are the user's and
 * are replaced; level and methods belong to the login and stay when the hook does not name them.
 *
 * @throws {InternalError} when the hook returned another user or a wrong shape
 */
export function reloadAttributes<Claims extends object>(
  user: User<Claims>,
  ref: UserRef,
  current: Attributes,
): Attributes {
  if (!isPlainObject(user) || !isSameUser({ id: user.id, tenant: user.tenant ?? '' }, ref)) {
    throw broken('returned another user than it was asked for')
  }
  return readAttributes(user, current)
}

/** Which attributes `sessions.update` may change. Absent fields stay as they are. */
export type AttributesPatch<Claims extends object> = Pick<
  User<Claims>,
  'roles' | 'scope' | 'level' | 'amr' | 'claims'
>

/**
 * Attributes with some fields replaced.
 *
 * @throws {InternalError} when a field has the wrong shape
 */
export function patchAttributes<Claims extends object>(
  current: Attributes,
  patch: AttributesPatch<Claims>,
): Attributes {
  const next = readAttributes(patch, current)
  return {
    ...next,
    roles: patch.roles === undefined ? current.roles : next.roles,
    scope: patch.scope === undefined ? current.scope : next.scope,
    claims: patch.claims === undefined ? current.claims : next.claims,
  }
}

/** Whether two sets of attributes say the same; the order of words and keys counts. */
export function isSameAttributes(a: Attributes, b: Attributes): boolean {
  return JSON.stringify(ordered(a)) === JSON.stringify(ordered(b))
}

function ordered({ roles, scope, level, amr, claims }: Attributes): unknown[] {
  return [roles, scope, level, amr, claims]
}

/**
 * A deep copy that holds only what survives JSON and every store alike, or null when there is none:
 * no JSON object, a cycle, a bigint, or a text with a lone surrogate or NUL.
 */
export function copyJsonObject(value: unknown): JsonObject | null {
  if (!isPlainObject(value)) return null
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch {
    return null
  }
  if (typeof text !== 'string') return null
  const copy: JsonValue = JSON.parse(text)
  return isJsonObject(copy) && hasOnlyStorableText(copy) ? copy : null
}

function hasOnlyStorableText(root: JsonValue): boolean {
  const pending: JsonValue[] = [root]
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (typeof value === 'string') {
      if (!value.isWellFormed() || value.includes('\0')) return false
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, inner] of Object.entries(value)) pending.push(key, inner)
    }
  }
  return true
}

function readAttributes<Claims extends object>(
  user: AttributesPatch<Claims>,
  current: Attributes | null,
): Attributes {
  const claims = copyJsonObject(user.claims ?? {})
  if (claims === null) throw broken('claims must be an object that survives JSON')
  const scope = texts('scope', user.scope)
  if (!scope.every((word) => SCOPE_WORD.test(word))) {
    throw broken('scope must be words without spaces (RFC 6749 §3.3)')
  }
  const { level } = user
  if (level !== undefined && !isIdentifier(level)) throw broken('level must be text')
  return {
    roles: texts('roles', user.roles),
    scope,
    level: level ?? current?.level ?? null,
    amr: user.amr === undefined ? (current?.amr ?? []) : texts('amr', user.amr),
    claims,
  }
}

function texts(field: string, value: unknown): readonly string[] {
  if (value === undefined) return []
  // Copied first: `every` passes over the holes of a list.
  const words = Array.isArray(value) ? [...new Set<unknown>(value)] : [null]
  if (!words.every(isIdentifier)) {
    throw broken(`${field} must be an array of texts`)
  }
  return words
}

function broken(problem: string): InternalError {
  return new InternalError(
    `a user from authenticate or loadUser, or for signIn or sessions.open: ${problem}`,
  )
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isJsonObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
