import { spawnSync } from 'node:child_process'
import { beforeEach, describe, expect, it } from '@jest/globals'
import type { PoolClient } from 'pg'
import { createNames } from '../../stores/postgres/names.ts'
import { PostgresPruner } from '../../stores/postgres/prune.ts'
import { pruneByItself } from '../../stores/postgres/prune-timer.ts'
import { createRunner } from '../../stores/postgres/runner.ts'
import { allDone, until } from '../support/redis-commands.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import type { TestClock } from './contract.ts'
import { testClock } from './contract.ts'
import {
  check,
  DAY,
  HOUR,
  LIFETIMES,
  MINUTE,
  newUser,
  open,
  parallel,
  refresh,
  sorted,
} from './contract/support.ts'
import { useDatabase } from './postgres/open.ts'

const FEED_SLACK_MS = 10 * MINUTE

const database = useDatabase(sharedPostgresUrl)
const names = createNames(database.schema, 'latchkey_')
let clock: TestClock
let store: ReturnType<typeof database.store>

beforeEach(async () => {
  clock = testClock()
  store = storeWith()
  const tables = [names.session, names.feed, names.denied, names.counter, names.userMark]
  await database.pool.query(`truncate ${[...tables, names.audit].join(', ')}`)
  await database.pool.query(`update ${names.meta} set pruned_at = 0`)
})

function storeWith(options: Parameters<typeof database.store>[0] = {}) {
  return database.store({
    clock: () => clock.now(),
    feedRetention: '1h',
    auditRetention: '2d',
    ...options,
  })
}

async function valuesOf(text: string): Promise<unknown[]> {
  const { rows } = await database.pool.query<unknown[]>({ text, rowMode: 'array' })
  return rows.map(([value]) => value)
}

async function countOf(table: string): Promise<number> {
  const [count] = await valuesOf(`select count(*) from ${table}`)
  return Number(count)
}

/** Does something while an outsider's transaction is open, which then is committed. */
async function beside<Result>(
  begin: (client: PoolClient) => Promise<unknown>,
  act: (client: PoolClient) => Promise<Result>,
): Promise<Result> {
  const client = await database.pool.connect()
  try {
    await client.query('begin')
    await begin(client)
    return await act(client)
  } finally {
    await client.query('commit')
    client.release()
  }
}

