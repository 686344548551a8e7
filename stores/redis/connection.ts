import { createHash } from 'node:crypto'
import type {
  BufferCommands,
  BufferPipeline,
  RedisArgument,
  RedisClient,
  RedisPipeline,
} from './client.ts'
import type { ScriptName } from './scripts.ts'
import { scriptNames, scriptOf } from './scripts.ts'

/** How long a connection may be silent while something is asked of it, in milliseconds. */
const SOCKET_TIMEOUT_MS = 2000
const CONNECT_TIMEOUT_MS = 2000
/** How long a connection that is given up may take to end in good order. */
const DISCONNECT_TIMEOUT_MS = 500
const MAX_RECONNECT_MS = 1000
/** Before a lost connection to one node of a Cluster is made anew. */
const NODE_PAUSE_MS = 50
/** How often a Cluster is asked who serves what, in case nobody was sent elsewhere. */
const SLOTS_MS = 5000
/** How long the first calls wait for the first connection. */
const FIRST_CONNECT_MS = 3000
/** How long calls wait for those primaries of a Cluster that are slower to connect than the first. */
const PRIMARIES_MS = 1000

const SHAS = new Map(
  scriptNames().map((name) => [name, createHash('sha1').update(scriptOf(name)).digest('hex')]),
)

/** A connection of the store's own. */
export interface Connection {
  readonly client: RedisClient
  /** Runs a script; its reply as ioredis gives it, with texts as buffers. */
  run(name: ScriptName, keys: readonly string[], args: readonly RedisArgument[]): Promise<unknown>
  /** What stands under these keys, which are in one slot. */
  readonly read: (keys: readonly string[]) => Promise<readonly (Buffer | null)[]>
  /** Resolves when commands can be sent; rejects when they cannot, without waiting for better days. */
  ready(): Promise<void>
  /** Cuts the connection and makes a new one. */
  renew(): void
  close(): void
}

/**
 * Duplicates the app's client into one that fails at once instead of queueing: nothing is kept for
 * later, nothing is sent twice. ioredis would by default resend a script whose answer was lost.
 *
 * @param purpose - `commands` shares round trips, `feed` and `wait` block
 */
export function connect(
  client: RedisClient,
  purpose: 'commands' | 'feed' | 'wait',
  onError: (error: unknown) => void,
): Connection {
  const own = {
    keyPrefix: '',
    protocol: 2,
    lazyConnect: false,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // On a Cluster, commands without a key would go their own ways from those of the feed.
    enableAutoPipelining: purpose === 'commands' || (purpose === 'feed' && !client.isCluster),
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    // The app's own would cut off reads that wait on purpose.
    commandTimeout: undefined,
    socketTimeout: purpose === 'commands' ? SOCKET_TIMEOUT_MS : undefined,
    retryStrategy: (times: number) => Math.min(50 * times, MAX_RECONNECT_MS),
    reconnectOnError: (error: Error) => /^(?:READONLY|MASTERDOWN|LOADING)/.test(error.message),
  }
  const made = client.isCluster === true ? duplicateCluster(client, own) : duplicate(client, own)
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- checked when the store was made
  const scripting = made as RedisClient & BufferCommands
  made.on('error', onError)
  if (client.isCluster === true) keepNodes(made)
  else leaveSilent(made, () => closed)

  let closed = false
  let wasReady = made.status === 'ready'
  let primaries: Promise<unknown> | undefined
  /** Whether nothing is left to wait for: a call then costs no turn of the event loop. */
  let settled = false
  // From the start and not from the first call on: whoever calls later finds it over.
  made.on('ready', () => {
    wasReady = true
    primaries ??= settledPrimaries(made)
  })
  made.on('close', () => {
    primaries = undefined
    settled = false
  })

  let first: Promise<void> | undefined

  async function ready(): Promise<void> {
    if (made.status !== 'ready') {
      if (wasReady || made.status === 'end') throw new Error(`Redis connection: ${made.status}`)
      first ??= becomesReady(made, FIRST_CONNECT_MS).finally(() => {
        first = undefined
      })
      await first
    }
    const mine = (primaries ??= settledPrimaries(made))
    await mine
    settled = mine === primaries
  }

  const isReady = () => settled && made.status === 'ready'

  // Each promise more is time that every call takes: here and in the stores none is there for its looks.
  function send(
    name: ScriptName,
    keys: readonly string[],
    args: readonly RedisArgument[],
  ): Promise<unknown> {
    return scripting
      .evalshaBuffer(SHAS.get(name) ?? '', keys.length, ...keys, ...args)
      .catch((error: unknown) => {
        if (!didNotRun(error)) throw error
        return sendAlone(name, keys, args)
      })
  }

  /** Of a batch in which only some are sent elsewhere, ioredis follows none. */
  async function sendAlone(
    name: ScriptName,
    keys: readonly string[],
    args: readonly RedisArgument[],
  ): Promise<unknown> {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as above
    const alone = made.pipeline() as RedisPipeline & BufferPipeline
    alone.evalBuffer(scriptOf(name), keys.length, ...keys, ...args)
    const [failure, reply] = (await alone.exec())?.[0] ?? [new Error('no answer')]
    if (failure !== null) throw failure
    return reply
  }

  return {
    client: made,
    ready,
    run(name, keys, args) {
      return isReady() ? send(name, keys, args) : ready().then(() => send(name, keys, args))
    },
    async read(keys) {
      if (!isReady()) await ready()
      const [key = ''] = keys
      return keys.length === 1 ? [await scripting.getBuffer(key)] : scripting.mgetBuffer(...keys)
    },
    renew() {
      if (!closed) made.disconnect(true)
    },
    close() {
      closed = true
      made.disconnect()
    },
  }
}

