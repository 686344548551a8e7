import { afterEach, describe, expect, it } from '@jest/globals'
import type { User } from '../../lib/attributes.ts'
import type { SessionChecks } from '../../lib/check-session.ts'
import { createSessionChecks } from '../../lib/check-session.ts'
import type { Core } from '../../lib/core.ts'
import { createCore } from '../../lib/core.ts'
import type { LatchkeyEvent } from '../../lib/events.ts'
import { createKeyRing } from '../../lib/key-ring.ts'
import type { CoreOptions } from '../../lib/options.ts'
import { parseOptions } from '../../lib/options.ts'
import { readRefreshToken } from '../../lib/refresh-token.ts'
import { drawSessionId } from '../../lib/session-id.ts'
import type { JsonObject } from '../../lib/session.ts'
import { readSessionToken } from '../../lib/session-token.ts'
import type { OpenedSession, SessionPatch, Sessions } from '../../lib/sessions.ts'
import { createSessions } from '../../lib/sessions.ts'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import type { Store } from '../../lib/store.ts'
import { userShard } from '../../lib/user.ts'
import { memoryStore } from '../../stores/memory.ts'

const MINUTE = 60_000
const DAY = 1440 * MINUTE
const KEYS = parseSigningKeys([generateSigningKey()])

type Opened = OpenedSession<JsonObject>

/** One node. What stands in `broken` replaces operations of its store. */
class Node {
  readonly at = { now: Date.UTC(2026, 5, 1) }
  readonly store: Store = memoryStore({ clock: () => this.at.now })
  readonly broken: Partial<Store> = {}
  readonly calls: [string, unknown][] = []
  readonly core: Core
  readonly checks: SessionChecks
  readonly sessions: Sessions
  readonly events: LatchkeyEvent[] = []

  constructor(options: Partial<CoreOptions<JsonObject, unknown>> = {}) {
    this.core = createCore({
      settings: parseOptions(
        { issuer: 'https://app.example', clock: () => this.at.now, ...options },
        false,
      ),
      store: this.#wrapped(),
      ring: createKeyRing(['the-first-secret-of-thirty-two-b']),
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

  /** The code an access token is refused with. */
  async verify({ accessToken }: Opened): Promise<unknown> {
    return codeOf(this.checks.verifyAccessToken(accessToken))
  }

  of(type: LatchkeyEvent['type']): LatchkeyEvent[] {
    return this.events.filter((event) => event.type === type)
  }

  #wrapped(): Store {
    const names = ['create', 'check', 'update', 'revoke', 'revokeUser', 'list'] as const
    const wrapped = names.map((name) => [
      name,
      async (input: never) => {
        this.calls.push([name, input])
        return (this.broken[name] ?? this.store[name])(input)
      },
    ])
    return { ...this.store, ...Object.fromEntries(wrapped) } as Store
  }
}

const nodes: Node[] = []

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'passed',
    (error: unknown) => (error as { code?: unknown }).code ?? error,
  )
}

/** Session ids that name nothing, as they come from a URL. */
const BAD_IDS: [string, unknown][] = [
  ['nothing', ''],
  ['a short one', 'a'.repeat(23)],
  ['a long one', 'a'.repeat(25)],
  ['a path', '../../etc/passwd-and-more'],
  ['a NUL', `${'a'.repeat(23)}\0`],
  ['a wildcard', '%'.repeat(24)],
  ['a lone surrogate', `${'a'.repeat(23)}\ud800`],
  ['undefined', undefined],
  ['null', null],
  ['a number', 42],
  ['an object', { $ne: null }],
  ['a list', ['a'.repeat(24)]],
]

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.core.follower.close()
})

