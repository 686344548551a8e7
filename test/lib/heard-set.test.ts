import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import { HeardSet, REVOKED } from '../../lib/heard-set.ts'

const RETENTION = 1000

function open(maxEntries = 100) {
  const at = { now: 5000 }
  return { at, heard: new HeardSet(RETENTION, maxEntries, () => at.now) }
}

describe('a heard set', () => {
  it('knows nothing of what it did not hear', () => {
    const { heard } = open()
    expect(heard.versionOf('a')).toBeUndefined()
    expect(heard.versionOf('__proto__')).toBeUndefined()
    expect(heard).toMatchObject({ size: 0, overflowed: false })
  })

  it('remembers version 0, and a revocation as newer than any version', () => {
    const { heard } = open()
    expect(heard.hear({ sid: 'a', ver: 0 })).toBe(true)
    expect(heard.versionOf('a')).toBe(0)
    expect(heard.hear({ sid: 'a', ver: REVOKED })).toBe(true)
    expect(heard.hear({ sid: 'a', ver: Number.MAX_SAFE_INTEGER })).toBe(false)
    expect(heard.versionOf('a')).toBe(REVOKED)
  })

  it('says of a duplicate and of an older version that they are no news', () => {
    const { heard } = open()
    expect([3, 3, 2, 4, 1, 4].map((ver) => heard.hear({ sid: 'a', ver }))).toEqual([
      true,
      false,
      false,
      true,
      false,
      false,
    ])
    expect(heard.versionOf('a')).toBe(4)
  })

  it('keeps the highest version of each session, in whatever order they come', () => {
    const entries = fc.array(
      fc.record({
        sid: fc.constantFrom('a', 'b', 'c'),
        ver: fc.constantFrom(0, 1, 2, 3, REVOKED),
        pause: fc.nat(RETENTION / 20),
      }),
      { maxLength: 20 },
    )
    fc.assert(
      fc.property(entries, (list) => {
        const { at, heard } = open()
        for (const { sid, ver, pause } of list) {
          at.now += pause
          heard.hear({ sid, ver })
        }
        for (const sid of ['a', 'b', 'c']) {
          const versions = list.filter((entry) => entry.sid === sid).map(({ ver }) => ver)
          expect(heard.versionOf(sid)).toBe(versions.length ? Math.max(...versions) : undefined)
        }
      }),
    )
  })

  it('keeps an entry for its retention at least, however often it turns', () => {
    fc.assert(
      fc.property(
        fc.nat(3 * RETENTION),
        fc.array(fc.integer({ min: 1, max: 400 })),
        (start, steps) => {
          const { at, heard } = open()
          at.now += start
          heard.hear({ sid: 'a', ver: REVOKED })
          const heardAt = at.now
          for (const step of steps) {
            if (at.now + step - heardAt > RETENTION) break
            at.now += step
            heard.turn()
            expect(heard.versionOf('a')).toBe(REVOKED)
          }
        },
      ),
    )
  })

  it('forgets an entry after twice its retention when it turns with every read', () => {
    for (const start of [0, 1, 499, 999, 1000, 1001]) {
      const { at, heard } = open()
      at.now += start
      heard.hear({ sid: 'a', ver: REVOKED })
      for (let waited = 0; waited < 2 * RETENTION; waited += 50) {
        at.now += 50
        heard.turn()
      }
      expect(heard.versionOf('a')).toBeUndefined()
      expect(heard.size).toBe(0)
    }
  })

  it('forgets all at once after a long pause', () => {
    const { at, heard } = open()
    heard.hear({ sid: 'a', ver: 1 })
    at.now += 2 * RETENTION
    heard.turn()
    expect(heard.versionOf('a')).toBeUndefined()
  })

  it('hears on the far side of a turn what is newer than the near side knows', () => {
    const { at, heard } = open()
    heard.hear({ sid: 'a', ver: 5 })
    at.now += RETENTION
    expect(heard.hear({ sid: 'a', ver: 4 })).toBe(false)
    expect(heard.hear({ sid: 'a', ver: 6 })).toBe(true)
    expect(heard.versionOf('a')).toBe(6)
    expect(heard.size).toBe(2)
  })
})

describe('a full heard set', () => {
  it('says that it overflowed, for its retention, and keeps what it had', () => {
    const { at, heard } = open(2)
    for (const sid of ['a', 'b']) heard.hear({ sid, ver: REVOKED })
    expect(heard.overflowed).toBe(false)
    expect(heard.hear({ sid: 'c', ver: REVOKED })).toBe(true)
    expect(heard.overflowed).toBe(true)
    expect(heard.versionOf('c')).toBeUndefined()
    expect(heard.versionOf('a')).toBe(REVOKED)
    at.now += RETENTION - 1
    expect(heard.overflowed).toBe(true)
    at.now += 1
    expect(heard.overflowed).toBe(false)
  })

  it('does not overflow from duplicates', () => {
    const { heard } = open(2)
    for (const sid of ['a', 'b', 'a', 'b', 'a']) heard.hear({ sid, ver: REVOKED })
    expect(heard.overflowed).toBe(false)
  })

  it('takes what is newer of a session it knows: that needs no room', () => {
    const { heard } = open(2)
    for (const sid of ['a', 'b']) heard.hear({ sid, ver: 1 })
    expect(heard.hear({ sid: 'a', ver: REVOKED })).toBe(true)
    expect(heard.versionOf('a')).toBe(REVOKED)
    expect(heard.overflowed).toBe(false)
  })

  it('is bounded whatever it hears', () => {
    const { at, heard } = open(10)
    for (let entry = 0; entry < 1000; entry++) {
      at.now += 7
      heard.hear({ sid: `${entry}`, ver: entry })
      expect(heard.size).toBeLessThanOrEqual(20)
    }
  })

  it('has room again after a turn', () => {
    const { at, heard } = open(1)
    heard.hear({ sid: 'a', ver: 1 })
    heard.hear({ sid: 'b', ver: 1 })
    at.now += RETENTION
    expect(heard.hear({ sid: 'b', ver: 1 })).toBe(true)
    expect(heard.versionOf('b')).toBe(1)
    expect(heard.versionOf('a')).toBe(1)
  })
})
