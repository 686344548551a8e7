import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals'
import type { BlindCause, FeedFollowerOptions, FeedPageRead } from '../../lib/feed.ts'
import { FeedFollower } from '../../lib/feed.ts'
import type { FeedEntry, FeedPage, FeedReadInput } from '../../lib/store.ts'

const REVOKED = Infinity
const RETENTION = 600_000
const STALENESS = 5000
const SKEW = 30_000
const DEADLINE = 250
const WAIT = 500
const PAUSE = 20
const MAX_BACKOFF = 1000

interface Question extends FeedReadInput {
  readonly answer: (page: FeedPage) => void
  readonly fail: (error: unknown) => void
}

/** A feed that answers when the test says so. */
class ScriptedFeed {
  readonly asked: Question[] = []
  #answered = 0

  async read(input: FeedReadInput): Promise<FeedPage> {
    return new Promise((answer, fail) => {
      this.asked.push({ ...input, answer, fail })
    })
  }

  /** The question that is open. */
  get open(): Question {
    const question = this.asked.at(-1)
    if (question === undefined || this.asked.length === this.#answered) {
      throw new Error('nothing is asked')
    }
    return question
  }

  close(): Question {
    const { open } = this
    this.#answered = this.asked.length
    return open
  }
}

/** One follower with everything a test looks at. */
class Party {
  readonly feed = new ScriptedFeed()
  readonly at = { monotonic: 1000, wall: Date.UTC(2026, 5, 1) }
  readonly sights: (BlindCause | null)[] = []
  readonly errors: unknown[] = []
  readonly revokedAgain: string[] = []
  breaks = 0
  readonly follower: FeedFollower

  constructor(options: Partial<FeedFollowerOptions> = {}) {
    this.follower = new FeedFollower({
      read: async (input) => this.feed.read(input),
      revoke: async (sid) => this.revokedAgain.push(sid),
      retentionMs: RETENTION,
      maxStalenessMs: STALENESS,
      clockSkewMs: SKEW,
      deadlineMs: DEADLINE,
      clock: () => this.at.wall,
      monotonic: () => this.at.monotonic,
      onSight: (cause) => this.sights.push(cause),
      onBreak: () => this.breaks++,
      onError: (error) => this.errors.push(error),
      ...options,
    })
    this.follower.start()
    parties.push(this)
  }

  page(changes: Partial<FeedPageRead> = {}): FeedPageRead {
    return {
      entries: [],
      cursor: 'c1',
      more: false,
      complete: true,
      rolledBack: false,
      now: this.at.wall,
      ...changes,
    }
  }

  /** Answers the open question and lets the follower ask the next. */
  async answer(changes: Partial<FeedPageRead> = {}): Promise<void> {
    this.feed.close().answer(this.page(changes))
    await jest.advanceTimersByTimeAsync(PAUSE)
  }

  /** Fails the open question and waits for the next. */
  async fail(error: unknown = new Error('the store is down')): Promise<void> {
    this.feed.close().fail(error)
    const asked = this.feed.asked.length
    for (let waited = 0; this.feed.asked.length === asked && waited <= MAX_BACKOFF; waited += 5) {
      await jest.advanceTimersByTimeAsync(5)
    }
  }

  /** Lets time pass on both clocks of this node. */
  pass(ms: number): void {
    this.at.monotonic += ms
    this.at.wall += ms
  }
}

const parties: Party[] = []

function revoked(...sids: readonly string[]): FeedEntry[] {
  return sids.map((sid) => ({ sid, ver: REVOKED }))
}

async function openLoaded(options: Partial<FeedFollowerOptions> = {}): Promise<Party> {
  const party = new Party(options)
  await party.answer()
  expect(party.follower.blindness()).toBeNull()
  return party
}

beforeEach(() => {
  jest.useFakeTimers({
    doNotFake: ['Date', 'performance', 'nextTick', 'queueMicrotask', 'setImmediate', 'hrtime'],
  })
})

afterEach(async () => {
  for (const party of parties.splice(0)) await party.follower.close()
  expect(jest.getTimerCount()).toBe(0)
  jest.useRealTimers()
  // A rejection that nobody handles fails the test it comes up in.
  await new Promise(setImmediate)
})

