import { afterEach, describe, expect, it, jest } from '@jest/globals'
import type { User } from '../../lib/attributes.ts'
import type { SessionChecks } from '../../lib/check-session.ts'
import { createSessionChecks } from '../../lib/check-session.ts'
import type { Core } from '../../lib/core.ts'
import { createCore } from '../../lib/core.ts'
import type { ErrorCode, RefreshOutcome } from '../../lib/errors.ts'
import type { LatchkeyEvent } from '../../lib/events.ts'
import { createKeyRing } from '../../lib/key-ring.ts'
import type { Credentials } from '../../lib/mint.ts'
import type { CoreOptions } from '../../lib/options.ts'
import { parseOptions } from '../../lib/options.ts'
import type { LoadUser, RefreshRequest } from '../../lib/refresh.ts'
import { refreshOutcome, refreshSession } from '../../lib/refresh.ts'
import { formatRefreshToken, readRefreshToken } from '../../lib/refresh-token.ts'
import { drawSeed } from '../../lib/session-id.ts'
import type { JsonObject } from '../../lib/session.ts'
import type { OpenedSession, Sessions } from '../../lib/sessions.ts'
import { createSessions } from '../../lib/sessions.ts'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import type { Store } from '../../lib/store.ts'
import { memoryStore } from '../../stores/memory.ts'
import { sessionClaims } from '../support/claims.ts'

const SECRET = 'the-first-secret-of-thirty-two-b'
const NEWER_SECRET = 'a-newer-secret-of-thirty-two-byt'
const SECOND = 1000
const MINUTE = 60 * SECOND
const DAY = 1440 * MINUTE
const TERMINAL = /^session_(?:ended|revoked): terminal$/
const KEYS = parseSigningKeys([generateSigningKey()])

type Options = Partial<CoreOptions<JsonObject, unknown>>
type Opened = OpenedSession<JsonObject>

/** One node: a core on a store and a clock that the test moves. */
class Node {
  readonly at: { now: number }
  readonly store: Store
  readonly core: Core
  readonly checks: SessionChecks
  readonly sessions: Sessions
  readonly events: LatchkeyEvent[] = []
  loadUser: LoadUser<JsonObject> | undefined

  constructor(
    setup: {
      readonly at?: { now: number }
      readonly store?: Store
      readonly wrap?: (store: Store) => Store
      readonly secrets?: readonly string[]
      readonly options?: Options
    } = {},
  ) {
    const { at = { now: Date.UTC(2026, 5, 1) }, wrap = (store) => store } = setup
    this.at = at
    this.store = setup.store ?? memoryStore({ clock: () => at.now })
    this.core = createCore({
      settings: parseOptions(
        { issuer: 'https://app.example', clock: () => at.now, ...setup.options },
        false,
      ),
      store: wrap(this.store),
      ring: createKeyRing(setup.secrets ?? [SECRET]),
      signingKeys: KEYS,
      onEvent: (event) => this.events.push(event),
    })
    this.checks = createSessionChecks(this.core)
    this.sessions = createSessions<JsonObject>(this.core)
    nodes.push(this)
  }

  async open(user: Partial<User> = {}): Promise<Opened> {
    return this.sessions.open({ id: 'alice', ...user })
  }

  async refresh(token: string, changes: Partial<RefreshRequest> = {}): Promise<Credentials> {
    const request = { token, attempt: undefined, binding: undefined, request: {}, ...changes }
    return refreshSession(this.core, this.checks, this.loadUser, request)
  }

  /** The code a refresh fails with, and what it means for the client. */
  async failure(token: string, changes: Partial<RefreshRequest> = {}): Promise<unknown> {
    try {
      await this.refresh(token, changes)
      return 'refreshed'
    } catch (err) {
      const { code } = err as { code: ErrorCode }
      return `${code}: ${refreshOutcome(code)}`
    }
  }

