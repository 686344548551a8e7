// What a session costs in Postgres: npx tsx bench/postgres-memory.ts (about five minutes)
import { openAll, startBench } from './support/postgres.ts'
import { printNote, printTable } from './support/report.ts'
import { forEachOf, IDLE_TIMEOUT_MS, newAttempt, newSession, POLICY } from './support/sessions.ts'

const MANY = 100_000
const AUDIT_EVENTS = 100_000
const IN_FLIGHT = 16
const MINUTE = 60_000
const LIMIT_BYTES = 700
/** Beyond the limit's measure: all of them at once, faster than any autovacuum. */
const AGAIN = '+ one more of each'

const short = (n: number) => n.toString(36).padStart(5, 'a')
const uuid = (n: number) => `3b241101-e2bb-4255-8caf-${String(n).padStart(12, '0')}`
const CASES = [
  ["ids like 'alice'", short, 1],
  ["ids like 'alice'", short, 3],
  ['UUIDs', uuid, 1],
] as const

// How it is written does not matter here.
const bench = await startBench(IN_FLIGHT, { fsync: 'off', synchronous_commit: 'off' })
const { pool, names } = bench
try {
  const rows: (string | number)[][] = []
  let most = 0
  for (const [ids, idOf, each] of CASES) {
    for (const [stage, parts] of await useStore(idOf, each)) {
      const bytes = parts.map((part) => Math.round(part / MANY))
      if (stage !== AGAIN) most = Math.max(most, bytes[0] ?? NaN)
      rows.push([`${ids}, ${each} a user: ${stage}`, ...bytes])
    }
  }
  printTable(`Bytes a session (${MANY} sessions)`, [
    ['', 'all', 'heap', 'primary key', 'index of users', 'maps, TOAST'],
    ...rows,
  ])
  printNote(
    `The most: ${most} bytes; the limit is ${LIMIT_BYTES}: ${most <= LIMIT_BYTES ? 'kept' : 'BROKEN'}.`,
  )
  printNote(await measureAudit())
} finally {
  await bench.close()
}

type Sizes = readonly [all: number, heap: number, key: number, users: number, rest: number]

/** Logs in, rotates each session, touches it; and all that once more, with a vacuum after each. */
async function useStore(
  idOf: (n: number) => string,
  each: number,
): Promise<(readonly [stage: string, sizes: Sizes])[]> {
  await pool.query(`truncate ${names.session}`)
  let aheadMs = 0
  const store = bench.openStore({ clock: () => Date.now() + aheadMs })
  const inputs = Array.from({ length: MANY }, (_, n) => newSession(idOf(Math.floor(n / each))))
  const rotateAll = async (generation: number) =>
    forEachOf(inputs, IN_FLIGHT, async ({ session: { sid, seedHash } }) => {
      const { outcome } = await store.rotate({
        sid,
        seedHash,
        generation,
        attemptHash: newAttempt(),
        bindingHash: null,
        policy: POLICY,
        idleTimeoutMs: IDLE_TIMEOUT_MS,
        onReuse: 'session',
      })
      if (outcome !== 'rotated') throw new Error(`a rotation gave ${outcome}`)
    })
  const touchAll = async () => {
    aheadMs += 2 * MINUTE
    await forEachOf(inputs, IN_FLIGHT, async ({ session: { sid } }) =>
      store.check({ sid, idleTimeoutMs: IDLE_TIMEOUT_MS }),
    )
  }
  const vacuum = async () => pool.query(`vacuum ${names.session}`)
  try {
    await openAll(store, inputs, IN_FLIGHT)
    await vacuum()
    const login = ['login', await sizes()] as const
    await rotateAll(0)
    await touchAll()
    await vacuum()
    const first = ['+ rotation, touch, vacuum', await sizes()] as const
    await rotateAll(1)
    await touchAll()
    await vacuum()
    return [login, first, [AGAIN, await sizes()]]
  } finally {
    await store.close()
  }
}

async function sizes(): Promise<Sizes> {
  const key = `"${names.schema}"."${names.prefix}session_pkey"`
  const users = `"${names.schema}"."${names.prefix}session_user"`
  const { rows } = await pool.query<string[]>({
    rowMode: 'array',
    text: `select pg_total_relation_size('${names.session}'), pg_relation_size('${names.session}'),
      pg_relation_size('${key}'), pg_relation_size('${users}')`,
  })
  const [all = NaN, heap = NaN, ofKey = NaN, ofUsers = NaN] = (rows[0] ?? []).map(Number)
  return [all, heap, ofKey, ofUsers, all - heap - ofKey - ofUsers]
}

async function measureAudit(): Promise<string> {
  const { sid: sessionId } = newSession('alice').session
  const batch = Array.from({ length: 100 }, () => ({
    type: 'session_created',
    user: { tenant: '', id: 'alice' },
    sessionId,
    at: Date.now(),
    result: 'success' as const,
    ip: '127.0.0.1',
    userAgent: newSession('alice').session.device.label ?? '',
  }))
  const batches = Array.from({ length: AUDIT_EVENTS / batch.length }, () => batch)
  await forEachOf(batches, IN_FLIGHT, async (events) => bench.store.audit.append(events))
  const { rows } = await pool.query<{ all: string; heap: string }>(
    `select pg_total_relation_size('${names.audit}') as all, pg_relation_size('${names.audit}') as heap`,
  )
  const [all, heap] = [rows[0]?.all, rows[0]?.heap].map((size) =>
    Math.round(Number(size) / AUDIT_EVENTS),
  )
  return `An audit event: ${all} bytes, ${heap} of them in the heap.`
}
