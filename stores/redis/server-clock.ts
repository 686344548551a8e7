/** What the server's clock says at about this moment. */
export interface ServerClock {
  /** Epoch milliseconds; undefined while nothing is known of it. */
  readonly now: () => number | undefined
  /** Whether it is a test's, by which things are over before they are over for the server. */
  readonly isTest: boolean
  /** Forgets what it knows: the next to answer may be another server. */
  readonly forget: () => void
}

const ASK_EVERY_MS = 30_000
const FORGET_AFTER_MS = 60_000

/**
 * Follows the server's clock from here, for what may be some milliseconds off: whether it is time to
 * touch a session. What is over is never decided by it.
 *
 * @param ask - asks the server, epoch milliseconds
 * @param test - a test's clock in its place
 */
export function createServerClock(
  ask: () => Promise<number>,
  test: (() => number) | undefined,
): ServerClock {
  if (test !== undefined) return { isTest: true, now: test, forget: () => undefined }
  let known: { readonly said: number; readonly at: number } | undefined
  let asking: symbol | undefined

  function learn(): void {
    const mine = Symbol('asking')
    asking = mine
    ask()
      .then((said) => {
        if (asking === mine) known = { said, at: performance.now() }
      })
      // Whoever wanted to know does without, and asks again the next time.
      .catch(() => undefined)
      .finally(() => {
        if (asking === mine) asking = undefined
      })
  }

  return {
    isTest: false,
    now() {
      const age = known === undefined ? Infinity : performance.now() - known.at
      if (age > ASK_EVERY_MS && asking === undefined) learn()
      return known === undefined || age > FORGET_AFTER_MS ? undefined : known.said + age
    },
    forget() {
      known = undefined
      asking = undefined
    },
  }
}
