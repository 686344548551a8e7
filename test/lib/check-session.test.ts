import { afterEach, describe, expect, it } from '@jest/globals'
import type { SessionClaims } from '../../lib/access-token-claims.ts'
import type { SessionChecks } from '../../lib/check-session.ts'
import { createSessionChecks } from '../../lib/check-session.ts'
import type { Core } from '../../lib/core.ts'
import { createCore } from '../../lib/core.ts'
import type { LatchkeyEvent } from '../../lib/events.ts'
import { createKeyRing } from '../../lib/key-ring.ts'
import { parseOptions } from '../../lib/options.ts'
import { drawSeed, drawSessionId, hashSeed } from '../../lib/session-id.ts'
import type { JsonObject } from '../../lib/session.ts'
import type { PresentedSession } from '../../lib/session-token-reader.ts'
import type { OpenedSession, Sessions } from '../../lib/sessions.ts'
import { createSessions } from '../../lib/sessions.ts'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import type { Store } from '../../lib/store.ts'
import { sessionClaims } from '../support/claims.ts'
import { memoryStore } from '../../stores/memory.ts'

const MINUTE = 60_000
const DAY = 1440 * MINUTE
const REVOKED = Infinity
const KEYS = parseSigningKeys([generateSigningKey()])

/** One node, with a store whose calls are counted and may be replaced by the test. */
class Node {
  readonly at: { now: number }
  readonly inner: Store
  readonly calls: string[] = []
  readonly core: Core
  readonly checks: SessionChecks
  readonly sessions: Sessions
  readonly events: LatchkeyEvent[] = []
  check: Store['check']
  revoke: Store['revoke']

  constructor(setup: { readonly at?: { now: number }; readonly store?: Store } = {}) {
    const { at = { now: Date.UTC(2026, 5, 1) } } = setup
    this.at = at
    this.inner = setup.store ?? memoryStore({ clock: () => at.now })
    this.check = async (input) => this.inner.check(input)
    this.revoke = async (input) => this.inner.revoke(input)
    this.core = createCore({
      settings: parseOptions({ issuer: 'https://app.example', clock: () => at.now }, false),
      store: {
        ...this.inner,
        check: async (input) => {
          this.calls.push('check')
          return this.check(input)
        },
        revoke: async (input) => {
          this.calls.push(`revoke ${input.sid}`)
          return this.revoke(input)
        },
      },
      ring: createKeyRing(['the-first-secret-of-thirty-two-b']),
      signingKeys: KEYS,
      onEvent: (event) => this.events.push(event),
    })
    this.checks = createSessionChecks(this.core)
    this.sessions = createSessions<JsonObject>(this.core)
    nodes.push(this)
  }

  async open(id = 'alice'): Promise<Opened> {
    const opened = await this.sessions.open({ id, roles: ['admin'] })
    const token = this.core.readSessionToken(opened.sessionToken)
    if (token === null) throw new Error('not a token of ours')
    const claims = sessionClaims(await this.checks.verifyAccessToken(opened.accessToken))
    return { ...opened, sid: opened.session.id, token, claims }
  }

  /** This node learns that the session was revoked; the store knows nothing of it. */
  hearRevoked(sid: string): void {
    this.core.follower.hear([{ sid, ver: REVOKED }])
  }
}

type Opened = OpenedSession<JsonObject> & {
  readonly sid: string
  readonly token: PresentedSession
  readonly claims: SessionClaims
}

const nodes: Node[] = []

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'passed',
    (error: unknown) => (error as { code?: unknown }).code ?? error,
  )
}

/** Lets what was not awaited come to its end. */
async function settle(): Promise<void> {
  await new Promise(setImmediate)
}

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.core.follower.close()
})

