import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import type { KeyPlan, KeySet, KeyTiming } from '../../lib/key-set.ts'
import {
  activeKey,
  keyStates,
  mergeKeySets,
  NO_KEYS,
  planKeys,
  retireKey,
  rotateKeys,
  withKey,
} from '../../lib/key-set.ts'

const MINUTE = 60_000
const DAY = 1440 * MINUTE
const NOW = Date.UTC(2026, 5, 1)
const SKEW = 30_000

const timing: KeyTiming = {
  rotateEveryMs: 30 * DAY,
  publishAheadMs: DAY,
  minAheadMs: 16 * MINUTE + 2 * SKEW,
  tokenMs: 15 * MINUTE,
  marginMs: 2 * SKEW + 2 * MINUTE,
}

let drawn = 0
function draw(kid = `key-${++drawn}`) {
  return {
    kty: 'EC',
    alg: 'ES256',
    kid,
    crv: 'P-256',
    x: 'x',
    y: 'y',
    d: `private of ${kid}`,
  } as const
}

/** What a node saves, when a plan says so. */
function apply(plan: KeyPlan, now: number, kid?: string): KeySet {
  return plan.make === null ? plan.rest : withKey(plan.rest, draw(kid), plan.make.activeAt, now)
}

function keep(set: KeySet, now: number, kid?: string): KeySet {
  const plan = planKeys(set, now, timing)
  return plan === null ? set : apply(plan, now, kid)
}

function kids(set: KeySet): string[] {
  return set.keys.map(({ jwk }) => jwk.kid)
}

function states(set: KeySet, now: number): Record<string, string> {
  return Object.fromEntries(keyStates(set, now))
}

const first = keep(NO_KEYS, NOW, 'a')
const dueAt = NOW + 30 * DAY
const published = keep(first, dueAt - DAY, 'b')

describe('managed keys', () => {
  it('begin with one that signs at once: nobody could sign before', () => {
    expect(states(first, NOW)).toEqual({ a: 'active' })
    expect(planKeys(first, NOW, timing)).toBeNull()
    // By a clock that is slow it signs as well.
    expect(activeKey(first, NOW - DAY)?.jwk.kid).toBe('a')
  })

  it('go from next to active to retiring to gone, each when it is time', () => {
    expect(planKeys(first, dueAt - DAY - 1, timing)).toBeNull()
    expect(states(published, dueAt - 1)).toEqual({ a: 'active', b: 'next' })
    expect(states(published, dueAt)).toEqual({ a: 'retiring', b: 'active' })
    expect(planKeys(published, dueAt + timing.marginMs - 1, timing)).toBeNull()
    const stripped = keep(published, dueAt + timing.marginMs)
    expect(stripped.keys.map(({ jwk }) => jwk.d)).toEqual([undefined, 'private of b'])
    expect(stripped.keys[0]?.jwk).toMatchObject({ kid: 'a', alg: 'ES256', x: 'x', y: 'y' })
    const goneAt = dueAt + timing.tokenMs + timing.marginMs
    expect(planKeys(stripped, goneAt - 1, timing)).toBeNull()
    expect(kids(keep(stripped, goneAt))).toEqual(['b'])
  })

  it('are published in time to be known, also when all nodes were down when it was due', () => {
    const late = keep(first, dueAt + 10 * DAY, 'b')
    expect(states(late, dueAt + 10 * DAY)).toEqual({ a: 'active', b: 'next' })
    expect(late.keys[1]?.activeAt).toBe(dueAt + 10 * DAY + timing.minAheadMs)
  })

  it('are kept for the longest token of any node, not only of the one that looks', () => {
    const hour = { ...timing, tokenMs: 60 * MINUTE }
    const plan = planKeys(published, dueAt, hour)
    expect(plan?.rest.tokenMs).toBe(60 * MINUTE)
    expect(kids(keep(plan!.rest, dueAt + timing.tokenMs + timing.marginMs))).toEqual(['a', 'b'])
    expect(kids(keep(plan!.rest, dueAt + hour.tokenMs + timing.marginMs))).toEqual(['b'])
  })
})