describe('prune', () => {
  it('removes sessions past either deadline, to the millisecond, and no other', async () => {
    const user = newUser()
    const lifetimes = { idleTimeoutMs: HOUR, absoluteTimeoutMs: DAY }
    const idle = await open(store, user, { lifetimes })
    const absolute = await open(store, user, {
      lifetimes: { idleTimeoutMs: HOUR, absoluteTimeoutMs: HOUR },
    })
    clock.advance(1)
    const alive = await open(store, user, { lifetimes })
    clock.advance(HOUR - 2)
    expect(await store.prune()).toBe(0)
    clock.advance(1)
    expect(await store.prune()).toBe(2)
    const left = await valuesOf(`select sid from ${names.session}`)
    expect(left).toEqual([alive.sid])
    expect(left).not.toContain(idle.sid)
    expect(left).not.toContain(absolute.sid)
    expect(await check(store, alive.sid)).toBe('alive')
  })

  it('keeps feed entries for their retention and ten minutes more', async () => {
    const { sid } = await open(store)
    await store.revoke({ sid })
    clock.advance(HOUR + FEED_SLACK_MS - 1)
    const later = await open(store)
    await store.revoke({ sid: later.sid })
    await store.prune()
    expect(await valuesOf(`select sid from ${names.feed} order by seq`)).toEqual([sid, later.sid])
    clock.advance(1)
    await store.prune()
    expect(await valuesOf(`select sid from ${names.feed}`)).toEqual([later.sid])
  })

  it('removes denied tokens, counters and user marks once they are over', async () => {
    const { sid, user } = await open(store)
    for (const [jti, ms] of [
      ['short', MINUTE],
      ['long', MINUTE + 1],
    ] as const) {
      await store.deny({ sid, jti, expiresAt: clock.now() + ms })
    }
    await store.limit.take('short', 1, MINUTE)
    const short = await valuesOf(`select key from ${names.counter}`)
    await store.limit.take('long', 1, MINUTE + 1)
    await store.revokeUser({ user })
    clock.advance(MINUTE)
    await store.prune()
    expect(await valuesOf(`select jti from ${names.denied}`)).toEqual(['long'])
    const counters = await valuesOf(`select key from ${names.counter}`)
    expect(counters).toHaveLength(1)
    expect(counters).not.toEqual(short)
    expect(await countOf(names.userMark)).toBe(1)
    clock.advance(9 * MINUTE - 1)
    await store.prune()
    expect(await countOf(names.userMark)).toBe(1)
    clock.advance(1)
    await store.prune()
    expect(await countOf(names.userMark)).toBe(0)
  })

  it('removes audit events older than their retention', async () => {
    const event = { type: 'session_created', result: 'success' } as const
    const at = clock.now()
    await store.audit.append([
      { ...event, at: at - 2 * DAY },
      { ...event, at: at - 2 * DAY + 1 },
      { ...event, at },
    ])
    await store.prune()
    const { items } = await store.audit.query({ limit: 10 })
    expect(items.map((item) => item.at)).toEqual([at, at - 2 * DAY + 1])
  })

  it('works in batches, each a transaction', async () => {
    const [sessions, others] = [4000, 2500]
    await fillSessions(sessions, clock.now() - 1)
    const at = clock.now() - 3 * HOUR
    await database.pool.query(`
      insert into ${names.feed} (at, sid) select ${at}, 'x' from generate_series(1, ${others});
      insert into ${names.denied} select n::text, 'x', ${at} from generate_series(1, ${others}) n;
      insert into ${names.counter} select n::text, 1, ${at} from generate_series(1, ${others}) n;
      insert into ${names.userMark} select '', n::text, ${at} from generate_series(1, ${others}) n;
      insert into ${names.audit} (at, type, result)
        select now() - interval '3 days', 'x', 'success' from generate_series(1, ${others})`)
    const batches = await batchesOf(async () => {
      expect(await store.prune()).toBe(sessions)
    })
    expect(sorted([...batches.keys()])).toHaveLength(6)
    for (const counts of batches.values()) {
      expect(counts.length).toBeGreaterThanOrEqual(2)
      expect(Math.max(...counts)).toBeLessThanOrEqual(2500)
    }
    for (const table of [names.feed, names.denied, names.counter, names.userMark, names.audit]) {
      expect(await countOf(table)).toBe(0)
      const counts = batches.get(table.split('"')[3] ?? '') ?? []
      expect(Math.max(...counts)).toBeLessThanOrEqual(1000)
    }
    expect(await countOf(names.session)).toBe(0)
  })

  it('leaves a locked session for another time, and waits for nobody', async () => {
    const over = await parallel(5, async () =>
      open(store, newUser(), { lifetimes: { idleTimeoutMs: MINUTE, absoluteTimeoutMs: DAY } }),
    )
    clock.advance(MINUTE)
    const locked = over[2]!.sid
    const removed = await beside(
      async (client) =>
        client.query(`select from ${names.session} where sid = $1 for update`, [locked]),
      async () => store.prune(),
    )
    expect(removed).toBe(4)
    expect(await valuesOf(`select sid from ${names.session}`)).toEqual([locked])
    expect(await store.prune()).toBe(1)
  })

  it('leaves what somebody is making anew: a mark, a counter, a denial', async () => {
    const user = newUser()
    const { sid } = await open(store)
    await store.revokeUser({ user })
    await store.limit.take('key', 5, MINUTE)
    await store.deny({ sid, jti: 'jti', expiresAt: clock.now() + MINUTE })
    clock.advance(10 * MINUTE)
    await beside(
      async (client) => {
        const inside = storeWith({ pool: client })
        await inside.revokeUser({ user })
        await inside.limit.take('key', 5, MINUTE)
        await inside.deny({ sid, jti: 'jti', expiresAt: clock.now() + MINUTE })
      },
      async () => store.prune(),
    )
    await store.prune()
    expect(await valuesOf(`select user_id from ${names.userMark}`)).toEqual([user.id])
    expect((await store.limit.take('key', 1, MINUTE)).used).toBe(6)
    expect(await countOf(names.denied)).toBe(1)
  })

  it('is done by one at a time', async () => {
    await fillSessions(100, clock.now() - 1)
    const outsider = storeWith()
    await beside(
      async (client) => client.query(`select pg_advisory_xact_lock(${names.pruneLock})`),
      async () => {
        expect(await outsider.prune()).toBe(0)
        expect(await countOf(names.session)).toBe(100)
      },
    )
    expect(await outsider.prune()).toBe(100)
  })

  it('removes each session once when many prune at once', async () => {
    await fillSessions(4000, clock.now() - 1)
    const removed = await parallel(8, async () => storeWith().prune())
    const rest = await store.prune()
    expect(removed.reduce((sum, count) => sum + count, rest)).toBe(4000)
    expect(await countOf(names.session)).toBe(0)
  })

  it('keeps nobody waiting while a batch is held up', async () => {
    const user = newUser()
    const lifetimes = { idleTimeoutMs: MINUTE, absoluteTimeoutMs: DAY }
    await open(store, user, { lifetimes })
    const alive = await open(store, user)
    const other = await open(store, user)
    clock.advance(MINUTE)
    // Half as long as a batch may take.
    const hurried = storeWith({ operationTimeout: '5s' })
    const gate = 4711
    await database.pool.query(`
      create function "${database.schema}".hold() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock(${gate}); return old; end $$;
      create trigger hold after delete on ${names.session} for each row
        when (old.idle_deadline <= ${clock.now()}) execute function "${database.schema}".hold()`)
    try {
      let pruning: Promise<number> | undefined
      await beside(
        async (client) => client.query(`select pg_advisory_lock(${gate})`),
        async (client) => {
          pruning = store.prune()
          await until('the batch is held up', async () => {
            const { rowCount } = await database.pool.query(
              `select from pg_locks where locktype = 'advisory' and objid = ${gate} and not granted`,
            )
            return rowCount === 1
          })
          const opened = await open(hurried, user)
          expect((await hurried.rotate(refresh(alive))).outcome).toBe('rotated')
          expect(await check(hurried, alive.sid)).toBe('alive')
          expect((await hurried.revoke({ sid: other.sid })).outcome).toBe('revoked')
          const { revoked } = await hurried.revokeUser({ user, except: opened.sid })
          expect(revoked).toEqual([alive.sid])
          await client.query(`select pg_advisory_unlock(${gate})`)
        },
      )
      expect(await pruning).toBe(1)
    } finally {
      await database.pool.query(`drop function "${database.schema}".hold() cascade`)
    }
  })
})

