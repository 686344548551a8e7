import { describe, expect, it } from '@jest/globals'
import { LocalCounters } from '../../lib/local-counters.ts'

const MINUTE = 60_000

function open(maxCounters?: number) {
  const clock = { now: 1_000_000 }
  return { clock, counters: new LocalCounters(() => clock.now, maxCounters) }
}

describe('LocalCounters', () => {
  it('adds up within a window that begins with the first take', () => {
    const { clock, counters } = open()
    expect(counters.take('a', 1, MINUTE)).toEqual({ used: 1, resetsInMs: MINUTE })
    clock.now += 1000
    expect(counters.take('a', 2, MINUTE)).toEqual({ used: 3, resetsInMs: 59_000 })
    expect(counters.take('b', 1, MINUTE)).toEqual({ used: 1, resetsInMs: MINUTE })
    clock.now += 59_000
    expect(counters.take('a', 1, MINUTE)).toEqual({ used: 1, resetsInMs: MINUTE })
  })

  it('never goes below nothing', () => {
    const { counters } = open()
    counters.take('a', 2, MINUTE)
    expect(counters.take('a', -1, MINUTE)).toMatchObject({ used: 1 })
    expect(counters.take('a', -5, MINUTE)).toMatchObject({ used: 0 })
    expect(counters.take('new', -1, MINUTE)).toMatchObject({ used: 0 })
    expect(counters.take('a', 1, MINUTE)).toMatchObject({ used: 1 })
  })

  it('reads without taking', () => {
    const { clock, counters } = open()
    expect(counters.find('a')).toBeUndefined()
    expect(counters.size).toBe(0)
    counters.take('a', 3, MINUTE)
    clock.now += 1000
    expect(counters.find('a')).toEqual({ used: 3, resetsInMs: 59_000 })
    clock.now += 59_000
    expect(counters.find('a')).toBeUndefined()
    expect(counters.size).toBe(0)
  })

  it('holds nobody for as long as the clock was set back', () => {
    const { clock, counters } = open()
    counters.take('a', 3, MINUTE)
    clock.now -= 10 * MINUTE
    expect(counters.find('a')).toBeUndefined()
    expect(counters.take('a', 1, MINUTE)).toEqual({ used: 1, resetsInMs: MINUTE })
  })

  it('is bounded: the oldest gives way, and what began anew is young', () => {
    const { clock, counters } = open(3)
    for (const key of ['a', 'b', 'c']) counters.take(key, 1, MINUTE)
    clock.now += MINUTE
    counters.take('a', 1, MINUTE)
    counters.take('d', 1, MINUTE)
    expect(counters.size).toBe(3)
    expect(counters.take('a', 1, MINUTE)).toMatchObject({ used: 2 })
    for (let key = 0; key < 1000; key++) counters.take(`${key}`, 1, MINUTE)
    expect(counters.size).toBe(3)
  })
})
