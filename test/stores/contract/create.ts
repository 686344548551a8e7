import { describe, expect, it } from '@jest/globals'
import { openRecord } from '../../../lib/session.ts'
import type { StoreInUse } from './support.ts'
import {
  check,
  feedEnd,
  hash,
  heard,
  HOUR,
  LIFETIMES,
  listed,
  login,
  MINUTE,
  newSession,
  newUser,
  open,
  openMany,
  parallel,
  read,
  refresh,
  revocation,
  sids,
  tally,
  sorted,
} from './support.ts'

export function describeCreate(test: StoreInUse): void {
  describe('create', () => {
    it('opens a session with everything the kit decided and the instants of the store', async () => {
      const session = newSession(newUser('acme'), {
        attributes: {
          roles: ['a', 'b'],
          scope: ['read'],
          level: 'aal2',
          amr: ['pwd', 'otp'],
          claims: { plan: { seats: 5 } },
        },
        data: { cart: [1, 2, 3] },
        remember: false,
      })
      const result = await test.store.create(login(session))
      const expected = openRecord(session, LIFETIMES, test.clock.now())
      expect(result).toEqual({ outcome: 'created', session: expected, revoked: [] })
      expect(await read(test.store, expected)).toEqual(expected)
    })

    it('keeps what is null: no binding, no label, no address, no level, no data', async () => {
      const session = newSession(newUser(), {
        bindingHash: null,
        device: { label: null, ip: null },
      })
      await test.store.create(login(session))
      const record = openRecord(session, LIFETIMES, test.clock.now())
      expect(await read(test.store, record)).toEqual(record)
    })

    it('clamps the idle deadline to the absolute one', async () => {
      const lifetimes = { idleTimeoutMs: 2 * HOUR, absoluteTimeoutMs: HOUR }
      const { idleDeadline, absoluteDeadline } = await open(test.store, newUser(), { lifetimes })
      expect(absoluteDeadline).toBe(test.clock.now() + HOUR)
      expect(idleDeadline).toBe(absoluteDeadline)
    })

    it('appends nothing to the feed when nobody is evicted', async () => {
      const cursor = await feedEnd(test.store)
      const session = await open(test.store)
      expect(await heard(test.store, cursor, [session])).toEqual([])
    })

    it('evicts the least recently active session at the limit and says so in the feed', async () => {
      const user = newUser()
      const [first, second, third] = await openMany(test, user, 3)
      test.clock.advance(MINUTE)
      await check(test.store, first!.sid)
      const cursor = await feedEnd(test.store)

      const session = newSession(user)
      const limit = { max: 3, onLimit: 'evict' } as const
      const result = await test.store.create(login(session, { limit }))

      expect(result).toMatchObject({ outcome: 'created', revoked: [second!.sid] })
      expect(await heard(test.store, cursor, [first!, second!, third!])).toEqual([
        revocation(second!),
      ])
      expect(await check(test.store, second!.sid)).toBe('gone')
      expect(sorted(await listed(test.store, user))).toEqual(
        sorted([first!.sid, third!.sid, session.sid]),
      )
    })

    it('evicts by activity, not by the nearer deadline', async () => {
      const user = newUser()
      const idle = await open(test.store, user)
      test.clock.advance(MINUTE)
      const short = { idleTimeoutMs: HOUR, absoluteTimeoutMs: HOUR }
      const active = await open(test.store, user, { lifetimes: short })
      const limit = { max: 2, onLimit: 'evict' } as const
      const result = await test.store.create(login(newSession(user), { limit }))
      expect(result).toMatchObject({ revoked: [idle.sid] })
      expect(await check(test.store, active.sid)).toBe('alive')
    })

    it('counts a refresh as activity', async () => {
      const user = newUser()
      const [first, second] = await openMany(test, user, 2)
      test.clock.advance(1)
      await test.store.rotate(refresh(first!))
      const limit = { max: 2, onLimit: 'evict' } as const
      const result = await test.store.create(login(newSession(user), { limit }))
      expect(result).toMatchObject({ revoked: [second!.sid] })
    })

    it('evicts several when the limit was lowered', async () => {
      const user = newUser()
      const sessions = await openMany(test, user, 5)
      const limit = { max: 2, onLimit: 'evict' } as const
      const result = await test.store.create(login(newSession(user), { limit }))
      expect(result.outcome === 'created' && result.revoked.toSorted()).toEqual(
        sids(sessions.slice(0, 4)).toSorted(),
      )
    })

    it('refuses the login at the limit when the policy is to refuse, and changes nothing', async () => {
      const user = newUser()
      const sessions = await openMany(test, user, 2)
      const cursor = await feedEnd(test.store)
      const session = newSession(user)
      const limit = { max: 2, onLimit: 'refuse' } as const
      expect(await test.store.create(login(session, { limit }))).toEqual({
        outcome: 'session_limit',
      })
      expect(sorted(await listed(test.store, user))).toEqual(sorted(sids(sessions)))
      expect(await check(test.store, session.sid)).toBe('gone')
      expect(await heard(test.store, cursor, [...sessions, session.sid])).toEqual([])
    })

    it('counts live sessions only', async () => {
      const user = newUser()
      const brief = { idleTimeoutMs: MINUTE, absoluteTimeoutMs: HOUR }
      const over = await open(test.store, user, { lifetimes: brief })
      const ended = await open(test.store, user)
      await test.store.revoke({ sid: ended.sid })
      test.clock.advance(MINUTE)
      const cursor = await feedEnd(test.store)

      const limit = { max: 1, onLimit: 'refuse' } as const
      const result = await test.store.create(login(newSession(user), { limit }))
      expect(result).toMatchObject({ outcome: 'created', revoked: [] })
      expect(await heard(test.store, cursor, [over, ended])).toEqual([])
    })

    it('counts no sessions of other users, of the same id in another tenant neither', async () => {
      const user = newUser()
      const others = [newUser(), { ...user, tenant: 'acme' }]
      for (const other of others) await open(test.store, other)
      const limit = { max: 1, onLimit: 'evict' } as const
      const result = await test.store.create(login(newSession(user), { limit }))
      expect(result).toMatchObject({ outcome: 'created', revoked: [] })
      for (const other of others) expect(await listed(test.store, other)).toHaveLength(1)
    })

    it('evicts exactly as many as needed under 60 parallel logins', async () => {
      const user = newUser()
      const cursor = await feedEnd(test.store)
      const limit = { max: 5, onLimit: 'evict' } as const
      const results = await parallel(60, () =>
        test.store.create(login(newSession(user), { limit })),
      )
      expect(tally(results)).toEqual({ created: 60 })
      const created = results.flatMap((result) =>
        result.outcome === 'created' ? [result.session.sid] : [],
      )
      const revoked = results.flatMap((result) =>
        result.outcome === 'created' ? result.revoked : [],
      )
      const alive = await listed(test.store, user)
      expect(alive).toHaveLength(5)
      expect(sorted([...alive, ...revoked])).toEqual(sorted(created))
      const entries = await heard(test.store, cursor, created)
      expect(sorted(entries.map(({ sid }) => sid))).toEqual(sorted(revoked))
    })

    it('lets in exactly as many as fit under 60 parallel logins', async () => {
      const user = newUser()
      const limit = { max: 5, onLimit: 'refuse' } as const
      const results = await parallel(60, () =>
        test.store.create(login(newSession(user), { limit })),
      )
      expect(tally(results)).toEqual({ created: 5, session_limit: 55 })
      expect(await listed(test.store, user)).toHaveLength(5)
    })

    it('answers the session as it is when asked again with the same id and seed', async () => {
      const user = newUser()
      const input = login(newSession(user), { limit: { max: 1, onLimit: 'refuse' } })
      await test.store.create(input)
      test.clock.advance(1)
      const again = await test.store.create(input)
      expect(again).toMatchObject({ outcome: 'created', revoked: [] })
      expect(again).toMatchObject({ session: { createdAt: test.clock.now() - 1 } })
      expect(await listed(test.store, user)).toEqual([input.session.sid])
    })

    it('never writes over a live session of the same id', async () => {
      const session = await open(test.store)
      const thief = newSession(session.user, { sid: session.sid, seedHash: hash() })
      await expect(test.store.create(login(thief))).rejects.toThrow()
      expect(await read(test.store, session)).toEqual(session)
    })
  })

  describe('stale_login', () => {
    it.each([
      [0, 0, 'created'],
      [0, 1, 'stale_login'],
      [5, 4, 'created'],
      [5, 5, 'stale_login'],
      [5, 6, 'stale_login'],
      [10 * MINUTE - 1, 10 * MINUTE - 2, 'created'],
      [10 * MINUTE - 1, 10 * MINUTE - 1, 'stale_login'],
      [10 * MINUTE - 1, 20 * MINUTE, 'stale_login'],
    ] as const)(
      '%i ms after the user was revoked, a login that took %i ms is %s',
      async (sinceMs, loginAgeMs, outcome) => {
        const user = newUser()
        await test.store.revokeUser({ user })
        test.clock.advance(sinceMs)
        const old = await open(test.store, user)
        const session = newSession(user)
        expect(await test.store.create(login(session, { loginAgeMs }))).toMatchObject({ outcome })
        expect(await listed(test.store, user)).toHaveLength(outcome === 'created' ? 2 : 1)
        expect(await check(test.store, old.sid)).toBe('alive')
      },
    )

    it('counts from the last revocation', async () => {
      const user = newUser()
      await test.store.revokeUser({ user })
      test.clock.advance(9 * MINUTE)
      await test.store.revokeUser({ user })
      test.clock.advance(9 * MINUTE)
      const late = await test.store.create(login(newSession(user), { loginAgeMs: 9 * MINUTE }))
      expect(late.outcome).toBe('stale_login')
      const fresh = await test.store.create(login(newSession(user), { loginAgeMs: MINUTE }))
      expect(fresh.outcome).toBe('created')
    })

    it('is for this user only', async () => {
      const user = newUser()
      await test.store.revokeUser({ user })
      for (const other of [newUser(), { ...user, tenant: 'acme' }]) {
        const result = await test.store.create(login(newSession(other), { loginAgeMs: MINUTE }))
        expect(result.outcome).toBe('created')
      }
    })

    it('comes before the limit is looked at', async () => {
      const user = newUser()
      await test.store.revokeUser({ user })
      await open(test.store, user)
      const limit = { max: 1, onLimit: 'refuse' } as const
      const input = login(newSession(user), { limit, loginAgeMs: 1 })
      expect(await test.store.create(input)).toEqual({ outcome: 'stale_login' })
    })

    it('leaves no login alive that raced a revocation of the user', async () => {
      const user = newUser()
      await Promise.all([
        parallel(30, () => test.store.create(login(newSession(user), { loginAgeMs: 1 }))),
        parallel(3, () => test.store.revokeUser({ user })),
        parallel(30, () => test.store.create(login(newSession(user), { loginAgeMs: 1 }))),
      ])
      // Whoever came first was revoked, whoever came after was stale.
      expect(await listed(test.store, user)).toEqual([])
    })
  })
}
