import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { freePort } from './redis-process.ts'
import {
  handOver,
  isPortTaken,
  launchPostgres,
  logOf,
  runToEnd,
  signalFamily,
  temporaryFolder,
  type PostgresProcess,
} from './postgres-process.ts'
import { postgresPrograms } from './postgres-program.ts'

const USER = 'latchkey'
const STOP_MS = 10_000
const PORT_ATTEMPTS = 5

/** Where the single-server suites find their server: set by whoever runs the tests, else by Jest's globalSetup. */
const SHARED_URL = 'LATCHKEY_TEST_POSTGRES_URL'
/** Why globalSetup could not start one; only the tests that ask for it fail. */
const SHARED_MISSING = 'LATCHKEY_TEST_POSTGRES_MISSING'

/** Data to start from, of globalSetup: a copy is made in a tenth of the time that initdb takes. */
const TEMPLATE = 'LATCHKEY_TEST_POSTGRES_TEMPLATE'

/** Options of {@link startPostgres}. */
export interface PostgresOptions {
  /**
   * Folder of its data, which are served again when there are some; kept by `cleanUp`, and given to the
   * account `nobody` when this process is root's. @defaultValue a temporary one, removed by `cleanUp`
   */
  readonly dir?: string
  /** @defaultValue a free one */
  readonly port?: number
  /** Lines of postgresql.conf. @defaultValue 200 connections, no fsync */
  readonly config?: Readonly<Record<string, string>>
  /** The primary this one copies, and then follows asynchronously. */
  readonly standbyOf?: { readonly port: number; readonly url: string }
}

/** A PostgreSQL of our own, on 127.0.0.1 only. */
export interface PostgresServer {
  readonly port: number
  /** Of its superuser, with password. */
  readonly url: string
  /** Process id of the server itself; a new one after `restart`. */
  readonly pid: number
  readonly dir: string
  /** Whether it can answer: neither ended nor paused. */
  readonly running: boolean
  /** Ends all of its processes without a chance to write or say anything, and waits. */
  kill(): Promise<void>
  /**
   * Ends it and waits. `fast` rolls back, writes all, and tells its clients (57P01); `immediate` writes
   * nothing and cuts them off.
   */
  stop(mode?: 'fast' | 'immediate'): Promise<void>
  /** Freezes all of its processes: connections stay open, and the system accepts new ones, but nothing is answered. */
  pause(): void
  resume(): void
  /** Starts it again on the same port with the same data, after `stop` when it still runs. */
  restart(): Promise<void>
  /** All it wrote to its log. */
  log(): string
  /** Kills it and removes its data. */
  cleanUp(): Promise<void>
}

/** Starts a PostgreSQL that ends with this process at the latest. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const disposable = options.dir === undefined
  const dir = options.dir ?? temporaryFolder()
  try {
    handOver(dir)
    const password = await prepareData(dir, options)
    for (let attempt = 1; ; attempt += 1) {
      const port = options.port ?? (await freePort())
      writeFileSync(join(dir, 'postgresql.conf'), configuration(port, options))
      handOver(join(dir, 'postgresql.conf'))
      try {
        const first = await launchPostgres(dir)
        const url = `postgres://${USER}:${password}@127.0.0.1:${port}/postgres`
        return serve({ port, url, dir, disposable, first })
      } catch (error) {
        const again = isPortTaken(error) && options.port === undefined && attempt < PORT_ATTEMPTS
        if (!again) throw error
      }
    }
  } catch (error) {
    if (disposable) rmSync(dir, { recursive: true, force: true })
    throw error
  }
}

/** Makes or copies data unless there are some; gives the password. */
async function prepareData(dir: string, { standbyOf }: PostgresOptions): Promise<string> {
  const { command } = postgresPrograms()
  const [data, passwordFile] = [join(dir, 'data'), join(dir, 'password')]
  if (existsSync(join(data, 'PG_VERSION'))) return readFileSync(passwordFile, 'utf8')
  const template = process.env[TEMPLATE]
  if (standbyOf === undefined && template !== undefined) {
    const parts = [join(template, 'data'), join(template, 'password')]
    await promisify(execFile)('cp', ['-a', ...parts, dir])
    return readFileSync(passwordFile, 'utf8')
  }
  const password = standbyOf === undefined ? randomUUID() : new URL(standbyOf.url).password
  writeFileSync(passwordFile, password, { mode: 0o600 })
  handOver(passwordFile)
  if (standbyOf === undefined) {
    const access = ['--username', USER, '--pwfile', passwordFile, '--auth', 'scram-sha-256']
    const text = ['--encoding', 'UTF8', '--locale', 'C']
    const initdb = [...command('initdb', dir), '-D', data, '--no-sync', ...access, ...text]
    await runToEnd(dir, initdb)
  } else {
    const from = ['--host', '127.0.0.1', '--port', String(standbyOf.port), '--username', USER]
    const how = ['--checkpoint', 'fast', '--no-sync', '--no-password']
    const copy = [...command('pg_basebackup', dir), '-D', data, ...from, ...how]
    await runToEnd(dir, copy, { PGPASSWORD: password })
    writeFileSync(join(data, 'standby.signal'), '')
    handOver(join(data, 'standby.signal'))
    // What ALTER SYSTEM told the primary is not meant for this one.
    writeFileSync(join(data, 'postgresql.auto.conf'), '')
  }
  return password
}

