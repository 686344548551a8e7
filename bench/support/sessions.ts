import { hash, randomBytes } from 'node:crypto'
import { drawSeed, drawSessionId, hashSeed } from '../../lib/session-id.ts'
import type { Redis } from 'ioredis'
import type { CreateInput, Store } from '../../middleware/index.ts'
import type { RedisStoreOptions } from '../../stores/redis.ts'
import { redisStore } from '../../stores/redis.ts'

/** What Chrome on Windows sends. */
export const CHROME =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36'

const DAY = 86_400_000

export const IDLE_TIMEOUT_MS = 7 * DAY

/** The kit's defaults. */
export const POLICY = { reuseGraceMs: 10_000, lostResponseWindowMs: 0 }

/** A login as the example app's. */
export function newSession(userId: string): CreateInput {
  const user = { tenant: '', id: userId }
  return {
    session: {
      sid: drawSessionId(user),
      user,
      seedHash: hashSeed(drawSeed()),
      attributes: { roles: [], scope: [], level: 'password', amr: ['pwd'], claims: {} },
      bindingHash: null,
      device: { label: CHROME, ip: '127.0.0.1' },
      remember: true,
      data: null,
    },
    lifetimes: { idleTimeoutMs: IDLE_TIMEOUT_MS, absoluteTimeoutMs: 30 * DAY },
    limit: { max: 100, onLimit: 'evict' },
    loginAgeMs: 0,
  }
}

/** The hash of a refresh attempt's id. */
export function newAttempt(): string {
  return hash('sha256', randomBytes(16), 'base64url')
}

/** Does something for each, with so many under way at once. */
export async function forEachOf<Item>(
  items: readonly Item[],
  inFlight: number,
  act: (item: Item) => Promise<unknown>,
): Promise<void> {
  let next = 0
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      for (let item = items[next++]; item !== undefined; item = items[next++]) await act(item)
    }),
  )
}

/** Opens a store and waits until it is connected. */
export async function openStore(
  client: Redis,
  options: Omit<RedisStoreOptions, 'client'> = {},
): Promise<Store> {
  const store = redisStore({ client, ...options })
  await store.inspect()
  return store
}