/** Sessions that are over at a given time, without their logins. */
async function fillSessions(count: number, over: number): Promise<void> {
  await open(store, newUser(), { lifetimes: { ...LIFETIMES } })
  await database.pool.query(`
    insert into ${names.session}
    select (jsonb_populate_record(s, jsonb_build_object('sid', lpad(n::text, 24, '0'), 'idle_deadline', ${over}))).*
    from ${names.session} s, generate_series(1, ${count}) n;
    delete from ${names.session} where idle_deadline > ${over}`)
}

/** How many rows each transaction removed from each table. */
async function batchesOf(act: () => Promise<void>): Promise<Map<string, number[]>> {
  const { schema, pool } = database
  const removals = `"${schema}".removals`
  const tables = ['session', 'feed', 'denied', 'counter', 'user_mark', 'audit']
  const triggers = tables.map(
    (table) => `
      create trigger count_removals after delete on "${schema}".latchkey_${table}
      referencing old table as gone for each statement execute function "${schema}".count_removals()`,
  )
  await pool.query(`
    create table ${removals} (tx xid8, name text, rows bigint);
    create function "${schema}".count_removals() returns trigger language plpgsql as $$
      begin
        insert into ${removals}
        select pg_current_xact_id(), tg_table_name, count(*) from gone having count(*) > 0;
        return null;
      end $$;
    ${triggers.join(';')}`)
  try {
    await act()
    const { rows } = await pool.query<{ name: string; rows: string }>(
      `select name, sum(rows) as rows from ${removals} group by name, tx`,
    )
    const batches = new Map<string, number[]>()
    for (const row of rows) {
      batches.set(row.name, [...(batches.get(row.name) ?? []), Number(row.rows)])
    }
    return batches
  } finally {
    await pool.query(`drop function "${schema}".count_removals() cascade; drop table ${removals}`)
  }
}

