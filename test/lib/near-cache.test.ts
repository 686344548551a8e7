import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import { HeardSet, REVOKED } from '../../lib/heard-set.ts'
import type { NearCacheFeed } from '../../lib/near-cache.ts'
import { NearCache } from '../../lib/near-cache.ts'
import { drawSeed, hashSeed } from '../../lib/session-id.ts'
import type { Lifetimes, SessionRecord } from '../../lib/session.ts'
import { openRecord, TOUCH_INTERVAL_MS } from '../../lib/session.ts'

const NOW = Date.UTC(2026, 5, 1)
const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const LIFETIMES: Lifetimes = { idleTimeoutMs: 7 * DAY, absoluteTimeoutMs: 30 * DAY }
const SEED_HASH = hashSeed(drawSeed())

/** What a node hears, in the hands of the test. */
class Feed implements NearCacheFeed {
  readonly heard = new HeardSet(HOUR, 1000, () => 0)
  blind: string | null = null
  clockOffsetMs = 0

  blindness(): string | null {
    return this.blind
  }

  isRevoked(sid: string): boolean {
    return this.heard.versionOf(sid) === REVOKED
  }

  oldestGoodVer(sid: string): number {
    return this.heard.versionOf(sid) ?? 0
  }
}

/** A store's answer that comes when the test says so. */
class Answer {
  readonly #promise: Promise<SessionRecord>
  give: (session: SessionRecord) => void = () => {}
  fail: (error: Error) => void = () => {}

  constructor() {
    this.#promise = new Promise((resolve, reject) => {
      this.give = resolve
      this.fail = reject
    })
  }

  readonly ask = async (): Promise<SessionRecord> => this.#promise
}

/** A near cache, its feed, and the node's clock. */
function open(maxSessions = 100) {
  const feed = new Feed()
  const at = { now: NOW }
  const cache = new NearCache({
    feed,
    maxSessions,
    idleTimeoutMs: 7 * 86_400_000,
    clock: () => at.now,
  })
  /** A session that was opened at this moment. */
  const record = (
    sid: string,
    changes: Partial<SessionRecord> = {},
    lifetimes: Lifetimes = LIFETIMES,
  ): SessionRecord => ({
    ...sessionAt(sid, at.now + feed.clockOffsetMs, lifetimes),
    ...changes,
  })
  const fill = async (session: SessionRecord) => cache.fill(async () => session)
  return { feed, at, cache, record, fill }
}

type Party = ReturnType<typeof open>

function sessionAt(sid: string, now: number, lifetimes: Lifetimes): SessionRecord {
  const session = {
    sid,
    user: { tenant: '', id: 'alice' },
    seedHash: SEED_HASH,
    attributes: { roles: ['admin'], scope: [], level: null, amr: [], claims: { plan: { a: 1 } } },
    bindingHash: null,
    device: { label: null, ip: null },
    remember: true,
    data: { cart: ['one'] },
  }
  return openRecord(session, lifetimes, now)
}

describe('a near cache', () => {
  it('gives what it was filled with, for that session only', async () => {
    const { cache, record, fill } = open()
    expect(cache.find('a')).toBeUndefined()
    const session = record('a')
    expect(await fill(session)).toEqual(session)
    expect(cache.find('a')).toEqual(session)
    expect(cache.find('a')).toEqual(session)
    for (const sid of ['b', '', '__proto__', 'constructor']) {
      expect(cache.find(sid)).toBeUndefined()
    }
    expect(cache.size).toBe(1)
  })

  it('has room of its own: two caches share nothing', async () => {
    const one = open()
    await one.fill(one.record('a'))
    expect(open().cache.find('a')).toBeUndefined()
  })

  it('gives the newer of two answers', async () => {
    const { cache, record, fill } = open()
    await fill(record('a', { ver: 1 }))
    await fill(record('a', { ver: 2 }))
    expect(cache.find('a')).toMatchObject({ ver: 2 })
    expect(cache.size).toBe(1)
  })

  it('gives the newer of two answers in two generations', async () => {
    const { cache, record, fill } = open(4)
    await fill(record('a', { ver: 1 }))
    for (const sid of ['b', 'c']) await fill(record(sid))
    await fill(record('a', { ver: 2 }))
    expect(cache.find('a')).toMatchObject({ ver: 2 })
    expect(cache.size).toBe(4)
  })

  it('keeps nothing of a question that failed, and passes the failure on', async () => {
    const { cache, record, fill } = open()
    const failure = new Error('the store is down')
    await expect(cache.fill(async () => Promise.reject(failure))).rejects.toBe(failure)
    expect(cache.size).toBe(0)
    const throwing = async () =>
      cache.fill(() => {
        throw failure
      })
    await expect(throwing()).rejects.toBe(failure)
    expect(cache.size).toBe(0)
    await fill(record('a'))
    expect(cache.find('a')).toBeDefined()
  })

  it('is not changed by who changes what it gave', async () => {
    const { cache, record, fill } = open()
    const fromStore = await fill(record('a'))
    const fromCache = cache.find('a')
    for (const given of [fromStore, fromCache]) {
      const { attributes, data, device, user } = given as unknown as Writable
      const changes = [
        () => attributes.roles.push('root'),
        () => (attributes.claims.plan.a = 2),
        () => data.cart.push('two'),
        () => (device.label = 'mine'),
        () => (user.id = 'root'),
      ]
      for (const change of changes) {
        expect(change).toThrow(TypeError)
      }
    }
    expect(cache.find('a')).toEqual(record('a'))
  })
})

