import { describe, expect, it } from '@jest/globals'
import type { AuditEvent, AuditQuery } from '../../../lib/store.ts'
import { ODD_CURSORS } from './list.ts'
import type { StoreInUse } from './support.ts'
import { feedEnd, heard, MINUTE, newUser, parallel, random } from './support.ts'

export function describeLimit(test: StoreInUse): void {
  describe('limit.take', () => {
    it('adds the cost to the counter of the key and says when it starts anew', async () => {
      const key = random()
      expect(await test.store.limit.take(key, 1, MINUTE)).toEqual({ used: 1, resetsInMs: MINUTE })
      test.clock.advance(1000)
      expect(await test.store.limit.take(key, 5, MINUTE)).toEqual({ used: 6, resetsInMs: 59_000 })
      expect(await test.store.limit.take(key, 0, MINUTE)).toEqual({ used: 6, resetsInMs: 59_000 })
    })

    it('starts anew when the window has passed since the first take, not since the last', async () => {
      const key = random()
      await test.store.limit.take(key, 3, MINUTE)
      test.clock.advance(MINUTE - 1)
      expect(await test.store.limit.take(key, 1, MINUTE)).toEqual({ used: 4, resetsInMs: 1 })
      test.clock.advance(1)
      expect(await test.store.limit.take(key, 1, MINUTE)).toEqual({ used: 1, resetsInMs: MINUTE })
    })

    it('gives back what a negative cost says, and keeps the end of the window', async () => {
      const key = random()
      await test.store.limit.take(key, 3, MINUTE)
      test.clock.advance(1000)
      expect(await test.store.limit.take(key, -1, MINUTE)).toEqual({ used: 2, resetsInMs: 59_000 })
      expect(await test.store.limit.take(key, -2, 2 * MINUTE)).toEqual({
        used: 0,
        resetsInMs: 59_000,
      })
      expect(await test.store.limit.take(key, 1, 1000)).toEqual({ used: 1, resetsInMs: 59_000 })
    })

    it('counts each key by itself, byte-exact', async () => {
      const unique = random()
      for (const odd of ['', '*', '{x}', ':', "';--", '😀', '\u00e9', 'e\u0301', '__proto__']) {
        expect(await test.store.limit.take(unique + odd, 1, MINUTE)).toMatchObject({ used: 1 })
      }
    })

    it('counts every one of 50 parallel takes', async () => {
      const key = random()
      const states = await parallel(50, () => test.store.limit.take(key, 1, MINUTE))
      const used = states.map((state) => state.used).toSorted((a, b) => a - b)
      expect(used).toEqual(Array.from({ length: 50 }, (_, index) => index + 1))
    })
  })
}

