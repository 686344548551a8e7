import { afterAll, beforeAll } from '@jest/globals'
import { Cluster } from 'ioredis'
import type { RedisCluster } from '../support/redis-cluster.ts'
import { startRedisCluster } from '../support/redis-cluster.ts'
import { describeStore } from './contract.ts'
import { openOn } from './redis/open.ts'
import { describeRotationModel } from './rotation-model.ts'

let cluster: RedisCluster

beforeAll(async () => {
  cluster = await startRedisCluster({ replicas: 0 })
})

afterAll(async () => {
  await cluster.cleanUp()
})

const open = openOn(() => new Cluster(cluster.startupNodes, { slotsRefreshInterval: 0 }))

describeStore('redisStore on a Cluster', open)
describeRotationModel('redisStore on a Cluster', open, 30)
