import type { Finding } from './findings.ts'
import { finding } from './findings.ts'

/** Well before a node is blind for it, by the default of `clockSkew`. */
const MAX_OFFSET_MS = 5000
/** An offset that hovers about the limit is said once. */
const GOOD_AGAIN_MS = MAX_OFFSET_MS / 2

/**
 * Watches how far the store's clock and this node's are apart.
 *
 * The store read its clock some time between question and answer. Only what lies outside of that
 * is an offset for sure: a read that waits for news, or a process that stood still, is none.
 */
export class ClockWatch {
  #offsetMs = 0
  #isOver = false

  /**
   * Takes note of one read.
   *
   * @param sentAt - this node's clock when the store was asked, epoch milliseconds
   * @param receivedAt - and when it had answered
   * @param storeNow - the store's clock in between
   * @returns whether the offset has just become too large
   */
  observe(sentAt: number, receivedAt: number, storeNow: number): boolean {
    // This node's clock may have been set back in between.
    const earliest = Math.min(sentAt, receivedAt)
    const latest = Math.max(sentAt, receivedAt)
    this.#offsetMs = Math.min(0, storeNow - earliest) + Math.max(0, storeNow - latest)
    const distance = Math.abs(this.#offsetMs)
    const wasOver = this.#isOver
    this.#isOver = distance > (wasOver ? GOOD_AGAIN_MS : MAX_OFFSET_MS)
    return this.#isOver && !wasOver
  }

  /** What is wrong at this moment, null when the clocks agree. */
  get finding(): Finding | null {
    if (!this.#isOver) return null
    const seconds = Math.round(Math.abs(this.#offsetMs) / 1000)
    const direction = this.#offsetMs > 0 ? 'ahead of' : 'behind'
    return finding(
      'clock_offset',
      `the store's clock is ${seconds} s ${direction} this node's: beyond clockSkew the node asks ` +
        'the store for every JWT; run NTP on both',
    )
  }
}
