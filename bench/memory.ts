// What a session takes in each store, and what a node takes that follows and caches.
import { Redis } from 'ioredis'
import type { CreateInput, Store } from '../middleware/index.ts'
import { startRedis } from '../test/support/redis-server.ts'
import { startChild } from './support/children.ts'
import { openAll, startBench } from './support/postgres.ts'
import { formatTable } from './support/report.ts'
import {
  forEachOf,
  IDLE_TIMEOUT_MS,
  newAttempt,
  newSession,
  openStore,
  POLICY,
} from './support/sessions.ts'

const IN_FLIGHT = 16

/** One kind of thing that is kept, and what it takes. */
export interface MemoryRow {
  readonly name: string
  readonly count: number
  readonly bytesEach: number
}

/** @param count - how many sessions */
export async function measureMemory(count: number): Promise<MemoryRow[]> {
  const rows: MemoryRow[] = []
  const add = (name: string, bytes: number, many = count) =>
    rows.push({ name, count: many, bytesEach: bytes / many })

  const server = await startRedis()
  const client = new Redis(server.url)
  const prefix = 'bench'
  const onRedis = await openStore(client, { prefix })
  try {
    const used = async () => Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1])
    const before = await used()
    await useStore(onRedis, count)
    add('a session in Redis, used_memory', (await used()) - before)
    add('a session in Redis, MEMORY USAGE of its keys', await usageOf(client, prefix))
  } finally {
    await onRedis.close()
    client.disconnect()
    await server.cleanUp()
  }

  const bench = await startBench(IN_FLIGHT, { fsync: 'off', synchronous_commit: 'off' })
  try {
    await useStore(bench.store, count)
    await bench.pool.query(`vacuum ${bench.names.session}`)
    const { rows: sizes } = await bench.pool.query<{ bytes: string }>(
      `select pg_total_relation_size('${bench.names.session}') as bytes`,
    )
    add('a session in Postgres, with its indexes', Number(sizes[0]?.bytes))
  } finally {
    await bench.close()
  }

  for (const [kind, name, many] of HEAPS) {
    const child = await startChild('memory-child.ts')
    const asked = Math.round(many * count)
    add(name, await child.ask<number>({ kind, count: asked }), asked)
    await child.stop()
  }
  return rows
}

/** What the keys of sessions and of their users take, without the tables that all keys are in. */
async function usageOf(client: Redis, prefix: string): Promise<number> {
  const keys = (await client.keys(`${prefix}:{*`)).filter((key) => SESSION_KEY.test(key))
  let bytes = 0
  for (let from = 0; from < keys.length; from += 1000) {
    const pipeline = client.pipeline()
    for (const key of keys.slice(from, from + 1000)) pipeline.memory('USAGE', key)
    for (const [error, usage] of (await pipeline.exec()) ?? []) {
      if (error !== null) throw error
      bytes += Number(usage)
    }
  }
  return bytes
}

/** A session, or the index of a user's: neither the feed nor the audit trail. */
const SESSION_KEY = /^[^:]+:\{[\w-]{2}\}u?[\w-]{22}$/

/** What is measured in a process of its own, and how many there are of it for each session. */
const HEAPS = [
  ['store', 'a session in the memory store, heap', 1],
  ['near', 'a session in the near cache, heap', 1],
  ['heard', 'a revocation that is remembered, heap', 0.1],
  ['token', 'an access token that is remembered, heap', 0.1],
  ['session-token', 'a session token that is remembered, heap', 0.1],
] as const

/** Opens sessions and refreshes each once. */
async function useStore(store: Store, count: number): Promise<void> {
  const inputs = Array.from({ length: count }, (_, n): CreateInput => newSession(`user${n}`))
  await openAll(store, inputs, IN_FLIGHT)
  await forEachOf(inputs, IN_FLIGHT, async ({ session: { sid, seedHash } }) =>
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
  )
}

/** The rows as a table. */
export function formatMemory(rows: readonly MemoryRow[]): string {
  return formatTable([
    ['', 'of so many', 'bytes each', 'MiB together'],
    ...rows.map(({ name, count, bytesEach }) => [
      name,
      count,
      bytesEach.toFixed(0),
      ((bytesEach * count) / 2 ** 20).toFixed(1),
    ]),
  ])
}
