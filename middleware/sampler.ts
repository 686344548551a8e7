const MAX_SESSIONS = 10_000

/**
 * Makes the draw for checks nobody asked for: a share of the requests, but each session at most
 * once in an interval, in bounded memory.
 *
 * @param intervalMs - how often a session's activity is worth a write, milliseconds
 * @param random - 0 up to 1
 * @param monotonic - a clock that never goes back, milliseconds
 */
export function createSampler(
  intervalMs: number,
  random: () => number = Math.random,
  monotonic: () => number = () => performance.now(),
): (sid: string, share: number) => boolean {
  const drawnAt = new Map<string, number>()
  return (sid, share) => {
    if (share === 0 || random() >= share) return false
    const now = monotonic()
    if (now - (drawnAt.get(sid) ?? -Infinity) < intervalMs) return false
    drawnAt.delete(sid)
    drawnAt.set(sid, now)
    if (drawnAt.size > MAX_SESSIONS) {
      const [oldest] = drawnAt.keys()
      if (oldest !== undefined) drawnAt.delete(oldest)
    }
    return true
  }
}