describe('verifyAccessToken', () => {
  it('asks no store', async () => {
    const node = new Node()
    const opened = await node.open()
    node.calls.length = 0
    const claims = await node.checks.verifyAccessToken(opened.accessToken)
    expect(claims).toMatchObject({ sid: opened.sid, sub: 'alice', ver: 0, roles: ['admin'] })
    expect(node.calls).toEqual([])
  })

  it.each(['', 'x', 'a.b.c'])('refuses %j', async (token) => {
    const node = new Node()
    expect(await codeOf(node.checks.verifyAccessToken(token))).toBe('token_invalid')
  })

  it('refuses a token that has expired, remembered or not', async () => {
    const node = new Node()
    const { accessToken } = await node.open()
    node.at.now += DAY
    expect(await codeOf(node.checks.verifyAccessToken(accessToken))).toBe('token_expired')
    expect(await codeOf(node.checks.verifyAccessToken(accessToken))).toBe('token_expired')
  })

  it('refuses the token of a session that was heard to be revoked, and asks no store then', async () => {
    const node = new Node()
    const { sid, accessToken } = await node.open()
    node.hearRevoked(sid)
    node.calls.length = 0
    expect(await codeOf(node.checks.verifyAccessToken(accessToken))).toBe('session_revoked')
    await settle()
    expect(node.calls).toEqual([])
  })

  it('refuses a token older than a change that was heard', async () => {
    const node = new Node()
    const { sid, accessToken } = await node.open()
    node.core.follower.hear([{ sid, ver: 0 }])
    expect(await codeOf(node.checks.verifyAccessToken(accessToken))).toBe('passed')
    node.core.follower.hear([{ sid, ver: 1 }])
    expect(await codeOf(node.checks.verifyAccessToken(accessToken))).toBe('token_stale')
  })

  it('is not moved by what was heard of other sessions', async () => {
    const node = new Node()
    const [one, other] = [await node.open(), await node.open()]
    node.hearRevoked(other.sid)
    expect(await codeOf(node.checks.verifyAccessToken(one.accessToken))).toBe('passed')
  })

  it('refuses on every node that follows the feed what one node revoked', async () => {
    const one = new Node()
    const two = new Node({ at: one.at, store: one.inner })
    await two.core.follower.ready
    const opened = await one.open()
    expect(await codeOf(two.checks.verifyAccessToken(opened.accessToken))).toBe('passed')
    await one.sessions.revoke(opened.sid)
    expect(await codeOf(one.checks.verifyAccessToken(opened.accessToken))).toBe('session_revoked')
    for (let waited = 0; waited < 2000 && !two.core.follower.isRevoked(opened.sid); waited += 5) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    expect(await codeOf(two.checks.verifyAccessToken(opened.accessToken))).toBe('session_revoked')
  })
})

describe('checkSessionToken', () => {
  it('answers the session of the store, and is its activity', async () => {
    const node = new Node()
    const { token, sid } = await node.open()
    node.at.now += 2 * MINUTE
    expect(await node.checks.checkSessionToken(token)).toMatchObject({
      sid,
      lastSeenAt: node.at.now,
      idleDeadline: node.at.now + 7 * DAY,
    })
  })

  it('refuses a session that is over', async () => {
    const node = new Node()
    const { token, sid } = await node.open()
    await node.inner.revoke({ sid })
    expect(await codeOf(node.checks.checkSessionToken(token))).toMatch(
      /^session_(?:ended|revoked)$/,
    )
    const other = await node.open()
    node.at.now += 7 * DAY
    expect(await codeOf(node.checks.checkSessionToken(other.token))).toBe('session_ended')
  })

  it('refuses a session that never was', async () => {
    const node = new Node()
    const token = {
      sid: drawSessionId({ tenant: '', id: 'nobody' }),
      seedHash: hashSeed(drawSeed()),
    }
    expect(await codeOf(node.checks.checkSessionToken(token))).toBe('session_ended')
  })

  it('refuses another seed, which says nothing of the session', async () => {
    const node = new Node()
    const { token } = await node.open()
    const forged = { ...token, seedHash: hashSeed(drawSeed()) }
    expect(await codeOf(node.checks.checkSessionToken(forged))).toBe('token_invalid')
    expect(await codeOf(node.checks.checkSessionToken(token))).toBe('passed')
  })

  it.each<[string, Store['check']]>([
    ['fails', async () => Promise.reject(new Error('down'))],
    ['throws', () => { throw new Error('down') }], // prettier-ignore
    ['is late', async () => new Promise(() => {})],
  ])('is unavailable when the store %s, never a pass and never a 401', async (_, check) => {
    const node = new Node()
    const { token, claims } = await node.open()
    node.check = check
    const results = [
      codeOf(node.checks.checkSessionToken(token)),
      codeOf(node.checks.checkClaims(claims)),
      codeOf(node.checks.checkClaimsWhileBlind(claims)),
    ]
    expect(await Promise.all(results)).toEqual(Array(3).fill('store_unavailable'))
  })
})