  /** A token with a good MAC that says what the test wants. */
  forge(token: string, changes: { readonly generation?: number; readonly seed?: string }): string {
    const read = readRefreshToken(this.core.ring, token)
    if (read === null) throw new Error('not a token of ours')
    return formatRefreshToken(this.core.ring, { ...read, ...changes })
  }

  async isAlive(opened: Opened): Promise<boolean> {
    return (await this.sessions.find(opened.session.id)) !== null
  }

  /** Events of a type. */
  of(type: LatchkeyEvent['type']): LatchkeyEvent[] {
    return this.events.filter((event) => event.type === type)
  }
}

const nodes: Node[] = []

function generationOf(node: Node, token: string): number | undefined {
  return readRefreshToken(node.core.ring, token)?.generation
}

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.core.follower.close()
  jest.useRealTimers()
})

describe('refreshOutcome', () => {
  const OUTCOMES: Readonly<Record<ErrorCode, RefreshOutcome>> = {
    credentials_missing: 'terminal',
    refresh_invalid: 'terminal',
    refresh_reused: 'terminal',
    session_ended: 'terminal',
    session_revoked: 'terminal',
    invalid_option: 'retryable',
    invalid_request: 'retryable',
    unsupported_media_type: 'retryable',
    body_too_large: 'retryable',
    not_found: 'retryable',
    method_not_allowed: 'retryable',
    credentials_ambiguous: 'retryable',
    token_invalid: 'retryable',
    token_expired: 'retryable',
    token_stale: 'retryable',
    token_revoked: 'retryable',
    device_mismatch: 'retryable',
    step_up_required: 'retryable',
    insufficient_scope: 'retryable',
    forbidden: 'retryable',
    cross_origin: 'retryable',
    invalid_credentials: 'retryable',
    invalid_client: 'retryable',
    unauthorized_client: 'retryable',
    unsupported_grant_type: 'retryable',
    invalid_scope: 'retryable',
    invalid_target: 'retryable',
    subject_token_invalid: 'retryable',
    stale_login: 'retryable',
    session_limit: 'retryable',
    rate_limited: 'retryable',
    user_invalid: 'retryable',
    user_lookup_failed: 'retryable',
    signing_unavailable: 'retryable',
    keys_unavailable: 'retryable',
    feed_unavailable: 'retryable',

    version_conflict: 'retryable',
    store_unavailable: 'retryable',
    revocation_unconfirmed: 'retryable',
    internal_error: 'retryable',
  }

  it.each(Object.entries(OUTCOMES) as [ErrorCode, RefreshOutcome][])(
    '%s is %s',
    (code, outcome) => {
      expect(refreshOutcome(code)).toBe(outcome)
    },
  )
})

