import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import type { AttributesPatch, User } from '../../lib/attributes.ts'
import {
  copyJsonObject,
  isSameAttributes,
  parseUser,
  patchAttributes,
  reloadAttributes,
} from '../../lib/attributes.ts'
import type { Attributes, JsonObject } from '../../lib/session.ts'

const ALICE = { tenant: 'acme', id: 'alice' } as const
const CURRENT: Attributes = {
  roles: ['admin'],
  scope: ['read:a'],
  level: 'mfa',
  amr: ['pwd', 'otp'],
  claims: { plan: 'gold' },
}
const NONE: Attributes = { roles: [], scope: [], level: null, amr: [], claims: {} }

/** What comes from JavaScript, or from a database, in place of what the types say. */
function user(fields: Readonly<Record<string, unknown>>): User {
  return { id: 'alice', ...fields }
}

function codeOf(call: () => unknown): unknown {
  try {
    call()
    return 'accepted'
  } catch (err) {
    return (err as { code?: unknown }).code ?? err
  }
}

/** Fields of the wrong shape, one a row. */
const WRONG_FIELDS: [string, Readonly<Record<string, unknown>>][] = [
  ['roles as text', { roles: 'admin' }],
  ['roles as null', { roles: null }],
  ['roles as a set', { roles: new Set(['admin']) }],
  ['roles with a number', { roles: ['admin', 1] }],
  ['roles with an empty text', { roles: [''] }],
  ['roles with a hole', { roles: [, 'admin'] }], // oxlint-disable-line no-sparse-arrays
  ['roles with a line end', { roles: ['a\nb'] }],
  ['roles with a NUL', { roles: ['a\0'] }],
  ['roles with a lone surrogate', { roles: ['\ud800'] }],
  ['a role of 256 characters', { roles: ['r'.repeat(256)] }],
  ['scope as text', { scope: 'read write' }],
  ['scope with a blank in a word', { scope: ['read write'] }],
  ['scope with a quote', { scope: ['a"'] }],
  ['scope with a backslash', { scope: ['a\\'] }],
  ['scope with an umlaut', { scope: ['ä'] }],
  ['scope with an empty word', { scope: [''] }],
  ['scope with a hole', { scope: [, 'read'] }], // oxlint-disable-line no-sparse-arrays
  ['level as a number', { level: 2 }],
  ['level as an empty text', { level: '' }],
  ['level as null', { level: null }],
  ['level with a control character', { level: 'm\tfa' }],
  ['amr as text', { amr: 'pwd' }],
  ['amr with a number', { amr: [1] }],
  ['claims as text', { claims: 'plan' }],
  ['claims as a list', { claims: ['gold'] }],
  ['claims with a bigint', { claims: { seats: 1n } }],
  ['claims with a lone surrogate', { claims: { plan: '\ud800' } }],
  ['claims with a NUL', { claims: { plan: 'a\0' } }],
]

