import { ConfigError } from '../../lib/errors.ts'
import type { RedisStoreOptions } from '../../stores/redis.ts'
import { messageOf, UsageError } from './command.ts'
import { loadPeer } from './load-peer.ts'
import { withoutPassword } from './postgres.ts'

/** A client that the command ends itself. */
type OwnClient = RedisStoreOptions['client'] & { disconnect(): void }

interface Ioredis {
  readonly Redis: new (url: string, options: object) => OwnClient
}

const CONNECT_MS = 10_000

/**
 * Opens a client for a piece of work and ends it.
 *
 * @throws {UsageError} when the URL cannot mean what it says
 * @throws {Error} whose message has no password in it
 */
export async function withRedis<Result>(
  url: string,
  work: (client: OwnClient) => Promise<Result>,
): Promise<Result> {
  if (!URL.canParse(url)) throw new UsageError('the store must be a URL: redis://host:6379')
  const { Redis } = loadPeer('ioredis', isIoredis)
  const client = new Redis(url, {
    connectTimeout: CONNECT_MS,
    maxRetriesPerRequest: 1,
    retryStrategy: () => null,
  })
  // What breaks is told by the work; without a listener it would be printed.
  client.on('error', () => undefined)
  try {
    return await work(client)
  } catch (error) {
    if (error instanceof ConfigError) throw error
    throw new Error(withoutPassword(messageOf(error), url), { cause: error })
  } finally {
    client.disconnect()
  }
}

function isIoredis(value: unknown): value is Ioredis {
  return (
    (typeof value === 'object' || typeof value === 'function') && value !== null && 'Redis' in value
  )
}
