import { describe, expect, it } from '@jest/globals'
import type { SessionRecord } from '../../../lib/session.ts'
import type { Store } from '../../../lib/store.ts'
import type { StoreInUse } from './support.ts'
import {
  check,
  feedEnd,
  heard,
  HOUR,
  listed,
  MINUTE,
  newSession,
  newUser,
  open,
  read,
  refresh,
  replacement,
} from './support.ts'

type Operation = (store: Store, session: SessionRecord) => Promise<{ readonly outcome: string }>

/** Every operation that finds a session; none of them may bring one back. */
const OPERATIONS: readonly (readonly [string, Operation])[] = [
  ['check', (store, { sid }) => store.check({ sid, idleTimeoutMs: HOUR })],
  ['rotate', (store, session) => store.rotate(refresh(session))],
  ['rotate of an old token', (store, session) => store.rotate(refresh(session, { generation: 0 }))],
  [
    'update of attributes',
    (store, { sid, ver, attributes }) => store.update({ sid, ver, attributes }),
  ],
  ['update of data', (store, { sid, dataVer }) => store.update({ sid, dataVer, data: {} })],
  ['revoke', (store, { sid }) => store.revoke({ sid })],
  ['replace', (store, session) => store.replace(replacement(session, newSession(session.user)))],
]

const IDLE = 20 * MINUTE
const lifetimes = { idleTimeoutMs: IDLE, absoluteTimeoutMs: 30 * MINUTE }

export function describeLifetime(test: StoreInUse): void {
  /** A session whose next deadline is the named one. */
  async function openUntil(deadline: string): Promise<SessionRecord> {
    const session = await open(test.store, newUser(), { lifetimes })
    if (deadline === 'idle') return session
    test.clock.advance(IDLE - 1)
    await test.store.check({ sid: session.sid, idleTimeoutMs: IDLE })
    return read(test.store, session)
  }

  describe.each(['idle', 'absolute'] as const)(
    'a session whose %s deadline is reached',
    (which) => {
      it.each(OPERATIONS)('exists for %s one millisecond before', async (_, operation) => {
        const session = await openUntil(which)
        test.clock.set(session[`${which}Deadline`] - 1)
        expect(await operation(test.store, session)).not.toEqual({ outcome: 'gone' })
      })

      it.each(OPERATIONS)('does not exist for %s', async (_, operation) => {
        const session = await openUntil(which)
        const cursor = await feedEnd(test.store)
        test.clock.set(session[`${which}Deadline`])
        expect(await operation(test.store, session)).toEqual({ outcome: 'gone' })
        expect(await listed(test.store, session.user)).toEqual([])
        expect(await heard(test.store, cursor, [session])).toEqual([])
      })

      it('is not listed and not named by revokeUser', async () => {
        const session = await openUntil(which)
        test.clock.set(session[`${which}Deadline`] - 1)
        expect(await listed(test.store, session.user)).toEqual([session.sid])
        test.clock.advance(1)
        expect(await listed(test.store, session.user)).toEqual([])
        expect(await test.store.revokeUser({ user: session.user })).toEqual({ revoked: [] })
      })
    },
  )

  describe('a session that is no more', () => {
    it.each(OPERATIONS)('is not made to exist by %s', async (_, operation) => {
      const session = await open(test.store)
      await test.store.revoke({ sid: session.sid })
      const cursor = await feedEnd(test.store)
      expect(await operation(test.store, session)).toEqual({ outcome: 'gone' })
      expect(await listed(test.store, session.user)).toEqual([])
      expect(await check(test.store, session.sid)).toBe('gone')
      expect(await heard(test.store, cursor, [session])).toEqual([])
    })

    it.each(OPERATIONS)('is not made to exist by %s when it never was', async (_, operation) => {
      const session = await open(test.store)
      const unknown = { ...session, sid: newSession(session.user).sid }
      expect(await operation(test.store, unknown)).toEqual({ outcome: 'gone' })
      expect(await listed(test.store, session.user)).toEqual([session.sid])
      expect(await read(test.store, session)).toEqual(session)
    })

    it.each(OPERATIONS)('stays ended when a revocation races %s', async (_, operation) => {
      for (let round = 0; round < 10; round++) {
        const session = await open(test.store)
        const { sid, user } = session
        await Promise.all([
          operation(test.store, session),
          test.store.revoke({ sid }),
          operation(test.store, session),
        ])
        expect(await check(test.store, sid)).toBe('gone')
        expect(await listed(test.store, user)).not.toContain(sid)
      }
    })
  })

  describe('prune', () => {
    it('removes what is over and nothing else', async () => {
      const user = newUser()
      for (let count = 0; count < 3; count++) await open(test.store, user, { lifetimes })
      const alive = await open(test.store, user)
      test.clock.advance(30 * MINUTE)
      const removed = await test.store.prune()
      expect(Number.isSafeInteger(removed) && removed >= 0).toBe(true)
      expect(await listed(test.store, user)).toEqual([alive.sid])
      expect(await read(test.store, alive)).toEqual(alive)
    })
  })

  describe('inspect', () => {
    it('gives findings with a code and a sentence', async () => {
      const findings = await test.store.inspect()
      const wrong = findings.filter(
        ({ code, message }) => !/^[a-z_]+$/.test(code) || message.length < 10,
      )
      expect(wrong).toEqual([])
    })
  })
}
