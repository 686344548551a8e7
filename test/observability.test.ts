import { spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PAGE = readFileSync(join(ROOT, 'docs/observability.md'), 'utf8')
const PACKAGES = ['pino', '@opentelemetry/api', '@opentelemetry/sdk-metrics', 'express', '@types']

/** The page's files: blocks whose first line is their name. */
const FILES = new Map(
  [...PAGE.matchAll(/^```ts\n\/\/ ([\w-]+\.ts)\n([^]*?)^```$/gm)].map(
    ([, name = '', code = '']) => [name, code],
  ),
)

/** Plays what the recipes are about, and prints what was collected. */
const PLAY = `
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { metrics } from '@opentelemetry/api'
import type { AddressInfo } from 'node:net'
import express from 'express'

const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 600_000 })
metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }))
const { latchkey } = await import('./app.ts')
await latchkey.ready()

const server = express().use('/auth', latchkey.authRoutes()).listen(0, '127.0.0.1')
await new Promise((resolve) => server.once('listening', resolve))
const { port } = server.address() as AddressInfo
async function post(path: string, cookie: string, body: object): Promise<Response> {
  return fetch(\`http://127.0.0.1:\${port}/auth\${path}\`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Cookie: cookie },
    body: JSON.stringify(body),
  })
}
function cookieOf(res: Response): string {
  return res.headers.getSetCookie().map((line) => line.split(';')[0]).join('; ')
}
await post('/login', '', { password: 'wrong' })
const first = cookieOf(await post('/login', '', { password: 'wonderland-7' }))
const second = cookieOf(await post('/refresh', first, {}))
await post('/refresh', first, {})
await post('/refresh', second, {})
await post('/refresh', first, {})

await reader.forceFlush()
const points = exporter.getMetrics().flatMap(({ scopeMetrics }) =>
  scopeMetrics.flatMap(({ metrics: all }) =>
    all.flatMap(({ descriptor, dataPoints }) =>
      dataPoints.map(({ attributes, value }) => ({
        name: descriptor.name,
        ...attributes,
        value: typeof value === 'object' ? value.count : value,
      })),
    ),
  ),
)
await latchkey.close()
server.close()
console.log(JSON.stringify({ points }))
process.exit()
`

describe('the recipes of docs/observability.md', () => {
  const work = mkdtempSync(join(realpathSync(tmpdir()), 'latchkey-recipes-'))

  beforeAll(() => {
    mkdirSync(join(work, 'node_modules/@opentelemetry'), { recursive: true })
    for (const name of PACKAGES) {
      mkdirSync(dirname(join(work, 'node_modules', name)), { recursive: true })
      symlinkSync(join(ROOT, 'node_modules', name), join(work, 'node_modules', name))
    }
    // The package as it is published: its manifest and what was built.
    const own = join(work, 'node_modules/latchkey')
    mkdirSync(own)
    cpSync(join(ROOT, 'package.json'), join(own, 'package.json'))
    cpSync(join(ROOT, 'dist'), join(own, 'dist'), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(own, 'node_modules'))
    for (const [name, code] of FILES) writeFileSync(join(work, name), code)
    writeFileSync(join(work, 'play.ts'), PLAY)
    writeFileSync(join(work, 'package.json'), '{"type":"module"}')
    writeFileSync(
      join(work, 'tsconfig.json'),
      JSON.stringify({
        extends: join(ROOT, 'tsconfig.json'),
        compilerOptions: {
          noEmit: true,
          rootDir: '/',
          declaration: false,
          isolatedDeclarations: false,
          lib: ['es2023', 'dom'],
        },
        include: [join(work, '*.ts')],
      }),
    )
  })

  afterAll(() => rmSync(work, { recursive: true }))

  it('are these files', () => {
    expect([...FILES.keys()]).toEqual(['log-events.ts', 'metrics.ts', 'app.ts'])
  })

  it('compile, as strictly as latchkey does', () => {
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
    const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', work], {
      encoding: 'utf8',
      timeout: 100_000,
    })
    expect({ stdout, status }).toEqual({ stdout: '', status: 0 })
  })

  it('log and count what happens', () => {
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      ['--import', 'tsx', join(work, 'play.ts')],
      {
        cwd: ROOT,
        encoding: 'utf8',
        env: { ...process.env, NODE_ENV: 'development' },
        timeout: 100_000,
      },
    )
    expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' })
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    // Not the last line on a slow machine: what is logged in the background may come after it.
    const { points } = lines.find((line) => 'points' in line) as {
      points: Record<string, unknown>[]
    }

    const logged = lines.filter(({ event }) => event !== undefined && event !== 'warning')
    // pino's 30 is info and 40 warn; 20, debug, is not written by default.
    expect(logged.map(({ level, event, cause }) => [level, event, cause])).toEqual([
      [30, 'feed_sighted', undefined],
      [40, 'authn_login_fail', 'invalid_credentials'],
      [30, 'session_created', undefined],
      [30, 'authn_login_success', undefined],
      [40, 'authn_token_reuse', 'reused'],
    ])
    expect(logged.at(-1)).toMatchObject({ user: { id: 'alice' }, detail: { distance: 2 } })
    expect(logged[1]?.['at']).toMatch(/^\d{4}-\d\d-\d\dT/)
    expect(stdout).not.toMatch(/lk[rs]_/)

    const counted = (name: string) =>
      points.filter((point) => point['name'] === name).map(({ name: _name, ...rest }) => rest)
    expect(counted('latchkey.logins')).toEqual([
      { result: 'failure', cause: 'invalid_credentials', value: 1 },
      { result: 'success', cause: 'none', value: 1 },
    ])
    expect(counted('latchkey.refreshes')).toEqual([
      { outcome: 'session_renewed', cause: 'rotated', value: 2 },
      { outcome: 'session_replayed', cause: 'grace', value: 1 },
      { outcome: 'authn_token_reuse', cause: 'reused', value: 1 },
    ])
    expect(counted('latchkey.reuse')).toEqual([{ distance: 'more', value: 1 }])
    expect(counted('latchkey.feed.blind')).toEqual([{ value: 0 }])
    expect(counted('latchkey.audit.dropped')).toEqual([{ value: 0 }])
    expect(counted('latchkey.feed.staleness')).toHaveLength(1)
    expect(counted('latchkey.store.latency')).toEqual(
      expect.arrayContaining([
        { operation: 'create', result: 'success', value: 1 },
        { operation: 'rotate', result: 'success', value: 4 },
      ]),
    )
    expect(JSON.stringify(points)).not.toContain('feed.read')
  })
})

describe('docs/observability.md', () => {
  it('has every event there is, and no other', () => {
    const source = readFileSync(join(ROOT, 'lib/events.ts'), 'utf8')
    const types = [...source.matchAll(/^ {2}\| '([a-z_]+)'$/gm)].map(([, type = '']) => type)
    const listed = [...PAGE.matchAll(/^\| `([a-z_]+)` +\|/gm)].map(([, type = '']) => type)
    expect(types.length).toBeGreaterThan(20)
    expect(listed.toSorted()).toEqual(types.toSorted())
  })
})
