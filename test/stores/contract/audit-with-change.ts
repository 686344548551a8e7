import { describe, expect, it } from '@jest/globals'
import type {
  AuditEvent,
  OpenAudit,
  RotateAudit,
  RotateInput,
  RotateResult,
} from '../../../lib/store.ts'
import type { SessionRecord } from '../../../lib/session.ts'
import type { UserRef } from '../../../lib/user.ts'
import type { StoreInUse } from './support.ts'
import {
  hash,
  login,
  MINUTE,
  newSession,
  newUser,
  open,
  openMany,
  parallel,
  refresh,
  replacement,
  sorted,
} from './support.ts'

export function describeAuditWithChange(test: StoreInUse): void {
  function event(type: string, fields: Partial<AuditEvent> = {}): AuditEvent {
    const request = { ip: '2001:db8::1', userAgent: 'it\'s "😀" \\ %_' }
    return { type, at: test.clock.now() - 5, result: 'success', ...request, ...fields }
  }

  /** What the trail says of a user, oldest first. */
  async function trail(user: UserRef): Promise<AuditEvent[]> {
    const { items } = await test.store.audit.query({ user, limit: 100 })
    return items.toReversed()
  }

  /** What a store that writes with the change is to have written: any other has nothing. */
  function written(...events: AuditEvent[]): AuditEvent[] {
    return test.store.audit.withChange ? events : []
  }

  function openAudit(user: UserRef, sid: string): OpenAudit {
    const actor = newUser('acme')
    return {
      evicted: event('evicted', { user, cause: 'limit' }),
      replaced: event('replaced', { user, result: 'failure', detail: { why: ['a', null] } }),
      opened: [
        event('opened', { user, sessionId: sid, actor }),
        event('logged in', { user, sessionId: sid }),
      ],
    }
  }

  const rotateAudit = (fields: Partial<RotateAudit> = {}): RotateAudit => ({
    recovered: event('recovered', { sessionId: 'A' }),
    deviceChanged: event('device', { sessionId: 'B' }),
    boundOnly: false,
    reused: event('reused', { sessionId: 'C', cause: 'why', result: 'failure' }),
    ...fields,
  })

  async function rotated(
    session: SessionRecord,
    fields: Partial<RotateInput>,
  ): Promise<RotateResult['outcome']> {
    const input = refresh(session, { audit: rotateAudit(), ...fields })
    return (await test.store.rotate(input)).outcome
  }

  describe('audit with the change', () => {
    it('tells of a session that is opened, after those that made room for it', async () => {
      const user = newUser('acme')
      const [first, second, third] = await openMany(test, user, 3)
      const session = newSession(user)
      const audit = openAudit(user, session.sid)
      const limit = { max: 2, onLimit: 'evict' } as const
      const created = await test.store.create(login(session, { limit, audit }))
      const revoked = created.outcome === 'created' ? created.revoked : []
      expect(sorted(revoked)).toEqual(sorted([first!.sid, second!.sid]))
      expect(await trail(user)).toEqual(
        written(
          { ...audit.evicted, sessionId: revoked[0]! },
          { ...audit.evicted, sessionId: revoked[1]! },
          ...audit.opened,
        ),
      )

      const next = newSession(user)
      const again = openAudit(user, next.sid)
      // One goes for the limit, one is replaced: the one that was there last.
      const input = replacement(session, next, { limit: { max: 1, onLimit: 'evict' } })
      await test.store.replace({ ...input, audit: again })
      expect((await trail(user)).slice(-4)).toEqual(
        written(
          { ...again.evicted, sessionId: third!.sid },
          { ...again.replaced, sessionId: session.sid },
          ...again.opened,
        ),
      )
    })

    it('tells of no session that was refused, nor twice of one', async () => {
      const user = newUser()
      const session = newSession(user)
      const audit = openAudit(user, session.sid)
      await test.store.create(login(session, { audit }))
      await test.store.create(login(session, { audit }))
      expect(await trail(user)).toEqual(written(...audit.opened))

      const full = { limit: { max: 1, onLimit: 'refuse' }, audit } as const
      await test.store.create(login(newSession(user), full))
      const unknown = { sid: newSession(user).sid, seedHash: hash() }
      await test.store.replace(replacement(unknown, newSession(user), { audit }))
      await test.store.revokeUser({ user })
      await test.store.create(login(newSession(user), { loginAgeMs: 1, audit }))
      expect(await trail(user)).toEqual(written(...audit.opened))
    })

    it('tells of a session that is ended whose it was, and once', async () => {
      const session = await open(test.store, newUser('acme'))
      const { sid, user } = session
      const audit = event('ended', { sessionId: sid, cause: 'logout', actor: newUser() })
      await test.store.revoke({ sid, seedHash: hash(), audit })
      await test.store.revoke({ sid, owner: newUser(), audit })
      expect(await trail(user)).toEqual([])
      await parallel(10, () => test.store.revoke({ sid, owner: user, audit }))
      expect(await trail(user)).toEqual(written({ ...audit, user }))
    })

    it('tells of a user whose sessions are ended how many there were, also of none', async () => {
      const user = newUser('acme')
      const [kept] = await openMany(test, user, 3)
      const audit = event('all ended', { user, sessionId: kept!.sid })
      await test.store.revokeUser({ user, except: kept!.sid, audit })
      await test.store.revokeUser({ user, except: kept!.sid, audit })
      expect(await trail(user)).toEqual(
        written({ ...audit, detail: { revoked: 2 } }, { ...audit, detail: { revoked: 0 } }),
      )
    })

    it('tells of attributes and data that were changed, not of a conflict', async () => {
      const session = await open(test.store)
      const { sid, user, attributes } = session
      const audit = event('changed', { user, sessionId: sid, detail: { ver: 1 } })
      const dataAudit = event('data', { user })
      await test.store.update({ sid, ver: 1, attributes, audit })
      await test.store.update({ sid, dataVer: 1, data: {}, audit: dataAudit })
      await test.store.update({ sid: newSession(user).sid, ver: 0, attributes, audit })
      expect(await trail(user)).toEqual([])
      await test.store.update({ sid, ver: 0, attributes, audit })
      await test.store.update({ sid, dataVer: 0, data: {}, audit: dataAudit })
      expect(await trail(user)).toEqual(written(audit, dataAudit))
    })

    it('tells of a refresh on another device, as far as it is asked to', async () => {
      const session = await open(test.store, newUser('acme'))
      const { user } = session
      expect(await rotated(session, {})).toBe('rotated')
      expect(await trail(user)).toEqual([])
      const other = { generation: 1, bindingHash: hash() }
      const audit = rotateAudit({ boundOnly: true })
      expect(await rotated(session, { ...other, audit })).toBe('rotated')
      const told = { ...audit.deviceChanged!, user }
      expect(await trail(user)).toEqual(written(told))
      // The same one again, and one that nobody wants to hear of.
      expect(await rotated(session, { ...other, generation: 2 })).toBe('rotated')
      const silent = rotateAudit({ deviceChanged: null })
      const third = { generation: 3, bindingHash: hash(), audit: silent }
      expect(await rotated(session, third)).toBe('rotated')
      expect(await trail(user)).toEqual(written(told))
    })

    it('tells of another device than none only where that is asked for', async () => {
      const user = newUser()
      const { sid } = newSession(user)
      const fields = { bindingHash: null, sid }
      const result = await test.store.create(login(newSession(user, fields)))
      const session = result.outcome === 'created' ? result.session : undefined
      const boundOnly = rotateAudit({ boundOnly: true })
      await rotated(session!, { bindingHash: hash(), audit: boundOnly })
      expect(await trail(user)).toEqual([])
      const any = rotateAudit()
      await rotated(session!, { generation: 1, bindingHash: hash(), audit: any })
      expect(await trail(user)).toEqual(written({ ...any.deviceChanged!, user }))
    })

    it('tells of a token that is ahead of the store, on another device too', async () => {
      const session = await open(test.store)
      const { user } = session
      const audit = rotateAudit()
      const ahead = { generation: 3, bindingHash: hash(), audit }
      expect(await rotated(session, ahead)).toBe('recovered')
      expect(await trail(user)).toEqual(
        written({ ...audit.recovered, user }, { ...audit.deviceChanged!, user }),
      )
    })

    it('tells of a token that is used again what gave the thief away', async () => {
      const session = await open(test.store, newUser('acme'))
      await rotated(session, {})
      await rotated(session, { generation: 1 })
      test.clock.advance(MINUTE)
      const audit = rotateAudit()
      expect(await rotated(session, { audit })).toBe('reused')
      const detail = { distance: 2, age_ms: MINUTE, revoked: 1 }
      const { user } = session
      expect(await trail(user)).toEqual(written({ ...audit.reused, user, detail }))
    })

    it('tells once of a reuse that ends all sessions of the user', async () => {
      const user = newUser('acme')
      const [session] = await openMany(test, user, 3)
      await rotated(session!, {})
      test.clock.advance(MINUTE)
      const audit = rotateAudit()
      expect(await rotated(session!, { audit, onReuse: 'user' })).toBe('reused')
      const detail = { distance: 1, age_ms: MINUTE, revoked: 3 }
      expect(await trail(user)).toEqual(written({ ...audit.reused, user, detail }))
    })

    it('tells of no refresh that is usual, a replay, or refused', async () => {
      const session = await open(test.store)
      const attemptHash = hash()
      const audit = rotateAudit()
      for (const onReuse of ['session', 'user'] as const) {
        const generation = onReuse === 'session' ? 0 : 1
        const fields = { generation, attemptHash, onReuse, audit }
        expect(await rotated(session, fields)).toBe('rotated')
        expect(await rotated(session, fields)).toBe('replayed')
        expect(await rotated(session, { ...fields, attemptHash: hash() })).toBe('replayed')
        expect(await rotated(session, { ...fields, seedHash: hash() })).toBe('invalid')
        expect(await rotated(session, { ...fields, generation: 100 })).toBe('invalid')
        const unknown = newSession(session.user).sid
        expect(await rotated({ ...session, sid: unknown }, fields)).toBe('gone')
      }
      expect(await trail(session.user)).toEqual([])
    })

    it('tells nothing of a change that comes without', async () => {
      const session = await open(test.store)
      const { sid, user, attributes } = session
      await test.store.update({ sid, ver: 0, attributes })
      await test.store.rotate(refresh(session, { bindingHash: hash() }))
      await test.store.rotate(refresh(session, { generation: 5 }))
      await test.store.revoke({ sid })
      await test.store.revokeUser({ user })
      expect(await trail(user)).toEqual([])
    })
  })
}
