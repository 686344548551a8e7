import type { VerificationKey } from './access-token-format.ts'
import { parseJsonObject } from './access-token-format.ts'
import type { FetchedText } from './fetch-text.ts'
import { fetchText } from './fetch-text.ts'
import type { PublicKeyText } from './jwk-set.ts'
import { importPublicKey, readJwkSet } from './jwk-set.ts'
import type { PublicKeys, PublicKeysStatus } from './public-keys.ts'
import { keysUnavailable } from './public-keys.ts'
import { unref } from './unref.ts'

/** What remote keys need and report to. */
export interface RemoteKeysOptions {
  /** Where the issuer publishes its keys. */
  readonly url: URL
  /** How long the last good set is used while no newer one can be had. */
  readonly maxStaleMs: number
  /** Epoch milliseconds. */
  readonly clock: () => number
  /** A try to get the set failed. */
  readonly onFailure?: (error: unknown) => void
  /** Keys of the set that are of no use, one sentence each. Heard with each set that differs. */
  readonly onIgnored?: (flaws: readonly string[]) => void
  /** A key is gone, or is another one now: what it verified is worth nothing. */
  readonly onGone?: () => void
}

const TIMEOUT_MS = 5000
const MAX_BYTES = 64 * 1024
/** How long a set is fresh, whatever longer life it claims. */
const MAX_FRESH_MS = 10 * 60_000
/** Between two tries for a kid that is not there, and after a failure while there are keys. */
const COOLDOWN_MS = 30_000
/** After a failure while there are none: requests wait. */
const RETRY_MS = 1000
/** How long a set may be over before requests wait for the next one. */
const GRACE_MS = 60_000
/** The issuer's nodes learn of a change one after the other, and any of them may answer. */
const AFTER_CHANGE_MS = [1000, 5000] as const
const NEVER = -Infinity

interface Held {
  readonly key: VerificationKey
  /** What it was made of: as long as that is the same, the key is. */
  readonly text: string
}

/**
 * The keys of an issuer, by their URL (RFC 7517, RFC 8414 `jwks_uri`).
 *
 * One request is under way at most. While a set is fresh nobody asks; when it is over it still serves,
 * and a newer one is got beside the requests. While the issuer cannot be reached the last good set
 * serves for `maxStaleMs`. A kid that is not there is looked for at most every 30 seconds, so that
 * forged tokens make no traffic.
 */
export class RemoteKeys implements PublicKeys {
  readonly #options: RemoteKeysOptions
  readonly #stop = new AbortController()
  #held = new Map<string, Held>()
  #ignored = ''
  #loadedAt = NEVER
  #freshMs = 0
  /** When the set serves nobody any more, whatever the reason that there is no newer one. */
  #endsAt = NEVER
  #triedAt = NEVER
  #failure: unknown = null
  /** When a newer set is due. */
  #dueAt = NEVER
  #loading: Promise<void> | undefined
  #changed = false
  #timer: ReturnType<typeof setTimeout> | undefined
  readonly #changeTimers = new Set<ReturnType<typeof setTimeout>>()
  readonly ready: Promise<void>
  #markReady: () => void = () => {}

  constructor(options: RemoteKeysOptions) {
    this.#options = options
    this.ready = new Promise((resolve) => {
      this.#markReady = resolve
    })
  }

