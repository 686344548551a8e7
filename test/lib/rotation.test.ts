import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import type { RotationPolicy, RotationRequest, RotationState } from '../../lib/rotation.ts'
import { decideRotation, isOver } from '../../lib/rotation.ts'

const ROTATED_AT = 1_000_000
const GRACE = 10_000
const LOST = 60_000

const STATE: RotationState = {
  seedHash: 'seed',
  generation: 100,
  rotatedAt: ROTATED_AT,
  attemptHash: 'attempt',
  rotatedBy: 'device',
  confirmed: false,
  idleDeadline: 5_000_000,
  absoluteDeadline: 9_000_000,
}
const REQUEST: RotationRequest = {
  seedHash: 'seed',
  generation: 100,
  attemptHash: 'another attempt',
  bindingHash: 'device',
}
const POLICY: RotationPolicy = { reuseGraceMs: GRACE, lostResponseWindowMs: LOST }

interface Case {
  readonly state?: Partial<RotationState>
  readonly request?: Partial<RotationRequest>
  readonly policy?: Partial<RotationPolicy>
  /** Milliseconds since the last rotation. */
  readonly age?: number
}

function decide({ state, request, policy, age = 0 }: Case): string {
  const decision = decideRotation(
    { ...STATE, ...state },
    { ...REQUEST, ...request },
    { ...POLICY, ...policy },
    ROTATED_AT + age,
  )
  const details = Object.entries(decision).map(([key, value]) => `${key} ${value}`)
  return details.join(', ').replace('outcome ', '')
}

const PREDECESSOR = { generation: 99 }
const SAME_ATTEMPT = { generation: 99, attemptHash: 'attempt' }
const IDLE_AGE = STATE.idleDeadline - ROTATED_AT
const ABSOLUTE_AGE = STATE.absoluteDeadline - ROTATED_AT

