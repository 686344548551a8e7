import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import type { Cluster } from 'ioredis'
import type { BufferCommands } from '../../stores/redis/client.ts'
import { createKeys } from '../../stores/redis/keys.ts'
import type { ScriptName } from '../../stores/redis/scripts.ts'
import { scriptOf } from '../../stores/redis/scripts.ts'
import { closeKits } from '../support/kit.ts'
import type { RedisCluster, RedisClusterNode, SlotMigration } from '../support/redis-cluster.ts'
import { startRedisCluster } from '../support/redis-cluster.ts'
import { ask, replicated, until } from '../support/redis-commands.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import type { Node } from './redis/node.ts'
import { clientOf, closeNodes, generationOf, openNode, OUTAGE, SLACK_MS } from './redis/node.ts'
import {
  connectThrough,
  connectTo,
  cutReplication,
  otherPrimary,
  primariesOf,
  shardsOf,
} from './redis/on-cluster.ts'
import { newPrefix } from './redis/open.ts'
import { startStorm, widest } from './redis/storm.ts'

/** Between the refreshes of a client, and for a store call: no refusal here is for want of a processor. */
const PAUSE_MS = 50
const LONG_DEADLINE_MS = 4000

let cluster: RedisCluster
const cleanUps: (() => unknown)[] = []

beforeAll(async () => {
  cluster = await startRedisCluster()
})

afterEach(async () => {
  await closeNodes()
  await closeKits()
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
})

afterAll(async () => {
  await cluster.cleanUp()
})

async function openOnCluster(prefix: string = newPrefix()): Promise<Node> {
  const options = { maxStaleness: '1s', storeDeadline: `${LONG_DEADLINE_MS}ms` } as const
  return openNode({ client: connectTo(cluster), prefix, options })
}

describe('a primary that dies under load', () => {
  it('is an outage for its users only, until its replica has taken over', async () => {
    const one = await openOnCluster()
    const two = await openOnCluster(one.prefix)
    const shards = shardsOf(cluster, one.prefix)
    const victim = await otherPrimary(cluster, await shards.feedPrimary())
    const victims = await shards.usersOf(victim, 6)
    const others = await shards.usersOf(victim, 6, false)
    const victimSlot = await shards.slotOfUser(victims[0] ?? '')
    const storm = await startStorm([one, two], [...victims, ...others], PAUSE_MS)
    await sleep(300)
    expect(storm.outages).toBe(0)

    await cluster.killPrimaryOf(victimSlot)
    await sleep(300)
    const [hit, spared] = [storm.clients[0], storm.clients[6]]
    expect(await one.getSession(hit!.tokens)).toMatchObject(OUTAGE)
    expect(await one.getSession(spared!.tokens)).toMatchObject({ status: 200 })
    expect(await one.latchkey.sessions.revoke((await two.login(others[0])).sid)).toBe(true)
    const late = await openNode({ client: connectTo(cluster), prefix: one.prefix, sighted: false })
    await until('a node that starts now serves the others', async () => {
      return (await late.getSession(spared!.tokens)).status === 200
    })
    await cluster.waitForFailover(victimSlot, victim)
    await until('its users are served again', async () => {
      const answers = await Promise.all([one, two].map((node) => node.getSession(hit!.tokens)))
      return answers.every(({ status }) => status === 200)
    })
    await sleep(300)
    await storm.stop()
    await victim.restart()

    expect(storm.clients.flatMap(({ refused }) => refused?.code ?? [])).toEqual([])
    expect(storm.clients.slice(0, 6).some(({ outages }) => outages > 0)).toBe(true)
    expect(storm.clients.slice(6).map(({ outages }) => outages)).toEqual([0, 0, 0, 0, 0, 0])
    expect(storm.longestMs).toBeLessThan(LONG_DEADLINE_MS + 2 * SLACK_MS)
    expect(widest(storm.clients)).toBe(1)
    expect([...one.typesOf(), ...two.typesOf()]).not.toContain('authn_token_reuse')
    await Promise.all([one.sighted(), two.sighted()])
    await cluster.waitOk()
  })

  it('that has the feed makes revocations wait and nodes blind, and nothing is forgotten', async () => {
    const one = await openOnCluster()
    const two = await openOnCluster(one.prefix)
    const shards = shardsOf(cluster, one.prefix)
    const feedSlot = await shards.feedSlot()
    const feedPrimary = await shards.feedPrimary()
    const [user = ''] = await shards.usersOf(feedPrimary, 1, false)
    const tokens = await one.login(user)
    const other = await one.login(user)
    await cluster.killPrimaryOf(feedSlot)
    await expect(one.latchkey.sessions.revoke(tokens.sid)).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    expect(await two.blind()).toBe('stale')
    // Its session is gone; what its token says is not asked of the feed but of the store.
    expect(await two.get('/jwt', tokens)).toMatchObject({ status: 401 })
    // Who lives in the same shard is let in all the same.
    expect(await two.getSession(other)).toMatchObject({ status: 200 })
    await cluster.waitForFailover(feedSlot, feedPrimary)
    await Promise.all([one.sighted(), two.sighted()])
    await until('the revocation is acknowledged', async () => {
      await one.latchkey.sessions.revoke(tokens.sid)
      return true
    })
    await until('the other has heard', async () => {
      return (await two.get('/jwt', tokens)).code === 'session_revoked'
    })
    await feedPrimary.restart()
    await cluster.waitOk()
  })
})

