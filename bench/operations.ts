// What the operations of each store cost beside a bare round trip, and whether they grow with it.
import { Redis } from 'ioredis'
import type { CreateInput, Store } from '../middleware/index.ts'
import { memoryStore } from '../stores/memory.ts'
import { startRedis } from '../test/support/redis-server.ts'
import { fillSessions, meetIndex, openAll, startBench } from './support/postgres.ts'
import { formatTable, median, quantile } from './support/report.ts'
import {
  forEachOf,
  IDLE_TIMEOUT_MS,
  newAttempt,
  newSession,
  openStore,
  POLICY,
} from './support/sessions.ts'

const IN_FLIGHT = 16
const SESSIONS_A_USER = 100
// Drawn once: sixteen random bytes take longer than a store's own work here, and are no part of it.
const ATTEMPT = newAttempt()
const BARE = `local n = redis.call('HGET', KEYS[1], 'n')
redis.call('HSET', KEYS[1], 'n', (tonumber(n) or 0) + 1) return n`

type StoreName = 'memory' | 'Redis' | 'Postgres'

/** A store of a size, and the least that a round trip to its server costs. */
interface Target {
  readonly store: Store
  /** Sessions that belong to nobody who is called with. */
  fill(count: number): Promise<void>
  /** The least that asks the server for something, and that changes something; null without one. */
  readonly bare: { readonly read: Call; readonly write: Call } | null
  /** Processor time of the server so far, in microseconds; NaN without one. */
  serverMicros(): Promise<number>
  /** Lets the server settle after it was filled. */
  settle(): Promise<void>
  close(): Promise<void>
}

type Call = (input: CreateInput) => Promise<unknown>

interface Operation {
  readonly name: string
  /** How many sessions the user has; 0 where the call opens the first. */
  readonly each: number
  readonly call: (store: Store) => Call
}

const OPERATIONS: readonly Operation[] = [
  { name: 'open', each: 0, call: (store) => async (input) => store.create(input) },
  {
    name: 'find',
    each: 1,
    call:
      (store) =>
      async ({ session: { sid, seedHash } }) =>
        store.check({ sid, seedHash, idleTimeoutMs: IDLE_TIMEOUT_MS }),
  },
  {
    name: 'rotate',
    each: 1,
    call:
      (store) =>
      async ({ session: { sid, seedHash } }) =>
        store.rotate({
          sid,
          seedHash,
          generation: 0,
          attemptHash: ATTEMPT,
          bindingHash: null,
          policy: POLICY,
          idleTimeoutMs: IDLE_TIMEOUT_MS,
          onReuse: 'session',
        }),
  },
  {
    name: 'list (3 sessions)',
    each: 3,
    call:
      (store) =>
      async ({ session: { user } }) =>
        store.list({ user, limit: 50 }),
  },
  {
    name: 'revoke',
    each: 1,
    call:
      (store) =>
      async ({ session: { sid } }) =>
        store.revoke({ sid }),
  },
  {
    name: `revokeUser (${SESSIONS_A_USER} sessions)`,
    each: SESSIONS_A_USER,
    call:
      (store) =>
      async ({ session: { user } }) =>
        store.revokeUser({ user }),
  },
]