describe('decideRotation', () => {
  it('1: is gone when there is no session', () => {
    expect(decideRotation(null, REQUEST, POLICY, 0)).toEqual({ outcome: 'gone' })
  })

  it.each<[string, Case, string]>([
    // 1
    [
      'before the idle deadline',
      { age: IDLE_AGE - 1 },
      'rotated, generation 101, deviceChanged false',
    ],
    ['at the idle deadline', { age: IDLE_AGE }, 'gone'],
    ['after the idle deadline', { age: IDLE_AGE + 1 }, 'gone'],
    [
      'before the absolute deadline',
      { age: ABSOLUTE_AGE - 1, state: { idleDeadline: Infinity } },
      'rotated, generation 101, deviceChanged false',
    ],
    ['at the absolute deadline', { age: ABSOLUTE_AGE, state: { idleDeadline: Infinity } }, 'gone'],
    ['gone before the seed is looked at', { age: IDLE_AGE, request: { seedHash: 'x' } }, 'gone'],
    ['gone before reuse is looked at', { age: IDLE_AGE, request: { generation: 0 } }, 'gone'],
    ['gone before the attempt is looked at', { age: IDLE_AGE, request: SAME_ATTEMPT }, 'gone'],
    // 2
    ['another seed', { request: { seedHash: 'x' } }, 'invalid, cause seed'],
    ['another seed, old', { request: { seedHash: 'x', generation: 0 } }, 'invalid, cause seed'],
    [
      'another seed, same attempt',
      { request: { ...SAME_ATTEMPT, seedHash: 'x' } },
      'invalid, cause seed',
    ],
    ['another seed, ahead', { request: { seedHash: 'x', generation: 500 } }, 'invalid, cause seed'],
    // 3
    ['current', {}, 'rotated, generation 101, deviceChanged false'],
    [
      'current, same attempt',
      { request: { attemptHash: 'attempt' } },
      'rotated, generation 101, deviceChanged false',
    ],
    ['current, late', { age: LOST * 2 }, 'rotated, generation 101, deviceChanged false'],
    [
      'current, no windows',
      { policy: { reuseGraceMs: 0, lostResponseWindowMs: 0 } },
      'rotated, generation 101, deviceChanged false',
    ],
    [
      'current, another device',
      { request: { bindingHash: 'x' } },
      'rotated, generation 101, deviceChanged true',
    ],
    [
      'current, no device now',
      { request: { bindingHash: null } },
      'rotated, generation 101, deviceChanged true',
    ],
    [
      'current, no device before',
      { state: { rotatedBy: null } },
      'rotated, generation 101, deviceChanged true',
    ],
    [
      'current, no device ever',
      { state: { rotatedBy: null }, request: { bindingHash: null } },
      'rotated, generation 101, deviceChanged false',
    ],
    [
      'at login',
      { state: { generation: 0, attemptHash: null }, request: { generation: 0 } },
      'rotated, generation 1, deviceChanged false',
    ],
    // 4
    ['1 ahead', { request: { generation: 101 } }, 'recovered, generation 102, deviceChanged false'],
    [
      '16 ahead',
      { request: { generation: 116 } },
      'recovered, generation 117, deviceChanged false',
    ],
    [
      'ahead, another device',
      { request: { generation: 101, bindingHash: 'x' } },
      'recovered, generation 102, deviceChanged true',
    ],
    ['17 ahead', { request: { generation: 117 } }, 'invalid, cause ahead'],
    ['far ahead', { request: { generation: 2 ** 31 - 1 } }, 'invalid, cause ahead'],
    // 5
    ['same attempt', { request: SAME_ATTEMPT }, 'replayed, cause attempt'],
    ['same attempt, late', { request: SAME_ATTEMPT, age: IDLE_AGE - 1 }, 'replayed, cause attempt'],
    [
      'same attempt, no grace',
      { request: SAME_ATTEMPT, policy: { reuseGraceMs: 0 } },
      'replayed, cause attempt',
    ],
    [
      'same attempt, another device',
      { request: { ...SAME_ATTEMPT, bindingHash: 'x' } },
      'replayed, cause attempt',
    ],
    [
      'same attempt, confirmed',
      { request: SAME_ATTEMPT, state: { confirmed: true }, age: LOST },
      'replayed, cause attempt',
    ],
    [
      'same attempt, two behind',
      { request: { generation: 98, attemptHash: 'attempt' }, age: 5 },
      'reused, distance 2, ageMs 5',
    ],
    // 6
    ['within the grace', { request: PREDECESSOR }, 'replayed, cause grace'],
    [
      '1 ms before the end of the grace',
      { request: PREDECESSOR, age: GRACE - 1 },
      'replayed, cause grace',
    ],
    [
      'at the end of the grace',
      { request: PREDECESSOR, age: GRACE, policy: { lostResponseWindowMs: 0 } },
      'reused, distance 1, ageMs 10000',
    ],
    [
      '1 ms after the end of the grace',
      { request: PREDECESSOR, age: GRACE + 1, policy: { lostResponseWindowMs: 0 } },
      'reused, distance 1, ageMs 10001',
    ],
    [
      'within the grace, confirmed',
      { request: PREDECESSOR, state: { confirmed: true } },
      'replayed, cause grace',
    ],
    [
      'within the grace, another device',
      { request: { generation: 99, bindingHash: 'x' }, age: 1 },
      'reused, distance 1, ageMs 1',
    ],
    [
      'within the grace, no device now',
      { request: { generation: 99, bindingHash: null } },
      'reused, distance 1, ageMs 0',
    ],
    [
      'within the grace, no device before',
      { request: PREDECESSOR, state: { rotatedBy: null } },
      'reused, distance 1, ageMs 0',
    ],
    [
      'within the grace, no device ever',
      { request: { generation: 99, bindingHash: null }, state: { rotatedBy: null } },
      'replayed, cause grace',
    ],
    [
      'within the grace, two behind',
      { request: { generation: 98 } },
      'reused, distance 2, ageMs 0',
    ],
    [
      'no grace',
      { request: PREDECESSOR, policy: { reuseGraceMs: 0, lostResponseWindowMs: 0 } },
      'reused, distance 1, ageMs 0',
    ],
    [
      'no grace, a clock set back',
      { request: PREDECESSOR, age: -5, policy: { reuseGraceMs: 0, lostResponseWindowMs: 0 } },
      'reused, distance 1, ageMs 0',
    ],
    [
      'no attempt known',
      {
        request: PREDECESSOR,
        state: { attemptHash: null },
        age: GRACE,
        policy: { lostResponseWindowMs: 0 },
      },
      'reused, distance 1, ageMs 10000',
    ],
    // 7
    [
      'after the grace, within the window',
      { request: PREDECESSOR, age: GRACE },
      'replayed, cause lost_response',
    ],
    [
      'no grace, within the window',
      { request: PREDECESSOR, policy: { reuseGraceMs: 0 } },
      'replayed, cause lost_response',
    ],
    [
      '1 ms before the end of the window',
      { request: PREDECESSOR, age: LOST - 1 },
      'replayed, cause lost_response',
    ],
    [
      'at the end of the window',
      { request: PREDECESSOR, age: LOST },
      'reused, distance 1, ageMs 60000',
    ],
    [
      '1 ms after the end of the window',
      { request: PREDECESSOR, age: LOST + 1 },
      'reused, distance 1, ageMs 60001',
    ],
    [
      'within the window, confirmed',
      { request: PREDECESSOR, age: GRACE, state: { confirmed: true } },
      'reused, distance 1, ageMs 10000',
    ],
    [
      'within the window, another device',
      { request: { generation: 99, bindingHash: 'x' }, age: GRACE },
      'reused, distance 1, ageMs 10000',
    ],
    [
      'within the window, two behind',
      { request: { generation: 98 }, age: GRACE },
      'reused, distance 2, ageMs 10000',
    ],
    // 8
    [
      'the oldest ancestor',
      { request: { generation: 0 }, age: 3 },
      'reused, distance 100, ageMs 3',
    ],
  ])('%s (%j) is: %s', (_, input, expected) => {
    expect(decide(input)).toBe(expected)
  })

  it('changes neither the state nor the request', () => {
    const [state, request] = [Object.freeze({ ...STATE }), Object.freeze({ ...REQUEST })]
    expect(() => decideRotation(state, request, Object.freeze({ ...POLICY }), 0)).not.toThrow()
  })

  it('agrees with the table of the design, read row by row', () => {
    const name = fc.constantFrom('a', 'b')
    const instant = fc.integer({ min: 0, max: 30 })
    const state = fc.record({
      seedHash: name,
      generation: fc.integer({ min: 0, max: 40 }),
      rotatedAt: instant,
      attemptHash: fc.option(name),
      rotatedBy: fc.option(name),
      confirmed: fc.boolean(),
      idleDeadline: fc.integer({ min: 5, max: 60 }),
      absoluteDeadline: fc.integer({ min: 5, max: 60 }),
    })
    const request = fc.record({
      seedHash: fc.constantFrom('a', 'a', 'a', 'b'),
      attemptHash: name,
      bindingHash: fc.option(name),
      ahead: fc.constantFrom(-3, -2, -1, -1, -1, -1, 0, 0, 1, 15, 16, 17, 30),
    })
    const windowMs = fc.constantFrom(0, 0, 1, 5, 20)
    const policy = fc.record({ reuseGraceMs: windowMs, lostResponseWindowMs: windowMs })
    const elapsed = fc.integer({ min: 0, max: 40 })
    const seen = new Set<string>()
    fc.assert(
      fc.property(
        fc.option(state, { freq: 50 }),
        request,
        policy,
        elapsed,
        (stored, { ahead, ...presented }, windows, passed) => {
          const token = { ...presented, generation: Math.max(0, (stored?.generation ?? 0) + ahead) }
          const now = (stored?.rotatedAt ?? 0) + passed
          const { outcome, cause } = oracle(stored, token, windows, now)
          seen.add(`${outcome} ${cause ?? ''}`.trim())
          const decision = decideRotation(stored, token, windows, now)
          expect(decision.outcome).toBe(outcome)
          expect('cause' in decision ? decision.cause : undefined).toBe(cause)
          if ('generation' in decision) expect(decision.generation).toBe(token.generation + 1)
        },
      ),
      { numRuns: 5000 },
    )
    expect([...seen].toSorted()).toEqual([
      'gone',
      'invalid ahead',
      'invalid seed',
      'recovered',
      'replayed attempt',
      'replayed grace',
      'replayed lost_response',
      'reused',
      'rotated',
    ])
  })
})