describe('open', () => {
  it('opens a session and returns its credentials', async () => {
    const node = new Node()
    const user: User = {
      id: 'alice',
      tenant: 'acme',
      roles: ['admin'],
      scope: ['read'],
      level: 'mfa',
      amr: ['pwd', 'otp'],
      claims: { plan: 'gold' },
    }
    const opened = await node.sessions.open(user, { label: 'CLI', ip: '192.0.2.1' })
    const { now } = node.at
    expect(opened.session).toEqual({
      id: opened.session.id,
      userId: 'alice',
      tenant: 'acme',
      roles: ['admin'],
      scope: ['read'],
      level: 'mfa',
      amr: ['pwd', 'otp'],
      claims: { plan: 'gold' },
      ver: 0,
      data: null,
      dataVer: 0,
      device: { label: 'CLI', ip: '192.0.2.1' },
      createdAt: now,
      lastSeenAt: now,
      authTime: now,
      expiresAt: now + 30 * DAY,
      idleExpiresAt: now + 7 * DAY,
    })
    const sid = opened.session.id
    expect(sid.slice(0, 2)).toBe(userShard({ tenant: 'acme', id: 'alice' }))
    const { ring } = node.core
    const sessionToken = readSessionToken(ring, opened.sessionToken)
    expect(sessionToken).toMatchObject({ sid })
    expect(readRefreshToken(ring, opened.refreshToken)).toEqual({ ...sessionToken, generation: 0 })
    expect(await node.checks.verifyAccessToken(opened.accessToken)).toMatchObject({
      sid,
      sub: 'alice',
      tenant: 'acme',
      gen: 0,
      ver: 0,
      roles: ['admin'],
      scope: ['read'],
      level: 'mfa',
      claims: { plan: 'gold' },
    })
    expect(opened.expiresIn).toBeGreaterThan(0.94 * 900)
    expect(opened.expiresIn).toBeLessThanOrEqual(900)
    expect(node.of('session_created')).toMatchObject([
      { user: { tenant: 'acme', id: 'alice' }, sessionId: sid, ip: '192.0.2.1', result: 'success' },
    ])
  })

  it('knows nothing of the device when it is told nothing, and keeps little of what it is told', async () => {
    const node = new Node()
    expect((await node.open()).session.device).toEqual({ label: null, ip: null })
    const long = { label: `a\n${'x'.repeat(1000)}`, ip: 'y'.repeat(1000) }
    const { session } = await node.sessions.open({ id: 'alice' }, long)
    expect(session.device).toEqual({ label: `a\ufffd${'x'.repeat(254)}`, ip: 'y'.repeat(256) })
  })

  it('gives the store hashes only', async () => {
    const node = new Node()
    const { sessionToken, refreshToken } = await node.open()
    const seed = readSessionToken(node.core.ring, sessionToken)?.seed ?? ''
    const kept = JSON.stringify([node.calls, node.events])
    for (const secret of [seed, sessionToken, refreshToken]) expect(kept).not.toContain(secret)
  })

  it('evicts the least recently active session over the limit, on this node at once', async () => {
    const node = new Node({ maxSessions: { perUser: 2 } })
    const opened: Opened[] = []
    for (let login = 0; login < 3; login++) {
      node.at.now += MINUTE
      opened.push(await node.open())
    }
    expect(await Promise.all(opened.map(async (one) => node.verify(one)))).toEqual([
      'session_revoked',
      'passed',
      'passed',
    ])
    expect(node.of('session_limit_evicted')).toMatchObject([
      { sessionId: opened[0]?.session.id, cause: 'limit' },
    ])
  })

  it('refuses a login over the limit where the app wants that', async () => {
    const node = new Node({ maxSessions: { perUser: 1, onLimit: 'refuse' } })
    const first = await node.open()
    expect(await codeOf(node.open())).toBe('session_limit')
    expect(await node.verify(first)).toBe('passed')
    expect(node.of('excess_sessions_exceeded')).toMatchObject([{ result: 'failure' }])
    expect(await codeOf(node.open({ id: 'bob' }))).toBe('passed')
  })

  it.each<[string, unknown, string]>([
    ['a number for an id', { id: 42 }, 'internal_error'],
    ['an empty id', { id: '' }, 'user_invalid'],
    ['nobody', null, 'internal_error'],
    ['roles as text', { id: 'a', roles: 'admin' }, 'internal_error'],
    ['claims no token can hold', { id: 'a', claims: { a: 'x'.repeat(4000) } }, 'internal_error'],
  ])('refuses %s before the store is asked', async (_, user, code) => {
    const node = new Node()
    expect(await codeOf(node.sessions.open(user as User))).toBe(code)
    expect(node.calls).toEqual([])
  })
})

