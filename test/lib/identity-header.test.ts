import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import { formatIdentity, headerKey, parseHeaderName } from '../../lib/identity-header.ts'

describe('headerKey', () => {
  it.each(['x-user-id', 'X-USER-ID', 'x_user_id', 'X_User-Id', 'x.user.id', 'x~user|id'])(
    'takes %s for x-user-id',
    (name) => {
      expect(headerKey(name)).toBe('x-user-id')
    },
  )

  it.each(['x-userid', 'x-user-id-', '-x-user-id', 'xuser-id'])(
    'does not take %s for it',
    (name) => {
      expect(headerKey(name)).not.toBe('x-user-id')
    },
  )
})

describe('parseHeaderName', () => {
  it('gives the name in lower case', () => {
    expect(parseHeaderName('h', 'X-User-Id')).toBe('x-user-id')
  })

  it.each([
    '',
    'x_user_id',
    'x.user',
    'x user',
    'x-user-id:',
    'x-user\r\nid',
    'é',
    '-x',
    'x-',
    'x--y',
    'host',
    'Connection',
    'cookie',
    'Transfer-Encoding',
    'content-length',
    'x'.repeat(65),
    undefined,
    null,
    7,
    ['x-user-id'],
  ])('refuses %j', (name) => {
    expect(() => parseHeaderName('h', name)).toThrow(expect.objectContaining({ option: 'h' }))
  })
})

describe('formatIdentity', () => {
  it.each([
    ['alice', 'alice'],
    ['a b', 'a b'],
    [' a ', '%20a%20'],
    ['50 %', '50 %25'],
    ['a,b', 'a%2Cb'],
    ['Zoë', 'Zo%C3%AB'],
    ['a\r\nX-Admin: 1', 'a%0D%0AX-Admin: 1'],
    ['\u0000\u007f', '%00%7F'],
    ['', ''],
    [7, '7'],
    [true, 'true'],
    [['a', 'b c', 'd,e'], 'a,b c,d%2Ce'],
    [[], ''],
  ])('writes %j as %s', (value, text) => {
    expect(formatIdentity(value)).toBe(text)
  })

  it.each([undefined, null])('has nothing to say of %s', (value) => {
    expect(formatIdentity(value)).toBeUndefined()
  })

  it.each([{}, Symbol('x'), () => 'x', [['x']], [undefined], [null], Promise.resolve('x'), 1n])(
    'refuses what is no text',
    (value) => {
      expect(() => formatIdentity(value as never)).toThrow(TypeError)
    },
  )

  it.each(['\ud800', 'a\udc00b', 'x'.repeat(4097)])('refuses what it cannot carry', (value) => {
    expect(() => formatIdentity(value)).toThrow(TypeError)
  })

  it('is undone by splitting at commas and decodeURIComponent, whatever the texts', () => {
    const text = fc.string({ unit: 'binary', maxLength: 40 }).filter((one) => one.isWellFormed())
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (elements) => {
        const value = formatIdentity(elements) ?? ''
        expect(value).toMatch(/^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/)
        expect(value.split(',').map(decodeURIComponent)).toEqual(elements)
      }),
    )
  })
})
