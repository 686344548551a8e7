import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SECTIONS: Readonly<Record<string, number>> = {
  T: 15,
  K: 4,
  S: 11,
  R: 10,
  C: 7,
  X: 9,
  L: 4,
  N: 5,
  G: 3,
  P: 3,
  D: 5,
}
const IDS = Object.entries(SECTIONS).flatMap(([letter, last]) =>
  Array.from({ length: last }, (_, index) => `${letter}${index + 1}`),
)
const STATUSES = ['deviation', 'not met', 'not yet'] as const

type Status = 'met' | (typeof STATUSES)[number]

interface Row {
  readonly id: string
  readonly requirement: string
  readonly status: Status
  /** What latchkey does, or why it does not. */
  readonly what: string
  readonly tests: readonly { readonly file: string; readonly name: string }[]
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** The rows of all tables of the page. */
function readRows(page: string): Row[] {
  return page
    .split('\n')
    .filter((line) => /^\| [A-Z]\d+ /.test(line))
    .map((line) => {
      const [id = '', requirement = '', said = '', tests = ''] = line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim())
      const [, word, reason] = /^\*\*(.+?)\*\*: (.*)$/.exec(said) ?? []
      return {
        id,
        requirement,
        status: word === undefined ? 'met' : (word as Status),
        what: reason ?? said,
        tests: [...tests.matchAll(/`(.+?) › (.+?)`/g)].map(([, file = '', name = '']) => ({
          file,
          name: name.replaceAll('\\|', '|'),
        })),
      }
    })
}

/** Whether a file has a test of this name, as it is written in the source. */
function hasTest(source: string, name: string): boolean {
  const text = name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`(?<!describe)\\(\\s*(['"\`])${text}\\1,`).test(source)
}

const page = read('docs/requirements.md')
const rows = readRows(page)

function count(...statuses: Status[]): number {
  return rows.filter(({ status }) => statuses.includes(status)).length
}

describe('docs/requirements.md', () => {
  it('has each requirement once, in order, and no other', () => {
    expect(IDS).toHaveLength(76)
    expect(rows.map(({ id }) => id)).toEqual(IDS)
  })

  it.each(rows)('$id says what is asked, and what is done or why not', (row) => {
    expect(row.requirement.length).toBeGreaterThan(20)
    expect(['met', ...STATUSES]).toContain(row.status)
    expect(row.what.length).toBeGreaterThan(row.status === 'met' ? 2 : 20)
  })

  it.each(rows)('$id names tests that exist, or says that it is not met', ({ status, tests }) => {
    if (status === 'met' || status === 'deviation') expect(tests).not.toEqual([])
    const missing = tests.filter(({ file, name }) => {
      const isFile = statSync(join(ROOT, file), { throwIfNoEntry: false })?.isFile() === true
      return !/^test\/[\w./-]+\.ts$/.test(file) || !isFile || !hasTest(read(file), name)
    })
    expect(missing).toEqual([])
  })

  it('counts them, and at least 66 are met', () => {
    const [, met, deviation, notMet, notYet] =
      /(\d+) are met\.[^]*?(\d+) are a \*\*deviation\*\*[^]*?\*\*Not met\*\*: (\d+)\. \*\*Not yet\*\*: (\d+)\./
        .exec(page)
        ?.map(Number) ?? []
    expect([met, deviation, notMet, notYet]).toEqual([
      count('met'),
      count('deviation'),
      count('not met'),
      count('not yet'),
    ])
    expect(count('met')).toBeGreaterThanOrEqual(66)
  })
})

describe('hasTest', () => {
  const source = `it('is so', () => {})\nit.each([1])(\n  "isn't %s (a|b)",\n  () => {})\n// is not so\ndescribe('a group', () => {})`

  it('finds names of tests, and no other text', () => {
    expect(['is so', "isn't %s (a|b)"].map((name) => hasTest(source, name))).toEqual([true, true])
    expect(['is', 'is not so', 'a group', 'isn.t %s'].map((name) => hasTest(source, name))).toEqual(
      [false, false, false, false],
    )
  })
})