describe('a failover that loses writes', () => {
  it('logs out nobody whose session survived, and lets nobody in whose session was ended', async () => {
    const one = await openOnCluster()
    const two = await openOnCluster(one.prefix)
    const shards = shardsOf(cluster, one.prefix)
    const victim = await otherPrimary(cluster, await shards.feedPrimary())
    const [name = '', late = '', ended = ''] = await shards.usersOf(victim, 3)
    const slot = await shards.slotOfUser(name)
    const [untouched, rotated] = [await one.login(name), await one.login(name)]
    const revoked = await one.login(ended)
    await one.quiet()
    const [replica] = await cluster.replicasOf(slot)
    await replicated(victim, replica!)

    await cutReplication(victim)
    const ahead = await one.refresh((await one.refresh(rotated.refresh)).tokens.refresh)
    expect(generationOf(ahead.tokens.refresh)).toBe(2)
    const lost = await one.login(late)
    expect(await one.latchkey.sessions.revoke(revoked.sid)).toBe(true)
    await until('the other has heard', async () => {
      return (await two.get('/jwt', revoked)).code === 'session_revoked'
    })
    await victim.kill()
    await cluster.waitForFailover(slot, victim)
    await until('its users are served again', async () => {
      const answers = await Promise.all([one, two].map((node) => node.getSession(untouched)))
      return answers.every(({ status }) => status === 200)
    })

    expect(await two.refresh(untouched.refresh)).toMatchObject({ status: 200 })
    const recovered = await two.refresh(ahead.tokens.refresh)
    expect(recovered.status).toBe(200)
    expect(generationOf(recovered.tokens.refresh)).toBe(3)
    expect(two.typesOf()).toContain('authn_token_recovered')
    const refused = { status: 401, code: 'session_ended', outcome: 'terminal' }
    expect(await one.refresh(lost.refresh)).toMatchObject(refused)
    for (const node of [one, two]) {
      expect(await node.getSession(revoked)).toMatchObject({ status: 401 })
      expect(await node.get('/jwt', revoked)).toMatchObject({ status: 401 })
      expect(await node.get('/sensitive', revoked)).toMatchObject({ status: 401 })
    }
    expect([...one.typesOf(), ...two.typesOf()]).not.toContain('authn_token_reuse')
    await victim.restart()
    await cluster.waitOk()
  })
})

