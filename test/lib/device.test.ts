import { describe, expect, it } from '@jest/globals'
import type { CookieSpec } from '../../lib/cookies.ts'
import { parseDeviceBinding } from '../../lib/device-options.ts'
import { drawDevice, isDevice, isOtherDevice, presentedDevice } from '../../lib/device.ts'
import { hashBinding } from '../../lib/session-id.ts'

const SESSION: CookieSpec = {
  name: '__Host-latchkey-session',
  secure: true,
  sameSite: 'Lax',
  domain: undefined,
}

function refusal(option: unknown, session = SESSION, name?: string): unknown {
  try {
    return parseDeviceBinding(option, session, name)
  } catch (error) {
    return error
  }
}

describe('option deviceBinding', () => {
  it('is as it was without it and as a function', () => {
    expect(parseDeviceBinding(undefined, SESSION, undefined)).toBeUndefined()
    expect(parseDeviceBinding(() => 'x', SESSION, undefined)).toBeUndefined()
  })

  it.each(['off', 'observe', 'step-up', 'revoke'])(
    'as an object says %s, with a cookie unless the app reads something of its own',
    (onChange) => {
      expect(parseDeviceBinding({ onChange }, SESSION, undefined)).toEqual({
        onChange,
        cookie: { ...SESSION, name: '__Host-latchkey-device' },
      })
      const own = { onChange, read: () => 'x' }
      expect(parseDeviceBinding(own, SESSION, undefined)).toEqual({ onChange, cookie: null })
      const absent = { onChange, read: undefined }
      expect(parseDeviceBinding(absent, SESSION, 'dev')).toMatchObject({ cookie: { name: 'dev' } })
    },
  )

  it.each([
    ['deviceBinding', 'ip'],
    ['deviceBinding', 7],
    ['deviceBinding', true],
    ['deviceBinding', null],
    ['deviceBinding', []],
    ['deviceBinding', {}],
    ['deviceBinding', { read: () => 'x' }],
    ['deviceBinding.onChange', { onChange: undefined }],
    ['deviceBinding.onChange', { onChange: 'deny' }],
    ['deviceBinding.onChange', { onChange: ['revoke'] }],
    ['deviceBinding.onChange', { onChange: 'constructor' }],
    ['deviceBinding.read', { onChange: 'off', read: 'ip' }],
    ['deviceBinding.read', { onChange: 'off', read: null }],
    ['deviceBinding.onchange', { onChange: 'off', onchange: 'revoke' }],
  ])('is refused at %s: %j', (option, value) => {
    expect(refusal(value)).toMatchObject({ code: 'invalid_option', option })
  })

  it('names a cookie that browsers would keep, or is refused', () => {
    const wide = { ...SESSION, domain: 'app.example' }
    const option = { onChange: 'off' }
    const refused = { code: 'invalid_option', option: 'cookies.names.device' }
    expect(refusal(option, wide)).toMatchObject(refused)
    expect(refusal(option, SESSION, 'a b')).toMatchObject(refused)
    expect(refusal(option, { ...SESSION, secure: false }, '__Host-d')).toMatchObject(refused)
    expect(refusal(option, wide, 'd')).toMatchObject({ cookie: { name: 'd', domain: wide.domain } })
    expect(refusal(option, { ...SESSION, secure: false })).toMatchObject({
      cookie: { name: 'latchkey-device', secure: false },
    })
  })
})

describe('a device', () => {
  it('is 256 random bits', () => {
    const drawn = Array.from({ length: 100 }, drawDevice)
    expect(new Set(drawn).size).toBe(100)
    expect(drawn.every(isDevice)).toBe(true)
    for (const text of ['', 'x', 'a'.repeat(42), 'a'.repeat(44), `${'a'.repeat(42)}=`]) {
      expect(isDevice(text)).toBe(false)
    }
  })

  const bound = { sid: 's1', bindingHash: hashBinding('s1', 'mine') }
  const unbound = { sid: 's1', bindingHash: null }

  it.each<[string, readonly string[], boolean]>([
    ['the same', ['mine'], false],
    ['another', ['thief'], true],
    ['none', [], true],
    ['the same and a planted one', ['planted', 'mine'], false],
    ['two others', ['planted', 'thief'], true],
  ])('that is %s', (_, bindings, isOther) => {
    expect(isOtherDevice(bound, bindings)).toBe(isOther)
    // The hash is of this session: another session's says nothing here.
    expect(isOtherDevice({ ...bound, sid: 's2' }, bindings)).toBe(true)
    expect(isOtherDevice(unbound, bindings)).toBe(false)
    expect(presentedDevice(bound, bindings) === bound.bindingHash).toBe(!isOther)
  })

  it('without a binding is null, and never looks like a login without one', () => {
    expect(presentedDevice(unbound, [])).toBeNull()
    expect(presentedDevice(unbound, ['x', 'y'])).toBe(hashBinding('s1', 'x'))
  })
})
