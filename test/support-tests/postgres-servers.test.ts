import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { Client } from 'pg'

import { query } from '../support/postgres-commands.ts'
import {
  sharedPostgresUrl,
  startPostgres,
  startSharedPostgres,
  type PostgresServer,
} from '../support/postgres-server.ts'
import { startStandby, type PostgresStandby } from '../support/postgres-standby.ts'
import { until } from '../support/redis-commands.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

describe('a PostgreSQL of its own', () => {
  let server: PostgresServer

  beforeAll(async () => {
    server = await startPostgres()
    await query(server, 'CREATE TABLE kept (value text)')
  })

  afterAll(() => server.cleanUp())

  it('answers on loopback only, to who has the password', async () => {
    const { port, url } = server
    expect(await settings(server, 'listen_addresses', 'unix_socket_directories')).toEqual([
      '127.0.0.1',
      '',
    ])
    expect(port).toBeLessThan(21_000)
    const wrong = new URL(url)
    wrong.password = 'wrong'
    await expect(query({ url: wrong.href }, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' })
  })

  it('confirms a commit when it is written, as in production', async () => {
    expect(await settings(server, 'synchronous_commit', 'server_encoding')).toEqual(['on', 'UTF8'])
  })

  it('keeps port and data over a restart', async () => {
    const { pid, port } = server
    await query(server, `INSERT INTO kept VALUES ('restart')`)
    await server.restart()
    expect(server.pid).not.toBe(pid)
    expect(server.port).toBe(port)
    expect(await kept(server)).toEqual(['restart'])
  })

  it('loses nothing it confirmed and leaves nothing running when it is killed', async () => {
    const client = await open(server)
    const pids = await family(server)
    const busy = client.query('SELECT pg_sleep(60)')
    const cut = expect(busy).rejects.toThrow('Connection terminated unexpectedly')
    await query(server, `INSERT INTO kept VALUES ('kill')`)
    await server.kill()
    await cut
    expect(server.running).toBe(false)
    expect(pids.length).toBeGreaterThan(3)
    expect(pids.filter(isAlive)).toEqual([])
    await expect(query(server, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await server.restart()
    expect(await kept(server)).toContain('kill')
  })

  it('tells its clients when it is stopped, unless it is to be quick', async () => {
    const told = once(await open(server), 'error')
    await server.stop()
    expect(await told).toMatchObject([{ code: '57P01' }])
    await server.restart()
    const cutOff = once(await open(server), 'error')
    await server.stop('immediate')
    expect(await cutOff).toMatchObject([{ message: 'Connection terminated unexpectedly' }])
    await server.restart()
    expect(await kept(server)).toContain('kill')
  })

  it('is silent while paused, to old connections and new ones', async () => {
    const client = await open(server)
    server.pause()
    expect(server.running).toBe(false)
    const answers = Promise.all([client.query('SELECT 1'), query(server, 'SELECT 1')])
    const first = await Promise.race([answers, new Promise((resolve) => setTimeout(resolve, 60))])
    expect(first).toBeUndefined()
    server.resume()
    expect(await answers).toHaveLength(2)
    await client.end()
  })

  it('does not start on a port that is taken', async () => {
    await expect(startPostgres({ port: server.port })).rejects.toThrow('Address already in use')
  })

  it('tells why it does not start', async () => {
    await expect(startPostgres({ config: { no_such: '1' } })).rejects.toThrow('"no_such"')
  })

  it('serves a folder again, and leaves it', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'latchkey-kept-'))
    try {
      const before = await startPostgres({ dir, config: { fsync: 'on' } })
      await query(before, 'CREATE TABLE kept AS SELECT 1 AS value')
      await before.cleanUp()
      const after = await startPostgres({ dir, config: { fsync: 'on' } })
      expect([await kept(after), await settings(after, 'fsync')]).toEqual([[1], ['on']])
      await after.cleanUp()
      expect(existsSync(dir)).toBe(true)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })

  it('is gone with its data when cleaned up, paused or not', async () => {
    const other = await startPostgres()
    const pids = await family(other)
    other.pause()
    await other.cleanUp()
    expect([pids.filter(isAlive), existsSync(other.dir)]).toEqual([[], false])
  })

  it('dies with the process that started it, however that dies', async () => {
    const script = `
      import { query } from './test/support/postgres-commands.ts'
      import { startPostgres } from './test/support/postgres-server.ts'
      const servers = await Promise.all([startPostgres(), startPostgres(), startPostgres()])
      const families = servers.map((server) => query(server, 'SELECT pid FROM pg_stat_activity'))
      const pids = (await Promise.all(families)).flat().map(({ pid }) => pid)
      const [running, paused, killed] = servers
      query(running, 'SELECT pg_sleep(60)').catch(() => {})
      paused.pause()
      await killed.kill()
      const dirs = servers.map(({ dir }) => dir)
      console.log(JSON.stringify({ pids: [running.pid, paused.pid, ...pids], dirs }))
      setInterval(() => {}, 1000)`
    const args = ['--import', 'tsx', '--input-type=module', '--eval', script]
    const harness = spawn(process.execPath, args, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    try {
      const [line] = (await once(harness.stdout.setEncoding('utf8'), 'data')) as [string]
      const { pids, dirs } = JSON.parse(line) as { pids: number[]; dirs: string[] }
      expect(pids.slice(0, 2).map(isAlive)).toEqual([true, true])
      const segments = dirs.slice(0, 2).map(sharedMemory)
      expect(segments.filter(isSegment)).toHaveLength(2)
      harness.kill('SIGKILL')
      await until('the servers are gone', async () => !pids.some(isAlive) && !dirs.some(existsSync))
      expect(segments.filter(isSegment)).toEqual([])
    } finally {
      harness.kill('SIGKILL')
    }
  })
})

describe('a standby', () => {
  let primary: PostgresServer
  let standby: PostgresStandby

  beforeAll(async () => {
    primary = await startPostgres()
    await query(primary, 'CREATE TABLE kept AS SELECT 1 AS value')
    standby = await startStandby(primary)
  })

  afterAll(async () => {
    await standby.cleanUp()
    await primary.cleanUp()
  })

  it('has what its primary has, and takes no writes', async () => {
    await query(primary, 'INSERT INTO kept VALUES (2)')
    await standby.waitForReplay()
    expect(await kept(standby)).toEqual([1, 2])
    const write = query(standby, 'INSERT INTO kept VALUES (0)')
    await expect(write).rejects.toMatchObject({ code: '25006' })
  })

  it('finds what it missed while it was away', async () => {
    await standby.kill()
    await query(primary, 'INSERT INTO kept VALUES (3)')
    await standby.restart()
    await standby.waitForReplay()
    expect(await kept(standby)).toEqual([1, 2, 3])
  })

  it('lags behind on demand', async () => {
    await standby.pauseReplay()
    await query(primary, 'INSERT INTO kept VALUES (4)')
    expect(await kept(standby)).toEqual([1, 2, 3])
    await standby.resumeReplay()
    await standby.waitForReplay()
    expect(await kept(standby)).toEqual([1, 2, 3, 4])
  })

  it('holds commits up when it is synchronous and silent', async () => {
    const synchronous = await startStandby(primary, { synchronous: true })
    try {
      synchronous.pause()
      const commit = query(primary, 'INSERT INTO kept VALUES (5)')
      const first = await Promise.race([commit, new Promise((resolve) => setTimeout(resolve, 60))])
      expect(first).toBeUndefined()
      synchronous.resume()
      expect(await commit).toEqual([])
      await query(primary, 'ALTER SYSTEM RESET synchronous_standby_names')
      await query(primary, 'SELECT pg_reload_conf()')
    } finally {
      await synchronous.cleanUp()
    }
  })

  it('is a primary once promoted, and stays one', async () => {
    await standby.waitForReplay()
    await primary.kill()
    await standby.promote()
    await query(standby, 'INSERT INTO kept VALUES (6)')
    await standby.restart()
    expect(await kept(standby)).toEqual([1, 2, 3, 4, 5, 6])
  })
})

describe('the server of all suites', () => {
  const variables = { ...process.env }

  afterAll(() => {
    Object.assign(process.env, variables)
    delete process.env['LATCHKEY_TEST_POSTGRES_MISSING']
  })

  it('runs', async () => {
    expect(await query({ url: sharedPostgresUrl() }, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('is the one that the environment names', async () => {
    process.env['LATCHKEY_TEST_POSTGRES_URL'] = 'postgres://given'
    const stop = await startSharedPostgres()
    expect(sharedPostgresUrl()).toBe('postgres://given')
    await stop()
    expect(sharedPostgresUrl()).toBe('postgres://given')
  })

  it('is missed by who asks for it, with the reason', async () => {
    delete process.env['LATCHKEY_TEST_POSTGRES_URL']
    process.env['LATCHKEY_TEST_POSTGRES_MISSING'] = 'the reason'
    expect(sharedPostgresUrl).toThrow('the reason')
  })
})

async function open({ url }: PostgresServer): Promise<Client> {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  return client
}

async function kept(server: PostgresServer): Promise<unknown[]> {
  const rows = await query<{ value: unknown }>(server, 'SELECT value FROM kept ORDER BY value')
  return rows.map(({ value }) => value)
}

async function settings(server: PostgresServer, ...names: string[]): Promise<unknown[]> {
  const rows = names.map(async (name) =>
    query<{ value: string }>(server, 'SELECT current_setting($1) AS value', [name]),
  )
  return (await Promise.all(rows)).flat().map(({ value }) => value)
}

/** The server's process and all that it started. */
async function family(server: PostgresServer): Promise<number[]> {
  const rows = await query<{ pid: number }>(server, 'SELECT pid FROM pg_stat_activity')
  return [server.pid, ...rows.map(({ pid }) => pid)]
}

/** A dead process that its new parent has not yet taken note of is not alive. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** The id of the shared memory by which a server locks its data. */
function sharedMemory(dir: string): string | undefined {
  const lines = readFileSync(join(dir, 'data', 'postmaster.pid'), 'utf8').split('\n')
  return lines[6]?.trim().split(/\s+/)[1]
}

function isSegment(id: string | undefined): boolean {
  const rows = readFileSync('/proc/sysvipc/shm', 'utf8').split('\n')
  return rows.some((row) => row.trim().split(/\s+/)[1] === id)
}