function duplicate(client: RedisClient, own: object): RedisClient {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- ioredis: duplicate(options)
  return client.duplicate(...([own] as never[]))
}

function duplicateCluster(client: RedisClient, own: object): RedisClient {
  const {
    keyPrefix: _prefix,
    retryStrategy: _retry,
    ...redisOptions
  } = { ...own } as Record<string, unknown>
  const options = {
    keyPrefix: '',
    lazyConnect: false,
    scaleReads: 'master',
    shardedSubscribers: false,
    // A node that comes back by itself would not be told of: it may have lost what was written.
    clusterNodeRetryStrategy: null,
    enableOfflineQueue: false,
    // It asks one node, and starts all over when that one is not connected yet: for ever, if the
    // startup node is an address that no node of the Cluster gives as its own.
    enableReadyCheck: false,
    enableAutoPipelining: redisOptions['enableAutoPipelining'],
    // Its own timer starts anew behind a `disconnect` that meets it at work, and keeps the process alive.
    slotsRefreshInterval: 0,
    slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    retryDelayOnFailover: 0, // else what was sent is sent again when its answer is lost
    // What waits here holds up everything else that is for the same node.
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: 10,
    maxRedirections: 4,
    clusterRetryStrategy: (times: number) => Math.min(50 * times, MAX_RECONNECT_MS),
    redisOptions,
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- ioredis: duplicate(nodes, options)
  return client.duplicate(...([[], options] as never[]))
}

/** ioredis waits for ever for a server that takes the connection and then says nothing. */
function leaveSilent(
  client: Pick<RedisClient, 'status' | 'on' | 'disconnect'>,
  isClosed: () => boolean,
): void {
  client.on('connect', () => {
    setTimeout(() => {
      if (!isClosed() && client.status === 'connect') client.disconnect(true)
    }, CONNECT_TIMEOUT_MS).unref()
  })
}

/**
 * Keeps up with a Cluster. ioredis makes the connection to a node anew when a command needs it, and that
 * command fails.
 */
function keepNodes(cluster: RedisClient): void {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- ioredis: the node's own client
  cluster.on('+node', (node) => leaveSilent(node as RedisClient, () => cluster.status === 'end'))
  let timer: NodeJS.Timeout | undefined
  cluster.on('-node', () => {
    timer ??= setTimeout(() => {
      timer = undefined
      if (cluster.status === 'ready') cluster.refreshSlotsCache?.()
    }, NODE_PAUSE_MS).unref()
  })
  const refresh = setInterval(() => {
    if (cluster.status === 'ready') cluster.refreshSlotsCache?.()
  }, SLOTS_MS).unref()
  cluster.on('end', () => clearInterval(refresh))
}

/**
 * A Cluster calls itself ready before its nodes are, and what is then asked of the others fails at
 * once. One that does not come is no reason to keep calls from the rest.
 */
async function settledPrimaries(client: RedisClient): Promise<unknown> {
  const primaries = client.nodes?.('master') ?? []
  return Promise.allSettled(primaries.map(async (node) => becomesReady(node, PRIMARIES_MS)))
}

async function becomesReady(
  client: Pick<RedisClient, 'status' | 'on' | 'off'>,
  withinMs: number,
): Promise<void> {
  if (client.status === 'ready') return
  await new Promise<void>((resolve, reject) => {
    const settle = (outcome: () => void) => {
      clearTimeout(timer)
      client.off('ready', onReady)
      client.off('end', onEnd)
      outcome()
    }
    const onReady = () => settle(resolve)
    const onEnd = () => settle(() => reject(new Error('Redis connection: end')))
    const timer = setTimeout(
      () => settle(() => reject(new Error('Redis connection: not made yet'))),
      withinMs,
    )
    timer.unref()
    client.on('ready', onReady)
    client.on('end', onEnd)
  })
}

/** The script is not known to this server, its slot is elsewhere, or is on its way there. */
const DID_NOT_RUN = /^(?:NOSCRIPT|MOVED|ASK|TRYAGAIN|All keys in the pipeline) /

/** Whether a script is known not to have run: running it now is running it once. */
function didNotRun(error: unknown): boolean {
  return (
    typeof error === 'object' &&
    error !== null &&
    'message' in error &&
    typeof error.message === 'string' &&
    DID_NOT_RUN.test(error.message)
  )
}
