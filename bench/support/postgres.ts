import { readdirSync, readFileSync } from 'node:fs'
import { Pool } from 'pg'
import type { CreateInput, Store } from '../../middleware/index.ts'
import { COLUMNS } from '../../stores/postgres/record.ts'
import type { Names } from '../../stores/postgres/names.ts'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore, PostgresStoreOptions } from '../../stores/postgres.ts'
import { postgresStore } from '../../stores/postgres.ts'
import type { PostgresServer } from '../../test/support/postgres-server.ts'
import { startPostgres } from '../../test/support/postgres-server.ts'
import { forEachOf, newSession } from './sessions.ts'

/** A server as in production: what it acknowledges is on the disk. */
export const DURABLE = {
  fsync: 'on',
  synchronous_commit: 'on',
  shared_buffers: '512MB',
  max_wal_size: '4GB',
}

const TICKS_A_SECOND = 100
const HOUR = 3_600_000

/** A server of the bench's own, with the schema, a pool and a store. */
export interface Bench {
  readonly server: PostgresServer
  readonly pool: Pool
  readonly names: Names
  readonly store: PostgresStore
  /** Another store on the same pool. */
  openStore(options?: Partial<PostgresStoreOptions>): PostgresStore
  /** Processor time of the server with all of its processes so far, in microseconds. */
  cpuMicros(): number
  close(): Promise<void>
}

/** @param connections - of the pool */
export async function startBench(
  connections: number,
  config: Readonly<Record<string, string>> = {},
): Promise<Bench> {
  const server = await startPostgres({ config: { ...DURABLE, ...config } })
  const pool = new Pool({
    connectionString: server.url,
    connectionTimeoutMillis: 10_000,
    max: connections,
    idleTimeoutMillis: 0,
  })
  pool.on('error', () => {})
  const openStore = (options: Partial<PostgresStoreOptions> = {}) =>
    postgresStore({ pool, operationTimeout: '10s', pruneInterval: false, ...options })
  const store = openStore()
  await store.migrate()
  return {
    server,
    pool,
    names: createNames('public', 'latchkey_'),
    store,
    openStore,
    cpuMicros: () => familyMicros(server.pid),
    async close() {
      await store.close()
      await pool.end()
      await server.cleanUp()
    },
  }
}

/** Opens sessions, so many at once. */
export async function openAll(
  store: Store,
  inputs: readonly CreateInput[],
  inFlight: number,
): Promise<void> {
  await forEachOf(inputs, inFlight, async (input) => {
    const { outcome } = await store.create(input)
    if (outcome !== 'created') throw new Error(`a login gave ${outcome}`)
  })
}

/**
 * Writes sessions as logins leave them, faster than logins can.
 *
 * @param deadline - SQL of the idle deadline: `over` for an hour, or `alive`, by the number `n`
 */
export async function fillSessions(
  { pool, names }: Pick<Bench, 'pool' | 'names'>,
  count: number,
  deadline: string,
): Promise<void> {
  const { session } = newSession('alice')
  const now = Date.now()
  const values: Record<(typeof COLUMNS)[number], string> = {
    sid: `substr(translate(encode(sha256((n || '-${now}')::bytea), 'base64'), '+/', '-_'), 1, 24)`,
    rotated_at: 'now',
    created_at: 'now',
    auth_time: 'now',
    last_seen_at: 'now',
    idle_deadline: deadline,
    absolute_deadline: 'alive',
    generation: '0',
    ver: '0',
    data_ver: '0',
    confirmed: 'false',
    remember: 'true',
    tenant: `''`,
    user_id: `'user' || n`,
    seed_hash: `translate(encode(sha256(n::text::bytea), 'base64'), '+/', '-_')`,
    attempt_hash: 'null',
    binding_hash: 'null',
    rotated_by: 'null',
    device_label: '$5::text',
    device_ip: '$6::text',
    attributes: '$7::json',
    data: 'null',
  }
  await pool.query({
    text: `insert into ${names.session} (${COLUMNS.join(', ')})
select ${COLUMNS.map((column) => values[column]).join(', ')}
from generate_series(1, $1::integer) n,
  (select $2::bigint as now, $3::bigint as over, $4::bigint as alive) times`,
    values: [
      count,
      now,
      now - HOUR,
      now + 24 * HOUR,
      session.device.label,
      session.device.ip,
      JSON.stringify(session.attributes),
    ],
  })
  await pool.query(`vacuum (analyze) ${names.session}`)
  await pool.query('checkpoint')
}

/**
 * Has every connection of the pool read the whole index of the sessions, as those that served for a while
 * have. Each is a process with page tables of its own: the first look at a page of the shared buffers is a
 * page fault, some tens of microseconds on a virtual machine, where all else a check costs is ten.
 */
export async function meetIndex({ pool, names }: Pick<Bench, 'pool' | 'names'>): Promise<void> {
  const clients = await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect()))
  for (const client of clients) {
    // By the index, and by this connection alone.
    await client.query(`begin; set local enable_seqscan = off; set local max_parallel_workers_per_gather = 0;
select count(sid) from ${names.session}; commit`)
    client.release()
  }
}

/** A process and its children, those that have ended included. Linux only; else NaN. */
function familyMicros(pid: number): number {
  try {
    const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
    let ticks = 0
    for (const name of processes) {
      const [parent, own, ended] = timesOf(name)
      if (name === String(pid)) ticks += own + ended
      if (parent === pid) ticks += own
    }
    return (ticks / TICKS_A_SECOND) * 1_000_000
  } catch {
    return NaN
  }
}

function timesOf(pid: string): [parent: number, own: number, ended: number] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // After the name, which may hold spaces: state, parent, and from the 12th on the times.
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    const [, parent = 0] = fields
    const [user = 0, system = 0, endedUser = 0, endedSystem = 0] = fields.slice(11)
    return [parent, user + system, endedUser + endedSystem]
  } catch {
    return [0, 0, 0]
  }
}
