import { startSharedRedis } from './redis-server.ts'

/** What globalTeardown, which runs in the same process, has to stop. */
export const RUNNING: unique symbol = Symbol.for('latchkey.test.shared-servers')

/** Jest's globalSetup: servers that all test files share. */
export default async function globalSetup(): Promise<void> {
  Object.assign(globalThis, { [RUNNING]: await startSharedRedis() })
}
