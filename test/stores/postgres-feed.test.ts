import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals'
import { Pool } from 'pg'
import type { SessionRecord } from '../../lib/session.ts'
import type { FeedPage, FeedReadInput } from '../../lib/store.ts'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { postgresStore } from '../../stores/postgres.ts'
import type { PostgresServer } from '../support/postgres-server.ts'
import { sharedPostgresUrl, startPostgres } from '../support/postgres-server.ts'
import type { PostgresStandby } from '../support/postgres-standby.ts'
import { startStandby } from '../support/postgres-standby.ts'
import { allDone, until } from '../support/redis-commands.ts'
import { testClock } from './contract.ts'
import {
  check,
  feedEnd,
  HOUR,
  open,
  parallel,
  random,
  readOn,
  sids,
  sorted,
} from './contract/support.ts'
import { useDatabase } from './postgres/open.ts'

const NEVER = new AbortController().signal
const PAGE = 1000

const database = useDatabase(sharedPostgresUrl)
const names = createNames(database.schema, 'latchkey_')

async function withStore<Result>(
  act: (store: PostgresStore) => Promise<Result>,
  options: Parameters<typeof database.store>[0] = {},
): Promise<Result> {
  const store = database.store(options)
  try {
    return await act(store)
  } finally {
    await store.close()
  }
}

async function read(store: PostgresStore, input: Partial<FeedReadInput> = {}): Promise<FeedPage> {
  return store.feed.read({ cursor: null, waitMs: 0, signal: NEVER, ...input })
}

/** A transaction of an app, in which a store works. */
interface Transaction {
  readonly store: PostgresStore
  commit(): Promise<void>
}

async function begin(): Promise<Transaction> {
  const client = await database.pool.connect()
  await client.query('begin')
  return {
    store: database.store({ pool: client }),
    async commit() {
      await client.query('commit')
      client.release()
    },
  }
}

function entriesOf({ entries }: Pick<FeedPage, 'entries'>): string[] {
  return entries.map(({ sid }) => sid)
}

describe('transactions that commit in another order than they wrote', () => {
  it('are read when they commit, each once', async () => {
    await withStore(async (store) => {
      const [first, second, third] = await parallel(3, async () => open(store))
      const start = await feedEnd(store)
      const slow = await begin()
      await slow.store.revoke({ sid: first!.sid })
      await store.revoke({ sid: second!.sid })

      const early = await readOn(store, start)
      expect(entriesOf(early)).toEqual([second!.sid])
      await store.revoke({ sid: third!.sid })
      await slow.commit()
      const late = await readOn(store, early.cursor)
      expect(entriesOf(late)).toEqual([first!.sid, third!.sid])
      expect(entriesOf(await readOn(store, late.cursor))).toEqual([])
      // Who reads from the start has them all.
      expect(sorted(entriesOf(await readOn(store, start)))).toEqual(
        sorted(sids([first!, second!, third!])),
      )
    })
  })

  it('are read in whatever order they commit, by readers at whatever place', async () => {
    await withStore(async (store) => {
      const sessions = await parallel(36, async () => open(store))
      const start = await feedEnd(store)
      const heard: string[] = []
      let cursor = start
      const running: { readonly transaction: Transaction; readonly sids: string[] }[] = []
      const left = [...sessions]
      while (left.length > 0 || running.length > 0) {
        if (left.length > 0 && running.length < 6) {
          const transaction = await begin()
          const own = left.splice(0, 3)
          for (const { sid } of own) await transaction.store.revoke({ sid })
          running.push({ transaction, sids: sids(own) })
        }
        if (running.length === 6 || left.length === 0) {
          const [one] = running.splice(Math.floor(Math.random() * running.length), 1)
          const before = await readOn(store, cursor)
          expect(entriesOf(before).filter((sid) => one!.sids.includes(sid))).toEqual([])
          await one!.transaction.commit()
          const page = await readOn(store, before.cursor)
          expect(sorted(entriesOf(page))).toEqual(sorted(one!.sids))
          expect([before.complete, page.complete]).toEqual([true, true])
          heard.push(...entriesOf(before), ...entriesOf(page))
          cursor = page.cursor
        }
      }
      expect(sorted(heard)).toEqual(sorted(sids(sessions)))
      expect(sorted(entriesOf(await readOn(store, start)))).toEqual(sorted(sids(sessions)))
    })
  })

  it('are not read when they were rolled back', async () => {
    await withStore(async (store) => {
      const session = await open(store)
      const start = await feedEnd(store)
      const client = await database.pool.connect()
      await client.query('begin')
      await database.store({ pool: client }).revoke({ sid: session.sid })
      const { cursor } = await readOn(store, start)
      await client.query('rollback')
      client.release()
      const page = await readOn(store, cursor)
      expect([page.entries, page.complete]).toEqual([[], true])
      expect(await check(store, session.sid)).toBe('alive')
    })
  })

  it('delay nothing that others commit while they are open', async () => {
    await withStore(async (store) => {
      const sessions = await parallel(10, async () => open(store))
      const unrelated = await database.pool.connect()
      await unrelated.query('begin')
      await unrelated.query('select pg_current_xact_id()')
      let { cursor } = await readOn(store, null)
      for (const { sid } of sessions) {
        const waiting = read(store, { cursor, waitMs: 10_000 })
        await store.revoke({ sid })
        const page = await waiting
        expect(entriesOf(page)).toEqual([sid])
        cursor = page.cursor
      }
      expect(entriesOf(await readOn(store, cursor))).toEqual([])
      await unrelated.query('commit')
      unrelated.release()
      expect(entriesOf(await readOn(store, cursor))).toEqual([])
    })
  })
})

