import { describe, expect, it } from '@jest/globals'
import type { StoreInUse } from './support.ts'
import {
  check,
  feedEnd,
  hash,
  heard,
  listed,
  MINUTE,
  newSession,
  newUser,
  open,
  openMany,
  parallel,
  read,
  replacement,
  revocation,
  tally,
  sorted,
} from './support.ts'

export function describeReplace(test: StoreInUse): void {
  describe('replace', () => {
    it('opens a session in the place of another, which is revoked in the same step', async () => {
      const user = newUser()
      const old = await open(test.store, user)
      test.clock.advance(1000)
      const cursor = await feedEnd(test.store)
      const session = newSession(user)
      const result = await test.store.replace(replacement(old, session))
      expect(result).toMatchObject({
        outcome: 'created',
        session: { sid: session.sid, authTime: test.clock.now(), generation: 0, data: null },
        revoked: [old.sid],
      })
      expect(await heard(test.store, cursor, [old, session.sid])).toEqual([revocation(old)])
      expect(await listed(test.store, user)).toEqual([session.sid])
      expect(await check(test.store, old.sid)).toBe('gone')
    })

    it('does not count the replaced session towards the limit', async () => {
      const user = newUser()
      const [kept, old] = await openMany(test, user, 2)
      const limit = { max: 2, onLimit: 'refuse' } as const
      const session = newSession(user)
      const result = await test.store.replace(replacement(old!, session, { limit }))
      expect(result).toMatchObject({ outcome: 'created', revoked: [old!.sid] })
      expect(sorted(await listed(test.store, user))).toEqual(sorted([kept!.sid, session.sid]))
    })

    it('evicts when there are too many all the same, and names evicted and replaced', async () => {
      const user = newUser()
      const [first, second, old] = await openMany(test, user, 3)
      const limit = { max: 2, onLimit: 'evict' } as const
      const session = newSession(user)
      const result = await test.store.replace(replacement(old!, session, { limit }))
      expect(sorted(result.outcome === 'created' ? result.revoked : [])).toEqual(
        sorted([first!.sid, old!.sid]),
      )
      expect(sorted(await listed(test.store, user))).toEqual(sorted([second!.sid, session.sid]))
    })

    it.each([
      [true, { cart: [1] }],
      [false, { fresh: true }],
    ])('with keepData %p the new session has the data %j', async (keepData, data) => {
      const user = newUser()
      const old = await open(test.store, user)
      await test.store.update({ sid: old.sid, dataVer: 0, data: { cart: [1] } })
      const session = newSession(user, { data: { fresh: true } })
      const result = await test.store.replace(replacement(old, session, { keepData }))
      expect(result).toMatchObject({ session: { data, dataVer: 0, ver: 0 } })
      expect(await listed(test.store, user)).toEqual([session.sid])
    })

    it('keeps that there was no data', async () => {
      const user = newUser()
      const old = await open(test.store, user)
      const session = newSession(user, { data: { fresh: true } })
      const result = await test.store.replace(replacement(old, session, { keepData: true }))
      expect(result).toMatchObject({ session: { data: null } })
    })

    it('replaces without a seed when none is given', async () => {
      const old = await open(test.store)
      const input = replacement(old, newSession(old.user), { old: { sid: old.sid } })
      expect(await test.store.replace(input)).toMatchObject({ revoked: [old.sid] })
    })

    describe.each(['gone', 'of another user', 'of another tenant', 'of another seed'] as const)(
      'when the old session is %s',
      (what) => {
        async function prepare() {
          const user = newUser()
          const owner =
            what === 'of another user'
              ? newUser()
              : { ...user, tenant: what === 'of another tenant' ? 'acme' : '' }
          const old = await open(test.store, owner)
          if (what === 'gone') await test.store.revoke({ sid: old.sid })
          const seedHash = what === 'of another seed' ? hash() : old.seedHash
          const session = newSession(user, { data: { fresh: true } })
          const input = replacement({ sid: old.sid, seedHash }, session, { keepData: true })
          return { old, input, session, user, cursor: await feedEnd(test.store) }
        }

        it("answers gone with orElse 'refuse' and changes nothing", async () => {
          const { old, input, session, cursor } = await prepare()
          expect(await test.store.replace(input)).toEqual({ outcome: 'gone' })
          expect(await check(test.store, session.sid)).toBe('gone')
          expect(await heard(test.store, cursor, [old, session.sid])).toEqual([])
          expect(await check(test.store, old.sid)).toBe(what === 'gone' ? 'gone' : 'alive')
        })

        it("opens the session all the same with orElse 'create' and leaves the old one", async () => {
          const { old, input, session, cursor } = await prepare()
          const result = await test.store.replace({ ...input, orElse: 'create' })
          expect(result).toMatchObject({ outcome: 'created', revoked: [] })
          expect(result).toMatchObject({ session: { sid: session.sid, data: { fresh: true } } })
          expect(await heard(test.store, cursor, [old, session.sid])).toEqual([])
          expect(await check(test.store, old.sid)).toBe(what === 'gone' ? 'gone' : 'alive')
        })
      },
    )

    it('counts a session it could not replace towards the limit', async () => {
      const user = newUser()
      const old = await open(test.store, user)
      const input = replacement({ sid: old.sid, seedHash: hash() }, newSession(user), {
        limit: { max: 1, onLimit: 'refuse' },
        orElse: 'create',
      })
      expect(await test.store.replace(input)).toEqual({ outcome: 'session_limit' })
      expect(await read(test.store, old)).toEqual(old)
    })

    it('refuses in this order: gone, stale_login, session_limit', async () => {
      const user = newUser()
      const [old] = await openMany(test, user, 3)
      await test.store.revokeUser({ user, except: old!.sid })
      await openMany(test, user, 2)
      const limit = { max: 2, onLimit: 'refuse' } as const
      const stale = { limit, loginAgeMs: 5 * MINUTE }
      const session = newSession(user)
      const wrong = { sid: old!.sid, seedHash: hash() }
      expect(await test.store.replace(replacement(wrong, session, stale))).toEqual({
        outcome: 'gone',
      })
      expect(await test.store.replace(replacement(old!, session, stale))).toEqual({
        outcome: 'stale_login',
      })
      await openMany(test, user, 1)
      const full = replacement(old!, session, { limit })
      expect(await test.store.replace(full)).toEqual({ outcome: 'session_limit' })
      expect(await check(test.store, old!.sid)).toBe('alive')
    })

    it('answers the session as it is when asked again', async () => {
      const old = await open(test.store)
      const input = replacement(old, newSession(old.user))
      await test.store.replace(input)
      const again = await test.store.replace(input)
      expect(again).toMatchObject({ outcome: 'created', session: { sid: input.session.sid } })
      expect(await listed(test.store, old.user)).toEqual([input.session.sid])
    })

    it('replaces a session once under 30 parallel attempts', async () => {
      const old = await open(test.store)
      const results = await parallel(30, () =>
        test.store.replace(replacement(old, newSession(old.user))),
      )
      expect(tally(results)).toEqual({ created: 1, gone: 29 })
      expect(await listed(test.store, old.user)).toHaveLength(1)
    })
  })
}
