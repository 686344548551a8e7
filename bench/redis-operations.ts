// What the operations of the store cost beside the least a script can do:
// npx tsx bench/redis-operations.ts (about two minutes)
import { Redis } from 'ioredis'
import type { CreateInput } from '../middleware/index.ts'
import { startRedis } from '../test/support/redis-server.ts'
import { printNote, printTable, quantile, rounds } from './support/report.ts'
import {
  forEachOf,
  IDLE_TIMEOUT_MS,
  newAttempt,
  newSession,
  openStore,
  POLICY,
} from './support/sessions.ts'

const IN_FLIGHT = 64
const ROUNDS = 7
const CALLS = 10_000
const BARE_CALLS = 40_000
const USERS = 150
const SESSIONS_A_USER = 100
const BARE = `
local count = redis.call('HGET', KEYS[1], 'count')
redis.call('HSET', KEYS[1], 'count', (tonumber(count) or 0) + 1)
return count`

const server = await startRedis({ config: { appendonly: 'yes' } })
const redis = new Redis(server.url, { enableAutoPipelining: true })
const store = await openStore(redis)

/** Prepares a round, unmeasured, and gives what is then called once for each. */
type Operation = (round: number) => Promise<{
  readonly items: readonly CreateInput[]
  readonly call: (item: CreateInput) => Promise<unknown>
}>

const operations: Readonly<Record<string, Operation>> = {
  async create(round) {
    return { items: sessions(round), call: async (input) => store.create(input) }
  },
  async check(round) {
    const items = await opened(sessions(round))
    return {
      items,
      call: async ({ session: { sid, seedHash } }) =>
        store.check({ sid, seedHash, idleTimeoutMs: IDLE_TIMEOUT_MS }),
    }
  },
  async rotate(round) {
    const items = await opened(sessions(round))
    return {
      items,
      call: async ({ session: { sid, seedHash } }) =>
        store.rotate({
          sid,
          seedHash,
          generation: 0,
          attemptHash: newAttempt(),
          bindingHash: null,
          policy: POLICY,
          idleTimeoutMs: IDLE_TIMEOUT_MS,
          onReuse: 'session',
        }),
    }
  },
  async revoke(round) {
    const items = await opened(sessions(round))
    return {
      items,
      call: async ({ session: { sid } }) => store.revoke({ sid }),
    }
  },
  async 'list (3 sessions)'(round) {
    const items = await opened(sessions(round, 3))
    return {
      items,
      call: async ({ session: { user } }) => store.list({ user, limit: 50 }),
    }
  },
  async 'revokeUser (100 sessions)'(round) {
    const items = await opened(sessions(round, SESSIONS_A_USER, USERS * SESSIONS_A_USER))
    return {
      items: items.filter((_, n) => n % SESSIONS_A_USER === 0),
      call: async ({ session: { user } }) => store.revokeUser({ user }),
    }
  },
}

try {
  const sha = String(await redis.script('LOAD', BARE))
  const bare = Array.from({ length: BARE_CALLS }, (_, n) => `bare:${n % CALLS}`)
  const callBare = async (key: string) => redis.evalsha(sha, 1, key)
  await timed(bare, callBare)
  const rows: string[][] = []
  const bareRuns: Run[] = []
  for (const [name, prepare] of Object.entries(operations)) {
    const runs: Run[] = []
    const ratios: number[] = []
    // The first warms up.
    for (let round = 0; round <= ROUNDS; round++) {
      await redis.flushall()
      const { items, call } = await prepare(round)
      const before = await timed(bare, callBare)
      const run = await timed(items, call)
      const after = await timed(bare, callBare)
      if (round === 0) continue
      runs.push(run)
      bareRuns.push(before, after)
      ratios.push(run.perSecond / ((before.perSecond + after.perSecond) / 2))
    }
    rows.push([name, ...cells(runs), rounds(ratios, 2)])
  }
  rows.push(['bare EVALSHA: HGET and HSET', ...cells(bareRuns), '1'])
  printTable(`${IN_FLIGHT} in flight from one process, ${ROUNDS} rounds: median (min-max)`, [
    ['', 'calls a second', 'p50 ms', 'p99 ms', 'us of Redis', 'us of node', 'rate, of bare'],
    ...rows,
  ])
  printNote(
    'Each round stands between two of the bare script on the same connection options ' +
      '(automatic pipelining). Latency at this depth is mostly queueing.',
  )
} finally {
  await store.close()
  redis.disconnect()
  await server.cleanUp()
}

/** New logins of users of their own, so many each. */
function sessions(round: number, each = 1, count = CALLS): CreateInput[] {
  return Array.from({ length: count }, (_, n) => newSession(`${round}-${Math.floor(n / each)}`))
}

async function opened(inputs: CreateInput[]): Promise<CreateInput[]> {
  await forEachOf(inputs, IN_FLIGHT, async (input) => store.create(input))
  return inputs
}

interface Run {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  /** Processor time a call, microseconds. */
  readonly redisMicros: number
  readonly nodeMicros: number
}

async function timed<Item>(
  items: readonly Item[],
  call: (item: Item) => Promise<unknown>,
): Promise<Run> {
  const times: number[] = []
  const redisBefore = await redisCpu()
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
    redisMicros: ((await redisCpu()) - redisBefore) / items.length,
    nodeMicros: (user + system) / items.length,
    perSecond: items.length / seconds,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
  }
}

async function redisCpu(): Promise<number> {
  const cpu = await redis.info('cpu')
  const seconds = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(cpu)?.[1])
  return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1_000_000
}

function cells(runs: readonly Run[]): string[] {
  return [
    rounds(
      runs.map(({ perSecond }) => perSecond),
      0,
    ),
    rounds(
      runs.map(({ p50 }) => p50),
      2,
    ),
    rounds(
      runs.map(({ p99 }) => p99),
      1,
    ),
    rounds(
      runs.map(({ redisMicros }) => redisMicros),
      0,
    ),
    rounds(
      runs.map(({ nodeMicros }) => nodeMicros),
      0,
    ),
  ]
}
