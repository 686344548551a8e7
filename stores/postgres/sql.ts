/** A test's clock, or the server's; `parameter` is the one of the statement that carries the first. */
export function clock(parameter: string): string {
  return `coalesce(${parameter}, floor(date_part('epoch', clock_timestamp()) * 1000)::bigint)`
}

/** Whether a session is over, as `isOver` has it. */
export function isOver(now: string, session = ''): string {
  return `(${now} >= ${session}idle_deadline or ${now} >= ${session}absolute_deadline)`
}