describe('find', () => {
  it('answers the session, and is no activity', async () => {
    const node = new Node()
    const { session } = await node.open({ roles: ['admin'] })
    node.at.now += 6 * DAY
    expect(await node.sessions.find(session.id)).toEqual(session)
    node.at.now += DAY - 1
    expect(await node.sessions.find(session.id)).toEqual(session)
    node.at.now += 1
    expect(await node.sessions.find(session.id)).toBeNull()
  })

  it('answers null when there is none', async () => {
    const node = new Node()
    const { session } = await node.open()
    expect(await node.sessions.find(drawSessionId({ tenant: '', id: 'alice' }))).toBeNull()
    await node.sessions.revoke(session.id)
    expect(await node.sessions.find(session.id)).toBeNull()
  })

  it.each(BAD_IDS)('answers null for %s, and asks no store', async (_, id) => {
    const node = new Node()
    expect(await node.sessions.find(id as string)).toBeNull()
    expect(node.calls).toEqual([])
  })

  it('shows no hash and nothing of rotation', async () => {
    const node = new Node()
    const { session } = await node.open()
    expect(Object.keys((await node.sessions.find(session.id)) ?? {}).join()).not.toMatch(
      /hash|generation|rotated|attempt|confirmed/i,
    )
  })
})

describe('list', () => {
  it('shows the live sessions of one user, most recently active first, page by page', async () => {
    const node = new Node()
    const ids: string[] = []
    for (let login = 0; login < 5; login++) {
      node.at.now += MINUTE
      ids.unshift((await node.open()).session.id)
    }
    await node.open({ id: 'bob' })
    await node.open({ tenant: 'acme' })
    const first = await node.sessions.list('alice', { limit: 3 })
    expect(first.items.map(({ id }) => id)).toEqual(ids.slice(0, 3))
    const rest = await node.sessions.list('alice', { limit: 3, cursor: first.next ?? '' })
    expect(rest.items.map(({ id }) => id)).toEqual(ids.slice(3))
    expect(rest.next).toBeNull()
    expect((await node.sessions.list({ id: 'alice' })).items).toHaveLength(5)
    expect((await node.sessions.list({ id: 'alice', tenant: 'acme' })).items).toHaveLength(1)
    expect((await node.sessions.list('nobody')).items).toEqual([])
  })

  it.each<[unknown, number]>([
    [undefined, 50],
    [1, 1],
    [100, 100],
    [101, 100],
    [Infinity, 100],
    [0, 1],
    [-5, 1],
    [2.9, 2],
    [Number.NaN, 50],
  ])('asks the store for a page of a limit it can take: %p', async (limit, expected) => {
    const node = new Node()
    await node.sessions.list('alice', { limit: limit as number })
    expect(node.calls).toMatchObject([['list', { limit: expected }]])
  })

  it.each(['', 'x', '1.2.3', '\0', 'undefined'])(
    'shows nothing for the cursor %j',
    async (cursor) => {
      const node = new Node()
      await node.open()
      expect(await node.sessions.list('alice', { cursor })).toEqual({ items: [], next: null })
    },
  )

  it.each(['', 'a\0', 'x'.repeat(256), '\ud800'])('refuses the user %j', async (user) => {
    const node = new Node()
    expect(await codeOf(node.sessions.list(user))).toBe('user_invalid')
    expect(node.calls).toEqual([])
  })
})