describe('parseUser', () => {
  it('reads a user of an id alone', () => {
    expect(parseUser({ id: 'alice' })).toEqual({
      ref: { tenant: '', id: 'alice' },
      attributes: NONE,
      remember: true,
    })
  })

  it('reads every field', () => {
    const given: User = { ...ALICE, ...CURRENT, level: 'mfa', remember: false }
    expect(parseUser(given)).toEqual({ ref: ALICE, attributes: CURRENT, remember: false })
  })

  it('takes undefined for absent', () => {
    const absent = { tenant: undefined, roles: undefined, scope: undefined, level: undefined }
    const given = { id: 'alice', ...absent, amr: undefined, claims: undefined, remember: undefined }
    expect(parseUser(given)).toEqual(parseUser({ id: 'alice' }))
  })

  it('reads objects of a class, and of no prototype', () => {
    class Row {
      readonly id = 'alice'
      get roles() {
        return ['admin']
      }
    }
    expect(parseUser(new Row()).attributes.roles).toEqual(['admin'])
    const bare = Object.assign(Object.create(null) as object, { id: 'alice' }) as User
    expect(parseUser(bare).ref.id).toBe('alice')
  })

  it('keeps each word once, in the order they came', () => {
    const given = { id: 'alice', roles: ['b', 'a', 'b'], scope: ['y', 'x', 'y'], amr: ['p', 'p'] }
    expect(parseUser(given).attributes).toMatchObject({
      roles: ['b', 'a'],
      scope: ['y', 'x'],
      amr: ['p'],
    })
  })

  it('copies: what the app changes later changes nothing', () => {
    const given = { id: 'alice', roles: ['a'], claims: { deep: { list: [1] } } }
    const { attributes } = parseUser(given)
    given.roles.push('admin')
    given.claims.deep.list.push(2)
    expect(attributes).toMatchObject({ roles: ['a'], claims: { deep: { list: [1] } } })
  })

  it('never writes into what the app gave', () => {
    const given = deepFreeze({ id: 'alice', roles: ['a', 'a'], claims: { deep: { list: [1] } } })
    expect(codeOf(() => parseUser(given))).toBe('accepted')
  })

  it.each<[string, Readonly<Record<string, unknown>>]>([
    ['an empty id', { id: '' }],
    ['an id of 256 characters', { id: 'x'.repeat(256) }],
    ['an id with a NUL', { id: 'a\0b' }],
    ['an id with a line end', { id: 'a\n' }],
    ['an id with a C1 control character', { id: 'a\u0085' }],
    ['an id with a lone surrogate', { id: '\udfff' }],
    ['a tenant with a control character', { tenant: '\u007f' }],
  ])('refuses %s as user_invalid', (_, fields) => {
    expect(codeOf(() => parseUser(user(fields)))).toBe('user_invalid')
  })

  it.each<[string, Readonly<Record<string, unknown>>]>([
    ...WRONG_FIELDS,
    ['no id', { id: undefined }],
    ['an id of null', { id: null }],
    ['a number for an id', { id: 42 }],
    ['a tenant of null', { tenant: null }],
    ['a number for a tenant', { tenant: 1 }],
  ])('refuses %s as an error of the hook', (_, fields) => {
    expect(codeOf(() => parseUser(user(fields)))).toBe('internal_error')
  })

  it.each([[undefined], [null], ['alice'], [42], [true], [['alice']], [() => 'alice']])(
    'refuses %p in place of a user',
    (given) => {
      expect(codeOf(() => parseUser(given as unknown as User))).toBe('internal_error')
    },
  )

  it.each<[unknown, boolean]>([
    [undefined, true],
    [true, true],
    [null, true],
    [0, true],
    [false, false],
  ])('remembers unless told not to: %p', (remember, expected) => {
    expect(parseUser(user({ remember })).remember).toBe(expected)
  })

  it('takes an id of 255 characters of any script', () => {
    for (const id of ['x'.repeat(255), 'é'.repeat(255), '中文 名', '💥'.repeat(127), ' ']) {
      expect(parseUser({ id }).ref.id).toBe(id)
    }
  })
})

describe('reloadAttributes', () => {
  it('replaces roles, scope and claims, and keeps level and methods of the login', () => {
    expect(reloadAttributes({ ...ALICE }, ALICE, CURRENT)).toEqual({
      ...NONE,
      level: 'mfa',
      amr: ['pwd', 'otp'],
    })
  })

  it('replaces level and methods too when the hook names them', () => {
    const next = { ...ALICE, roles: ['user'], level: 'pwd', amr: [] }
    expect(reloadAttributes(next, ALICE, CURRENT)).toEqual({
      ...NONE,
      roles: ['user'],
      level: 'pwd',
    })
  })

  it('takes no tenant and an empty one for the same', () => {
    const ref = { tenant: '', id: 'alice' }
    expect(codeOf(() => reloadAttributes({ id: 'alice' }, ref, CURRENT))).toBe('accepted')
    expect(codeOf(() => reloadAttributes({ id: 'alice', tenant: '' }, ref, CURRENT))).toBe(
      'accepted',
    )
  })

  it.each<[string, unknown]>([
    ['another id', { ...ALICE, id: 'bob' }],
    ['another tenant', { ...ALICE, tenant: 'other' }],
    ['no tenant', { id: 'alice' }],
    ['the id in other case', { ...ALICE, id: 'Alice' }],
    ['the id in another Unicode form', { ...ALICE, id: 'alice\u200b' }],
    ['no id', { tenant: 'acme' }],
    ['a number for an id', { ...ALICE, id: 42 }],
    ['undefined', undefined],
    ['text', 'alice'],
    ['a list', [ALICE]],
    ['true', true],
  ])('refuses %s as an error of the hook, never of the client', (_, given) => {
    expect(codeOf(() => reloadAttributes(given as User, ALICE, CURRENT))).toBe('internal_error')
  })

  it.each(WRONG_FIELDS)('refuses %s', (_, fields) => {
    const given = { ...ALICE, ...fields } as User
    expect(codeOf(() => reloadAttributes(given, ALICE, CURRENT))).toBe('internal_error')
  })
})

