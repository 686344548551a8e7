// What nodes that follow the feed cost Redis: npx tsx bench/redis-followers.ts (about two minutes)
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { startRedis } from '../test/support/redis-server.ts'
import { startChild } from './support/children.ts'
import { printNote, printTable, quantile, rounds } from './support/report.ts'
import { forEachOf, newSession, openStore } from './support/sessions.ts'

const FOLLOWERS = 200
const PROCESSES = 2
const RATES = [0, 167]
const ROUNDS = 3
const ROUND_MS = 12_000
const TICK_MS = 6

let everRevoked = 0

const server = await startRedis({ config: { appendonly: 'yes' } })
const redis = new Redis(server.url)
const store = await openStore(redis)
const args = [server.url, 'latchkey:{feed}', String(FOLLOWERS / PROCESSES)]
const children = await Promise.all(
  Array.from({ length: PROCESSES }, async () => startChild('redis-followers-child.ts', ...args)),
)
try {
  const rows: string[][] = []
  const commands: string[][] = []
  for (const rate of RATES) {
    const runs: Run[] = []
    for (let round = 0; round < ROUNDS; round++) runs.push(await run(rate))
    rows.push([
      `${rate} a second`,
      rounds(
        runs.map(({ cpu }) => 100 * cpu),
        1,
      ),
      rounds(
        runs.map(({ reads }) => reads / FOLLOWERS),
        1,
      ),
      rounds(
        runs.map(({ revoked }) => revoked),
        0,
      ),
    ])
    const last = runs.at(-1)
    for (const [name, { calls, micros }] of last?.commands ?? []) {
      commands.push([`${name} at ${rate}`, calls.toFixed(0), (micros / 10_000).toFixed(1)])
    }
  }
  printTable(
    `${FOLLOWERS} followers in ${PROCESSES} processes, ${ROUNDS} rounds of ${ROUND_MS / 1000} s`,
    [
      ['revocations', '% of a core, Redis', 'reads a second and follower', 'revoked a second'],
      ...rows,
    ],
  )
  printTable('Of that, inside commands (last round)', [
    ['command', 'calls a second', '% of a core'],
    ...commands,
  ])
  printNote(await verdict())
} finally {
  await Promise.all(children.map(async (child) => child.stop()))
  await store.close()
  redis.disconnect()
  await server.cleanUp()
}

interface Run {
  /** Seconds of processor a second. */
  readonly cpu: number
  readonly reads: number
  readonly revoked: number
  readonly commands: [name: string, { calls: number; micros: number }][]
}

async function run(rate: number): Promise<Run> {
  const inputs = Array.from({ length: (rate * ROUND_MS) / 1000 }, (_, n) => newSession(`user${n}`))
  await forEachOf(inputs, 64, async (input) => store.create(input))
  await sleep(500)
  const before = await readServer()
  const startedAt = performance.now()
  let revoked = 0
  while (performance.now() - startedAt < ROUND_MS) {
    const due = Math.floor((rate * (performance.now() - startedAt)) / 1000)
    const sids = inputs.slice(revoked, due).map(({ session }) => session.sid)
    revoked += sids.length
    await Promise.all(sids.map(async (sid) => store.revoke({ sid })))
    await sleep(TICK_MS)
  }
  const after = await readServer()
  const seconds = (performance.now() - startedAt) / 1000
  everRevoked += revoked
  const commands = [...after.commands].map(([name, { calls, micros }]): Run['commands'][number] => {
    const was = before.commands.get(name) ?? { calls: 0, micros: 0 }
    return [name, { calls: (calls - was.calls) / seconds, micros: (micros - was.micros) / seconds }]
  })
  return {
    cpu: (after.cpu - before.cpu) / seconds,
    reads: commands.find(([name]) => name === 'xread')?.[1].calls ?? 0,
    revoked: revoked / seconds,
    commands: commands.filter(([, { calls }]) => calls >= 1),
  }
}

async function verdict(): Promise<string> {
  await sleep(1000)
  const answers = await Promise.all(children.map(async (child) => child.ask<State>('state')))
  const total = (key: 'failed' | 'blind') => answers.reduce((sum, answer) => sum + answer[key], 0)
  const least = quantile(
    answers.flatMap(({ heard }) => heard),
    0,
  )
  return (
    `Of ${everRevoked} revocations the slowest follower heard ${least}. ` +
    `Followers that are blind: ${total('blind')}; reads that failed: ${total('failed')}.`
  )
}

interface State {
  readonly heard: readonly number[]
  readonly failed: number
  readonly blind: number
}

async function readServer() {
  // One after the other: reading it is not to be a part of it.
  const cpu = await redis.info('cpu')
  const stats = await redis.info('commandstats')
  const seconds = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(cpu)?.[1])
  const lines = [...stats.matchAll(/^cmdstat_([^:|]+):calls=(\d+),usec=(\d+)/gm)]
  return {
    cpu: seconds('used_cpu_user') + seconds('used_cpu_sys'),
    commands: new Map(
      lines.map(([, name = '', calls, micros]) => [
        name,
        { calls: Number(calls), micros: Number(micros) },
      ]),
    ),
  }
}
