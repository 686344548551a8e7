import { ClockWatch } from './clock-watch.ts'
import type { Events } from './events.ts'
import type { Finding } from './findings.ts'
import { finding, refuseErrors, storeFinding } from './findings.ts'
import type { Store } from './store.ts'

/** Says what will bite, once, and knows it when asked. One for each kit. */
export class Doctor {
  readonly #store: Pick<Store, 'inspect'>
  readonly #events: Events
  readonly #clock = new ClockWatch()
  /** What was noticed since the start and does not go away by itself; one of each code. */
  readonly #noted = new Map<string, Finding>()

  /** @param store - the store with a deadline on `inspect` */
  constructor(store: Pick<Store, 'inspect'>, events: Events) {
    this.#store = store
    this.#events = events
  }

  /** Says a finding and remembers it. Said again it is an event again, and no process warning. */
  note(found: Finding): void {
    this.#noted.set(found.code, found)
    this.#say(found)
  }

  /** The same for what any request can bring about: said the first time only. */
  noteOnce(found: Finding): void {
    if (!this.#noted.has(found.code)) this.note(found)
  }

  /** Compares the clocks after a read of the feed; see {@link ClockWatch.observe}. */
  observeClock(sentAt: number, receivedAt: number, storeNow: number): void {
    if (!this.#clock.observe(sentAt, receivedAt, storeNow)) return
    const found = this.#clock.finding
    if (found !== null) this.#say(found)
  }

  /** Says, at start, what is unsafe about the store's server. Never rejects. */
  async start(): Promise<void> {
    for (const found of (await this.#inspect()) ?? []) this.#say(found)
  }

  /** Everything that is wrong at this moment. Asks the store anew. Never rejects. */
  async examine(): Promise<readonly Finding[]> {
    const stored = await this.#inspect()
    const clock = this.#clock.finding
    return [
      ...this.#noted.values(),
      ...(clock === null ? [] : [clock]),
      ...(stored ?? [UNAVAILABLE]),
    ]
  }

  /**
   * Refuses an unsafe store, for `strict`. A store that does not answer is waited for as ever: it
   * may come up later than the app.
   *
   * @param loaded - resolves once the feed is loaded
   * @throws {ConfigError} `invalid_option` that lists the findings
   */
  async refuseUnsafe(loaded: Promise<void>): Promise<void> {
    // Asked before waiting: a store without its schema would never load.
    const early = await this.#inspect()
    if (early !== null) refuseErrors(early)
    await loaded
    if (early === null) refuseErrors((await this.#inspect()) ?? [UNAVAILABLE])
  }

  /** Null when the store did not answer, or not with findings. */
  async #inspect(): Promise<Finding[] | null> {
    try {
      return (await this.#store.inspect()).map(storeFinding)
    } catch (error) {
      this.#events.operational('store_failure', { result: 'failure', cause: 'inspect', error })
      return null
    }
  }

  #say({ code, message }: Finding): void {
    this.#events.warn(code, `latchkey: ${message}`)
  }
}

const UNAVAILABLE = finding(
  'store_unavailable',
  'the store did not answer what is unsafe about it within storeDeadline; see that it is up',
)
