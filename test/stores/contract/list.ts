import { describe, expect, it } from '@jest/globals'
import type { UserRef } from '../../../lib/user.ts'
import type { StoreInUse } from './support.ts'
import { check, listed, MINUTE, newUser, open, openMany, refresh, sids } from './support.ts'

/** Texts no page gave out. */
export const ODD_CURSORS = [
  '',
  'x',
  '%',
  '..',
  '😀',
  "' or 1=1 --",
  '{x}',
  'null',
  '[]',
  'x'.repeat(4096),
]

export function describeList(test: StoreInUse): void {
  /** Walks all pages; `between` runs after each. */
  async function walk(
    user: UserRef,
    limit: number,
    between: () => Promise<unknown> = async () => undefined,
  ): Promise<string[][]> {
    const pages: string[][] = []
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await test.store.list({
        user,
        limit,
        ...(cursor === undefined ? {} : { cursor }),
      })
      pages.push(sids(page.items))
      cursor = page.next
      await between()
      if (pages.length > 50) throw new Error('the walk does not end')
    }
    return pages
  }

  describe('list', () => {
    it('is empty for a user without sessions', async () => {
      expect(await test.store.list({ user: newUser(), limit: 100 })).toEqual({
        items: [],
        next: null,
      })
    })

    it('gives the most recently active first', async () => {
      const user = newUser()
      const [first, second, third] = await openMany(test, user, 3)
      test.clock.advance(MINUTE)
      await check(test.store, second!.sid)
      test.clock.advance(MINUTE)
      await test.store.rotate(refresh(first!))
      expect(await listed(test.store, user)).toEqual([first!.sid, second!.sid, third!.sid])
    })

    it('is paged: every session once, in order, and no cursor on the last page', async () => {
      const user = newUser()
      const sessions = sids(await openMany(test, user, 10)).toReversed()
      await open(test.store, { ...user, tenant: 'acme' })
      for (const limit of [1, 3, 5, 10, 100]) {
        const pages = await walk(user, limit)
        expect(pages).toHaveLength(Math.ceil(10 / limit))
        expect(pages.flat()).toEqual(sessions)
      }
    })

    it('gives every session once when all were last active in the same millisecond', async () => {
      const user = newUser()
      const sessions: string[] = []
      while (sessions.length < 10) sessions.push((await open(test.store, user)).sid)
      const pages = await walk(user, 3)
      expect(pages.flat().toSorted()).toEqual(sessions.toSorted())
    })

    it('shows no session twice, and all that stay quiet, while others are touched or end', async () => {
      const user = newUser()
      const sessions = sids(await openMany(test, user, 12))
      const [busy, ended, ...quiet] = sessions
      test.clock.advance(MINUTE)
      const pages = await walk(user, 3, async () => {
        test.clock.advance(MINUTE)
        await check(test.store, busy!)
        await test.store.revoke({ sid: ended! })
        await open(test.store, user)
      })
      const seen = pages.flat()
      expect(new Set(seen).size).toBe(seen.length)
      expect(seen).toEqual(expect.arrayContaining(quiet))
    })

    it('answers an empty last page to a cursor no page gave out', async () => {
      const { user } = await open(test.store)
      for (const cursor of ODD_CURSORS) {
        const page = await test.store.list({ user, limit: 10, cursor })
        expect([cursor, page]).toEqual([cursor, { items: [], next: null }])
      }
    })

    it("shows nothing of another user's sessions by their cursor", async () => {
      const [user, other] = [newUser(), newUser()]
      await openMany(test, other, 3)
      const mine = sids(await openMany(test, user, 3))
      const { next } = await test.store.list({ user, limit: 1 })
      const page = await test.store.list({ user: other, limit: 100, cursor: next! })
      expect(sids(page.items).filter((sid) => mine.includes(sid))).toEqual([])
    })
  })
}