describe('a follower that starts', () => {
  it('is blind and not ready until all that is retained is loaded', async () => {
    const party = new Party()
    const { feed, follower, sights } = party
    let ready = false
    void follower.ready.then(() => (ready = true))
    expect(follower.blindness()).toBe('starting')
    expect(follower.stalenessMs()).toBe(Infinity)
    expect(feed.open).toMatchObject({ cursor: null, waitMs: 0 })

    await party.answer({ entries: revoked('a'), cursor: 'c1', more: true })
    expect(follower.blindness()).toBe('starting')
    expect(follower.isRevoked('a')).toBe(true)
    expect(feed.open).toMatchObject({ cursor: 'c1', waitMs: 0 })
    expect(ready).toBe(false)
    expect(sights).toEqual([])

    await party.answer({ entries: revoked('b'), cursor: 'c2' })
    expect(ready).toBe(true)
    expect(follower.blindness()).toBeNull()
    expect(follower.isRevoked('b')).toBe(true)
    expect(feed.open).toMatchObject({ cursor: 'c2', waitMs: WAIT })
    expect(sights).toEqual([null])
    expect(party.breaks).toBe(0)
  })

  it('follows once, however often it is started', async () => {
    const { follower, feed } = await openLoaded()
    follower.start()
    follower.start()
    await jest.advanceTimersByTimeAsync(100)
    expect(feed.asked).toHaveLength(2)
  })

  it('keeps what was heard before it started', async () => {
    const feed = new ScriptedFeed()
    const follower = new FeedFollower({
      read: async (input) => feed.read(input),
      revoke: async () => {},
      retentionMs: RETENTION,
      maxStalenessMs: STALENESS,
      clockSkewMs: SKEW,
      deadlineMs: DEADLINE,
      clock: () => 0,
      monotonic: () => 0,
    })
    follower.hear(revoked('early'))
    follower.start()
    const party = new Party()
    feed.open.answer(party.page({ now: 0 }))
    await jest.advanceTimersByTimeAsync(PAUSE)
    expect(follower.blindness()).toBeNull()
    expect(follower.isRevoked('early')).toBe(true)
    await follower.close()
  })

  it('stays blind while no read succeeds, and loads when one does', async () => {
    const party = new Party()
    await party.fail()
    expect(party.follower.blindness()).toBe('starting')
    expect(party.feed.open).toMatchObject({ cursor: null, waitMs: 0 })
    await party.answer()
    expect(party.follower.blindness()).toBeNull()
  })
})

describe('what a follower hears', () => {
  it('voids revoked sessions and versions older than heard', async () => {
    const party = await openLoaded()
    const { follower } = party
    await party.answer({ entries: [{ sid: 'changed', ver: 3 }, ...revoked('dead')] })
    expect(follower.oldestGoodVer('changed')).toBe(3)
    expect(follower.isRevoked('changed')).toBe(false)
    expect(follower.isRevoked('dead')).toBe(true)
    expect(follower.oldestGoodVer('dead')).toBe(REVOKED)
    expect(follower.oldestGoodVer('unheard')).toBe(0)
    expect(follower.isRevoked('unheard')).toBe(false)
    expect(follower.heardCount).toBe(2)
  })

  it.each<[string, number[], number]>([
    ['duplicates', [2, 2, 2], 2],
    ['versions out of order', [3, 1, 2], 3],
    ['a change after the revocation', [1, REVOKED, 2], REVOKED],
    ['a revocation twice', [REVOKED, REVOKED], REVOKED],
    ['version 0', [0], 0],
  ])('is the highest version of %s', async (_, versions, expected) => {
    const party = await openLoaded()
    await party.answer({ entries: versions.map((ver) => ({ sid: 'a', ver })) })
    expect(party.follower.oldestGoodVer('a')).toBe(expected)
  })

  it('applies at once when this node made the change itself', async () => {
    const { follower } = await openLoaded()
    follower.hear([{ sid: 'changed', ver: 1 }, ...revoked('dead')])
    expect(follower.isRevoked('dead')).toBe(true)
    expect(follower.oldestGoodVer('changed')).toBe(1)
  })

  it('gathers for a moment after news, and is asked for at once after none', async () => {
    const party = await openLoaded()
    const { feed } = party
    feed.close().answer(party.page({ entries: revoked('a') }))
    await jest.advanceTimersByTimeAsync(PAUSE - 1)
    const asked = feed.asked.length
    await jest.advanceTimersByTimeAsync(1)
    expect(feed.asked).toHaveLength(asked + 1)
    party.pass(WAIT)
    feed.close().answer(party.page())
    await jest.advanceTimersByTimeAsync(0)
    expect(feed.asked).toHaveLength(asked + 2)
  })

  it('is kept for the retention at least, and forgotten after twice of it', async () => {
    const party = await openLoaded()
    party.pass(RETENTION / 3)
    party.follower.hear(revoked('a'))
    for (let waited = 0; waited < RETENTION; waited += RETENTION / 10) {
      expect(party.follower.isRevoked('a')).toBe(true)
      party.pass(RETENTION / 10)
      await party.answer()
    }
    expect(party.follower.isRevoked('a')).toBe(true)
    for (let waited = 0; waited < RETENTION; waited += RETENTION / 10) {
      party.pass(RETENTION / 10)
      await party.answer()
    }
    expect(party.follower.isRevoked('a')).toBe(false)
    expect(party.follower.heardCount).toBe(0)
  })

  it('is kept when the wall clock jumps: only the monotonic one counts', async () => {
    const party = await openLoaded()
    party.follower.hear(revoked('a'))
    party.at.wall += 100 * RETENTION
    await party.answer()
    await party.answer()
    expect(party.follower.isRevoked('a')).toBe(true)
  })
})

