import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from '@jest/globals'
import { FINDING_CODES, finding } from '../lib/findings.ts'
import type { FindingCode } from '../lib/findings.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** What stores find, by their sources: each names its codes in the file that finds. */
function storeCodes(): string[] {
  const files = readdirSync(join(ROOT, 'stores'), { recursive: true })
    .map(String)
    .filter((path) => /(?:inspect|processes)\.ts$/.test(path))
  const text = files.map((path) => read(`stores/${path}`)).join('\n')
  const found = text.matchAll(/'((?:memory|redis|postgres)_[a-z_]+)',/g)
  return [...new Set(Array.from(found, ([, code = '']) => code))]
}

/** Code and severity of each row of the table. */
const rows = read('docs/doctor.md')
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter(([, cell = '']) => /^`\w+`$/.test(cell))
  .map(([, code = '', severity = '']) => [code.slice(1, -1), severity] as const)

it('docs/doctor.md has one row for each code, and for no other', () => {
  const stored = storeCodes()
  expect(stored).toEqual(
    expect.arrayContaining(['memory_store_shared', 'redis_eviction', 'postgres_schema']),
  )
  expect(rows.map(([code]) => code).toSorted()).toEqual([...FINDING_CODES, ...stored].toSorted())
})

it('docs/doctor.md says how bad each is', () => {
  const given = FINDING_CODES.map((code) => finding(code as FindingCode, '').severity)
  const table = new Map(rows)
  expect(FINDING_CODES.map((code) => table.get(code))).toEqual(given)
  expect(storeCodes().filter((code) => table.get(code) !== 'error')).toEqual([])
})