describe('revoke', () => {
  it('ends one session, on this node at once, and says so', async () => {
    const node = new Node()
    const [one, other] = [await node.open(), await node.open()]
    const actor = { tenant: 'acme', id: 'root' }
    expect(await node.sessions.revoke(one.session.id, { reason: 'lost_phone', actor })).toBe(true)
    expect(await node.verify(one)).toBe('session_revoked')
    expect(await node.verify(other)).toBe('passed')
    expect(await node.sessions.find(one.session.id)).toBeNull()
    expect(node.of('session_revoked')).toMatchObject([
      {
        user: { tenant: '', id: 'alice' },
        actor,
        sessionId: one.session.id,
        cause: 'lost_phone',
        result: 'success',
      },
    ])
  })

  it('says false when there was none, as often as it is asked', async () => {
    const node = new Node()
    const { session } = await node.open()
    await node.sessions.revoke(session.id)
    expect(await node.sessions.revoke(session.id)).toBe(false)
    expect(await node.sessions.revoke(drawSessionId({ tenant: '', id: 'x' }))).toBe(false)
    expect(node.of('session_revoked')).toMatchObject([{ cause: 'app' }])
  })

  it.each(BAD_IDS)('says false for %s, and asks no store', async (_, id) => {
    const node = new Node()
    expect(await node.sessions.revoke(id as string)).toBe(false)
    expect(node.calls).toEqual([])
  })

  it('that is not acknowledged rejects, and is right when it is called again', async () => {
    const node = new Node()
    const opened = await node.open()
    node.broken.revoke = async () => Promise.reject(new Error('down'))
    expect(await codeOf(node.sessions.revoke(opened.session.id))).toBe('store_unavailable')
    expect(node.of('session_revoked')).toEqual([])
    delete node.broken.revoke
    expect(await node.sessions.revoke(opened.session.id)).toBe(true)
    expect(await node.verify(opened)).toBe('session_revoked')
  })
})

describe('revokeUser', () => {
  it('ends all sessions of the user and nobody else', async () => {
    const node = new Node()
    const mine = [await node.open(), await node.open()]
    const others = [await node.open({ id: 'bob' }), await node.open({ tenant: 'acme' })]
    expect(await node.sessions.revokeUser('alice', { reason: 'password_changed' })).toBe(2)
    for (const one of mine) expect(await node.verify(one)).toBe('session_revoked')
    for (const one of others) expect(await node.verify(one)).toBe('passed')
    expect(node.of('authn_token_revoked')).toMatchObject([
      { user: { id: 'alice' }, cause: 'password_changed', detail: { revoked: 2 } },
    ])
    expect(await node.sessions.revokeUser('alice')).toBe(0)
  })

  it('spares the one it is told to', async () => {
    const node = new Node()
    const [one, other] = [await node.open(), await node.open()]
    expect(await node.sessions.revokeUser('alice', { except: one.session.id })).toBe(1)
    expect(await node.verify(one)).toBe('passed')
    expect(await node.verify(other)).toBe('session_revoked')
    expect(await node.sessions.find(one.session.id)).not.toBeNull()
  })

  it('of the pair spares no namesake of another tenant', async () => {
    const node = new Node()
    const [plain, tenant] = [await node.open(), await node.open({ tenant: 'acme' })]
    expect(await node.sessions.revokeUser({ id: 'alice', tenant: 'acme' })).toBe(1)
    expect(await node.verify(plain)).toBe('passed')
    expect(await node.verify(tenant)).toBe('session_revoked')
  })

  it.each(BAD_IDS.slice(0, 7))(
    'never hands the store %s as the one to spare',
    async (_, except) => {
      const node = new Node()
      await node.open()
      expect(await node.sessions.revokeUser('alice', { except: except as string })).toBe(1)
      const audit = expect.objectContaining({ type: 'authn_token_revoked' })
      expect(node.calls.at(-1)).toEqual([
        'revokeUser',
        { user: { tenant: '', id: 'alice' }, audit },
      ])
    },
  )

  it('refuses logins that began before, and lets in those that begin after', async () => {
    const node = new Node()
    node.broken.create = async (input) => {
      await node.store.revokeUser({ user: input.session.user })
      return node.store.create({ ...input, loginAgeMs: 1 })
    }
    expect(await codeOf(node.open())).toBe('stale_login')
    delete node.broken.create
    // By more than opening takes, by the machine's clock.
    node.at.now += 60_000
    expect(await codeOf(node.open())).toBe('passed')
  })

  it('that is not acknowledged rejects', async () => {
    const node = new Node()
    node.broken.revokeUser = async () => Promise.reject(new Error('down'))
    expect(await codeOf(node.sessions.revokeUser('alice'))).toBe('store_unavailable')
    expect(node.of('authn_token_revoked')).toEqual([])
  })
})