describe('more than a page', () => {
  /** Entries in a transaction of their own. */
  const append = (prefix: string, count: number) => ({
    text: `insert into ${names.feed} (at, sid)
      select extract(epoch from clock_timestamp()) * 1000, $1 || n from generate_series(1, $2::integer) n`,
    values: [prefix, count],
  })

  it('is read to its end, and nothing is missed of what commits between two pages', async () => {
    await withStore(async (store) => {
      const start = await feedEnd(store)
      const expected = new Set<string>()
      const add = (prefix: string, count: number) => {
        for (let n = 1; n <= count; n++) expected.add(`${prefix}${n}`)
        return append(prefix, count)
      }
      const [open1, open2] = await parallel(2, async () => database.pool.connect())
      await open1!.query('begin')
      await open1!.query(add('early-', 700))
      await database.pool.query(add('a-', 1700))
      await open2!.query('begin')
      await open2!.query(add('late-', 1300))
      await database.pool.query(add('b-', 800))

      const heard: string[] = []
      const pages: number[] = []
      let page = await read(store, { cursor: start })
      for (let turn = 0; ; turn++) {
        heard.push(...entriesOf(page))
        pages.push(page.entries.length)
        expect(page.complete).toBe(true)
        if (!page.more) break
        if (turn === 0) {
          await open1!.query('commit')
          await database.pool.query(add('amid-', 400))
        }
        if (turn === 1) await open2!.query('commit')
        page = await read(store, { cursor: page.cursor })
      }
      // What was there when it began, however much came meanwhile: it ends.
      expect(pages).toEqual([PAGE, PAGE, 500])
      const rest = await readOn(store, page.cursor)
      heard.push(...entriesOf(rest))
      expect(heard).toHaveLength(expected.size)
      expect(new Set(heard)).toEqual(expected)
      expect(entriesOf(await readOn(store, rest.cursor))).toEqual([])
      open1!.release()
      open2!.release()
    })
  })

  it('is read from the beginning too, exactly at the edge of a page', async () => {
    await database.pool.query(`truncate ${names.feed}`)
    await withStore(async (store) => {
      await database.pool.query(append('edge-', 2 * PAGE))
      const heard: string[] = []
      let page = await read(store)
      let turns = 1
      for (; page.more; turns++) {
        heard.push(...entriesOf(page))
        page = await read(store, { cursor: page.cursor })
      }
      expect([turns, heard.length, page.entries.length]).toEqual([3, 2 * PAGE, 0])
      expect(new Set(heard).size).toBe(2 * PAGE)
    })
  })

  it('loses nothing to who follows while many commit', async () => {
    await withStore(async (store) => {
      let { cursor } = await readOn(store, null)
      const prefixes = Array.from({ length: 40 }, (_, n) => `storm${n}-`)
      const missing = new Set(prefixes.flatMap((prefix) => [1, 2, 3].map((n) => `${prefix}${n}`)))
      const follow = async () => {
        while (missing.size > 0) {
          const page = await read(store, { cursor, waitMs: 5000 })
          expect(page.complete).toBe(true)
          for (const sid of entriesOf(page)) missing.delete(sid)
          cursor = page.cursor
        }
      }
      await allDone([
        follow(),
        ...prefixes.map(async (prefix) => {
          const client = await database.pool.connect()
          await client.query('begin')
          await client.query(append(prefix, 3))
          await sleep(Math.random() * 50)
          await client.query('commit')
          client.release()
        }),
      ])
      expect(missing.size).toBe(0)
    })
  })
})