interface Writable {
  attributes: { roles: string[]; claims: { plan: { a: number } } }
  data: { cart: string[] }
  device: { label: string }
  user: { id: string }
}

describe('what was heard', () => {
  it('of a revocation: a miss at once, and for good', async () => {
    const { cache, feed, record, fill } = open()
    await fill(record('a'))
    await fill(record('b'))
    feed.heard.hear({ sid: 'a', ver: REVOKED })
    expect(cache.find('a')).toBeUndefined()
    expect(cache.find('b')).toBeDefined()
    await fill(record('a', { ver: Number.MAX_SAFE_INTEGER }))
    expect(cache.find('a')).toBeUndefined()
  })

  it('of newer attributes: a miss, until they are read', async () => {
    const { cache, feed, record, fill } = open()
    await fill(record('a', { ver: 3 }))
    feed.heard.hear({ sid: 'a', ver: 3 })
    expect(cache.find('a')).toMatchObject({ ver: 3 })
    feed.heard.hear({ sid: 'a', ver: 4 })
    expect(cache.find('a')).toBeUndefined()
    await fill(record('a', { ver: 3 }))
    expect(cache.find('a')).toBeUndefined()
    await fill(record('a', { ver: 4 }))
    expect(cache.find('a')).toMatchObject({ ver: 4 })
    await fill(record('a', { ver: 5 }))
    expect(cache.find('a')).toMatchObject({ ver: 5 })
  })

  it('is not undone by an answer that took its time: the newer one stays away, too', async () => {
    const { cache, feed, record, fill } = open()
    const slow = new Answer()
    const filling = cache.fill(slow.ask)
    await fill(record('a', { ver: 1 }))
    feed.heard.hear({ sid: 'a', ver: 1 })
    slow.give(record('a', { ver: 0 }))
    expect(await filling).toMatchObject({ ver: 0 })
    expect(cache.find('a')).not.toMatchObject({ ver: 0 })
  })
})