describe('news of the signing keys', () => {
  it('is told once a page, and where something may have been lost', async () => {
    let told = 0
    const party = await openLoaded({ onKeys: () => told++ })
    await party.answer({ entries: revoked('one') })
    expect(told).toBe(0)
    const news = [2, 3].map((ver) => ({ sid: 'keys', ver }))
    await party.answer({ entries: [...revoked('two'), ...news] })
    expect(told).toBe(1)
    // Told again, as after a reconnect: what the version means is not the follower's to judge.
    await party.answer({ entries: news })
    expect(told).toBe(2)
    await party.answer({ rolledBack: true })
    expect(told).toBe(3)
    await party.answer({ complete: false })
    expect(told).toBe(4)
    expect(party.follower.isRevoked('keys')).toBe(false)
  })
})

describe('freshness', () => {
  it('ends after the longest staleness, to the millisecond', async () => {
    const { follower, ...party } = await openLoaded()
    party.at.monotonic += STALENESS
    expect(follower.blindness()).toBeNull()
    expect(follower.stalenessMs()).toBe(STALENESS)
    party.at.monotonic += 1
    expect(follower.blindness()).toBe('stale')
  })

  it.each(['monotonic', 'wall'] as const)(
    'counts from when the read was sent, not from its answer: %s',
    async (clock) => {
      const party = await openLoaded()
      party.at[clock] += 3000
      await party.answer()
      // Sent before those 3 s passed.
      expect(party.follower.stalenessMs()).toBe(3000)
      party.at[clock] += 2001
      expect(party.follower.blindness()).toBe('stale')
      await party.answer()
      expect(party.follower.stalenessMs()).toBe(2001)
      expect(party.follower.blindness()).toBeNull()
    },
  )

  it('ends on the wall clock where the monotonic one stood still, as in a paused machine', async () => {
    const party = await openLoaded()
    party.at.wall += STALENESS + 1
    expect(party.follower.blindness()).toBe('stale')
  })

  it('ends on the monotonic clock where the wall one was set back', async () => {
    const party = await openLoaded()
    party.at.wall -= 3_600_000
    party.at.monotonic += STALENESS + 1
    expect(party.follower.blindness()).toBe('stale')
    expect(party.follower.stalenessMs()).toBe(STALENESS + 1)
  })

  it.each([3_600_000, Infinity])(
    'reaches no further than now, whatever a reader says of time to come: %d',
    async (ahead) => {
      const party = await openLoaded()
      party.pass(10)
      await party.answer({ knownAt: party.at.monotonic + ahead })
      expect(party.follower.stalenessMs()).toBe(0)
      party.pass(STALENESS + 1)
      expect(party.follower.blindness()).toBe('stale')
    },
  )

  it('is not renewed by a page that is not the last', async () => {
    const party = await openLoaded()
    party.pass(STALENESS)
    await party.answer({ more: true, cursor: 'c2' })
    party.pass(1)
    expect(party.follower.blindness()).toBe('stale')
    expect(party.feed.open).toMatchObject({ cursor: 'c2', waitMs: 0 })
    await party.answer({ cursor: 'c3' })
    expect(party.follower.stalenessMs()).toBe(1)
  })

  it('is reported when it is lost and when it is back, once each, and lost sight is a break', async () => {
    const party = await openLoaded()
    party.pass(STALENESS + 1)
    await party.fail()
    await party.fail()
    expect(party.sights).toEqual([null, 'stale'])
    expect(party.breaks).toBe(1)
    await party.answer()
    expect(party.sights).toEqual([null, 'stale', null])
    expect(party.breaks).toBe(1)
  })
})

