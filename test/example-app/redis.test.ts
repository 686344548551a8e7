import { startRedis } from '../support/redis-server.ts'
import { describeTwoProcesses } from './two-processes.ts'

describeTwoProcesses('Redis', async () => {
  const server = await startRedis()
  return { env: { STORE: 'redis', REDIS_URL: server.url }, ...server }
})
