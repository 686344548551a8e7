import { BlockList, isIPv4, isIPv6 } from 'node:net'

/** Where an address cannot be read: all of these share one network, so that junk evades nothing. */
const UNKNOWN = 'unknown'

const BRACKETED = /^\[([^\]]*)\](?::\d+)?$/
const IPV4_WITH_PORT = /^([\d.]+):\d+$/

/**
 * The network an address belongs to, for counting what comes from it: of IPv4 the address, of IPv6
 * the first 64 bits, for whoever has one address there has all of them (RFC 6177, RFC 7421). However
 * an address is spelled, it is one network; an IPv4 address that is written as an IPv6 one
 * (`::ffff:0:0/96`, RFC 4291 §2.5.5.2; `64:ff9b::/96`, RFC 6052) is the IPv4 address.
 *
 * @param ip - as Express gives it in `req.ip`: some proxies write a port or a zone behind it
 * @returns `192.0.2.1`, `2001:db8:0:0::/64`, or `unknown`
 */
export function networkOf(ip: string | undefined): string {
  if (ip === undefined) return UNKNOWN
  const [, bare = ip] = BRACKETED.exec(ip) ?? IPV4_WITH_PORT.exec(ip) ?? []
  const [address = ''] = bare.split('%', 1)
  if (isIPv4(address)) return address
  if (!isIPv6(address)) return UNKNOWN
  const groups = groupsOf(address)
  return embeddedIPv4(groups) ?? `${groups.slice(0, 4).join(':')}::/64`
}

const PRIVATE = new BlockList()
for (const [address, bits] of [
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  PRIVATE.addSubnet(address, bits)
}
for (const [address, bits] of [
  ['::', 96], // ::1; all of IPv4 is below ::ffff:0:0/96
  ['fc00::', 7],
  ['fe80::', 10],
] as const) {
  PRIVATE.addSubnet(address, bits, 'ipv6')
}

/** Whether an address is of this machine or of a network that is not the internet (RFC 6890). */
export function isPrivateAddress(ip: string | undefined): boolean {
  const network = networkOf(ip)
  if (isIPv4(network)) return PRIVATE.check(network)
  return network !== UNKNOWN && PRIVATE.check(network.replace('/64', ''), 'ipv6')
}

/** The eight groups of an IPv6 address, without leading zeros, in lower case. */
function groupsOf(address: string): readonly string[] {
  // The URL parser knows every spelling, dotted tails included, and writes one.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [head = '', tail] = canonical.split('::', 2)
  const left = head === '' ? [] : head.split(':')
  if (tail === undefined) return left
  const right = tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right]
}

const EMBEDDING: ReadonlySet<string> = new Set(['0:0:0:0:0:ffff', '64:ff9b:0:0:0:0'])

function embeddedIPv4(groups: readonly string[]): string | null {
  if (!EMBEDDING.has(groups.slice(0, 6).join(':'))) return null
  return groups
    .slice(6)
    .flatMap((group) => {
      const bits = Number.parseInt(group, 16)
      return [bits >> 8, bits & 255]
    })
    .join('.')
}
