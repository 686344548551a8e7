import type { VerificationKey } from './access-token-format.ts'
import { ConfigError, StoreUnavailable } from './errors.ts'
import type { Kept } from './key-keeper.ts'
import { KeyKeeper } from './key-keeper.ts'
import type { KeyRing } from './key-ring.ts'
import type { KeySet } from './key-set.ts'
import { activeKey, keyStates, retireKey, rotateKeys } from './key-set.ts'
import { localSigner } from './local-signer.ts'
import type { ManagedKeys } from './managed-keys-options.ts'
import { timingOf } from './managed-keys-options.ts'
import type { SigningKey } from './sign-jwt.ts'
import { parseSigningKey } from './signing-key.ts'
import type { NamedJwk, PublicJwk, SigningKeyStatus, SigningKeys } from './signing-keys.ts'
import type { Store } from './store.ts'

/** What managed keys report to. */
export interface KeyReports {
  /** A key was made, or is to sign earlier; `cause` says why. */
  rotated(status: SigningKeyStatus, cause: 'first' | 'due' | 'requested' | 'retired'): void
  retired(kid: string): void
  /** A key is gone: what was remembered of its tokens is worth nothing. */
  gone(): void
  /** The keys could not be read; tried again. */
  failed(error: unknown): void
}

interface Entry {
  readonly jwk: NamedJwk
  readonly signer: SigningKey | null
  readonly verification: VerificationKey
  readonly published: PublicJwk
}

const MIN_BACKOFF_MS = 50

/**
 * Signing keys that the nodes make, share and rotate through the store. What was loaded goes on
 * signing and verifying whatever becomes of the store.
 */
export class ManagedSigningKeys implements SigningKeys {
  readonly #keeper: KeyKeeper
  readonly #now: () => number
  readonly #deadlineMs: number
  readonly #config: ManagedKeys
  readonly #reports: KeyReports
  readonly #timing: ReturnType<typeof timingOf>
  readonly #stop = new AbortController()
  #entries: ReadonlyMap<string, Entry> = new Map()
  #jwks: { readonly keys: readonly PublicJwk[] } = { keys: [] }
  #failure: unknown = null
  #loop: Promise<void> | undefined
  /** Ends the pause between two passes. */
  #wake: () => void = () => undefined
  #hasNews = false
  /** How many passes have begun, and who waits for the end of which. */
  #passes = 0
  #waiting: { readonly pass: number; readonly resolve: () => void }[] = []
  #soughtAt = -Infinity
  #seeking: Promise<void> | null = null

