import { AuthError } from '../lib/errors.ts'

const INSTANT =
  /^(\d{4}-\d{2}-\d{2})T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/

/**
 * Reads an instant as ISO 8601 and RFC 3339 §5.6 write it, with seconds and offset:
 * `2026-06-01T00:00:00Z`. Without an offset it would depend on where the server stands.
 *
 * @param name - the parameter, for the error
 * @returns epoch milliseconds
 * @throws {AuthError} `invalid_request` (400)
 */
export function parseInstant(name: string, value: unknown): number {
  const [, day] = (typeof value === 'string' && INSTANT.exec(value)) || []
  if (day === undefined || !isDay(day)) {
    throw new AuthError('invalid_request', `${name} is an instant such as 2026-06-01T00:00:00Z`)
  }
  return Date.parse(String(value))
}

/** Date.parse takes 30 February for a day in March. */
function isDay(day: string): boolean {
  const midnight = Date.parse(`${day}T00:00:00Z`)
  return !Number.isNaN(midnight) && new Date(midnight).toISOString().startsWith(day)
}
