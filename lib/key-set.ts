import type { SigningJwk } from './signing-key.ts'

/**
 * The signing keys that the nodes manage together, and every decision about them: pure, so that all
 * nodes decide alike. Instants are epoch milliseconds of the store's clock, as far as a node knows it.
 *
 * Which key signs is told by `activeAt` alone: at that instant every node moves on by itself, and
 * nothing has to be written.
 */
export interface KeySet {
  /** In the order in which they sign; at least one, except before the first. */
  readonly keys: readonly ManagedKey[]
  /** Keys that were taken away in an emergency. They never come back. */
  readonly retired: readonly RetiredKey[]
  /** The longest life of a token that any node may have signed, milliseconds. */
  readonly tokenMs: number
}

export interface ManagedKey {
  /** Has its private members while it may sign, and only the public ones after that. */
  readonly jwk: SigningJwk & { readonly kid: string }
  /** Since when verifiers can know it. */
  readonly publishedAt: number
  /** From when it signs, until the next key does. */
  readonly activeAt: number
}

export interface RetiredKey {
  readonly kid: string
  readonly at: number
}

/** How long things take, in milliseconds. */
export interface KeyTiming {
  /** How long a key signs. */
  readonly rotateEveryMs: number
  /** How long before its first use a key is published, when it is known in time. */
  readonly publishAheadMs: number
  /** The least of that: in this time every verifier has it. */
  readonly minAheadMs: number
  /** The longest life of a token of this node. */
  readonly tokenMs: number
  /** In this time every node has moved on to the next key, and every token's last tolerance is over. */
  readonly marginMs: number
}

/** What is to be saved. */
export interface KeyPlan {
  /** From when a new key shall sign; null for none. */
  readonly make: { readonly activeAt: number } | null
  /** The set, without that key. */
  readonly rest: KeySet
}

/** The state of a key: it is published, it signs, it only verifies. After that it is gone. */
export type KeyState = 'next' | 'active' | 'retiring'

export const NO_KEYS: KeySet = { keys: [], retired: [], tokenMs: 0 }

const MAX_RETIRED = 100

/**
 * The key that signs. Undefined only when there is none that can: before the first key's time, by a
 * clock that is slow, it is the first one all the same.
 */
export function activeKey({ keys }: KeySet, now: number): ManagedKey | undefined {
  return keys.findLast((key) => canSign(key) && key.activeAt <= now) ?? keys.find(canSign)
}

function canSign({ jwk }: ManagedKey): boolean {
  return jwk.d !== undefined
}

/** The state of each key. */
export function keyStates(set: KeySet, now: number): ReadonlyMap<string, KeyState> {
  const active = activeKey(set, now)
  const position = set.keys.findIndex((key) => key === active)
  return new Map(
    set.keys.map(({ jwk }, index) => [
      jwk.kid,
      index === position ? 'active' : index > position ? 'next' : 'retiring',
    ]),
  )
}

/** What is due at this moment; null when nothing is. */
export function planKeys(set: KeySet, now: number, timing: KeyTiming): KeyPlan | null {
  const tokenMs = Math.max(set.tokenMs, timing.tokenMs)
  const keys = set.keys.flatMap((key, index) => {
    const successor = set.keys[index + 1]
    if (successor === undefined) return key
    const unusedMs = now - successor.activeAt
    if (unusedMs >= tokenMs + timing.marginMs) return []
    return unusedMs >= timing.marginMs ? withoutPrivate(key) : key
  })
  const make = dueKey(set, now, timing)
  const isSame =
    tokenMs === set.tokenMs &&
    keys.length === set.keys.length &&
    keys.every((key, index) => key === set.keys[index])
  return make === null && isSame ? null : { make, rest: { ...set, keys, tokenMs } }
}

function dueKey({ keys }: KeySet, now: number, timing: KeyTiming): KeyPlan['make'] {
  const newest = keys.findLast(canSign)
  // The very first one: nobody could sign before.
  if (newest === undefined) return { activeAt: now }
  const dueAt = newest.activeAt + timing.rotateEveryMs
  if (now < dueAt - timing.publishAheadMs) return null
  return { activeAt: Math.max(dueAt, now + timing.minAheadMs) }
}

