import cluster from 'node:cluster'
import { setImmediate } from 'node:timers/promises'
import { KEYS_ENTRY } from '../../lib/heard-set.ts'
import type { KeysDocument, LimitState, Store } from '../../lib/store.ts'
import { MemoryAudit } from './audit.ts'
import { ExpiringMap } from './expiring-map.ts'
import { MemoryFeed } from './feed.ts'
import type { MemoryStoreOptions } from './options.ts'
import { parseMemoryStoreOptions } from './options.ts'
import { findProcesses } from './processes.ts'
import { SessionTable } from './session-table.ts'
import { MemorySessions } from './sessions.ts'

const MAX_COUNTERS = 100_000
const PRUNE_BATCH = 1000

/**
 * A store in this process's memory: for tests, demos, and apps that run as one process and may
 * forget all sessions at a restart. Kits that are given the same store share its sessions.
 *
 * Everything is bounded and nothing runs in the background. When a hundred thousand rate-limit
 * counters are in force, the oldest gives way.
 *
 * @throws {ConfigError} `invalid_option` when an option is unknown or out of range
 *
 * @example
 * const latchkey = createLatchkey({ issuer: 'https://app.example', store: memoryStore() })
 */
export function memoryStore(options: MemoryStoreOptions = {}): Store {
  return openMemoryStore(options).store
}

/**
 * The store and, for tests that play a failover, its table.
 *
 * @internal
 */
export function openMemoryStore(options: MemoryStoreOptions = {}): {
  store: Store
  table: SessionTable
} {
  const { now, maxSessions, feedRetentionMs, maxAuditEvents } = parseMemoryStoreOptions(options)
  const table = new SessionTable(maxSessions)
  const feed = new MemoryFeed(now, feedRetentionMs)
  const audit = new MemoryAudit(maxAuditEvents)
  const sessions = new MemorySessions(table, feed, audit, now)
  const counters = new ExpiringMap<number>(MAX_COUNTERS, 'drop_oldest')
  let keys: KeysDocument | null = null
  let closed = false

  /** Runs one operation as one synchronous step; what it throws is a rejection. */
  async function step<Result>(operation: () => Result): Promise<Awaited<Result>> {
    if (closed) throw new Error('the memory store is closed')
    return await operation()
  }

  function take(key: string, cost: number, windowMs: number): LimitState {
    const at = now()
    const counter = counters.get(key, at)
    const used = (counter?.value ?? 0) + cost
    const resetsAt = counter?.expiresAt ?? at + windowMs
    counters.set(key, used, resetsAt, at)
    return { used, resetsInMs: resetsAt - at }
  }

  function save(expected: number, document: string): boolean {
    if ((keys?.version ?? 0) !== expected) return false
    keys = Object.freeze({ version: expected + 1, document })
    feed.append({ sid: KEYS_ENTRY, ver: keys.version })
    return true
  }

  async function prune(): Promise<number> {
    sessions.prune(now())
    counters.prune(now())
    feed.trim()
    let removed = table.sweep(PRUNE_BATCH, now())
    for (let batch = removed; batch === PRUNE_BATCH; removed += batch) {
      // Between batches requests get their turn.
      await setImmediate()
      batch = table.sweep(PRUNE_BATCH, now())
    }
    return removed
  }

  function close(): void {
    closed = true
    feed.close()
    sessions.clear()
    counters.clear()
    audit.clear()
    keys = null
  }

  const store: Store = {
    create: (input) => step(() => sessions.create(input)),
    replace: (input) => step(() => sessions.replace(input)),
    check: (input) => step(() => sessions.check(input)),
    rotate: (input) => step(() => sessions.rotate(input)),
    update: (input) => step(() => sessions.update(input)),
    revoke: (input) => step(() => sessions.revoke(input)),
    revokeUser: (input) => step(() => sessions.revokeUser(input)),
    list: ({ user, limit, cursor }) => step(() => table.page(user, limit, cursor, now())),
    deny: (input) => step(() => sessions.deny(input)),
    isDenied: (input) => step(() => sessions.isDenied(input)),
    limit: { take: (key, cost, windowMs) => step(() => take(key, cost, windowMs)) },
    audit: {
      withChange: true,
      append: (events) => step(() => audit.append(events)),
      query: (query) => step(() => audit.query(query)),
    },
    keys: {
      load: () => step(() => keys),
      save: (expected, document) => step(() => save(expected, document)),
    },
    feed: { retentionMs: feedRetentionMs, read: (input) => step(() => feed.read(input)) },
    prune: () => step(prune),
    inspect: () =>
      step(() => findProcesses({ isClusterWorker: cluster.isWorker, env: process.env })),
    close: async () => close(),
  }
  return { store, table }
}
