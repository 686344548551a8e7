type Cell = string | number

/** A markdown table: the first row is the head, columns after the first are numbers. */
export function formatTable([head = [], ...rows]: readonly (readonly Cell[])[]): string {
  const line = (cells: readonly Cell[]) => `| ${cells.join(' | ')} |`
  const rule = head.map((_, column) => (column === 0 ? '---' : '--:'))
  return [line(head), line(rule), ...rows.map(line)].join('\n')
}

/** Prints a table under its title. */
export function printTable(title: string, rows: readonly (readonly Cell[])[]): void {
  console.log(['', `## ${title}`, '', formatTable(rows)].join('\n'))
}

/** A line under a table. */
export function printNote(text: string): void {
  console.log(`\n${text}`)
}

/** The value below which this share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN
}

/** The value in the middle; of an even number, the mean of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const low = Math.floor((sorted.length - 1) / 2)
  const high = Math.floor(sorted.length / 2)
  return ((sorted[low] ?? NaN) + (sorted[high] ?? NaN)) / 2
}

/** The median of several rounds and their range: `12.1 (11.8-12.9)`. */
export function rounds(values: readonly number[], digits: number): string {
  const [low, middle, high] = [0, 0.5, 1].map((share) => quantile(values, share).toFixed(digits))
  return `${middle} (${low}-${high})`
}
