// One process of a hammer: its clients do something all at once, round by round, each when the parent
// says so. Run with `fork`.

import { randomBytes } from 'node:crypto'
import { Pool } from 'pg'
import type { RotationPolicy } from '../../../lib/rotation.ts'
import type { Lifetimes, SessionRecord } from '../../../lib/session.ts'
import type { CreateInput, RotateInput } from '../../../lib/store.ts'
import type { UserRef } from '../../../lib/user.ts'
import { userShard } from '../../../lib/user.ts'
import type { PostgresStore } from '../../../stores/postgres.ts'
import { postgresStore } from '../../../stores/postgres.ts'

/** What the parent tells first. */
export interface HammerSetup {
  readonly url: string
  readonly schema: string
  readonly clients: number
  readonly policy: RotationPolicy
  readonly lifetimes: Lifetimes
}

export interface Family {
  readonly sid: string
  readonly seedHash: string
  readonly bindingHash: string | null
}

/** What the parent tells then. */
export type HammerOrder =
  /** Client `n` presents this generation of family `n` modulo their number. */
  | { readonly rotate: number; readonly families: readonly Family[] }
  /** Each client does one thing after the other to the sessions of one user. */
  | { readonly disorder: UserRef; readonly max: number; readonly turns: number }

/** What came of one round: what each client got. */
export interface HammerRound {
  readonly outcomes: readonly string[]
  /** The generation each got, -1 for none. */
  readonly generations: readonly number[]
}

let store: PostgresStore
let setup: HammerSetup

async function prepare(given: HammerSetup): Promise<void> {
  setup = given
  const { url, schema, clients } = setup
  const pool = new Pool({ connectionString: url, max: clients, idleTimeoutMillis: 0 })
  // Two hundred stand in line: what is late is blocked, not slow.
  store = postgresStore({ pool, schema, operationTimeout: '60s', pruneInterval: false })
  // A connection for each client, before it counts.
  const lent = await Promise.all(Array.from({ length: clients }, async () => pool.connect()))
  for (const client of lent) client.release()
}

function rotation({ sid, seedHash, bindingHash }: Family, generation: number): RotateInput {
  return {
    sid,
    seedHash,
    bindingHash,
    generation,
    attemptHash: randomBytes(32).toString('base64url'),
    policy: setup.policy,
    idleTimeoutMs: setup.lifetimes.idleTimeoutMs,
    onReuse: 'session',
  }
}

function login(user: UserRef, max: number): CreateInput {
  const random = (bytes: number) => randomBytes(bytes).toString('base64url')
  return {
    session: {
      sid: userShard(user) + random(17).slice(0, 22),
      user,
      seedHash: random(32),
      attributes: { roles: [], scope: [], level: null, amr: ['pwd'], claims: {} },
      bindingHash: null,
      device: { label: null, ip: null },
      remember: true,
      data: null,
    },
    lifetimes: setup.lifetimes,
    limit: { max, onLimit: 'evict' },
    loginAgeMs: 0,
  }
}

async function rotateAll(generation: number, families: readonly Family[]): Promise<HammerRound> {
  const results = await Promise.all(
    Array.from({ length: setup.clients }, async (_, n) => {
      const family = families[n % families.length]
      if (family === undefined) throw new Error('there is no family')
      return store.rotate(rotation(family, generation)).catch(failed)
    }),
  )
  return {
    outcomes: results.map(({ outcome }) => outcome),
    generations: results.map((result) =>
      result.outcome === 'rotated' || result.outcome === 'replayed'
        ? result.session.generation
        : -1,
    ),
  }
}

async function disorder(user: UserRef, max: number, turns: number): Promise<HammerRound> {
  const outcomes: string[] = []
  const lives = Array.from({ length: setup.clients }, async (_, n) => {
    let mine: SessionRecord | undefined
    for (let turn = n; turn < n + turns; turn++) {
      const { items } = await store.list({ user, limit: 100 })
      const theirs = items[turn % Math.max(1, items.length)]
      const result = await act(turn % 7, theirs ?? mine).catch(failed)
      if (result.outcome === 'created') mine = result.session
      outcomes.push(result.outcome)
    }
  })

  async function act(what: number, session: SessionRecord | undefined) {
    if (session === undefined || what < 2) return store.create(login(user, max))
    const { sid, seedHash, generation, rotatedBy } = session
    const refresh = rotation({ sid, seedHash, bindingHash: rotatedBy }, generation)
    if (what === 2) return store.rotate(refresh)
    if (what === 3) return steal()
    if (what === 4) return store.revoke({ sid })
    if (what === 5) return store.check({ sid, generation, idleTimeoutMs: 20 })
    const { revoked } = await store.revokeUser({ user, except: sid })
    return { outcome: `revoked ${revoked.length > 0 ? 'some' : 'none'}` } as const
  }

  /** A generation long gone: it ends all sessions of the user. */
  async function steal() {
    const made = await store.create(login(user, max))
    if (made.outcome !== 'created') return made
    const { sid, seedHash } = made.session
    const stolen = rotation({ sid, seedHash, bindingHash: null }, -5)
    return store.rotate({ ...stolen, onReuse: 'user' })
  }

  await Promise.all(lives)
  return { outcomes, generations: [] }
}

function failed(error: unknown) {
  const code: unknown = typeof error === 'object' && error !== null && 'code' in error && error.code
  return { outcome: `failed: ${String(code)} ${String(error)}` } as const
}

process.on('message', (message: HammerSetup | HammerOrder) => {
  void answer(message).then((result) => process.send?.(result))
})

async function answer(message: HammerSetup | HammerOrder): Promise<HammerRound | 'prepared'> {
  if ('rotate' in message) return rotateAll(message.rotate, message.families)
  if ('disorder' in message) return disorder(message.disorder, message.max, message.turns)
  await prepare(message)
  return 'prepared'
}

// Never outlives whoever started it.
process.on('disconnect', () => process.exit())
