import { readdirSync, readFileSync } from 'node:fs'
import { Pool } from 'pg'
import type { CreateInput, Store } from '../../middleware/index.ts'
import type { Names } from '../../stores/postgres/names.ts'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore, PostgresStoreOptions } from '../../stores/postgres.ts'
import { postgresStore } from '../../stores/postgres.ts'
import type { PostgresServer } from '../../test/support/postgres-server.ts'
import { startPostgres } from '../../test/support/postgres-server.ts'
import { forEachOf } from './sessions.ts'

/** A server as in production: what it acknowledges is on the disk. */
export const DURABLE = {
  fsync: 'on',
  synchronous_commit: 'on',
  shared_buffers: '512MB',
  max_wal_size: '4GB',
}

const TICKS_A_SECOND = 100

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