describe('a clock', () => {
  it.each([SKEW + 1, -SKEW - 1])(
    '%i ms away from the store makes blind, until it is mended',
    async (offset) => {
      const party = await openLoaded()
      await party.answer({ now: party.at.wall + offset })
      expect(party.follower.clockOffsetMs).toBe(offset)
      expect(party.follower.blindness()).toBe('clock')
      expect(party.sights).toEqual([null, 'clock'])
      await party.answer()
      expect(party.follower.blindness()).toBeNull()
    },
  )

  it.each([SKEW, -SKEW, 0])('%i ms away from the store is tolerated', async (offset) => {
    const party = await openLoaded()
    await party.answer({ now: party.at.wall + offset })
    expect(party.follower.blindness()).toBeNull()
  })
})

describe('a gap', () => {
  it('starts the feed over from its beginning, blind until it is walked', async () => {
    const party = await openLoaded()
    const { feed, follower } = party
    await party.answer({ entries: revoked('from-the-gap'), cursor: 'c9', complete: false })
    expect(follower.blindness()).toBe('gap')
    expect(party.sights).toEqual([null, 'gap'])
    expect(party.breaks).toBeGreaterThanOrEqual(1)
    expect(follower.isRevoked('from-the-gap')).toBe(true)
    expect(feed.open).toMatchObject({ cursor: null, waitMs: 0 })

    await party.answer({ entries: revoked('a'), cursor: 'd1', more: true })
    expect(follower.blindness()).toBe('gap')
    expect(feed.open).toMatchObject({ cursor: 'd1', waitMs: 0 })
    await party.answer({ entries: revoked('b'), cursor: 'd2' })
    expect(follower.blindness()).toBeNull()
    expect(party.sights).toEqual([null, 'gap', null])
    expect(['a', 'b'].map((sid) => follower.isRevoked(sid))).toEqual([true, true])
    expect(feed.open).toMatchObject({ cursor: 'd2', waitMs: WAIT })
  })

  it('does not count as a completed read', async () => {
    const party = await openLoaded()
    party.pass(4000)
    await party.answer({ complete: false })
    expect(party.follower.stalenessMs()).toBe(4000)
  })

  it('does not forget what was heard before', async () => {
    const party = await openLoaded()
    party.follower.hear(revoked('old'))
    await party.answer({ complete: false })
    await party.answer()
    expect(party.follower.isRevoked('old')).toBe(true)
  })

  it('found again and again is no hot loop', async () => {
    let reads = 0
    const party = new Party({
      read: async ({ cursor }) => {
        if (++reads > 1000) return new Promise(() => {})
        return party.page({ complete: cursor === null })
      },
    })
    await jest.advanceTimersByTimeAsync(50 * PAUSE)
    expect(party.breaks).toBeGreaterThan(10)
    expect(reads).toBeLessThanOrEqual(60)
  })
})

describe('too much news', () => {
  it('makes blind for the retention', async () => {
    const party = await openLoaded()
    const { follower } = party
    const entries = Array.from({ length: 1_000_001 }, (_, at) => ({ sid: `${at}`, ver: 1 }))
    follower.hear(entries)
    expect(follower.blindness()).toBe('overflow')
    await party.answer()
    expect(party.sights).toEqual([null, 'overflow'])
    party.pass(RETENTION)
    await party.answer()
    await party.answer()
    expect(follower.blindness()).toBeNull()
  }, 60_000)
})

