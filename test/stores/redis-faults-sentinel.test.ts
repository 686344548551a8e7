import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { Redis } from 'ioredis'
import { closeKits } from '../support/kit.ts'
import { ask, replicated, until } from '../support/redis-commands.ts'
import type { SentinelSetup } from '../support/redis-sentinel.ts'
import { startSentinels } from '../support/redis-sentinel.ts'
import type { RedisServer } from '../support/redis-server.ts'
import type { Node, Tokens } from './redis/node.ts'
import { closeNodes, generationOf, kept, openNode } from './redis/node.ts'
import { startStorm, widest } from './redis/storm.ts'

let setup: SentinelSetup

beforeEach(async () => {
  setup = await startSentinels()
})

afterEach(async () => {
  await closeNodes()
  await closeKits()
  await setup.cleanUp()
})

async function openOnSentinel(prefix?: string): Promise<Node> {
  const { name, sentinels } = setup
  const client = kept(new Redis({ name, sentinels }))
  client.on('error', () => {})
  const options = { maxStaleness: '1s' } as const
  return openNode({ client, options, ...(prefix === undefined ? {} : { prefix }) })
}

/** From here on the replica gets nothing more, and looks as well as ever. */
async function cutReplication(primary: RedisServer): Promise<void> {
  // A sentinel asks such a replica once a second, and promotes nobody whose answer is older than five
  // pings: with quick pings that would be a matter of luck.
  const pings = setup.sentinelServers.map(async (sentinel) =>
    ask(sentinel, 'SENTINEL', 'DEBUG', 'PING-PERIOD', 400),
  )
  await Promise.all(pings)
  await ask(primary, 'ACL', 'SETUSER', 'default', '-psync', '-sync')
  await ask(primary, 'CLIENT', 'KILL', 'TYPE', 'replica')
}

/** Refreshes several times, one after the other. */
async function refreshOften(node: Node, tokens: Tokens, times: number): Promise<Tokens> {
  let last = tokens
  for (let n = 0; n < times; n++) last = (await node.refresh(last.refresh)).tokens
  return last
}

describe('a failover by Sentinel', () => {
  it('that loses writes logs out nobody whose session survived, and heals what was revoked', async () => {
    const [primary, replica] = setup.servers as [RedisServer, RedisServer]
    const one = await openOnSentinel()
    const two = await openOnSentinel(one.prefix)
    const untouched = await one.login('untouched')
    const rotated = await one.login('rotated')
    const revoked = await one.login('revoked')
    const secondRevoked = await one.login('revoked')
    const other = await one.login('other')
    await one.latchkey.sessions.update(other.sid, { roles: ['reader'] })
    await one.quiet()
    await replicated(primary, replica)

    await cutReplication(primary)
    const ahead = await refreshOften(one, rotated, 3)
    expect(generationOf(ahead.refresh)).toBe(3)
    const late = await one.login('late')
    expect(await one.latchkey.sessions.revokeUser('revoked')).toBe(2)
    await until('the other has heard', async () => {
      return (await two.get('/jwt', revoked)).code === 'session_revoked'
    })
    await setup.failover('kill')
    await Promise.all([one, two].map(async (node) => node.recovered()))

    for (const node of [one, two]) {
      for (const tokens of [revoked, secondRevoked]) {
        expect(await node.get('/jwt', tokens)).toMatchObject({ status: 401 })
      }
    }
    // Who was not there and remembers nothing finds them ended as well, before long.
    const fresh = await openOnSentinel(one.prefix)
    await until('the revocations are made again', async () => {
      const sids = [revoked.sid, secondRevoked.sid]
      const found = await Promise.all(sids.map(async (sid) => fresh.latchkey.sessions.find(sid)))
      return found.every((session) => session === null)
    })
    await until('it has heard', async () => (await fresh.get('/jwt', revoked)).status === 401)

    expect(await two.getSession(untouched)).toMatchObject({ status: 200 })
    expect(await two.refresh(untouched.refresh)).toMatchObject({ status: 200 })
    const recovered = await two.refresh(ahead.refresh)
    expect(generationOf(recovered.tokens.refresh)).toBe(4)
    expect(two.typesOf()).toContain('authn_token_recovered')
    expect(await one.refresh(recovered.tokens.refresh)).toMatchObject({ status: 200 })
    expect(await one.refresh(late.refresh)).toMatchObject({
      status: 401,
      code: 'session_ended',
      outcome: 'terminal',
    })
    expect([...one.typesOf(), ...two.typesOf()]).not.toContain('authn_token_reuse')
    await Promise.all([one.sighted(), two.sighted()])
  })

  it('under load is an outage and no more; the old primary comes back as a replica', async () => {
    const [primary, replica] = setup.servers as [RedisServer, RedisServer]
    const one = await openOnSentinel()
    const two = await openOnSentinel(one.prefix)
    await one.login()
    await replicated(primary, replica)
    // More than 16 generations that were lost are not recovered: nobody is to get as far as that.
    const storm = await startStorm([one, two], 16, 400)
    await sleep(300)
    const { from } = await setup.failover('kill')
    await Promise.all([one, two].map(async (node) => node.recovered()))
    await sleep(200)
    await from.restart()
    await setup.waitForReplica(from)
    // And in good order: who is connected to the demoted one is sent away.
    const { from: demoted } = await setup.failover('command')
    // What it still took as a primary is lost.
    await setup.waitForReplica(demoted)
    await Promise.all([one, two].map(async (node) => node.recovered()))
    await storm.stop()

    expect(storm.outages).toBeGreaterThan(0)
    expect(storm.clients.flatMap(({ refused }) => refused?.code ?? [])).toEqual([])
    expect(widest(storm.clients)).toBe(1)
    for (const { tokens } of storm.clients) {
      await until('it refreshes', async () => {
        const { status } = await one.refresh(tokens.refresh)
        expect([200, 503]).toContain(status)
        return status === 200
      })
    }
    await Promise.all([one.sighted(), two.sighted()])
    const doomed = await one.login('doomed')
    await one.latchkey.sessions.revoke(doomed.sid)
    await until('the other has heard', async () => (await two.get('/jwt', doomed)).status === 401)
    expect([...one.typesOf(), ...two.typesOf()]).not.toContain('authn_token_reuse')
  })
})
