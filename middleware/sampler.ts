const INTERVAL_MS = 60_000
const MAX_SESSIONS = 10_000

/**
 * Makes the draw for checks nobody asked for: a share of the requests, but each session at most
 * once a minute, in bounded memory.
 *
 * @param random - 0 up to 1
 * @param monotonic - a clock that never goes back, milliseconds
 */
export function createSampler(
  random: () => number = Math.random,
  monotonic: () => number = () => performance.now(),
): (sid: string, share: number) => boolean {
  const drawnAt = new Map<string, number>()
  return (sid, share) => {
    if (share === 0 || random() >= share) return false
    const now = monotonic()
    if (now - (drawnAt.get(sid) ?? -Infinity) < INTERVAL_MS) return false
    drawnAt.delete(sid)
    drawnAt.set(sid, now)
    if (drawnAt.size > MAX_SESSIONS) {
      const [oldest] = drawnAt.keys()
      if (oldest !== undefined) drawnAt.delete(oldest)
    }
    return true
  }
}
