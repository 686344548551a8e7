import type { ServerSentEvent } from '../../lib/event-stream.ts'
import { EventStreamParser } from '../../lib/event-stream.ts'
import type { FeedFrame } from '../../lib/feed-frame.ts'
import { parseFrame } from '../../lib/feed-frame.ts'
import type { FeedEntry } from '../../lib/store.ts'
import type { TestKit } from './kit.ts'
import { CREDENTIAL } from './services.ts'

/** What a service hears of `GET /auth/revocations`. */
export interface Ear {
  readonly response: Response
  readonly state: { readonly over: boolean }
  frames(): FeedFrame[]
  entries(): FeedEntry[]
  sids(): string[]
  lastId(): string | undefined
  hangUp(): void
}

const streams = new Set<AbortController>()

/** Ends all streams; for `afterEach`. */
export function hangUpAll(): void {
  for (const stream of streams) stream.abort()
  streams.clear()
}

/** A service that listens with nothing but HTTP. */
export async function listenTo(
  kit: Pick<TestKit, 'port'>,
  { lastId, credential = CREDENTIAL }: { lastId?: string | undefined; credential?: string } = {},
): Promise<Ear> {
  const call = new AbortController()
  streams.add(call)
  const response = await fetch(`http://127.0.0.1:${kit.port}/auth/revocations`, {
    headers: {
      Authorization: credential,
      ...(lastId === undefined ? {} : { 'Last-Event-ID': lastId }),
    },
    signal: call.signal,
  })
  const events: ServerSentEvent[] = []
  const state = { over: false }
  void read().finally(() => (state.over = true))

  async function read(): Promise<void> {
    const parser = new EventStreamParser(1_000_000)
    const reader = response.body?.getReader()
    for (;;) {
      const piece = await reader?.read().catch(() => undefined)
      if (piece?.value === undefined) return
      events.push(...parser.push(piece.value))
    }
  }

  const frames = () =>
    events.filter(({ event }) => event === 'feed').map(({ data }) => parseFrame(data))
  return {
    response,
    state,
    frames,
    entries: () => frames().flatMap(({ entries }) => entries),
    sids: () => frames().flatMap(({ entries }) => entries.map(({ sid }) => sid)),
    lastId: () => events.findLast(({ id }) => id !== undefined)?.id,
    hangUp: () => call.abort(),
  }
}
