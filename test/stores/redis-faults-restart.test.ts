import { readdirSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { closeKits } from '../support/kit.ts'
import { until } from '../support/redis-commands.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import type { Node } from './redis/node.ts'
import {
  clientOf,
  closeNodes,
  DEADLINE_MS,
  generationOf,
  openNode,
  OUTAGE,
  SLACK_MS,
} from './redis/node.ts'
import { startStorm, widest } from './redis/storm.ts'

let keeping: RedisServer
let forgetful: RedisServer

beforeAll(async () => {
  // With everysec a slow disk lets the server answer up to two seconds before it writes.
  keeping = await startRedis({ config: { appendonly: 'yes', appendfsync: 'always' } })
  forgetful = await startRedis()
})

afterEach(async () => {
  await closeNodes()
  await closeKits()
})

afterAll(async () => {
  await Promise.all([keeping.cleanUp(), forgetful.cleanUp()])
})

/** Two nodes of one app. */
async function openTwo(server: RedisServer): Promise<[Node, Node]> {
  const options = { maxStaleness: '1s' } as const
  const one = await openNode({ client: clientOf(server), options })
  return [one, await openNode({ client: clientOf(server), prefix: one.prefix, options })]
}

/** Where the server writes what it is told. */
function fileOf(server: RedisServer): string {
  const folder = join(server.dir, 'appendonlydir')
  const name = readdirSync(folder).find((file) => file.endsWith('.incr.aof'))
  return join(folder, name ?? '')
}

describe('a server that is killed in the middle of rotations', () => {
  it('logs nobody out and forks nothing when it has everything on disk', async () => {
    const nodes = await openTwo(keeping)
    const storm = await startStorm(nodes, 16)
    await sleep(400)
    await keeping.kill()
    await sleep(200)
    await keeping.restart()
    await Promise.all(nodes.map(async (node) => node.recovered()))
    await sleep(300)
    await storm.stop()

    expect(storm.outages).toBeGreaterThan(0)
    expect(storm.longestMs).toBeLessThan(DEADLINE_MS + 2 * SLACK_MS)
    expect(storm.clients.flatMap(({ refused }) => refused?.code ?? [])).toEqual([])
    expect(widest(storm.clients)).toBe(1)
    for (const { tokens } of storm.clients) {
      expect(await nodes[0].getSession(tokens)).toMatchObject({ status: 200 })
      expect(await nodes[1].refresh(tokens.refresh)).toMatchObject({ status: 200 })
    }
    const types = nodes.flatMap((node) => node.typesOf())
    expect(types).not.toContain('authn_token_reuse')
    expect(types).not.toContain('authn_token_recovered')
    await Promise.all(nodes.map(async (node) => node.sighted()))
  })

  it('recovers sessions and ends what was ended when the last second is lost', async () => {
    const nodes = await openTwo(keeping)
    const [one, two] = nodes
    const doomed = await Promise.all(['a', 'b', 'c'].map(async (user) => one.login(user)))
    // More than 16 generations that were lost are not recovered: nobody is to get as far as that.
    const storm = await startStorm(nodes, 8, 200)
    // All that is written from here on is lost, as in a power cut.
    const path = fileOf(keeping)
    const { size } = statSync(path)
    const turns = storm.clients.map(({ successors }) => successors.size)
    await Promise.all(doomed.map(async ({ sid }) => one.latchkey.sessions.revoke(sid)))
    await until('the other has heard', async () => {
      const answers = await Promise.all(doomed.map(async (tokens) => two.get('/jwt', tokens)))
      return answers.every(({ status }) => status === 401)
    })
    await until('all have refreshed', async () =>
      storm.clients.every(({ successors }, place) => successors.size > (turns[place] ?? 0)),
    )
    await keeping.kill()
    truncateSync(path, size)
    // At no moment does an ended session pass, not even where the store has it again.
    let passed = 0
    const over = new AbortController()
    const watch = (async () => {
      while (!over.signal.aborted) {
        const answers = await Promise.all(
          doomed.flatMap((tokens) =>
            nodes.flatMap((node) => [node.getSession(tokens), node.get('/jwt', tokens)]),
          ),
        )
        passed += answers.filter(({ status }) => status === 200).length
        await sleep(20)
      }
    })()
    await keeping.restart()
    await Promise.all(nodes.map(async (node) => node.recovered()))

    // Who remembers nothing finds them ended, too.
    const fresh = await openNode({ client: clientOf(keeping), prefix: one.prefix })
    await until('the revocations are made again', async () => {
      const found = await Promise.all(
        doomed.map(async ({ sid }) => fresh.latchkey.sessions.find(sid)),
      )
      return found.every((session) => session === null)
    })
    await sleep(200)
    await storm.stop()
    over.abort()
    await watch

    expect(passed).toBe(0)
    expect(storm.clients.flatMap(({ refused }) => refused?.code ?? [])).toEqual([])
    expect(widest(storm.clients)).toBe(1)
    for (const { tokens } of storm.clients) {
      expect(await two.refresh(tokens.refresh)).toMatchObject({ status: 200 })
    }
    const types = nodes.flatMap((node) => node.typesOf())
    expect(types).not.toContain('authn_token_reuse')
    expect(types).toContain('authn_token_recovered')
  })

  it('ends sessions cleanly when it comes back empty, and works on', async () => {
    const nodes = await openTwo(forgetful)
    const storm = await startStorm(nodes, 16)
    const [one] = nodes
    const idle = await one.login('idle')
    await sleep(300)
    await forgetful.kill()
    const causes = await Promise.all(nodes.map(async (node) => node.blind()))
    expect(causes).toEqual(['stale', 'stale'])
    expect(one.latchkey.health()).toMatchObject({ ok: false, store: 'down' })
    expect(await one.get('/sensitive', idle)).toMatchObject(OUTAGE)
    await forgetful.restart()
    await Promise.all(nodes.map(async (node) => node.sighted()))
    await until('all have been refused', async () =>
      storm.clients.every(({ refused }) => refused !== undefined),
    )
    await storm.stop()

    for (const { refused } of storm.clients) {
      expect(refused).toMatchObject({ status: 401, code: 'session_ended', outcome: 'terminal' })
    }
    expect(await one.getSession(idle)).toMatchObject({ status: 401, code: 'session_ended' })
    expect(nodes.flatMap((node) => node.typesOf())).not.toContain('authn_token_reuse')
    const again = await one.login('idle')
    expect(await one.refresh(again.refresh)).toMatchObject({ status: 200 })
  })
})

describe('a server that forgot the scripts', () => {
  it('runs each call once, also in parallel', async () => {
    const [one, two] = await openTwo(keeping)
    const { refresh } = await one.login()
    const client = clientOf(keeping)
    await client.script('FLUSH')
    const answers = await Promise.all(
      Array.from({ length: 30 }, async (_, turn) => (turn % 2 === 0 ? one : two).refresh(refresh)),
    )
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
    expect(new Set(answers.map(({ tokens }) => tokens.refresh)).size).toBe(1)
    const events = [...one.events, ...two.events].filter(({ type }) => type === 'session_renewed')
    expect(events).toHaveLength(1)
    await client.script('FLUSH')
    const login = await one.login()
    expect(await one.latchkey.sessions.revoke(login.sid)).toBe(true)
    expect(await one.latchkey.sessions.revokeUser('alice')).toBe(1)
  })

  it('after a restart in good order runs them without a failure of its own', async () => {
    const [one] = await openTwo(keeping)
    const login = await one.login()
    await keeping.restart()
    await one.recovered()
    const answer = await one.refresh(login.refresh)
    expect(generationOf(answer.tokens.refresh)).toBe(1)
    expect(await one.getSession(login)).toMatchObject({ status: 200 })
  })
})
