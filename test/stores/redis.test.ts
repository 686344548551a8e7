import { Redis } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import { sharedRedisUrl } from '../support/redis-server.ts'
import { describeStore } from './contract.ts'
import { openOn } from './redis/open.ts'
import { describeRotationModel } from './rotation-model.ts'

const open = openOn(() => new Redis(sharedRedisUrl()))

describeStore('redisStore', open)
describeRotationModel('redisStore', open, 60)

// The two share all that this store calls; the types of the older one are not those of the newer.
const open5 = openOn(() => new Redis5(sharedRedisUrl()) as unknown as Redis)

describeStore('redisStore on ioredis 5', open5)