describe('a refresh', () => {
  it('buys the next generation, with the same session and session token', async () => {
    const node = new Node()
    const opened = await node.open({ roles: ['admin'] })
    node.at.now += MINUTE
    const next = await node.refresh(opened.refreshToken)
    expect(generationOf(node, next.refreshToken)).toBe(1)
    expect(next.sessionToken).toBe(opened.sessionToken)
    expect(next.session).toMatchObject({
      sid: opened.session.id,
      generation: 1,
      lastSeenAt: node.at.now,
      authTime: opened.session.authTime,
    })
    const claims = await node.checks.verifyAccessToken(next.accessToken)
    expect(claims).toMatchObject({ sid: opened.session.id, gen: 1, ver: 0, roles: ['admin'] })
    expect(node.of('session_renewed')).toMatchObject([
      { cause: 'rotated', result: 'success', sessionId: opened.session.id },
    ])
  })

  it('goes on for generations', async () => {
    const node = new Node()
    let token = (await node.open()).refreshToken
    for (let generation = 1; generation <= 20; generation++) {
      node.at.now += MINUTE
      token = (await node.refresh(token)).refreshToken
      expect(generationOf(node, token)).toBe(generation)
    }
  })

  it('moves the idle deadline, and never past the absolute one', async () => {
    const node = new Node({ options: { idleTimeout: '2d', absoluteTimeout: '3d' } })
    let token = (await node.open()).refreshToken
    const openedAt = node.at.now
    node.at.now += DAY
    let session
    ;({ refreshToken: token, session } = await node.refresh(token))
    expect(session.idleDeadline).toBe(openedAt + 3 * DAY)
    node.at.now += 1.5 * DAY
    ;({ refreshToken: token, session } = await node.refresh(token))
    expect(session.idleDeadline).toBe(openedAt + 3 * DAY)
    node.at.now = openedAt + 3 * DAY
    expect(await node.failure(token)).toBe('session_ended: terminal')
  })

  it.each<[string, LoadUser<JsonObject> | undefined, string[]]>([
    ['no loadUser', undefined, ['rotate']],
    ['nothing changed', () => ({ id: 'alice' }), ['check', 'rotate']],
    ['something changed', () => ({ id: 'alice', roles: ['a'] }), ['check', 'rotate', 'update']],
  ])('with %s costs only these calls of the store', async (_, loadUser, expected) => {
    const calls: string[] = []
    const node = new Node({ wrap: (store) => counted(store, calls) })
    node.loadUser = loadUser
    const { refreshToken } = await node.open()
    calls.length = 0
    await node.refresh(refreshToken)
    expect(calls).toEqual(expected)
  })

  it('gives all of fifty at once the same successor', async () => {
    const node = new Node()
    const { refreshToken } = await node.open()
    const results = await Promise.all(
      Array.from({ length: 50 }, async () => node.refresh(refreshToken)),
    )
    expect(new Set(results.map((result) => result.refreshToken)).size).toBe(1)
    expect(node.of('session_renewed')).toHaveLength(1)
    expect(node.of('session_replayed')).toHaveLength(49)
  })

  it('reports another device, and refuses it not', async () => {
    const node = new Node()
    const { refreshToken } = await node.open()
    const next = await node.refresh(refreshToken, { binding: 'phone' })
    expect(node.of('session_device_changed')).toHaveLength(1)
    await node.refresh(next.refreshToken, { binding: 'phone' })
    expect(node.of('session_device_changed')).toHaveLength(1)
    await node.refresh(node.forge(next.refreshToken, { generation: 2 }))
    expect(node.of('session_device_changed')).toHaveLength(2)
  })
})

describe('a refresh token that is not good', () => {
  it.each(['', 'x', 'lkr_', 'lkr_abcdef.a.0.b.c', '\0', '💥'])(
    'ends before the store is asked: %j',
    async (token) => {
      const calls: string[] = []
      const node = new Node({ wrap: (store) => counted(store, calls) })
      calls.length = 0
      expect(await node.failure(token)).toBe('refresh_invalid: terminal')
      expect(calls).toEqual([])
    },
  )

  it('of another kind, or of other secrets, ends before the store is asked', async () => {
    const calls: string[] = []
    const node = new Node({ wrap: (store) => counted(store, calls) })
    const foreign = await new Node({ secrets: [NEWER_SECRET] }).open()
    const { sessionToken, accessToken } = await node.open()
    calls.length = 0
    for (const token of [sessionToken, accessToken, foreign.refreshToken]) {
      expect(await node.failure(token)).toBe('refresh_invalid: terminal')
    }
    expect(calls).toEqual([])
  })

  it.each<[string, LoadUser<JsonObject> | undefined]>([
    ['without loadUser', undefined],
    ['with loadUser, which is not asked', () => null],
  ])('with another seed is malicious, and revokes nothing: %s', async (_, loadUser) => {
    const node = new Node()
    node.loadUser = loadUser
    const opened = await node.open()
    const forged = node.forge(opened.refreshToken, { seed: drawSeed() })
    expect(await node.failure(forged)).toBe('refresh_invalid: terminal')
    expect(node.of('malicious_token')).toMatchObject([
      { cause: 'seed', result: 'failure', sessionId: opened.session.id },
    ])
    expect(await node.isAlive(opened)).toBe(true)
    node.loadUser = undefined
    expect(await node.failure(opened.refreshToken)).toBe('refreshed')
  })

  it('too far ahead of the store is malicious, and revokes nothing', async () => {
    const node = new Node()
    const opened = await node.open()
    const forged = node.forge(opened.refreshToken, { generation: 17 })
    expect(await node.failure(forged)).toBe('refresh_invalid: terminal')
    expect(node.of('malicious_token')).toMatchObject([{ cause: 'ahead' }])
    expect(await node.isAlive(opened)).toBe(true)
  })
})