const TARGETS: Readonly<Record<StoreName, (slot: number) => Promise<Target>>> = {
  async memory() {
    const store = memoryStore({ maxSessions: 2_000_000 })
    return {
      store,
      bare: null,
      serverMicros: async () => NaN,
      fill: async (count) => create(store, count),
      settle: async () => {},
      close: async () => store.close(),
    }
  },
  async Redis() {
    const server = await startRedis({ config: { appendonly: 'yes' } })
    const client = new Redis(server.url, { enableAutoPipelining: true })
    const store = await openStore(client)
    const sha = String(await client.script('LOAD', BARE))
    return {
      store,
      bare: {
        read: async ({ session: { sid } }) => client.get(`plain:${sid}`),
        write: async ({ session: { sid } }) => client.evalsha(sha, 1, `bare:${sid}`),
      },
      async serverMicros() {
        const cpu = await client.info('cpu')
        const seconds = (name: string) =>
          Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(cpu)?.[1])
        return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1_000_000
      },
      fill: async (count) => create(store, count),
      settle: async () => {},
      async close() {
        await store.close()
        client.disconnect()
        await server.cleanUp()
      },
    }
  },
  async Postgres() {
    const bench = await startBench(IN_FLIGHT)
    const { pool, names, store } = bench
    const update = `update ${names.session} set generation = generation, last_seen_at = $2
where sid = $1 returning *`
    const select = `select * from ${names.session} where sid = $1`
    return {
      store,
      bare: {
        read: async ({ session: { sid } }) =>
          pool.query({ name: 'bare-read', text: select, values: [sid] }),
        write: async ({ session: { sid } }) =>
          pool.query({ name: 'bare-write', text: update, values: [sid, Date.now()] }),
      },
      serverMicros: async () => bench.cpuMicros(),
      fill: async (count) => fillSessions(bench, count, 'alive'),
      async settle() {
        await pool.query(`vacuum (analyze) ${names.session}`)
        await meetIndex(bench)
      },
      close: async () => bench.close(),
    }
  },
}

async function create(store: Store, count: number): Promise<void> {
  // In parts: the inputs of a million sessions need not be in memory at once.
  for (let done = 0; done < count; done += 10_000) {
    const part = Math.min(10_000, count - done)
    await openAll(
      store,
      Array.from({ length: part }, (_, n) => newSession(`f${done + n}`)),
      64,
    )
  }
}

/** One operation on one store of one size. */
export interface OperationRow {
  readonly store: StoreName
  readonly operation: string
  readonly sessions: number
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  /** Rate of the operation, of that of the bare read and write beside it; null without a server. */
  readonly ofRead: number | null
  readonly ofWrite: number | null
  /** Processor time a call, microseconds; null without a server. */
  readonly serverMicros: number | null
  readonly nodeMicros: number
  /** Time of the call, of that in the smallest store, in the same round. */
  readonly growth: number
}

interface Timed {
  readonly perSecond: number
  readonly times: readonly number[]
  readonly serverMicros: number
  readonly nodeMicros: number
}

interface Run extends Timed {
  readonly ofRead: number
  readonly ofWrite: number
}

/** @param sizes - how many sessions are in the store, the smallest first */
export async function measureOperations(
  sizes: readonly number[],
  rounds: number,
  calls: number,
): Promise<OperationRow[]> {
  const rows: OperationRow[] = []
  // Memory comes last: what the collector has to do then would be in the others' figures.
  for (const store of ['Redis', 'Postgres', 'memory'] as const) {
    const targets: Target[] = []
    try {
      for (const [slot, size] of sizes.entries()) {
        const target = await TARGETS[store](slot)
        targets.push(target)
        await target.fill(size)
        await target.settle()
      }
      for (const operation of OPERATIONS) {
        const runs = await measureOperation(operation, targets, rounds, calls)
        rows.push(...rowsOf(store, operation.name, sizes, runs))
      }
    } finally {
      for (const target of targets) await target.close()
    }
  }
  return rows
}

/** Runs by store, each a list of rounds. The sizes take turns within a round. */
async function measureOperation(
  { name, each, call }: Operation,
  targets: readonly Target[],
  rounds: number,
  most: number,
): Promise<Run[][]> {
  const calls = each > 10 ? Math.max(10, Math.round(most / 50)) : most
  const runs = targets.map((): Run[] => [])
  // The first round warms up.
  for (let round = 0; round <= rounds; round++) {
    for (const [n, target] of targets.entries()) {
      const users = Array.from({ length: calls }, (_, user) => `${name}-${round}-${user}`)
      const inputs = users.flatMap((id) =>
        Array.from({ length: Math.max(1, each) }, () => newSession(id)),
      )
      if (each > 0) await openAll(target.store, inputs, IN_FLIGHT)
      const items = inputs.filter((_, index) => index % Math.max(1, each) === 0)
      const { bare } = target
      const read = bare === null ? NaN : (await timed(target, items, bare.read)).perSecond
      const write = bare === null ? NaN : (await timed(target, items, bare.write)).perSecond
      const own = await timed(target, items, call(target.store))
      const ratios = { ofRead: own.perSecond / read, ofWrite: own.perSecond / write }
      if (round > 0) runs[n]?.push({ ...own, ...ratios })
    }
  }
  return runs
}