describe('patchAttributes', () => {
  it.each<[string, AttributesPatch<JsonObject>, Partial<Attributes>]>([
    ['nothing', {}, {}],
    ['undefined', { roles: undefined, scope: undefined, level: undefined, amr: undefined }, {}],
    ['roles', { roles: ['user'] }, { roles: ['user'] }],
    ['no roles', { roles: [] }, { roles: [] }],
    ['scope', { scope: ['x', 'x'] }, { scope: ['x'] }],
    ['no scope', { scope: [] }, { scope: [] }],
    ['level', { level: 'pwd' }, { level: 'pwd' }],
    ['methods', { amr: [] }, { amr: [] }],
    ['claims, as a whole', { claims: { other: 1 } }, { claims: { other: 1 } }],
    ['no claims', { claims: {} }, { claims: {} }],
  ])('changes what is named: %s', (_, patch, changed) => {
    expect(patchAttributes(CURRENT, patch)).toEqual({ ...CURRENT, ...changed })
  })

  it.each(WRONG_FIELDS)('refuses %s', (_, fields) => {
    expect(codeOf(() => patchAttributes(CURRENT, fields as AttributesPatch<JsonObject>))).toBe(
      'internal_error',
    )
  })

  it('changes neither what is there nor what was given', () => {
    const current = deepFreeze(structuredClone(CURRENT))
    const patch = deepFreeze({ roles: ['a'], claims: { b: [1] } })
    const next = patchAttributes(current, patch)
    expect(next.claims).not.toBe(patch.claims)
    expect(current).toEqual(CURRENT)
  })
})

describe('isSameAttributes', () => {
  it('says of equal ones that they are', () => {
    expect(isSameAttributes(CURRENT, structuredClone(CURRENT))).toBe(true)
    // The members may stand in any order; only what they hold counts.
    const { claims, amr, level, scope, roles } = CURRENT
    expect(isSameAttributes(CURRENT, { claims, amr, level, scope, roles })).toBe(true)
  })

  it.each<Partial<Attributes>>([
    { roles: [] },
    { roles: ['admin', 'user'] },
    { roles: ['Admin'] },
    { scope: ['read:b'] },
    { level: null },
    { level: 'null' },
    { amr: ['otp', 'pwd'] },
    { claims: {} },
    { claims: { plan: 'gold', more: null } },
    { claims: { plan: ['gold'] } },
    // Words of one list are not words of the next.
    { roles: [], scope: ['admin', 'read:a'] },
  ])('sees the difference to %j', (changed) => {
    expect(isSameAttributes(CURRENT, { ...CURRENT, ...changed })).toBe(false)
  })
})

