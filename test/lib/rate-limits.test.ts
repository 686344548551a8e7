import { describe, expect, it } from '@jest/globals'
import { createEvents } from '../../lib/events.ts'
import { parseRateLimits } from '../../lib/rate-limit-options.ts'
import { createRateLimits } from '../../lib/rate-limits.ts'

describe('a store that fails', () => {
  it('is asked once and not again at once: each round would wait for its own deadline', async () => {
    let asked = 0
    const limits = createRateLimits({
      settings: parseRateLimits({}),
      take: async () => {
        asked++
        throw new Error('silent')
      },
      clock: Date.now,
      events: createEvents({
        onEvent: undefined,
        append: async () => undefined,
        writtenWithChange: false,
        clock: Date.now,
      }),
    })
    const { loginPerNetwork, loginPerAccount } = limits
    const results = [
      await loginPerNetwork?.take(['a'], {}),
      await loginPerAccount?.take(['b'], {}),
      await loginPerNetwork?.take(['a'], {}),
    ]
    expect(results.map((state) => state?.used)).toEqual([1, 1, 2])
    expect(asked).toBe(1)
  })
})
