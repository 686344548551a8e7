import type { Store } from '../../lib/store.ts'
import { PostgresAudit } from './audit.ts'
import { PostgresFeed } from './feed.ts'
import { inspectPostgres } from './inspect.ts'
import { PostgresChecks } from './checks.ts'
import { connectionsOf, isPool } from './client.ts'
import { createListener } from './listener.ts'
import type { MigrationResult } from './migrate.ts'
import { migrate } from './migrate.ts'
import { createNotifier } from './notifier.ts'
import type { PostgresStoreOptions } from './options.ts'
import { parsePostgresOptions } from './options.ts'
import { PostgresPruner } from './prune.ts'
import { pruneByItself } from './prune-timer.ts'
import { PostgresRevocations } from './revocations.ts'
import { createRunner } from './runner.ts'
import { PostgresService } from './service.ts'
import { PostgresSessions } from './sessions.ts'

/** A store on Postgres, and what keeps its schema. */
export interface PostgresStore extends Store {
  /**
   * Brings the schema to the version of this code. Nodes that start together wait for one another;
   * done before, it changes nothing.
   *
   * @throws {Error} when the schema is newer than this code, or the role may not change it
   */
  migrate(): Promise<MigrationResult>
}

/**
 * A store on PostgreSQL 14 or newer. Every operation is one statement and one round trip.
 *
 * It uses connections of the app's pool, each for one statement, and one of its own to follow the
 * feed. The app ends its pool.
 *
 * @throws {ConfigError} `invalid_option` when the pool is none of pg 8, or another option is wrong
 *
 * @example
 * ```ts
 * const store = postgresStore({ pool: new Pool({ connectionTimeoutMillis: 2000 }) })
 * await store.migrate()
 * ```
 */
export function postgresStore(options: PostgresStoreOptions): PostgresStore {
  const settings = parsePostgresOptions(options)
  const { client, names, feedRetentionMs, auditRetentionMs, pruneIntervalMs } = settings
  const clock = () => settings.clock?.() ?? null
  const open = createRunner(settings)
  let closed = false

  function refuseClosed(): void {
    if (closed) throw new Error('the Postgres store is closed')
  }

  const runner: typeof open = {
    lockTimeout: open.lockTimeout,
    async run(...asked) {
      refuseClosed()
      return open.run(...asked)
    },
  }
  const listener = createListener({ ...settings, runner })
  const notifier = createNotifier(listener, names)
  // In a transaction of the app's the statements notify themselves, at its commit.
  const tellFeed = () => (isPool(client) ? notifier.tell() : undefined)
  const sessions = new PostgresSessions(runner, names, clock, tellFeed)
  const checks = new PostgresChecks(runner, names, clock, settings.operationTimeoutMs)
  const revocations = new PostgresRevocations({
    runner,
    names,
    clock,
    tellFeed,
    timeoutMs: settings.operationTimeoutMs,
    connections: connectionsOf(client),
  })
  const service = new PostgresService(runner, names, clock, tellFeed)
  const audit = new PostgresAudit(runner, names)
  const feed = new PostgresFeed({ listener, names, retentionMs: feedRetentionMs, clock })
  const retention = { feedMs: feedRetentionMs, auditMs: auditRetentionMs }
  const pruner = new PostgresPruner(runner, names, retention, clock)
  const stopPruning = pruneIntervalMs === null ? undefined : pruneByItself(pruner, pruneIntervalMs)

  return {
    create: async (input) => sessions.create(input),
    replace: async (input) => sessions.replace(input),
    check: async (input) => checks.check(input),
    rotate: async (input) => sessions.rotate(input),
    update: async (input) => sessions.update(input),
    revoke: async (input) => revocations.revoke(input),
    revokeUser: async (input) => sessions.revokeUser(input),
    list: async (input) => sessions.list(input),
    deny: async (input) => sessions.deny(input),
    isDenied: async (input) => sessions.isDenied(input),
    limit: { take: async (key, cost, windowMs) => service.take(key, cost, windowMs) },
    audit: {
      withChange: true,
      async append(events) {
        refuseClosed()
        await audit.append(events)
      },
      query: async (query) => audit.query(query),
    },
    keys: {
      load: async () => service.loadKeys(),
      save: async (expected, document) => service.saveKeys(expected, document),
    },
    feed: { retentionMs: feedRetentionMs, read: async (input) => feed.read(input) },
    prune: async () => pruner.prune(),
    inspect: async () => inspectPostgres(runner, names, client),
    async migrate() {
      refuseClosed()
      return migrate(client, names)
    },
    async close() {
      closed = true
      stopPruning?.()
      notifier.close()
      listener.close()
    },
  }
}