describe('a read', () => {
  it.each([
    ['that loads', 0, async () => new Party()],
    ['that waits', WAIT, async () => openLoaded()],
  ])('%s and hangs is given up at its deadline and sent again', async (_, waitMs, open) => {
    const { feed, errors } = await open()
    const { open: hung } = feed
    await jest.advanceTimersByTimeAsync(waitMs + DEADLINE - 1)
    expect(hung.signal.aborted).toBe(false)
    expect(errors).toHaveLength(0)
    const asked = feed.asked.length
    await jest.advanceTimersByTimeAsync(1)
    expect(hung.signal.aborted).toBe(true)
    expect(errors).toHaveLength(1)
    await jest.advanceTimersByTimeAsync(MAX_BACKOFF)
    expect(feed.asked.length).toBeGreaterThan(asked)
  })

  it('that answers after it was given up changes nothing, be it a page or a failure', async () => {
    const party = await openLoaded()
    const hung = party.feed.open
    await jest.advanceTimersByTimeAsync(WAIT + DEADLINE + MAX_BACKOFF)
    hung.answer(party.page({ entries: revoked('late'), cursor: 'late' }))
    const next = party.feed.open
    await jest.advanceTimersByTimeAsync(WAIT + DEADLINE + MAX_BACKOFF)
    next.fail(new Error('late'))
    await jest.advanceTimersByTimeAsync(0)
    expect(party.follower.isRevoked('late')).toBe(false)
    expect(party.feed.open.cursor).toBe('c1')
  })

  it('that fails is reported, and the next one comes later each time, up to a bound', async () => {
    const asked: number[] = []
    let now = 0
    const party = new Party({
      read: async () => {
        asked.push(now)
        throw new Error('down')
      },
    })
    for (; now < 30_000; now += 5) await jest.advanceTimersByTimeAsync(5)
    const pauses = asked.slice(1).map((at, index) => at - (asked[index] ?? 0))
    expect(party.errors).toHaveLength(asked.length)
    expect(Math.max(...pauses)).toBeLessThanOrEqual(MAX_BACKOFF + 5)
    expect(Math.min(...pauses.slice(5))).toBeGreaterThanOrEqual(MAX_BACKOFF / 2 - 5)
    expect(pauses[0]).toBeLessThanOrEqual(55)
    expect(party.follower.blindness()).toBe('starting')
  })

  it('that succeeds makes the next failure a first one again', async () => {
    const party = await openLoaded()
    for (let failure = 0; failure < 8; failure++) await party.fail()
    await party.answer()
    const asked = party.feed.asked.length
    party.feed.close().fail(new Error('down'))
    await jest.advanceTimersByTimeAsync(60)
    expect(party.feed.asked).toHaveLength(asked + 1)
  })

  it('that throws at once is a failure like any other', async () => {
    const party = new Party({
      read: () => {
        throw new Error('at once')
      },
    })
    await jest.advanceTimersByTimeAsync(100)
    expect(party.errors.length).toBeGreaterThan(0)
    expect(party.follower.blindness()).toBe('starting')
  })

  it('that never waits, though it was asked to, is no hot loop', async () => {
    let reads = 0
    const party = new Party({
      read: async () => {
        if (++reads > 1000) return new Promise(() => {})
        return party.page()
      },
    })
    await jest.advanceTimersByTimeAsync(50 * PAUSE)
    expect(party.follower.blindness()).toBeNull()
    expect(reads).toBeLessThanOrEqual(52)
  })

  it('keeps what it brought when a later one fails', async () => {
    const party = await openLoaded()
    await party.answer({ entries: revoked('a'), cursor: 'c7' })
    await party.fail()
    expect(party.follower.isRevoked('a')).toBe(true)
    expect(party.feed.open.cursor).toBe('c7')
  })
})

