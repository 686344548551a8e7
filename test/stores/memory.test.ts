import { describe, expect, it } from '@jest/globals'
import { openRecord } from '../../lib/session.ts'
import type { Store } from '../../lib/store.ts'
import { memoryStore } from '../../stores/memory.ts'
import { ExpiringMap } from '../../stores/memory/expiring-map.ts'
import { openMemoryStore } from '../../stores/memory/memory-store.ts'
import type { MemoryStoreOptions } from '../../stores/memory/options.ts'
import { SessionTable } from '../../stores/memory/session-table.ts'
import type { OpenedStore, TestClock } from './contract.ts'
import { describeStore, testClock } from './contract.ts'
import {
  check,
  feedEnd,
  heard,
  HOUR,
  LIFETIMES,
  listed,
  login,
  MINUTE,
  newSession,
  newUser,
  open,
  openMany,
  readOn,
  refresh,
  replacement,
  revocation,
} from './contract/support.ts'
import { describeRotationModel } from './rotation-model.ts'

async function openStore(): Promise<OpenedStore> {
  const clock = testClock()
  const { store, table } = openMemoryStore({ clock: () => clock.now() })
  return {
    store,
    clock,
    close: () => store.close(),
    async snapshot(sid) {
      const record = table.find(sid, clock.now())
      return async () => {
        if (record !== undefined) table.put(record)
      }
    },
  }
}

describeStore('memoryStore', openStore)
describeRotationModel('memoryStore', openStore, 200)

function setup(options: MemoryStoreOptions = {}): { store: Store; clock: TestClock } {
  const clock = testClock()
  return { store: memoryStore({ clock: () => clock.now(), ...options }), clock }
}

const BRIEF = { idleTimeoutMs: MINUTE, absoluteTimeoutMs: MINUTE }

describe('memoryStore options', () => {
  it.each([
    ['absent', undefined],
    ['empty', {}],
    ['undefined each', { clock: undefined, maxSessions: undefined, feedRetention: undefined }],
    ['of a null prototype', Object.create(null) as object],
  ])('may be %s', (_, options) => {
    expect(() => memoryStore(options)).not.toThrow()
  })

  it.each([
    ['maxSesions', { maxSesions: 1 }],
    ['clock', { clock: 5 }],
    ['maxSessions', { maxSessions: 0 }],
    ['maxSessions', { maxSessions: 1.5 }],
    ['maxSessions', { maxSessions: '10' }],
    ['maxSessions', { maxSessions: Infinity }],
    ['maxAuditEvents', { maxAuditEvents: -1 }],
    ['feedRetention', { feedRetention: 3600 }],
    ['feedRetention', { feedRetention: '10ms' }],
  ])('are refused at start: %s in %j', (option, options) => {
    expect(() => memoryStore(options as MemoryStoreOptions)).toThrow(
      expect.objectContaining({ code: 'invalid_option', option: `memoryStore.${option}` }),
    )
  })
})