describe('checkClaims', () => {
  it('answers the session of the store, and is its activity', async () => {
    const node = new Node()
    const { claims, sid } = await node.open()
    node.at.now += 2 * MINUTE
    expect(await node.checks.checkClaims(claims)).toMatchObject({
      sid,
      lastSeenAt: node.at.now,
      confirmed: true,
    })
  })

  it.each<[string, Partial<SessionClaims>, string]>([
    ['another session', { sid: drawSessionId({ tenant: '', id: 'alice' }) }, 'session_ended'],
    ['another user', { sub: 'bob' }, 'token_invalid'],
    ['another tenant', { tenant: 'other' }, 'token_invalid'],
    ['the user in another spelling', { sub: 'Alice' }, 'token_invalid'],
  ])('refuses the claims of %s', async (_, changes, code) => {
    const node = new Node()
    const { claims } = await node.open()
    expect(await codeOf(node.checks.checkClaims({ ...claims, ...changes }))).toBe(code)
  })

  it('refuses a token that was denied, until it ends, and no other of the session', async () => {
    const node = new Node()
    const { claims, sid, token } = await node.open()
    const { jti, expiresAtMs } = claims
    await node.core.store.deny({ sid, jti, expiresAt: expiresAtMs })
    expect(await codeOf(node.checks.checkClaims(claims))).toBe('token_revoked')
    expect(await codeOf(node.checks.checkClaims({ ...claims, jti: 'other' }))).toBe('passed')
    expect(await codeOf(node.checks.checkSessionToken(token))).toBe('passed')
  })

  it('refuses a token older than the attributes in the store, though nothing was heard', async () => {
    const node = new Node()
    const { claims, sid, session } = await node.open()
    const attributes = { roles: [], scope: [], level: null, amr: [], claims: {} }
    await node.inner.update({ sid, ver: session.ver, attributes })
    expect(await codeOf(node.checks.checkClaims(claims))).toBe('token_stale')
    expect(await codeOf(node.checks.checkClaims({ ...claims, ver: 1 }))).toBe('passed')
    expect(await codeOf(node.checks.checkClaims({ ...claims, ver: 2 }))).toBe('passed')
  })

  it('refuses the token of a session that is over', async () => {
    const node = new Node()
    const { claims } = await node.open()
    node.at.now += 7 * DAY
    expect(await codeOf(node.checks.checkClaims(claims))).toBe('session_ended')
  })

  it('confirms the generation of the token only', async () => {
    const node = new Node()
    const { claims } = await node.open()
    const seen = await node.checks.checkClaims({ ...claims, gen: 5 })
    expect(seen.confirmed).toBe(false)
  })
})

describe('what this node remembers as revoked, while the store still has it', () => {
  const PRESENTED: [string, (node: Node, opened: Opened) => Promise<unknown>][] = [
    ['a session token', async ({ checks }, { token }) => checks.checkSessionToken(token)],
    ['an access token', async ({ checks }, { claims }) => checks.checkClaims(claims)],
    [
      'an access token, blind',
      async ({ checks }, { claims }) => checks.checkClaimsWhileBlind(claims),
    ],
    ['a refresh token', async ({ checks }, { sid }) => checks.refuseRevoked(sid)], // prettier-ignore
  ]

  it.each(PRESENTED)('is refused, and the store is told to end it: %s', async (_, present) => {
    const node = new Node()
    const opened = await node.open()
    node.hearRevoked(opened.sid)
    node.calls.length = 0
    expect(await codeOf(present(node, opened))).toBe('session_revoked')
    await settle()
    expect(node.calls).toEqual([`revoke ${opened.sid}`])
    expect((await node.inner.check({ sid: opened.sid, idleTimeoutMs: DAY })).outcome).toBe('gone')
  })

  it.each(PRESENTED)('costs one call, however often it is presented: %s', async (_, present) => {
    const node = new Node()
    const opened = await node.open()
    node.hearRevoked(opened.sid)
    node.calls.length = 0
    for (let tries = 0; tries < 20; tries++) {
      expect(await codeOf(present(node, opened))).toBe('session_revoked')
    }
    expect(node.calls).toEqual([`revoke ${opened.sid}`])
  })

  it('is refused when the revocation comes in while the store answers', async () => {
    for (const [, present] of PRESENTED.slice(0, 3)) {
      const node = new Node()
      const opened = await node.open()
      node.check = async (input) => {
        const result = await node.inner.check(input)
        node.hearRevoked(opened.sid)
        return result
      }
      expect(await codeOf(present(node, opened))).toBe('session_revoked')
    }
  })

  it('is ended by the next who presents it when the store failed to', async () => {
    const node = new Node()
    const { token, sid } = await node.open()
    node.hearRevoked(sid)
    node.revoke = async () => Promise.reject(new Error('down'))
    node.calls.length = 0
    expect(await codeOf(node.checks.checkSessionToken(token))).toBe('session_revoked')
    await settle()
    const failures = node.events.filter(({ type }) => type === 'store_failure')
    expect(failures).toMatchObject([{ cause: 'revoke', error: { code: 'store_unavailable' } }])
    node.revoke = async (input) => node.inner.revoke(input)
    expect(await codeOf(node.checks.checkSessionToken(token))).toBe('session_revoked')
    await settle()
    expect(node.calls).toEqual([`revoke ${sid}`, `revoke ${sid}`])
    expect((await node.inner.check({ sid, idleTimeoutMs: DAY })).outcome).toBe('gone')
  })

  it('is remembered in bounded number: of the oldest, the store is told again', async () => {
    const node = new Node()
    const sids = Array.from({ length: 1001 }, () => drawSessionId({ tenant: '', id: 'alice' }))
    for (const sid of sids) node.hearRevoked(sid)
    const present = (sid: string | undefined) =>
      expect(() => node.checks.refuseRevoked(sid ?? '')).toThrow()
    for (const sid of sids) present(sid)
    expect(node.calls).toHaveLength(1001)
    present(sids[1000])
    expect(node.calls).toHaveLength(1001)
    present(sids[0])
    expect(node.calls).toHaveLength(1002)
    await settle()
  })

  it('is nothing to a session that was not', async () => {
    const node = new Node()
    const { sid } = await node.open()
    expect(() => node.checks.refuseRevoked(sid)).not.toThrow()
    expect(node.calls).not.toContain(`revoke ${sid}`)
  })
})