describe('a cursor', () => {
  it('older than what the feed keeps is not complete; up to then it is', async () => {
    const clock = testClock()
    await withStore(
      async (store) => {
        const session = await open(store)
        const { cursor } = await readOn(store, null)
        clock.advance(HOUR)
        expect((await readOn(store, cursor)).complete).toBe(true)
        await store.revoke({ sid: session.sid })
        clock.advance(1)
        expect((await readOn(store, cursor)).complete).toBe(false)
        const whole = await readOn(store, null)
        expect(whole.complete).toBe(true)
        expect(entriesOf(whole)).toContain(session.sid)
      },
      { clock: () => clock.now(), feedRetention: '1h' },
    )
  })

  it('of a page amid a long feed grows old too', async () => {
    const clock = testClock()
    await withStore(
      async (store) => {
        const { cursor } = await readOn(store, null)
        await database.pool.query(
          `insert into ${names.feed} (at, sid) select ${clock.now()}, 'old' || n from generate_series(1, ${PAGE + 1}) n`,
        )
        const page = await read(store, { cursor })
        expect([page.more, page.complete]).toEqual([true, true])
        clock.advance(HOUR + 1)
        expect((await read(store, { cursor: page.cursor })).complete).toBe(false)
      },
      { clock: () => clock.now(), feedRetention: '1h' },
    )
  })

  describe('of another database', () => {
    const other = useDatabase(sharedPostgresUrl)

    it('reads all there is, and is not complete', async () => {
      await withStore(async (store) => {
        const session = await open(store)
        await store.revoke({ sid: session.sid })
        const stranger = other.store()
        const { cursor } = await readOn(stranger, null)
        await stranger.close()
        const page = await readOn(store, cursor)
        expect(page.complete).toBe(false)
        expect(entriesOf(page)).toContain(session.sid)
        const { cursor: own, complete } = await readOn(store, page.cursor)
        expect([own === '', complete]).toEqual([false, true])
      })
    })
  })
})

describe('a wait', () => {
  afterEach(() => void jest.useRealTimers())

  it('ends at a notification, before it is time to look again', async () => {
    await withStore(async (store) => {
      const other = database.store()
      const { sid } = await open(other)
      const { cursor } = await readOn(store, null)
      // It never is time.
      jest.useFakeTimers({
        doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance'],
      })
      const waiting = read(store, { cursor, waitMs: 60_000 })
      await other.revoke({ sid })
      expect(entriesOf(await waiting)).toEqual([sid])
      await other.close()
    })
  }, 60_000)

  it('leaves no connection behind, however often it was given up', async () => {
    const name = `aborts-${random()}`
    const pool = new Pool({
      connectionString: sharedPostgresUrl(),
      application_name: name,
      max: 4,
      connectionTimeoutMillis: 10_000,
    })
    const connections = async (): Promise<number> => {
      const { rows } = await database.pool.query<{ count: string }>(
        'select count(*) from pg_stat_activity where application_name = $1',
        [name],
      )
      return Number(rows[0]?.count)
    }
    const waitingForLock = async (): Promise<number> => {
      const { rows } = await database.pool.query<{ count: string }>(
        `select count(*) from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'`,
        [name],
      )
      return Number(rows[0]?.count)
    }
    const blocker = await database.pool.connect()
    try {
      await withStore(
        async (store) => {
          let { cursor } = await readOn(store, null)
          expect(await connections()).toBe(1)
          // While it waits for news.
          for (let time = 0; time < 50; time++) {
            const controller = new AbortController()
            const waiting = read(store, { cursor, waitMs: 10_000, signal: controller.signal })
            if (time % 2 === 0) await sleep(1)
            controller.abort()
            // Given up amid a statement instead of a wait, it has no answer.
            const page = await waiting.catch(() => null)
            expect(page?.complete).not.toBe(false)
            cursor = page?.cursor ?? cursor
          }
          await until('one is left', async () => (await connections()) <= 1)
          // While the server does not answer.
          await blocker.query('begin')
          await blocker.query(`lock table ${names.feed} in access exclusive mode`)
          for (let time = 0; time < 10; time++) {
            // One that has not answered yet is kept for a while, and asked again only then.
            await until('another is asked', async () => {
              const controller = new AbortController()
              const waiting = read(store, { cursor, signal: controller.signal })
              const given = expect(waiting).rejects.toThrow()
              await sleep(50)
              controller.abort()
              await given
              return (await waitingForLock()) > time
            })
          }
          await blocker.query('rollback')
          await until('they are gone', async () => (await connections()) <= 1)
          expect((await readOn(store, cursor)).complete).toBe(true)
          // What was left may have been one that was given up.
          await until('one is left', async () => (await connections()) === 1)
        },
        // A connection that has not answered yet is kept for as long as a call may take.
        { pool, operationTimeout: '300ms' },
      )
      await until('none is left', async () => (await connections()) === 0)
    } finally {
      blocker.release(true)
      await pool.end()
    }
  })
})