describe('a slot that moves under load', () => {
  it('loses no session, rotates nothing twice, and holds up its own users only', async () => {
    const one = await openOnCluster()
    const two = await openOnCluster(one.prefix)
    const shards = shardsOf(cluster, one.prefix)
    const slot = await shards.slotOfUser('mover')
    const from = await cluster.primaryOf(slot)
    const neighbours = await shards.usersOf(from, 6)
    const movers = Array.from({ length: 8 }, () => 'mover')
    // Moving and staying keys are asked for in the same round trips.
    const storm = await startStorm([one, two], [...movers, ...neighbours])
    await sleep(200)
    const migration = await cluster.openMigration(slot, await otherPrimary(cluster, from))
    for (let moved = 1; moved > 0;) {
      moved = await migration.moveKeys(1)
      await sleep(30)
    }
    await migration.finish()
    // What was under way then is over for whoever has refreshed once more.
    const turns = storm.clients.map(({ successors }) => successors.size)
    await until('all have refreshed', async () =>
      storm.clients.every(({ successors }, place) => successors.size > (turns[place] ?? 0)),
    )
    const before = storm.outages
    await sleep(400)
    await storm.stop()

    expect(storm.clients.flatMap(({ refused }) => refused?.code ?? [])).toEqual([])
    expect(widest(storm.clients)).toBe(1)
    expect([...one.typesOf(), ...two.typesOf()]).not.toContain('authn_token_reuse')
    // Whose keys are on both sides waits; nobody else does, nor anybody afterwards.
    const waited = storm.clients.slice(movers.length).map(({ outages }) => outages)
    expect(waited).toEqual(neighbours.map(() => 0))
    expect(storm.outages).toBe(before)
    for (const { tokens } of storm.clients) {
      expect(await one.getSession(tokens)).toMatchObject({ status: 200 })
    }
    expect(await one.latchkey.sessions.revokeUser('mover')).toBe(8)
    await until('the other has heard', async () => {
      const [first] = storm.clients
      return (await two.get('/jwt', first!.tokens)).status === 401
    })
  })
})

/** Else what is asked first is refused because the script is not known, and made again for that. */
async function loadEverywhere(name: ScriptName): Promise<void> {
  const loads = cluster.nodes.map(async (node) => ask(node, 'SCRIPT', 'LOAD', scriptOf(name)))
  await Promise.all(loads)
}

/** Moves only these keys of the slot. */
async function moveOnly(slot: number, to: RedisClusterNode, keys: readonly string[]) {
  const from = await cluster.primaryOf(slot)
  const migration = await cluster.openMigration(slot, to)
  await ask(from, 'MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', ...keys)
  return migration
}

describe('a user whose keys are on both sides of a move', () => {
  it('whose move was begun and not gone on with is served, or nothing has happened', async () => {
    const one = await openOnCluster()
    const id = 'begun'
    const options = { user: { tenant: '', id } }
    const [tokens, other] = [await one.login(id), await one.login(id)]
    const slot = await shardsOf(cluster, one.prefix).slotOfUser(id)
    const to = await otherPrimary(cluster, await cluster.primaryOf(slot))
    const migration = await cluster.openMigration(slot, to)
    const client = connectTo(cluster)
    cleanUps.push(() => client.disconnect())
    const rotated = await one.refresh(tokens.refresh)
    expect(rotated.status).toBe(200)
    expect(await one.getSession(tokens)).toMatchObject({ status: 200 })

    const { sid } = tokens
    const changes = {
      login: async () => one.login(id),
      revoke: async () => one.latchkey.sessions.revoke(sid),
      revokeUser: async () => one.latchkey.sessions.revokeUser(options.user),
      roles: async () => one.latchkey.sessions.update(sid, { roles: ['admin'] }),
    }
    for (const change of Object.values(changes)) {
      await expect(change()).rejects.toThrow(/store/)
    }
    await migration.finish()
    const { items } = await until('it is served', async () => one.latchkey.sessions.list(id))
    expect(items.map((session) => session.id).toSorted()).toEqual([sid, other.sid].toSorted())
    expect(items.flatMap(({ roles }) => roles)).toEqual([])
    expect(generationOf((await one.refresh(rotated.tokens.refresh)).tokens.refresh)).toBe(2)
    for (const change of Object.values(changes)) await change().catch(() => {})
    expect((await one.latchkey.sessions.list(id)).items).toEqual([])
  })

  it.each(['the index first', 'a session first'])('loses nothing: %s', async (what) => {
    const one = await openOnCluster()
    const id = 'split'
    const user = { tenant: '', id }
    const keys = createKeys(one.prefix, String)
    const slot = await shardsOf(cluster, one.prefix).slotOfUser(id)
    const logins = [await one.login(id), await one.login(id), await one.login(id)] as const
    const index = `${keys.baseOfUser(user)}u${keys.nameOf(user)}`
    const moved = what === 'the index first' ? index : keys.sessionOf(logins[0].sid)
    const to = await otherPrimary(cluster, await cluster.primaryOf(slot))
    const migration = await moveOnly(slot, to, [moved])

    // Whatever was acknowledged holds; the rest is to be tried again.
    const rotations = await Promise.all(logins.map(async ({ refresh }) => one.refresh(refresh)))
    const revoked = await one.latchkey.sessions.revokeUser(id).catch(() => 'not now')
    const statuses = await Promise.all(logins.map(async (tokens) => one.getSession(tokens)))
    for (const { status } of rotations) expect([200, 503]).toContain(status)
    for (const { status } of statuses) expect([200, 503]).toContain(status)
    expect(revoked).toBe('not now')
    const another = await one.login(id).catch(() => null)
    await migration.finish()

    const list = await until('it is served', async () => one.latchkey.sessions.list(id))
    const open = [...logins, ...(another === null ? [] : [another])].map(({ sid }) => sid)
    expect(list.items.map(({ id: sid }) => sid).toSorted()).toEqual(open.toSorted())
    for (const [place, { refresh }] of logins.entries()) {
      const last = rotations[place]?.status === 200 ? rotations[place].tokens.refresh : refresh
      expect(await one.refresh(last)).toMatchObject({ status: 200 })
    }
    expect(await one.latchkey.sessions.revokeUser(id)).toBe(open.length)
    expect(one.typesOf()).not.toContain('authn_token_reuse')
    const fresh = await openOnCluster(one.prefix)
    for (const sid of open) expect(await fresh.latchkey.sessions.find(sid)).toBeNull()
  })
})

