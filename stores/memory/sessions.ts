import {
  openEvents,
  revokedEvent,
  rotationEvents,
  userRevokedEvent,
} from '../../lib/change-events.ts'
import { decideRotation } from '../../lib/rotation.ts'
import { dueWrite, isStaleLogin, openRecord, rotatedFields } from '../../lib/session.ts'
import { isFeedName, isSameSeedHash } from '../../lib/session-id.ts'
import type { SessionRecord } from '../../lib/session.ts'
import type {
  AuditEvent,
  CheckInput,
  CheckResult,
  CreateInput,
  CreateResult,
  DeniedInput,
  DenyInput,
  ReplaceInput,
  RevokeInput,
  RevokeResult,
  RevokeUserInput,
  RevokeUserResult,
  RotateInput,
  RotateResult,
  UpdateInput,
  UpdateResult,
} from '../../lib/store.ts'
import { isSameUser } from '../../lib/user.ts'
import type { MemoryAudit } from './audit.ts'
import { ExpiringMap } from './expiring-map.ts'
import type { MemoryFeed } from './feed.ts'
import { changed, frozenAttributes, frozenJson, frozenSession } from './frozen.ts'
import type { SessionTable } from './session-table.ts'
import { userKey } from './session-table.ts'

/** How long a user's revocation is remembered against logins that began before it. */
const MARK_MS = 600_000
const MAX_MARKS = 100_000
const MAX_DENIED = 100_000

/**
 * The session operations of the memory store. None of them awaits anything, so each is one step.
 *
 * @internal
 */
export class MemorySessions {
  readonly #table: SessionTable
  readonly #feed: MemoryFeed
  readonly #audit: MemoryAudit
  readonly #now: () => number
  /** By user: when they were last revoked. */
  readonly #marks = new ExpiringMap<number>(MAX_MARKS, 'reject')
  /** By session id and `jti`: refused access tokens. */
  readonly #denied = new ExpiringMap<true>(MAX_DENIED, 'reject')

  constructor(table: SessionTable, feed: MemoryFeed, audit: MemoryAudit, now: () => number) {
    this.#table = table
    this.#feed = feed
    this.#audit = audit
    this.#now = now
  }

  create(input: CreateInput): CreateResult {
    return this.#open(input, undefined, input.session.data)
  }

  replace(input: ReplaceInput): CreateResult | { readonly outcome: 'gone' } {
    const now = this.#now()
    const found = this.#table.find(input.old.sid, now)
    const old = found !== undefined && isReplaceable(found, input) ? found : undefined
    const repeated = this.#table.find(input.session.sid, now) !== undefined
    if (old === undefined && input.orElse === 'refuse' && !repeated) return { outcome: 'gone' }
    const inherits = old !== undefined && input.keepData
    return this.#open(input, old, inherits ? old.data : input.session.data)
  }

  check({ sid, seedHash, jti, generation, peek, idleTimeoutMs }: CheckInput): CheckResult {
    const now = this.#now()
    const found = this.#table.find(sid, now)
    if (found === undefined) return { outcome: 'gone' }
    if (seedHash !== undefined && !isSameSeedHash(seedHash, found.seedHash))
      return { outcome: 'invalid' }
    const denied = jti !== undefined && this.#denied.get(tokenKey(sid, jti), now) !== undefined
    const reads = denied || peek === true
    const due = reads ? null : dueWrite(found, idleTimeoutMs, generation, now)
    const session = due === null ? found : this.#write(found, due)
    return { outcome: 'alive', session, denied }
  }

  rotate(input: RotateInput): RotateResult {
    const result = this.#rotate(input)
    if (input.audit !== undefined) this.#audit.append(rotationEvents(input.audit, result))
    return result
  }

