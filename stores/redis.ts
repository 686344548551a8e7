export { redisStore } from './redis/redis-store.ts'
export type { RedisArgument, RedisClient } from './redis/client.ts'
export type { RedisStoreOptions } from './redis/options.ts'
