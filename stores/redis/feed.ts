import { REVOKED } from '../../lib/heard-set.ts'
import type { FeedEntry, FeedPage, FeedReadInput } from '../../lib/store.ts'
import type { RedisClient } from './client.ts'
import type { Connection } from './connection.ts'
import { list, text, texts, timeOf } from './reply.ts'

const BATCH = 1000
/** How far an entry's id may lie behind the server's clock: a clock that was set back by less is harmless. */
const OVERLAP_MS = 60_000
const BEGINNING = '0-0'
const ENTRY_ID = /^(\d{1,15})-(\d{1,20})$/

/**
 * Follows the feed over a connection of its own: one stream, read with XREAD, which blocks on the
 * server until there is news.
 */
export class RedisFeed {
  readonly #connection: Connection
  readonly #key: string
  readonly #retentionMs: number
  readonly #clock: (() => number) | undefined
  /** Which server, or set of primaries, answered last. */
  #server: string | undefined
  /** The connection broke since the last completed read. */
  #broken = false

  constructor(options: {
    readonly connection: Connection
    readonly key: string
    readonly retentionMs: number
    readonly clock: (() => number) | undefined
  }) {
    this.#connection = options.connection
    this.#key = options.key
    this.#retentionMs = options.retentionMs
    this.#clock = options.clock
    const { client } = options.connection
    const onBreak = () => {
      this.#broken = true
    }
    client.on('close', onBreak)
    client.on('-node', onBreak)
    client.on('+node', onBreak)
  }

  async read({ cursor, waitMs, signal }: FeedReadInput): Promise<FeedPage> {
    await this.#connection.ready()
    const broken = this.#broken || this.#server === undefined
    this.#broken = false
    // A read that was given up is still blocking the connection: only a new one is free.
    const onAbort = () => this.#connection.renew()
    signal.addEventListener('abort', onAbort, { once: true })
    const isOver = signal.aborted || broken
    try {
      // In one breath: a server that is far away answers within the deadline, or not at all.
      const [page, server] = await Promise.all([
        this.#page(cursor, isOver ? 0 : waitMs, broken),
        broken ? serverName(this.#connection.client) : this.#server,
        this.#refuseReplica(),
      ])
      const rolledBack = this.#server !== undefined && server !== this.#server
      // Only with a page that is not given up: who does not hear of it now never would.
      if (!signal.aborted) this.#server = server
      return { ...page, rolledBack }
    } catch (error) {
      this.#broken = true
      if (signal.aborted) return this.#nothing(cursor)
      throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** The answer to a read that was given up. */
  #nothing(cursor: string | null): FeedPage {
    return {
      entries: [],
      cursor: cursor ?? BEGINNING,
      more: false,
      complete: true,
      rolledBack: false,
      now: this.#clock?.() ?? Date.now(),
    }
  }

  async #page(
    cursor: string | null,
    waitMs: number,
    broken: boolean,
  ): Promise<Omit<FeedPage, 'rolledBack'>> {
    const { client } = this.#connection
    const whole = cursor === null || cursor === BEGINNING
    const given = whole ? undefined : parseId(cursor)
    const from = given === undefined ? BEGINNING : broken ? back(given) : given.text
    const asked = this.#time()
    const block = waitMs > 0 ? ['BLOCK', Math.ceil(waitMs)] : []
    const [before, reply] = await Promise.all([
      asked,
      client.call('XREAD', 'COUNT', BATCH, ...block, 'STREAMS', this.#key, from),
    ])
    const rows = reply === null ? [] : list(list(list(reply)[0])[1])
    const last = rows.at(-1)
    // Nothing is newer than the cursor, so it may move up to where nothing can come in any more.
    const next = last === undefined ? later(from, before - OVERLAP_MS) : text(list(last)[0])
    const complete = whole || (given !== undefined && given.ms >= before - this.#retentionMs)
    return {
      entries: rows.flatMap(entriesOf),
      cursor: next,
      more: rows.length === BATCH,
      complete,
      now: this.#clock?.() ?? (waitMs > 0 && rows.length === 0 ? before + waitMs : before),
    }
  }

  /** The server's clock, asked for in the same breath as what follows. */
  async #time(): Promise<number> {
    return timeOf(await this.#connection.client.call('TIME'))
  }

  /**
   * A primary that was demoted goes on answering, with what it has and as late as it gets it. A
   * Cluster sends its readers away by itself.
   */
  async #refuseReplica(): Promise<void> {
    const { client } = this.#connection
    if (client.isCluster === true) return
    const [role] = list(await client.call('ROLE'))
    if (text(role) !== 'slave') return
    this.#connection.renew()
    throw new Error('the feed is on a replica')
  }
}

/**
 * Who answers: another name is another server, the same one after a restart, or the same one after
 * it was a replica. Its last writes may be gone.
 */
async function serverName(client: RedisClient): Promise<string> {
  const servers = client.nodes?.('master') ?? [client]
  const names = await Promise.all(
    servers.map(async (server) => {
      const infos = await Promise.all([
        server.call('INFO', 'server'),
        server.call('INFO', 'replication'),
      ])
      return (
        /^run_id:(\w+)[^]*^master_replid:(\w+)/m
          .exec(infos.map(text).join('\n'))
          ?.slice(1)
          .join('.') ?? ''
      )
    }),
  )
  return names.toSorted().join(' ')
}

interface EntryId {
  readonly ms: number
  readonly text: string
}

/** The id in a cursor that was given out; undefined for any other text. */
function parseId(cursor: string): EntryId | undefined {
  const match = ENTRY_ID.exec(cursor)
  return match === null ? undefined : { ms: Number(match[1]), text: cursor }
}

function back({ ms }: EntryId): string {
  return `${Math.max(0, ms - OVERLAP_MS)}-0`
}

function later(id: string, ms: number): string {
  return Number(id.split('-')[0]) >= ms ? id : `${ms}-0`
}

/** The entries of one row of the stream: words `<sid>` for a revocation, `<sid>.<ver>` for a change. */
function entriesOf(row: unknown): FeedEntry[] {
  const [, words = ''] = texts(list(row)[1])
  return words.split(' ').map((word) => {
    const [sid = '', ver] = word.split('.')
    return { sid, ver: ver === undefined ? REVOKED : Number(ver) }
  })
}