/** The rows of the table, each by itself and in its order; slow and plain. */
function oracle(
  stored: RotationState | null,
  token: RotationRequest,
  { reuseGraceMs, lostResponseWindowMs }: RotationPolicy,
  now: number,
): { outcome: string; cause?: string } {
  if (stored === null) return { outcome: 'gone' }
  const { generation: current, rotatedAt, confirmed } = stored
  const isPredecessor = token.generation + 1 === current
  const isSameDevice = [token.bindingHash, stored.rotatedBy].every(
    (one, _, both) => one === both[0],
  )
  const ahead = Array.from({ length: 16 }, (_, index) => current + index + 1)
  const isWithin = (windowMs: number): boolean => rotatedAt + windowMs > now
  const rows: readonly [boolean, { outcome: string; cause?: string }][] = [
    [stored.idleDeadline <= now, { outcome: 'gone' }],
    [stored.absoluteDeadline <= now, { outcome: 'gone' }],
    [!(token.seedHash === stored.seedHash), { outcome: 'invalid', cause: 'seed' }],
    [token.generation === current, { outcome: 'rotated' }],
    [ahead.includes(token.generation), { outcome: 'recovered' }],
    [token.generation > current, { outcome: 'invalid', cause: 'ahead' }],
    [
      isPredecessor && stored.attemptHash === token.attemptHash,
      { outcome: 'replayed', cause: 'attempt' },
    ],
    [
      isPredecessor && isSameDevice && isWithin(reuseGraceMs),
      { outcome: 'replayed', cause: 'grace' },
    ],
    [
      isPredecessor && isSameDevice && isWithin(lostResponseWindowMs) && !confirmed,
      { outcome: 'replayed', cause: 'lost_response' },
    ],
  ]
  return rows.find(([matches]) => matches)?.[1] ?? { outcome: 'reused' }
}

describe('isOver', () => {
  it.each([
    [99, false],
    [100, true],
    [101, true],
  ])('with a deadline at 100 is at %i: %p', (now, over) => {
    expect(isOver({ idleDeadline: 100, absoluteDeadline: 200 }, now)).toBe(over)
    expect(isOver({ idleDeadline: 200, absoluteDeadline: 100 }, now)).toBe(over)
  })
})