describe('a server of its own', () => {
  let server: PostgresServer
  let pool: Pool
  let store: PostgresStore

  beforeAll(async () => {
    server = await startPostgres()
    pool = poolOf(server)
    store = storeOn(pool)
    await store.migrate()
  })

  afterAll(async () => {
    await store.close()
    await pool.end()
    await server.cleanUp()
  })

  function poolOf({ url }: PostgresServer): Pool {
    const made = new Pool({ connectionString: url, connectionTimeoutMillis: 5000, max: 4 })
    made.on('error', () => {})
    return made
  }

  function storeOn(on: Pool): PostgresStore {
    return postgresStore({ pool: on, operationTimeout: '10s', pruneInterval: false })
  }

  it.each(['restart', 'crash'])(
    'that had a %s may have lost something, and says so once',
    async (how) => {
      const revoked: SessionRecord[] = await parallel(3, async () => open(store))
      for (const { sid } of revoked) await store.revoke({ sid })
      const before = await readOn(store, null)
      if (how === 'crash') await server.kill()
      await server.restart()

      const page = await until('the feed is read', async () =>
        read(store, { cursor: before.cursor }),
      )
      expect(page).toMatchObject({ rolledBack: true, complete: true })
      const again: string[] = entriesOf(page)
      let { cursor, more } = page
      while (more) {
        const next = await read(store, { cursor })
        expect(next).toMatchObject({ rolledBack: false, complete: true })
        again.push(...entriesOf(next))
        ;({ cursor, more } = next)
      }
      expect(again).toEqual(entriesOf(before))
      expect(await read(store, { cursor })).toMatchObject({
        entries: [],
        rolledBack: false,
        complete: true,
      })
    },
  )

  it('says nothing of a connection that broke', async () => {
    const { cursor } = await readOn(store, null)
    await pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'`,
    )
    const page = await until('the feed is read', async () => read(store, { cursor }))
    expect(page).toMatchObject({ rolledBack: false, complete: true })
  })

  describe('with a standby', () => {
    let standby: PostgresStandby
    let standbyPool: Pool
    let onStandby: PostgresStore

    beforeAll(async () => {
      standby = await startStandby(server)
      standbyPool = poolOf(standby)
      onStandby = storeOn(standbyPool)
    })

    afterAll(async () => {
      await onStandby.close()
      await standbyPool.end()
      await standby.cleanUp()
    })

    it('is read from the primary only, and checks are answered by it only', async () => {
      const session = await open(store)
      const { cursor } = await readOn(store, null)
      await standby.waitForReplay()
      await expect(read(onStandby, { cursor })).rejects.toThrow()
      await expect(read(onStandby)).rejects.toThrow()
      await expect(read(onStandby, { cursor, waitMs: 5000 })).rejects.toThrow()
      await expect(check(onStandby, session.sid)).rejects.toMatchObject({ code: '25006' })
      await expect(check(onStandby, random(18))).rejects.toMatchObject({ code: '25006' })
      expect(await check(store, session.sid)).toBe('alive')
    })

    it('may have lost something once that is promoted', async () => {
      const session = await open(store)
      const { cursor } = await readOn(store, null)
      await standby.waitForReplay()
      await standby.pauseReplay()
      await store.revoke({ sid: session.sid })
      const end = await readOn(store, cursor)
      expect(entriesOf(end)).toEqual([session.sid])
      await standby.resumeReplay()
      await standby.promote()
      const page = await until('the feed is read', async () =>
        read(onStandby, { cursor: end.cursor }),
      )
      expect(page.rolledBack).toBe(true)
    })
  })
})
