import { describe, expect, it } from '@jest/globals'
import type { ConfigError } from '../../lib/errors.ts'
import { rejectUnknownOptions } from '../../lib/unknown-options.ts'

const KNOWN = ['maxSessions', 'clock', 'feedRetention', 'id']

function rejection(path: string, options: object): ConfigError {
  try {
    rejectUnknownOptions(path, options, KNOWN)
  } catch (err) {
    return err as ConfigError
  }
  throw new Error('nothing was rejected')
}

describe('rejectUnknownOptions', () => {
  it.each([
    ['no options', {}],
    ['known ones only', { clock: 1, maxSessions: undefined }],
    ['a null-prototype object', Object.create(null) as object],
    ['symbols', { [Symbol('clock')]: 1 }],
    ['inherited keys', Object.create({ clok: 1 }) as object],
  ])('accepts %s', (_, options) => {
    expect(() => rejectUnknownOptions('', options, KNOWN)).not.toThrow()
  })

  it.each([
    ['maxSesions', 'maxSessions'],
    ['maxsessions', 'maxSessions'],
    ['Clock', 'clock'],
    ['clcok', 'clock'],
    ['lock', 'clock'],
    ['cloock', 'clock'],
    ['feedRetentoin', 'feedRetention'],
    ['idd', 'id'],
  ])('rejects %s and suggests %s', (key, suggestion) => {
    const error = rejection('', { [key]: 1 })
    expect(error).toMatchObject({ code: 'invalid_option', option: key })
    expect(error.message).toContain(JSON.stringify(suggestion))
  })

  it.each(['clxyz', 'sessions', 'x', 'ab', '__proto__', 'constructor', ''])(
    'rejects %j without a guess when nothing is near',
    (key) => {
      const error = rejection('', Object.fromEntries([[key, 1]]))
      expect(error).toMatchObject({ code: 'invalid_option', option: key })
      expect(error.message).not.toContain('did you mean')
    },
  )

  it('rejects an unknown key whose value is undefined: it is a typo all the same', () => {
    expect(rejection('', { clok: undefined }).option).toBe('clok')
  })

  it('names the option by its path', () => {
    expect(rejection('store', { clok: 1 }).option).toBe('store.clok')
  })

  it.each([null, undefined, 7, 'x', [], new Map(), new Set()])(
    'rejects %p, which is no object of options',
    (options) => {
      expect(rejection('', options as never).option).toBe('options')
      expect(rejection('store', options as never)).toMatchObject({
        code: 'invalid_option',
        option: 'store',
      })
    },
  )

  it('suggests the nearest of several near names', () => {
    try {
      rejectUnknownOptions('', { abcd: 1 }, ['abxy', 'abce'])
    } catch (err) {
      expect((err as Error).message).toContain('"abce"')
    }
    expect.assertions(1)
  })
})
