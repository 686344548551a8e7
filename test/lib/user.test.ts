import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import { isIdentifier } from '../../lib/identifier.ts'
import type { UserRef } from '../../lib/user.ts'
import { isSameUser, parseUserRef, userHash, userShard } from '../../lib/user.ts'

const GOOD = [
  'a',
  ' ',
  '😀',
  'x'.repeat(255),
  '}',
  '*',
  'a:b',
  '__proto__',
  '\u200b',
  '\u00a0',
  'é',
]
const BAD = [
  '',
  'x'.repeat(256),
  '😀'.repeat(128),
  'a\r\nb',
  'a\0',
  '\t',
  '\u007f',
  '\u0080',
  '\u009f',
  '\ud83d',
  '\ude00a',
  1,
  null,
  undefined,
  ['a'],
  {},
]

describe('isIdentifier', () => {
  it.each(GOOD)('accepts %j', (value) => {
    expect(isIdentifier(value)).toBe(true)
  })

  it.each(BAD)('refuses %j', (value) => {
    expect(isIdentifier(value)).toBe(false)
  })
})

describe('parseUserRef', () => {
  it('takes a bare id for a user without tenant', () => {
    expect(parseUserRef('alice')).toEqual({ tenant: '', id: 'alice' })
    expect(parseUserRef({ id: 'alice' })).toEqual({ tenant: '', id: 'alice' })
    expect(parseUserRef({ id: 'alice', tenant: undefined })).toEqual({ tenant: '', id: 'alice' })
    expect(parseUserRef({ id: 'alice', tenant: '' })).toEqual({ tenant: '', id: 'alice' })
  })

  it('takes the pair and nothing else', () => {
    const user = { id: 'alice', tenant: 'acme', roles: ['admin'] }
    expect(parseUserRef(user)).toEqual({ id: 'alice', tenant: 'acme' })
  })

  it.each(BAD)('refuses %j as an id', (value) => {
    expect(() => parseUserRef({ id: value as string })).toThrow(
      expect.objectContaining({ code: 'user_invalid', status: 400 }),
    )
  })

  it.each(BAD.filter((value) => value !== '' && value !== undefined))(
    'refuses %j as a tenant',
    (value) => {
      expect(() => parseUserRef({ id: 'alice', tenant: value as string })).toThrow(
        expect.objectContaining({ code: 'user_invalid' }),
      )
    },
  )
})

const TWINS: readonly [UserRef, UserRef][] = [
  [
    { tenant: 'a', id: 'bc' },
    { tenant: 'ab', id: 'c' },
  ],
  [
    { tenant: '', id: 'a' },
    { tenant: 'a', id: '' },
  ],
  [
    { tenant: '', id: '\u00e9' },
    { tenant: '', id: 'e\u0301' },
  ],
  [
    { tenant: '', id: 'a' },
    { tenant: '', id: 'A' },
  ],
]

describe('a user', () => {
  it.each(TWINS)('%j is not %j', (one, other) => {
    expect(isSameUser(one, other)).toBe(false)
    expect(userHash(one).equals(userHash(other))).toBe(false)
  })

  it('is the same by value', () => {
    const [one, other] = [
      { tenant: 'acme', id: 'alice' },
      { id: 'alice', tenant: 'acme' },
    ]
    expect(isSameUser(one, other)).toBe(true)
    expect(userHash(one).equals(userHash(other))).toBe(true)
  })

  it('has one hash a pair, whatever the characters', () => {
    const text = fc.string({ unit: fc.constantFrom('a', '\0', ':', 'é', '😀'), maxLength: 4 })
    const user = fc.record({ tenant: text, id: text })
    const property = fc.property(user, user, (one, other) => {
      expect(userHash(one).equals(userHash(other))).toBe(isSameUser(one, other))
    })
    expect(() => fc.assert(property, { numRuns: 500 })).not.toThrow()
  })

  it('has a hash that never changes: keys in stores are made of it', () => {
    expect(userHash({ tenant: 'acme', id: 'alice' }).toString('hex')).toBe(
      '772e85fb00d38a8f94d35c5cf11a6c04ec916538d2cfa8f6e941d217cc5b04e3',
    )
  })
})

describe('userShard', () => {
  it('is the first 12 bits of the hash', () => {
    for (let index = 0; index < 200; index++) {
      const user = { tenant: 'acme', id: `user ${index}` }
      const bits = Buffer.from(`${userShard(user)}AA`, 'base64url').readUIntBE(0, 3) >> 12
      expect(bits).toBe(userHash(user).readUInt16BE(0) >> 4)
      expect(userShard(user)).toMatch(/^[\w-]{2}$/)
    }
  })
})
