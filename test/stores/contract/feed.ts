import { describe, expect, it } from '@jest/globals'
import type { FeedEntry, FeedPage } from '../../../lib/store.ts'
import { loopTime } from '../../support/loop-time.ts'
import { ODD_CURSORS } from './list.ts'
import type { StoreInUse } from './support.ts'
import {
  check,
  feedEnd,
  heard,
  hash,
  login,
  MINUTE,
  newSession,
  newUser,
  NO_GRACE,
  open,
  openMany,
  parallel,
  random,
  readOn,
  refresh,
  replacement,
  revocation,
  sids,
  sorted,
} from './support.ts'

export function describeFeed(test: StoreInUse): void {
  async function wait(
    cursor: string | null,
    waitMs: number,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<FeedPage> {
    return test.store.feed.read({ cursor, waitMs, signal })
  }

  /** Follows until all these sessions were heard to end. */
  async function follow(from: string, awaited: readonly string[]): Promise<string[]> {
    const missing = new Set(awaited)
    const order: string[] = []
    for (let cursor = from; missing.size > 0;) {
      const page = await wait(cursor, 10_000)
      expect(page.complete).toBe(true)
      for (const { sid } of page.entries) if (missing.delete(sid)) order.push(sid)
      cursor = page.cursor
    }
    return order
  }

  describe('feed', () => {
    it('has every revocation, of whatever kind, and every change of attributes, in order', async () => {
      const user = newUser()
      const [evicted, revoked, reused, replaced, swept] = await openMany(test, user, 5)
      const { attributes } = swept!
      const cursor = await feedEnd(test.store)

      const session = newSession(user)
      const limit = { max: 5, onLimit: 'evict' } as const
      await test.store.create(login(session, { limit }))
      await test.store.revoke({ sid: revoked!.sid })
      await test.store.rotate(refresh(reused!))
      await test.store.rotate(refresh(reused!, { policy: NO_GRACE }))
      await test.store.update({ sid: swept!.sid, ver: 0, attributes })
      await test.store.replace(replacement(replaced!, newSession(user)))
      await test.store.update({ sid: swept!.sid, ver: 1, attributes })
      await test.store.revoke({ sid: session.sid })
      await test.store.revokeUser({ user })

      const all = [evicted!, revoked!, reused!, replaced!, swept!]
      expect(await heard(test.store, cursor, [...all, session.sid])).toEqual([
        revocation(evicted!),
        revocation(revoked!),
        revocation(reused!),
        { sid: swept!.sid, ver: 1 },
        revocation(replaced!),
        { sid: swept!.sid, ver: 2 },
        { sid: session.sid, ver: Infinity },
        revocation(swept!),
      ] satisfies FeedEntry[])
    })

    it('has nothing of what changes no right: logins, checks, rotations, replays, data', async () => {
      const cursor = await feedEnd(test.store)
      const session = await open(test.store)
      const { sid } = session
      test.clock.advance(MINUTE)
      await check(test.store, sid, { generation: 0 })
      const { attemptHash } = refresh(session)
      await test.store.rotate(refresh(session, { attemptHash }))
      await test.store.rotate(refresh(session, { attemptHash }))
      await test.store.rotate(refresh(session, { generation: 5 }))
      await test.store.rotate(refresh(session, { seedHash: hash() }))
      await test.store.update({ sid, dataVer: 0, data: {} })
      await test.store.prune()
      expect(await heard(test.store, cursor, [session])).toEqual([])
    })

    it('reads all that is retained from null, and is complete', async () => {
      const session = await open(test.store)
      await test.store.revoke({ sid: session.sid })
      expect(await heard(test.store, null, [session])).toEqual([revocation(session)])
      expect((await readOn(test.store, null)).complete).toBe(true)
    })

    it('reads on after the cursor: what is appended later is delivered', async () => {
      const sessions = await parallel(20, () => open(test.store))
      let cursor = await feedEnd(test.store)
      for (const session of sessions) {
        await test.store.revoke({ sid: session.sid })
        const page = await wait(cursor, 0)
        expect(page).toMatchObject({ complete: true, rolledBack: false, more: false })
        expect(page.entries).toContainEqual(revocation(session))
        cursor = page.cursor
      }
    })

    it('gives the same to who reads again, and to everybody', async () => {
      const session = await open(test.store)
      const cursor = await feedEnd(test.store)
      await test.store.revoke({ sid: session.sid })
      for (let reader = 0; reader < 3; reader++) {
        expect(await heard(test.store, cursor, [session])).toEqual([revocation(session)])
      }
    })

    it('gives 300 entries to who reads on while there is more', async () => {
      const sessions = await parallel(300, () => open(test.store))
      const cursor = await feedEnd(test.store)
      await parallel(300, (index) => test.store.revoke({ sid: sessions[index]!.sid }))
      const entries = await heard(test.store, cursor, sessions)
      expect(sorted(entries.map(({ sid }) => sid))).toEqual(sorted(sids(sessions)))
    })

    it("says the store's time", async () => {
      test.clock.advance(1234)
      expect((await wait(null, 0)).now).toBe(test.clock.now())
    })

    it('answers at once when there is something to read, however long it may wait', async () => {
      const session = await open(test.store)
      const cursor = await feedEnd(test.store)
      await test.store.revoke({ sid: session.sid })
      const { entries } = await wait(cursor, 60_000)
      expect(entries).toContainEqual(revocation(session))
    })

    it('wakes all who wait when something is appended', async () => {
      const session = await open(test.store)
      const cursor = await feedEnd(test.store)
      const waiting = parallel(3, () => follow(cursor, [session.sid]))
      await new Promise((resolve) => setTimeout(resolve, 20))
      const startedAt = loopTime()
      await test.store.revoke({ sid: session.sid })
      expect(await waiting).toEqual([[session.sid], [session.sid], [session.sid]])
      expect(loopTime() - startedAt).toBeLessThan(5000)
    })

    it('answers with nothing new when the wait is over, and the cursor stays good', async () => {
      const session = await open(test.store)
      const cursor = await feedEnd(test.store)
      const page = await wait(cursor, 30)
      expect(page).toMatchObject({ complete: true, more: false })
      await test.store.revoke({ sid: session.sid })
      expect(await heard(test.store, page.cursor, [session])).toEqual([revocation(session)])
    })

    it('ends the wait at the signal', async () => {
      const cursor = await feedEnd(test.store)
      const controller = new AbortController()
      const startedAt = loopTime()
      setTimeout(() => controller.abort(), 20)
      const page = await wait(cursor, 60_000, controller.signal)
      expect(page.complete).toBe(true)
      expect(loopTime() - startedAt).toBeLessThan(5000)
    })

    it('does not wait when the signal was given before', async () => {
      const session = await open(test.store)
      const cursor = await feedEnd(test.store)
      const page = await wait(cursor, 60_000, AbortSignal.abort())
      expect(page.complete).toBe(true)
      await test.store.revoke({ sid: session.sid })
      expect(await heard(test.store, page.cursor, [session])).toEqual([revocation(session)])
    })

    it('reads all that is retained from a cursor it did not give out, and is not complete', async () => {
      const session = await open(test.store)
      await test.store.revoke({ sid: session.sid })
      for (const cursor of [...ODD_CURSORS, '0', '-1', '999999999999', 'x.1', random()]) {
        const { complete, entries } = await readOn(test.store, cursor)
        expect([cursor, complete]).toEqual([cursor, false])
        expect(entries).toContainEqual(revocation(session))
      }
    })

    it('loses nothing for followers while 60 sessions end in parallel', async () => {
      const sessions = await parallel(60, () => open(test.store))
      const cursor = await feedEnd(test.store)
      const [first, second] = await Promise.all([
        follow(cursor, sids(sessions)),
        follow(cursor, sids(sessions)),
        parallel(60, (index) => test.store.revoke({ sid: sessions[index]!.sid })),
      ])
      expect(sorted(first)).toEqual(sorted(sids(sessions)))
      expect(sorted(second)).toEqual(sorted(first))
    })
  })

  describe('close', () => {
    it('makes further calls reject, and a wait end', async () => {
      const session = await open(test.store)
      const { sid, user } = session
      const cursor = await feedEnd(test.store)
      const waiting = wait(cursor, 60_000).then(
        () => 'over',
        () => 'over',
      )
      await test.store.close()
      expect(await waiting).toBe('over')
      const signal = AbortSignal.abort()
      for (const call of [
        () => test.store.create(login(newSession(user))),
        () => test.store.replace(replacement(session, newSession(user))),
        () => check(test.store, sid),
        () => test.store.rotate(refresh(session)),
        () => test.store.update({ sid, dataVer: 0, data: null }),
        () => test.store.revoke({ sid }),
        () => test.store.revokeUser({ user }),
        () => test.store.list({ user, limit: 1 }),
        () => test.store.deny({ sid, jti: 'x', expiresAt: Infinity }),
        () => test.store.isDenied({ sid, jti: 'x' }),
        () => test.store.limit.take('x', 1, 1),
        () => test.store.audit.append([]),
        () => test.store.audit.query({ limit: 1 }),
        () => test.store.keys.load(),
        () => test.store.keys.save(0, ''),
        () => test.store.feed.read({ cursor, waitMs: 0, signal }),
        () => test.store.prune(),
        () => test.store.inspect(),
      ]) {
        await expect(call()).rejects.toThrow()
      }
      await expect(test.store.close()).resolves.toBeUndefined()
    })
  })
}