describe('news and an answer that is under way', () => {
  const news: [name: string, arrive: (party: Party) => void][] = [
    ['a revocation', ({ feed }) => feed.heard.hear({ sid: 'a', ver: REVOKED })],
    ['newer attributes', ({ feed }) => feed.heard.hear({ sid: 'a', ver: 1 })],
    ['a break', ({ cache }) => cache.clear()],
    ['a change by this node', ({ cache }) => cache.drop('a')],
    ['blindness', ({ feed }) => (feed.blind = 'stale')],
  ]

  it.each(news)('%s comes first: the answer is given, not kept', async (_, arrive) => {
    const party = open()
    const { cache, record } = party
    const answer = new Answer()
    const filling = cache.fill(answer.ask)
    arrive(party)
    answer.give(record('a'))
    expect(await filling).toMatchObject({ sid: 'a' })
    expect(cache.find('a')).toBeUndefined()
    expect(cache.size).toBe(0)
  })

  it.each(news)('the answer comes first, then %s: no hit', async (_, arrive) => {
    const party = open()
    const { cache, record } = party
    const answer = new Answer()
    const filling = cache.fill(answer.ask)
    answer.give(record('a'))
    await filling
    expect(cache.find('a')).toBeDefined()
    arrive(party)
    expect(cache.find('a')).toBeUndefined()
  })

  it.each(news)('%s comes between two questions: both answers are voided', async (_, arrive) => {
    const party = open()
    const { cache, record } = party
    const [one, two] = [new Answer(), new Answer()]
    const filling = [cache.fill(one.ask), cache.fill(two.ask)]
    arrive(party)
    two.give(record('a'))
    one.give(record('a'))
    await Promise.all(filling)
    expect(cache.find('a')).toBeUndefined()
    expect(cache.size).toBe(0)
  })

  it.each(news.slice(2, 4))('what is asked after %s is kept again', async (_, arrive) => {
    const party = open()
    const { cache, record, fill } = party
    arrive(party)
    await fill(record('a'))
    expect(cache.find('a')).toBeDefined()
  })

  it('a break that comes and goes while the store answers is still a break', async () => {
    const { cache, feed, record } = open()
    const answer = new Answer()
    const filling = cache.fill(answer.ask)
    feed.blind = 'gap'
    cache.clear()
    feed.blind = null
    answer.give(record('a'))
    await filling
    expect(cache.find('a')).toBeUndefined()
  })

  it('a drop forgets one session, whichever generation it is in', async () => {
    const { cache, record, fill } = open(4)
    for (const sid of ['a', 'b', 'c']) await fill(record(sid))
    cache.drop('a')
    cache.drop('c')
    expect(['a', 'b', 'c'].map((sid) => cache.find(sid)?.sid)).toEqual([undefined, 'b', undefined])
  })

  it('a break forgets all, whichever generation they are in', async () => {
    const { cache, record, fill } = open(4)
    for (const sid of ['a', 'b', 'c']) await fill(record(sid))
    cache.clear()
    expect(['a', 'b', 'c'].map((sid) => cache.find(sid))).toEqual([undefined, undefined, undefined])
    expect(cache.size).toBe(0)
  })
})

describe('a blind node', () => {
  it.each(['starting', 'stale', 'gap', 'clock', 'overflow'])(
    '%s: no hit, no fill',
    async (cause) => {
      const { cache, feed, record, fill } = open()
      await fill(record('a'))
      feed.blind = cause
      expect(cache.find('a')).toBeUndefined()
      expect(await fill(record('b'))).toMatchObject({ sid: 'b' })
      expect(cache.size).toBe(1)
      // This is what the follower does when it loses its sight.
      cache.clear()
      feed.blind = null
      expect(cache.find('a')).toBeUndefined()
      expect(cache.find('b')).toBeUndefined()
      await fill(record('a'))
      expect(cache.find('a')).toBeDefined()
    },
  )
})

describe('an entry ends', () => {
  const OFFSETS = [0, 1, -1, 20 * SECOND, -20 * SECOND, 45 * MINUTE, -45 * MINUTE]

  const ENDS = [true, false, false]

  /** Whether it is a hit one millisecond before that age, at it, and one after. */
  async function hitsAround(
    lifeMs: number,
    offsetMs: number,
    make: (record: Party['record']) => SessionRecord,
  ): Promise<boolean[]> {
    const { cache, at, feed, record, fill } = open()
    feed.clockOffsetMs = offsetMs
    await fill(make(record))
    return [-1, 0, 1].map((ms) => {
      at.now = NOW + lifeMs + ms
      return cache.find('a') !== undefined
    })
  }

  it.each(OFFSETS)('when the touch is due, store %i ms ahead', async (offset) => {
    const seen = (agoMs: number) => (record: Party['record']) =>
      record('a', { lastSeenAt: NOW + offset - agoMs })
    expect(await hitsAround(TOUCH_INTERVAL_MS, offset, seen(0))).toEqual(ENDS)
    expect(await hitsAround(35 * SECOND, offset, seen(25 * SECOND))).toEqual(ENDS)
    expect(await hitsAround(1, offset, seen(MINUTE - 1))).toEqual(ENDS)
  })

  it.each(OFFSETS)('at the idle deadline, store %i ms ahead', async (offset) => {
    const lifetimes = { idleTimeoutMs: 20 * SECOND, absoluteTimeoutMs: DAY }
    expect(await hitsAround(20 * SECOND, offset, (record) => record('a', {}, lifetimes))).toEqual(
      ENDS,
    )
  })

  it.each(OFFSETS)('at the absolute deadline, store %i ms ahead', async (offset) => {
    const lifetimes = { idleTimeoutMs: 10 * SECOND, absoluteTimeoutMs: 10 * SECOND }
    expect(await hitsAround(10 * SECOND, offset, (record) => record('a', {}, lifetimes))).toEqual(
      ENDS,
    )
    // Whatever the record says of idleness.
    const absoluteDeadline = NOW + offset + 7 * SECOND
    expect(
      await hitsAround(7 * SECOND, offset, (record) => record('a', { absoluteDeadline })),
    ).toEqual(ENDS)
  })

  it('where the store says it does, also when that is learnt only later', async () => {
    const { cache, at, feed, record, fill } = open()
    await fill(record('a'))
    at.now += 50 * SECOND
    feed.clockOffsetMs = 10 * SECOND - 1
    expect(cache.find('a')).toBeDefined()
    feed.clockOffsetMs = 10 * SECOND
    expect(cache.find('a')).toBeUndefined()
  })

  it('before it began, when the answer is that old', async () => {
    const { cache, record, fill } = open()
    await fill(record('a', { lastSeenAt: NOW - MINUTE }))
    await fill(record('b', { idleDeadline: NOW }))
    await fill(record('c', { absoluteDeadline: NOW }))
    expect(cache.size).toBe(0)
  })

  it('and begins anew with the next answer', async () => {
    const { cache, at, record, fill } = open()
    await fill(record('a'))
    at.now += MINUTE
    await fill(record('a'))
    at.now += MINUTE - 1
    expect(cache.find('a')).toBeDefined()
  })
})

