// What a request costs behind each guard, beside bare Express in the same second.
import { rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startRedis } from '../test/support/redis-server.ts'
import type { ContenderName } from './http/contenders.ts'
import { CONTENDER_NAMES, describeContender } from './http/contenders.ts'
import type { Load } from './http/load.ts'
import { load } from './http/load.ts'
import type { ServerFacts, ServerQuestion, ServerSettings } from './http/server.ts'
import type { Credential, Servers } from './http/contender.ts'
import type { Child } from './support/children.ts'
import { startPinnedChild } from './support/children.ts'
import { ALL_CORES, SERVER_CORE } from './support/pin.ts'
import { startBench } from './support/postgres.ts'
import { formatTable, median, quantile } from './support/report.ts'
import { forEachOf } from './support/sessions.ts'

const SESSIONS = 500
const CONNECTIONS = 64
const SLICE_SECONDS = 1
const STARTING_AT_ONCE = 4
const CHECK_TIMEOUT_MS = 10_000

/** A contender that runs. */
interface Running {
  readonly name: ContenderName
  readonly child: Child
  readonly facts: ServerFacts
  readonly credentialsFile: string
}

/** One contender in one round. */
interface Slice extends Load {
  /** Processor time of its process, microseconds a request. */
  readonly micros: number
}

/** One contender in one round, beside bare Express. */
interface Compared extends Slice {
  readonly ofBare: number
  readonly addedMicros: number
}

/** A row of the table; medians over the rounds. */
export interface HttpRow {
  readonly name: ContenderName
  readonly perSecond: number
  readonly ofBare: number
  readonly ofBareMin: number
  readonly ofBareMax: number
  readonly addedMicros: number
  readonly p50: number
  readonly p99: number
  /** One request at a time, milliseconds. */
  readonly alone: number
  readonly failed: number
}

/** How thoroughly. */
export interface HttpScale {
  readonly rounds: number
  /** Slices of a contender in each round, between those of bare Express. */
  readonly slices: number
  /**
   * Load before the first of them that is not counted: a process that has just started pays for its
   * compiler, four times what a request costs later, and one that waited for its caches and its
   * memory, and for the check that is due once a minute and session.
   */
  readonly warmUpSeconds: number
  /** In so many rounds requests are sent one at a time as well. */
  readonly aloneRounds: number
}

/** Measures these contenders. */
export async function measureHttp(
  scale: HttpScale,
  names: readonly ContenderName[],
): Promise<HttpRow[]> {
  const redis = await startRedis({ config: { appendonly: 'yes' } })
  const postgres = await startBench(2)
  const servers = { redis: redis.url, postgres: postgres.server.url }
  const running: Running[] = []
  try {
    const wanted = new Set<ContenderName>(['bare', ...names])
    const starting = CONTENDER_NAMES.filter((one) => wanted.has(one))
    await forEachOf(starting, STARTING_AT_ONCE, async (name) => {
      running.push(await start(name, servers))
    })
    const inOrder = starting.flatMap((name) => running.filter((one) => one.name === name))
    for (const started of inOrder) await check(started)
    return await compare(inOrder, scale)
  } finally {
    for (const { child, credentialsFile } of running) {
      await child.stop()
      rmSync(credentialsFile, { force: true })
    }
    await postgres.close()
    await redis.cleanUp()
  }
}

async function start(contender: ContenderName, servers: Servers): Promise<Running> {
  const settings: ServerSettings = { contender, servers, sessions: SESSIONS }
  const child = await startPinnedChild(ALL_CORES, 'http/server.ts', JSON.stringify(settings))
  child.pin(SERVER_CORE)
  const facts = await ask<ServerFacts>(child, 'facts')
  const credentialsFile = join(tmpdir(), `latchkey-bench-${process.pid}-${contender}`)
  // The last one is revoked by the check.
  const lines = facts.good.slice(0, -1).map((credential) => Object.entries(credential)[0] ?? [])
  const text = lines.map(([header, value]) => `${header}: ${value}\n`).join('')
  writeFileSync(credentialsFile, text === '' ? '\n' : text, { mode: 0o600 })
  return { name: contender, child, facts, credentialsFile }
}

/** Only what tells good from bad takes part. */
async function check({ name, child, facts }: Running): Promise<void> {
  const expectStatus = async (expected: number, what: string, credential: Credential = {}) => {
    const answer = await fetch(`http://127.0.0.1:${facts.port}/`, {
      headers: credential,
      signal: AbortSignal.timeout(CHECK_TIMEOUT_MS),
    })
    await answer.arrayBuffer()
    const { status } = answer
    if (status !== expected) throw new Error(`${name} answers ${status} to ${what}`)
  }
  if (facts.good.length === 0) return expectStatus(200, 'anybody')
  const last = facts.good.at(-1)
  if (facts.good.length !== SESSIONS || facts.tampered.length === 0 || last === undefined) {
    throw new Error(`${name} lacks credentials`)
  }
  // The others are counted when they fail under load.
  for (const credential of [...facts.good.slice(0, 3), last]) {
    await expectStatus(200, 'a good credential', credential)
  }
  for (const credential of facts.tampered) await expectStatus(401, 'a forgery', credential)
  await expectStatus(401, 'nobody')
  if (!facts.revokes) return
  await ask<boolean>(child, 'revokeLast')
  await expectStatus(401, 'a session that was ended', last)
}

