// What pruning costs, and who waits for it: npx tsx bench/postgres-prune.ts (about three minutes)
import { setTimeout as sleep } from 'node:timers/promises'
import { fillSessions, startBench } from './support/postgres.ts'
import { printNote, printTable, quantile } from './support/report.ts'
import { IDLE_TIMEOUT_MS, newAttempt, newSession, POLICY } from './support/sessions.ts'

const ROWS = 1_000_000
const CONNECTIONS = 16
/** So many logins a second, and as many refreshes. */
const RATE = 100
const BASELINE_MS = 10_000
/** Every other one, or all of them. */
const HALF_OVER = 'case n % 2 when 0 then over else alive end'
const ALL_OVER = 'over'

const bench = await startBench(CONNECTIONS)
const { pool, store } = bench

try {
  await fillSessions(bench, ROWS, HALF_OVER)
  const alone = await prune()
  // As many again, in the place of those that went.
  await fillSessions(bench, ROWS / 2, ALL_OVER)

  const before = startTraffic()
  await sleep(BASELINE_MS)
  const without = await before()
  const during = startTraffic()
  const beside = await prune()
  const meanwhile = await during()
  const last = startTraffic()
  await sleep(BASELINE_MS)
  const after = await last()

  printTable(`prune of ${ROWS} sessions, half of them over`, [
    ['', 'removed', 'seconds', 'removed a second', 'longest batch, ms'],
    ['alone', ...cells(alone)],
    [`beside ${RATE} logins and ${RATE} refreshes a second`, ...cells(beside)],
  ])
  const head = ['', 'calls', 'login p50', 'p99', 'max', 'refresh p50', 'p99', 'max', 'failed']
  printTable(`${RATE} logins and ${RATE} refreshes a second, in ms`, [
    head,
    row('before', without),
    row('during prune', meanwhile),
    row('after', after),
  ])
  printNote('fsync and synchronous_commit are on; operationTimeout is the default, 200 ms.')
} finally {
  await bench.close()
}

interface Pruned {
  readonly removed: number
  readonly seconds: number
  readonly longestMs: number
}

async function prune(): Promise<Pruned> {
  let longestMs = 0
  // Seen from outside: how old the oldest of its transactions gets.
  const watch = setInterval(() => {
    void pool
      .query<{ ms: string | null }>(
        `select max(extract(epoch from clock_timestamp() - xact_start)) * 1000 as ms
from pg_stat_activity where query like 'with turn %' and state <> 'idle'`,
      )
      .then(({ rows }) => {
        longestMs = Math.max(longestMs, Number(rows[0]?.ms))
      })
  }, 10)
  const startedAt = performance.now()
  const removed = await store.prune()
  const seconds = (performance.now() - startedAt) / 1000
  clearInterval(watch)
  return { removed, seconds, longestMs }
}

interface Traffic {
  readonly logins: readonly number[]
  readonly refreshes: readonly number[]
  readonly failed: number
}

/** Sends at a steady rate whatever the answers do; what stops it waits for the last of them. */
function startTraffic(): () => Promise<Traffic> {
  // What is late fails, as in an app.
  const own = bench.openStore({ operationTimeout: '200ms' })
  const logins: number[] = []
  const refreshes: number[] = []
  const underWay = new Set<Promise<unknown>>()
  let failed = 0
  let sent = 0
  const startedAt = performance.now()

  async function timed(times: number[], call: () => Promise<unknown>): Promise<void> {
    const calledAt = performance.now()
    try {
      await call()
    } catch {
      failed += 1
    }
    times.push(performance.now() - calledAt)
  }

  async function loginAndRefresh(): Promise<void> {
    const input = newSession(`new${Math.random()}`)
    const { sid, seedHash } = input.session
    await timed(logins, async () => own.create(input))
    await timed(refreshes, async () =>
      own.rotate({
        sid,
        seedHash,
        generation: 0,
        attemptHash: newAttempt(),
        bindingHash: null,
        policy: POLICY,
        idleTimeoutMs: IDLE_TIMEOUT_MS,
        onReuse: 'session',
      }),
    )
  }

  const timer = setInterval(() => {
    const due = ((performance.now() - startedAt) / 1000) * RATE
    for (; sent < due; sent += 1) {
      const call = loginAndRefresh().finally(() => underWay.delete(call))
      underWay.add(call)
    }
  }, 5)
  return async () => {
    clearInterval(timer)
    await Promise.all(underWay)
    await own.close()
    return { logins, refreshes, failed }
  }
}

function cells({ removed, seconds, longestMs }: Pruned): (string | number)[] {
  return [removed, seconds.toFixed(1), (removed / seconds).toFixed(0), longestMs.toFixed(0)]
}

function row(name: string, { logins, refreshes, failed }: Traffic): (string | number)[] {
  return [name, logins.length, ...show(logins), ...show(refreshes), failed]
}

function show(times: readonly number[]): string[] {
  return [0.5, 0.99, 1].map((share) => quantile(times, share).toFixed(1))
}
