const SWEEP_STEPS = 8

interface Entry<Value> {
  readonly value: Value
  readonly expiresAt: number
}

/**
 * A map whose entries end by themselves, with a bound. Every write also looks at a few other
 * entries, so what is over goes without a timer.
 *
 * @internal
 */
export class ExpiringMap<Value> {
  readonly #entries = new Map<string, Entry<Value>>()
  readonly #maxEntries: number
  readonly #onFull: 'reject' | 'drop_oldest'
  #sweeper: Iterator<[string, Entry<Value>]> = this.#entries.entries()

  /**
   * @param maxEntries - how many entries fit
   * @param onFull - what gives way when all of them are in force: the new one or the oldest one
   */
  constructor(maxEntries: number, onFull: 'reject' | 'drop_oldest') {
    this.#maxEntries = maxEntries
    this.#onFull = onFull
  }

  get size(): number {
    return this.#entries.size
  }

  /** The entry in force at `now`. */
  get(key: string, now: number): Entry<Value> | undefined {
    const entry = this.#entries.get(key)
    return entry !== undefined && now < entry.expiresAt ? entry : undefined
  }

  /** Writes an entry that holds until `expiresAt`. */
  set(key: string, value: Value, expiresAt: number, now: number): void {
    this.#step(now)
    // What is over and written anew is a young entry, not an old one.
    if (this.get(key, now) === undefined) this.#entries.delete(key)
    if (!this.#entries.has(key) && this.#entries.size >= this.#maxEntries) this.#makeRoom(now)
    this.#entries.set(key, { value, expiresAt })
  }

  /** Removes every entry that is over. */
  prune(now: number): void {
    for (const [key, entry] of this.#entries) {
      if (now >= entry.expiresAt) this.#entries.delete(key)
    }
  }

  clear(): void {
    this.#entries.clear()
  }

  #step(now: number): void {
    for (let step = 0; step < SWEEP_STEPS; step++) {
      const next = this.#sweeper.next()
      if (next.done) {
        this.#sweeper = this.#entries.entries()
        return
      }
      const [key, entry] = next.value
      if (now >= entry.expiresAt) this.#entries.delete(key)
    }
  }

  #makeRoom(now: number): void {
    if (this.#onFull === 'drop_oldest') {
      const [oldest] = this.#entries.keys()
      if (oldest !== undefined) this.#entries.delete(oldest)
      return
    }
    this.prune(now)
    if (this.#entries.size >= this.#maxEntries) throw new Error('the memory store is full')
  }
}
