import { createHash } from 'node:crypto'
import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import {
  drawAttempt,
  drawSeed,
  drawSessionId,
  hashAttempt,
  hashBinding,
  hashSeed,
  isSameSeedHash,
  isSessionId,
} from '../../lib/session-id.ts'
import { userShard } from '../../lib/user.ts'

const ALICE = { tenant: '', id: 'alice' } as const

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

describe('a session id', () => {
  it('is 24 characters base64url and starts with the shard of its user', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (tenant, id) => {
        const sid = drawSessionId({ tenant, id })
        expect(sid).toMatch(/^[\w-]{24}$/)
        expect(isSessionId(sid)).toBe(true)
        expect(sid.slice(0, 2)).toBe(userShard({ tenant, id }))
      }),
    )
  })

  it('is drawn anew each time: 100 000 of one user are distinct', () => {
    const drawn = new Set(Array.from({ length: 100_000 }, () => drawSessionId(ALICE)))
    expect(drawn.size).toBe(100_000)
  })

  it('has every character of the alphabet at each random place', () => {
    const seen = Array.from({ length: 24 }, () => new Set<string>())
    for (let draw = 0; draw < 5000; draw++) {
      for (const [place, letter] of drawSessionId(ALICE).split('').entries())
        seen[place]?.add(letter)
    }
    expect(seen.map(({ size }) => size)).toEqual([1, 1, ...Array.from({ length: 22 }, () => 64)])
  })

  it.each([
    ['23 characters', 'a'.repeat(23)],
    ['25 characters', 'a'.repeat(25)],
    ['a dot', `${'a'.repeat(23)}.`],
    ['a line end', `${'a'.repeat(24)}\n`],
    ['a line end for its last character', `${'a'.repeat(23)}\n`],
    ['a padding', `${'a'.repeat(23)}=`],
    ['standard base64', `${'a'.repeat(22)}+/`],
    ['a NUL', `${'a'.repeat(23)}\0`],
    ['a letter beyond ASCII', `${'a'.repeat(23)}é`],
    ['nothing', ''],
    ['a number', 10 ** 23],
    ['undefined', undefined],
    ['null', null],
    ['a list of one', ['a'.repeat(24)]],
    ['an object that prints as one', { toString: () => 'a'.repeat(24) }],
  ])('is not %s', (_, value) => {
    expect(isSessionId(value)).toBe(false)
  })
})

describe('what is drawn', () => {
  it('is a seed of 256 bits in canonical base64url', () => {
    const seeds = Array.from({ length: 1000 }, drawSeed)
    for (const seed of seeds) {
      expect(seed).toMatch(/^[\w-]{43}$/)
      expect(Buffer.from(seed, 'base64url').toString('base64url')).toBe(seed)
      expect(Buffer.from(seed, 'base64url')).toHaveLength(32)
    }
    expect(new Set(seeds).size).toBe(1000)
  })

  it('is an attempt id that a client could have sent too', () => {
    const attempts = Array.from({ length: 1000 }, drawAttempt)
    for (const attempt of attempts) expect(attempt).toMatch(/^[\w-]{22}$/)
    expect(new Set(attempts).size).toBe(1000)
  })
})

describe('what a store keeps', () => {
  it('is the SHA-256 of a seed', () => {
    const seed = drawSeed()
    expect(hashSeed(seed)).toBe(sha256(seed))
    expect(hashSeed(seed)).toMatch(/^[\w-]{43}$/)
  })

  it('is a binding salted with the session id: two sessions of one device do not match', () => {
    const [one, other] = [drawSessionId(ALICE), drawSessionId(ALICE)]
    expect(hashBinding(one, 'device')).toBe(sha256(`${one}.device`))
    expect(hashBinding(one, 'device')).toBe(hashBinding(one, 'device'))
    expect(hashBinding(one, 'device')).not.toBe(hashBinding(other, 'device'))
    expect(hashBinding(one, 'device')).not.toBe(hashBinding(one, 'Device'))
  })

  it('is null for a device that sent no binding, but not for an empty one', () => {
    const sid = drawSessionId(ALICE)
    expect(hashBinding(sid, undefined)).toBeNull()
    expect(hashBinding(sid, '')).toBe(sha256(`${sid}.`))
  })

  it('is 132 bits of the hash of an attempt id', () => {
    expect(hashAttempt('attempt')).toBe(sha256('attempt'))
    expect(hashAttempt('attempt')).not.toBe(hashAttempt('Attempt'))
  })
})

describe('a hash of a seed', () => {
  it('is compared with all of another', () => {
    const one = hashSeed(drawSeed())
    expect(isSameSeedHash(one, Buffer.from(one).toString())).toBe(true)
    for (let at = 0; at < one.length; at++) {
      const other = `${one.slice(0, at)}${one[at] === 'A' ? 'B' : 'A'}${one.slice(at + 1)}`
      expect(isSameSeedHash(one, other)).toBe(false)
      expect(isSameSeedHash(one, one.slice(0, at))).toBe(false)
    }
    expect(isSameSeedHash('', '')).toBe(true)
    expect(isSameSeedHash(one, `${one}A`)).toBe(false)
  })
})