describe('its bound', () => {
  it.each([1, 2, 3, 4, 5, 10, 11])('of %i is kept whatever comes', async (max) => {
    const { cache, record, fill } = open(max)
    const recent: string[] = []
    for (let index = 0; index < 60; index++) {
      // Some come again.
      const sid = `s${index % 7 === 0 ? Math.floor(index / 2) : index}`
      await fill(record(sid))
      expect(cache.size).toBeLessThanOrEqual(max)
      recent.push(sid)
      // Half of it at least is of use.
      for (const kept of recent.slice(-Math.max(1, Math.floor(max / 2)))) {
        expect(cache.find(kept)).toBeDefined()
      }
    }
  })

  it('counts a session once, however often it is read', async () => {
    const { cache, record, fill } = open(2)
    await fill(record('a'))
    for (let times = 0; times < 5; times++) await fill(record('b'))
    expect(cache.find('a')).toBeDefined()
    expect(cache.find('b')).toBeDefined()
  })

  it('is filled from end to end before anything goes', async () => {
    const { cache, record, fill } = open(10)
    const sids = Array.from({ length: 10 }, (_, index) => `s${index}`)
    for (const sid of sids) await fill(record(sid))
    expect(sids.filter((sid) => cache.find(sid) === undefined)).toEqual([])
    expect(cache.size).toBe(10)
  })

  it('what is asked for survives one turn, and is read again after the second', async () => {
    const { cache, record, fill } = open(4)
    await fill(record('a'))
    await fill(record('b'))
    for (const sid of ['c', 'd']) {
      await fill(record(sid))
      expect(cache.find('a')).toBeDefined()
    }
    // A hit reorders nothing: the price is one question more to the store.
    await fill(record('e'))
    expect(cache.find('a')).toBeUndefined()
    expect(cache.find('d')).toBeDefined()
  })
})

