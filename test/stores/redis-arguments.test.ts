import { afterEach, beforeEach, expect, it } from '@jest/globals'
import { Redis } from 'ioredis'
import type { Store } from '../../lib/store.ts'
import { sharedRedisUrl } from '../support/redis-server.ts'
import { newUser, open } from './contract/support.ts'
import { plainStore } from './redis/open.ts'

let client: Redis
let store: Store

beforeEach(() => {
  client = new Redis(sharedRedisUrl())
  store = plainStore(client)
})

afterEach(async () => {
  await store.close()
  client.disconnect()
})

const idleTimeoutMs = 60_000
const expiresAt = Date.now() + 600_000

it('takes an argument with line breaks as one argument', async () => {
  const { sid } = await open(store, newUser())
  await store.deny({ sid, jti: 'two\nlines', expiresAt })
  await store.deny({ sid, jti: '\n', expiresAt })
  expect(await store.isDenied({ sid, jti: 'two\nlines' })).toBe(true)
  expect(await store.check({ sid, jti: 'two\nlines', idleTimeoutMs })).toMatchObject({
    outcome: 'alive',
    denied: true,
  })
  for (const jti of ['two', 'lines', 'x']) {
    expect(await store.check({ sid, jti, idleTimeoutMs })).toMatchObject({ denied: false })
  }
})

it('keeps empty arguments in their places', async () => {
  const { sid } = await open(store, newUser())
  // All that stands between the session id and the timeout is empty.
  expect(await store.check({ sid, idleTimeoutMs })).toMatchObject({ outcome: 'alive' })
  expect(await store.revoke({ sid })).toMatchObject({ outcome: 'revoked' })
})
