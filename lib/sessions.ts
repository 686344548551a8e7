import type { AttributesPatch, User } from './attributes.ts'
import { copyJsonObject, isSameAttributes, parseUser, patchAttributes } from './attributes.ts'
import type { RegisteredClaims, Session } from './auth.ts'
import { toSession } from './auth.ts'
import type { Core } from './core.ts'
import { endSession, endUserSessions } from './end-session.ts'
import { AuthError, InternalError, VersionConflict } from './errors.ts'
import { openSession } from './open-session.ts'
import { isSessionId } from './session-id.ts'
import type { JsonObject, SessionRecord } from './session.ts'
import { MAX_DATA_BYTES } from './session.ts'
import type { Page } from './store.ts'
import type { ReportedUpdate } from './update-attributes.ts'
import { attributesUpdate, reportUpdate } from './update-attributes.ts'
import { parseUserRef } from './user.ts'

/** A user's name: the id, or the pair in an app with tenants. */
export type UserName = string | { readonly id: string; readonly tenant?: string | undefined }

/** A session that was just opened, with its credentials. */
export interface OpenedSession<Claims extends object> {
  readonly session: Session<Claims>
  readonly sessionToken: string
  readonly refreshToken: string
  readonly accessToken: string
  /** Until the access token ends, in seconds. */
  readonly expiresIn: number
}

/** Why a session is ended, for the audit trail. */
export interface RevokeOptions {
  /** A code of the app's. @defaultValue `'app'` */
  readonly reason?: string | undefined
  /** Who does it, when it is not the user. */
  readonly actor?: UserName | undefined
}

/**
 * The app's own hand on sessions, outside of any request.
 *
 * Every method rejects with {@link StoreUnavailable} when the store fails or is late; a revocation
 * is then not known to have happened and is to be called again.
 *
 * @typeParam Claims - the app's own claims
 */
export interface Sessions<Claims extends object = RegisteredClaims> {
  /**
   * Opens a session for a user the app has authenticated itself and returns its credentials. Inside
   * a request `signIn` is what you want: it sets the cookies too.
   *
   * @throws {AuthError} `session_limit`, `user_invalid`; `signing_unavailable` (503)
   * @throws {StoreUnavailable} nothing was opened that anybody knows of
   * @throws {InternalError} the user has a wrong shape
   */
  open(
    user: User<Claims>,
    options?: { readonly label?: string; readonly ip?: string },
  ): Promise<OpenedSession<Claims>>

  /** The session of this id, null when there is none alive. Does not count as activity. */
  find(sessionId: string): Promise<Session<Claims> | null>

  /** A user's live sessions, most recently active first; `limit` 1 to 100, default 50. */
  list(
    user: UserName,
    options?: { readonly limit?: number | undefined; readonly cursor?: string | undefined },
  ): Promise<Page<Session<Claims>>>

  /** Ends one session on every node. False when there was none. */
  revoke(sessionId: string, options?: RevokeOptions): Promise<boolean>

  /**
   * Ends a user's sessions on every node, but for `except`; logins that began before are refused.
   * For a changed password, a disabled account. Returns how many ended.
   */
  revokeUser(
    user: UserName,
    options?: RevokeOptions & { readonly except?: string | undefined },
  ): Promise<number>

  /**
   * Changes what is said of the user in one session, or the app's data of this login. With new
   * attributes, access tokens issued before are `token_stale` on every node.
   *
   * @param patch - named fields are replaced as a whole; `data: null` removes the data;
   *   `ifDataVer` makes a change of data fail when another came first
   * @throws {AuthError} `session_ended`
   * @throws {VersionConflict} when another change came first, again and again or by `ifDataVer`
   * @throws {InternalError} when data is no JSON object or over 4 KiB, or attributes do not fit
   */
  update(sessionId: string, patch: SessionPatch<Claims>): Promise<Session<Claims>>
}

/** What `update` may change. */
export interface SessionPatch<Claims extends object> extends AttributesPatch<Claims> {
  readonly data?: JsonObject | null
  readonly ifDataVer?: number
}

const DEFAULT_PAGE = 50
const MAX_PAGE = 100
const MAX_UPDATE_TRIES = 3

