import { describe, expect, it } from '@jest/globals'
import type { SessionRecord } from '../../../lib/session.ts'
import type { RotateInput, RotateResult } from '../../../lib/store.ts'
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
  NO_GRACE,
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

export function describeRotate(test: StoreInUse): void {
  /** Rotates and returns the session as it is then. */
  async function rotated(
    session: SessionRecord,
    fields: Partial<RotateInput> = {},
  ): Promise<SessionRecord> {
    const result = await test.store.rotate(refresh(session, fields))
    if (result.outcome !== 'rotated') throw new Error(`the rotation gave ${result.outcome}`)
    return result.session
  }

  /** Presents a token that writes nothing and says what came of it. */
  async function readOnly(
    session: SessionRecord,
    fields: Partial<RotateInput>,
  ): Promise<RotateResult> {
    const before = await read(test.store, session)
    const result = await test.store.rotate(refresh(session, fields))
    expect(await read(test.store, session)).toEqual(before)
    return result
  }

  describe('rotate', () => {
    it('rotates the current token, writes what a rotation writes, and appends nothing', async () => {
      const session = await open(test.store)
      const cursor = await feedEnd(test.store)
      await check(test.store, session.sid, { generation: 0 })
      test.clock.advance(5000)
      const attemptHash = hash()
      const result = await test.store.rotate(refresh(session, { attemptHash }))
      const now = test.clock.now()
      const expected = {
        ...session,
        generation: 1,
        rotatedAt: now,
        attemptHash,
        confirmed: false,
        lastSeenAt: now,
        idleDeadline: now + LIFETIMES.idleTimeoutMs,
      }
      expect(result).toEqual({ outcome: 'rotated', session: expected, deviceChanged: false })
      expect(await read(test.store, session)).toEqual(expected)
      expect(await heard(test.store, cursor, [session])).toEqual([])
    })

    it('says when the device changed, and keeps the one that logged in', async () => {
      const session = await open(test.store)
      const bindingHash = hash()
      expect(await test.store.rotate(refresh(session, { bindingHash }))).toMatchObject({
        outcome: 'rotated',
        deviceChanged: true,
        session: { rotatedBy: bindingHash, bindingHash: session.bindingHash },
      })
      const next = await read(test.store, session)
      expect(await test.store.rotate(refresh(next, { bindingHash: null }))).toMatchObject({
        deviceChanged: true,
        session: { rotatedBy: null },
      })
      const last = await read(test.store, session)
      expect(await test.store.rotate(refresh(last))).toMatchObject({ deviceChanged: false })
    })

    it('clamps the idle deadline to the absolute one', async () => {
      const session = await open(test.store)
      test.clock.advance(LIFETIMES.idleTimeoutMs - 1)
      const idleTimeoutMs = LIFETIMES.absoluteTimeoutMs
      const { idleDeadline, absoluteDeadline } = await rotated(session, { idleTimeoutMs })
      expect(idleDeadline).toBe(absoluteDeadline)
      expect(absoluteDeadline).toBe(session.absoluteDeadline)
    })

    it('answers invalid when the seed differs, whatever the generation', async () => {
      const session = await rotated(await open(test.store))
      test.clock.advance(HOUR)
      for (const generation of [0, 1, 2, 18]) {
        const result = await readOnly(session, { generation, seedHash: hash() })
        expect(result).toEqual({ outcome: 'invalid', cause: 'seed' })
      }
    })

    it.each([
      [1, 'recovered'],
      [16, 'recovered'],
    ])('a token %i ahead is %s: the store lost writes', async (ahead, outcome) => {
      const session = await rotated(await open(test.store))
      const generation = 1 + ahead
      const result = await test.store.rotate(refresh(session, { generation }))
      expect(result).toMatchObject({ outcome, session: { generation: generation + 1 } })
      expect((await read(test.store, session)).generation).toBe(generation + 1)
    })

    it('answers invalid to a token further ahead', async () => {
      const session = await rotated(await open(test.store))
      for (const generation of [18, 2 ** 31 - 1]) {
        const result = await readOnly(session, { generation })
        expect(result).toEqual({ outcome: 'invalid', cause: 'ahead' })
      }
    })

    it('replays the predecessor to the same attempt at any time, without any grace', async () => {
      const attemptHash = hash()
      const session = await rotated(await open(test.store), { attemptHash })
      test.clock.advance(HOUR)
      const fields = { generation: 0, attemptHash, bindingHash: hash(), policy: NO_GRACE }
      expect(await readOnly(session, fields)).toEqual({
        outcome: 'replayed',
        cause: 'attempt',
        session,
      })
    })

    it('replays the predecessor to the same device within the grace', async () => {
      const session = await rotated(await open(test.store))
      test.clock.advance(9999)
      expect(await readOnly(session, { generation: 0 })).toEqual({
        outcome: 'replayed',
        cause: 'grace',
        session,
      })
      test.clock.advance(1)
      const result = await test.store.rotate(refresh(session, { generation: 0 }))
      expect(result.outcome).toBe('reused')
    })

    it('takes no binding and no binding for the same device', async () => {
      const session = await rotated(await open(test.store), { bindingHash: null })
      const fields = { generation: 0, bindingHash: null }
      expect(await readOnly(session, fields)).toMatchObject({ cause: 'grace' })
      const other = await test.store.rotate(
        refresh(session, { generation: 0, bindingHash: hash() }),
      )
      expect(other.outcome).toBe('reused')
    })

    it('replays a successor nobody confirmed within the lost-response window', async () => {
      const policy = { reuseGraceMs: 10_000, lostResponseWindowMs: 5 * MINUTE }
      const session = await rotated(await open(test.store))
      test.clock.advance(5 * MINUTE - 1)
      expect(await readOnly(session, { generation: 0, policy })).toMatchObject({
        outcome: 'replayed',
        cause: 'lost_response',
      })
      await check(test.store, session.sid, { generation: 1 })
      const result = await test.store.rotate(refresh(session, { generation: 0, policy }))
      expect(result.outcome).toBe('reused')
    })

    it('ends the session on reuse and says so in the feed', async () => {
      const user = newUser()
      const [first, other] = await openMany(test, user, 2)
      const once = await rotated(first!)
      const session = await rotated(once)
      const cursor = await feedEnd(test.store)
      test.clock.advance(1500)
      expect(await test.store.rotate(refresh(session, { generation: 0 }))).toEqual({
        outcome: 'reused',
        session,
        distance: 2,
        ageMs: 1500,
        revoked: [session.sid],
      })
      expect(await heard(test.store, cursor, [session, other!])).toEqual([revocation(session)])
      expect(await listed(test.store, user)).toEqual([other!.sid])
      expect(await test.store.rotate(refresh(session))).toEqual({ outcome: 'gone' })
      const late = await test.store.create(login(newSession(user), { loginAgeMs: MINUTE }))
      expect(late.outcome).toBe('created')
    })

    it("ends all of the user's sessions on reuse when that is the policy, as revokeUser does", async () => {
      const user = newUser()
      const sessions = await openMany(test, user, 3)
      const session = await rotated(sessions[1]!)
      const bystander = await open(test.store, { ...user, tenant: 'acme' })
      const cursor = await feedEnd(test.store)
      const input = refresh(session, { generation: 0, policy: NO_GRACE, onReuse: 'user' })
      const result = await test.store.rotate(input)
      expect(sorted(result.outcome === 'reused' ? result.revoked : [])).toEqual(
        sorted(sids(sessions)),
      )
      const entries = await heard(test.store, cursor, [...sessions, bystander])
      expect(sorted(entries.map(({ sid }) => sid))).toEqual(sorted(sids(sessions)))
      expect(await listed(test.store, user)).toEqual([])
      expect(await check(test.store, bystander.sid)).toBe('alive')
      const late = await test.store.create(login(newSession(user), { loginAgeMs: 1 }))
      expect(late.outcome).toBe('stale_login')
    })

    it('finds reuse of every ancestor', async () => {
      for (let generation = 0; generation < 4; generation++) {
        let session = await open(test.store)
        for (let count = 0; count < 5; count++) session = await rotated(session)
        const result = await test.store.rotate(refresh(session, { generation }))
        expect(result).toMatchObject({ outcome: 'reused', distance: 5 - generation })
        expect(await check(test.store, session.sid)).toBe('gone')
      }
    })

    it('gives 100 parallel refreshes of one token one rotation and the same successor', async () => {
      const session = await open(test.store)
      const results = await parallel(100, () => test.store.rotate(refresh(session)))
      expect(tally(results)).toEqual({ rotated: 1, replayed: 99 })
      const generations = results.map((result) =>
        'session' in result ? result.session.generation : null,
      )
      expect(new Set(generations)).toEqual(new Set([1]))
      expect((await read(test.store, session)).generation).toBe(1)
    })

    it('gives 100 parallel sends of one attempt one rotation, also without any grace', async () => {
      const session = await open(test.store)
      const input = refresh(session, { policy: NO_GRACE })
      const results = await parallel(100, () => test.store.rotate(input))
      expect(tally(results)).toEqual({ rotated: 1, replayed: 99 })
    })

    it('finds reuse once among 100 parallel refreshes without any grace', async () => {
      const session = await open(test.store)
      const results = await parallel(100, () =>
        test.store.rotate(refresh(session, { policy: NO_GRACE })),
      )
      expect(tally(results)).toEqual({ rotated: 1, reused: 1, gone: 98 })
      expect(await check(test.store, session.sid)).toBe('gone')
    })

    it('rotates sessions of different users without regard to each other', async () => {
      const sessions = await parallel(30, () => open(test.store))
      const results = await parallel(90, async (index) => {
        const session = sessions[index % 30]!
        return test.store.rotate(refresh(session))
      })
      expect(tally(results)).toEqual({ rotated: 30, replayed: 60 })
    })
  })
}
