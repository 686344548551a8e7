import { Redis } from 'ioredis'
import { redisStore } from '../../stores/redis.ts'
import { sharedRedisUrl } from '../support/redis-server.ts'
import { newPrefix } from './redis/open.ts'
import { patient } from './redis/patience.ts'
import { describeRemoteVerifier } from './remote-verifier.ts'

const prefix = newPrefix()

describeRemoteVerifier('Redis', () => {
  const client = patient(new Redis(sharedRedisUrl()))
  const store = redisStore({ client, prefix })
  return {
    store,
    async close() {
      await store.close()
      client.disconnect()
    },
  }
})
