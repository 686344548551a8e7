import type { RotationState } from './rotation.ts'
import type { UserRef } from './user.ts'

/** A value that survives JSON. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue }

/** A JSON object. */
export interface JsonObject {
  readonly [key: string]: JsonValue
}

/** What the app says of the user in one session. Its version is the session's `ver`. */
export interface Attributes {
  readonly roles: readonly string[]
  /** Granted scope, one word an element; joined by spaces on the wire (RFC 6749 §3.3). */
  readonly scope: readonly string[]
  /** Authentication level by the app's own name, `acr` in the JWT. Null when the app has none. */
  readonly level: string | null
  /** Authentication methods (RFC 8176), `amr` in the JWT. */
  readonly amr: readonly string[]
  /** The app's own claims. They never override a registered one. */
  readonly claims: JsonObject
}

/** How a session shows in a list of devices. */
export interface Device {
  /** Text for people, at most 256 characters; null when nothing is known. */
  readonly label: string | null
  /** Client address as `req.ip` gave it; null when nothing is known. */
  readonly ip: string | null
}

/**
 * The server-side record of one login on one device, as every store keeps it. Instants are epoch
 * milliseconds of the store's clock. It holds no secret: of the seed only the hash is here.
 */
export interface SessionRecord extends RotationState {
  /** Session id: the public name, 24 characters base64url. */
  readonly sid: string
  readonly user: UserRef
  /** Version of `attributes`, 0 at login. */
  readonly ver: number
  readonly attributes: Attributes
  /** Version of `data`, 0 at login. */
  readonly dataVer: number
  /** The app's data of this login, at most 4 KiB as JSON; null when there is none. */
  readonly data: JsonObject | null
  /** Binding hash of the device that logged in, null when it sent none. */
  readonly bindingHash: string | null
  readonly device: Device
  /** Whether cookies outlive the browser. */
  readonly remember: boolean
  readonly createdAt: number
  /** When the user last proved who they are. A refresh never moves it. */
  readonly authTime: number
  /** Last known activity, exact to one minute. */
  readonly lastSeenAt: number
}

/** What the kit decides of a session before the store makes it; the store adds the instants. */
export type NewSession = Pick<
  SessionRecord,
  'sid' | 'user' | 'seedHash' | 'attributes' | 'bindingHash' | 'device' | 'remember' | 'data'
>

/** How long a session lives, in milliseconds. */
export interface Lifetimes {
  /** Longest pause between two activities. */
  readonly idleTimeoutMs: number
  /** Longest life, whatever happens. */
  readonly absoluteTimeoutMs: number
}

/** Activity is written at most this often a session. */
export const TOUCH_INTERVAL_MS = 60_000

/**
 * After how much silence activity is written again: a minute, or half of a shorter idle timeout, so
 * that a session in use never idles out between two writes.
 */
export function touchIntervalMs(idleTimeoutMs: number): number {
  return Math.min(TOUCH_INTERVAL_MS, idleTimeoutMs / 2)
}

/** The largest `data` of a session, in bytes of its JSON. */
export const MAX_DATA_BYTES = 4096

/**
 * The record a store writes for a new login.
 *
 * @param session - what the kit decided
 * @param lifetimes - idle and absolute timeout
 * @param now - the store's clock
 */
export function openRecord(session: NewSession, lifetimes: Lifetimes, now: number): SessionRecord {
  const absoluteDeadline = now + lifetimes.absoluteTimeoutMs
  return {
    ...session,
    ver: 0,
    dataVer: 0,
    generation: 0,
    rotatedAt: now,
    attemptHash: null,
    rotatedBy: session.bindingHash,
    confirmed: false,
    createdAt: now,
    authTime: now,
    lastSeenAt: now,
    idleDeadline: clampIdle(absoluteDeadline, lifetimes.idleTimeoutMs, now),
    absoluteDeadline,
  }
}

/**
 * The idle deadline after activity at `now`: activity never moves a session past its absolute end
 * (OWASP ASVS 5.0 7.3.2).
 */
export function clampIdle(absoluteDeadline: number, idleTimeoutMs: number, now: number): number {
  return Math.min(absoluteDeadline, now + idleTimeoutMs)
}

/**
 * What a store check writes: the touch when it is due, and the confirmation when it is due.
 *
 * @param session - the stored session, alive
 * @param idleTimeoutMs - the app's idle timeout
 * @param generation - `gen` of the access token that was seen, undefined when none was
 * @param now - the store's clock
 * @returns the fields that change, or null when there is nothing to write
 */
export function dueWrite(
  session: SessionRecord,
  idleTimeoutMs: number,
  generation: number | undefined,
  now: number,
): Pick<SessionRecord, 'lastSeenAt' | 'idleDeadline' | 'confirmed'> | null {
  const touch = now - session.lastSeenAt >= touchIntervalMs(idleTimeoutMs)
  const confirmed = session.confirmed || generation === session.generation
  if (!touch && confirmed === session.confirmed) return null
  return {
    confirmed,
    lastSeenAt: touch ? now : session.lastSeenAt,
    idleDeadline: touch
      ? clampIdle(session.absoluteDeadline, idleTimeoutMs, now)
      : session.idleDeadline,
  }
}

/** What a store writes when a refresh token is rotated or recovered; nothing else changes. */
export function rotatedFields(
  session: SessionRecord,
  rotation: {
    readonly generation: number
    readonly attemptHash: string
    readonly bindingHash: string | null
    readonly idleTimeoutMs: number
  },
  now: number,
): Partial<SessionRecord> {
  return {
    generation: rotation.generation,
    rotatedAt: now,
    rotatedBy: rotation.bindingHash,
    attemptHash: rotation.attemptHash,
    confirmed: false,
    lastSeenAt: now,
    idleDeadline: clampIdle(session.absoluteDeadline, rotation.idleTimeoutMs, now),
  }
}

/**
 * Whether a login that began before the user was revoked may still open a session. It may not: the
 * password it checked is the old one.
 *
 * @param revokedAt - when the user was last revoked, undefined when not lately
 * @param loginAgeMs - how long ago the login began, whole milliseconds
 * @param now - the store's clock
 */
export function isStaleLogin(
  revokedAt: number | undefined,
  loginAgeMs: number,
  now: number,
): boolean {
  if (revokedAt === undefined) return false
  const beganAt = now - loginAgeMs
  // Within the revocation's own millisecond only a login that took no time can have begun after it.
  return loginAgeMs > 0 ? beganAt <= revokedAt : beganAt < revokedAt
}
