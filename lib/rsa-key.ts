import { base64url } from 'jose'

/** The members of an RSA key as a JWK has them (RFC 7518 §6.3), base64url. */
export interface RsaMembers {
  readonly n?: string | undefined
  readonly e?: string | undefined
  readonly d?: string | undefined
  readonly p?: string | undefined
  readonly q?: string | undefined
}

const MIN_BITS = 2048

// CVE-2017-15361: the primes of these keys are powers of 65537 modulo each of many small primes.
const ROCA_PRIMES = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157]

/**
 * What is wrong with an RSA key, or undefined when nothing is known to be.
 *
 * @param key - a public key, or a private one with its primes
 *
 * @remarks NIST SP 800-56B §6.2 and §6.4, RFC 7518 §3.3 and §3.5, OWASP ASVS 5.0 11.2.3.
 */
export function findRsaFlaw(key: RsaMembers): string | undefined {
  const n = toInteger(key.n)
  const e = toInteger(key.e)
  if (n.toString(2).length < MIN_BITS) return `has fewer than ${MIN_BITS} bits`
  if (e < 65537n || e % 2n === 0n) return 'has a public exponent that is even or below 65537'
  if (n % 2n === 0n) return 'has an even modulus'
  if (isRoca(n)) return 'was made by a flawed generator (ROCA, CVE-2017-15361)'
  if (key.d === undefined) return undefined

  const [d, p, q] = [toInteger(key.d), toInteger(key.p), toInteger(key.q)]
  const isConsistent =
    p > 1n &&
    q > 1n &&
    p !== q &&
    p * q === n &&
    (e * d) % (p - 1n) === 1n &&
    (e * d) % (q - 1n) === 1n
  return isConsistent ? undefined : 'has private members that do not belong to the public ones'
}

function isRoca(n: bigint): boolean {
  return ROCA_PRIMES.every((prime) => powersOf65537(prime).has(Number(n % BigInt(prime))))
}

function powersOf65537(prime: number): ReadonlySet<number> {
  const powers = new Set<number>()
  for (let power = 1; !powers.has(power); power = (power * 65537) % prime) powers.add(power)
  return powers
}

function toInteger(member: string | undefined): bigint {
  const bytes = base64url.decode(member ?? '')
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return BigInt(`0x${hex === '' ? '0' : hex}`)
}