describe('checkClaimsWhileBlind', () => {
  it('asks the store once for all who ask the same, and for a second after', async () => {
    const node = new Node()
    const { claims, sid } = await node.open()
    node.calls.length = 0
    const asked = Array.from({ length: 100 }, async () => node.checks.checkClaimsWhileBlind(claims))
    const answers = await Promise.all(asked)
    await node.checks.checkClaimsWhileBlind(claims)
    expect(new Set(answers.map((session) => session?.sid))).toEqual(new Set([sid]))
    expect(node.calls).toEqual(['check'])
  })

  it('asks for each token by itself: one may be denied and another not', async () => {
    const node = new Node()
    const { claims, sid } = await node.open()
    const denied = { ...claims, jti: 'denied' }
    await node.core.store.deny({ sid, jti: denied.jti, expiresAt: node.at.now + MINUTE })
    expect(await codeOf(node.checks.checkClaimsWhileBlind(claims))).toBe('passed')
    expect(await codeOf(node.checks.checkClaimsWhileBlind(denied))).toBe('token_revoked')
    expect(await codeOf(node.checks.checkClaimsWhileBlind(claims))).toBe('passed')
  })

  it('remembers a session that is over, for the fast path too', async () => {
    const node = new Node()
    const { claims, accessToken } = await node.open()
    node.check = async () => ({ outcome: 'gone' })
    expect(await codeOf(node.checks.checkClaimsWhileBlind(claims))).toBe('session_ended')
    expect(await codeOf(node.checks.verifyAccessToken(accessToken))).toBe('session_revoked')
  })

  it('does not take a failure of the store for the end of a session', async () => {
    const node = new Node()
    const { claims, accessToken } = await node.open()
    node.check = async () => Promise.reject(new Error('down'))
    expect(await codeOf(node.checks.checkClaimsWhileBlind(claims))).toBe('store_unavailable')
    expect(await codeOf(node.checks.verifyAccessToken(accessToken))).toBe('passed')
  })

  it('goes on asking for others, however often dead tokens are presented', async () => {
    const node = new Node()
    const { claims, session, sid } = await node.open()
    const attributes = { roles: [], scope: [], level: null, amr: [], claims: {} }
    await node.inner.update({ sid, ver: session.ver, attributes })
    const others = await node.open('bob')
    for (let tries = 0; tries < 50; tries++) {
      const stale = { ...claims, jti: `${tries}` }
      expect(await codeOf(node.checks.checkClaimsWhileBlind(stale))).toBe('token_stale')
    }
    expect(await codeOf(node.checks.checkClaimsWhileBlind(others.claims))).toBe('passed')
  })

  it('holds no answer over a revocation by this node', async () => {
    const node = new Node()
    const { claims, sid } = await node.open()
    const other = await node.open()
    await node.checks.checkClaimsWhileBlind(claims)
    await node.sessions.revoke(sid)
    expect(await codeOf(node.checks.checkClaimsWhileBlind(claims))).toBe('session_revoked')
    expect(await codeOf(node.checks.checkClaimsWhileBlind(other.claims))).toBe('passed')
  })

  it('holds no answer over a revocation that was heard, and none over a change', async () => {
    const node = new Node()
    const [revoked, changed] = [await node.open(), await node.open()]
    for (const { claims } of [revoked, changed]) await node.checks.checkClaimsWhileBlind(claims)
    node.hearRevoked(revoked.sid)
    node.core.follower.hear([{ sid: changed.sid, ver: 1 }])
    expect(await codeOf(node.checks.checkClaimsWhileBlind(revoked.claims))).toBe('session_revoked')
    expect(await codeOf(node.checks.verifyAccessToken(changed.accessToken))).toBe('token_stale')
  })
})
