import type { PostgresPruner } from './prune.ts'

/**
 * Prunes once an interval on one of the nodes: each looks, at a time of its own, whether it is due.
 * Keeps no process alive. A failure waits for the next turn; requests would tell of a server that is
 * down long before.
 *
 * @returns what ends it
 */
export function pruneByItself(pruner: PostgresPruner, intervalMs: number): () => void {
  let timer: NodeJS.Timeout
  let stopped = false

  function schedule(): void {
    if (stopped) return
    timer = setTimeout(
      () => {
        void turn()
          .catch(() => undefined)
          .then(schedule)
      },
      intervalMs * (0.5 + Math.random()),
    )
    timer.unref()
  }

  async function turn(): Promise<void> {
    if (await pruner.claim(intervalMs / 2)) await pruner.prune()
  }

  schedule()
  return () => {
    stopped = true
    clearTimeout(timer)
  }
}