describe('update of attributes', () => {
  /** What somebody else writes. */
  const THEIRS = { roles: ['admin'], scope: [], level: null, amr: [], claims: {} }

  it('makes a new version, voids older access tokens here at once, and is reported', async () => {
    const node = new Node()
    const opened = await node.open({ roles: ['admin'], scope: ['read'], claims: { plan: 'gold' } })
    const { id } = opened.session
    const updated = await node.sessions.update(id, { roles: ['user'], level: 'mfa' })
    expect(updated).toEqual({ ...opened.session, roles: ['user'], level: 'mfa', ver: 1 })
    expect(await node.sessions.find(id)).toEqual(updated)
    expect(await node.verify(opened)).toBe('token_stale')
    expect(node.of('session_updated')).toMatchObject([
      { sessionId: id, user: { id: 'alice' }, result: 'success', detail: { ver: 1 } },
    ])
  })

  it.each<[string, SessionPatch<JsonObject>]>([
    ['nothing', {}],
    ['undefined', { roles: undefined, scope: undefined, claims: undefined }],
    ['what is there already', { roles: ['admin'], claims: { plan: 'gold' } }],
  ])('to %s changes nothing: tokens stay good, and nothing is reported', async (_, patch) => {
    const node = new Node()
    const opened = await node.open({ roles: ['admin'], claims: { plan: 'gold' } })
    expect(await node.sessions.update(opened.session.id, patch)).toEqual(opened.session)
    expect(await node.verify(opened)).toBe('passed')
    expect(node.of('session_updated')).toEqual([])
    expect(node.calls.map(([name]) => name)).not.toContain('update')
  })

  it('is no activity', async () => {
    const node = new Node()
    const { session } = await node.open()
    node.at.now += 2 * MINUTE
    expect(await node.sessions.update(session.id, { roles: ['a'] })).toMatchObject({
      lastSeenAt: session.lastSeenAt,
      idleExpiresAt: session.idleExpiresAt,
    })
  })

  it.each<[string, object]>([
    ['roles as text', { roles: 'admin' }],
    ['level of null', { level: null }],
    ['claims as a list', { claims: [] }],
    ['scope with blanks', { scope: ['a b'] }],
    ['claims no token can hold', { claims: { a: 'x'.repeat(4000) } }],
  ])('refuses %s, and changes nothing', async (_, patch) => {
    const node = new Node()
    const { session } = await node.open({ roles: ['admin'] })
    const update = node.sessions.update(session.id, patch)
    expect(await codeOf(update)).toBe('internal_error')
    expect(await node.sessions.find(session.id)).toEqual(session)
  })

  it('goes on top of what another changed meanwhile', async () => {
    const node = new Node()
    const { session } = await node.open({ roles: ['admin'] })
    let others = 0
    node.broken.update = async (input) => {
      if ('ver' in input && others++ < 2) {
        await node.store.update({ ...input, attributes: { ...THEIRS, amr: [`${others}`] } })
      }
      return node.store.update(input)
    }
    const updated = await node.sessions.update(session.id, { level: 'mfa' })
    expect(updated).toMatchObject({ ver: 3, level: 'mfa', amr: ['2'], roles: ['admin'] })
  })

  it('gives up when others change it again and again', async () => {
    const node = new Node()
    const { session } = await node.open()
    let others = 0
    node.broken.update = async (input) => {
      if ('ver' in input) {
        const amr = [`${others++}`]
        await node.store.update({ ...input, attributes: { ...THEIRS, amr } })
      }
      return node.store.update(input)
    }
    expect(await codeOf(node.sessions.update(session.id, { roles: ['a'] }))).toBe(
      'version_conflict',
    )
    expect(others).toBe(3)
  })
})

