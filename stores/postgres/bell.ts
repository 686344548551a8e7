/** What waits can be ended by. */
export interface Bell {
  /** How often it rang so far. */
  readonly wakes: number
  /** Resolves when it rings after the given count, at the signal, at close, or when time is up. */
  wait(this: void, ms: number, wakes: number, signal: AbortSignal): Promise<void>
  ring(this: void): void
  close(this: void): void
}

/** Lets waits be ended from elsewhere. */
export function createBell(): Bell {
  const waiting = new Set<() => void>()
  let wakes = 0
  let isClosed = false
  return {
    get wakes() {
      return wakes
    },
    ring() {
      wakes += 1
      for (const wake of waiting) wake()
    },
    async wait(ms, since, signal) {
      if (signal.aborted || isClosed || wakes !== since) return
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer)
          signal.removeEventListener('abort', wake)
          waiting.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, ms).unref()
        signal.addEventListener('abort', wake)
        waiting.add(wake)
      })
    },
    close() {
      isClosed = true
      for (const wake of waiting) wake()
    },
  }
}
