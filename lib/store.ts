import type { ReplayCause, RotationPolicy, RotationRequest } from './rotation.ts'
import type { Attributes, JsonObject, Lifetimes, NewSession, SessionRecord } from './session.ts'
import type { UserRef } from './user.ts'

/**
 * A store keeps sessions and tells every node what was revoked.
 *
 * This file is the contract; `test/stores/contract.ts` holds every store to each sentence of it.
 *
 * - Every operation is atomic and costs one round trip; one more where the feed is on another server, or
 *   where a check, once a minute and session, has something to write. What is written is decided in the
 *   step that writes it: none is a read followed by a write.
 * - Time is the store's own clock, epoch milliseconds. Clocks of nodes decide nothing.
 * - A session whose idle or absolute deadline is reached does not exist, whether or not its row is
 *   still there. No operation but `create` and `replace` makes one exist.
 * - An operation resolves once its effect is acknowledged. It rejects when the backend failed or did
 *   not acknowledge; the effect is then unknown, and calling again is safe: everything is idempotent.
 * - Ids reach a store checked (`isIdentifier`, session ids well-formed); they are kept byte-exact.
 * - What a store returns is the caller's: changing it changes nothing in the store.
 * - An operation that changes something takes in `audit` what the trail is to say of it. A store whose
 *   `audit.withChange` is true writes that in the same step: exactly when the change is made, in
 *   order, with what only the store knows filled in as `lib/change-events.ts` says. Refusals,
 *   failures and calls that find it done already write nothing. Any other store takes no notice.
 */
export interface Store {
  /**
   * Opens a session. The user's live sessions are counted in the same step; at `limit.max` the
   * least recently active ones are evicted to make room, or the login is refused. Exact under any
   * number of parallel logins. Evicted sessions are revoked: they are in the feed. Asked again with
   * the same session id and seed, it answers the session as it is.
   */
  create(input: CreateInput): Promise<CreateResult>

  /**
   * Opens a session in the place of another of the same user; the old one is revoked in the same
   * step and does not count towards the limit. When the old session is gone, is another user's, or
   * its seed differs, nothing happens to it and `orElse` decides: `'create'` opens the new session
   * all the same, `'refuse'` answers `gone`. Refused in this order: `gone`, `stale_login`,
   * `session_limit`; refusals change nothing.
   */
  replace(input: ReplaceInput): Promise<CreateResult | { readonly outcome: 'gone' }>

  /**
   * Finds a live session and, in the same step, writes the touch when it is due (at most once a
   * minute: `lastSeenAt`, and the idle deadline clamped to the absolute one) and the confirmation
   * when it is due (`generation` equals the current one). Writes neither for a denied token, nor
   * with `peek`. Never appends to the feed.
   */
  check(input: CheckInput): Promise<CheckResult>

  /**
   * Presents a refresh token whose MAC has been checked. The outcome is that of `decideRotation` on
   * the stored row at the store's time. `rotated` and `recovered` write; `reused` revokes the session
   * or, as `revokeUser` does, all of the user's; every other outcome writes nothing.
   */
  rotate(input: RotateInput): Promise<RotateResult>

  /**
   * Replaces attributes or data if their version is still the expected one, and increments that
   * version. The two versions are independent of each other, and touch and rotate bump neither.
   * A change of attributes is in the feed with its new `ver`.
   */
  update(input: UpdateInput): Promise<UpdateResult>

  /** Ends one session. Ending a session that is gone is no error and appends nothing. */
  revoke(input: RevokeInput): Promise<RevokeResult>

  /**
   * Ends all of a user's sessions, or all but one, and marks the user for ten minutes: a login
   * that began before this instant gets `stale_login`, also when there was no session to end.
   */
  revokeUser(input: RevokeUserInput): Promise<RevokeUserResult>

  /** A user's live sessions, most recently active first, paged by an opaque cursor. */
  list(input: ListInput): Promise<Page<SessionRecord>>

  /**
   * Refuses one access token by its `jti` until `expiresAt` (epoch ms), for `check` and `isDenied`.
   * The session lives on. Denying twice is no error, and the later end counts. The denial is in the
   * feed as a revocation of the `jti`, each time anew, unless the token is over already or its `jti`
   * is no feed name (`isFeedName`).
   */
  deny(input: DenyInput): Promise<void>

  /** Whether an access token is denied: for tokens without a session. Writes nothing. */
  isDenied(input: DeniedInput): Promise<boolean>

  /** Counters for rate limits: fixed windows that start with the first take. */
  readonly limit: {
    /**
     * Adds `cost` to the counter of `key` and returns its state: 0 reads, a negative cost gives back. The counter starts
     * anew when `windowMs` has passed since its first take; a window that has begun keeps its end.
     */
    take(key: string, cost: number, windowMs: number): Promise<LimitState>
  }

