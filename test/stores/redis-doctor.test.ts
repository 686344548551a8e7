import { afterAll, afterEach, beforeAll, expect, it, jest } from '@jest/globals'
import { Redis } from 'ioredis'
import type { Latchkey, LatchkeyOptions } from '../../middleware/index.ts'
import { createLatchkey } from '../../middleware/index.ts'
import { redisStore } from '../../stores/redis.ts'
import { SECRET, SIGNING_KEY } from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'
import { until } from '../support/redis-commands.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'

let server: RedisServer
let client: Redis
let store: ReturnType<typeof redisStore>
const kits: Latchkey[] = []

beforeAll(async () => {
  jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
  server = await startRedis({ config: { appendonly: 'yes', 'maxmemory-policy': 'allkeys-lru' } })
  client = new Redis(server.url)
  client.on('error', () => {})
  store = redisStore({ client })
})

afterEach(async () => {
  server.resume()
  for (const latchkey of kits.splice(0)) await latchkey.close()
})

afterAll(async () => {
  await store.close()
  client.disconnect()
  await server.cleanUp()
  jest.restoreAllMocks()
})

function openKit(options: Pick<LatchkeyOptions<object>, 'storeDeadline' | 'strict'>): Latchkey {
  const latchkey = createLatchkey({
    issuer: 'https://app.example',
    secrets: [SECRET],
    signingKeys: [SIGNING_KEY],
    store,
    ...options,
  })
  kits.push(latchkey)
  return latchkey
}

async function codesOf(latchkey: Latchkey): Promise<string[]> {
  return (await latchkey.doctor()).map(({ code }) => code)
}

it('a Redis that evicts is found, keeps a strict kit from being ready, and is forgotten once mended', async () => {
  // No answer is late for want of a processor.
  const latchkey = openKit({ storeDeadline: '10s', strict: true })
  expect(await codesOf(latchkey)).toEqual(['redis_eviction'])
  await expect(latchkey.ready()).rejects.toMatchObject({
    option: 'strict',
    message: expect.stringContaining('redis_eviction: '),
  })
  await client.config('SET', 'maxmemory-policy', 'noeviction')
  await latchkey.ready()
  expect(await codesOf(latchkey)).toEqual([])
})

it('a Redis that is gone is a finding within the deadline, not a failure', async () => {
  const latchkey = openKit({ storeDeadline: '1s' })
  await latchkey.ready()
  server.pause()
  const began = loopTime()
  expect(await codesOf(latchkey)).toEqual(['store_unavailable'])
  expect(loopTime() - began).toBeLessThan(3000)
  server.resume()
  await until('the store to be back', async () => (await codesOf(latchkey)).length === 0)
})
