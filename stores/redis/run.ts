import type { RedisArgument } from './client.ts'
import { confirmWrites } from './confirm.ts'
import type { Connection } from './connection.ts'
import type { Keys } from './keys.ts'
import { readReply, text } from './reply.ts'
import type { ScriptName } from './scripts.ts'

/** Runs scripts with what all of them take. */
export interface Runner {
  /** What stands under keys of one slot, by no script; undefined where only a script may say. */
  readonly read: Connection['read'] | undefined
  /** A script on a user's keys. What it changed is in the feed when this resolves. */
  onShard(
    name: ScriptName,
    base: string,
    key: string,
    args: readonly RedisArgument[],
  ): Promise<readonly unknown[]>
  /**
   * Resolves when what was written in this shard before, and to the feed, is where the app wants a
   * revocation to be.
   *
   * @throws {StoreUnavailable} `revocation_unconfirmed`
   */
  confirm(base: string): Promise<void>
  /** A script on a key of its own, and perhaps others of the same slot. */
  onKey(
    name: ScriptName,
    key: string,
    args: readonly RedisArgument[],
    ...others: readonly string[]
  ): Promise<readonly unknown[]>
}

/** Makes the runner. */
export function createRunner(options: {
  readonly connection: Connection
  /** Where and how many replicas are waited for; undefined for none. */
  readonly waiting: { readonly connection: Connection; readonly replicas: number } | undefined
  readonly keys: Keys
  readonly feedRetentionMs: number
  readonly clock: (() => number) | undefined
  readonly onError: (error: unknown) => void
}): Runner {
  const { connection, waiting, keys, feedRetentionMs, clock, onError } = options
  const isCluster = connection.client.isCluster === true
  const common = (base: string): RedisArgument[] => [clock?.() ?? '', base, feedRetentionMs]

  /**
   * On a Cluster the feed is in another slot than the change. What the change owes the feed waits in
   * the shard's pending set, written by the same script, so that nothing is forgotten if this node
   * ends here; whoever touches the shard next finds it.
   */
  async function settle(base: string, pending: readonly string[]): Promise<void> {
    await connection.run('append', [keys.feed], [...common(base), ...pending])
    connection.client.call('SREM', `${base}p`, ...pending).catch(onError)
  }

  return {
    // On a Cluster whoever touches a shard looks for what it owes the feed.
    read: isCluster ? undefined : connection.read,
    async onShard(name, base, key, args) {
      const keysOfScript = isCluster ? [key] : [key, keys.feed]
      const reply = await connection.run(name, keysOfScript, pack([...common(base), ...args]))
      const { parts, pending } = readReply(reply)
      if (pending.length > 0) {
        const settled = settle(base, pending)
        // What another call left behind is no reason to fail: the feed is somebody else's server.
        if (owesNothing(name, parts)) settled.catch(onError)
        else await settled
      }
      return parts
    },
    async confirm(base) {
      if (waiting === undefined) return
      // On a Cluster the feed has primaries of its own; else one mark speaks for all.
      const marks = isCluster ? [`${base}w`, `${keys.feed}w`] : [`${base}w`]
      await Promise.all(
        marks.map(async (mark) => confirmWrites(waiting.connection, mark, waiting.replicas)),
      )
    },
    async onKey(name, key, args, ...others) {
      const keysOfScript = [key, ...others]
      return readReply(await connection.run(name, keysOfScript, [...common(''), ...args])).parts
    },
  }
}

/**
 * Arguments as one text of lines, which the scripts take apart: to ioredis each argument costs what a
 * line costs Redis ten times over. One that has lines of its own leaves them as they are.
 */
function pack(args: readonly RedisArgument[]): readonly RedisArgument[] {
  return args.every(isLine) ? [args.join('\n')] : args
}

function isLine(arg: RedisArgument): boolean {
  return typeof arg === 'number' || (typeof arg === 'string' && !arg.includes('\n'))
}

/** Whether a script has put nothing into the feed, nor been called again because it had. */
function owesNothing(name: ScriptName, [outcome]: readonly unknown[]): boolean {
  if (name === 'rotate') return text(outcome) !== 'reused'
  return name === 'check' || name === 'list' || name === 'isDenied'
}