describe('memoryStore bounds', () => {
  it('refuses a login when it is full, evicts nobody else, and frees what is over', async () => {
    const { store, clock } = setup({ maxSessions: 3 })
    const first = await open(store, newUser(), { lifetimes: BRIEF })
    const second = await open(store)
    const third = await open(store)
    const session = newSession(newUser())
    for (let attempt = 0; attempt < 3; attempt++) {
      await expect(store.create(login(session))).rejects.toThrow('full')
    }
    for (const { sid } of [first, second, third]) expect(await check(store, sid)).toBe('alive')
    clock.advance(MINUTE)
    expect(await store.create(login(session))).toMatchObject({ outcome: 'created', revoked: [] })
    await expect(open(store)).rejects.toThrow('full')
  })

  it('lets in who makes room by the same step, also when it is full', async () => {
    const { store } = setup({ maxSessions: 2 })
    const old = await open(store)
    await open(store)
    const limit = { max: 1, onLimit: 'evict' } as const
    const evicting = newSession(old.user)
    expect(await store.create(login(evicting, { limit }))).toMatchObject({ revoked: [old.sid] })
    const input = replacement(evicting, newSession(old.user))
    expect(await store.replace(input)).toMatchObject({ revoked: [evicting.sid] })
  })

  it('changes nothing when it refuses for being full', async () => {
    const { store } = setup({ maxSessions: 1 })
    const other = await open(store)
    const cursor = await feedEnd(store)
    const input = replacement(other, newSession(newUser()), { orElse: 'create' })
    await expect(store.replace(input)).rejects.toThrow('full')
    expect(await check(store, other.sid)).toBe('alive')
    expect(await heard(store, cursor, [other])).toEqual([])
  })

  it('finds the one session that is over among many when it is full', () => {
    const table = new SessionTable(100)
    const now = Date.now()
    for (let index = 0; index < 100; index++) {
      const lifetimes = index === 70 ? BRIEF : LIFETIMES
      table.put(openRecord(newSession(newUser()), lifetimes, now))
    }
    expect(() => table.reserve(1, now + MINUTE - 1)).toThrow('full')
    expect(() => table.reserve(1, now + MINUTE)).not.toThrow()
    expect(table.size).toBe(99)
    expect(() => table.reserve(2, now + MINUTE)).toThrow('full')
  })

  it('prunes sessions that are over and says how many, in several batches', async () => {
    const { store, clock } = setup()
    const kept = await open(store)
    for (let count = 0; count < 2500; count++) await open(store, newUser(), { lifetimes: BRIEF })
    clock.advance(MINUTE)
    expect(await store.prune()).toBe(2500)
    expect(await store.prune()).toBe(0)
    expect(await check(store, kept.sid)).toBe('alive')
  })

  it('removes sessions that are over little by little, without prune', async () => {
    const clock = testClock()
    const { store, table } = openMemoryStore({ clock: () => clock.now() })
    for (let count = 0; count < 100; count++) await open(store, newUser(), { lifetimes: BRIEF })
    clock.advance(MINUTE)
    for (let count = 0; count < 20; count++) await open(store)
    expect(table.size).toBe(20)
  })

  it('keeps the newest audit events', async () => {
    const { store } = setup({ maxAuditEvents: 3 })
    for (const cause of ['a', 'b', 'c', 'd', 'e']) {
      await store.audit.append([{ type: 'x', at: 0, result: 'success', cause }])
    }
    const first = await store.audit.query({ limit: 2 })
    expect(first.items.map(({ cause }) => cause)).toEqual(['e', 'd'])
    await store.audit.append([{ type: 'x', at: 0, result: 'success', cause: 'f' }])
    const second = await store.audit.query({ limit: 2, cursor: first.next! })
    expect(second.items).toEqual([])
    const all = await store.audit.query({ limit: 100 })
    expect(all.items.map(({ cause }) => cause)).toEqual(['f', 'e', 'd'])
    expect(all.next).toBeNull()
  })

  it('forgets that a user was revoked after ten minutes', async () => {
    const { store, clock } = setup()
    const user = newUser()
    await store.revokeUser({ user })
    clock.advance(10 * MINUTE)
    const result = await store.create(login(newSession(user), { loginAgeMs: HOUR }))
    expect(result.outcome).toBe('created')
  })
})

describe('memoryStore feed', () => {
  it('is trimmed by time, and a cursor before the first retained entry is not complete', async () => {
    const { store, clock } = setup({ feedRetention: '1m' })
    const [old, young] = [await open(store), await open(store)]
    const before = await feedEnd(store)
    await store.revoke({ sid: old.sid })
    const between = await feedEnd(store)
    clock.advance(1)
    await store.revoke({ sid: young.sid })
    const after = await feedEnd(store)
    clock.advance(MINUTE - 1)
    expect((await readOn(store, before)).entries).toEqual([revocation(old), revocation(young)])
    clock.advance(1)
    const entries = [revocation(young)]
    expect(await readOn(store, before)).toMatchObject({ entries, complete: false })
    expect(await readOn(store, between)).toMatchObject({ entries, complete: true })
    expect(await readOn(store, null)).toMatchObject({ entries, complete: true })
    clock.advance(HOUR)
    expect(await readOn(store, between)).toMatchObject({ entries: [], complete: false })
    expect(await readOn(store, after)).toMatchObject({ entries: [], complete: true })
    expect(await readOn(store, null)).toMatchObject({ entries: [], complete: true })
  })

  it('is read in batches of 1000, each entry once and in order', async () => {
    const { store } = setup({ feedRetention: '1m' })
    const { sid, attributes } = await open(store)
    for (let ver = 0; ver < 2500; ver++) await store.update({ sid, ver, attributes })
    const signal = AbortSignal.abort()
    const page = await store.feed.read({ cursor: null, waitMs: 0, signal })
    expect(page).toMatchObject({ more: true, complete: true })
    expect(page.entries).toHaveLength(1000)
    const { entries } = await readOn(store, null)
    expect(entries.map(({ ver }) => ver)).toEqual(Array.from({ length: 2500 }, (_, at) => at + 1))
  })

  it('stays right while entries come and go over hours', async () => {
    const { store, clock } = setup({ feedRetention: '1m' })
    const { sid, attributes } = await open(store)
    let cursor = await feedEnd(store)
    for (let ver = 0; ver < 500; ver++) {
      clock.advance(ver % 7 === 0 ? 20_000 : 1)
      await store.update({ sid, ver, attributes })
      const page = await readOn(store, cursor)
      expect(page).toMatchObject({ entries: [{ sid, ver: ver + 1 }], complete: true })
      cursor = page.cursor
    }
  })

  it('is not complete from the cursor of another store', async () => {
    const [one, other] = [setup().store, setup().store]
    expect((await readOn(one, await feedEnd(other))).complete).toBe(false)
  })

  it('delivers nothing twice to who reads on', async () => {
    const { store } = setup()
    const { sid } = await open(store)
    await store.revoke({ sid })
    expect((await readOn(store, await feedEnd(store))).entries).toEqual([])
  })

  it('rejects who waits when the store is closed', async () => {
    const { store } = setup()
    const { signal } = new AbortController()
    const waiting = store.feed.read({ cursor: await feedEnd(store), waitMs: 60_000, signal })
    await Promise.all([expect(waiting).rejects.toThrow('closed'), store.close()])
  })
})

