import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { Pool } from 'pg'
import type { PostgresStore } from '../../stores/postgres.ts'
import { postgresStore } from '../../stores/postgres.ts'
import type { PostgresServer } from '../support/postgres-server.ts'
import { startPostgres } from '../support/postgres-server.ts'
import { LIFETIMES, listed, newUser, open, POLICY, read } from './contract/support.ts'
import type { HammerOrder, HammerRound, HammerSetup } from './postgres/hammer.ts'
import { migrated } from './postgres/node.ts'

const PROCESSES = 4
const CLIENTS = 50
const ROUNDS = 8
const MAX_SESSIONS = 5

let server: PostgresServer
let pool: Pool
let store: PostgresStore
let children: ChildProcess[] = []

beforeAll(async () => {
  server = await startPostgres({ config: { max_connections: '250' } })
  const schema = await migrated(server.url)
  pool = new Pool({ connectionString: server.url, max: 10 })
  store = postgresStore({ pool, schema, operationTimeout: '60s', pruneInterval: false })
  const script = fileURLToPath(new URL('postgres/hammer.ts', import.meta.url))
  children = Array.from({ length: PROCESSES }, () =>
    fork(script, { execArgv: ['--import', 'tsx'] }),
  )
  const setup = { url: server.url, schema, clients: CLIENTS, policy: POLICY, lifetimes: LIFETIMES }
  await Promise.all(children.map(async (child) => tell(child, setup)))
})

afterAll(async () => {
  for (const child of children) child.kill()
  await store.close()
  await pool.end()
  await server.cleanUp()
})

async function tell(child: ChildProcess, what: HammerSetup | HammerOrder): Promise<HammerRound> {
  const answer = once(child, 'message')
  child.send(what)
  const [round] = (await answer) as [HammerRound]
  return round
}

async function playRound(order: HammerOrder): Promise<HammerRound> {
  const rounds = await Promise.all(children.map(async (child) => tell(child, order)))
  return {
    outcomes: rounds.flatMap(({ outcomes }) => outcomes),
    generations: rounds.flatMap(({ generations }) => generations),
  }
}

describe('four processes with fifty connections each', () => {
  it.each([1, CLIENTS])(
    'make one successor a generation in each of %i families, whoever asks, and find no theft',
    async (count) => {
      const sessions = await Promise.all(Array.from({ length: count }, async () => open(store)))
      const families = sessions.map(({ sid, seedHash, rotatedBy }) => {
        return { sid, seedHash, bindingHash: rotatedBy }
      })
      for (let generation = 0; generation < ROUNDS; generation++) {
        const { outcomes, generations } = await playRound({ rotate: generation, families })
        expect(outcomes).toHaveLength(PROCESSES * CLIENTS)
        expect(outcomes.filter((one) => one !== 'rotated' && one !== 'replayed')).toEqual([])
        expect(outcomes.filter((one) => one === 'rotated')).toHaveLength(count)
        expect([...new Set(generations)]).toEqual([generation + 1])
      }
      const stored = await Promise.all(sessions.map(async (session) => read(store, session)))
      expect(stored.map(({ generation }) => generation)).toEqual(stored.map(() => ROUNDS))
    },
  )

  it('log one user in and out in any order, and neither block each other nor exceed the limit', async () => {
    const user = newUser()
    const over = new AbortController()
    let most = 0
    const watch = (async () => {
      while (!over.signal.aborted) most = Math.max(most, (await listed(store, user)).length)
    })()
    const { outcomes } = await playRound({ disorder: user, max: MAX_SESSIONS, turns: 7 })
    over.abort()
    await watch
    // Who looks now and then may never see it full.
    expect(most).toBeLessThanOrEqual(MAX_SESSIONS)
    expect(outcomes).toHaveLength(PROCESSES * CLIENTS * 7)
    expect(outcomes.filter((outcome) => outcome.startsWith('failed'))).toEqual([])
    // What else comes of it is chance.
    expect(outcomes).toContain('created')
    expect(server.log()).not.toContain('deadlock detected')
  })
})
