import { createHash } from 'node:crypto'
import type { PostgresClient, PostgresPool, PostgresPoolClient, PostgresQuery } from './client.ts'
import { isPool } from './client.ts'
import type { Row } from './record.ts'

/** A statement, prepared under its name once a connection. */
export interface Statement {
  readonly name: string
  readonly text: string
}

/** Runs statements. */
export interface Runner {
  /** One statement in one round trip; its rows. */
  run(statement: Statement, values: unknown[], timeoutMs?: number): Promise<readonly Row[]>
  /** For `lock_timeout`, in milliseconds as text; null inside a transaction of the app's. */
  readonly lockTimeout: string | null
}

/** A prepared statement's name is one of its text: two kits may share a pool. */
export function statement(operation: string, sql: string): Statement {
  const hash = createHash('sha256').update(sql).digest('hex').slice(0, 12)
  return { name: `latchkey_${operation}_${hash}`, text: sql }
}

/** Errors after which nothing was done and trying again helps. */
const RETRYABLE = new Set([
  '40001', // serialization_failure
  '40P01', // deadlock_detected
])
/** The connection does not know the statement as it is: another one will. */
const UNPREPARED = new Set([
  '26000', // invalid_sql_statement_name: somebody discarded it
  '42P05', // duplicate_prepared_statement: a pooler gave us somebody else's connection
  '0A000', // feature_not_supported: "cached plan must not change result type", after a migration
])
/** read_only_sql_transaction: a standby, or what was the primary. The address may lead elsewhere by now. */
const READ_ONLY = '25006'
/** No faster than this are its connections given up: a server that stays so is not stormed. */
const READ_ONLY_PAUSE_MS = 50
const MAX_RETRIES = 2
const RETRY_PAUSE_MS = 5
/** More than this many waiting for a connection means that there is none to be had. */
const MAX_WAITING = 1000

/** Values stay texts, whatever parsers the app has given to `pg`. */
const TYPES: PostgresQuery['types'] = { getTypeParser: () => (value) => value }

/**
 * Runs statements on the app's pool, each within its time. A connection that does not answer in time is
 * closed: what it may still answer is nobody's. Its time counts from the question, not from when the
 * caller began to wait: else connections to a far server would be closed as soon as they were made.
 */
export function createRunner(options: {
  readonly client: PostgresPool | PostgresClient
  readonly prepare: boolean
  readonly operationTimeoutMs: number
}): Runner {
  const { client, prepare, operationTimeoutMs } = options
  const queryOf = ({ name, text }: Statement, values: unknown[]): PostgresQuery => ({
    text,
    values,
    rowMode: 'array',
    types: TYPES,
    ...(prepare && { name }),
  })

  if (!isPool(client)) {
    // One after the other: pg wants no second query on a client that is busy.
    let last: Promise<unknown> = Promise.resolve()
    return {
      lockTimeout: null,
      async run(asked, values) {
        const result = last.then(async () => client.query(queryOf(asked, values)))
        last = result.catch(() => undefined)
        return rowsOf(await result)
      },
    }
  }

  surviveErrors(client)
  // A little earlier than the connection is given up: the server then says what it was.
  const lockTimeout = String(Math.max(1, Math.floor(operationTimeoutMs * 0.9)))
  let leftAt = -Infinity
  const isOfNoUse = (error: unknown) => {
    if (codeOf(error) !== READ_ONLY) return isFatal(error)
    const now = performance.now()
    if (now - leftAt < READ_ONLY_PAUSE_MS) return false
    leftAt = now
    return true
  }
  return {
    lockTimeout,
    async run(asked, values, timeoutMs = operationTimeoutMs) {
      const giveUpAt = performance.now() + timeoutMs
      const query = queryOf(asked, values)
      for (let retries = 0; ; retries += 1) {
        try {
          return await once({ pool: client, query, giveUpAt, timeoutMs, isOfNoUse })
        } catch (error) {
          const code = codeOf(error)
          const again = RETRYABLE.has(code) || UNPREPARED.has(code)
          const pauseMs = RETRY_PAUSE_MS * (1 + Math.random()) * (retries + 1)
          if (!again || retries === MAX_RETRIES) throw error
          if (performance.now() + pauseMs >= giveUpAt) throw error
          await new Promise((resolve) => {
            setTimeout(resolve, pauseMs)
          })
        }
      }
    },
  }
}

async function once(options: {
  readonly pool: PostgresPool
  readonly query: PostgresQuery
  /** When the caller is answered at the latest. */
  readonly giveUpAt: number
  /** How long the connection may take to answer. */
  readonly timeoutMs: number
  readonly isOfNoUse: (error: unknown) => boolean
}): Promise<readonly Row[]> {
  const { pool, query, giveUpAt, timeoutMs, isOfNoUse } = options
  if (pool.waitingCount >= MAX_WAITING) {
    throw new Error(`no connection: ${pool.waitingCount} wait for one`)
  }
  return new Promise((resolve, reject) => {
    let asked = false
    let isOver = false
    const giveUp = () => fail(new Error(asked ? 'no answer in time' : 'no connection in time'))
    const timer = setTimeout(giveUp, Math.max(0, giveUpAt - performance.now()))
    const fail = (error: unknown) => {
      isOver = true
      clearTimeout(timer)
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- what pg threw, as it is
      reject(error)
    }
    const use = (client: PostgresPoolClient) => {
      surviveErrors(client)
      if (isOver) return client.release()
      asked = true
      let isLate = false
      const closing = setTimeout(() => {
        isLate = true
        client.release(true)
      }, timeoutMs)
      client.query(query).then(
        (result) => {
          clearTimeout(closing)
          clearTimeout(timer)
          if (!isLate) client.release()
          resolve(rowsOf(result))
        },
        (error: unknown) => {
          clearTimeout(closing)
          if (!isLate) client.release(isOfNoUse(error))
          fail(error)
        },
      )
    }
    // Not by a promise: a connection may break before that is heard of, with nobody listening.
    pool.connect((error, client) => {
      if (client === undefined) fail(error)
      else use(client)
    })
  })
}

function rowsOf(result: { readonly rows: unknown[] }): readonly Row[] {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- by `rowMode` and `types` above
  return result.rows as Row[]
}

const surviving = new WeakSet<object>()

/** A connection that breaks while nobody asks anything of it would otherwise end the process. */
export function surviveErrors(emitter: Pick<PostgresClient, 'on'>): void {
  if (surviving.has(emitter)) return
  surviving.add(emitter)
  emitter.on('error', () => undefined)
}

/** Whether the connection is of no use any more. What the server refuses leaves it as it was. */
function isFatal(error: unknown): boolean {
  const code = codeOf(error)
  const isServers = /^[0-9A-Z]{5}$/.test(code)
  return !isServers || /^(?:08|57P)/.test(code) || UNPREPARED.has(code)
}

/** The server's code of an error; '' where it is none of the server's. */
export function codeOf(error: unknown): string {
  return typeof error === 'object' &&
    error !== null &&
    'code' in error &&
    typeof error.code === 'string'
    ? error.code
    : ''
}
