import { Cluster } from 'ioredis'
import { userShard } from '../../../lib/user.ts'
import { createKeys } from '../../../stores/redis/keys.ts'
import type { RedisCluster, RedisClusterNode } from '../../support/redis-cluster.ts'
import { ask } from '../../support/redis-commands.ts'
import { kept } from './node.ts'

/** Where in a Cluster the keys of one prefix lie. */
export interface Shards {
  /** The slot of a user's sessions. */
  slotOfUser(id: string): Promise<number>
  /** Users whose sessions a primary serves, or does not. */
  usersOf(primary: RedisClusterNode, count: number, served?: boolean): Promise<string[]>
  feedSlot(): Promise<number>
  feedPrimary(): Promise<RedisClusterNode>
}

export function shardsOf(cluster: RedisCluster, prefix: string): Shards {
  const slotOfUser = async (id: string) =>
    cluster.slotOf(`${prefix}:{${userShard({ tenant: '', id })}}`)
  const feedSlot = async () => cluster.slotOf(createKeys(prefix, String).feed)
  return {
    slotOfUser,
    async usersOf(primary, count, served = true) {
      const users: string[] = []
      for (let n = 0; users.length < count; n++) {
        const id = `user-${n}`
        const isServed = (await cluster.primaryOf(await slotOfUser(id))) === primary
        if (isServed === served) users.push(id)
      }
      return users
    },
    feedSlot,
    feedPrimary: async () => cluster.primaryOf(await feedSlot()),
  }
}

/** A client of a Cluster that tells nobody of its errors, and goes with `closeNodes`. */
export function connectTo(
  { startupNodes }: Pick<RedisCluster, 'startupNodes'>,
  options: ConstructorParameters<typeof Cluster>[1] = {},
): Cluster {
  // Its timer may start anew behind `disconnect`.
  const client = new Cluster(startupNodes, { slotsRefreshInterval: 0, ...options })
  client.on('error', () => {})
  return kept(client)
}

/** A client that reaches some nodes by other ports only, of proxies, say. */
export function connectThrough(
  { startupNodes }: Pick<RedisCluster, 'startupNodes'>,
  others: ReadonlyMap<RedisClusterNode, { readonly port: number }>,
): Cluster {
  const natMap = Object.fromEntries(
    [...others].map(([node, { port }]) => [`127.0.0.1:${node.port}`, { host: '127.0.0.1', port }]),
  )
  return connectTo({ startupNodes }, { natMap })
}

/** Its replica gets nothing more. What is sent to one that is stopped gets there all the same. */
export async function cutReplication(primary: RedisClusterNode): Promise<void> {
  await ask(primary, 'ACL', 'SETUSER', 'default', '-psync', '-sync')
  await ask(primary, 'CLIENT', 'KILL', 'TYPE', 'replica')
}

/** Who serves something in a Cluster of three. */
export async function primariesOf(cluster: RedisCluster): Promise<RedisClusterNode[]> {
  return Promise.all([0, 6000, 12_000].map(async (slot) => cluster.primaryOf(slot)))
}

export async function otherPrimary(
  cluster: RedisCluster,
  than: RedisClusterNode,
): Promise<RedisClusterNode> {
  return (await primariesOf(cluster)).find((node) => node !== than) as RedisClusterNode
}