describe('a session that is over', () => {
  it.each<[string, number, Options]>([
    ['idle', 7 * DAY, {}],
    ['old', 30 * DAY, { idleTimeout: '30d' }],
  ])('as too %s cannot be refreshed, to the millisecond', async (_, lifeMs, options) => {
    for (const [early, expected] of [
      [SECOND, 'refreshed'],
      [0, 'session_ended: terminal'],
    ] as const) {
      const node = new Node({ options })
      const { refreshToken } = await node.open()
      node.at.now += lifeMs - early
      expect(await node.failure(refreshToken)).toBe(expected)
    }
  })

  it('within this second gets no token that would outlive it', async () => {
    const node = new Node({ options: { idleTimeout: '30d' } })
    node.at.now += 500
    const { refreshToken } = await node.open()
    node.at.now += 30 * DAY - 1
    expect(await node.failure(refreshToken)).toBe('session_ended: terminal')
  })

  it('revoked elsewhere is over', async () => {
    const node = new Node()
    const { session, refreshToken } = await node.open()
    await node.store.revoke({ sid: session.id })
    expect(await node.failure(refreshToken)).toMatch(TERMINAL)
  })

  it('revoked here is refused before the store is asked', async () => {
    const calls: string[] = []
    const node = new Node({ wrap: (store) => counted(store, calls) })
    const { session, refreshToken } = await node.open()
    await node.sessions.revoke(session.id)
    calls.length = 0
    expect(await node.failure(refreshToken)).toBe('session_revoked: terminal')
    expect(calls).not.toContain('rotate')
  })
})

