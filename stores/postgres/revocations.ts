import type { RevokeInput, RevokeResult } from '../../lib/store.ts'
import { auditText } from './audit-row.ts'
import type { Names } from './names.ts'
import type { Row } from './record.ts'
import { decodeSession } from './record.ts'
import { revokeManySql, revokeSql } from './revoke-sql.ts'
import type { Runner, Statement } from './runner.ts'
import { codeOf, statement } from './runner.ts'
import { toldBy } from './sql.ts'

/** More than this in one statement would make the first wait for the last. */
const MAX_TOGETHER = 250
/** Statements at once, at most; what comes meanwhile goes together with the next. */
const MAX_AT_ONCE = 4
/** More than this many waiting would be too late anyway. */
const MAX_WAITING = 10_000
/** How long one that goes alone waits for a lock: no refresh takes longer. */
const PATIENCE_MS = '20'
/** lock_not_available */
const LOCKED = '55P03'
/** How much longer each pause before the next look at a locked session is, and how long at most. */
const PAUSE_MS = 5
const MAX_PAUSE_MS = 50
/**
 * What the server refuses of one that it may take of others, with nothing done: bad data, a constraint,
 * a conflict, a trigger of the app's. Of anything else nobody knows whether it was done: asked again, a
 * session that this very call has ended would be `gone`.
 */
const REFUSED = /^(?:22|23|40|P0)/

interface Waiting {
  readonly input: RevokeInput
  /** When it is too late, `performance.now()` milliseconds. */
  readonly giveUpAt: number
  /** How often it found the session locked. */
  readonly looks: number
  readonly resolve: (result: RevokeResult) => void
  readonly reject: (error: unknown) => void
}

/**
 * Revocations. Those of one turn of the event loop, and those that come while as many statements as may
 * be are on their way, are made by one statement: a thousand cost no more round trips than a few, and
 * leave the pool's other connections to checks.
 *
 * Who finds a session locked looks again in a moment, together with others that wait: no connection is
 * held for a lock, and neighbours are not held up. When the server refuses a statement, its halves are
 * tried. One that comes alone is a statement of its own, which costs less.
 */
export class PostgresRevocations {
  readonly #runner: Runner
  readonly #clock: () => number | null
  readonly #tellFeed: () => void
  readonly #timeoutMs: number
  readonly #atOnce: number
  readonly #one: Statement
  readonly #many: Statement
  /** What was refused together. */
  readonly #halves: (readonly Waiting[])[] = []
  #waiting: Waiting[] = []
  #running = 0
  #pending = 0
  #isDue = false

  /** @param options - what the store is made of, and how many connections its pool has */
  constructor(options: {
    readonly runner: Runner
    readonly names: Names
    /** A test's clock; null takes the server's. */
    readonly clock: () => number | null
    /** Called when something was added to the feed. */
    readonly tellFeed: () => void
    readonly timeoutMs: number
    readonly connections: number
  }) {
    const { runner, names, clock, tellFeed, timeoutMs, connections } = options
    this.#runner = runner
    this.#clock = clock
    this.#tellFeed = tellFeed
    this.#timeoutMs = timeoutMs
    this.#atOnce = Math.max(1, Math.min(MAX_AT_ONCE, Math.floor(connections / 2)))
    this.#one = statement('revoke', revokeSql(names, toldBy(names, runner.lockTimeout === null)))
    this.#many = statement('revoke_many', revokeManySql(names))
  }

  async revoke(input: RevokeInput): Promise<RevokeResult> {
    // In a transaction of the app's they come one after the other anyway, and locks are its own.
    if (this.#runner.lockTimeout === null) return this.#alone(input, null)
    if (this.#pending >= MAX_WAITING) throw new Error(`${this.#pending} revocations wait`)
    this.#pending += 1
    try {
      return await new Promise((resolve, reject) => {
        const giveUpAt = performance.now() + this.#timeoutMs
        this.#waiting.push({ input, giveUpAt, looks: 0, resolve, reject })
        if (this.#isDue) return
        this.#isDue = true
        setImmediate(() => {
          this.#isDue = false
          this.#send()
        })
      })
    } finally {
      this.#pending -= 1
    }
  }

  #send(): void {
    while (this.#running < this.#atOnce) {
      const together = this.#next()
      if (together.length === 0) return
      this.#running += 1
      void this.#together(together).finally(() => {
        this.#running -= 1
        this.#send()
      })
    }
  }