  start(): void {
    if (this.#triedAt === NEVER) void this.#refresh()
  }

  find(kid: string): VerificationKey | undefined {
    const held = this.#held.get(kid)
    if (held === undefined) return undefined
    const now = this.#options.clock()
    if (now > this.#endsAt) return undefined
    // A clock that was set back makes nothing fresh.
    if (now >= this.#dueAt || now < this.#loadedAt) {
      if (!this.#mayServe(now)) return undefined
      void this.#refresh()
    }
    return held.key
  }

  async seek(): Promise<void> {
    const now = this.#options.clock()
    const pauseMs = this.#mayServe(now) ? COOLDOWN_MS : RETRY_MS
    const mayTry = now - this.#triedAt >= pauseMs || now < this.#triedAt
    if (mayTry || this.#loading !== undefined) await this.#refresh()
    if (!this.#mayServe(this.#options.clock())) throw keysUnavailable(this.#failure)
  }

  status(): PublicKeysStatus {
    const now = this.#options.clock()
    return {
      count: this.#mayServe(now) ? this.#held.size : 0,
      ageMs: this.#loadedAt === NEVER ? null : Math.max(0, now - this.#loadedAt),
      failing: this.#failure !== null,
    }
  }

  reload(): void {
    if (this.#isClosed()) return
    // What is under way may have been answered before the change.
    this.#changed = this.#loading !== undefined
    void this.#refresh()
    for (const timer of this.#changeTimers) clearTimeout(timer)
    this.#changeTimers.clear()
    for (const delayMs of AFTER_CHANGE_MS) {
      const timer = setTimeout(() => {
        this.#changeTimers.delete(timer)
        void this.#refresh()
      }, delayMs * spread())
      unref(timer)
      this.#changeTimers.add(timer)
    }
  }

  close(): void {
    this.#stop.abort(new Error('closed'))
    clearTimeout(this.#timer)
    for (const timer of this.#changeTimers) clearTimeout(timer)
    this.#markReady()
  }

  /**
   * Whether the set is good enough: fresh, just over, or the newest there is while the issuer cannot be
   * reached. After a long sleep nobody has tried yet, and then requests wait.
   */
  #mayServe(now: number): boolean {
    if (this.#held.size === 0) return false
    const ageMs = now - this.#loadedAt
    if (ageMs <= this.#freshMs + GRACE_MS) return true
    const isDown = this.#failure !== null && now - this.#triedAt <= COOLDOWN_MS + GRACE_MS
    return isDown && ageMs <= this.#options.maxStaleMs
  }

  #isClosed(): boolean {
    return this.#stop.signal.aborted
  }

  /** Never rejects. */
  async #refresh(): Promise<void> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined
      if (!this.#changed) return
      this.#changed = false
      void this.#refresh()
    })
    return this.#loading
  }

  async #load(): Promise<void> {
    if (this.#isClosed()) return
    const { signal } = this.#stop
    const sentAt = this.#options.clock()
    this.#triedAt = sentAt
    try {
      const bounds = { timeoutMs: TIMEOUT_MS, maxBytes: MAX_BYTES, accept: ACCEPT, signal }
      const answer = await fetchText(this.#options.url, bounds)
      await this.#take(parseJsonObject(answer.text))
      this.#failure = null
      this.#loadedAt = sentAt
      this.#freshMs = freshMs(answer.headers)
      this.#endsAt = sentAt + Math.max(this.#freshMs + GRACE_MS, this.#options.maxStaleMs)
      this.#plan(this.#freshMs)
      this.#markReady()
    } catch (error) {
      if (this.#isClosed()) return
      this.#failure = error
      this.#plan(this.#held.size === 0 ? RETRY_MS : COOLDOWN_MS)
      this.#options.onFailure?.(error)
    }
  }

  async #take(set: unknown): Promise<void> {
    const read = readJwkSet(set)
    if (typeof read === 'string') throw new Error(`the key set ${read}`)
    const held = new Map<string, Held>()
    const ignored = [...read.ignored]
    for (const key of read.keys) {
      const text = JSON.stringify([key.alg, key.members])
      const known = this.#held.get(key.kid)
      const same = known?.text === text ? known.key : await importOrNull(key)
      if (same === null) ignored.push(`key ${key.kid} is none`)
      else held.set(key.kid, { key: same, text })
    }
    if (held.size === 0) throw new Error('the key set has no key that can be used')
    const isGone = [...this.#held].some(([kid, { text }]) => held.get(kid)?.text !== text)
    this.#held = held
    if (isGone) this.#options.onGone?.()
    const told = ignored.join('; ')
    if (told !== '' && told !== this.#ignored) this.#options.onIgnored?.(ignored)
    this.#ignored = told
  }

  /** When the next set is due, and a timer for who has no requests. */
  #plan(delayMs: number): void {
    this.#dueAt = this.#options.clock() + delayMs
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#refresh(), delayMs * spread())
    unref(this.#timer)
  }
}

const ACCEPT = 'application/jwk-set+json, application/json'

async function importOrNull(text: PublicKeyText): Promise<VerificationKey | null> {
  try {
    return await importPublicKey(text)
  } catch {
    return null
  }
}

/** How long a set is fresh by its headers (RFC 9111 §5.2.2.1, §5.1), within our bounds. */
function freshMs(headers: FetchedText['headers']): number {
  const control = headers.get('cache-control') ?? ''
  if (/(?:^|[\s,])no-(?:store|cache)(?:$|[\s,=])/i.test(control)) return COOLDOWN_MS
  const maxAge = /(?:^|[\s,])max-age="?(\d{1,9})/i.exec(control)?.[1]
  if (maxAge === undefined) return MAX_FRESH_MS
  const age = /^\d{1,9}$/.exec(headers.get('age') ?? '')?.[0] ?? '0'
  return Math.min(MAX_FRESH_MS, Math.max(COOLDOWN_MS, (Number(maxAge) - Number(age)) * 1000))
}

/** All services hear of a change at the same moment; they do not all ask at it. */
function spread(): number {
  return 0.8 + Math.random() * 0.2
}
