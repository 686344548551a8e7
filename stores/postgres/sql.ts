import { TOUCH_INTERVAL_MS } from '../../lib/session.ts'

/** A test's clock, or the server's; `parameter` is the one of the statement that carries the first. */
export function clock(parameter: string): string {
  return `coalesce(${parameter}, floor(date_part('epoch', clock_timestamp()) * 1000)::bigint)`
}

/** Whether a session is over, as `isOver` has it. */
export function isOver(now: string, session = ''): string {
  return `(${now} >= ${session}idle_deadline or ${now} >= ${session}absolute_deadline)`
}

/** Whether activity is to be written, as `touchIntervalMs` has it, in whole numbers. */
export function isTouchDue(now: string, lastSeenAt: string, idleTimeoutMs: string): string {
  return `2 * (${now} - ${lastSeenAt}) >= least(${2 * TOUCH_INTERVAL_MS}, ${idleTimeoutMs})`
}
