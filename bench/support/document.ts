import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { DelayRow } from '../delay.ts'
import type { HttpRow } from '../http.ts'
import type { MemoryRow } from '../memory.ts'
import type { MicroRow } from '../micro.ts'
import type { OperationRow } from '../operations.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const DOCUMENT = 'docs/performance.md'
/** What is quick is kept apart: it must not be taken for a figure. */
const fileOf = (isQuick: boolean) => `${ROOT}bench/results${isQuick ? '-quick' : ''}.json`

/** Everything that was measured last, by part. */
export interface Results {
  readonly http?: readonly HttpRow[]
  readonly micro?: readonly MicroRow[]
  readonly operations?: readonly OperationRow[]
  readonly delay?: readonly DelayRow[]
  readonly memory?: readonly MemoryRow[]
}

/** Puts a part's tables in the place of those before, between its two markers in docs/performance.md. */
export function updateDocument(part: string, markdown: string): void {
  const path = ROOT + DOCUMENT
  const text = readFileSync(path, 'utf8')
  const [open, close] = [`<!-- bench:${part} -->`, `<!-- /bench:${part} -->`]
  const [start, end] = [text.indexOf(open), text.indexOf(close)]
  if (start === -1 || end < start) throw new Error(`${DOCUMENT} has no place for ${part}`)
  const before = text.slice(0, start + open.length)
  writeFileSync(path, `${before}\n\n${markdown}\n\n${text.slice(end)}`)
}

/** Lets the formatter align the tables, as `npm run lint` wants them. */
export function formatDocument(): void {
  execFileSync('npx', ['oxfmt', DOCUMENT], { cwd: ROOT, stdio: 'ignore' })
}

/** What was measured before, in this run or in one of other parts. */
export function readResults(isQuick: boolean): Results {
  try {
    const results: Results = JSON.parse(readFileSync(fileOf(isQuick), 'utf8'))
    return results
  } catch {
    return {}
  }
}

/** Keeps what a part measured. */
export function saveResults(isQuick: boolean, results: Readonly<Record<string, unknown>>): void {
  const all = { ...readResults(isQuick), ...results }
  writeFileSync(fileOf(isQuick), `${JSON.stringify(all, null, 2)}\n`)
}
