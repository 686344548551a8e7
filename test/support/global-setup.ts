import { startSharedPostgres } from './postgres-server.ts'
import { startSharedRedis } from './redis-server.ts'

/** What globalTeardown, which runs in the same process, has to stop. */
export const RUNNING: unique symbol = Symbol.for('latchkey.test.shared-servers')

/** Jest's globalSetup: servers that all test files share. */
export default async function globalSetup(): Promise<void> {
  // Side by side. Each looks for its program, and may install it, before it starts to wait for anything.
  const stops = await Promise.all([startSharedPostgres(), startSharedRedis()])
  const stopAll = async () => {
    await Promise.all(stops.map(async (stop) => stop()))
  }
  Object.assign(globalThis, { [RUNNING]: stopAll })
}
