import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { Cluster, Redis } from 'ioredis'

import { startRedisCluster, type RedisCluster } from '../support/redis-cluster.ts'
import { ask, replicated, until } from '../support/redis-commands.ts'
import { freePort } from '../support/redis-process.ts'
import { startSentinels, type SentinelSetup } from '../support/redis-sentinel.ts'
import { sharedRedisUrl, startRedis, type RedisServer } from '../support/redis-server.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

describe('a Redis of its own', () => {
  let server: RedisServer

  beforeAll(async () => {
    server = await startRedis({ config: { appendonly: 'yes' } })
  })

  afterAll(() => server.cleanUp())

  it('answers on loopback only, with the process id it tells', async () => {
    const { pid, port } = server
    expect(await ask(server, 'INFO', 'server')).toContain(`process_id:${pid}`)
    expect(await ask(server, 'CONFIG', 'GET', 'bind')).toEqual(['bind', '127.0.0.1'])
    expect(port).toBeLessThan(21_000)
  })

  it('keeps port and data over a restart', async () => {
    const { pid, port } = server
    await ask(server, 'SET', 'kept', 'yes')
    await server.restart()
    expect(server.pid).not.toBe(pid)
    expect(server.port).toBe(port)
    expect(await ask(server, 'GET', 'kept')).toBe('yes')
  })

  it('comes back after a kill', async () => {
    await server.kill()
    expect(server.running).toBe(false)
    await expect(ask(server, 'PING')).rejects.toThrow()
    await server.restart()
    expect(await ask(server, 'PING')).toBe('PONG')
  })

  it('is silent while paused', async () => {
    server.pause()
    expect(server.running).toBe(false)
    const answer = ask(server, 'PING')
    const first = await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 60))])
    expect(first).toBeUndefined()
    server.resume()
    expect(await answer).toBe('PONG')
  })

  it('does not start on a port that is taken', async () => {
    await expect(startRedis({ port: server.port })).rejects.toThrow('Address already in use')
  })

  it('is gone with its data when cleaned up, paused or not', async () => {
    const other = await startRedis()
    other.pause()
    await other.cleanUp()
    expect([isAlive(other.pid), existsSync(other.dir)]).toEqual([false, false])
  })

  it('dies with the process that started it, however that dies', async () => {
    const script = `
      import { startRedis } from './test/support/redis-server.ts'
      const [running, paused, killed] = [await startRedis(), await startRedis(), await startRedis()]
      paused.pause()
      await killed.kill()
      console.log(JSON.stringify([running, paused, killed]))
      setInterval(() => {}, 1000)`
    const args = ['--import', 'tsx', '--input-type=module', '--eval', script]
    const harness = spawn(process.execPath, args, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    try {
      const [line] = (await once(harness.stdout.setEncoding('utf8'), 'data')) as [string]
      const servers = JSON.parse(line) as RedisServer[]
      expect(servers.map(({ pid }) => isAlive(pid))).toEqual([true, true, false])
      harness.kill('SIGKILL')
      await until('the servers are gone', async () =>
        servers.every(({ pid, dir }) => !isAlive(pid) && !existsSync(dir)),
      )
    } finally {
      harness.kill('SIGKILL')
    }
  })
})

describe('a free port', () => {
  const { JEST_WORKER_ID: worker } = process.env

  afterEach(() => {
    process.env['JEST_WORKER_ID'] = worker
  })

  async function portsOf(id: string): Promise<number[]> {
    process.env['JEST_WORKER_ID'] = id
    const ports: number[] = []
    while (ports.length < 100) ports.push(await freePort())
    return ports
  }

  it('is no other worker’s, and nobody gets it again', async () => {
    const [first, second] = [await portsOf('1'), await portsOf('2')]
    expect(Math.max(...first)).toBeLessThan(Math.min(...second))
    expect(new Set([...first, ...second]).size).toBe(200)
  })
})