describe('copyJsonObject', () => {
  const cycle: Record<string, unknown> = {}
  cycle['self'] = { inner: cycle }
  let deep: unknown = {}
  for (let depth = 0; depth < 200_000; depth++) deep = { deep }

  it.each<[string, unknown, unknown]>([
    ['an empty object', {}, {}],
    [
      'JSON of all kinds',
      { a: [1, 'b', null, true, { c: {} }] },
      { a: [1, 'b', null, true, { c: {} }] },
    ],
    ['undefined members', { a: undefined, b: 1 }, { b: 1 }],
    ['functions and symbols', { a: () => 1, b: Symbol('b'), [Symbol('c')]: 1 }, {}],
    ['holes and undefined in lists', { a: [undefined, , 1] }, { a: [null, null, 1] }], // oxlint-disable-line no-sparse-arrays
    [
      'numbers that are none in JSON',
      { a: Number.NaN, b: Infinity, c: -0 },
      { a: null, b: null, c: 0 },
    ],
    ['a date', { at: new Date(0) }, { at: '1970-01-01T00:00:00.000Z' }],
    ['a map', { map: new Map([[1, 2]]) }, { map: {} }],
    ['boxed values', { a: Object('text'), b: Object(1) }, { a: 'text', b: 1 }],
    ['an object with toJSON', { toJSON: () => ({ a: 1 }) }, { a: 1 }],
    ['members that are not enumerable', Object.defineProperty({}, 'a', { value: 1 }), {}],
    ['inherited members', Object.create({ a: 1 }) as object, {}],
    ['no prototype', Object.assign(Object.create(null) as object, { a: 1 }), { a: 1 }],
    ['text of any script', { 'ключ💥': '\u2028\u0001' }, { 'ключ💥': '\u2028\u0001' }],
  ])('copies %s', (_, value, expected) => {
    expect(copyJsonObject(value)).toEqual(expected)
  })

  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['text', '{}'],
    ['a number', 1],
    ['a list', [{}]],
    ['a function', () => ({})],
    ['a cycle', cycle],
    ['a bigint', { a: [1n] }],
    ['a bigint in an object', { a: Object(1n) as object }],
    ['a date', new Date(0)],
    ['a toJSON that returns a list', { toJSON: () => [1] }],
    ['a toJSON that returns nothing', { toJSON: () => {} }],
    ['a toJSON that returns null', { toJSON: () => null }],
    [
      'a toJSON that throws',
      {
        toJSON() {
          throw new Error('no')
        },
      },
    ],
    [
      'a getter that throws',
      {
        get a() {
          throw new Error('no')
        },
      },
    ],
    ['nesting without end', deep],
    ['NUL in a text', { a: 'b\0' }],
    ['NUL in a text in a list', { a: [['\0']] }],
    ['NUL in a key', { 'a\0': 1 }],
    ['a lone surrogate in a text', { a: 'x\ud800' }],
    ['a lone surrogate in a key', { a: { '\udc00': 1 } }],
    ['surrogates in the wrong order', { a: '\udc00\ud800' }],
  ])('is null for %s', (_, value) => {
    expect(copyJsonObject(value)).toBeNull()
  })

  it('keeps keys that name a prototype as keys, and reaches no prototype', () => {
    const text = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"a":1}'
    const copy = copyJsonObject(JSON.parse(text))
    expect(JSON.stringify(copy)).toBe(text)
    expect(Object.getPrototypeOf(copy)).toBe(Object.getPrototypeOf(copyJsonObject({})))
    expect(copy).not.toHaveProperty('polluted')
    expect({}).not.toHaveProperty('polluted')
  })

  it('looks at keys that name a prototype too', () => {
    expect(copyJsonObject(JSON.parse('{"__proto__":{"a":"\\u0000"}}'))).toBeNull()
  })

  it('is a copy that JSON brings back as it is, whatever it was made of', () => {
    fc.assert(
      fc.property(fc.object({ withBigInt: true, withDate: true, withMap: true }), (value) => {
        const copy = copyJsonObject(value)
        expect(JSON.parse(JSON.stringify(copy))).toEqual(copy)
        expect(copyJsonObject(copy)).toEqual(copy)
        if (copy !== null) expect(copy).not.toBe(value) // oxlint-disable-line jest/no-conditional-expect
      }),
    )
  })
})

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    for (const member of Object.values(value)) deepFreeze(member)
    Object.freeze(value)
  }
  return value
}
