import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'
import type { AuthErrorCode } from '../lib/errors.ts'
import { AuthError, InternalError, StoreUnavailable, VersionConflict } from '../lib/errors.ts'
import { DEFAULTS } from '../lib/options.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PAGES = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

function exists(path: string): boolean {
  return statSync(join(ROOT, path), { throwIfNoEntry: false }) !== undefined
}

/** Everything a pattern's first group captures. */
function captures(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].flatMap(([, capture]) => capture ?? [])
}

/** What stands between two texts; nothing when one of them is missing. */
function between(text: string, start: string, end: string): string {
  const [, rest = ''] = text.split(start, 2)
  const [inner = '', tail] = rest.split(end, 2)
  return tail === undefined ? '' : inner
}

/** The cells of each row of the table whose first column is headed so. */
function tableRows(page: string, heading: string): string[][] {
  const lines = page.split('\n')
  const start = lines.findIndex((line) => cellsOf(line)[0] === heading)
  if (start === -1) return []
  const rows: string[][] = []
  for (const line of lines.slice(start + 2)) {
    if (!line.startsWith('|')) break
    rows.push(cellsOf(line))
  }
  return rows
}

/** The cells of a table's line; a pipe within code is escaped. */
function cellsOf(line: string): string[] {
  if (!line.startsWith('|')) return []
  return line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) => cell.trim())
}

/** A page without its code blocks. */
function prose(page: string): string {
  return page.replaceAll(/^```[^]*?^```$/gm, '')
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  return captures(prose(page), /^#{1,6} (.+)$/gm).map((heading) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

describe('docs/errors.md', () => {
  const union = between(read('lib/errors.ts'), 'export type ErrorCode =', '\n\n')
  const codes = captures(union, /\| '([a-z_]+)'/g)
  const entries = new Map(
    [...read('docs/errors.md').matchAll(/^### `([a-z_]+)` · (.+)$/gm)].map(
      ([, code = '', status = '']) => [code, status],
    ),
  )
  const thrown = [
    new StoreUnavailable('x'),
    new StoreUnavailable('x', { code: 'revocation_unconfirmed' }),
    new VersionConflict(),
    new InternalError('x'),
  ]

  function statusOf(code: string): string {
    if (code === 'invalid_option') return 'no status'
    const error =
      thrown.find((one) => one.code === code) ?? new AuthError(code as AuthErrorCode, 'x')
    return String(error.status)
  }

  it('has one entry for each code, and for no other', () => {
    expect(codes.length).toBeGreaterThan(20)
    expect([...entries.keys()].toSorted()).toEqual(codes.toSorted())
    expect(captures(read('docs/errors.md'), /^### (.+)$/gm)).toHaveLength(codes.length)
  })

  it.each(codes)('gives the status of %s', (code) => {
    expect(entries.get(code)).toBe(statusOf(code))
  })

  it.each(codes)('says of %s where, why, and what to do', (code) => {
    const [, rest = ''] = read('docs/errors.md').split(`### \`${code}\``, 2)
    const [entry = ''] = rest.split('\n#', 1)
    expect(captures(entry, /^- (\w+):/gm)).toEqual(['Where', 'Cause', 'Client', 'Operator'])
  })
})

describe.each(PAGES)('%s', (path) => {
  const page = read(path)

  it('links to what exists', () => {
    const broken = captures(prose(page), /\]\(([^)\s]+)\)/g).filter((target) => {
      if (/^[a-z]+:/.test(target)) return false
      const [file = '', anchor] = target.split('#', 2)
      const linked = file === '' ? path : normalize(join(dirname(path), file))
      if (!exists(linked)) return true
      return anchor !== undefined && !anchorsOf(read(linked)).includes(anchor)
    })
    expect(broken).toEqual([])
  })

  it('names files that exist', () => {
    const entries = readdirSync(ROOT, { withFileTypes: true })
    const folders = new Set(entries.filter((entry) => entry.isDirectory()).map(({ name }) => name))
    const named = captures(prose(page), /`([^`\s]+)`/g).filter((text) => {
      // Routes, types and packages have slashes too: a file is below a folder of ours, or looks so.
      if (!/^[\w.-]+(?:\/[\w.-]*)+$/.test(text)) return false
      const [folder = ''] = text.split('/', 1)
      return folders.has(folder) || /\.(?:ts|js|md|json|ya?ml)$/.test(text)
    })
    expect(named.filter((file) => !exists(file))).toEqual([])
  })

  it('has tables whose rows have as many cells as their heading', () => {
    let width = 0
    const odd = prose(page)
      .split('\n')
      .filter((line) => {
        const { length } = cellsOf(line)
        if (length > 0 && width > 0) return length !== width
        width = length
        return false
      })
    expect(odd).toEqual([])
  })
})

describe('docs/design.md', () => {
  const page = read('docs/design.md')

  it('has the eight rows of the rotation table, in their order', () => {
    const rows = tableRows(page, '#')
    expect(rows.map(([number]) => number)).toEqual(['1', '2', '3', '4', '5', '6', '7', '8'])
    expect(rows.map(([, , outcome]) => outcome)).toEqual([
      '`gone`',
      '`invalid`',
      '`rotated`',
      '`recovered`',
      '`replayed`',
      '`replayed`',
      '`replayed`',
      '`reused`',
    ])
  })

  it('gives the defaults that are in force', () => {
    const rows = tableRows(page, 'option')
    const given = rows.map(([name = '', value = '']) => [
      name.replaceAll('`', ''),
      value.replaceAll(/[`']/g, ''),
    ])
    expect(given.length).toBeGreaterThan(5)
    expect(DEFAULTS).toMatchObject(Object.fromEntries(given))
  })

  it('names every operation of the store', () => {
    const contract = between(read('lib/store.ts'), 'export interface Store {', '\n}')
    const operations = captures(contract, /^ {2}(?:readonly )?(\w+)[(:]/gm)
    expect(operations).toContain('rotate')
    const named = tableRows(page, 'operation').map(([name]) => name)
    expect(operations.filter((name) => !named.join(' ').includes(`\`${name}`))).toEqual([])
  })
})

describe('README.md', () => {
  const options = [
    ...captures(between(read('lib/options.ts'), 'const KNOWN = [', ']'), /'(\w+)'/g),
    'onError',
  ]
  const rows = tableRows(read('README.md'), 'option')
  const named = rows.map(([name = '']) => name.replaceAll('`', ''))

  it('has every option in its table, and no other', () => {
    expect(options).toContain('issuer')
    expect(named.toSorted()).toEqual(options.toSorted())
  })

  it('gives the defaults of durations that are in force', () => {
    const durations = Object.entries(DEFAULTS).filter(([, value]) => /^\d+[a-z]+$/.test(`${value}`))
    const given = durations.map(([name]) => rows.find(([cell]) => cell === `\`${name}\``)?.[1])
    expect(given).toEqual(durations.map(([, value]) => `\`'${value}'\``))
  })
})
