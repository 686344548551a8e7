import { ConfigError } from '../../lib/errors.ts'
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
  readonly wakes: number
  /** Runs a statement; the connection is given up at the signal. */
  run(statement: Statement, values: unknown[], signal: AbortSignal): Promise<readonly Row[]>
  /** Resolves when it is woken after the given count, at the signal, at close, or when time is up. */
  wait(ms: number, wakes: number, signal: AbortSignal): Promise<void>
  /** Gives its connection up: the next may lead to another server. */
  leave(): void
  close(): void
}

/** In the place of the app's: a connection that does not answer must not be waited for. */
const OWN_OPTIONS = {
  connectionTimeoutMillis: { value: 2000, enumerable: true },
  keepAlive: { value: true, enumerable: true },
  pipeline: { value: false, enumerable: true },
}

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
}): Listener {
  const { client, runner, names, prepare, listen } = options
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

  const connectNew = connectionOf(client)
  const listening = statement('listen', `listen ${names.channel}`)
  let current: Promise<Opened> | undefined
  let isClosed = false

  // Not async: what is forgotten is compared with what was returned.
  function open(): Promise<Opened> {
    const own = connectNew()
    // Notifications may have been missed.
    const forget = () => {
      if (current === opened) current = undefined
      bell.ring()
    }
    own.on('notification', () => bell.ring())
    own.on('end', forget)
    own.on('error', forget)
    const opened = own.connect().then(() => {
      const ownRunner = createRunner({ client: own, prepare, operationTimeoutMs: 0 })
      // Not awaited: what is asked next is answered after it.
      if (listen) ownRunner.run(listening, []).catch(() => end(own))
      return { own, runner: ownRunner }
    })
    opened.catch(forget)
    return opened
  }

  function leave(): void {
    const connection = current
    current = undefined
    void connection?.then(({ own }) => end(own)).catch(() => undefined)
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
      const connection = current
      const giveUp = () => {
        if (current === connection) current = undefined
        void connection.then(({ own }) => end(own)).catch(() => undefined)
      }
      const { runner: feedRunner } = await connection
      signal.addEventListener('abort', giveUp, { once: true })
      try {
        return await feedRunner.run(asked, values)
      } catch (error) {
        giveUp()
        throw error
      } finally {
        signal.removeEventListener('abort', giveUp)
      }
    },
    leave,
    close() {
      isClosed = true
      bell.close()
      leave()
    },
  }
}

interface Opened {
  readonly own: OwnClient
  readonly runner: Runner
}

interface Bell extends Pick<Listener, 'wait' | 'wakes' | 'close'> {
  ring(): void
}

/** Lets waits be ended from elsewhere. */
function createBell(): Bell {
  const waiting = new Set<() => void>()
  let wakes = 0
  let isClosed = false
  return {
    get wakes() {
      return wakes
    },
    ring() {
      wakes += 1
      for (const wake of waiting) wake()
    },
    async wait(ms, since, signal) {
      if (signal.aborted || isClosed || wakes !== since) return
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer)
          signal.removeEventListener('abort', wake)
          waiting.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, ms).unref()
        signal.addEventListener('abort', wake)
        waiting.add(wake)
      })
    },
    close() {
      isClosed = true
      for (const wake of waiting) wake()
    },
  }
}

/** Makes clients as the pool does, with its options. */
function connectionOf(pool: PostgresPool): () => OwnClient {
  // pg-pool keeps the class of its clients here; its types do not say so.
  const Client = 'Client' in pool ? pool.Client : undefined
  if (typeof Client !== 'function') throw new ConfigError('pool', 'must be a pool of pg 8')
  return () => {
    // A password is no enumerable property; a copy by spreading would lose it.
    const options = Object.defineProperties(
      {},
      { ...Object.getOwnPropertyDescriptors(pool.options), ...OWN_OPTIONS },
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
