import { ConfigError } from './errors.ts'
import type { FeedPageRead } from './feed.ts'
import { FEED_EVENT, OPEN_EVENT, parseFrame, parseOpen } from './feed-frame.ts'
import { EventStreamParser } from './event-stream.ts'
import { parseUrl } from './option-values.ts'
import type { FeedEntry, FeedReadInput } from './store.ts'
import { rejectUnknownOptions } from './unknown-options.ts'

/** Options of `remoteFeed`. */
export interface RemoteFeedOptions {
  /** The kit's revocation stream, such as `https://app.example/auth/revocations`. */
  readonly url: string
  /**
   * The `Authorization` header by which the kit knows this service, such as `Basic …`; or what gives
   * it, asked at each connection.
   */
  readonly credential: string | (() => string | Promise<string>)
}

/** Where a verifier hears of revocations. Made by {@link remoteFeed}. */
export interface RemoteFeed {
  /**
   * A reader of the stream, for one verifier. Nothing is connected before its first read.
   *
   * @param monotonic - a clock that never goes back, milliseconds
   */
  connect(monotonic: () => number): FeedReader
}

/** Reads the feed over one connection, which it makes when there is none. */
export interface FeedReader {
  /**
   * The next news, or the next sign that there are none.
   *
   * @throws {Error} when the connection broke or could not be had; the next read makes another
   */
  read(input: FeedReadInput): Promise<FeedPageRead>
  /** Ends the connection. */
  close(): void
}

/** The issuer answered, and not with a stream. */
export class FeedRefused extends Error {
  override readonly name = 'FeedRefused'
  /** How long to leave the issuer alone, milliseconds. */
  readonly retryMs: number

  constructor(status: number, retryMs: number) {
    super(`the revocation stream answered ${status}`)
    this.retryMs = retryMs
  }
}

const MAX_EVENT_LENGTH = 1024 * 1024
/** After an answer that the same request will get again. */
const REFUSED_MS = 10_000
const MAX_RETRY_MS = 60_000
/** By how much the sender's steady clock may run faster than ours while a connection lives. */
const DRIFT_MS = 1000
// RFC 9110 §5.5: what a header may hold. Checked here because fetch quotes what it refuses.
const CREDENTIAL = /^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/

/**
 * The kit's revocation stream as the `feed` of a verifier. One connection, made again when it breaks
 * and resumed where it broke, on whichever node answers.
 *
 * @throws {ConfigError} `invalid_option`
 *
 * @example
 * ```ts
 * remoteFeed({ url: 'https://app.example/auth/revocations', credential: `Basic ${btoa('billing:' + secret)}` })
 * ```
 */
export function remoteFeed(options: RemoteFeedOptions): RemoteFeed {
  const given: unknown = options
  if (typeof given !== 'object' || given === null) {
    throw new ConfigError('feed', 'takes { url, credential }')
  }
  rejectUnknownOptions('feed', options, ['url', 'credential'])
  const url = parseUrl('feed.url', options.url, 'https://app.example/auth/revocations')
  const { credential } = options
  if (typeof credential !== 'function') checkCredential(credential)
  const authorize = async () => {
    const text = typeof credential === 'function' ? await credential() : credential
    return checkCredential(text)
  }
  return { connect: (monotonic) => new StreamReader(url, authorize, monotonic) }
}

function checkCredential(credential: unknown): string {
  if (typeof credential === 'string' && CREDENTIAL.test(credential)) return credential
  throw new ConfigError('feed.credential', "must be an Authorization header, such as 'Basic …'")
}

/** An open connection. */
interface Stream {
  readonly chunks: ReadableStreamDefaultReader<Uint8Array>
  readonly parser: EventStreamParser
  readonly call: AbortController
  /** When it was asked for, on our steady clock: before the sender's clock was read. */
  readonly askedAt: number
  /** What the sender's steady clock said when the stream began; null until it did. */
  openedAt: number | null
  /** Where to resume after what was read; `''` while that is not the whole. */
  cursor: string
}

