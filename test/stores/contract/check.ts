import { describe, expect, it } from '@jest/globals'
import type { SessionRecord } from '../../../lib/session.ts'
import type { CheckInput } from '../../../lib/store.ts'
import type { StoreInUse } from './support.ts'
import {
  check,
  feedEnd,
  hash,
  heard,
  HOUR,
  LIFETIMES,
  MINUTE,
  newSid,
  newUser,
  open,
  parallel,
  random,
  read,
  refresh,
} from './support.ts'

export function describeCheck(test: StoreInUse): void {
  async function seen(
    { sid }: SessionRecord,
    fields: Partial<CheckInput> = {},
  ): Promise<SessionRecord> {
    const { idleTimeoutMs } = LIFETIMES
    const result = await test.store.check({ sid, idleTimeoutMs, ...fields })
    if (result.outcome !== 'alive') throw new Error(`the check gave ${result.outcome}`)
    return result.session
  }

  async function denied({ sid }: SessionRecord, jti: string): Promise<boolean> {
    const result = await test.store.check({ sid, jti, idleTimeoutMs: HOUR })
    return result.outcome === 'alive' && result.denied
  }

  describe('check', () => {
    it('finds a live session, by its id alone or with its seed', async () => {
      const session = await open(test.store)
      const { sid, seedHash } = session
      const { idleTimeoutMs } = LIFETIMES
      const alive = { outcome: 'alive', session, denied: false }
      expect(await test.store.check({ sid, idleTimeoutMs })).toEqual(alive)
      expect(await test.store.check({ sid, seedHash, idleTimeoutMs })).toEqual(alive)
    })

    it('answers invalid when the seed differs, and writes nothing', async () => {
      const session = await open(test.store)
      test.clock.advance(HOUR)
      const fields = { seedHash: hash(), generation: 0 }
      expect(await check(test.store, session.sid, fields)).toBe('invalid')
      expect(await read(test.store, session)).toEqual(session)
    })

    it('writes the touch at most once a minute', async () => {
      const session = await open(test.store)
      test.clock.advance(MINUTE - 1)
      expect(await seen(session)).toEqual(session)
      test.clock.advance(1)
      const now = test.clock.now()
      const touched = {
        ...session,
        lastSeenAt: now,
        idleDeadline: now + LIFETIMES.idleTimeoutMs,
      }
      expect(await seen(session)).toEqual(touched)
      test.clock.advance(MINUTE - 1)
      expect(await seen(session)).toEqual(touched)
      expect(await read(test.store, session)).toEqual(touched)
    })

    it('writes the touch after half of a short idle timeout, so that use keeps a session alive', async () => {
      const lifetimes = { idleTimeoutMs: 10_000, absoluteTimeoutMs: HOUR }
      const session = await open(test.store, newUser(), { lifetimes })
      const { idleTimeoutMs } = lifetimes
      test.clock.advance(4999)
      expect(await seen(session, { idleTimeoutMs })).toEqual(session)
      for (let use = 0; use < 5; use++) {
        test.clock.advance(5000)
        const { lastSeenAt, idleDeadline } = await seen(session, { idleTimeoutMs })
        expect([lastSeenAt, idleDeadline]).toEqual([
          test.clock.now(),
          test.clock.now() + idleTimeoutMs,
        ])
      }
    })

    it('clamps the idle deadline to the absolute one', async () => {
      const lifetimes = { idleTimeoutMs: HOUR, absoluteTimeoutMs: 90 * MINUTE }
      const session = await open(test.store, newUser(), { lifetimes })
      test.clock.advance(HOUR - 1)
      const touched = await seen(session, { idleTimeoutMs: HOUR })
      expect(touched.idleDeadline).toBe(session.absoluteDeadline)
      expect(touched.absoluteDeadline).toBe(session.absoluteDeadline)
    })

    it('writes the confirmation when the generation is the current one', async () => {
      const session = await open(test.store)
      test.clock.advance(1)
      await test.store.rotate(refresh(session))
      for (const generation of [undefined, 0, 2]) {
        const fields = generation === undefined ? {} : { generation }
        expect((await seen(session, fields)).confirmed).toBe(false)
      }
      const rotated = await read(test.store, session)
      expect(await seen(session, { generation: 1 })).toEqual({ ...rotated, confirmed: true })
      expect(await seen(session)).toEqual({ ...rotated, confirmed: true })
      expect(await seen(session, { generation: 0 })).toEqual({ ...rotated, confirmed: true })
    })

    it('writes touch and confirmation at once', async () => {
      const session = await open(test.store)
      test.clock.advance(MINUTE)
      const lastSeenAt = test.clock.now()
      expect(await seen(session, { generation: 0 })).toMatchObject({ confirmed: true, lastSeenAt })
      expect(await read(test.store, session)).toMatchObject({ confirmed: true, lastSeenAt })
    })

    it('writes neither with peek, nor for a denied token', async () => {
      const session = await open(test.store)
      const { sid } = session
      await test.store.deny({ sid, jti: 'denied', expiresAt: test.clock.now() + HOUR })
      test.clock.advance(MINUTE)
      expect(await seen(session, { generation: 0, peek: true })).toEqual(session)
      expect(await seen(session, { generation: 0, jti: 'denied' })).toEqual(session)
      expect(await read(test.store, session)).toEqual(session)
    })

    it('never appends to the feed', async () => {
      const session = await open(test.store)
      const cursor = await feedEnd(test.store)
      test.clock.advance(MINUTE)
      await check(test.store, session.sid, { generation: 0 })
      await check(test.store, session.sid, { seedHash: hash() })
      expect(await heard(test.store, cursor, [session])).toEqual([])
    })

    it('loses no write of a rotation or an update that comes at the same time', async () => {
      for (let round = 0; round < 10; round++) {
        const session = await open(test.store)
        const { sid, ver, dataVer, attributes } = session
        test.clock.advance(MINUTE)
        await Promise.all([
          parallel(5, () => check(test.store, sid, { generation: 0 })),
          test.store.rotate(refresh(session)),
          test.store.update({ sid, ver, attributes: { ...attributes, roles: ['writer'] } }),
          test.store.update({ sid, dataVer, data: { kept: true } }),
          parallel(5, () => check(test.store, sid, { generation: 0 })),
        ])
        expect(await read(test.store, session)).toMatchObject({
          generation: 1,
          confirmed: false,
          ver: 1,
          attributes: { roles: ['writer'] },
          dataVer: 1,
          data: { kept: true },
          lastSeenAt: test.clock.now(),
        })
      }
    })
  })

  describe('deny', () => {
    it('refuses one token until its end, and the session lives on', async () => {
      const session = await open(test.store)
      const { sid } = session
      const jti = random()
      const expiresAt = test.clock.now() + 15 * MINUTE
      await test.store.deny({ sid, jti, expiresAt })
      expect(await denied(session, jti)).toBe(true)
      expect(await denied(session, random())).toBe(false)
      expect(await check(test.store, sid)).toBe('alive')
      test.clock.set(expiresAt - 1)
      expect(await denied(session, jti)).toBe(true)
      test.clock.set(expiresAt)
      expect(await denied(session, jti)).toBe(false)
    })

    it('refuses the token of this session only', async () => {
      const [session, other] = [await open(test.store), await open(test.store)]
      const jti = random()
      await test.store.deny({ sid: session.sid, jti, expiresAt: test.clock.now() + MINUTE })
      expect(await denied(other, jti)).toBe(false)
    })

    it('twice is no error, and the later end counts', async () => {
      const session = await open(test.store)
      const { sid } = session
      const jti = random()
      const now = test.clock.now()
      for (const end of [now + 60, now + 90, now + 30]) {
        await test.store.deny({ sid, jti, expiresAt: end })
      }
      test.clock.advance(89)
      expect(await denied(session, jti)).toBe(true)
      test.clock.advance(1)
      expect(await denied(session, jti)).toBe(false)
    })

    it('is no error when the session is gone or the token is over', async () => {
      const session = await open(test.store)
      const { sid } = session
      const jti = random()
      await test.store.deny({ sid, jti, expiresAt: test.clock.now() - 1 })
      expect(await denied(session, jti)).toBe(false)
      await test.store.revoke({ sid })
      await test.store.deny({ sid, jti, expiresAt: test.clock.now() + MINUTE })
      expect(await check(test.store, sid, { jti })).toBe('gone')
    })

    it('keeps apart tokens with odd names', async () => {
      const session = await open(test.store)
      const { sid } = session
      const expiresAt = test.clock.now() + MINUTE
      const odd = ['*', '{x}', 'a:b', 'a.b', "';--", '😀', '__proto__']
      for (const jti of odd) {
        expect(await denied(session, jti)).toBe(false)
        await test.store.deny({ sid, jti, expiresAt })
        expect(await denied(session, jti)).toBe(true)
      }
    })

    it('is in the feed as a revocation of the jti, and of nothing else', async () => {
      const session = await open(test.store)
      const { sid } = session
      const cursor = await feedEnd(test.store)
      const [jti, expiresAt] = [random(), test.clock.now() + MINUTE]
      await test.store.deny({ sid, jti, expiresAt })
      expect(await heard(test.store, cursor, [jti])).toEqual([{ sid: jti, ver: Infinity }])
      expect(await heard(test.store, cursor, [session])).toEqual([])
      const after = await feedEnd(test.store)
      await test.store.deny({ sid, jti, expiresAt })
      expect(await heard(test.store, after, [jti])).toEqual([{ sid: jti, ver: Infinity }])
    })

    it('appends nothing for a token that is over, nor for a name the feed does not take', async () => {
      const session = await open(test.store)
      const { sid } = session
      const cursor = await feedEnd(test.store)
      const now = test.clock.now()
      const jti = random()
      await test.store.deny({ sid, jti, expiresAt: now })
      const odd = [`x ${sid}`, `x.1`, '']
      for (const name of odd) await test.store.deny({ sid, jti: name, expiresAt: now + MINUTE })
      expect(await heard(test.store, cursor, [jti, sid, 'x', ...odd])).toEqual([])
    })
  })

  describe('isDenied', () => {
    it('says of a token without a session whether it is denied, until its end', async () => {
      const jti = newSid(newUser())
      const other = newSid(newUser())
      const expiresAt = test.clock.now() + MINUTE
      const isDenied = async (name: string) => test.store.isDenied({ sid: name, jti: name })
      expect(await isDenied(jti)).toBe(false)
      await test.store.deny({ sid: jti, jti, expiresAt })
      expect([await isDenied(jti), await isDenied(other)]).toEqual([true, false])
      test.clock.set(expiresAt - 1)
      expect(await isDenied(jti)).toBe(true)
      test.clock.set(expiresAt)
      expect(await isDenied(jti)).toBe(false)
    })

    it('keeps apart the tokens of two sessions', async () => {
      const [session, other] = [await open(test.store), await open(test.store)]
      const jti = random()
      await test.store.deny({ sid: session.sid, jti, expiresAt: test.clock.now() + MINUTE })
      expect(await test.store.isDenied({ sid: session.sid, jti })).toBe(true)
      expect(await test.store.isDenied({ sid: other.sid, jti })).toBe(false)
    })
  })
}