  /** The audit trail, append-only. */
  readonly audit: {
    /** Whether the events that are given with a change are written in the same step as that. */
    readonly withChange: boolean
    /** Appends events in order. Appending none is no error. */
    append(events: readonly AuditEvent[]): Promise<void>
    /** Events that match every given field, newest first, paged by an opaque cursor. */
    query(query: AuditQuery): Promise<Page<AuditEvent>>
  }

  /** One document for the signing keys that the nodes manage together. */
  readonly keys: {
    /** The document and its version, or null when none was saved. */
    load(): Promise<KeysDocument | null>
    /**
     * Saves if the stored version is still `expected` (0: none was saved). Says whether it did. In the
     * same step the feed gets an entry whose `sid` is `'keys'` and whose `ver` is the new version; no
     * session id is that short. Where it did not save, it appends nothing.
     */
    save(expected: number, document: string): Promise<boolean>
  }

  /** The ordered stream of revocations and attribute changes. */
  readonly feed: {
    /** How long entries are kept at least, milliseconds. Older ones go by age alone. */
    readonly retentionMs: number
    /**
     * Reads on from a cursor. Every entry appended after a cursor was handed out is delivered at
     * least once to who reads on from it, or `complete` is false. What follows one another comes in
     * this order; what was changed at the same time may reach two readers in two orders, and a reader
     * keeps the highest `ver` of each session. A cursor that this feed did not
     * give out reads all that is retained, and `complete` is false.
     */
    read(input: FeedReadInput): Promise<FeedPage>
  }

  /** Removes what is over, in bounded batches. Says how many sessions it removed. */
  prune(): Promise<number>

  /** What is unsafe about this server, one finding each; empty when all is well. */
  inspect(): Promise<readonly StoreFinding[]>

  /** Releases what the store opened itself (never the app's client). Further calls reject. */
  close(): Promise<void>
}

/** How many live sessions a user may have, and what happens at the limit. */
export interface SessionLimit {
  readonly max: number
  readonly onLimit: 'evict' | 'refuse'
}

export interface CreateInput {
  readonly session: NewSession
  readonly lifetimes: Lifetimes
  readonly limit: SessionLimit
  /** How long ago the login began, whole milliseconds on a monotonic clock. */
  readonly loginAgeMs: number
  readonly audit?: OpenAudit
}

/** What the trail says of a session that was opened. What ended for it comes first. */
export interface OpenAudit<Event extends AuditEvent = AuditEvent> {
  /** For each session that was ended to make room; the store adds its `sessionId`. */
  readonly evicted: Event
  /** For the session that was replaced; the store adds its `sessionId`. */
  readonly replaced: Event
  readonly opened: readonly Event[]
}

export interface ReplaceInput extends CreateInput {
  readonly old: { readonly sid: string; readonly seedHash?: string }
  readonly orElse: 'create' | 'refuse'
  /** Whether the new session inherits the old one's data. */
  readonly keepData: boolean
}

export type CreateResult =
  | {
      readonly outcome: 'created'
      readonly session: SessionRecord
      /** Session ids that were revoked to make room, the replaced one included. */
      readonly revoked: readonly string[]
    }
  /** The user is at the limit and the policy is to refuse. */
  | { readonly outcome: 'session_limit' }
  /** The login began before the user was revoked. */
  | { readonly outcome: 'stale_login' }

export interface CheckInput {
  readonly sid: string
  /** Hash of the presented seed; absent when an access token was presented. */
  readonly seedHash?: string
  /** `jti` of the presented access token. */
  readonly jti?: string
  /** `gen` of the presented access token. */
  readonly generation?: number
  /** Only read: nobody acted, so neither touch nor confirmation is due. */
  readonly peek?: boolean
  readonly idleTimeoutMs: number
}

export type CheckResult =
  | { readonly outcome: 'gone' }
  /** The seed differs. Nothing was written. */
  | { readonly outcome: 'invalid' }
  | {
      readonly outcome: 'alive'
      readonly session: SessionRecord
      /** Whether the presented `jti` is denied. */
      readonly denied: boolean
    }

export interface RotateInput extends RotationRequest {
  readonly sid: string
  readonly policy: RotationPolicy
  readonly idleTimeoutMs: number
  /** What reuse ends: the session, or all sessions of its user. */
  readonly onReuse: 'session' | 'user'
  readonly audit?: RotateAudit
}

/** What the trail says of a rotation. The store adds `user`. */
export interface RotateAudit<Event extends AuditEvent = AuditEvent> {
  readonly recovered: Event
  /** When the device is another one; null when that is nobody's concern. */
  readonly deviceChanged: Event | null
  /** Whether `deviceChanged` is only for sessions whose login was bound to a device. */
  readonly boundOnly: boolean
  /** The store adds as `detail` the distance, the age in milliseconds and how many sessions ended. */
  readonly reused: Event
}

