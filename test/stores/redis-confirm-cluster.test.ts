import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import type { SessionRecord } from '../../lib/session.ts'
import type { Store } from '../../lib/store.ts'
import { redisStore } from '../../stores/redis.ts'
import type { RedisCluster, RedisClusterNode } from '../support/redis-cluster.ts'
import { startRedisCluster } from '../support/redis-cluster.ts'
import { ask, until } from '../support/redis-commands.ts'
import { check, newSession, login, readOn } from './contract/support.ts'
import type { Shards } from './redis/on-cluster.ts'
import { connectTo, cutReplication, shardsOf } from './redis/on-cluster.ts'
import { newPrefix } from './redis/open.ts'

const UNCONFIRMED = { code: 'revocation_unconfirmed', status: 503 }

let cluster: RedisCluster
const closers: (() => Promise<void> | void)[] = []

beforeAll(async () => {
  cluster = await startRedisCluster()
})

afterEach(async () => {
  for (const node of cluster.nodes) node.resume()
  for (const close of closers.splice(0)) await close()
})

afterAll(async () => {
  await cluster.cleanUp()
})

/** A store that waits for one replica, and where its keys lie. */
function open(prefix = newPrefix()): { store: Store; shards: Shards; prefix: string } {
  const client = connectTo(cluster)
  const store = redisStore({ client, prefix, waitReplicas: 1 })
  closers.push(
    () => store.close(),
    () => client.disconnect(),
  )
  return { store, shards: shardsOf(cluster, prefix), prefix }
}

/** Logs somebody in, and waits until a replica has the session: it has what is before a revocation. */
async function enter(store: Store, id: string): Promise<SessionRecord> {
  const user = { tenant: '', id }
  const created = await store.create(login(newSession(user)))
  const witness = await store.create(login(newSession(user)))
  if (created.outcome !== 'created' || witness.outcome !== 'created') throw new Error('no session')
  await acknowledged(store, witness.session.sid)
  return created.session
}

/** Replicas answer in their own time; who is refused calls again. */
async function acknowledged(store: Store, sid: string): Promise<void> {
  await until('a replica has the revocation', async () => {
    await store.revoke({ sid })
    return true
  })
}

/** Runs it while the replicas of a primary are stopped. */
async function withoutReplicas(slot: number, run: () => Promise<void>): Promise<void> {
  const replicas = await cluster.replicasOf(slot)
  expect(replicas).toHaveLength(1)
  for (const replica of replicas) replica.pause()
  await run()
  for (const replica of replicas) replica.resume()
}

/** Somebody whose sessions are not where the feed is. */
async function apart(shards: Shards): Promise<string> {
  const [id = ''] = await shards.usersOf(await shards.feedPrimary(), 1, false)
  return id
}

describe('waitReplicas on a Cluster', () => {
  it('refuses what no replica of the shard has, whatever those of the feed say', async () => {
    const { store, shards } = open()
    const id = await apart(shards)
    const { sid, user } = await enter(store, id)
    await withoutReplicas(await shards.slotOfUser(id), async () => {
      await expect(store.revoke({ sid })).rejects.toMatchObject(UNCONFIRMED)
      await expect(store.revoke({ sid })).rejects.toMatchObject(UNCONFIRMED)
      await expect(store.revokeUser({ user })).rejects.toMatchObject(UNCONFIRMED)
    })
    await acknowledged(store, sid)
  })

  it('refuses what no replica of the feed has, whatever those of the shard say', async () => {
    const { store, shards } = open()
    const { sid } = await enter(store, await apart(shards))
    await withoutReplicas(await shards.feedSlot(), async () => {
      await expect(store.revoke({ sid })).rejects.toMatchObject(UNCONFIRMED)
    })
    await acknowledged(store, sid)
  })

  it('acknowledges what survives the death of the primary', async () => {
    const { store, shards, prefix } = open()
    const primary = await shards.feedPrimary()
    const [id = ''] = await shards.usersOf(primary, 1)
    const slot = await shards.slotOfUser(id)
    const { sid } = await enter(store, id)
    const spared = await enter(store, id)
    await cutReplication(primary)
    await expect(store.revoke({ sid })).rejects.toMatchObject(UNCONFIRMED)
    // By now it is gone here, and there all the same.
    await expect(store.revoke({ sid })).rejects.toMatchObject(UNCONFIRMED)
    await mendReplication(primary)
    await acknowledged(store, sid)
    await primary.kill()
    await cluster.waitForFailover(slot, primary)

    const later = open(prefix)
    await until('the other is there', async () => {
      return (await check(later.store, spared.sid)) === 'alive'
    })
    expect(await check(later.store, sid)).toBe('gone')
    const { entries } = await until('the feed is there', async () => readOn(later.store, null))
    expect(entries).toContainEqual({ sid, ver: Infinity })
    await primary.restart()
    await cluster.waitOk()
  })
})

/**
 * After PSYNC a replica tries SYNC. Let in by that it would not know how far it is, and never count:
 * it stays refused.
 */
async function mendReplication(primary: RedisClusterNode): Promise<void> {
  await ask(primary, 'ACL', 'SETUSER', 'default', '+psync')
}
