import { query } from './postgres-commands.ts'
import {
  standbyName,
  startPostgres,
  type PostgresOptions,
  type PostgresServer,
} from './postgres-server.ts'
import { until } from './redis-commands.ts'

/** Options of {@link startStandby}. */
export interface StandbyOptions extends Omit<PostgresOptions, 'standbyOf'> {
  /**
   * Whether the primary waits with every commit until this one has it on disk: forever when it is gone.
   *
   * @defaultValue false
   */
  readonly synchronous?: boolean
}

/** A copy that follows a primary, and answers reads. */
export interface PostgresStandby extends PostgresServer {
  /** Waits until what the primary has written by now can be read here. */
  waitForReplay(): Promise<void>
  /** Receives on, but shows nothing new until `resumeReplay`, as a standby that lags behind. */
  pauseReplay(): Promise<void>
  resumeReplay(): Promise<void>
  /**
   * Makes it a primary with whatever it has received, and waits until it takes writes. The old primary
   * hears nothing of it.
   */
  promote(): Promise<void>
}

/** Copies a running primary and waits until the copy follows it. */
export async function startStandby(
  primary: PostgresServer,
  options: StandbyOptions = {},
): Promise<PostgresStandby> {
  const { synchronous = false, ...others } = options
  const server = await startPostgres({ ...others, standbyOf: primary })
  try {
    if (synchronous) await waitWithCommits(primary, server)
    await until('the standby follows its primary', async () => {
      const sync = await syncState(primary, server)
      return sync === (synchronous ? 'sync' : 'async')
    })
    return Object.assign(server, control(primary, server))
  } catch (error) {
    await server.cleanUp()
    throw error
  }
}

async function waitWithCommits(primary: PostgresServer, standby: PostgresServer): Promise<void> {
  await query(primary, `ALTER SYSTEM SET synchronous_standby_names = ${standbyName(standby)}`)
  await query(primary, 'SELECT pg_reload_conf()')
}

async function syncState(
  primary: PostgresServer,
  standby: PostgresServer,
): Promise<string | undefined> {
  const [row] = await query<{ sync_state: string }>(
    primary,
    `SELECT sync_state FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'`,
    [standbyName(standby)],
  )
  return row?.sync_state
}

function control(
  primary: PostgresServer,
  standby: PostgresServer,
): Omit<PostgresStandby, keyof PostgresServer> {
  const says = async (condition: string, values: readonly unknown[] = []) => {
    const [row] = await query<{ is: boolean }>(standby, `SELECT ${condition} AS is`, values)
    return row?.is === true
  }
  return {
    async waitForReplay() {
      const [row] = await query<{ lsn: string }>(primary, 'SELECT pg_current_wal_lsn() AS lsn')
      await until('the standby has replayed it', async () =>
        says('pg_last_wal_replay_lsn() >= $1::pg_lsn', [row?.lsn]),
      )
    },
    async pauseReplay() {
      await query(standby, 'SELECT pg_wal_replay_pause()')
      await until('the replay pauses', async () =>
        says(`pg_get_wal_replay_pause_state() = 'paused'`),
      )
    },
    async resumeReplay() {
      await query(standby, 'SELECT pg_wal_replay_resume()')
    },
    async promote() {
      await query(standby, 'SELECT pg_promote(false)')
      await until('the standby is a primary', async () => says('NOT pg_is_in_recovery()'))
    },
  }
}
