import { allDone, ask, askFields, until } from './redis-commands.ts'
import { startRedis, startSentinel, type RedisServer } from './redis-server.ts'

const NAME = 'latchkey'
/** No machine stands still for so long: while no promotion is waited for, nobody is taken for dead. */
const CALM_MS = 60_000

/** Options of {@link startSentinels}. */
export interface SentinelOptions {
  /** How many sentinels. @defaultValue 1 */
  readonly sentinels?: number
  /** How many must agree that the primary is down. @defaultValue the majority */
  readonly quorum?: number
  /** How many replicas. @defaultValue 1 */
  readonly replicas?: number
  /** Silence after which a sentinel takes the primary for dead, while that is waited for. @defaultValue 1000 */
  readonly downAfterMs?: number
  /** Time for each step of a failover; a failed one is repeated after twice that. @defaultValue 3000 */
  readonly failoverTimeoutMs?: number
  /** Lines of redis.conf for primary and replicas. */
  readonly config?: Readonly<Record<string, string>>
}

/** A primary, its replicas, and the sentinels that watch them. */
export interface SentinelSetup {
  /** The primary's name, ioredis's `name`. */
  readonly name: string
  /** ioredis's `sentinels`. */
  readonly sentinels: { host: string; port: number }[]
  /** The sentinels' processes, in the same order. */
  readonly sentinelServers: readonly RedisServer[]
  /** The first is the primary at the start. */
  readonly servers: readonly RedisServer[]
  /** Whom the sentinels call primary at the moment. */
  primary(): Promise<RedisServer>
  /**
   * Ends, freezes, or orderly demotes the primary, and waits until another server is promoted and all
   * sentinels say so. What was ended or frozen stays so: `restart` or `resume` it.
   */
  failover(by?: 'kill' | 'pause' | 'command'): Promise<Promotion>
  /** Waits until another than `from` is promoted: for failures made in some other way. */
  waitForPromotion(from: RedisServer): Promise<RedisServer>
  /** Waits until this server follows the primary and all sentinels would promote it. */
  waitForReplica(server: RedisServer): Promise<void>
  cleanUp(): Promise<void>
}

/** Who was primary, and who is. */
export interface Promotion {
  readonly from: RedisServer
  readonly to: RedisServer
}

/** Starts primary, replicas, and sentinels, and waits until they know one another. */
export async function startSentinels(options: SentinelOptions = {}): Promise<SentinelSetup> {
  const { sentinels: count = 1, replicas = 1, config = {} } = options
  const servers: RedisServer[] = []
  const sentinelServers: RedisServer[] = []
  const setup = control(servers, sentinelServers, options)
  try {
    const primary = await startRedis({ config })
    servers.push(primary)
    await allDone(
      Array.from({ length: replicas }, async () => {
        servers.push(await startRedis({ config, replicaOf: primary }))
      }),
    )
    await allDone(servers.slice(1).map((server) => isFollowing(server)))
    const lines = sentinelLines(primary, count, options)
    await allDone(
      Array.from({ length: count }, async () => {
        const sentinel = await startSentinel(lines)
        sentinelServers.push(sentinel)
        await hurry(sentinel)
      }),
    )
    await allDone(sentinelServers.map((sentinel) => isInformed(sentinel, count, replicas)))
    await allDone(servers.slice(1).map((server) => setup.waitForReplica(server)))
    return { ...setup, sentinels: sentinelServers.map(({ port }) => ({ host: '127.0.0.1', port })) }
  } catch (error) {
    await setup.cleanUp()
    throw error
  }
}