export function describeAudit(test: StoreInUse): void {
  function event(fields: Partial<AuditEvent> = {}): AuditEvent {
    return { type: 'authn_login_success', at: test.clock.now(), result: 'success', ...fields }
  }

  async function walk(query: AuditQuery): Promise<AuditEvent[][]> {
    const pages: AuditEvent[][] = []
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await test.store.audit.query(cursor === undefined ? query : { ...query, cursor })
      pages.push([...page.items])
      cursor = page.next
      if (pages.length > 50) throw new Error('the walk does not end')
    }
    return pages
  }

  describe('audit', () => {
    it('keeps an event with all it says', async () => {
      const user = newUser('acme')
      const full = event({
        user,
        actor: newUser(),
        result: 'failure',
        sessionId: random(),
        ip: '2001:db8::1',
        userAgent: 'Mozilla/5.0 "😀" \\',
        cause: 'reused',
        detail: { distance: 2, list: [], __proto__x: null },
      })
      await test.store.audit.append([full])
      expect(await test.store.audit.query({ user, limit: 10 })).toEqual({
        items: [full],
        next: null,
      })
    })

    it('keeps what an event does not say unsaid', async () => {
      const type = random()
      await test.store.audit.append([event({ type })])
      const { items } = await test.store.audit.query({ type, limit: 10 })
      expect(items.map((item) => Object.keys(item).toSorted())).toEqual([['at', 'result', 'type']])
    })

    it('appends none without an error', async () => {
      await expect(test.store.audit.append([])).resolves.toBeUndefined()
    })

    it('gives the newest first', async () => {
      const user = newUser()
      await test.store.audit.append([event({ user, cause: 'a' }), event({ user, cause: 'b' })])
      await test.store.audit.append([event({ user, cause: 'c' })])
      const { items } = await test.store.audit.query({ user, limit: 10 })
      expect(items.map(({ cause }) => cause)).toEqual(['c', 'b', 'a'])
    })

    it('gives events that match every given field', async () => {
      const [user, other] = [newUser(), newUser()]
      const [session, type] = [random(), random()]
      const at = test.clock.now()
      await test.store.audit.append([
        event({ user, type, sessionId: session, at, cause: 'all' }),
        event({ user: other, type, sessionId: session, at, cause: 'user' }),
        event({ user: { ...user, tenant: 'acme' }, type, sessionId: session, at, cause: 'tenant' }),
        event({ type, sessionId: session, at, cause: 'nobody' }),
        event({ user, type, sessionId: random(), at, cause: 'session' }),
        event({ user, type: random(), sessionId: session, at, cause: 'type' }),
        event({ user, type, sessionId: session, at: at - 1, cause: 'before' }),
        event({ user, type, sessionId: session, at: at + 1, cause: 'after' }),
      ])
      async function found(query: Omit<AuditQuery, 'limit'>): Promise<string[]> {
        const { items } = await test.store.audit.query({ limit: 100, ...query })
        return items.map(({ cause }) => cause ?? '').toSorted()
      }
      const all = { user, type, sessionId: session, from: at, to: at + 1 }
      expect(await found(all)).toEqual(['all'])
      expect(await found({ user })).toEqual(['after', 'all', 'before', 'session', 'type'])
      expect(await found({ type, user: other })).toEqual(['user'])
      expect(await found({ user, sessionId: session })).toEqual(['after', 'all', 'before', 'type'])
      expect(await found({ user, type, from: at })).toEqual(['after', 'all', 'session'])
      expect(await found({ user, type, to: at })).toEqual(['before'])
      expect(await found({ sessionId: session, type, to: at })).toEqual(['before'])
    })

    it('is paged, and events that come in meanwhile shift nothing', async () => {
      const user = newUser()
      const events = Array.from({ length: 25 }, (_, index) => event({ user, cause: `${index}` }))
      await test.store.audit.append(events)
      const expected = events.map(({ cause }) => cause).toReversed()
      const pages = await walk({ user, limit: 10 })
      expect(pages.map(({ length }) => length)).toEqual([10, 10, 5])
      expect(pages.flat().map(({ cause }) => cause)).toEqual(expected)

      const first = await test.store.audit.query({ user, limit: 10 })
      await test.store.audit.append([event({ user, cause: 'late' })])
      const second = await test.store.audit.query({ user, limit: 10, cursor: first.next! })
      expect(second.items.map(({ cause }) => cause)).toEqual(expected.slice(10, 20))
    })

    it('has no cursor after the last event, also when the page is just full', async () => {
      const user = newUser()
      await test.store.audit.append([event({ user }), event({ user })])
      expect((await test.store.audit.query({ user, limit: 2 })).next).toBeNull()
    })

    it('answers an empty last page to a cursor no page gave out', async () => {
      const user = newUser()
      await test.store.audit.append([event({ user })])
      for (const cursor of ODD_CURSORS) {
        const page = await test.store.audit.query({ user, limit: 10, cursor })
        expect([cursor, page]).toEqual([cursor, { items: [], next: null }])
      }
    })

    it('loses none of 50 parallel appends', async () => {
      const user = newUser()
      await parallel(50, () => test.store.audit.append([event({ user })]))
      expect((await test.store.audit.query({ user, limit: 100 })).items).toHaveLength(50)
    })
  })
}

/** The one thing in a store that is not named by a unique id; so only one test looks at the start. */
export function describeKeys(test: StoreInUse): void {
  describe('keys', () => {
    it('is null when none was saved, and then has versions from 1', async () => {
      expect(await test.store.keys.load()).toBeNull()
      expect(await test.store.keys.save(1, 'too early')).toBe(false)
      expect(await test.store.keys.load()).toBeNull()
      expect(await test.store.keys.save(0, 'first')).toBe(true)
      expect(await test.store.keys.load()).toEqual({ version: 1, document: 'first' })
    })

    it('saves if the stored version is still the expected one', async () => {
      const version = (await test.store.keys.load())?.version ?? 0
      const document = JSON.stringify({ keys: ["'😀'", '\u0000'], size: 'x'.repeat(20_000) })
      expect(await test.store.keys.save(version, document)).toBe(true)
      for (const expected of [version - 1, version, version + 2, 0]) {
        expect(await test.store.keys.save(expected, 'other')).toBe(false)
      }
      expect(await test.store.keys.load()).toEqual({ version: version + 1, document })
      expect(await test.store.keys.save(version + 1, '')).toBe(true)
      expect(await test.store.keys.load()).toEqual({ version: version + 2, document: '' })
    })

    it('lets exactly one of 30 parallel saves win', async () => {
      const version = (await test.store.keys.load())?.version ?? 0
      const saved = await parallel(30, (index) =>
        test.store.keys.save(version, `document ${index}`),
      )
      expect(saved.filter(Boolean)).toHaveLength(1)
      expect(await test.store.keys.load()).toEqual({
        version: version + 1,
        document: `document ${saved.indexOf(true)}`,
      })
    })

    it('tells the feed of each version that was saved, in the same step, and of nothing else', async () => {
      const version = (await test.store.keys.load())?.version ?? 0
      const cursor = await feedEnd(test.store)
      const { signal } = new AbortController()
      expect(await test.store.keys.save(version + 1, 'refused')).toBe(false)
      const waiting = test.store.feed.read({ cursor, waitMs: 10_000, signal })
      expect(await test.store.keys.save(version, 'one')).toBe(true)
      expect((await waiting).entries).toContainEqual({ sid: 'keys', ver: version + 1 })
      await parallel(10, () => test.store.keys.save(version + 1, 'two'))
      await test.store.keys.load()
      expect(await heard(test.store, cursor, ['keys'])).toEqual([
        { sid: 'keys', ver: version + 1 },
        { sid: 'keys', ver: version + 2 },
      ])
    })
  })
}
