import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach } from '@jest/globals'
import type { NewSession, SessionRecord } from '../../../lib/session.ts'
import type {
  CheckInput,
  CreateInput,
  FeedEntry,
  ReplaceInput,
  RotateInput,
  Store,
} from '../../../lib/store.ts'
import type { UserRef } from '../../../lib/user.ts'
import { userShard } from '../../../lib/user.ts'

/** The store's clock in a test's hands. It stands still, and it never goes back. */
export interface TestClock {
  now(): number
  advance(ms: number): void
  set(at: number): void
}

/** A store that is opened for one test. Others may use its server at the same time. */
export interface OpenedStore {
  readonly store: Store
  readonly clock: TestClock
  /** Closes the store and what was opened for it. */
  close(): Promise<void>
  /**
   * Plays a failover that loses writes: remembers the row of a live session and returns what puts it
   * back. It is called back only while the session lives.
   */
  snapshot?(sid: string): Promise<() => Promise<void>>
}

/**
 * Opens a store. Its clock starts near the real time and only goes forward, so that what a server
 * expires by itself is never gone too early. One server and one key prefix may serve all tests:
 * every id in them is unique.
 */
export type OpenStore = () => Promise<OpenedStore>

/** A clock that stands still at the real time until it is moved. */
export function testClock(): TestClock {
  let at = Date.now()
  return {
    now: () => at,
    advance(ms) {
      at += ms
    },
    set(to) {
      if (to < at) throw new Error('a test clock never goes back')
      at = to
    },
  }
}

/** The store of the test that runs. */
export type StoreInUse = Pick<OpenedStore, 'store' | 'clock'>

/**
 * Opens a store before each test of a `describe` and closes it after. Called twice in one
 * `describe`, it opens two.
 */
export function useStore(openStore: OpenStore): StoreInUse {
  let opened: OpenedStore | undefined
  const current = (): OpenedStore => {
    if (opened === undefined) throw new Error('no store is open')
    return opened
  }
  beforeEach(async () => {
    opened = await openStore()
  })
  afterEach(async () => {
    await opened?.close()
    opened = undefined
  })
  return {
    get store() {
      return current().store
    },
    get clock() {
      return current().clock
    },
  }
}

export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR
export const LIFETIMES = { idleTimeoutMs: 7 * DAY, absoluteTimeoutMs: 30 * DAY } as const
export const LIMIT = { max: 100, onLimit: 'evict' } as const
export const POLICY = { reuseGraceMs: 10_000, lostResponseWindowMs: 0 } as const
export const NO_GRACE = { reuseGraceMs: 0, lostResponseWindowMs: 0 } as const

export function random(bytes = 9): string {
  return randomBytes(bytes).toString('base64url')
}

/** What stands for a SHA-256. */
export function hash(): string {
  return random(32)
}

export function newUser(tenant = ''): UserRef {
  return { tenant, id: `user-${random()}` }
}

export function newSid(user: UserRef): string {
  return userShard(user) + random(17).slice(0, 22)
}

export function newSession(user: UserRef, fields: Partial<NewSession> = {}): NewSession {
  return {
    sid: newSid(user),
    user,
    seedHash: hash(),
    attributes: { roles: ['reader'], scope: [], level: null, amr: ['pwd'], claims: {} },
    bindingHash: hash(),
    device: { label: 'Firefox on Linux', ip: '192.0.2.1' },
    remember: true,
    data: null,
    ...fields,
  }
}

/** What `create` takes, with everything given a default. */
export function login(session: NewSession, fields: Partial<CreateInput> = {}): CreateInput {
  return { session, lifetimes: LIFETIMES, limit: LIMIT, loginAgeMs: 0, ...fields }
}

/** What `replace` takes, the seed of the old session included. */
export function replacement(
  old: Pick<SessionRecord, 'sid' | 'seedHash'>,
  session: NewSession,
  fields: Partial<ReplaceInput> = {},
): ReplaceInput {
  return {
    ...login(session),
    old: { sid: old.sid, seedHash: old.seedHash },
    orElse: 'refuse',
    keepData: false,
    ...fields,
  }
}

