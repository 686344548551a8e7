import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { Redis } from 'ioredis'
import type { SessionRecord } from '../../lib/session.ts'
import { redisStore } from '../../stores/redis.ts'
import { sharedRedisUrl } from '../support/redis-server.ts'
import { LIFETIMES, open, POLICY, read } from './contract/support.ts'
import type { HammerRound, HammerSetup } from './redis/hammer.ts'
import { newPrefix } from './redis/open.ts'

const PROCESSES = 4
const CLIENTS = 50
const ROUNDS = 25

let children: ChildProcess[]
const cleanUps: (() => unknown)[] = []

beforeAll(() => {
  const script = fileURLToPath(new URL('redis/hammer.ts', import.meta.url))
  children = Array.from({ length: PROCESSES }, () =>
    fork(script, { execArgv: ['--import', 'tsx'] }),
  )
})

afterAll(() => {
  for (const child of children) child.kill()
})

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
})

async function prepare(child: ChildProcess, setup: HammerSetup): Promise<void> {
  const answer = once(child, 'message')
  child.send(setup)
  await answer
}

async function playRound(child: ChildProcess, generation: number): Promise<HammerRound> {
  const answer = once(child, 'message')
  child.send(generation)
  const [round] = (await answer) as [HammerRound]
  return round
}

describe.each([
  { what: 'one family', count: 1 },
  { what: 'many families', count: CLIENTS },
])('$what under the hammer of four processes', ({ count }) => {
  it('has one successor in each generation, whoever asks, and no theft', async () => {
    const client = new Redis(sharedRedisUrl())
    const prefix = newPrefix()
    const store = redisStore({ client, prefix })
    cleanUps.push(
      () => client.disconnect(),
      async () => store.close(),
    )
    const sessions: SessionRecord[] = await Promise.all(
      Array.from({ length: count }, async () => open(store)),
    )
    const families = sessions.map(({ sid, seedHash, rotatedBy }) => {
      return { sid, seedHash, bindingHash: rotatedBy }
    })
    const setup = {
      url: sharedRedisUrl(),
      prefix,
      families,
      clients: CLIENTS,
      policy: POLICY,
      idleTimeoutMs: LIFETIMES.idleTimeoutMs,
    }
    await Promise.all(children.map(async (child) => prepare(child, setup)))

    for (let generation = 0; generation < ROUNDS; generation++) {
      const rounds = await Promise.all(children.map(async (child) => playRound(child, generation)))
      const outcomes = rounds.flatMap((round) => round.outcomes)
      const counted = (wanted: string) => outcomes.filter((outcome) => outcome === wanted).length
      expect(counted('rotated')).toBe(count)
      expect(counted('replayed')).toBe(PROCESSES * CLIENTS - count)
      const successors = new Set(rounds.flatMap((round) => round.generations))
      expect([...successors]).toEqual([generation + 1])
    }
    const stored = await Promise.all(sessions.map(async (session) => read(store, session)))
    expect(stored.map((session) => session.generation)).toEqual(stored.map(() => ROUNDS))
  })
})