function control(
  servers: RedisServer[],
  sentinelServers: RedisServer[],
  { downAfterMs = 1000 }: SentinelOptions,
): Omit<SentinelSetup, 'sentinels'> {
  const primaryOf = async (sentinel: RedisServer) => {
    const address = await ask(sentinel, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)
    const [, port] = address as [string, string]
    return servers.find((server) => server.port === Number(port))
  }
  const primary = async () =>
    until('the sentinels agree on a primary', async () => {
      const running = sentinelServers.filter((sentinel) => sentinel.running)
      const [first, ...others] = await Promise.all(running.map(primaryOf))
      return others.every((other) => other === first) && first
    })
  const isPromoted = async (from: RedisServer) =>
    until('another server is primary', async () => {
      const to = await primary()
      return to !== from && (await isRole(to, 'master')) && to
    })
  const suspectAfter = async (ms: number) => {
    const running = sentinelServers.filter((sentinel) => sentinel.running)
    const told = running.map(async (sentinel) =>
      ask(sentinel, 'SENTINEL', 'SET', NAME, 'down-after-milliseconds', ms),
    )
    await allDone(told)
  }
  const waitForPromotion = async (from: RedisServer) => {
    await suspectAfter(downAfterMs)
    const to = await isPromoted(from)
    await suspectAfter(CALM_MS)
    return to
  }
  return {
    name: NAME,
    servers,
    sentinelServers,
    primary,
    waitForPromotion,
    async failover(by = 'kill') {
      const from = await primary()
      if (by === 'command') {
        await ask(firstOf(sentinelServers), 'SENTINEL', 'FAILOVER', NAME)
        return { from, to: await isPromoted(from) }
      }
      if (by === 'kill') await from.kill()
      else from.pause()
      return { from, to: await waitForPromotion(from) }
    },
    async waitForReplica(server) {
      await isFollowing(server, primary)
      const running = sentinelServers.filter((sentinel) => sentinel.running)
      await allDone(running.map((sentinel) => isPromotable(sentinel, server)))
    },
    async cleanUp() {
      // The sentinels first: no failover while the rest goes down.
      await allDone(sentinelServers.map(async (sentinel) => sentinel.cleanUp()))
      await allDone(servers.map(async (server) => server.cleanUp()))
    },
  }
}

function sentinelLines(primary: RedisServer, count: number, options: SentinelOptions): string[] {
  const { quorum = Math.floor(count / 2) + 1 } = options
  const { failoverTimeoutMs = 3000 } = options
  return [
    `sentinel monitor ${NAME} 127.0.0.1 ${primary.port} ${quorum}`,
    `sentinel down-after-milliseconds ${NAME} ${CALM_MS}`,
    `sentinel failover-timeout ${NAME} ${failoverTimeoutMs}`,
  ]
}

/** Sentinels look around every ten seconds and pause for thirty when the machine was slow, unless told. */
async function hurry(sentinel: RedisServer): Promise<void> {
  const periods = {
    'INFO-PERIOD': 200,
    'PUBLISH-PERIOD': 200,
    'PING-PERIOD': 100,
    'ASK-PERIOD': 200,
  }
  const calm = { 'TILT-TRIGGER': 60_000, 'TILT-PERIOD': 1000 }
  const settings = Object.entries({ ...periods, ...calm }).flat()
  // Before Redis 7 there is no such command; all is slower then, but right.
  await ask(sentinel, 'SENTINEL', 'DEBUG', ...settings).catch(() => {})
}

async function isInformed(sentinel: RedisServer, count: number, replicas: number): Promise<void> {
  await until('the sentinel knows replicas and sentinels', async () => {
    const fields = pairsOf((await ask(sentinel, 'SENTINEL', 'MASTER', NAME)) as string[])
    const known = ['flags', 'num-slaves', 'num-other-sentinels'].map((name) => fields[name])
    return known.join() === ['master', replicas, count - 1].join()
  })
}

async function isPromotable(sentinel: RedisServer, replica: RedisServer): Promise<void> {
  await until('the sentinel trusts the replica', async () => {
    const lists = (await ask(sentinel, 'SENTINEL', 'REPLICAS', NAME)) as string[][]
    const fields = lists.map(pairsOf).find(({ port }) => Number(port) === replica.port)
    return fields?.['flags'] === 'slave' && fields['master-link-status'] === 'ok'
  })
}

function pairsOf(list: readonly string[]): Record<string, string | undefined> {
  return Object.fromEntries(
    list.flatMap((name, place) => (place % 2 === 0 ? [[name, list[place + 1]]] : [])),
  )
}

async function isRole(server: RedisServer, role: 'master' | 'slave'): Promise<boolean> {
  const [actual] = (await ask(server, 'ROLE')) as [string]
  return actual === role
}

async function isFollowing(
  server: RedisServer,
  primary?: () => Promise<RedisServer>,
): Promise<void> {
  await until('the replica follows its primary', async () => {
    const info = await askFields(server, 'INFO', 'replication')
    if (info['master_link_status'] !== 'up') return false
    return primary === undefined || Number(info['master_port']) === (await primary()).port
  })
}

function firstOf<Item>([first]: readonly Item[]): Item {
  if (first === undefined) throw new Error('there is none')
  return first
}
