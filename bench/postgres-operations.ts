// What the operations of the store cost beside a bare statement that `pg` has prepared:
// npx tsx bench/postgres-operations.ts (about six minutes)
import type { CreateInput } from '../middleware/index.ts'
import { COLUMNS } from '../stores/postgres/record.ts'
import { openAll, startBench } from './support/postgres.ts'
import { printNote, printTable, quantile, rounds } from './support/report.ts'
import { forEachOf, IDLE_TIMEOUT_MS, newAttempt, newSession, POLICY } from './support/sessions.ts'

const IN_FLIGHT = 16
const ROUNDS = 7
const CALLS = 4000
const USERS = 40
/** A round is cut into so many, in turns with what it is compared with. */
const SLICES = 16
const SESSIONS_A_USER = 100
/** Sessions of others: the table is not empty. */
const OTHERS = 100_000
const MINUTE = 60_000

const bench = await startBench(IN_FLIGHT)
const { pool, names, store } = bench
let batches = 0

/** A statement as an app would write it with nothing but `pg`. */
interface Bare {
  readonly name: string
  readonly text: string
  readonly values: (input: CreateInput) => unknown[]
}

interface Measured {
  /** How many rows of a user there are. */
  readonly each?: number
  /** Calls, where they are not one a session. */
  readonly calls?: number
  readonly call: (input: CreateInput) => Promise<unknown>
  readonly beside: readonly Bare[]
  /** Done with the sessions of a round before it is measured. */
  readonly prepare?: (users: string) => Promise<unknown>
}

const columns = COLUMNS.join(', ')
const select: Bare = {
  name: 'SELECT by primary key',
  text: `select ${columns} from ${names.session} where sid = $1`,
  values: ({ session: { sid } }) => [sid],
}
const update: Bare = {
  name: 'UPDATE … RETURNING',
  text: `update ${names.session} set generation = generation + 1, rotated_at = $2, rotated_by = $3,
  attempt_hash = $4, confirmed = false, last_seen_at = $2, idle_deadline = $5
where sid = $1 returning ${columns}`,
  values: ({ session: { sid } }) => [
    sid,
    Date.now(),
    null,
    newAttempt(),
    Date.now() + IDLE_TIMEOUT_MS,
  ],
}
const insert: Bare = {
  name: 'INSERT … RETURNING',
  text: `insert into ${names.session} (${columns})
values (${COLUMNS.map((_, n) => `$${n + 1}`).join(', ')}) returning ${columns}`,
  values({ session, lifetimes }) {
    const now = Date.now()
    const { idleTimeoutMs, absoluteTimeoutMs } = lifetimes
    const fields: Record<(typeof COLUMNS)[number], unknown> = {
      // One of its own beside the store's.
      sid: newSession(session.user.id).session.sid,
      rotated_at: now,
      created_at: now,
      auth_time: now,
      last_seen_at: now,
      idle_deadline: now + idleTimeoutMs,
      absolute_deadline: now + absoluteTimeoutMs,
      generation: 0,
      ver: 0,
      data_ver: 0,
      confirmed: false,
      remember: session.remember,
      tenant: session.user.tenant,
      user_id: session.user.id,
      seed_hash: session.seedHash,
      attempt_hash: null,
      binding_hash: null,
      rotated_by: null,
      device_label: session.device.label,
      device_ip: session.device.ip,
      attributes: JSON.stringify(session.attributes),
      data: null,
    }
    return COLUMNS.map((column) => fields[column])
  },
}
const remove: Bare = {
  name: 'DELETE … RETURNING',
  text: `delete from ${names.session} where sid = $1 returning ${columns}`,
  values: ({ session: { sid } }) => [sid],
}
const page: Bare = {
  name: 'SELECT by user',
  text: `select ${columns} from ${names.session} where user_id = $1 and tenant = $2
order by last_seen_at desc limit 101`,
  values: ({ session: { user } }) => [user.id, user.tenant],
}
const removeUser: Bare = {
  name: 'DELETE by user',
  text: `delete from ${names.session} where user_id = $1 and tenant = $2 returning sid`,
  values: ({ session: { user } }) => [user.id, user.tenant],
}

const operations: Readonly<Record<string, Measured>> = {
  open: { call: async (input) => store.create(input), beside: [insert] },
  'check, by session token': {
    call: async ({ session: { sid, seedHash } }) =>
      store.check({ sid, seedHash, idleTimeoutMs: IDLE_TIMEOUT_MS }),
    beside: [select, update],
  },
  'check, by access token': {
    call: async ({ session: { sid } }) =>
      store.check({ sid, jti: 'a'.repeat(22), generation: 1, idleTimeoutMs: IDLE_TIMEOUT_MS }),
    beside: [select],
  },
  'check, touch due': {
    prepare: async (users) =>
      pool.query({
        text: `update ${names.session} set last_seen_at = last_seen_at - $2 where user_id like $1`,
        values: [users, 2 * MINUTE],
      }),
    call: async ({ session: { sid, seedHash } }) =>
      store.check({ sid, seedHash, idleTimeoutMs: IDLE_TIMEOUT_MS }),
    beside: [update],
  },
  rotate: {
    call: async ({ session: { sid, seedHash } }) =>
      store.rotate({
        sid,
        seedHash,
        generation: 0,
        attemptHash: newAttempt(),
        bindingHash: null,
        policy: POLICY,
        idleTimeoutMs: IDLE_TIMEOUT_MS,
        onReuse: 'session',
      }),
    beside: [update],
  },
  revoke: { call: async ({ session: { sid } }) => store.revoke({ sid }), beside: [remove] },
  'list (3 sessions)': {
    each: 3,
    call: async ({ session: { user } }) => store.list({ user, limit: 100 }),
    beside: [page],
  },
  [`revokeUser (${SESSIONS_A_USER})`]: {
    each: SESSIONS_A_USER,
    calls: USERS,
    call: async ({ session: { user } }) => store.revokeUser({ user }),
    beside: [removeUser],
  },
}