describe('a call that is sent elsewhere', () => {
  it.each([
    ['for now (ASK)', async () => {}],
    ['for good (MOVED)', async (migration: SlotMigration) => migration.finish()],
  ])('%s goes there, also out of a batch of others', async (_what, end) => {
    const node = await openOnCluster()
    const shards = shardsOf(cluster, node.prefix)
    const slot = await shards.slotOfUser('mover')
    const from = await cluster.primaryOf(slot)
    const candidates = await shards.usersOf(from, 2)
    const neighbour = candidates.find((id) => id !== 'mover') ?? ''
    const [{ sid }, { sid: other }] = [await node.login('mover'), await node.login(neighbour)]
    await loadEverywhere('check')
    await node.quiet()
    const migration = await cluster.openMigration(slot, await otherPrimary(cluster, from))
    await migration.moveKeys()
    await end(migration)
    const found = await Promise.all([sid, other].map((one) => node.latchkey.sessions.find(one)))
    expect(found.map((session) => session?.id)).toEqual([sid, other])
    await migration.finish()
  })

  it('and turned away there (TRYAGAIN) is made once more, when its keys have come together', async () => {
    const prefix = newPrefix()
    const keys = createKeys(prefix, String)
    const user = { tenant: '', id: 'apart' }
    const client = connectTo(cluster)
    const node = await openNode({ client, prefix, options: { storeDeadline: '10s' } })
    // A store asks for the connection of its commands first.
    const [commands] = node.connections as readonly unknown[] as readonly [BufferCommands]
    const sids = [(await node.login(user.id)).sid, (await node.login(user.id)).sid]
    await loadEverywhere('revokeUser')
    await node.quiet()
    const slot = await shardsOf(cluster, prefix).slotOfUser(user.id)
    const to = await otherPrimary(cluster, await cluster.primaryOf(slot))
    const migration = await moveOnly(slot, to, [`${keys.baseOfUser(user)}u${keys.nameOf(user)}`])

    // ioredis asks a few times, and that is over before the rest of the keys has come.
    let refused = 0
    const send = commands.evalshaBuffer.bind(commands)
    commands.evalshaBuffer = async (...args) => {
      try {
        return await send(...args)
      } catch (error) {
        if (String(error).includes('TRYAGAIN')) {
          refused += 1
          await migration.finish()
        }
        throw error
      }
    }
    const { revoked } = await node.store.revokeUser({ user })
    expect(refused).toBe(1)
    expect(revoked.toSorted()).toEqual(sids.toSorted())
  })
})