describe('a used refresh token', () => {
  it('gets the same successor within the grace', async () => {
    const node = new Node()
    const { refreshToken } = await node.open()
    const first = await node.refresh(refreshToken)
    node.at.now += 10 * SECOND - 1
    const again = await node.refresh(refreshToken)
    expect(again.refreshToken).toBe(first.refreshToken)
    expect(again.session.generation).toBe(1)
    expect(node.of('session_replayed')).toMatchObject([{ cause: 'grace', result: 'success' }])
  })

  it('gets the same successor at any time for the same attempt id', async () => {
    const node = new Node({ options: { reuseGrace: '0s' } })
    const { refreshToken } = await node.open()
    const attempt = 'an-idempotency-key-of-the-client'
    const first = await node.refresh(refreshToken, { attempt })
    node.at.now += DAY
    const again = await node.refresh(refreshToken, { attempt, binding: 'another device' })
    expect(again.refreshToken).toBe(first.refreshToken)
    expect(node.of('session_replayed')).toMatchObject([{ cause: 'attempt' }])
    expect(await node.failure(refreshToken, { attempt: `${attempt}2` })).toBe(
      'refresh_reused: terminal',
    )
  })

  it('whose answer was lost gets the same successor while nobody used that', async () => {
    const node = new Node({ options: { lostResponseWindow: '1h' } })
    const { refreshToken } = await node.open()
    const first = await node.refresh(refreshToken)
    node.at.now += 59 * MINUTE
    const again = await node.refresh(refreshToken)
    expect(again.refreshToken).toBe(first.refreshToken)
    expect(node.of('session_replayed')).toMatchObject([{ cause: 'lost_response' }])
    await node.checks.checkClaims(
      sessionClaims(await node.checks.verifyAccessToken(again.accessToken)),
    )
    expect(await node.failure(refreshToken)).toBe('refresh_reused: terminal')
  })

  it('is theft after the grace: the session ends, and the successor with it', async () => {
    const node = new Node()
    const opened = await node.open()
    const other = await node.open()
    const next = await node.refresh(opened.refreshToken)
    node.at.now += 10 * SECOND
    expect(await node.failure(opened.refreshToken, { request: { ip: '192.0.2.1' } })).toBe(
      'refresh_reused: terminal',
    )
    expect(node.of('authn_token_reuse')).toMatchObject([
      {
        user: { tenant: '', id: 'alice' },
        sessionId: opened.session.id,
        result: 'failure',
        cause: 'reused',
        ip: '192.0.2.1',
        detail: { distance: 1, age_ms: 10 * SECOND, revoked: 1 },
      },
    ])
    expect(await node.failure(next.refreshToken)).toBe('session_revoked: terminal')
    await expect(node.checks.verifyAccessToken(next.accessToken)).rejects.toMatchObject({
      code: 'session_revoked',
    })
    expect(await node.isAlive(opened)).toBe(false)
    expect(await node.isAlive(other)).toBe(true)
  })

  it('is theft on another device, and for any older ancestor, also within the grace', async () => {
    const node = new Node()
    const [one, two] = [await node.open(), await node.open()]
    await node.refresh(one.refreshToken)
    expect(await node.failure(one.refreshToken, { binding: 'thief' })).toBe(
      'refresh_reused: terminal',
    )
    await node.refresh((await node.refresh(two.refreshToken)).refreshToken)
    expect(await node.failure(two.refreshToken)).toBe('refresh_reused: terminal')
    expect(node.of('authn_token_reuse')[1]).toMatchObject({ detail: { distance: 2 } })
  })

  it('ends all sessions of the user where the app wants that, and nobody else', async () => {
    const node = new Node({ options: { onReuse: 'user' } })
    const [one, two, bob] = [await node.open(), await node.open(), await node.open({ id: 'bob' })]
    await node.refresh(one.refreshToken)
    node.at.now += MINUTE
    expect(await node.failure(one.refreshToken)).toBe('refresh_reused: terminal')
    expect(node.of('authn_token_reuse')).toMatchObject([{ detail: { revoked: 2 } }])
    expect(await node.failure(two.refreshToken)).toBe('session_revoked: terminal')
    expect(await node.failure(bob.refreshToken)).toBe('refreshed')
  })
})

describe('a store that lost writes', () => {
  it.each([1, 2, 16])('gets over %i generations, and it is reported', async (ahead) => {
    const node = new Node()
    const opened = await node.open()
    const next = await node.refresh(node.forge(opened.refreshToken, { generation: ahead }))
    expect(generationOf(node, next.refreshToken)).toBe(ahead + 1)
    expect(node.of('authn_token_recovered')).toMatchObject([
      { sessionId: opened.session.id, user: { id: 'alice' }, result: 'success' },
    ])
    expect(node.of('session_renewed')).toMatchObject([{ cause: 'recovered' }])
  })
})

describe('a store that fails', () => {
  it.each<['rotate' | 'update' | 'revoke', User | null]>([
    ['rotate', { id: 'alice' }],
    ['update', { id: 'alice', roles: ['new'] }],
    ['revoke', null],
  ])('in %s lets the client try again, and the retry gets the successor', async (name, user) => {
    let isDown = true
    const node = new Node({
      wrap: (store) => ({
        ...store,
        [name]: async (input: never) => {
          if (isDown) throw new Error('down')
          return store[name](input)
        },
      }),
    })
    const { refreshToken } = await node.open()
    node.loadUser = () => user
    expect(await node.failure(refreshToken)).toBe('store_unavailable: retryable')
    isDown = false
    expect(await node.failure(refreshToken)).toBe(
      user === null ? 'session_ended: terminal' : 'refreshed',
    )
  })

  it('by being late is unavailable', async () => {
    const node = new Node({
      options: { storeDeadline: '10ms' },
      wrap: (store) => ({ ...store, rotate: async () => new Promise(() => {}) }),
    })
    const { refreshToken } = await node.open()
    expect(await node.failure(refreshToken)).toBe('store_unavailable: retryable')
  })
})