try {
  await openAll(
    store,
    Array.from({ length: OTHERS }, (_, n) => newSession(`other${n}`)),
    IN_FLIGHT,
  )
  const rows: string[][] = []
  for (const [name, measured] of Object.entries(operations)) {
    rows.push(...(await measure(name, measured)))
  }
  printTable(`${IN_FLIGHT} in flight on as many connections, ${ROUNDS} rounds: median (min-max)`, [
    [
      '',
      'calls a second',
      'p50 ms',
      'p99 ms',
      'us of Postgres',
      'us of node',
      'rate of the store, of this',
    ],
    ...rows,
  ])
  printNote(
    `fsync and synchronous_commit are on; ${OTHERS} other sessions. A bare statement and the store take ` +
      'turns on the same pool, each with sessions of its own.',
  )
} finally {
  await bench.close()
}

async function measure(name: string, measured: Measured): Promise<string[][]> {
  const { beside, call, calls = CALLS } = measured
  const runs: Run[][] = [[], ...beside.map(() => [])]
  // The first warms up.
  for (let round = 0; round <= ROUNDS; round++) {
    const contenders = [{ items: await sessions(name !== 'open', measured), call }]
    for (const bare of beside) {
      const items = await sessions(bare !== insert, measured)
      const query = { name: bare.name, text: bare.text }
      contenders.push({
        items,
        call: async (input) => pool.query({ ...query, values: bare.values(input) }),
      })
    }
    await pool.query(`vacuum (analyze) ${names.session}`)
    const slices = contenders.map((): Slice[] => [])
    // In turns, so that what else the machine does hits all alike.
    const size = Math.ceil(calls / SLICES)
    for (let from = 0; from < calls; from += size) {
      for (const [n, contender] of contenders.entries()) {
        slices[n]?.push(await timed(contender.items.slice(from, from + size), contender.call))
      }
    }
    if (round > 0) for (const [n, own] of slices.entries()) runs[n]?.push(sum(own))
  }
  const [own = [], ...others] = runs
  const rows = [[name, ...cells(own), '']]
  for (const [n, bare] of beside.entries()) {
    const theirs = others[n] ?? []
    const ratios = own.map(({ perSecond }, round) => perSecond / (theirs[round]?.perSecond ?? NaN))
    rows.push([`— bare ${bare.name}`, ...cells(theirs), rounds(ratios, 2)])
  }
  return rows
}

/** New sessions, in the table unless they are to be opened, and one of each user to call with. */
async function sessions(isOpen: boolean, measured: Measured): Promise<readonly CreateInput[]> {
  const { each = 1, calls = CALLS } = measured
  const prefix = `${++batches}-`
  const users = Array.from({ length: calls }, (_, n) => `${prefix}${n}`)
  const inputs = users.flatMap((id) => Array.from({ length: each }, () => newSession(id)))
  if (isOpen) {
    await openAll(store, inputs, IN_FLIGHT)
    await measured.prepare?.(`${prefix}%`)
  }
  return inputs.filter((_, n) => n % each === 0)
}

interface Run {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  /** Processor time a call, microseconds. */
  readonly postgresMicros: number
  readonly nodeMicros: number
}

interface Slice {
  readonly times: readonly number[]
  readonly seconds: number
  readonly postgresMicros: number
  readonly nodeMicros: number
}

async function timed<Item>(
  items: readonly Item[],
  call: (item: Item) => Promise<unknown>,
): Promise<Slice> {
  const times: number[] = []
  const postgresBefore = bench.cpuMicros()
  const nodeBefore = process.cpuUsage()
  const startedAt = performance.now()
  await forEachOf(items, IN_FLIGHT, async (item) => {
    const calledAt = performance.now()
    await call(item)
    times.push(performance.now() - calledAt)
  })
  const seconds = (performance.now() - startedAt) / 1000
  const { user, system } = process.cpuUsage(nodeBefore)
  return {
    times,
    seconds,
    postgresMicros: bench.cpuMicros() - postgresBefore,
    nodeMicros: user + system,
  }
}

function sum(slices: readonly Slice[]): Run {
  const times = slices.flatMap((slice) => slice.times)
  const total = (key: 'seconds' | 'postgresMicros' | 'nodeMicros') =>
    slices.reduce((all, slice) => all + slice[key], 0)
  return {
    perSecond: times.length / total('seconds'),
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    postgresMicros: total('postgresMicros') / times.length,
    nodeMicros: total('nodeMicros') / times.length,
  }
}

function cells(runs: readonly Run[]): string[] {
  const digits = { perSecond: 0, p50: 2, p99: 1, postgresMicros: 0, nodeMicros: 0 }
  return (['perSecond', 'p50', 'p99', 'postgresMicros', 'nodeMicros'] as const).map((key) =>
    rounds(
      runs.map((run) => run[key]),
      digits[key],
    ),
  )
}