  /**
   * @param options - `store`: with a deadline on each call, `deadlineMs`; `now`: the store's clock as
   *   far as this node knows it; `tokenMs`: the longest life of a token that is signed
   */
  constructor(options: {
    readonly config: ManagedKeys
    readonly store: Store['keys']
    readonly ring: KeyRing
    readonly now: () => number
    readonly deadlineMs: number
    readonly tokenMs: number
    readonly clockSkewMs: number
    readonly reports: KeyReports
  }) {
    const { config, store, ring, now } = options
    this.#now = now
    this.#deadlineMs = options.deadlineMs
    this.#config = config
    this.#reports = options.reports
    this.#timing = timingOf(config, options.tokenMs, options.clockSkewMs)
    this.#keeper = new KeyKeeper({
      store,
      ring,
      timing: this.#timing,
      alg: config.alg,
      now,
      onChange: (set) => this.#adopt(set),
    })
  }

  get active(): SigningKey {
    const key = activeKey(this.#set(), this.#now())
    const signer = key === undefined ? null : this.#entries.get(key.jwk.kid)?.signer
    if (signer === undefined || signer === null) throw notLoaded(this.#failure)
    return signer
  }

  find(kid: string): VerificationKey | undefined {
    return this.#entries.get(kid)?.verification
  }

  get jwks(): { readonly keys: readonly PublicJwk[] } {
    this.#set()
    return this.#jwks
  }

  async ready(): Promise<void> {
    if (this.#keeper.set === null) await this.#passEnds(1)
    this.#set()
  }

  /**
   * Resolves when the keys are there, however long that takes, or at `close`.
   *
   * @throws {ConfigError} when the document in the store cannot be opened
   */
  async loaded(): Promise<void> {
    while (this.#keeper.set === null && !this.#stop.signal.aborted) {
      if (this.#failure instanceof ConfigError) throw this.#failure
      await this.#endOf(this.#passes)
    }
  }

  async seek(kid: string): Promise<void> {
    if (this.#keeper.set?.retired.some((retired) => retired.kid === kid) === true) return
    const now = performance.now()
    if (this.#seeking === null && now - this.#soughtAt >= this.#config.pace.cooldownMs) {
      this.#soughtAt = now
      // What is under way may have read before the key was there.
      const next = this.#passes + 1
      this.news()
      this.#seeking = this.#passEnds(next).finally(() => {
        this.#seeking = null
      })
    }
    if (this.#seeking !== null) await this.#seeking
    if (this.#failure !== null) throw notLoaded(this.#failure)
  }

  /** Begins to follow the keys. Calling it again changes nothing. */
  start(): void {
    this.#loop ??= this.#follow()
  }

  /** The keys have changed: reads them at once. */
  news(): void {
    this.#hasNews = true
    this.#wake()
  }

  /** Every key that is not gone, in the order in which they sign. */
  list(): readonly SigningKeyStatus[] {
    return statusesOf(this.#set(), this.#now())
  }

  /**
   * Lets a new key sign as soon as every verifier has it.
   *
   * @returns that key
   * @throws {StoreUnavailable}
   */
  async rotate(): Promise<SigningKeyStatus> {
    const kept = await this.#keeper.change((set, now) => rotateKeys(set, now, this.#timing))
    const statuses = statusesOf(kept.set, this.#now())
    const status = statuses.find(({ state }) => state === 'next') ?? statuses.at(-1)
    if (status === undefined) throw notLoaded(this.#failure)
    if (kept.changed) this.#reports.rotated(status, 'requested')
    return status
  }

  /**
   * Takes a key away at once, on every node.
   *
   * @returns whether there was such a key
   * @throws {StoreUnavailable} it may be gone or not: call again
   */
  async retire(kid: string): Promise<boolean> {
    const kept = await this.#keeper.change((set, now) => retireKey(set, kid, now))
    if (kept.changed) this.#reports.retired(kid)
    this.#reportMade(kept, 'retired')
    return kept.set.retired.some((retired) => retired.kid === kid)
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#wake()
    await this.#loop
    this.#endPass(Infinity)
  }

  #set(): KeySet {
    const { set } = this.#keeper
    if (set === null) throw notLoaded(this.#failure)
    return set
  }

  async #follow(): Promise<void> {
    let backoffMs = MIN_BACKOFF_MS
    while (!this.#stop.signal.aborted) {
      const pass = ++this.#passes
      this.#hasNews = false
      const isFirst = this.#keeper.set === null
      let waitMs = this.#config.pace.pollMs * (0.75 + Math.random() / 2)
      try {
        const kept = await this.#keeper.keep()
        this.#failure = null
        backoffMs = MIN_BACKOFF_MS
        this.#reportMade(kept, isFirst && kept.set.keys.length === 1 ? 'first' : 'due')
      } catch (error) {
        this.#failure = error
        this.#reports.failed(error)
        waitMs = Math.min(waitMs, backoffMs * (0.5 + Math.random() / 2))
        backoffMs *= 2
      }
      this.#endPass(pass)
      await this.#sleep(waitMs)
    }
  }

  #reportMade({ set, made }: Kept, cause: 'first' | 'due' | 'retired'): void {
    const status = statusesOf(set, this.#now()).find(({ kid }) => kid === made?.kid)
    if (status !== undefined) this.#reports.rotated(status, cause)
  }

  /** Puts the keys of a set into force. */
  #adopt(set: KeySet): void {
    const before = this.#entries
    const entries = set.keys.map(({ jwk }) => {
      const known = before.get(jwk.kid)
      if (known === undefined) return toEntry(jwk)
      // Without its private half it is the same key: what is being verified by it goes on.
      return known.jwk.d === jwk.d ? known : { ...toEntry(jwk), verification: known.verification }
    })
    this.#entries = new Map(entries.map((entry) => [entry.jwk.kid, entry]))
    this.#jwks = Object.freeze({ keys: Object.freeze(entries.map(({ published }) => published)) })
    if ([...before.keys()].some((kid) => !this.#entries.has(kid))) this.#reports.gone()
  }

  #endPass(pass: number): void {
    const over = this.#waiting.filter((waiting) => waiting.pass <= pass)
    this.#waiting = this.#waiting.filter((waiting) => waiting.pass > pass)
    for (const { resolve } of over) resolve()
  }

  async #endOf(pass: number): Promise<void> {
    if (this.#stop.signal.aborted) return
    await new Promise<void>((resolve) => {
      this.#waiting.push({ pass, resolve })
    })
  }

  /** The end of a pass, or of a request's patience. */
  async #passEnds(pass: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      const fail = () => reject(notLoaded(new Error(`late: ${this.#deadlineMs} ms`)))
      timer = setTimeout(fail, this.#deadlineMs).unref()
    })
    try {
      await Promise.race([this.#endOf(pass), late])
    } finally {
      clearTimeout(timer)
    }
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#stop.signal.aborted || this.#hasNews) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms).unref()
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

function toEntry(jwk: NamedJwk): Entry {
  const { kid, alg, privateKey, publicKey, members } = parseSigningKey(jwk, 'signingKeys')
  return {
    jwk,
    signer: privateKey === undefined ? null : localSigner(kid, alg, privateKey),
    verification: Object.freeze({ kid, alg, key: publicKey }),
    published: Object.freeze({ ...members, kid, alg, use: 'sig' }),
  }
}

function statusesOf(set: KeySet, now: number): readonly SigningKeyStatus[] {
  const states = keyStates(set, now)
  return set.keys.map(({ jwk, publishedAt, activeAt }) => ({
    kid: jwk.kid,
    alg: jwk.alg,
    state: states.get(jwk.kid) ?? 'retiring',
    publishedAt,
    activeAt,
  }))
}

function notLoaded(cause: unknown): StoreUnavailable {
  return new StoreUnavailable('keys.load', { cause })
}