  #next(): readonly Waiting[] {
    const now = performance.now()
    const inTime = ({ giveUpAt, looks, reject }: Waiting) => {
      const isLate = giveUpAt <= now
      if (isLate) reject(new Error(looks > 0 ? 'the session is locked' : 'no connection in time'))
      return !isLate
    }
    while (this.#halves.length + this.#waiting.length > 0) {
      const next = this.#halves.shift() ?? this.#waiting.splice(0, MAX_TOGETHER)
      const together = next.filter(inTime)
      if (together.length > 0) return together
    }
    return []
  }

  /** Never fails. */
  async #together(waiting: readonly Waiting[]): Promise<void> {
    try {
      const giveUpAt = Math.max(...waiting.map((one) => one.giveUpAt))
      const timeoutMs = Math.max(0, giveUpAt - performance.now())
      const [only] = waiting
      if (only !== undefined && waiting.length === 1 && only.looks === 0) {
        return only.resolve(await this.#alone(only.input, PATIENCE_MS, timeoutMs))
      }
      const rows = await this.#runner.run(this.#many, this.#valuesOf(waiting), timeoutMs)
      if (rows.some(isEnded)) this.#tellFeed()
      this.#answer(waiting, rows)
    } catch (error) {
      this.#fail(waiting, error)
    }
  }

  #fail(waiting: readonly Waiting[], error: unknown): void {
    const code = codeOf(error)
    if (code === LOCKED) for (const one of waiting) this.#lookAgain(one)
    else if (waiting.length > 1 && REFUSED.test(code)) {
      const middle = Math.ceil(waiting.length / 2)
      this.#halves.push(waiting.slice(0, middle), waiting.slice(middle))
    } else {
      for (const { reject } of waiting) reject(error)
    }
  }

  #answer(waiting: readonly Waiting[], rows: readonly Row[]): void {
    const found = new Map(rows.map((row) => [Number(row[0]), row]))
    for (const [index, one] of waiting.entries()) {
      const row = found.get(index + 1)
      if (row !== undefined && isLocked(row)) this.#lookAgain(one)
      else if (row !== undefined && isEnded(row)) {
        one.resolve({ outcome: 'revoked', session: decodeSession(row, 3) })
      } else one.resolve({ outcome: 'gone' })
    }
  }

  #lookAgain(one: Waiting): void {
    const looks = one.looks + 1
    setTimeout(
      () => {
        this.#waiting.push({ ...one, looks })
        this.#send()
      },
      Math.min(looks * PAUSE_MS, MAX_PAUSE_MS),
    )
  }

  async #alone(
    { sid, owner, seedHash, audit }: RevokeInput,
    lockTimeout: string | null,
    timeoutMs?: number,
  ): Promise<RevokeResult> {
    const whose = [owner?.tenant ?? null, owner?.id ?? null, seedHash ?? null]
    const values = [this.#clock(), lockTimeout, sid, ...whose, auditText(audit)]
    const [row] = await this.#runner.run(this.#one, values, timeoutMs)
    if (row === undefined) return { outcome: 'gone' }
    this.#tellFeed()
    return { outcome: 'revoked', session: decodeSession(row, 0) }
  }

  #valuesOf(waiting: readonly Waiting[]): unknown[] {
    const inputs = waiting.map(({ input }) => input)
    return [
      this.#clock(),
      inputs.map(({ sid }) => sid),
      inputs.map(({ owner }) => owner?.tenant ?? null),
      inputs.map(({ owner }) => owner?.id ?? null),
      inputs.map(({ seedHash }) => seedHash ?? null),
      inputs.map(({ audit }) => auditText(audit)),
    ]
  }
}

function isEnded(row: Row): boolean {
  return row[1] === 't'
}

function isLocked(row: Row): boolean {
  return row[2] === 't'
}
