import { expect, it } from '@jest/globals'
import type { Origin } from '../../lib/client-addresses.ts'
import { ClientAddresses } from '../../lib/client-addresses.ts'

const PROXY = '10.0.0.7'

/** What is found at each of some requests, of as many clients as there are. */
function observeMany(
  count: number,
  origin: (client: string) => Origin,
  clients = ['192.0.2.1', '192.0.2.2', '2001:db8::1'],
): boolean[] {
  const addresses = new ClientAddresses()
  const found = Array.from({ length: count }, (_, at) =>
    addresses.observe(origin(clients[at % clients.length] ?? '')),
  )
  expect(addresses.watching).toBe(!found.includes(true))
  return found
}

/** From a proxy that nobody trusts. */
function untrusted(client: string): Origin {
  return { ip: PROXY, forwarded: [client], trusted: 0 }
}

it('a private address that speaks for three clients in twenty requests is a proxy, said once', () => {
  const found = observeMany(60, untrusted)
  expect(found.indexOf(true)).toBe(19)
  expect(found.filter(Boolean)).toHaveLength(1)
})

it.each([
  '127.0.0.1',
  '::1',
  '::ffff:10.1.2.3',
  '172.31.0.1',
  '192.168.9.9',
  '100.64.0.1',
  'fd00::2',
])('so is %s', (ip) => {
  expect(observeMany(20, (client) => ({ ...untrusted(client), ip })).at(-1)).toBe(true)
})

it('so is a proxy before the one that is trusted', () => {
  const found = observeMany(20, (client) => ({
    ip: PROXY,
    forwarded: ['203.0.113.9', client, PROXY],
    trusted: 1,
  }))
  expect(found.at(-1)).toBe(true)
})

it.each<[string, (client: string) => Origin]>([
  ['is public', (client) => ({ ip: '203.0.113.1', forwarded: [client], trusted: 0 })],
  [
    'is just outside of a private network',
    (client) => ({ ...untrusted(client), ip: '172.32.0.1' }),
  ],
  ['is unreadable', (client) => ({ ...untrusted(client), ip: 'junk' })],
  ['is not there', (client) => ({ ...untrusted(client), ip: undefined })],
  ['speaks for nobody', () => ({ ip: PROXY, forwarded: [], trusted: 0 })],
  [
    'is the client that a trusted proxy named',
    () => ({ ip: PROXY, forwarded: [PROXY], trusted: 1 }),
  ],
  [
    'is one that everybody is trusted for',
    (client) => ({ ip: PROXY, forwarded: [client, PROXY], trusted: 2 }),
  ],
])('an address that %s is none', (_, origin) => {
  expect(observeMany(100, origin)).not.toContain(true)
})

it('one that speaks for two clients only may be a developer’s own', () => {
  const found = observeMany(100, untrusted, ['192.0.2.1', '192.0.2.2', '::ffff:192.0.2.1'])
  expect(found).not.toContain(true)
})