/** Presents the current refresh token of a session from its own device. */
export function refresh(session: SessionRecord, fields: Partial<RotateInput> = {}): RotateInput {
  return {
    sid: session.sid,
    seedHash: session.seedHash,
    generation: session.generation,
    attemptHash: hash(),
    bindingHash: session.rotatedBy,
    policy: POLICY,
    idleTimeoutMs: LIFETIMES.idleTimeoutMs,
    onReuse: 'session',
    ...fields,
  }
}

/** Logs a user in and returns the session. */
export async function open(
  store: Store,
  user: UserRef = newUser(),
  fields: Partial<CreateInput> = {},
): Promise<SessionRecord> {
  const result = await store.create(login(newSession(user), fields))
  if (result.outcome !== 'created') throw new Error(`the login gave ${result.outcome}`)
  return result.session
}

/** Logs a user in `count` times, one after the other and a minute apart. */
export async function openMany(
  { store, clock }: Pick<OpenedStore, 'store' | 'clock'>,
  user: UserRef,
  count: number,
): Promise<SessionRecord[]> {
  const sessions: SessionRecord[] = []
  while (sessions.length < count) {
    clock.advance(MINUTE)
    sessions.push(await open(store, user))
  }
  return sessions
}

/** Reads a live session without leaving a trace in it: a minute must not have passed. */
export async function read(store: Store, { sid, user }: SessionRecord): Promise<SessionRecord> {
  const page = await store.list({ user, limit: 100 })
  const found = page.items.find((session) => session.sid === sid)
  if (found === undefined) throw new Error('the session is gone')
  return found
}

/** Checks a session and says how it is. */
export async function check(
  store: Store,
  sid: string,
  fields: Partial<CheckInput> = {},
): Promise<string> {
  const { idleTimeoutMs } = LIFETIMES
  return (await store.check({ sid, idleTimeoutMs, ...fields })).outcome
}

/** The ids of a user's live sessions, as listed. */
export async function listed(store: Store, user: UserRef): Promise<string[]> {
  const page = await store.list({ user, limit: 100 })
  return sids(page.items)
}

export function sids(sessions: readonly SessionRecord[]): string[] {
  return sessions.map(({ sid }) => sid)
}

const NEVER = new AbortController().signal

/** The end of the feed, as a cursor. */
export async function feedEnd(store: Store): Promise<string> {
  return (await readOn(store, null)).cursor
}

/** What the feed says of these sessions after a cursor, first hearing only. */
export async function heard(
  store: Store,
  cursor: string | null,
  sessions: readonly (string | SessionRecord)[],
): Promise<FeedEntry[]> {
  const names = new Set(sessions.map((one) => (typeof one === 'string' ? one : one.sid)))
  const { entries } = await readOn(store, cursor)
  const texts = new Set<string>()
  return entries.filter(({ sid, ver }) => {
    const text = `${sid} ${ver}`
    if (!names.has(sid) || texts.has(text)) return false
    texts.add(text)
    return true
  })
}

/** Reads on to the end without waiting. */
export async function readOn(
  store: Store,
  from: string | null,
): Promise<{ entries: FeedEntry[]; cursor: string; complete: boolean }> {
  const entries: FeedEntry[] = []
  let complete = true
  for (let cursor = from; ;) {
    const page = await store.feed.read({ cursor, waitMs: 0, signal: NEVER })
    entries.push(...page.entries)
    complete &&= page.complete
    if (!page.more) return { entries, cursor: page.cursor, complete }
    cursor = page.cursor
  }
}

/** How often each outcome came. */
export function tally(results: readonly { readonly outcome: string }[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { outcome } of results) counts[outcome] = (counts[outcome] ?? 0) + 1
  return counts
}

/** Runs the same thing many times at once. */
export async function parallel<Result>(
  count: number,
  run: (index: number) => Promise<Result>,
): Promise<Result[]> {
  return Promise.all(Array.from({ length: count }, async (_, index) => run(index)))
}

/** In an order of its own, for comparing what has none. */
export function sorted(texts: readonly string[]): string[] {
  return texts.toSorted()
}

export function revocation(session: SessionRecord): FeedEntry {
  return { sid: session.sid, ver: Infinity }
}
