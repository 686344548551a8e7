import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { EventStreamParser } from '../../lib/event-stream.ts'
import type { FeedFrame } from '../../lib/feed-frame.ts'
import { parseFrame } from '../../lib/feed-frame.ts'
import type { BlindCause } from '../../lib/feed.ts'
import { HeardSet, REVOKED } from '../../lib/heard-set.ts'
import type { RevocationListener } from '../../lib/revocation-hub.ts'
import { RevocationHub } from '../../lib/revocation-hub.ts'
import type { FeedEntry } from '../../lib/store.ts'

const NOW = Date.UTC(2026, 5, 1)
const MINUTE = 60_000

let at: { wall: number; monotonic: number }
let blind: BlindCause | null
let heard: HeardSet
let knownAt: number
let hub: RevocationHub

beforeEach(() => {
  at = { wall: NOW, monotonic: 5000 }
  blind = null
  knownAt = 5000
  heard = new HeardSet(60 * MINUTE, 1_000_000, () => at.monotonic)
  hub = open()
})

afterEach(() => hub.close())

function open(maxListeners?: number): RevocationHub {
  const feed = {
    blindness: () => blind,
    entries: () => heard.entries(),
    get knownAt() {
      return knownAt
    },
    clockOffsetMs: 0,
  }
  return new RevocationHub(
    feed,
    () => at.wall,
    () => at.monotonic,
    maxListeners,
  )
}

/** Lets time pass, in which the node goes on hearing. */
function pass(ms: number): void {
  at.wall += ms
  at.monotonic += ms
  knownAt = at.monotonic
}

/** What the node's follower does with what it hears. */
function hear(...entries: FeedEntry[]): void {
  hub.tell(entries.filter((entry) => heard.hear(entry)))
}

function revoked(...sids: string[]): FeedEntry[] {
  return sids.map((sid) => ({ sid, ver: REVOKED }))
}

/** A connection that takes what the test lets it take. */
class Ear implements RevocationListener {
  readonly service: string
  readonly #parser = new EventStreamParser(10_000_000)
  readonly frames: FeedFrame[] = []
  readonly ids: (string | undefined)[] = []
  text = ''
  waitingBytes = 0
  full = false
  ended: 'end' | 'cut' | null = null
  #drain: () => void = () => {}

  constructor(service: string = 'reports') {
    this.service = service
  }

  write(text: string): boolean {
    this.text += text
    for (const { event, data, id } of this.#parser.push(new TextEncoder().encode(text))) {
      if (event !== 'feed') continue
      this.frames.push(parseFrame(data))
      this.ids.push(id)
    }
    return !this.full
  }

