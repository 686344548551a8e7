import { ConfigError } from '../../lib/errors.ts'
import type { Bell } from './bell.ts'
import { createBell } from './bell.ts'
import type { OwnClient, PostgresClient, PostgresPool } from './client.ts'
import { isPool } from './client.ts'
import type { Names } from './names.ts'
import type { Row } from './record.ts'
import type { Runner, Statement } from './runner.ts'
import { createRunner, statement } from './runner.ts'

/** The connection that follows the feed. */
export interface Listener {
  /** Whether notifications end a wait. */
  readonly listens: boolean
  /** How often it was woken, or its connection broke, so far. */
  readonly wakes: Bell['wakes']
  /**
   * Runs a statement. At the signal it rejects at once, and a connection that does not answer is given
   * up; one that is being made, or has not had the time for its first answer, is kept for the next.
   */
  run(statement: Statement, values: unknown[], signal: AbortSignal): Promise<readonly Row[]>
  readonly wait: Bell['wait']
  /** Gives its connection up: the next may lead to another server. */
  leave(): void
  close(): void
}

/** How long a connection may take at least until it listens, however long a read may take. */
const OPENING_MS = 2000

/**
 * A connection of the store's own beside the app's pool: neither a pool in which all are busy nor a
 * pooler that gives each transaction another connection makes the node deaf.
 */
export function createListener(options: {
  readonly client: PostgresPool | PostgresClient
  readonly runner: Runner
  readonly names: Names
  readonly prepare: boolean
  readonly listen: boolean
  readonly operationTimeoutMs: number
}): Listener {
  const { client, runner, names, prepare, listen, operationTimeoutMs } = options
  const bell = createBell()
  if (!isPool(client)) {
    return {
      listens: false,
      wakes: 0,
      wait: bell.wait,
      run: async (asked, values) => runner.run(asked, values),
      leave: () => undefined,
      close: bell.close,
    }
  }

  // Who lets an operation take longer is patient with a connection, too.
  const openingMs = Math.max(OPENING_MS, operationTimeoutMs)
  const connectNew = connectionOf(client, openingMs)
  const listening = statement('listen', `listen ${names.channel}`)
  let current: Opened | undefined
  let isClosed = false

  function open(): Opened {
    const own = connectNew()
    // What is ended while it connects would never settle by itself.
    const ended = new Promise<never>((_resolve, reject) => {
      own.on('end', () => reject(new Error('the connection of the feed ended')))
    })
    const opened: Opened = { own, hasAnswered: false, ready: Promise.race([listenBy(own), ended]) }
    // Notifications may have been missed.
    const forget = () => {
      if (current === opened) current = undefined
      bell.ring()
    }
    own.on('notification', () => bell.ring())
    own.on('end', forget)
    own.on('error', forget)
    opened.ready.catch(() => giveUp(opened))
    return opened
  }

  async function listenBy(own: OwnClient): Promise<Runner> {
    // Of pg's own limit nothing is left when the connection is made.
    const late = setTimeout(() => end(own), openingMs).unref()
    try {
      await own.connect()
      const ownRunner = createRunner({ client: own, prepare, operationTimeoutMs })
      if (listen) await ownRunner.run(listening, [])
      return ownRunner
    } finally {
      clearTimeout(late)
    }
  }

  function giveUp(opened: Opened): void {
    if (current === opened) current = undefined
    end(opened.own)
  }

  function leave(): void {
    if (current !== undefined) giveUp(current)
  }

  async function ask(
    opened: Opened,
    asked: Statement,
    values: unknown[],
    signal: AbortSignal,
  ): Promise<readonly Row[]> {
    const feedRunner = await opened.ready
    if (signal.aborted) throw new Error('the read was given up')
    const sentAt = performance.now()
    let timer: NodeJS.Timeout | undefined
    const onAbort = () => {
      // Read by read it would be closed before it was of use, where the server is far away.
      const leftMs = opened.hasAnswered ? 0 : operationTimeoutMs - (performance.now() - sentAt)
      if (leftMs <= 0) giveUp(opened)
      else timer = setTimeout(() => giveUp(opened), leftMs)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      const rows = await feedRunner.run(asked, values)
      opened.hasAnswered = true
      return rows
    } catch (error) {
      giveUp(opened)
      throw error
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
  }

  return {
    listens: listen,
    get wakes() {
      return bell.wakes
    },
    wait: bell.wait,
    async run(asked, values, signal) {
      if (isClosed) throw new Error('the Postgres store is closed')
      current ??= open()
      // Who ended a wait wants what there is by now: one more read, in the time of any call.
      const limit = signal.aborted ? AbortSignal.timeout(operationTimeoutMs) : signal
      return untilAborted(ask(current, asked, values, limit), limit)
    },
    leave,
    close() {
      isClosed = true
      bell.close()
      leave()
    },
  }
}

/** A connection, and whether it was of use. */
interface Opened {
  readonly own: OwnClient
  /** Once it listens. */
  readonly ready: Promise<Runner>
  hasAnswered: boolean
}

/** What a call comes to, or a rejection as soon as nobody waits for it any more. */
async function untilAborted<Result>(call: Promise<Result>, signal: AbortSignal): Promise<Result> {
  let onAbort = () => {}
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(new Error('the read was given up'))
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort)
  })
  try {
    return await Promise.race([call, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Makes clients as the pool does, with its options. */
function connectionOf(pool: PostgresPool, openingMs: number): () => OwnClient {
  // pg-pool keeps the class of its clients here; its types do not say so.
  const Client = 'Client' in pool ? pool.Client : undefined
  if (typeof Client !== 'function') throw new ConfigError('pool', 'must be a pool of pg 8')
  // In the place of the app's: a connection that does not answer must not be waited for.
  const ownOptions = {
    connectionTimeoutMillis: { value: openingMs, enumerable: true },
    keepAlive: { value: true, enumerable: true },
    pipeline: { value: false, enumerable: true },
  }
  return () => {
    // A password is no enumerable property; a copy by spreading would lose it.
    const options = Object.defineProperties(
      {},
      { ...Object.getOwnPropertyDescriptors(pool.options), ...ownOptions },
    )
    const made: unknown = Reflect.construct(Client, [options])
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- pg's own Client
    return made as OwnClient
  }
}

/** Closes a connection; one that does not answer is cut. */
function end(own: OwnClient): void {
  own.end().catch(() => undefined)
}