describe('update of data', () => {
  it('replaces, removes and counts, apart from the attributes', async () => {
    const node = new Node()
    const opened = await node.open({ roles: ['admin'] })
    const { id } = opened.session
    const cart = { cart: [1, { a: null }] }
    expect(await node.sessions.update(id, { data: cart })).toEqual({
      ...opened.session,
      data: cart,
      dataVer: 1,
    })
    expect(await node.sessions.update(id, { data: {} })).toMatchObject({ data: {}, dataVer: 2 })
    expect(await node.sessions.update(id, { data: null })).toMatchObject({ data: null, dataVer: 3 })
    expect(await node.verify(opened)).toBe('passed')
    expect(node.of('session_updated')).toEqual([])
  })

  it('keeps a copy', async () => {
    const node = new Node()
    const { session } = await node.open()
    const data = { list: [1] }
    await node.sessions.update(session.id, { data })
    data.list.push(2)
    expect((await node.sessions.find(session.id))?.data).toEqual({ list: [1] })
  })

  it('takes 4096 bytes of JSON and not one more', async () => {
    const node = new Node()
    const { session } = await node.open()
    const rest = '{"a":""}'.length
    for (const [letter, bytes] of [
      ['x', 1],
      ['é', 2],
      ['\u0001', 6],
    ] as const) {
      const count = Math.floor((4096 - rest) / bytes)
      const fits = { a: letter.repeat(count) + 'x'.repeat((4096 - rest) % bytes) }
      expect(await codeOf(node.sessions.update(session.id, { data: fits }))).toBe('passed')
      const over = { a: `${fits.a}x` }
      expect(await codeOf(node.sessions.update(session.id, { data: over }))).toBe('internal_error')
      expect((await node.sessions.find(session.id))?.data).toEqual(fits)
    }
  })

  it.each<[string, unknown]>([
    ['text', 'text'],
    ['a list', [1]],
    ['a number', 1],
    ['false', false],
    ['a bigint inside', { a: 1n }],
    ['NUL inside', { a: '\0' }],
    ['a lone surrogate inside', { '\ud800': 1 }],
    ['a date', new Date(0)],
  ])('refuses %s', async (_, data) => {
    const node = new Node()
    const { session } = await node.open()
    const update = node.sessions.update(session.id, { data } as SessionPatch<JsonObject>)
    expect(await codeOf(update)).toBe('internal_error')
    expect(await node.sessions.find(session.id)).toEqual(session)
  })

  it('with ifDataVer is refused when another came first, before or in between', async () => {
    const node = new Node()
    const { session } = await node.open()
    const { id } = session
    expect(await node.sessions.update(id, { data: { a: 1 }, ifDataVer: 0 })).toMatchObject({
      dataVer: 1,
    })
    expect(await codeOf(node.sessions.update(id, { data: { a: 2 }, ifDataVer: 0 }))).toBe(
      'version_conflict',
    )
    node.broken.update = async (input) => {
      delete node.broken.update
      await node.store.update({ sid: id, dataVer: 1, data: { a: 'other' } })
      return node.store.update(input)
    }
    expect(await codeOf(node.sessions.update(id, { data: { a: 3 }, ifDataVer: 1 }))).toBe(
      'version_conflict',
    )
    expect(await node.sessions.find(id)).toMatchObject({ data: { a: 'other' }, dataVer: 2 })
  })

  it('without ifDataVer wins over another that came in between', async () => {
    const node = new Node()
    const { session } = await node.open()
    node.broken.update = async (input) => {
      delete node.broken.update
      await node.store.update({ sid: session.id, dataVer: 0, data: { a: 'other' } })
      return node.store.update(input)
    }
    expect(await node.sessions.update(session.id, { data: { a: 1 } })).toMatchObject({
      data: { a: 1 },
      dataVer: 2,
    })
  })

  it('is not moved by changes of the attributes, nor moves them', async () => {
    const node = new Node()
    const { session } = await node.open()
    const both = { data: { a: 1 }, ifDataVer: 0, roles: ['user'] }
    expect(await node.sessions.update(session.id, both)).toMatchObject({
      data: { a: 1 },
      dataVer: 1,
      roles: ['user'],
      ver: 1,
    })
    const data = { data: { a: 2 }, ifDataVer: 1 }
    expect(await node.sessions.update(session.id, data)).toMatchObject({ dataVer: 2, ver: 1 })
  })

  it('is what ifDataVer is about: without data it is refused', async () => {
    const node = new Node()
    const { session } = await node.open()
    const update = node.sessions.update(session.id, { ifDataVer: 0, roles: ['a'] })
    expect(await codeOf(update)).toBe('internal_error')
    expect(await node.sessions.find(session.id)).toEqual(session)
  })
})