describe('a rotation that was asked for', () => {
  it('makes a key that signs as soon as it is known, and asked again makes no other', () => {
    const plan = rotateKeys(first, NOW, timing)
    expect(plan?.make).toEqual({ activeAt: NOW + timing.minAheadMs })
    expect(rotateKeys(apply(plan!, NOW), NOW + 1, timing)).toBeNull()
  })

  it('lets the next key sign earlier, but not before it is known', () => {
    const now = dueAt - DAY + MINUTE
    const sooner = rotateKeys(published, now, timing)
    expect(sooner).toMatchObject({ make: null })
    expect(sooner?.rest.keys[1]?.activeAt).toBe(dueAt - DAY + timing.minAheadMs)
    const known = rotateKeys(published, dueAt - 5, timing)
    expect(states(known!.rest, dueAt - 5)).toEqual({ a: 'retiring', b: 'active' })
  })
})

describe('a key that is retired', () => {
  it('is gone at once, and the next one signs at once, whatever a clock says', () => {
    const { make, rest } = retireKey(published, 'a', dueAt - 100)!
    expect(make).toBeNull()
    expect(states(rest, dueAt - 100)).toEqual({ b: 'active' })
    expect(activeKey(rest, NOW - DAY)?.jwk.kid).toBe('b')
    expect(rest.retired).toEqual([{ kid: 'a', at: dueAt - 100 }])
  })

  it('is replaced by a new one where there is no next', () => {
    const plan = retireKey(first, 'a', NOW + DAY)
    expect(plan?.make).toEqual({ activeAt: NOW })
    expect(states(apply(plan!, NOW + DAY, 'c'), NOW - MINUTE)).toEqual({ c: 'active' })
  })

  it('is replaced on a clock by which it does not sign yet, when it is the only one that can', () => {
    const stripped = keep(published, dueAt + timing.marginMs)
    expect(activeKey(stripped, dueAt - DAY)?.jwk.kid).toBe('b')
    const plan = retireKey(stripped, 'b', dueAt - DAY)!
    expect(plan.make).toEqual({ activeAt: dueAt })
    expect(activeKey(apply(plan, dueAt - DAY, 'c'), dueAt - DAY)?.jwk.kid).toBe('c')
  })

  it('may be the next one, or one that only verifies', () => {
    expect(kids(retireKey(published, 'b', dueAt - 5)!.rest)).toEqual(['a'])
    expect(kids(retireKey(published, 'a', dueAt + 5)!.rest)).toEqual(['b'])
    expect(retireKey(published, 'b', dueAt - 5)?.make).toBeNull()
  })

  it('must exist', () => {
    expect(retireKey(published, 'c', NOW)).toBeNull()
    expect(retireKey(NO_KEYS, 'a', NOW)).toBeNull()
  })

  it('is remembered, but not more than a hundred of them', () => {
    let set = first
    for (let turn = 0; turn < 150; turn++) {
      set = apply(retireKey(set, kids(set)[0]!, NOW + turn)!, NOW + turn)
    }
    expect(set.retired).toHaveLength(100)
    expect(kids(set)).toHaveLength(1)
  })
})

describe('two sets of keys', () => {
  it('become one that has what any had, and lacks what any retired', () => {
    const retired = retireKey(published, 'a', dueAt - 100)!.rest
    expect(mergeKeySets(published, retired)).toEqual(retired)
    expect(mergeKeySets(retired, first)).toEqual(retired)
    expect(mergeKeySets(NO_KEYS, published)).toEqual(published)
    // Stripped in one is stripped.
    const stripped = keep(published, dueAt + timing.marginMs)
    expect(mergeKeySets(published, stripped)).toEqual(stripped)
  })

  const anySet = fc
    .array(
      fc.record({ kid: fc.constantFrom('a', 'b', 'c', 'd'), at: fc.nat(100), made: fc.nat(100) }),
      {
        maxLength: 4,
      },
    )
    .chain((made) =>
      fc.record({ made: fc.constant(made), gone: fc.subarray(['a', 'b', 'c', 'd']) }),
    )
    .map(({ made, gone }) => {
      const sets = made.map(({ kid, at, made: from }) => withKey(NO_KEYS, draw(kid), at, from))
      const retired = gone.map((kid) => ({ kid, at: 1 }))
      return [...sets, { ...NO_KEYS, retired }].reduce(mergeKeySets, NO_KEYS)
    })

  it('become the same one in any order, and once more changes nothing', () => {
    fc.assert(
      fc.property(anySet, anySet, anySet, (one, two, three) => {
        const merged = mergeKeySets(mergeKeySets(one, two), three)
        expect(mergeKeySets(three, mergeKeySets(two, one))).toEqual(merged)
        expect(JSON.stringify(mergeKeySets(merged, two))).toBe(JSON.stringify(merged))
      }),
    )
  })
})