/** Makes the `sessions` of one kit. */
export function createSessions<Claims extends object>(core: Core): Sessions<Claims> {
  const idleTimeoutMs = core.settings.lifetimes.idleTimeoutMs

  async function read(sid: string): Promise<SessionRecord | null> {
    if (!isSessionId(sid)) return null
    const result = await core.store.check({ sid, idleTimeoutMs, peek: true })
    return result.outcome === 'alive' ? result.session : null
  }

  async function change(
    sid: string,
    build: (session: SessionRecord) => ReportedUpdate | null,
  ): Promise<SessionRecord> {
    let session = await read(sid)
    try {
      for (let tries = 0; tries < MAX_UPDATE_TRIES && session !== null; tries++) {
        const input = build(session)
        if (input === null) return session
        const result = await core.store.update(input)
        if (result.outcome === 'updated') {
          reportUpdate(core, input, result.session)
          return result.session
        }
        session = result.outcome === 'conflict' ? result.session : null
      }
    } finally {
      // Changed by us, by another node before us, or, when it failed, perhaps.
      core.nearCache?.drop(sid)
    }
    if (session === null) throw new AuthError('session_ended', 'the session is over')
    throw new VersionConflict()
  }

  return {
    async open(user, options = {}) {
      const credentials = await openSession(
        core,
        {
          user: parseUser(user),
          beganAt: performance.now(),
          binding: undefined,
          label: options.label,
          request: { ip: options.ip },
        },
        null,
      )
      return {
        session: toSession(credentials.session),
        sessionToken: credentials.sessionToken,
        refreshToken: credentials.refreshToken,
        accessToken: credentials.accessToken,
        expiresIn: credentials.expiresInS,
      }
    },

    async find(sessionId) {
      const session = await read(sessionId)
      return session && toSession(session)
    },

    async list(user, { limit = DEFAULT_PAGE, cursor } = {}) {
      const page = await core.store.list({
        user: parseUserRef(user),
        limit: pageSize(limit),
        ...(cursor === undefined ? {} : { cursor }),
      })
      return { items: page.items.map((session) => toSession(session)), next: page.next }
    },

    async revoke(sessionId, options = {}) {
      if (!isSessionId(sessionId)) return false
      return endSession(core, { sid: sessionId }, endReason(options))
    },

    async revokeUser(user, options = {}) {
      const { except } = options
      // Ids reach a store checked; what is no session id spares no session.
      const spared = isSessionId(except) ? except : undefined
      return endUserSessions(core, parseUserRef(user), spared, endReason(options))
    },

    async update(sessionId, patch) {
      const { data, ifDataVer, ...attributesPatch } = patch
      if (ifDataVer !== undefined && data === undefined) {
        throw new InternalError('ifDataVer is about data, and there is none')
      }
      let session: SessionRecord | null = null
      if (data !== undefined) {
        const checked = checkData(data)
        session = await change(sessionId, ({ sid, dataVer }) => {
          if (ifDataVer !== undefined && dataVer !== ifDataVer) throw new VersionConflict()
          return { sid, dataVer, data: checked }
        })
      }
      if (Object.values(attributesPatch).some((value) => value !== undefined)) {
        await core.signingKeys.ready()
        session = await change(sessionId, (current) => {
          const attributes = patchAttributes(current.attributes, attributesPatch)
          if (isSameAttributes(attributes, current.attributes)) return null
          core.issuer.assertFits(attributes, current.user)
          return attributesUpdate(core, current, attributes, { cause: 'app' })
        })
      }
      session ??= await read(sessionId)
      if (session === null) throw new AuthError('session_ended', 'the session is over')
      return toSession(session)
    },
  }
}

function pageSize(limit: number): number {
  return Number.isNaN(limit) ? DEFAULT_PAGE : Math.min(MAX_PAGE, Math.max(1, Math.trunc(limit)))
}

function endReason({ reason = 'app', actor }: RevokeOptions) {
  return { cause: reason, actor: actor === undefined ? undefined : parseUserRef(actor) }
}

function checkData(data: unknown): JsonObject | null {
  if (data === null) return null
  const copy = copyJsonObject(data)
  if (copy === null) throw new InternalError('session data must be an object that survives JSON')
  const bytes = Buffer.byteLength(JSON.stringify(copy))
  if (bytes > MAX_DATA_BYTES) {
    throw new InternalError(`session data has ${bytes} bytes, at most ${MAX_DATA_BYTES} are kept`)
  }
  return copy
}