describe('update of a session that is not there', () => {
  const PATCHES: SessionPatch<JsonObject>[] = [{}, { roles: ['a'] }, { data: {} }, { data: null }]

  it.each(PATCHES)('is refused as ended: %j', async (patch) => {
    const node = new Node()
    const { session } = await node.open()
    await node.sessions.revoke(session.id)
    expect(await codeOf(node.sessions.update(session.id, patch))).toBe('session_ended')
    expect(await node.sessions.find(session.id)).toBeNull()
  })

  it('is refused as ended when it ends in between', async () => {
    const node = new Node()
    const { session } = await node.open()
    node.broken.update = async (input) => {
      await node.store.revoke({ sid: session.id })
      return node.store.update(input)
    }
    expect(await codeOf(node.sessions.update(session.id, { roles: ['a'] }))).toBe('session_ended')
    expect(node.of('session_updated')).toEqual([])
  })

  it.each(BAD_IDS)('is refused as ended for %s, and asks no store', async (_, id) => {
    const node = new Node()
    for (const patch of PATCHES) {
      expect(await codeOf(node.sessions.update(id as string, patch))).toBe('session_ended')
    }
    expect(node.calls).toEqual([])
  })
})

describe('a store that fails', () => {
  it.each<[keyof Store, (node: Node, id: string) => Promise<unknown>]>([
    ['create', async (node) => node.open()],
    ['check', async ({ sessions }, id) => sessions.find(id)],
    ['check', async ({ sessions }, id) => sessions.update(id, { roles: ['a'] })],
    ['update', async ({ sessions }, id) => sessions.update(id, { roles: ['a'] })],
    ['update', async ({ sessions }, id) => sessions.update(id, { data: {} })],
    ['list', async ({ sessions }) => sessions.list('alice')],
    ['revoke', async ({ sessions }, id) => sessions.revoke(id)],
    ['revokeUser', async ({ sessions }) => sessions.revokeUser('alice')],
  ])('in %s is unavailable', async (name, act) => {
    const node = new Node()
    const { session } = await node.open()
    Object.assign(node.broken, { [name]: async () => Promise.reject(new Error('down')) })
    expect(await codeOf(act(node, session.id))).toBe('store_unavailable')
  })
})
