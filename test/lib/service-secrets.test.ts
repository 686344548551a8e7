import { hash } from 'node:crypto'
import { describe, expect, it } from '@jest/globals'
import { createSecretCheck, generateServiceSecret } from '../../lib/service-secrets.ts'

const one = generateServiceSecret()
const two = generateServiceSecret()

describe('generateServiceSecret', () => {
  it('draws 256 bits, and gives their SHA-256', () => {
    expect(one.secret).toMatch(/^lkc_[\w-]{43}$/)
    expect(one.hash).toBe(hash('sha256', one.secret, 'base64url'))
    expect(one.secret).not.toBe(two.secret)
  })
})

describe('a check of secrets', () => {
  const check = createSecretCheck({
    orders: { hash: one.hash, scope: ['stock:read'], audiences: ['https://stock.example'] },
    billing: [one.hash, two.hash],
  })

  it('knows a service by its secret, and what it may have', () => {
    expect(check('orders', one.secret)).toEqual({
      id: 'orders',
      scope: ['stock:read'],
      audiences: ['https://stock.example'],
    })
  })

  it('takes any of several, so that one can be replaced', () => {
    expect(check('billing', one.secret)).toMatchObject({ id: 'billing' })
    expect(check('billing', two.secret)).toMatchObject({ id: 'billing' })
  })

  it.each([
    ['the secret of another', 'orders', two.secret],
    ['no secret', 'orders', ''],
    ['the hash', 'orders', one.hash],
    ['a secret with more behind it', 'orders', `${one.secret}A`],
    ['a name that nobody has', 'nobody', one.secret],
    ['no name', '', one.secret],
    ['a name of a prototype', '__proto__', one.secret],
    ['a name in another case', 'Orders', one.secret],
  ])('knows nobody by %s', (_, id, secret) => {
    expect(check(id, secret)).toBeNull()
  })

  it('takes no secret that somebody thought of, whatever its hash', () => {
    const weak = 'correct-horse-battery-staple-correct-horse-battery'
    const other = createSecretCheck({ orders: hash('sha256', weak, 'base64url') })
    expect(other('orders', weak)).toBeNull()
    const short = `lkc_${'A'.repeat(20)}`
    expect(
      createSecretCheck({ orders: hash('sha256', short, 'base64url') })('orders', short),
    ).toBeNull()
  })

  it.each([
    ['a secret', { orders: one.secret }],
    ['a hash in hex', { orders: hash('sha256', one.secret) }],
    ['no hash', { orders: [] }],
    ['an empty name', { '': one.hash }],
    ['a scope that is no list', { orders: { hash: one.hash, scope: 'x' } }],
    ['a misspelt member', { orders: { hash: one.hash, scopes: [] } }],
    ['a list', [one.hash]],
    ['nothing', null],
    ['a hash that the environment lacks', { orders: undefined }],
    ['an entry that is none', { orders: null }],
    ['a number', { orders: 7 }],
  ])('refuses %s at start, and does not repeat it', (_, services) => {
    let message = ''
    try {
      createSecretCheck(services as never)
    } catch (error) {
      expect(error).toMatchObject({ code: 'invalid_option' })
      message = String(error)
    }
    expect(message).toContain('serviceSecrets')
    expect(message).not.toContain(one.secret)
  })
})
