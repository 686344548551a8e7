import { describe, expect, it } from '@jest/globals'
import { LocalCounters } from '../../lib/local-counters.ts'
import type { LimitState } from '../../lib/store.ts'
import type { Take } from '../../lib/store-limiter.ts'
import { createStoreLimiter } from '../../lib/store-limiter.ts'
import { memoryStore } from '../../stores/memory.ts'

const LIMIT = { max: 2, windowMs: 90_500 }

function open(take?: Take) {
  const failures: unknown[] = []
  const local = new LocalCounters(Date.now)
  const store = memoryStore({ clock: () => 0 })
  const limiter = createStoreLimiter({
    limit: LIMIT,
    take: take ?? (async (...input) => store.limit.take(...input)),
    insurance: (...input) => local.take(...input),
    onFailure: (error) => failures.push(error),
  })
  return { limiter, store, local, failures }
}

describe('a limiter on a store', () => {
  it('counts in the store, by the name it is given, also beyond the limit', async () => {
    const { limiter, store, failures } = open()
    for (const used of [1, 2, 3, 4]) {
      expect(await limiter.take('key')).toEqual({ used, resetsInMs: 90_500 })
    }
    expect(await store.limit.take('key', 0, 1)).toEqual({ used: 4, resetsInMs: 90_500 })
    expect(failures).toEqual([])
  })

  it('gives back what it took', async () => {
    const { limiter, store } = open()
    for (let taken = 0; taken < 3; taken++) await limiter.take('key')
    await limiter.giveBack('key')
    await limiter.giveBack('key')
    expect(await store.limit.take('key', 0, 1)).toMatchObject({ used: 1 })
  })

  it('says whether anything is counted, and leaves no long trace of having looked', async () => {
    const { limiter, store } = open()
    expect(await limiter.isCounted('key')).toBe(false)
    expect(await store.limit.take('key', 0, 1)).toMatchObject({ resetsInMs: 1000 })
    await limiter.take('other')
    expect(await limiter.isCounted('other')).toBe(true)
    await limiter.giveBack('other')
    expect(await limiter.isCounted('other')).toBe(false)
  })

  it('loses none of 100 parallel ones', async () => {
    const { limiter } = open()
    const states = await Promise.all(Array.from({ length: 100 }, async () => limiter.take('key')))
    const used = states.map((state) => state.used).toSorted((a, b) => a - b)
    expect(used).toEqual(Array.from({ length: 100 }, (_, index) => index + 1))
  })
})

describe('while the store does not answer', () => {
  const JUNK = [{ used: NaN, resetsInMs: 1 }, { used: 1, resetsInMs: NaN }, {}, null]
  const FAILURES: readonly (readonly [string, Take])[] = [
    ['rejects', async () => Promise.reject(new Error('down'))],
    [
      'throws',
      () => {
        throw new Error('down')
      },
    ],
    ...JUNK.map(
      (junk) => [`answers ${JSON.stringify(junk)}`, async () => junk as LimitState] as const,
    ),
  ]

  it.each(FAILURES)('and %s: it counts in this process', async (_, take) => {
    const { limiter, local, failures } = open(take)
    for (const used of [1, 2, 3]) expect(await limiter.take('key')).toMatchObject({ used })
    await limiter.giveBack('key')
    expect(await limiter.isCounted('key')).toBe(true)
    expect(local.find('key')).toMatchObject({ used: 2 })
    expect(failures).toHaveLength(5)
  })

  it('goes back to the store when it answers again', async () => {
    const store = memoryStore()
    let isDown = true
    const { limiter } = open(async (...input) => {
      if (isDown) throw new Error('down')
      return store.limit.take(...input)
    })
    await limiter.take('key')
    await limiter.take('key')
    isDown = false
    expect(await limiter.take('key')).toMatchObject({ used: 1 })
  })
})