async function timed(target: Target, items: readonly CreateInput[], call: Call): Promise<Timed> {
  const times: number[] = []
  const serverBefore = await target.serverMicros()
  const nodeBefore = process.cpuUsage()
  const startedAt = performance.now()
  await forEachOf(items, IN_FLIGHT, async (item) => {
    const calledAt = performance.now()
    await call(item)
    times.push(performance.now() - calledAt)
  })
  const seconds = (performance.now() - startedAt) / 1000
  const { user, system } = process.cpuUsage(nodeBefore)
  return {
    perSecond: items.length / seconds,
    times,
    nodeMicros: (user + system) / items.length,
    serverMicros: ((await target.serverMicros()) - serverBefore) / items.length,
  }
}

function rowsOf(
  store: StoreName,
  operation: string,
  sizes: readonly number[],
  runs: readonly (readonly Run[])[],
): OperationRow[] {
  const smallest = runs.at(0) ?? []
  return sizes.map((sessions, n): OperationRow => {
    const own = runs[n] ?? []
    const times = own.flatMap((run) => run.times)
    const middle = (key: 'perSecond' | 'ofRead' | 'ofWrite' | 'serverMicros' | 'nodeMicros') =>
      median(own.map((run) => run[key]))
    const orNull = (value: number) => (Number.isNaN(value) ? null : value)
    return {
      store,
      operation,
      sessions,
      perSecond: middle('perSecond'),
      p50: quantile(times, 0.5),
      p99: quantile(times, 0.99),
      ofRead: orNull(middle('ofRead')),
      ofWrite: orNull(middle('ofWrite')),
      serverMicros: orNull(middle('serverMicros')),
      nodeMicros: middle('nodeMicros'),
      growth: median(own.map((run, round) => (smallest[round]?.perSecond ?? NaN) / run.perSecond)),
    }
  })
}

/** The operations at the largest size, and how they grew. */
export function formatOperations(rows: readonly OperationRow[]): string {
  const sizes = [...new Set(rows.map(({ sessions }) => sessions))]
  const table: string[][] = []
  for (const row of rows.filter(({ sessions }) => sessions === sizes.at(-1))) {
    table.push([
      `${row.store}: ${row.operation}`,
      row.perSecond.toFixed(0),
      row.p50.toFixed(2),
      row.p99.toFixed(1),
      row.nodeMicros.toFixed(0),
      row.serverMicros?.toFixed(0) ?? '',
      row.ofRead?.toFixed(2) ?? '',
      row.ofWrite?.toFixed(2) ?? '',
      ...sizes.slice(1).map((size) => growthOf(rows, row, size)),
    ])
  }
  const head = ['', 'calls a second', 'p50 ms', 'p99 ms', 'µs of node', 'µs of the server']
  head.push('rate, of a bare read', 'rate, of a bare write')
  const growth = sizes.slice(1).map((size) => `time at ${size} sessions, of ${sizes[0] ?? 0}`)
  return formatTable([[...head, ...growth], ...table])
}

function growthOf(rows: readonly OperationRow[], row: OperationRow, size: number): string {
  const { store, operation } = row
  const found = rows.find(
    (one) => one.store === store && one.operation === operation && one.sessions === size,
  )
  return found === undefined ? '' : found.growth.toFixed(2)
}
