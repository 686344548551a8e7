import { describe, expect, it } from '@jest/globals'
import { networkOf } from '../../lib/network.ts'

describe('an IPv4 address', () => {
  const SPELLINGS = [
    '192.0.2.1',
    '192.0.2.1:4711',
    '::ffff:192.0.2.1',
    '::FFFF:192.0.2.1',
    '::ffff:c000:201',
    '::ffff:c000:0201',
    '0:0:0:0:0:ffff:192.0.2.1',
    '0000:0000:0000:0000:0000:ffff:c000:0201',
    '[::ffff:192.0.2.1]',
    '[::ffff:192.0.2.1]:4711',
    '64:ff9b::192.0.2.1',
    '64:ff9b::c000:201',
  ]

  it.each(SPELLINGS)('is a network of its own, also as %s', (spelling) => {
    expect(networkOf(spelling)).toBe('192.0.2.1')
  })

  it('is not its neighbour', () => {
    expect(networkOf('192.0.2.2')).toBe('192.0.2.2')
    expect(networkOf('::ffff:192.0.2.2')).toBe('192.0.2.2')
    expect(networkOf('::ffff:255.254.0.9')).toBe('255.254.0.9')
  })
})

describe('an IPv6 address', () => {
  const SPELLINGS = [
    '2001:db8:1:2::1',
    '2001:DB8:1:2::1',
    '2001:0db8:0001:0002:0000:0000:0000:0001',
    '2001:db8:1:2:ffff:ffff:ffff:ffff',
    '2001:db8:1:2:0:0:192.0.2.1',
    '[2001:db8:1:2::1]',
    '[2001:db8:1:2::1]:4711',
    '2001:db8:1:2::1%eth0',
  ]

  it.each(SPELLINGS)('counts by its first 64 bits: %s', (spelling) => {
    expect(networkOf(spelling)).toBe('2001:db8:1:2::/64')
  })

  it.each([
    ['2001:db8:1:3::1', '2001:db8:1:3::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001::1:0:0:1', '2001:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['::ffff:0:192.0.2.1', '0:0:0:0::/64'],
  ])('of %s is %s', (address, network) => {
    expect(networkOf(address)).toBe(network)
  })
})

describe('what is no address', () => {
  it.each([
    undefined,
    '',
    'localhost',
    '192.0.2',
    '192.0.2.256',
    '192.0.2.01',
    '0xc0.0.2.1',
    '3221225985',
    '192.0.2.1, 192.0.2.2',
    '2001:db8:::1',
    '[2001:db8::1',
    '::ffff:192.0.2.1:80:90:100',
    'unknown',
    '\u0000',
  ])('shares one network with all that is none: %j', (junk) => {
    expect(networkOf(junk)).toBe('unknown')
  })
})
