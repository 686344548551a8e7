import { RUNNING } from './global-setup.ts'

/** Jest's globalTeardown: stops what globalSetup started. */
export default async function globalTeardown(): Promise<void> {
  const { [RUNNING]: stop } = globalThis as { [RUNNING]?: () => Promise<void> }
  await stop?.()
}
