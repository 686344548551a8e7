import type { Algorithm } from './access-token-format.ts'
import { StoreUnavailable } from './errors.ts'
import { openKeys, sealKeys } from './key-document.ts'
import type { KeyRing } from './key-ring.ts'
import type { KeyPlan, KeySet, KeyTiming } from './key-set.ts'
import { mergeKeySets, NO_KEYS, planKeys, withKey } from './key-set.ts'
import type { NamedJwk } from './signing-keys.ts'
import { drawSigningKey } from './signing-keys.ts'
import type { KeysDocument, Store } from './store.ts'

/** What a keeper works with. */
export interface KeyKeeperOptions {
  /** With a deadline on each call. */
  readonly store: Store['keys']
  readonly ring: KeyRing
  readonly timing: KeyTiming
  /** Algorithm of the keys it makes. */
  readonly alg: Algorithm
  /** The store's clock, epoch milliseconds, as far as this node knows it. */
  readonly now: () => number
  /** The keys are others than before. */
  readonly onChange: (set: KeySet) => void
}

/** What came of a change. */
export interface Kept {
  readonly set: KeySet
  /** The key that was made for it; null for none. */
  readonly made: NamedJwk | null
  /** Whether it was decided to change something, and this node has. */
  readonly changed: boolean
}

/** Decides on the keys as they are; null to leave them so. */
export type Decide = (set: KeySet, now: number) => KeyPlan | null

const MAX_TRIES = 20
const MAX_PAUSE_MS = 20

/**
 * Keeps the keys that all nodes share, and changes them by compare-and-set: of all nodes that are due
 * one wins, and the others find its work done. One call after the other.
 */
export class KeyKeeper {
  readonly #options: KeyKeeperOptions
  #set: KeySet | null = null
  #version = 0
  #document: string | null = null
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: KeyKeeperOptions) {
    this.#options = options
  }

  /** The keys as of the last time; null before the first. */
  get set(): KeySet | null {
    return this.#set
  }

  /**
   * Reads the keys, and does what is due.
   *
   * @throws {ConfigError} when the document cannot be opened; it stays as it is
   * @throws {StoreUnavailable}
   */
  async keep(): Promise<Kept> {
    return this.change((set, now) => planKeys(set, now, this.#options.timing))
  }

  /**
   * Changes the keys. Asked again after a failure, it finds what was done.
   *
   * @throws {ConfigError} when the document cannot be opened
   * @throws {StoreUnavailable} the keys may have changed, or not
   */
  async change(decide: Decide): Promise<Kept> {
    const result = this.#last.then(async () => this.#change(decide))
    this.#last = result.catch(() => undefined)
    return result
  }

  async #change(decide: Decide): Promise<Kept> {
    const { store, ring, now, alg } = this.#options
    let drawn: NamedJwk | undefined
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const found = await store.load()
      const { set, isStored } = this.#take(found)
      const at = now()
      const plan = decide(set, at)
      if (plan === null && isStored) return { set, made: null, changed: false }
      const make = plan?.make ?? null
      if (make !== null && drawn === undefined) {
        // It takes a while: whether and when it is to sign is decided with the key at hand.
        drawn = await drawSigningKey(alg)
        continue
      }
      const made = make === null || drawn === undefined ? null : drawn
      const rest = plan?.rest ?? set
      const next = make === null || made === null ? rest : withKey(rest, made, make.activeAt, at)
      const version = (found?.version ?? 0) + 1
      const document = sealKeys(ring, next, version)
      if (await store.save(version - 1, document)) {
        this.#adopt(next, { version, document })
        return { set: next, made, changed: plan !== null }
      }
      await pause(Math.random() * MAX_PAUSE_MS)
    }
    throw new StoreUnavailable('keys.save', { cause: new Error('changed by others all the time') })
  }

  /** What the store has, together with what it has lost; and whether it is stored as it should be. */
  #take(found: KeysDocument | null): { readonly set: KeySet; readonly isStored: boolean } {
    const known = this.#set
    if (found === null) return { set: known ?? NO_KEYS, isStored: known === null }
    if (known !== null && found.document === this.#document) return { set: known, isStored: true }
    const { set: stored, isCurrent } = openKeys(this.#options.ring, found)
    if (known === null || found.version > this.#version) {
      this.#adopt(stored, found)
      // Once, at start: nodes whose secrets are in another order would take turns at it.
      return { set: stored, isStored: known !== null || isCurrent }
    }
    // It went back, as after a failover or from a backup: what this node knows is not to be lost.
    const set = mergeKeySets(known, stored)
    const isStored = isSame(set, mergeKeySets(stored, stored))
    if (isStored) this.#adopt(set, found)
    return { set, isStored }
  }

  #adopt(set: KeySet, { version, document }: KeysDocument): void {
    this.#options.onChange(set)
    this.#set = set
    this.#version = version
    this.#document = document
  }
}

function isSame(one: KeySet, other: KeySet): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

async function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