async function compare(running: readonly Running[], scale: HttpScale): Promise<HttpRow[]> {
  const { rounds, slices, warmUpSeconds, aloneRounds } = scale
  const [others, bare] = [running.filter(({ name }) => name !== 'bare'), running.at(0)]
  if (bare === undefined) throw new Error('bare Express is missing')
  const results = new Map<ContenderName, Compared[]>(running.map(({ name }) => [name, []]))
  const alone = new Map<ContenderName, number[]>(running.map(({ name }) => [name, []]))
  await warmUp(bare, warmUpSeconds)
  let before = await measure(bare)
  for (let round = 0; round < rounds; round++) {
    // Whoever comes first in one round comes later in the next.
    const turn = Math.round((round * others.length) / rounds)
    for (const contender of [...others.slice(turn), ...others.slice(0, turn)]) {
      await warmUp(contender, warmUpSeconds)
      for (let count = 0; count < slices; count++) {
        const slice = await measure(contender)
        const after = await measure(bare)
        results.get(contender.name)?.push(beside(slice, [before, after]))
        results.get('bare')?.push(beside(after, [before]))
        before = after
      }
    }
    if (round < rounds - aloneRounds) continue
    for (const contender of running) {
      const { name, facts, credentialsFile } = contender
      await warmUp(contender, 1)
      const options = { connections: 1, seconds: SLICE_SECONDS }
      alone.get(name)?.push((await load(facts.port, credentialsFile, options)).p50)
    }
  }
  return running.map(({ name }) => rowOf(name, results.get(name) ?? [], alone.get(name) ?? []))
}

async function warmUp({ facts, credentialsFile }: Running, seconds: number): Promise<void> {
  await load(facts.port, credentialsFile, { connections: CONNECTIONS, seconds })
}

async function measure({ child, facts, credentialsFile }: Running): Promise<Slice> {
  const before = await ask<number>(child, 'cpu')
  const result = await load(facts.port, credentialsFile, {
    connections: CONNECTIONS,
    seconds: SLICE_SECONDS,
  })
  const after = await ask<number>(child, 'cpu')
  return { ...result, micros: (after - before) / result.requests }
}

function beside(slice: Slice, bares: readonly Slice[]): Compared {
  const mean = (key: 'perSecond' | 'micros') =>
    bares.reduce((sum, bare) => sum + bare[key], 0) / bares.length
  return {
    ...slice,
    ofBare: slice.perSecond / mean('perSecond'),
    addedMicros: slice.micros - mean('micros'),
  }
}

function rowOf(
  name: ContenderName,
  slices: readonly Compared[],
  alone: readonly number[],
): HttpRow {
  const all = (key: keyof Compared) => slices.map((slice) => slice[key])
  return {
    name,
    perSecond: median(all('perSecond')),
    ofBare: median(all('ofBare')),
    ofBareMin: quantile(all('ofBare'), 0),
    ofBareMax: quantile(all('ofBare'), 1),
    addedMicros: median(all('addedMicros')),
    p50: median(all('p50')),
    p99: median(all('p99')),
    alone: median(alone),
    failed: all('failed').reduce((sum, failed) => sum + failed, 0),
  }
}

/** The rows as a table. */
export function formatHttp(rows: readonly HttpRow[]): string {
  return formatTable([
    [
      'contender',
      'req/s',
      'of bare (min-max)',
      'added CPU, µs',
      'p50 ms',
      'p99 ms',
      'alone, ms',
      'bound by',
    ],
    ...rows.map((row) => {
      const { label, boundBy } = describeContender(row.name)
      const range = `${row.ofBareMin.toFixed(2)}-${row.ofBareMax.toFixed(2)}`
      return [
        label + (row.failed === 0 ? '' : ` (${row.failed} failed)`),
        row.perSecond.toFixed(0),
        `${row.ofBare.toFixed(2)} (${range})`,
        row.addedMicros.toFixed(1),
        row.p50.toFixed(1),
        row.p99.toFixed(1),
        Number.isNaN(row.alone) ? '' : row.alone.toFixed(2),
        boundBy,
      ]
    }),
  ])
}

async function ask<Answer>(child: Child, question: ServerQuestion): Promise<Answer> {
  return child.ask(question)
}