class StreamReader implements FeedReader {
  readonly #url: URL
  readonly #authorize: () => Promise<string>
  readonly #monotonic: () => number
  #stream: Stream | null = null

  constructor(url: URL, authorize: () => Promise<string>, monotonic: () => number) {
    this.#url = url
    this.#authorize = authorize
    this.#monotonic = monotonic
  }

  async read({ cursor, signal }: FeedReadInput): Promise<FeedPageRead> {
    const from = cursor ?? ''
    if (this.#stream !== null && this.#stream.cursor !== from) this.#drop()
    const call = this.#stream?.call ?? new AbortController()
    // Silence for so long that the read is given up is a connection that is dead.
    const giveUp = () => call.abort(new Error('the revocation stream is silent'))
    signal.addEventListener('abort', giveUp, { once: true })
    try {
      this.#stream ??= await this.#open(from, call)
      return await this.#next(this.#stream)
    } catch (error) {
      this.#drop()
      call.abort()
      throw error
    } finally {
      signal.removeEventListener('abort', giveUp)
    }
  }

  close(): void {
    this.#drop()
  }

  async #open(cursor: string, call: AbortController): Promise<Stream> {
    const authorization = await this.#authorize()
    const askedAt = this.#monotonic()
    const response = await fetch(this.#url, {
      headers: {
        Accept: 'text/event-stream',
        Authorization: authorization,
        ...(cursor === '' ? {} : { 'Last-Event-ID': cursor }),
      },
      // The credential is for this URL and no other.
      redirect: 'manual',
      signal: call.signal,
    })
    if (response.status !== 200) {
      await response.body?.cancel()
      throw new FeedRefused(response.status, pauseOf(response))
    }
    const type = response.headers.get('content-type') ?? ''
    if (!/^text\/event-stream(?:$|[\s;])/i.test(type) || response.body === null) {
      throw new FeedRefused(response.status, REFUSED_MS)
    }
    return {
      chunks: response.body.getReader(),
      parser: new EventStreamParser(MAX_EVENT_LENGTH),
      call,
      askedAt,
      openedAt: null,
      cursor,
    }
  }

  /** Reads on until something was said. */
  async #next(stream: Stream): Promise<FeedPageRead> {
    for (;;) {
      const { done, value } = await stream.chunks.read()
      if (done) throw new Error('the revocation stream ended')
      const page = this.#take(stream, value)
      if (page !== null) return page
    }
  }

  #take(stream: Stream, bytes: Uint8Array): FeedPageRead | null {
    const entries: FeedEntry[] = []
    let last: ReturnType<typeof parseFrame> | null = null
    for (const { event, data, id } of stream.parser.push(bytes)) {
      if (event === OPEN_EVENT) stream.openedAt = parseOpen(data)
      if (event !== FEED_EVENT) continue
      last = parseFrame(data)
      entries.push(...last.entries)
      if (id !== undefined) stream.cursor = id
    }
    if (last === null) return null
    if (stream.openedAt === null) throw new TypeError('the revocation stream did not begin')
    // Counted from before the sender read its clock: never newer than it is, whatever the delay.
    const knownAt = stream.askedAt + last.asOf - stream.openedAt
    // This machine was suspended, and what waited for it meanwhile looks new. A new connection tells.
    if (!(knownAt <= this.#monotonic() + DRIFT_MS)) {
      throw new RangeError('the revocation stream is of a time to come')
    }
    return {
      entries,
      cursor: stream.cursor,
      more: last.more,
      // The issuer sends all that still matters to who was away for too long to resume.
      complete: true,
      rolledBack: false,
      now: last.now,
      knownAt,
    }
  }

  #drop(): void {
    this.#stream?.call.abort()
    this.#stream = null
  }
}

function pauseOf({ status, headers }: Response): number {
  const seconds = /^\d{1,6}$/.exec(headers.get('retry-after') ?? '')?.[0]
  if (seconds !== undefined) return Math.min(MAX_RETRY_MS, Number(seconds) * 1000)
  return status >= 500 ? 0 : REFUSED_MS
}