it('starts one server for all suites', async () => {
  const redis = new Redis(sharedRedisUrl(), { retryStrategy: () => null })
  try {
    expect(await redis.ping()).toBe('PONG')
  } finally {
    redis.disconnect()
  }
})

describe('sentinels', () => {
  let setup: SentinelSetup
  let redis: Redis | undefined

  beforeAll(async () => {
    setup = await startSentinels({ sentinels: 3 })
  })

  afterEach(() => redis?.disconnect())

  afterAll(() => setup.cleanUp())

  it('take nobody for dead who stalls', async () => {
    const primary = await setup.primary()
    await stall(primary)
    expect(await setup.primary()).toBe(primary)
  })

  it('promote the replica when the primary is killed', async () => {
    const { name, sentinels } = setup
    redis = new Redis({ name, sentinels })
    // Between two primaries: it tries again by itself.
    redis.on('error', () => {})
    await redis.set('before', 'yes')
    const [primary, replica] = setup.servers as [RedisServer, RedisServer]
    await replicated(primary, replica)
    const { from, to } = await setup.failover()
    expect([from.running, to]).toEqual([false, await setup.primary()])
    expect(await redis.get('before')).toBe('yes')
    await from.restart()
    await setup.waitForReplica(from)
  })

  it('promote the replica when the primary is frozen', async () => {
    const { from, to } = await setup.failover('pause')
    expect(to).not.toBe(from)
    from.resume()
    await setup.waitForReplica(from)
  })
})

describe('a cluster', () => {
  let cluster: RedisCluster
  let client: Cluster

  beforeAll(async () => {
    cluster = await startRedisCluster()
    client = new Cluster(cluster.startupNodes, { slotsRefreshInterval: 0 })
  })

  afterAll(async () => {
    client.disconnect()
    await cluster.cleanUp()
  })

  it('moves a slot step by step', async () => {
    await Promise.all(['{x}1', '{x}2', '{x}3'].map((key) => client.set(key, key)))
    const slot = await cluster.slotOf('{x}')
    const from = await cluster.primaryOf(slot)
    const to = await cluster.primaryOf((slot + 6000) % 16_384)
    const migration = await cluster.openMigration(slot, to)
    expect(await migration.moveKeys(2)).toBe(2)
    expect(await ask(from, 'CLUSTER', 'COUNTKEYSINSLOT', slot)).toBe(1)
    expect(await client.get('{x}1')).toBe('{x}1')
    await migration.finish()
    expect(await cluster.primaryOf(slot)).toBe(to)
    expect(await ask(to, 'CLUSTER', 'COUNTKEYSINSLOT', slot)).toBe(3)
    await cluster.migrateSlot(slot, from)
    expect(await cluster.primaryOf(slot)).toBe(from)
  })

  it('takes nobody for dead who stalls', async () => {
    const primary = await cluster.primaryOf(0)
    await stall(primary)
    expect(await cluster.primaryOf(0)).toBe(primary)
  })

  it('promotes the replica of a primary that was killed', async () => {
    const slot = await cluster.slotOf('key')
    await client.set('key', 'value')
    const [replica] = await cluster.replicasOf(slot)
    await replicated(await cluster.primaryOf(slot), replica!)
    const from = await cluster.killPrimaryOf(slot)
    const to = await cluster.waitForFailover(slot, from)
    await cluster.waitOk()
    expect(await client.get('key')).toBe('value')
    await from.restart()
    await cluster.waitOk()
    expect(await cluster.replicasOf(slot)).toEqual([from])
    expect(await cluster.demotePrimaryOf(slot)).toBe(from)
    expect(to.running).toBe(true)
  })
})

/** For longer than a failover takes that is waited for. */
async function stall(server: RedisServer): Promise<void> {
  server.pause()
  await sleep(4000)
  server.resume()
  await until('it answers', async () => ask(server, 'PING'))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