/** The set with a new key, published now. */
export function withKey(
  set: KeySet,
  jwk: ManagedKey['jwk'],
  activeAt: number,
  publishedAt: number,
): KeySet {
  return { ...set, keys: inOrder([...set.keys, { jwk, publishedAt, activeAt }]) }
}

/**
 * Lets the next key sign as soon as every verifier has it, and not when it is due. Without a next key
 * one is to be made. Null when that is so already: who asks twice gets one key.
 */
export function rotateKeys(set: KeySet, now: number, timing: KeyTiming): KeyPlan | null {
  const next = set.keys.find((key) => canSign(key) && key.activeAt > now)
  if (next === undefined) return { make: { activeAt: now + timing.minAheadMs }, rest: set }
  const activeAt = Math.max(next.publishedAt + timing.minAheadMs, now)
  if (activeAt >= next.activeAt) return null
  return { make: null, rest: { ...set, keys: signingFrom(set.keys, next, activeAt) } }
}

/**
 * Takes a key away. Where it was the one that signs, the next one takes its place at once, or one that
 * is to be made. It takes over the instant as well: who saw the old one sign sees the new one sign,
 * whatever their clock says. Null when there is no such key.
 */
export function retireKey(set: KeySet, kid: string, now: number): KeyPlan | null {
  const key = set.keys.find(({ jwk }) => jwk.kid === kid)
  if (key === undefined) return null
  const signable = set.keys.filter(canSign)
  const isActive = activeKey(set, now) === key || (signable.length === 1 && signable[0] === key)
  const successor = isActive ? set.keys[set.keys.indexOf(key) + 1] : undefined
  const others = set.keys.filter((other) => other !== key)
  const keys = successor === undefined ? others : signingFrom(others, successor, key.activeAt)
  const retired = [...set.retired, { kid, at: now }].slice(-MAX_RETIRED)
  return {
    rest: { ...set, keys, retired },
    make: isActive && successor === undefined ? { activeAt: key.activeAt } : null,
  }
}

/**
 * What two nodes know, or a node and a store that lost its last writes: every key of both, but for
 * those that one of them saw taken away. Each key signs from the earlier instant, and has a private
 * half only where both have it.
 */
export function mergeKeySets(one: KeySet, other: KeySet): KeySet {
  const retirements = [...one.retired, ...other.retired].toSorted(
    (a, b) => a.at - b.at || byName(a.kid, b.kid),
  )
  const retired = new Map(retirements.map((key) => [key.kid, key]))
  const keys = new Map<string, ManagedKey>()
  for (const key of [...one.keys, ...other.keys]) {
    const { kid } = key.jwk
    const known = keys.get(kid)
    if (!retired.has(kid)) keys.set(kid, known === undefined ? key : mergeKeys(known, key))
  }
  return {
    keys: inOrder([...keys.values()]),
    retired: [...retired.values()].slice(-MAX_RETIRED),
    tokenMs: Math.max(one.tokenMs, other.tokenMs),
  }
}

function mergeKeys(one: ManagedKey, other: ManagedKey): ManagedKey {
  return {
    jwk: one.jwk.d === undefined ? one.jwk : other.jwk,
    publishedAt: Math.min(one.publishedAt, other.publishedAt),
    activeAt: Math.min(one.activeAt, other.activeAt),
  }
}

/** The keys, one of which signs from another instant. */
function signingFrom(
  keys: readonly ManagedKey[],
  changed: ManagedKey,
  activeAt: number,
): readonly ManagedKey[] {
  return inOrder([...keys.filter((key) => key !== changed), { ...changed, activeAt }])
}

function withoutPrivate(key: ManagedKey): ManagedKey {
  if (!canSign(key)) return key
  const { kty, alg, kid, use, crv, x, y, n, e } = key.jwk
  const members = Object.entries({ kty, alg, kid, use, crv, x, y, n, e })
  const jwk = Object.fromEntries(members.filter(([, value]) => value !== undefined))
  return { ...key, jwk: { ...jwk, kty, alg, kid } }
}

/** Names decide where instants do not: every node has the same order. */
function inOrder(keys: readonly ManagedKey[]): readonly ManagedKey[] {
  return keys.toSorted((a, b) => a.activeAt - b.activeAt || byName(a.jwk.kid, b.jwk.kid))
}

function byName(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}
