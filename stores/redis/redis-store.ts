import { hash } from 'node:crypto'
import { KEYS_ENTRY } from '../../lib/heard-set.ts'
import type { Store } from '../../lib/store.ts'
import { RedisAudit } from './audit.ts'
import { connect } from './connection.ts'
import { RedisFeed } from './feed.ts'
import { inspectRedis } from './inspect.ts'
import { createKeys } from './keys.ts'
import type { RedisStoreOptions } from './options.ts'
import { parseRedisOptions } from './options.ts'
import { number, text, timeOf } from './reply.ts'
import { createRunner } from './run.ts'
import { createServerClock } from './server-clock.ts'
import { RedisSessions } from './sessions.ts'

/**
 * A store on Redis 6.2 or newer, or Valkey: one server, Sentinel, or Cluster. Every operation is one
 * round trip, and one script but for checks that write nothing. A check that does write, once a minute and
 * session, is two; so is, on a Cluster, what goes into the feed.
 *
 * It works on duplicates of the app's client and closes those; the app closes its own.
 *
 * @throws {ConfigError} `invalid_option` when the client is no ioredis 5 or 6 client, is closed or
 *   in subscriber mode, or another option is wrong
 *
 * @example
 * ```ts
 * const store = redisStore({ client: new Redis('redis://localhost') })
 * ```
 */
export function redisStore(options: RedisStoreOptions): Store {
  const settings = parseRedisOptions(options)
  const { client, prefix, waitReplicas, feedRetentionMs, maxAuditEvents, clock } = settings
  const keys = createKeys(prefix, (name) => hash('sha256', name, 'base64url'))
  // Every failure reaches whoever called; a connection without a listener would end the process.
  const onError = () => undefined
  const commands = connect(client, 'commands', onError)
  const following = connect(client, 'feed', onError)
  const waiting =
    waitReplicas === 0
      ? undefined
      : { connection: connect(client, 'wait', onError), replicas: waitReplicas }
  const runner = createRunner({
    connection: commands,
    waiting,
    keys,
    feedRetentionMs,
    clock,
    onError,
  })
  const askTime = async () => timeOf(await commands.client.call('TIME'))
  const serverClock = createServerClock(askTime, clock)
  commands.client.on('close', serverClock.forget)
  const sessions = new RedisSessions(runner, keys, serverClock)
  const audit = new RedisAudit(runner, keys, maxAuditEvents)
  const feed = new RedisFeed({
    connection: following,
    key: keys.feed,
    retentionMs: feedRetentionMs,
    clock,
  })

  let closed = false

  function refuseClosed(): void {
    if (closed) throw new Error('the Redis store is closed')
  }

  return {
    create: (input) => sessions.create(input),
    replace: (input) => sessions.replace(input),
    check: (input) => sessions.check(input),
    rotate: (input) => sessions.rotate(input),
    update: (input) => sessions.update(input),
    revoke: (input) => sessions.revoke(input),
    revokeUser: (input) => sessions.revokeUser(input),
    list: (input) => sessions.list(input),
    deny: (input) => sessions.deny(input),
    isDenied: (input) => sessions.isDenied(input),
    limit: {
      async take(key, cost, windowMs) {
        const [used, resetsInMs] = await runner.onKey('take', keys.limitOf(key), [cost, windowMs])
        return { used: number(used), resetsInMs: number(resetsInMs) }
      },
    },
    audit: {
      // On a Cluster the trail is in another slot than any session.
      withChange: false,
      async append(events) {
        refuseClosed()
        await audit.append(events)
      },
      query: async (query) => audit.query(query),
    },
    keys: {
      async load() {
        const [version, document] = await runner.onKey('loadKeys', keys.signing, [])
        return version === null || document === null
          ? null
          : { version: number(version), document: text(document) }
      },
      async save(expected, document) {
        const args = [expected, document, KEYS_ENTRY]
        const [saved] = await runner.onKey('saveKeys', keys.signing, args, keys.feed)
        return number(saved) === 1
      },
    },
    feed: {
      retentionMs: feedRetentionMs,
      async read(input) {
        refuseClosed() // the connection may take a moment to say so
        return feed.read(input)
      },
    },
    async prune() {
      refuseClosed()
      return 0 // Redis removes what is over by itself.
    },
    async inspect() {
      await commands.ready()
      return inspectRedis(commands.client)
    },
    async close() {
      closed = true
      commands.close()
      following.close()
      waiting?.connection.close()
    },
  }
}
