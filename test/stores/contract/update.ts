import { describe, expect, it } from '@jest/globals'
import type { Attributes, JsonObject } from '../../../lib/session.ts'
import type { StoreInUse } from './support.ts'
import {
  check,
  feedEnd,
  heard,
  MINUTE,
  newSession,
  newUser,
  login,
  open,
  parallel,
  read,
  refresh,
  tally,
} from './support.ts'

/** JSON that loses something in careless hands: key order, own `__proto__`, `[]`, big numbers. */
const ODD_JSON: readonly string[] = [
  '{"__proto__":{"admin":true},"constructor":1,"toString":null}',
  '{"z":1,"a":2,"m":{"y":1,"b":2}}',
  '{"emptyList":[],"emptyObject":{},"nested":[[],{},[[]]],"null":null,"false":false}',
  '{"😀":"\\u0000\\u001f\\u2028 \\"quoted\\" \\\\ é é","":"empty key"}',
  '{"big":9007199254740991,"small":-9007199254740991,"fraction":0.1,"tiny":5e-324,"huge":1e+300}',
  `{"sql":"'; drop table x; -- $1 %s","lua":"return redis.call(1)","brace":"{x}"}`,
]

export function describeUpdate(test: StoreInUse): void {
  const writer: Attributes = {
    roles: ['writer', 'admin'],
    scope: ['a', 'b'],
    level: 'aal2',
    amr: [],
    claims: { plan: 'pro' },
  }

  describe('update', () => {
    it('replaces attributes, increments their version, and says so in the feed', async () => {
      const session = await open(test.store)
      const { sid } = session
      const cursor = await feedEnd(test.store)
      const expected = { ...session, ver: 1, attributes: writer }
      expect(await test.store.update({ sid, ver: 0, attributes: writer })).toEqual({
        outcome: 'updated',
        session: expected,
      })
      expect(await read(test.store, session)).toEqual(expected)
      expect(await heard(test.store, cursor, [session])).toEqual([{ sid, ver: 1 }])
      await test.store.update({ sid, ver: 1, attributes: writer })
      expect(await heard(test.store, cursor, [session])).toEqual([
        { sid, ver: 1 },
        { sid, ver: 2 },
      ])
    })

    it('replaces data, increments its version, and appends nothing', async () => {
      const session = await open(test.store)
      const { sid } = session
      const cursor = await feedEnd(test.store)
      for (const [dataVer, data] of [{ a: 1 }, null, {}].entries()) {
        const expected = { ...session, dataVer: dataVer + 1, data }
        expect(await test.store.update({ sid, dataVer, data })).toEqual({
          outcome: 'updated',
          session: expected,
        })
        expect(await read(test.store, session)).toEqual(expected)
      }
      expect(await heard(test.store, cursor, [session])).toEqual([])
    })

    it.each([1, 5])(
      'answers conflict and what is stored when the version is not %i',
      async (ver) => {
        const session = await open(test.store)
        const { sid } = session
        const cursor = await feedEnd(test.store)
        const conflict = { outcome: 'conflict', session }
        expect(await test.store.update({ sid, ver, attributes: writer })).toEqual(conflict)
        expect(await test.store.update({ sid, dataVer: ver, data: {} })).toEqual(conflict)
        expect(await read(test.store, session)).toEqual(session)
        expect(await heard(test.store, cursor, [session])).toEqual([])
      },
    )

    it('has two versions that know nothing of each other, of touch, or of rotation', async () => {
      const session = await open(test.store)
      const { sid } = session
      await test.store.update({ sid, dataVer: 0, data: { a: 1 } })
      test.clock.advance(MINUTE)
      await check(test.store, sid, { generation: 0 })
      await test.store.rotate(refresh(session))
      expect(await test.store.update({ sid, ver: 0, attributes: writer })).toMatchObject({
        outcome: 'updated',
        session: { ver: 1, dataVer: 1, generation: 1 },
      })
      expect(await test.store.update({ sid, dataVer: 1, data: null })).toMatchObject({
        outcome: 'updated',
        session: { ver: 1, dataVer: 2 },
      })
    })

    it('lets exactly one of 50 parallel updates win', async () => {
      const session = await open(test.store)
      const { sid } = session
      const attributes = await parallel(50, (index) =>
        test.store.update({ sid, ver: 0, attributes: { ...writer, level: String(index) } }),
      )
      expect(tally(attributes)).toEqual({ updated: 1, conflict: 49 })
      const data = await parallel(50, (index) =>
        test.store.update({ sid, dataVer: 0, data: { index } }),
      )
      expect(tally(data)).toEqual({ updated: 1, conflict: 49 })
      const winner = attributes.find(({ outcome }) => outcome === 'updated')
      expect(await read(test.store, session)).toMatchObject({
        ver: 1,
        dataVer: 1,
        attributes: winner && 'session' in winner ? winner.session.attributes : null,
      })
    })
  })

  describe('JSON', () => {
    it.each(ODD_JSON)('is kept to the letter: %s', async (text) => {
      const json = JSON.parse(text) as JsonObject
      const input = newSession(newUser(), {
        attributes: { ...writer, roles: [], claims: json },
        data: json,
      })
      const created = await test.store.create(login(input))
      if (created.outcome !== 'created') throw new Error('not created')
      const { session } = created
      for (const { attributes, data } of [session, await read(test.store, session)]) {
        expect(JSON.stringify([attributes.claims, data])).toBe(JSON.stringify([json, json]))
        expect(attributes.roles).toEqual([])
      }
      const { sid, attributes } = session
      await test.store.update({ sid, dataVer: 0, data: { json } })
      await test.store.update({ sid, ver: 0, attributes: { ...attributes, claims: { json } } })
      const last = await read(test.store, session)
      expect(JSON.stringify([last.attributes.claims, last.data])).toBe(
        JSON.stringify([{ json }, { json }]),
      )
    })
  })

  describe('what a store returns', () => {
    it("is the caller's: changing it changes nothing in the store", async () => {
      const session = await open(test.store)
      const before = JSON.stringify(session)
      const untouched = JSON.parse(before) as typeof session
      vandalize(session)
      const seen = await read(test.store, untouched)
      expect(JSON.stringify(seen)).toBe(before)
      vandalize(seen)
      expect(JSON.stringify(await read(test.store, untouched))).toBe(before)
    })

    it('is not what it was given: changing that changes nothing either', async () => {
      const input = structuredClone(newSession(newUser('acme'), { data: { list: [1] } }))
      const created = await test.store.create(login(input))
      if (created.outcome !== 'created') throw new Error('not created')
      const before = JSON.stringify(created.session)
      vandalize(input)
      const [stored] = (await test.store.list({ user: created.session.user, limit: 1 })).items
      expect(JSON.stringify(stored)).toBe(before)
    })
  })
}

/** Changes whatever lets itself be changed. */
function vandalize(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  for (const child of Object.values(value)) vandalize(child)
  Reflect.set(value, 'id', 'mallory')
  Reflect.set(value, 'ver', 99)
  if (Array.isArray(value) && !Object.isFrozen(value)) value.push('admin')
}
