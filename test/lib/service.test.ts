import { describe, expect, it } from '@jest/globals'
import { isScope, isService, parseServices } from '../../lib/service.ts'

describe('parseServices', () => {
  const authenticator = () => null

  it('takes none, one and several', () => {
    expect(parseServices(undefined)).toEqual([])
    expect(parseServices(authenticator)).toEqual([authenticator])
    expect(parseServices([authenticator, authenticator])).toHaveLength(2)
  })

  it.each([[[]], [null], ['orders'], [{ orders: 'hash' }], [[authenticator, null]]])(
    'refuses %j',
    (services) => {
      expect(() => parseServices(services as never)).toThrow(
        expect.objectContaining({ code: 'invalid_option', option: 'services' }),
      )
    },
  )
})

describe('isService', () => {
  it.each([
    { id: 'orders' },
    { id: 'orders', scope: ['read', 'a:b'], audiences: ['https://api.example'] },
    { id: 'orders', scope: [], audiences: [] },
  ])('takes %j', (service) => {
    expect(isService(service)).toBe(true)
  })

  it.each([
    null,
    'orders',
    {},
    { id: '' },
    { id: 'a\u0000' },
    { id: 7 },
    { id: 'orders', scope: 'read' },
    { id: 'orders', scope: ['two words'] },
    { id: 'orders', scope: ['quo"te'] },
    { id: 'orders', audiences: 'all' },
    { id: 'orders', audiences: [''] },
  ])('refuses %j', (service) => {
    expect(isService(service)).toBe(false)
  })
})

describe('isScope', () => {
  it('knows the characters of RFC 6749 §3.3', () => {
    expect(isScope(['!', '#[', ']~'])).toBe(true)
    for (const word of ['', ' ', '"', '\\', 'é', '\n']) expect(isScope([word])).toBe(false)
  })
})
