import { RUNNING } from './global-setup.ts'

/** How long Jest has to end by itself, in milliseconds. */
const PATIENCE_MS = 10_000

/** Jest's globalTeardown: stops what globalSetup started. */
export default async function globalTeardown(): Promise<void> {
  const { [RUNNING]: stop } = globalThis as { [RUNNING]?: () => Promise<void> }
  await stop?.()
  // Nothing is left to be done, and every file that left something running has failed for it. Jest would
  // wait for that all the same, or for a process which holds the output of a worker that was ended.
  setTimeout(() => {
    console.error('Something that the tests started keeps Jest from ending. It is left behind.')
    process.exit()
  }, PATIENCE_MS).unref()
}
