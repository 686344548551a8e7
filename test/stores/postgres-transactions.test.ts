import { beforeAll, describe, expect, it } from '@jest/globals'
import type { PoolClient } from 'pg'
import type { PostgresStore } from '../../stores/postgres.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import {
  check,
  feedEnd,
  heard,
  listed,
  login,
  newSession,
  newUser,
  open,
  parallel,
  readOn,
  refresh,
  revocation,
} from './contract/support.ts'
import { useDatabase } from './postgres/open.ts'

describe('on a client of the app', () => {
  const database = useDatabase(sharedPostgresUrl)
  let node: PostgresStore

  beforeAll(async () => {
    node = database.store()
    await database.pool.query(`create table "${database.schema}".account (id text, password text)`)
  })

  /** Runs some work in a transaction of the app and ends that. */
  async function within<Result>(
    end: 'commit' | 'rollback',
    work: (store: PostgresStore, client: PoolClient) => Promise<Result>,
    begin = 'begin',
  ): Promise<Result> {
    const client = await database.pool.connect()
    try {
      await client.query(begin)
      const result = await work(database.store({ pool: client }), client)
      await client.query(end)
      client.release()
      return result
    } catch (error) {
      client.release(true)
      throw error
    }
  }

  async function register(id: string): Promise<void> {
    await database.pool.query(`insert into "${database.schema}".account values ($1, 'old')`, [id])
  }

  async function passwordOf(id: string): Promise<unknown> {
    const { rows } = await database.pool.query({
      text: `select password from "${database.schema}".account where id = $1`,
      values: [id],
    })
    return rows[0].password
  }

  function changePassword(id: string) {
    return async (store: PostgresStore, client: PoolClient) => {
      const sql = `update "${database.schema}".account set password = 'new' where id = $1`
      await client.query(sql, [id])
      return store.revokeUser({ user: { tenant: '', id } })
    }
  }

  it('ends the sessions together with a change of the password', async () => {
    const user = newUser()
    await register(user.id)
    const [one, two] = [await open(node, user), await open(node, user)]
    const cursor = await feedEnd(node)
    const { revoked } = await within('commit', changePassword(user.id))
    expect(revoked.toSorted()).toEqual([one.sid, two.sid].toSorted())
    expect(await passwordOf(user.id)).toBe('new')
    expect(await listed(node, user)).toEqual([])
    expect(await heard(node, cursor, [one, two])).toHaveLength(2)
    const late = await node.create(login(newSession(user), { loginAgeMs: 60_000 }))
    expect(late.outcome).toBe('stale_login')
  })

  it('ends none, and tells nobody, when that is rolled back', async () => {
    const user = newUser()
    await register(user.id)
    const session = await open(node, user)
    const cursor = await feedEnd(node)
    const { revoked } = await within('rollback', changePassword(user.id))
    expect(revoked).toEqual([session.sid])
    expect(await passwordOf(user.id)).toBe('old')
    expect(await check(node, session.sid)).toBe('alive')
    expect(await heard(node, cursor, [session])).toEqual([])
    const late = await node.create(login(newSession(user), { loginAgeMs: 60_000 }))
    expect(late.outcome).toBe('created')
  })

  it('is seen by nobody else before the commit', async () => {
    const session = await open(node)
    const cursor = await feedEnd(node)
    const opened = await within('commit', async (store) => {
      await store.revoke({ sid: session.sid })
      expect(await check(store, session.sid)).toBe('gone')
      expect(await check(node, session.sid)).toBe('alive')
      expect(await heard(node, cursor, [session])).toEqual([])
      const other = await open(store)
      expect(await check(node, other.sid)).toBe('gone')
      return other
    })
    expect(await check(node, session.sid)).toBe('gone')
    expect(await check(node, opened.sid)).toBe('alive')
  })

  it.each([1, 200])(
    'is told of after the commit, however many others were told of meanwhile (%d)',
    async (count) => {
      const session = await open(node)
      const start = await feedEnd(node)
      let cursor = start
      await within('commit', async (store) => {
        await store.revoke({ sid: session.sid })
        for (let round = 0; round < 3; round++) {
          const others = await parallel(count, async () => open(node))
          await parallel(count, async (index) => node.revoke({ sid: others[index]!.sid }))
          expect(await heard(node, cursor, others)).toHaveLength(count)
          // One of those that are rolled back, too.
          await within('rollback', async (rolledBack) =>
            rolledBack.revoke({ sid: (await open(node)).sid }),
          )
          const page = await readOn(node, cursor)
          expect(page.complete).toBe(true)
          expect(page.entries).not.toContainEqual(revocation(session))
          cursor = page.cursor
        }
      })
      expect(await heard(node, cursor, [session])).toEqual([revocation(session)])
      expect(await heard(node, start, [session])).toEqual([revocation(session)])
      const { cursor: end } = await readOn(node, cursor)
      expect(await heard(node, end, [session])).toEqual([])
    },
  )

  it('reaches a reader that waits, at the commit', async () => {
    const follower = database.store()
    const session = await open(node)
    const signal = new AbortController().signal
    const cursor = await feedEnd(follower)
    const waiting = follower.feed.read({ cursor, waitMs: 10_000, signal })
    await within('commit', async (store) => store.revoke({ sid: session.sid }))
    expect((await waiting).entries).toContainEqual(revocation(session))
    await follower.close()
  })

  it('takes operations that are made at once one after the other', async () => {
    const user = newUser()
    const sessions = await within('commit', async (store) =>
      parallel(20, async () => open(store, user)),
    )
    expect((await listed(node, user)).toSorted()).toEqual(sessions.map(({ sid }) => sid).toSorted())
  })

  it('rotates once, whether or not the first was rolled back', async () => {
    const session = await open(node)
    const lost = await within('rollback', async (store) => store.rotate(refresh(session)))
    expect(lost.outcome).toBe('rotated')
    const kept = await within('commit', async (store) => store.rotate(refresh(session)))
    expect(kept.outcome).toBe('rotated')
    expect(await node.rotate(refresh(session))).toMatchObject({ outcome: 'replayed' })
  })

  it('leaves the settings of the transaction alone', async () => {
    await within('commit', async (store, client) => {
      await client.query(`set local lock_timeout = '3s'`)
      const session = await open(store)
      await check(store, session.sid, { generation: 0 })
      await store.rotate(refresh(session))
      await store.revokeUser({ user: session.user })
      const { rows } = await client.query('show lock_timeout')
      expect(rows).toEqual([{ lock_timeout: '3s' }])
    })
  })

  it('leaves the settings of the app\u2019s pool alone', async () => {
    const session = await open(node)
    await parallel(40, async () => check(node, session.sid, { generation: 0 }))
    await parallel(20, async () => node.rotate(refresh(session)))
    await parallel(20, async () => node.revokeUser({ user: session.user }))
    const shown = await parallel(20, async () => database.pool.query('show lock_timeout'))
    expect(new Set(shown.map(({ rows }) => rows[0].lock_timeout))).toEqual(new Set(['0']))
  })

  it('refuses at REPEATABLE READ what the lock would not protect', async () => {
    const session = await open(node)
    const begin = 'begin isolation level repeatable read'
    const refused = within(
      'commit',
      async (store) => store.revokeUser({ user: session.user }),
      begin,
    )
    await expect(refused).rejects.toMatchObject({ code: '25000' })
    expect(await check(node, session.sid)).toBe('alive')
    const { outcome } = await within(
      'commit',
      async (store) => store.revoke({ sid: session.sid }),
      begin,
    )
    expect(outcome).toBe('revoked')
  })

  it('leaves the client to the app when the store is closed', async () => {
    const client = await database.pool.connect()
    const store = database.store({ pool: client })
    const session = await open(store)
    await store.close()
    await expect(check(store, session.sid)).rejects.toThrow('closed')
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    client.release()
  })
})