  async drained(): Promise<void> {
    return new Promise((resolve) => (this.#drain = resolve))
  }

  drain(): void {
    this.full = false
    this.#drain()
  }

  end(): void {
    this.ended = 'end'
  }

  cut(): void {
    this.ended = 'cut'
    this.#drain()
  }

  get sids(): string[] {
    return this.frames.flatMap(({ entries }) => entries.map(({ sid }) => sid))
  }

  get lastId(): string | undefined {
    return this.ids.findLast((id) => id !== undefined)
  }
}

function join(lastId?: string): Ear {
  const ear = new Ear()
  hub.join(ear, lastId)
  return ear
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

describe('who begins to listen', () => {
  it('is told all that is remembered, and then it is the whole', () => {
    hear(...revoked('a'), { sid: 'b', ver: 3 })
    const ear = join()
    expect(ear.text).toMatch(/^retry: 1000\nevent: open\ndata: \{"clock":5000\}\n\n/)
    expect(ear.frames).toEqual([
      { entries: [...revoked('a'), { sid: 'b', ver: 3 }], more: false, asOf: 5000, now: NOW },
    ])
    expect(ear.ids).toEqual([String(NOW)])
  })

  it('is told in pages, of which only the last has an id and is the whole', async () => {
    hear(...revoked(...Array.from({ length: 1200 }, (_, n) => `s${n}`)))
    const ear = join()
    await turn()
    expect(ear.frames.map(({ entries, more }) => [entries.length, more])).toEqual([
      [500, true],
      [500, true],
      [200, false],
    ])
    expect(ear.ids).toEqual([undefined, undefined, String(NOW)])
  })

  it('is told no faster than it listens, and of what comes meanwhile', async () => {
    hear(...revoked(...Array.from({ length: 1200 }, (_, n) => `s${n}`)))
    const ear = new Ear()
    ear.full = true
    hub.join(ear, undefined)
    await turn()
    expect(ear.frames).toHaveLength(1)
    hear(...revoked('meanwhile'))
    hub.beat()
    expect(ear.frames.at(-1)).toMatchObject({ entries: revoked('meanwhile'), more: true })
    expect(ear.lastId).toBeUndefined()
    ear.drain()
    await turn()
    expect(ear.frames.at(-1)?.more).toBe(false)
    expect(new Set(ear.sids).size).toBe(1201)
  })

  it('is refused while the node is blind', () => {
    blind = 'stale'
    expect(() => join()).toThrow(expect.objectContaining({ code: 'feed_unavailable', status: 503 }))
    expect(hub.size).toBe(0)
  })

  it('is refused when there are too many, until one has gone', () => {
    hub = open(2)
    const leave = hub.join(new Ear(), undefined)
    join()
    expect(() => join()).toThrow(expect.objectContaining({ code: 'feed_unavailable' }))
    leave()
    expect(() => join()).not.toThrow()
  })

  it('takes places on a full node from the service that has the most, until both have as many', () => {
    hub = open(4)
    const ears = Array.from({ length: 4 }, () => new Ear('reports'))
    for (const ear of ears) hub.join(ear, undefined)
    expect(() => hub.join(new Ear('reports'), undefined)).toThrow('cannot tell')
    for (let count = 0; count < 2; count++) hub.join(new Ear('billing'), undefined)
    expect(ears.map(({ ended }) => ended)).toEqual(['end', 'end', null, null])
    for (const service of ['billing', 'reports']) {
      expect(() => hub.join(new Ear(service), undefined)).toThrow('cannot tell')
    }
    hub.join(new Ear('search'), undefined)
    // One, two and one: what a second one would win, another would lose.
    expect(() => hub.join(new Ear('search'), undefined)).toThrow('cannot tell')
    expect(hub.size).toBe(4)
  })

  it('takes no place on a full node that is blind', () => {
    hub = open(2)
    const ears = [new Ear('reports'), new Ear('reports')]
    for (const ear of ears) hub.join(ear, undefined)
    blind = 'stale'
    expect(() => hub.join(new Ear('billing'), undefined)).toThrow('cannot tell')
    expect(ears.map(({ ended }) => ended)).toEqual([null, null])
  })

  it('is refused once the hub is closed', () => {
    hub.close()
    expect(() => join()).toThrow(expect.objectContaining({ code: 'feed_unavailable' }))
  })
})

describe('who listens', () => {
  it('is told what the node hears, at once', () => {
    const ear = join()
    hear(...revoked('a'))
    expect(ear.frames.at(-1)).toMatchObject({ entries: revoked('a'), more: false })
  })

  it('is told of much in pages', () => {
    const ear = join()
    hear(...revoked(...Array.from({ length: 1001 }, (_, n) => `s${n}`)))
    expect(ear.frames.slice(1).map(({ entries }) => entries.length)).toEqual([500, 500, 1])
  })

  it('hears a heartbeat about once a second, with how old the knowledge is', () => {
    const ear = join()
    hub.beat()
    hub.beat()
    expect(ear.frames).toHaveLength(2)
    pass(899)
    hub.beat()
    expect(ear.frames).toHaveLength(2)
    pass(1)
    knownAt -= 300
    hub.beat()
    expect(ear.frames).toHaveLength(3)
    expect(ear.frames.at(-1)).toEqual({ entries: [], more: false, asOf: 5600, now: NOW + 900 })
    expect(ear.lastId).toBe(String(NOW + 600))
  })

  it('hears no heartbeat while the node is blind', () => {
    const ear = join()
    pass(1000)
    blind = 'clock'
    hub.beat()
    expect(ear.frames).toHaveLength(1)
  })

  it('is sent away when the node loses sight, and when it ends', () => {
    const [first, second] = [join(), join()]
    hub.lose()
    expect([first.ended, second.ended, hub.size]).toEqual(['end', 'end', 0])
    const third = join()
    hub.close()
    expect(third.ended).toBe('end')
  })

  it('is cut when more than a MiB waits for it, and nobody else is', () => {
    const [slow, quick] = [join(), join()]
    slow.waitingBytes = 1024 * 1024
    hear(...revoked('a'))
    expect(slow.sids).toEqual(['a'])
    slow.waitingBytes += 1
    hear(...revoked('b'))
    expect(slow.sids).toEqual(['a'])
    expect(slow.ended).toBe('cut')
    expect(quick.sids).toEqual(['a', 'b'])
    expect(hub.size).toBe(1)
  })
})

describe('who comes back', () => {
  it('is told what it may have missed, and not the rest', () => {
    hear(...revoked('long ago'))
    pass(10 * MINUTE)
    hear(...revoked('before'))
    const { lastId } = join()
    pass(MINUTE)
    hear(...revoked('after'))
    const back = join(lastId)
    // Clocks of nodes differ: what is a little older is told again.
    expect(back.sids).toEqual(['before', 'after'])
    expect(back.frames.at(-1)?.more).toBe(false)
  })

  it('is told all that still matters when it was away for longer than the order is known', () => {
    hear(...revoked('old'))
    const { lastId } = join()
    for (let n = 0; n < 21_000; n += 500) {
      pass(MINUTE)
      hear(...revoked(...Array.from({ length: 500 }, (_, i) => `s${n + i}`)))
    }
    const ear = new Ear()
    hub.join(ear, lastId)
    return turn().then(() => {
      expect(new Set(ear.sids).size).toBe(21_001)
    })
  })

  it.each(['', 'x', '-1', '1e3', '1'.repeat(16), String(NOW + 4 * MINUTE)])(
    'is told all for an id that no node gave: %j',
    (id) => {
      hear(...revoked('a'))
      pass(30 * MINUTE)
      hear(...revoked('b'))
      const wanted = id === String(NOW + 4 * MINUTE) ? String(NOW + 34 * MINUTE) : id
      expect(join(wanted).sids).toEqual(['a', 'b'])
    },
  )
})