describe('loadUser', () => {
  it('is asked for the user, with the session as apps see it', async () => {
    const node = new Node()
    const opened = await node.open({ tenant: 'acme', roles: ['admin'], claims: { plan: 'gold' } })
    const asked: unknown[][] = []
    node.loadUser = (user, session) => {
      asked.push([user, session])
      return null
    }
    await node.failure(opened.refreshToken)
    expect(asked).toEqual([
      [
        { tenant: 'acme', id: 'alice' },
        { ...opened.session, lastSeenAt: node.at.now },
      ],
    ])
    expect(JSON.stringify(asked)).not.toMatch(/hash|generation/i)
  })

  it('of null ends the session, here and in the store', async () => {
    const node = new Node()
    const opened = await node.open()
    node.loadUser = async () => null
    expect(await node.failure(opened.refreshToken)).toBe('session_ended: terminal')
    expect(node.of('session_revoked')).toMatchObject([
      { cause: 'user_gone', sessionId: opened.session.id, user: { id: 'alice' } },
    ])
    expect(await node.isAlive(opened)).toBe(false)
    expect(await node.failure(opened.refreshToken)).toBe('session_revoked: terminal')
    await expect(node.checks.verifyAccessToken(opened.accessToken)).rejects.toMatchObject({
      code: 'session_revoked',
    })
  })

  it.each<[string, LoadUser<JsonObject>]>([
    [
      'throws',
      () => {
        throw new Error('db')
      },
    ],
    ['rejects', async () => Promise.reject(new Error('db'))],
    ['rejects with nothing', async () => Promise.reject()], // oxlint-disable-line prefer-promise-reject-errors
  ])('that %s lets the client try again, however long that lasts', async (_, hook) => {
    const node = new Node()
    const opened = await node.open()
    node.loadUser = hook
    expect(await node.failure(opened.refreshToken)).toBe('user_lookup_failed: retryable')
    expect(node.of('hook_failure')).toMatchObject([
      { cause: 'loadUser', result: 'failure', sessionId: opened.session.id },
    ])
    node.at.now += DAY
    expect(await node.failure(opened.refreshToken)).toBe('user_lookup_failed: retryable')
    node.loadUser = () => ({ id: 'alice' })
    const next = await node.refresh(opened.refreshToken)
    expect(generationOf(node, next.refreshToken)).toBe(1)
  })

  it.each(['resolves', 'rejects'])(
    'that takes 2 s is late, and that it %s later is nothing',
    async (how) => {
      const node = new Node()
      const opened = await node.open()
      jest.useFakeTimers({
        doNotFake: ['Date', 'performance', 'nextTick', 'queueMicrotask', 'setImmediate'],
      })
      let settle = () => {}
      node.loadUser = async () =>
        new Promise((resolve, reject) => {
          settle = () => (how === 'resolves' ? resolve(null) : reject(new Error('late')))
        })
      let result: unknown
      const failed = node.failure(opened.refreshToken).then((code) => (result = code))
      await jest.advanceTimersByTimeAsync(1999)
      expect(result).toBeUndefined()
      await jest.advanceTimersByTimeAsync(1)
      await failed
      expect(result).toBe('user_lookup_failed: retryable')
      settle()
      await new Promise(setImmediate)
      expect(await node.isAlive(opened)).toBe(true)
    },
  )

  it.each<[string, unknown]>([
    ['another user', { id: 'bob' }],
    ['another tenant', { id: 'alice', tenant: 'other' }],
    ['a user without an id', {}],
    ['a number for an id', { id: 42 }],
    ['nothing', undefined],
    ['text', 'alice'],
    ['roles as text', { id: 'alice', roles: 'admin' }],
    ['claims that no token can hold', { id: 'alice', claims: { big: 'x'.repeat(4000) } }],
  ])('that returns %s is an error of the app, and changes nothing', async (_, user) => {
    const node = new Node()
    const opened = await node.open({ roles: ['admin'] })
    node.loadUser = () => user as User
    expect(await node.failure(opened.refreshToken)).toBe('internal_error: retryable')
    expect(await node.sessions.find(opened.session.id)).toMatchObject({ ver: 0, roles: ['admin'] })
    // The token was not used up.
    node.at.now += DAY
    node.loadUser = undefined
    expect(await node.failure(opened.refreshToken)).toBe('refreshed')
  })

  it('that changes something makes a new version, and voids older access tokens', async () => {
    const node = new Node()
    const opened = await node.open({ roles: ['admin'], level: 'mfa', amr: ['otp'] })
    node.loadUser = () => ({ id: 'alice', roles: ['user'], claims: { plan: 'gold' } })
    const next = await node.refresh(opened.refreshToken)
    expect(next.session).toMatchObject({ ver: 1, generation: 1 })
    expect(await node.checks.verifyAccessToken(next.accessToken)).toMatchObject({
      ver: 1,
      gen: 1,
      roles: ['user'],
      level: 'mfa',
      amr: ['otp'],
      claims: { plan: 'gold' },
    })
    await expect(node.checks.verifyAccessToken(opened.accessToken)).rejects.toMatchObject({
      code: 'token_stale',
    })
  })

  it('that changes nothing makes no new version', async () => {
    const node = new Node()
    const user = { id: 'alice', roles: ['a', 'b'], scope: ['x'], claims: { plan: 'gold' } }
    const opened = await node.open(user)
    node.loadUser = () => ({ ...user, roles: ['a', 'b', 'a'] })
    const next = await node.refresh(opened.refreshToken)
    expect(next.session.ver).toBe(0)
    expect(await node.checks.verifyAccessToken(opened.accessToken)).toMatchObject({ ver: 0 })
  })

  it('is asked for a replay too, so that a replay never brings back a role', async () => {
    const node = new Node()
    const opened = await node.open({ roles: ['admin'] })
    await node.refresh(opened.refreshToken)
    node.loadUser = () => ({ id: 'alice' })
    const again = await node.refresh(opened.refreshToken)
    expect(again.session).toMatchObject({ generation: 1, ver: 1, attributes: { roles: [] } })
  })
})