describe('memoryStore eviction', () => {
  it('takes the oldest of those last active together, and then the first opened', async () => {
    const { store, clock } = setup()
    const user = newUser()
    const limit = { max: 3, onLimit: 'evict' } as const
    const [oldest] = await openMany({ store, clock }, user, 1)
    clock.advance(MINUTE)
    await check(store, oldest!.sid)
    const first = await open(store, user)
    const second = await open(store, user)
    expect(await listed(store, user)).toEqual([second.sid, first.sid, oldest!.sid])
    for (const victim of [oldest!, first, second]) {
      const result = await store.create(login(newSession(user), { limit }))
      expect(result).toMatchObject({ revoked: [victim.sid] })
    }
  })
})

describe('memoryStore results', () => {
  it('are frozen through and through', async () => {
    const { store } = setup()
    const input = newSession(newUser('acme'), { data: { list: [{ deep: [] }] } })
    const created = await store.create(login(input))
    if (created.outcome !== 'created') throw new Error('not created')
    const { session } = created
    const rotated = await store.rotate(refresh(session))
    const { sid, attributes } = session
    const updated = await store.update({ sid, ver: 0, attributes: structuredClone(attributes) })
    const event = {
      type: 'x',
      at: 0,
      result: 'success' as const,
      user: newUser(),
      detail: { a: [] },
    }
    await store.audit.append([event])
    const { items } = await store.audit.query({ limit: 1 })
    await store.keys.save(0, 'x')
    await store.revoke({ sid })
    const { entries } = await readOn(store, null)
    const records = [session, rotated, updated].map((result) =>
      'session' in result ? result.session : result,
    )
    const all: unknown[] = [...records, ...items, await store.keys.load(), ...entries]
    expect(all.filter((result) => !isFrozen(result))).toEqual([])
    expect(event.user).not.toBe(items[0]?.user)
  })

  it('stay as they were when the session changes', async () => {
    const { store, clock } = setup()
    const session = await open(store)
    const before = structuredClone(session)
    clock.advance(MINUTE)
    await check(store, session.sid)
    await store.rotate(refresh(session))
    expect(session).toEqual(before)
  })
})

describe('ExpiringMap', () => {
  it('drops the oldest entry when it is full, the one written anew being young', () => {
    const map = new ExpiringMap<string>(2, 'drop_oldest')
    map.set('a', 'first', 10, 0)
    map.set('b', 'first', 100, 0)
    map.set('a', 'second', 100, 10)
    map.set('c', 'first', 100, 10)
    expect(map.get('b', 10)).toBeUndefined()
    expect(map.get('a', 10)?.value).toBe('second')
    expect(map.size).toBe(2)
  })

  it('refuses a new entry when all are in force, and takes one when some are over', () => {
    const map = new ExpiringMap<true>(2, 'reject')
    map.set('a', true, 10, 0)
    map.set('b', true, 100, 0)
    expect(() => map.set('c', true, 100, 9)).toThrow('full')
    map.set('b', true, 200, 9)
    map.set('c', true, 100, 10)
    expect(map.get('a', 10)).toBeUndefined()
    expect(map.get('c', 99)?.value).toBe(true)
    expect(map.get('c', 100)).toBeUndefined()
  })

  it('loses what is over by being written to', () => {
    const map = new ExpiringMap<true>(1000, 'reject')
    for (let count = 0; count < 100; count++) map.set(`old ${count}`, true, 10, 0)
    for (let count = 0; count < 30; count++) map.set(`new ${count}`, true, 100, 10)
    expect(map.size).toBe(30)
  })
})

function isFrozen(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  return Object.isFrozen(value) && Object.values(value).every(isFrozen)
}