describe('pruning by itself', () => {
  /** A real pruner that counts its turns. */
  class CountingPruner extends PostgresPruner {
    looked = 0
    claimed = 0
    /** How many calls are on their way. */
    busy = 0

    constructor() {
      const options = { client: database.pool, prepare: true, operationTimeoutMs: 10_000 }
      super(createRunner(options), names, { feedMs: HOUR, auditMs: DAY }, () => null)
    }

    override async claim(intervalMs: number): Promise<boolean> {
      this.looked += 1
      const mine = await this.#counted(super.claim(intervalMs))
      if (mine) this.claimed += 1
      return mine
    }

    override async prune(): Promise<number> {
      return this.#counted(super.prune())
    }

    async #counted<Result>(call: Promise<Result>): Promise<Result> {
      this.busy += 1
      return call.finally(() => {
        this.busy -= 1
      })
    }
  }

  it('is one turn an interval, however many nodes there are', async () => {
    const pruners = Array.from({ length: 5 }, () => new CountingPruner())
    const claims = async () => allDone(pruners.map(async (pruner) => pruner.claim(HOUR)))
    expect((await claims()).filter(Boolean)).toHaveLength(1)
    expect((await claims()).filter(Boolean)).toHaveLength(0)
    await database.pool.query(`update ${names.meta} set pruned_at = pruned_at - ${HOUR}`)
    expect((await claims()).filter(Boolean)).toHaveLength(1)
  })

  it('happens on stores that nobody tells to, and is shared among them', async () => {
    await fillSessions(10, Date.now() - 1)
    const nodes = Array.from({ length: 3 }, () => database.store({ pruneInterval: '1s' }))
    try {
      await until('it is pruned', async () => (await countOf(names.session)) === 0)
      const [prunedAt] = await valuesOf(`select pruned_at from ${names.meta}`)
      expect(Math.abs(Number(prunedAt) - Date.now())).toBeLessThan(MINUTE)
    } finally {
      await allDone(nodes.map(async (node) => node.close()))
    }
  })

  it('goes on after a failure, and ends when it is stopped', async () => {
    const intervalMs = 20
    const [stopped, running] = [new CountingPruner(), new CountingPruner()]
    const stop = pruneByItself(stopped, intervalMs)
    const stopRunning = pruneByItself(running, intervalMs)
    try {
      await database.pool.query(`alter table ${names.meta} rename column pruned_at to away`)
      const { looked } = stopped
      await until('it failed a few times', async () => stopped.looked > looked + 3)
      await database.pool.query(`alter table ${names.meta} rename column away to pruned_at`)
      await until('it claims', async () => stopped.claimed > 0)
      stop()
      const turns = stopped.looked
      const witnessed = running.looked
      await until('the other has had many turns', async () => running.looked > witnessed + 10)
      expect(stopped.looked).toBe(turns)
    } finally {
      stop()
      stopRunning()
      // What is pruned late is what the next test has.
      await until('their last turns are over', async () => stopped.busy + running.busy === 0)
    }
  })

  it('ends with the store', async () => {
    await fillSessions(1, Date.now() - 1)
    const closed = database.store({ pruneInterval: '1s' })
    await closed.close()
    // Turns come after 1.5 intervals at the latest: a store that is open has had two by then.
    const witness = new CountingPruner()
    const stop = pruneByItself(Object.assign(witness, { prune: async () => 0 }), 1000)
    try {
      await until('others had turns', async () => witness.looked >= 3)
      expect(await countOf(names.session)).toBe(1)
    } finally {
      stop()
    }
  })

  it('keeps no process alive', () => {
    const program = `
      import { Pool } from 'pg'
      import { postgresStore } from './stores/postgres.ts'
      const pool = new Pool({ connectionString: process.env.URL, allowExitOnIdle: true })
      const options = { pool, schema: process.env.SCHEMA, operationTimeout: '10s', pruneInterval: '10m' }
      await postgresStore(options).inspect()
      console.log('inspected')`
    const args = ['--import', 'tsx', '--input-type=module', '--eval', program]
    const { stdout, status } = spawnSync(process.execPath, args, {
      env: { ...process.env, URL: sharedPostgresUrl(), SCHEMA: database.schema },
      encoding: 'utf8',
      timeout: 100_000,
    })
    expect([stdout.trim(), status]).toEqual(['inspected', 0])
  })
})
