import { describe, expect, it } from '@jest/globals'
import type { StoreInUse } from './support.ts'
import {
  check,
  feedEnd,
  hash,
  heard,
  listed,
  login,
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

export function describeRevoke(test: StoreInUse): void {
  describe('revoke', () => {
    it('ends one session, says what it was, and says so in the feed', async () => {
      const user = newUser()
      const [session, other] = await openMany(test, user, 2)
      const { sid, seedHash } = session!
      const cursor = await feedEnd(test.store)
      expect(await test.store.revoke({ sid, owner: user, seedHash })).toEqual({
        outcome: 'revoked',
        session,
      })
      expect(await heard(test.store, cursor, [session!, other!])).toEqual([revocation(session!)])
      expect(await listed(test.store, user)).toEqual([other!.sid])
    })

    it('is no error when the session is gone, and appends nothing then', async () => {
      const session = await open(test.store)
      await test.store.revoke({ sid: session.sid })
      const cursor = await feedEnd(test.store)
      expect(await test.store.revoke({ sid: session.sid })).toEqual({ outcome: 'gone' })
      expect(await heard(test.store, cursor, [session])).toEqual([])
    })

    it("ends a session only if it is the owner's and the seed is right", async () => {
      const session = await open(test.store, newUser('acme'))
      const { sid, user, seedHash } = session
      const cursor = await feedEnd(test.store)
      for (const fields of [
        { owner: newUser('acme') },
        { owner: { ...user, tenant: '' } },
        { owner: { ...user, tenant: 'other' } },
        { seedHash: hash() },
        { owner: user, seedHash: hash() },
        { owner: newUser(), seedHash },
      ]) {
        expect(await test.store.revoke({ sid, ...fields })).toEqual({ outcome: 'gone' })
      }
      expect(await read(test.store, session)).toEqual(session)
      expect(await heard(test.store, cursor, [session])).toEqual([])
    })

    it('marks nobody: a login in flight stays good', async () => {
      const session = await open(test.store)
      await test.store.revoke({ sid: session.sid })
      const input = login(newSession(session.user), { loginAgeMs: 1000 })
      expect((await test.store.create(input)).outcome).toBe('created')
    })

    it('ends a session once under 30 parallel calls', async () => {
      const { sid } = await open(test.store)
      const results = await parallel(30, () => test.store.revoke({ sid }))
      expect(tally(results)).toEqual({ revoked: 1, gone: 29 })
    })
  })

  describe('revokeUser', () => {
    it("ends all of a user's sessions and says so in the feed", async () => {
      const user = newUser()
      const sessions = await openMany(test, user, 5)
      const others = [await open(test.store), await open(test.store, { ...user, tenant: 'acme' })]
      const cursor = await feedEnd(test.store)
      const { revoked } = await test.store.revokeUser({ user })
      expect(sorted(revoked)).toEqual(sorted(sids(sessions)))
      const entries = await heard(test.store, cursor, [...sessions, ...others])
      expect(sorted(entries.map(({ sid }) => sid))).toEqual(sorted(sids(sessions)))
      expect(entries.every(({ ver }) => ver === Infinity)).toBe(true)
      for (const { sid } of sessions) expect(await check(test.store, sid)).toBe('gone')
      for (const other of others) expect(await read(test.store, other)).toEqual(other)
    })

    it('ends all but one', async () => {
      const user = newUser()
      const [first, kept, last] = await openMany(test, user, 3)
      const cursor = await feedEnd(test.store)
      const { revoked } = await test.store.revokeUser({ user, except: kept!.sid })
      expect(sorted(revoked)).toEqual(sorted([first!.sid, last!.sid]))
      expect(await read(test.store, kept!)).toEqual(kept)
      expect(await heard(test.store, cursor, [kept!])).toEqual([])
    })

    it("ends all when the exception is another user's session or none", async () => {
      const user = newUser()
      const other = await open(test.store)
      for (const except of [other.sid, newSession(user).sid]) {
        const session = await open(test.store, user)
        expect(await test.store.revokeUser({ user, except })).toEqual({ revoked: [session.sid] })
      }
      expect(await check(test.store, other.sid)).toBe('alive')
    })

    it('marks the user also when there was no session to end, and with an exception', async () => {
      const user = newUser()
      expect(await test.store.revokeUser({ user })).toEqual({ revoked: [] })
      const input = login(newSession(user), { loginAgeMs: 1 })
      expect((await test.store.create(input)).outcome).toBe('stale_login')

      const kept = await open(test.store)
      await test.store.revokeUser({ user: kept.user, except: kept.sid })
      const late = login(newSession(kept.user), { loginAgeMs: 1 })
      expect((await test.store.create(late)).outcome).toBe('stale_login')
    })

    it('twice ends nothing more', async () => {
      const { user } = await open(test.store)
      await test.store.revokeUser({ user })
      expect(await test.store.revokeUser({ user })).toEqual({ revoked: [] })
    })

    it('names each session once under parallel calls', async () => {
      const user = newUser()
      const sessions = await openMany(test, user, 20)
      const results = await parallel(10, () => test.store.revokeUser({ user }))
      expect(sorted(results.flatMap(({ revoked }) => revoked))).toEqual(sorted(sids(sessions)))
    })

    it('leaves nothing alive among parallel refreshes and revocations of single sessions', async () => {
      const user = newUser()
      const sessions = await openMany(test, user, 20)
      await Promise.all([
        ...sessions.map((session) => test.store.rotate(refresh(session))),
        test.store.revokeUser({ user }),
        ...sessions.map(({ sid }) => test.store.revoke({ sid })),
        ...sessions.map((session) => test.store.rotate(refresh(session))),
      ])
      expect(await listed(test.store, user)).toEqual([])
      for (const { sid } of sessions) expect(await check(test.store, sid)).toBe('gone')
    })
  })
}
