import { ConfigError } from './errors.ts'

const MAX_TYPOS = 2

/**
 * Refuses options that do not exist: a misspelt one would silently leave its default in force.
 *
 * @param path - where the options stand in the whole, such as `cookies`; `''` at the top
 * @param unknown - what the caller wrote, or the rest of it once the known options are taken out
 * @param known - the names that exist here
 * @throws {ConfigError} `invalid_option` for the first unknown key, with the likely spelling, and for
 *   what is no object, or holds its members in another way than objects do: an array, a Map
 * @internal
 */
export function rejectUnknownOptions(
  path: string,
  unknown: object,
  known: readonly string[],
): void {
  // Options come from JavaScript as well, and from an environment that lacks what they name.
  const given: unknown = unknown
  if (typeof given !== 'object' || given === null || Symbol.iterator in given) {
    throw new ConfigError(
      path === '' ? 'options' : path,
      `must be an object of ${known.join(', ')}`,
    )
  }
  const stranger = Object.keys(given).find((key) => !known.includes(key))
  if (stranger === undefined) return
  const suggestion = nearest(stranger, known)
  throw new ConfigError(
    path === '' ? stranger : `${path}.${stranger}`,
    suggestion === undefined
      ? 'is not an option'
      : `is not an option, did you mean ${JSON.stringify(suggestion)}?`,
  )
}

/** The known name with the fewest typos, undefined when all are too far away to be meant. */
function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let fewest = MAX_TYPOS + 1
  for (const candidate of known) {
    const typos = distance(name, candidate)
    // Two edits turn any two-letter word into any other: such a guess helps nobody.
    if (typos < fewest && typos < candidate.length) {
      best = candidate
      fewest = typos
    }
  }
  return best
}

/** Levenshtein distance; anything above {@link MAX_TYPOS} may come out as any larger number. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > MAX_TYPOS) return Infinity
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const replaced = at(previous, column - 1) + (a[row - 1] === b[column - 1] ? 0 : 1)
      current.push(Math.min(replaced, at(previous, column) + 1, at(current, column - 1) + 1))
    }
    previous = current
  }
  return at(previous, b.length)
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Infinity
}