describe('a revocation that is acknowledged while the store answers', () => {
  it.each([undefined, () => ({ id: 'alice' })])('lets no credential leave', async (loadUser) => {
    let revoke: () => Promise<unknown> = async () => null
    const node = new Node({
      wrap: (store) => ({
        ...store,
        rotate: async (input) => {
          const result = await store.rotate(input)
          await revoke()
          return result
        },
      }),
    })
    node.loadUser = loadUser
    const opened = await node.open()
    revoke = async () => node.sessions.revoke(opened.session.id)
    expect(await node.failure(opened.refreshToken)).toBe('session_revoked: terminal')
  })
})

describe('what happens while loadUser takes its time', () => {
  it.each<[string, (node: Node, sid: string) => Promise<unknown>]>([
    ['logout', async (node, sid) => node.sessions.revoke(sid)],
    ['logout everywhere', async (node) => node.sessions.revokeUser('alice')],
  ])('%s that was acknowledged lets no credential leave', async (_, logout) => {
    for (const roles of [[], ['new']]) {
      const node = new Node()
      const opened = await node.open()
      node.loadUser = async () => {
        await logout(node, opened.session.id)
        return { id: 'alice', roles }
      }
      expect(await node.failure(opened.refreshToken)).toMatch(TERMINAL)
      expect(await node.isAlive(opened)).toBe(false)
    }
  })

  it('logout on another node lets no changed session come back', async () => {
    const node = new Node()
    const opened = await node.open()
    node.loadUser = async () => {
      await node.store.revoke({ sid: opened.session.id })
      return { id: 'alice', roles: ['new'] }
    }
    expect(await node.failure(opened.refreshToken)).toMatch(TERMINAL)
    expect(await node.isAlive(opened)).toBe(false)
  })

  it('another change is kept where the user says nothing of it', async () => {
    const node = new Node()
    const opened = await node.open({ roles: ['admin'] })
    node.loadUser = async () => {
      await node.sessions.update(opened.session.id, { level: 'mfa' })
      return { id: 'alice', roles: ['user'] }
    }
    const next = await node.refresh(opened.refreshToken)
    expect(next.session).toMatchObject({ ver: 2, attributes: { roles: ['user'], level: 'mfa' } })
    expect(await node.checks.verifyAccessToken(next.accessToken)).toMatchObject({ ver: 2 })
  })

  it('the same change by another is enough', async () => {
    const node = new Node()
    const opened = await node.open({ roles: ['admin'] })
    node.loadUser = async () => {
      await node.sessions.update(opened.session.id, { roles: ['user'] })
      return { id: 'alice', roles: ['user'] }
    }
    const next = await node.refresh(opened.refreshToken)
    expect(next.session).toMatchObject({ ver: 1, attributes: { roles: ['user'] } })
    expect(await node.checks.verifyAccessToken(next.accessToken)).toMatchObject({ ver: 1 })
  })

  it('changes by others again and again let the client try again', async () => {
    let changes = 0
    const node = new Node({
      wrap: (store) => ({
        ...store,
        update: async (input) => {
          if ('ver' in input) {
            const attributes = { ...input.attributes, roles: [`other ${changes++}`] }
            await store.update({ ...input, attributes })
          }
          return store.update(input)
        },
      }),
    })
    const { refreshToken } = await node.open()
    node.loadUser = () => ({ id: 'alice', roles: ['new'] })
    expect(await node.failure(refreshToken)).toBe('store_unavailable: retryable')
    expect(changes).toBe(3)
  })
})