describe('whatever comes in whatever order', () => {
  const SIDS = ['a', 'b', 'c'] as const
  type Sid = (typeof SIDS)[number]

  /** A question that is under way. */
  interface Question {
    readonly sid: Sid
    readonly number: number
    readonly answer: Answer
    /** What the store read; it reads before it answers. */
    read?: SessionRecord | null
    readonly filling: Promise<unknown>
  }

  /** A store, its feed and a near cache, and what no hit may contradict. */
  class World {
    readonly party = open(50)
    readonly #rows = new Map<Sid, SessionRecord | null>(
      SIDS.map((sid) => [sid, this.party.record(sid)]),
    )
    readonly #questions: Question[] = []
    #asked = 0
    /** Of the answers, only those to questions after this one may be here. */
    #voidedTo = 0
    readonly #dropped = new Map<Sid, number>()
    hits = 0

    ask(sid: Sid): void {
      const answer = new Answer()
      const filling = this.party.cache.fill(answer.ask).catch(() => {})
      this.#questions.push({ sid, number: ++this.#asked, answer, filling })
    }

    /** The store reads for the nth open question. */
    read(nth: number): void {
      const question = this.#questions[nth % Math.max(1, this.#questions.length)]
      if (question === undefined || question.read !== undefined) return
      const row = this.#rows.get(question.sid) ?? null
      const now = this.party.at.now + this.party.feed.clockOffsetMs
      // The number of the question travels along, to be known again.
      const device = { label: String(question.number), ip: null }
      question.read = row && { ...row, device, lastSeenAt: now }
    }

    async answer(nth: number): Promise<void> {
      this.read(nth)
      const [question] = this.#questions.splice(nth % Math.max(1, this.#questions.length), 1)
      if (question === undefined) return
      const { read, answer, filling } = question
      if (read === undefined || read === null) answer.fail(new Error('the session is over'))
      else answer.give(read)
      await filling
    }

    /** Another node changes attributes; this one does not know yet. */
    change(sid: Sid): void {
      const row = this.#rows.get(sid)
      if (row) this.#rows.set(sid, { ...row, ver: row.ver + 1 })
    }

    revoke(sid: Sid): void {
      this.#rows.set(sid, null)
    }

    /** The feed says what is so by now. */
    hear(sid: Sid): void {
      this.party.feed.heard.hear({ sid, ver: this.#rows.get(sid)?.ver ?? REVOKED })
    }

    /** This node changes the app's data. */
    changeHere(sid: Sid): void {
      const row = this.#rows.get(sid)
      if (!row) return
      this.#rows.set(sid, { ...row, dataVer: row.dataVer + 1 })
      this.#dropped.set(sid, row.dataVer + 1)
      this.party.cache.drop(sid)
    }

    break(): void {
      this.#voidedTo = this.#asked
      this.party.cache.clear()
    }

    loseSight(): void {
      this.party.feed.blind = 'stale'
    }

    gainSight(): void {
      if (this.party.feed.blind === null) return
      this.break()
      this.party.feed.blind = null
    }

    pass(ms: number): void {
      this.party.at.now += ms
    }

    /** The store's clock turns out to be another. */
    learnOffset(ms: number): void {
      this.party.feed.clockOffsetMs = ms
    }

    /** Every hit is held against everything that is known. */
    look(): void {
      const { cache, feed, at } = this.party
      for (const sid of SIDS) {
        const found = cache.find(sid)
        if (found === undefined) continue
        this.hits++
        expect(found.sid).toBe(sid)
        expect(feed.blind).toBeNull()
        expect(feed.heard.versionOf(sid)).not.toBe(REVOKED)
        expect(found.ver).toBeGreaterThanOrEqual(feed.heard.versionOf(sid) ?? 0)
        expect(found.dataVer).toBeGreaterThanOrEqual(this.#dropped.get(sid) ?? 0)
        expect(Number(found.device.label)).toBeGreaterThan(this.#voidedTo)
        expect(at.now + feed.clockOffsetMs).toBeLessThan(found.lastSeenAt + MINUTE)
      }
      expect(cache.size).toBeLessThanOrEqual(50)
    }

    async end(): Promise<void> {
      while (this.#questions.length > 0) await this.answer(0)
    }
  }

  const sid = fc.constantFrom(...SIDS)
  const nth = fc.nat(3)
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.tuple(fc.constant('ask'), sid) },
    { weight: 3, arbitrary: fc.tuple(fc.constant('read'), nth) },
    { weight: 5, arbitrary: fc.tuple(fc.constant('answer'), nth) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('change'), sid) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('revoke'), sid) },
    { weight: 3, arbitrary: fc.tuple(fc.constant('hear'), sid) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('changeHere'), sid) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('break')) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('loseSight')) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('gainSight')) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('pass'), fc.nat(30 * SECOND)) },
    {
      weight: 1,
      arbitrary: fc.tuple(fc.constant('learnOffset'), fc.integer({ min: -9000, max: 9000 })),
    },
  ) as fc.Arbitrary<[StepName, ...unknown[]]>

  type StepName = Exclude<keyof World, 'party' | 'hits' | 'look' | 'end'>
  type Step = (...input: unknown[]) => void | Promise<void>

  it('no hit contradicts what was known before it', async () => {
    let hits = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
        const world = new World()
        for (const [name, ...input] of steps) {
          await (world[name] as Step).apply(world, input)
          world.look()
        }
        await world.end()
        world.look()
        hits += world.hits
      }),
      { numRuns: 200 },
    )
    // The property is not about a cache that has nothing. There are some 1,300; chance makes it a few
    // hundred less at most.
    expect(hits).toBeGreaterThan(300)
  })
})
