import { describe, expect, it } from '@jest/globals'
import type { Duration } from '../../lib/duration.ts'
import { parseDuration } from '../../lib/duration.ts'

describe('parseDuration', () => {
  it.each<[Duration, number]>([
    ['0s', 0],
    ['250ms', 250],
    ['10s', 10_000],
    ['15m', 900_000],
    ['12h', 43_200_000],
    ['30d', 2_592_000_000],
    ['1.5h', 5_400_000],
    ['0.5ms', 1],
    ['0.001s', 1],
    ['3650d', 315_360_000_000],
  ])('reads %s as %i ms', (text, ms) => {
    expect(parseDuration('idle', text)).toBe(ms)
  })

  it.each([
    15,
    '15',
    '',
    'm',
    '15 m',
    ' 15m',
    '15m ',
    '15M',
    '15min',
    '15m30s',
    '-1s',
    '+1s',
    '1e3s',
    '.5s',
    '1.s',
    '1.2345s',
    '0x10s',
    '1234567890s',
    '١s',
    '15m\n',
    'Infinitys',
    null,
    undefined,
    {},
    ['15m'],
    Symbol('15m'),
    3651 as unknown,
    '3651d',
  ])('refuses %p and names the option', (value) => {
    expect(() => parseDuration('idleTimeout', value)).toThrow(
      expect.objectContaining({ code: 'invalid_option', option: 'idleTimeout' }),
    )
  })

  it.each([
    ['999ms', false],
    ['1s', true],
    ['60s', true],
    ['60.001s', false],
  ])('with bounds of 1 s to 1 min accepts %s: %p', (text, accepted) => {
    const parse = (): number => parseDuration('idle', text, { minMs: 1000, maxMs: 60_000 })
    if (accepted) expect(parse).not.toThrow()
    else expect(parse).toThrow(expect.objectContaining({ code: 'invalid_option' }))
  })

  it.each([
    [{ minMs: 7_200_000, maxMs: 34_560_000_000 }, "between '2h' and '400d', got 5ms"],
    [{ minMs: 90_000, maxMs: 90_500 }, "between '90s' and '90500ms', got 5ms"],
    [{ minMs: 0, maxMs: 4 }, "between '0ms' and '4ms', got 5ms"],
  ])('says bounds as they are written: %j', (range, said) => {
    expect(() => parseDuration('idle', '5ms', range)).toThrow(said)
  })
})
