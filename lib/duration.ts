import { ConfigError } from './errors.ts'

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** A length of time as text with its unit: `'250ms'`, `'10s'`, `'15m'`, `'12h'`, `'30d'`. */
export type Duration = `${number}${keyof typeof UNIT_MS}`

/** The shortest and longest value an option accepts, in milliseconds, both included. */
export interface DurationRange {
  readonly minMs: number
  readonly maxMs: number
}

const DURATION = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/
const TEN_YEARS_MS = 3650 * UNIT_MS.d

/**
 * Reads a duration option.
 *
 * @param name - the option's name, for the error
 * @param value - what the app wrote
 * @param range - bounds of this option; by default 0 to ten years
 * @returns whole milliseconds
 * @throws {ConfigError} `invalid_option` when it is not text with a unit, or is out of bounds
 */
export function parseDuration(
  name: string,
  value: unknown,
  range: DurationRange = { minMs: 0, maxMs: TEN_YEARS_MS },
): number {
  const match = typeof value === 'string' ? DURATION.exec(value) : null
  const unit = match?.[2]
  if (unit === undefined || !isUnit(unit)) {
    throw new ConfigError(
      name,
      `must be a duration with its unit, such as '15m' (ms, s, m, h or d), got ${describe(value)}`,
    )
  }
  const ms = Math.round(Number(match?.[1]) * UNIT_MS[unit])
  if (ms < range.minMs || ms > range.maxMs) {
    throw new ConfigError(
      name,
      `must be between '${written(range.minMs)}' and '${written(range.maxMs)}', got ${String(value)}`,
    )
  }
  return ms
}

/** In the largest unit that leaves a whole number, as an app would write it. */
function written(ms: number): string {
  const units = Object.entries(UNIT_MS).toReversed()
  const [unit = 'ms', unitMs = 1] = units.find(([, size]) => ms > 0 && ms % size === 0) ?? []
  return `${ms / unitMs}${unit}`
}

function isUnit(text: string): text is keyof typeof UNIT_MS {
  return Object.hasOwn(UNIT_MS, text)
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  // Not every object can be printed.
  return typeof value === 'number' ? String(value) : typeof value
}