describe('an answer of a Cluster that is lost', () => {
  it('is not asked for again by itself: the script is sent once', async () => {
    const prefix = newPrefix()
    const shards = shardsOf(cluster, prefix)
    const primary = await otherPrimary(cluster, await shards.feedPrimary())
    const [user = ''] = await shards.usersOf(primary, 1)
    const proxy = await startTcpProxy(primary)
    cleanUps.push(() => proxy.stop())
    const node = await openNode({
      client: connectThrough(cluster, new Map([[primary, proxy]])),
      prefix,
    })
    const tokens = await node.login(user)
    const warm = await node.refresh(tokens.refresh)
    await node.quiet()
    const watcher = clientOf(primary)
    const monitor = await watcher.monitor()
    cleanUps.push(
      () => watcher.disconnect(),
      () => monitor.disconnect(),
    )
    const sha = createHash('sha1').update(scriptOf('rotate')).digest('hex')
    let sent = 0
    monitor.on('monitor', (_time: string, args: string[]) => {
      if (args.includes(sha)) sent += 1
    })
    // A Cluster is asked now and then who serves what, and that is not the answer to be lost.
    proxy.dropReplies(1, sha)
    expect(await node.refresh(warm.tokens.refresh)).toMatchObject(OUTAGE)
    await until('it was sent', async () => sent > 0)
    await sleep(500)
    expect(sent).toBe(1)
    const retry = await until('it refreshes', async () => {
      const answer = await node.refresh(warm.tokens.refresh)
      return answer.status === 200 && answer
    })
    expect(generationOf(retry.tokens.refresh)).toBe(2)
    expect(node.typesOf()).toContain('session_replayed')
  })
})

describe('connections of a Cluster that were closed while idle', () => {
  it('cost no call', async () => {
    const node = await openOnCluster()
    const tokens = await Promise.all(
      ['a', 'b', 'c', 'd', 'e', 'f'].map(async (id) => node.login(id)),
    )
    await node.quiet()
    // A store asks for the connection of its commands first.
    const [commands] = node.connections as readonly unknown[] as readonly [Cluster]
    let lost = 0
    commands.on('-node', () => (lost += 1))
    for (let round = 0; round < 3; round++) {
      const all = await primariesOf(cluster)
      lost = 0
      await Promise.all(
        all.map(async (primary) => ask(primary, 'CLIENT', 'KILL', 'TYPE', 'normal')),
      )
      // No call is made that could bring them back: they come by themselves, each to its primary.
      await until('each is there again', async () => {
        const there = commands.nodes('master').filter(({ status }) => status === 'ready')
        return lost >= all.length && there.length === all.length
      })
      const answers = await Promise.all(tokens.map(async (one) => node.getSession(one)))
      expect(answers.map(({ status }) => status)).toEqual(tokens.map(() => 200))
    }
  })
})

describe('a node that ends between a change and its entry in the feed', () => {
  it('is made good by whoever touches the shard next', async () => {
    const one = await openOnCluster()
    const two = await openOnCluster(one.prefix)
    const doomed = await one.login('alice')
    const neighbour = await one.login('alice')
    const client = connectTo(cluster)
    cleanUps.push(() => client.disconnect())
    const keys = createKeys(one.prefix, String)
    const sha = createHash('sha1').update(scriptOf('revoke')).digest('hex')
    const key = keys.sessionOf(doomed.sid)
    const args = ['', keys.baseOf(doomed.sid), '3600000', doomed.sid, '', ''] as const
    await client.evalsha(sha, 1, key, ...args).catch(async (error: unknown) => {
      if (!String(error).includes('NOSCRIPT')) throw error
      await client.eval(scriptOf('revoke'), 1, key, ...args)
    })
    // Gone from the store, and nobody has heard.
    expect(await one.getSession(doomed)).toMatchObject({ status: 401, code: 'session_ended' })
    await until('both have heard', async () => {
      const answers = await Promise.all([one, two].map((node) => node.get('/jwt', doomed)))
      return answers.every(({ code }) => code === 'session_revoked')
    })
    await until('nothing is owed any more', async () => {
      return (await client.exists(`${keys.baseOf(doomed.sid)}p`)) === 0
    })
    expect(await two.getSession(neighbour)).toMatchObject({ status: 200 })
  })
})