  #rotate(input: RotateInput): RotateResult {
    const now = this.#now()
    const found = this.#table.find(input.sid, now)
    if (found === undefined) return { outcome: 'gone' }
    const decision = decideRotation(found, input, input.policy, now)
    if (decision.outcome === 'gone' || decision.outcome === 'invalid') return decision
    if (decision.outcome === 'replayed') return { ...decision, session: found }
    if (decision.outcome === 'reused') {
      const revoked =
        input.onReuse === 'user'
          ? this.revokeUser({ user: found.user }).revoked
          : this.#end([found])
      return { ...decision, session: found, revoked }
    }
    const { outcome, generation, deviceChanged } = decision
    const session = this.#write(found, rotatedFields(found, { ...input, generation }, now))
    return { outcome, session, deviceChanged }
  }

  update(input: UpdateInput): UpdateResult {
    const found = this.#table.find(input.sid, this.#now())
    if (found === undefined) return { outcome: 'gone' }
    if ('attributes' in input) {
      if (input.ver !== found.ver) return { outcome: 'conflict', session: found }
      const ver = found.ver + 1
      const attributes = frozenAttributes(input.attributes)
      const session = this.#write(found, { ver, attributes })
      this.#feed.append({ sid: input.sid, ver })
      this.#told(input.audit)
      return { outcome: 'updated', session }
    }
    if (input.dataVer !== found.dataVer) return { outcome: 'conflict', session: found }
    const data = input.data === null ? null : frozenJson(input.data)
    const session = this.#write(found, { dataVer: found.dataVer + 1, data })
    this.#told(input.audit)
    return { outcome: 'updated', session }
  }

  revoke({ sid, owner, seedHash, audit }: RevokeInput): RevokeResult {
    const session = this.#table.find(sid, this.#now())
    if (
      session === undefined ||
      (owner !== undefined && !isSameUser(owner, session.user)) ||
      (seedHash !== undefined && !isSameSeedHash(seedHash, session.seedHash))
    ) {
      return { outcome: 'gone' }
    }
    this.#end([session])
    this.#told(audit && revokedEvent(audit, session))
    return { outcome: 'revoked', session }
  }

  revokeUser({ user, except, audit }: RevokeUserInput): RevokeUserResult {
    const now = this.#now()
    this.#marks.set(userKey(user), now, now + MARK_MS, now)
    const revoked = this.#end(this.#table.liveOf(user, now).filter(({ sid }) => sid !== except))
    this.#told(audit && userRevokedEvent(audit, revoked))
    return { revoked }
  }

  deny({ sid, jti, expiresAt }: DenyInput): void {
    const now = this.#now()
    const key = tokenKey(sid, jti)
    const until = Math.max(expiresAt, this.#denied.get(key, now)?.expiresAt ?? 0)
    if (until > now) this.#denied.set(key, true, until, now)
    if (expiresAt > now && isFeedName(jti)) this.#feed.append({ sid: jti, ver: Infinity })
  }

  isDenied({ sid, jti }: DeniedInput): boolean {
    return this.#denied.get(tokenKey(sid, jti), this.#now()) !== undefined
  }

  /** Forgets the marks and denials that are over. */
  prune(now: number): void {
    this.#marks.prune(now)
    this.#denied.prune(now)
  }

  clear(): void {
    this.#table.clear()
    this.#marks.clear()
    this.#denied.clear()
  }

  /** Opens a session; everything that can refuse comes before the first change. */
  #open(
    { session, lifetimes, limit, loginAgeMs, audit }: CreateInput,
    old: SessionRecord | undefined,
    data: SessionRecord['data'],
  ): CreateResult {
    const now = this.#now()
    this.#table.step(now)
    const repeated = this.#table.find(session.sid, now)
    if (repeated !== undefined) {
      // The caller did not hear the answer and asks again. Nobody else can name this id and seed.
      if (repeated.seedHash !== session.seedHash) throw new Error('the session id is taken')
      return { outcome: 'created', session: repeated, revoked: [] }
    }
    if (isStaleLogin(this.#marks.get(userKey(session.user), now)?.value, loginAgeMs, now)) {
      return { outcome: 'stale_login' }
    }
    const others = this.#table.liveOf(session.user, now).filter(({ sid }) => sid !== old?.sid)
    if (others.length >= limit.max && limit.onLimit === 'refuse') {
      return { outcome: 'session_limit' }
    }
    const ending = others.slice(Math.max(0, limit.max - 1))
    if (old !== undefined) ending.push(old)
    this.#table.reserve(1 - ending.length, now)

    const record = openRecord(frozenSession({ ...session, data }), lifetimes, now)
    const revoked = this.#end(ending)
    this.#table.put(Object.freeze(record))
    if (audit !== undefined) this.#audit.append(openEvents(audit, revoked, old?.sid))
    return { outcome: 'created', session: record, revoked }
  }

  #told(event: AuditEvent | undefined): void {
    if (event !== undefined) this.#audit.append([event])
  }

  #write(record: SessionRecord, fields: Partial<SessionRecord>): SessionRecord {
    const written = changed(record, fields)
    this.#table.put(written)
    return written
  }

  #end(sessions: readonly SessionRecord[]): string[] {
    return sessions.map(({ sid }) => {
      this.#feed.append({ sid, ver: Infinity })
      this.#table.remove(sid)
      return sid
    })
  }
}

function isReplaceable(found: SessionRecord, { old, session }: ReplaceInput): boolean {
  return (
    isSameUser(found.user, session.user) &&
    (old.seedHash === undefined || isSameSeedHash(old.seedHash, found.seedHash))
  )
}

/** Session ids are of one length and have no dot, so no two pairs share a key. */
function tokenKey(sid: string, jti: string): string {
  return `${sid}.${jti}`
}