describe('a store that was rolled back', () => {
  const MINUTE = 60_000
  const SPREAD = 1000

  it('gets the revocations of the last minute again, each once, and older ones not', async () => {
    const party = await openLoaded()
    party.follower.hear(revoked('too-old'))
    party.pass(1)
    party.follower.hear(revoked('just-in'))
    party.pass(MINUTE / 2)
    await party.answer({ entries: [...revoked('by-feed', 'just-in'), { sid: 'changed', ver: 4 }] })
    party.pass(MINUTE / 2)
    party.follower.hear(revoked('last'))
    expect(party.revokedAgain).toEqual([])
    await party.answer({ rolledBack: true })
    await jest.advanceTimersByTimeAsync(SPREAD)
    expect(party.revokedAgain.toSorted()).toEqual(['by-feed', 'just-in', 'last'])
    expect(party.breaks).toBeGreaterThanOrEqual(1)
  })

  it('gets a revocation again that came with the very page that says so', async () => {
    const party = await openLoaded()
    await party.answer({ rolledBack: true, entries: revoked('a') })
    await jest.advanceTimersByTimeAsync(SPREAD)
    expect(party.revokedAgain).toEqual(['a'])
  })

  it('is given time: the nodes do not come all at once', async () => {
    const waits: number[] = []
    for (let node = 0; node < 8; node++) {
      const party = await openLoaded()
      party.follower.hear(revoked('a'))
      party.feed.close().answer(party.page({ rolledBack: true }))
      let waited = 0
      for (; party.revokedAgain.length === 0 && waited <= SPREAD; waited += 10) {
        await jest.advanceTimersByTimeAsync(10)
      }
      expect(party.revokedAgain).toEqual(['a'])
      waits.push(waited)
      await party.follower.close()
    }
    expect(new Set(waits).size).toBeGreaterThan(1)
  })

  it('that fails meanwhile is reported, and the others are ended all the same', async () => {
    const ended: string[] = []
    const party = await openLoaded({
      revoke: async (sid) => {
        if (sid === 'b') throw new Error('down')
        ended.push(sid)
      },
    })
    party.follower.hear(revoked('a', 'b', 'c'))
    await party.answer({ rolledBack: true })
    await jest.advanceTimersByTimeAsync(SPREAD)
    expect(ended).toEqual(['a', 'c'])
    // Its reads may have failed meanwhile, too.
    expect(party.errors).toContainEqual(new Error('down'))
  })

  it('is not touched any more once the follower is closed', async () => {
    const party = await openLoaded()
    party.follower.hear(revoked('a'))
    party.feed.close().answer(party.page({ rolledBack: true }))
    await jest.advanceTimersByTimeAsync(0)
    await party.follower.close()
    await jest.advanceTimersByTimeAsync(2 * SPREAD)
    expect(party.revokedAgain).toEqual([])
  })

  it('leaves what this node heard in force', async () => {
    const party = await openLoaded()
    party.follower.hear(revoked('a'))
    await party.answer({ rolledBack: true, complete: false })
    await party.answer({ entries: [] })
    expect(party.follower.isRevoked('a')).toBe(true)
  })
})

describe('close', () => {
  it('ends the wait of a read and resolves', async () => {
    const { follower, feed } = await openLoaded()
    const { open } = feed
    expect(open.signal.aborted).toBe(false)
    await follower.close()
    expect(open.signal.aborted).toBe(true)
  })

  it('reports no failure for the read it ended', async () => {
    const party = await openLoaded()
    await party.follower.close()
    expect(party.errors).toEqual([])
    expect(party.sights).toEqual([null])
  })

  it('ends a pause, and no read comes after it', async () => {
    const party = await openLoaded()
    party.feed.close().fail(new Error('down'))
    await jest.advanceTimersByTimeAsync(0)
    const asked = party.feed.asked.length
    await party.follower.close()
    await jest.advanceTimersByTimeAsync(10_000)
    expect(party.feed.asked).toHaveLength(asked)
  })

  it('makes who waits for it ready, though nothing was loaded', async () => {
    const { follower } = new Party()
    const { ready } = follower
    await follower.close()
    await expect(ready).resolves.toBeUndefined()
    expect(follower.blindness()).toBe('starting')
  })

  it('may come twice, before the start, and before a late start', async () => {
    const party = await openLoaded()
    await party.follower.close()
    await party.follower.close()
    party.follower.start()
    await jest.advanceTimersByTimeAsync(1000)
    expect(party.feed.asked.at(-1)?.signal.aborted).toBe(true)
  })
})

describe('the timers of a follower', () => {
  it('keep no process alive', async () => {
    jest.useRealTimers()
    const before = timeouts()
    const hung = new Party()
    const failing = new Party({ read: async () => Promise.reject(new Error('down')) })
    const news = new Party()
    news.feed.close().answer(news.page({ entries: revoked('a'), rolledBack: true }))
    await new Promise(setImmediate)
    expect(hung.feed.asked).toHaveLength(1)
    expect(failing.errors.length).toBeGreaterThan(0)
    expect(timeouts()).toBe(before)
    for (const party of parties.splice(0)) await party.follower.close()
    jest.useFakeTimers()
  })
})

/** Timers that keep this process alive. */
function timeouts(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
}