describe('rotation of secrets', () => {
  it('takes a token of an older secret and gives tokens of the newest', async () => {
    const before = new Node()
    const opened = await before.open()
    const { at, store } = before
    const after = new Node({ at, store, secrets: [NEWER_SECRET, SECRET] })
    const next = await after.refresh(opened.refreshToken)
    const { activeKid } = after.core.ring
    expect(activeKid).not.toBe(before.core.ring.activeKid)
    expect(next.refreshToken).toContain(`lkr_${activeKid}.`)
    expect(next.sessionToken).toContain(`lks_${activeKid}.`)

    const dropped = new Node({ at, store, secrets: [NEWER_SECRET] })
    expect(await dropped.failure(next.refreshToken)).toBe('refreshed')
    expect(await dropped.failure(opened.refreshToken)).toBe('refresh_invalid: terminal')
    expect(await dropped.isAlive(opened)).toBe(true)
  })
})

describe('what is reported', () => {
  it('never holds a token, a seed, or what only the client knows', async () => {
    const node = new Node()
    const opened = await node.open()
    const attempt = 'an-idempotency-key-of-the-client'
    const next = await node.refresh(opened.refreshToken, { attempt, binding: 'device-binding' })
    await node.failure(node.forge(next.refreshToken, { seed: drawSeed() }))
    await node.failure(node.forge(next.refreshToken, { generation: 100 }))
    await node.refresh(opened.refreshToken, { attempt })
    node.at.now += MINUTE
    await node.failure(opened.refreshToken)
    const said = JSON.stringify(node.events)
    const seed = readRefreshToken(node.core.ring, opened.refreshToken)?.seed ?? ''
    expect(seed).toHaveLength(43)
    for (const secret of [seed, opened.refreshToken, next.accessToken, attempt, 'device-binding']) {
      expect(said).not.toContain(secret)
    }
    expect(node.events.length).toBeGreaterThanOrEqual(6)
  })
})

/** The store, with the names of the calls on sessions. */
function counted(store: Store, calls: string[]): Store {
  const entries = Object.entries(store).map(([name, member]: [string, unknown]) => {
    if (typeof member !== 'function') return [name, member]
    const call = member as (input: unknown) => unknown
    return [
      name,
      (input: unknown) => {
        calls.push(name)
        return call(input)
      },
    ]
  })
  return Object.fromEntries(entries) as Store
}
