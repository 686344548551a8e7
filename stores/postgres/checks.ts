import { dueWrite } from '../../lib/session.ts'
import type { CheckInput, CheckResult } from '../../lib/store.ts'
import { checksSql, checkSql } from './check-sql.ts'
import type { Names } from './names.ts'
import type { Row } from './record.ts'
import { COLUMNS, decodeSession } from './record.ts'
import type { Runner, Statement } from './runner.ts'
import { statement } from './runner.ts'

/** More than this in one statement would make the first wait for the last. */
const MAX_TOGETHER = 100

interface Waiting {
  readonly input: CheckInput
  /** When it is too late, `performance.now()` milliseconds. */
  readonly giveUpAt: number
  resolve(result: CheckResult | Promise<CheckResult>): void
  reject(error: unknown): void
}

/**
 * Checks of sessions. Those of one turn of the event loop are read by one statement: what a round trip
 * costs this process and the server is then shared by all of them.
 *
 * The shared statement only reads. What has something to write, once a minute a session, is checked
 * again by itself, and so is everybody when it fails: a lock that somebody waits for, or a value that
 * the server does not take, is no business of the neighbours.
 */
export class PostgresChecks {
  readonly #runner: Runner
  readonly #clock: () => number | null
  readonly #timeoutMs: number
  readonly #one: Statement
  readonly #many: Statement
  #waiting: Waiting[] = []

  /**
   * @param clock - a test's clock; null takes the server's
   * @param timeoutMs - how long a check may take
   */
  constructor(runner: Runner, names: Names, clock: () => number | null, timeoutMs: number) {
    this.#runner = runner
    this.#clock = clock
    this.#timeoutMs = timeoutMs
    this.#one = statement('check', checkSql(names))
    this.#many = statement('checks', checksSql(names))
  }

  async check(input: CheckInput): Promise<CheckResult> {
    // In a transaction of the app's they come one after the other anyway.
    if (this.#runner.lockTimeout === null) return this.#alone(input)
    return new Promise((resolve, reject) => {
      const giveUpAt = performance.now() + this.#timeoutMs
      this.#waiting.push({ input, giveUpAt, resolve, reject })
      if (this.#waiting.length === 1) setImmediate(() => this.#turn())
    })
  }

  #turn(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (let from = 0; from < waiting.length; from += MAX_TOGETHER) {
      void this.#together(waiting.slice(from, from + MAX_TOGETHER))
    }
  }

  async #together(waiting: readonly Waiting[]): Promise<void> {
    const [only] = waiting
    if (only !== undefined && waiting.length === 1) return only.resolve(this.#alone(only.input))
    try {
      const rows = await this.#runner.run(this.#many, this.#valuesOf(waiting))
      const found = new Map(rows.map((row) => [Number(row.at(-1)), row]))
      for (const [index, one] of waiting.entries()) {
        const { result, isDue } = decode(found.get(index + 1), one.input)
        one.resolve(isDue ? this.#again(one) : result)
      }
    } catch (error) {
      for (const one of waiting) {
        if (performance.now() < one.giveUpAt) one.resolve(this.#again(one))
        else one.reject(error)
      }
    }
  }

  /** In what is left of its time. */
  async #again({ input, giveUpAt }: Waiting): Promise<CheckResult> {
    return this.#alone(input, Math.max(0, giveUpAt - performance.now()))
  }

  async #alone(input: CheckInput, timeoutMs?: number): Promise<CheckResult> {
    const { sid, seedHash, jti, generation, peek = false, idleTimeoutMs } = input
    const token = [sid, seedHash ?? null, jti ?? null, generation ?? null]
    const values = [this.#clock(), this.#runner.lockTimeout, ...token, peek, idleTimeoutMs]
    const rows = await this.#runner.run(this.#one, values, timeoutMs)
    return decode(rows[0], input).result
  }

  #valuesOf(waiting: readonly Waiting[]): unknown[] {
    const inputs = waiting.map(({ input }) => input)
    return [
      this.#clock(),
      inputs.map(({ sid }) => sid),
      inputs.map(({ seedHash }) => seedHash ?? null),
      inputs.map(({ jti }) => jti ?? null),
    ]
  }
}

/** A row of either statement; undefined is no session. */
function decode(
  row: Row | undefined,
  { generation, peek = false, idleTimeoutMs }: CheckInput,
): { readonly result: CheckResult; readonly isDue: boolean } {
  if (row === undefined) return { result: { outcome: 'gone' }, isDue: false }
  const [now, forged, deniedText] = row.slice(COLUMNS.length)
  if (forged === 't') return { result: { outcome: 'invalid' }, isDue: false }
  const session = decodeSession(row, 0)
  const denied = deniedText === 't'
  const due = denied || peek ? null : dueWrite(session, idleTimeoutMs, generation, Number(now))
  return {
    result: {
      outcome: 'alive',
      session: due === null ? session : { ...session, ...due },
      denied,
    },
    isDue: due !== null,
  }
}
