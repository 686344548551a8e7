import type { HttpRow } from './http.ts'
import type { ContenderName } from './http/contenders.ts'
import type { Results } from './support/document.ts'
import { formatTable } from './support/report.ts'

/** What was promised, and what the last run says. */
interface Target {
  readonly what: string
  /** At least or at most so much. */
  readonly least?: number
  readonly most?: number
  readonly value: number | undefined
}

/** The promises, beside what was measured last; what was not measured is left out. */
export function formatTargets(results: Results): string {
  const rows: string[][] = []
  for (const { what, least, most, value } of targetsOf(results)) {
    if (value === undefined || Number.isNaN(value)) continue
    const kept = (least === undefined || value >= least) && (most === undefined || value <= most)
    const limit = least === undefined ? `at most ${most ?? ''}` : `at least ${least}`
    rows.push([what, limit, value.toFixed(2), kept ? 'kept' : '**missed**'])
  }
  return formatTable([['', 'target', 'measured', ''], ...rows])
}

function targetsOf({ http = [], micro = [], operations = [], delay = [], memory = [] }: Results) {
  const row = (name: ContenderName): HttpRow | undefined => http.find((one) => one.name === name)
  const beside = (name: ContenderName, floor: ContenderName) =>
    (row(name)?.ofBare ?? NaN) / (row(floor)?.ofBare ?? NaN)
  const targets: Target[] = []
  for (const [name, what, most] of FAST) {
    targets.push(
      { what: `${what}, of bare Express`, least: 0.92, value: row(name)?.ofBare },
      { what: `${what}, added µs`, most, value: row(name)?.addedMicros },
    )
  }
  targets.push(
    {
      what: '`requireSession()` on Redis, of the GET by hand',
      least: 0.92,
      value: beside('latchkey-redis', 'hand-redis'),
    },
    {
      what: '`requireSession()` on Postgres, of the SELECT by hand',
      least: 0.95,
      value: beside('latchkey-postgres', 'hand-postgres'),
    },
    {
      what: '`hybridGuard({ sensitive: true })` on Redis, of bare Express',
      least: 0.8,
      value: row('latchkey-sensitive')?.ofBare,
    },
  )
  for (const { name, micros, floorMicros } of micro) {
    if (name === 'access token, seen before')
      targets.push({ what: `${name}, µs`, most: 3, value: micros })
    if (name.startsWith('access token, first')) {
      targets.push({ what: `${name}, of jose`, most: 1.15, value: micros / floorMicros })
    }
    if (name.startsWith('session token'))
      targets.push({ what: `${name}, µs`, most: 5, value: micros })
  }
  const largest = Math.max(...operations.map(({ sessions }) => sessions))
  for (const { store, operation, sessions, ofWrite, growth } of operations) {
    const what = `${store}: ${operation}`
    const least = LEAST_OF_BARE[`${store} ${operation}`]
    if (sessions === largest && least !== undefined && ofWrite !== null) {
      targets.push({ what: `${what}, of a bare write`, least, value: ofWrite })
    }
    if (sessions === 1_000_000) {
      targets.push({ what: `${what}, 1 M sessions against 1 k`, most: 1.3, value: growth })
    }
  }
  for (const { server, mode, heard } of delay) {
    if (heard === null) continue
    const [p50, p99] = heard
    const idle = mode.endsWith('idle')
    const most = mode.startsWith('167') ? 30 : idle ? (server === 'Postgres' ? 10 : 5) : 40
    if (idle) targets.push({ what: `${server}: ${mode}, heard, p50 ms`, most: 1, value: p50 })
    targets.push({ what: `${server}: ${mode}, heard, p99 ms`, most, value: p99 })
  }
  for (const { name, bytesEach } of memory) {
    const [, most] = BYTES.find(([start]) => name.startsWith(start)) ?? []
    if (most !== undefined) targets.push({ what: `${name}, bytes`, most, value: bytesEach })
  }
  return targets
}

const FAST = [
  ['latchkey-jwt', '`requireJwt()`', 7],
  ['latchkey-hybrid', '`hybridGuard()`', 7],
  ['latchkey-redis-near', '`requireSession()`, Redis, near cache', 8],
  ['latchkey-postgres-near', '`requireSession()`, Postgres, near cache', 8],
] as const

const LEAST_OF_BARE: Readonly<Partial<Record<string, number>>> = {
  'Redis open': 0.85,
  'Redis find': 0.85,
  'Redis rotate': 0.85,
  'Postgres find': 0.8,
  'Postgres rotate': 0.8,
}

const BYTES = [
  ['a session in Redis', 650],
  ['a session in Postgres', 700],
  ['a session in the near cache', 1024],
] as const