/**
 * A world of nodes whose clocks are apart by at most the skew, which keep one set between them by
 * compare-and-set and sign all the while. A node learns of a change late, as by its poll alone.
 */
describe('nodes with clocks that differ', () => {
  const POLL = MINUTE
  const TICK = 30_000
  const TICKS = 800
  const quick: KeyTiming = {
    ...timing,
    rotateEveryMs: 90 * MINUTE,
    publishAheadMs: 30 * MINUTE,
    marginMs: 2 * SKEW + 2 * POLL,
  }
  const action = fc.record({
    tick: fc.nat(TICKS),
    node: fc.nat(2),
    does: fc.constantFrom('rotate', 'retire'),
  })

  it('never lack a key, never sign with one that is not known, never drop one too early', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -SKEW / 2, max: SKEW / 2 }), { minLength: 2, maxLength: 3 }),
        fc.array(fc.nat(POLL / TICK - 1), { minLength: 3, maxLength: 3 }),
        fc.array(action, { maxLength: 6 }),
        (skews, phases, actions) => {
          let stored = NO_KEYS
          const known = skews.map(() => NO_KEYS)
          const publishedAt = new Map<string, number>()
          const lastUsed = new Map<string, number>()
          const emergency = new Set<string>()
          let isFirst = true
          const faults: string[] = []

          const save = (set: KeySet, at: number, urgent: boolean) => {
            for (const { jwk } of set.keys) {
              if (publishedAt.has(jwk.kid)) continue
              publishedAt.set(jwk.kid, at)
              if (urgent || isFirst) emergency.add(jwk.kid)
              isFirst = false
            }
            const left = new Set(set.keys.map(({ jwk }) => jwk.kid))
            for (const { jwk } of stored.keys) {
              const used = lastUsed.get(jwk.kid)
              if (left.has(jwk.kid) || urgent || used === undefined) continue
              // Kept for the longest token after its last use, and the tolerance of who verifies it.
              if (at - used < quick.tokenMs + SKEW) faults.push(`dropped after ${at - used}`)
            }
            stored = set
          }

          for (let tick = 0; tick < TICKS; tick++) {
            const real = NOW + tick * TICK
            for (const [node, skew] of skews.entries()) {
              const clock = real + skew
              const done = actions.find((one) => one.tick === tick && one.node === node)
              // Reads before it acts, as compare-and-set makes it.
              if (tick % (POLL / TICK) === phases[node] || known[node] === NO_KEYS || done) {
                const due = planKeys(stored, clock, quick)
                if (due !== null) save(apply(due, clock), real, false)
                if (done?.does === 'rotate') {
                  const rotation = rotateKeys(stored, clock, quick)
                  if (rotation !== null) save(apply(rotation, clock), real, false)
                }
                if (done?.does === 'retire') {
                  const kid = activeKey(stored, clock)!.jwk.kid
                  const plan = retireKey(stored, kid, clock)!
                  const set = apply(plan, clock)
                  for (const key of set.keys) {
                    if (key.activeAt <= real + SKEW) emergency.add(key.jwk.kid)
                  }
                  save(set, real, true)
                  // By the feed, at once.
                  for (const index of known.keys()) known[index] = set
                }
                known[node] = stored
              }
              const active = activeKey(known[node]!, clock)
              if (active?.jwk.d === undefined) faults.push('no key signs')
              const { kid } = active!.jwk
              lastUsed.set(kid, real)
              if (!emergency.has(kid)) {
                const ahead = real - publishedAt.get(kid)!
                if (ahead < quick.minAheadMs - 2 * SKEW) faults.push(`used after ${ahead}`)
                const strangers = known.filter((set) => !kids(set).includes(kid))
                if (strangers.length > 0) faults.push('a node does not know it')
              }
              // Whatever a node signs with, the store has not dropped.
              if (!kids(stored).includes(kid)) faults.push('dropped while it signs')
            }
          }
          expect(faults).toEqual([])
        },
      ),
      { numRuns: 30 },
    )
  }, 120_000)
})
