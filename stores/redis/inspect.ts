import type { StoreFinding } from '../../lib/store.ts'
import type { RedisClient } from './client.ts'
import { text } from './reply.ts'

const MIN_VERSION = [6, 2] as const

/** What is unsafe about the server, or the servers of a Cluster. */
export async function inspectRedis(client: RedisClient): Promise<readonly StoreFinding[]> {
  const servers: readonly Pick<RedisClient, 'call'>[] = client.nodes?.('master') ?? [client]
  const found = await Promise.all(servers.map(async (server) => inspectServer(server)))
  const byCode = new Map(found.flat().map((finding) => [finding.code, finding]))
  return [...byCode.values()]
}

async function inspectServer(server: Pick<RedisClient, 'call'>): Promise<StoreFinding[]> {
  const info = text(await server.call('INFO'))
  const value = (name: string) => new RegExp(`^${name}:([^\\r\\n]*)`, 'm').exec(info)?.[1] ?? ''
  const findings: StoreFinding[] = []
  const [major = 0, minor = 0] = value('redis_version').split('.').map(Number)
  if (major < MIN_VERSION[0] || (major === MIN_VERSION[0] && minor < MIN_VERSION[1])) {
    findings.push({
      code: 'redis_version',
      message: `Redis ${value('redis_version')} is too old; latchkey needs 6.2 or newer`,
    })
  }
  const policy = value('maxmemory_policy')
  if (policy !== '' && policy !== 'noeviction') {
    findings.push({
      code: 'redis_eviction',
      message:
        `Redis evicts keys (maxmemory-policy ${policy}): sessions end and revocations are ` +
        'forgotten when memory is short; set maxmemory-policy noeviction',
    })
  }
  if (value('aof_enabled') !== '1') {
    findings.push({
      code: 'redis_persistence',
      message:
        'Redis keeps no append-only file: a restart forgets sessions and revocations; ' +
        'set appendonly yes',
    })
  }
  if (value('role') === 'slave') {
    findings.push({
      code: 'redis_replica',
      message: 'Redis is a replica and takes no writes; connect to the primary',
    })
  }
  return findings
}