function configuration(port: number, { config = {}, standbyOf }: PostgresOptions): string {
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    max_connections: '200',
    // What was written outlives the server's death anyhow; only the machine's could take it.
    fsync: 'off',
    // In the data folder, not in the machine's shared memory, where a killed server would leave it.
    dynamic_shared_memory_type: 'mmap',
    // A standby that was away finds what it missed.
    wal_keep_size: '256MB',
    log_line_prefix: '%m [%p] %a ',
    ...(standbyOf && { primary_conninfo: conninfo(port, standbyOf) }),
    ...config,
  }
  const lines = Object.entries(settings).map(([key, value]) => `${key} = ${quoted(value)}`)
  return [...lines, ''].join('\n')
}

function conninfo(port: number, { port: primary, url }: { port: number; url: string }): string {
  const { username, password } = new URL(url)
  const who = `user=${username} password=${password} application_name=${standbyName({ port })}`
  return `host=127.0.0.1 port=${primary} ${who}`
}

function quoted(value: string): string {
  return `'${value.replaceAll("'", "''")}'`
}

/** What a standby calls itself in the primary's `pg_stat_replication` and `synchronous_standby_names`. */
export function standbyName({ port }: { readonly port: number }): string {
  return `standby_${port}`
}

interface Served {
  readonly port: number
  readonly url: string
  readonly dir: string
  /** Whether the data goes with the server. */
  readonly disposable: boolean
  readonly first: PostgresProcess
}

function serve({ port, url, dir, disposable, first }: Served): PostgresServer {
  let run = first
  let paused = false
  const kill = async () => {
    const { end } = run
    if (run.running) signalFamily(run.pid, 'KILL')
    paused = false
    await end()
  }
  const resume = () => {
    if (paused && run.running) signalFamily(run.pid, 'CONT')
    paused = false
  }
  const stop = async (mode: 'fast' | 'immediate' = 'fast') => {
    resume()
    if (run.running) tell(run.pid, mode === 'fast' ? 'SIGINT' : 'SIGQUIT')
    // It waits for a standby to receive all, and that may be paused.
    const impatience = setTimeout(() => void kill(), STOP_MS)
    await run.end()
    clearTimeout(impatience)
  }
  return {
    port,
    url,
    get pid() {
      return run.pid
    },
    dir,
    get running() {
      return run.running && !paused
    },
    kill,
    stop,
    pause() {
      paused = true
      if (run.running) signalFamily(run.pid, 'STOP')
    },
    resume,
    async restart() {
      await stop()
      run = await launchPostgres(dir)
    },
    log() {
      return logOf(dir)
    },
    async cleanUp() {
      await kill()
      if (disposable) rmSync(dir, { recursive: true, force: true })
    },
  }
}

function tell(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has just ended, and we are about to hear of it.
  }
}

/**
 * The one server that all single-server suites share: they keep apart by schema.
 *
 * @throws {Error} why there is none
 */
export function sharedPostgresUrl(): string {
  const url = process.env[SHARED_URL]
  if (url !== undefined) return url
  throw new Error(process.env[SHARED_MISSING] ?? 'the shared PostgreSQL was not started')
}

/** Starts the shared server, unless the environment names one; gives what stops it. */
export async function startSharedPostgres(): Promise<() => Promise<void>> {
  if (process.env[SHARED_URL] !== undefined) return async () => {}
  try {
    const template = temporaryFolder()
    handOver(template)
    await prepareData(template, {})
    process.env[TEMPLATE] = template
    const server = await startPostgres()
    process.env[SHARED_URL] = server.url
    return async () => {
      delete process.env[SHARED_URL]
      delete process.env[TEMPLATE]
      await server.cleanUp()
      rmSync(template, { recursive: true, force: true })
    }
  } catch (error) {
    process.env[SHARED_MISSING] = String(error)
    return async () => {}
  }
}