export type RotateResult =
  | { readonly outcome: 'gone' }
  | { readonly outcome: 'invalid'; readonly cause: 'seed' | 'ahead' }
  | {
      readonly outcome: 'rotated' | 'recovered'
      readonly session: SessionRecord
      readonly deviceChanged: boolean
    }
  | {
      readonly outcome: 'replayed'
      readonly session: SessionRecord
      readonly cause: ReplayCause
    }
  | {
      readonly outcome: 'reused'
      /** The session as it was. */
      readonly session: SessionRecord
      readonly distance: number
      readonly ageMs: number
      readonly revoked: readonly string[]
    }

export type UpdateInput = {
  readonly sid: string
  /** What the trail says of the change, complete. */
  readonly audit?: AuditEvent
} & (
  | { readonly ver: number; readonly attributes: Attributes }
  | { readonly dataVer: number; readonly data: JsonObject | null }
)

export type UpdateResult =
  | { readonly outcome: 'gone' }
  /** The version was another; `session` is what is stored. Nothing was written. */
  | { readonly outcome: 'conflict'; readonly session: SessionRecord }
  | { readonly outcome: 'updated'; readonly session: SessionRecord }

export interface RevokeInput {
  readonly sid: string
  /** End it only if it is this user's. */
  readonly owner?: UserRef
  /** End it only if this is its seed's hash. */
  readonly seedHash?: string
  /** What the trail says of it; the store adds `user`. */
  readonly audit?: AuditEvent
}

export type RevokeResult =
  | { readonly outcome: 'gone' }
  /** `session` is what it was. */
  | { readonly outcome: 'revoked'; readonly session: SessionRecord }

export interface RevokeUserInput {
  readonly user: UserRef
  /** The session id that lives on. */
  readonly except?: string
  /** What the trail says of it, also when nothing ended; the store adds as `detail` how many did. */
  readonly audit?: AuditEvent
}

export interface RevokeUserResult {
  readonly revoked: readonly string[]
}

export interface ListInput {
  readonly user: UserRef
  /** 1 to 100. */
  readonly limit: number
  readonly cursor?: string
}

/**
 * One page of a list, and the cursor of the next page; null on the last. A cursor that no page gave
 * out leads to an empty last page, never to an error.
 */
export interface Page<Item> {
  readonly items: readonly Item[]
  readonly next: string | null
}

export interface DenyInput {
  /** Session id of the token, its own `jti` when it has no session; it says where the entry lives. */
  readonly sid: string
  readonly jti: string
  readonly expiresAt: number
}

/** A token by the names `deny` takes. */
export type DeniedInput = Pick<DenyInput, 'sid' | 'jti'>

export interface LimitState {
  /** Sum of the costs in this window, this one included. */
  readonly used: number
  /** Until the counter starts anew, in milliseconds. */
  readonly resetsInMs: number
}

/** One line of the audit trail. Never holds a token, a secret, or a part of one. */
export interface AuditEvent {
  /** Event name, in OWASP's logging vocabulary where it has one. */
  readonly type: string
  /** Epoch milliseconds of the node that saw it. */
  readonly at: number
  readonly result: 'success' | 'failure'
  /** Whom it is about. */
  readonly user?: UserRef
  /** Who did it, when it is somebody else. */
  readonly actor?: UserRef
  readonly sessionId?: string
  readonly ip?: string
  readonly userAgent?: string
  /** Why, as a code. */
  readonly cause?: string
  /** Further facts: counts, ages, distances. */
  readonly detail?: JsonObject
}

export interface AuditQuery {
  readonly user?: UserRef
  readonly sessionId?: string
  readonly type?: string
  /** Not before, epoch ms. */
  readonly from?: number
  /** Before, epoch ms. */
  readonly to?: number
  /** 1 to 100. */
  readonly limit: number
  readonly cursor?: string
}

export interface KeysDocument {
  /** 1 and up, one more with each save. */
  readonly version: number
  readonly document: string
}

/**
 * One entry of the feed: everything of this session older than `ver` is void. `Infinity` is a
 * revocation. The `sid` `'keys'` stands for the signing keys: their document has a new version, `ver`.
 */
export interface FeedEntry {
  /** A session id, or the `jti` of a denied token. */
  readonly sid: string
  readonly ver: number
}

export interface FeedReadInput {
  /** Where to read on; null reads all that is retained. */
  readonly cursor: string | null
  /** How long to wait for an entry when there is none, in milliseconds. */
  readonly waitMs: number
  /** Ends the wait. */
  readonly signal: AbortSignal
}

export interface FeedPage {
  readonly entries: readonly FeedEntry[]
  /** Where to read on. */
  readonly cursor: string
  /** There is more: read on without waiting. */
  readonly more: boolean
  /** False when entries after the given cursor were trimmed, or may be missing for another reason. */
  readonly complete: boolean
  /** True when the store may have lost acknowledged writes, as after a failover. */
  readonly rolledBack: boolean
  /** The store's clock when it answered, epoch milliseconds. */
  readonly now: number
}

/** Something unsafe about a store's server. */
export interface StoreFinding {
  /** A stable word for it. */
  readonly code: string
  /** What is wrong and how to mend it, one sentence. */
  readonly message: string
}
