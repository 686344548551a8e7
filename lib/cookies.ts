import { ConfigError } from './errors.ts'

/** The three cookies latchkey may set. */
export type CookieRole = 'session' | 'refresh' | 'access'

/** How one cookie is set. All are HttpOnly with `Path=/`. */
export interface CookieSpec {
  readonly name: string
  readonly secure: boolean
  readonly sameSite: 'Strict' | 'Lax'
  /** Undefined for a host-only cookie. */
  readonly domain: string | undefined
}

/** RFC 6265bis §5.6: user agents may refuse a longer name and value. */
const MAX_COOKIE_BYTES = 4096

// RFC 9110 §5.6.2: a cookie's name is a token.
const COOKIE_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}$/
const COOKIE_VALUE = /^[A-Za-z0-9._-]+$/
const DOMAIN = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/i

/**
 * Checks that a browser would accept and protect such a cookie.
 *
 * @throws {ConfigError} `invalid_option` when it would be dropped silently
 */
export function checkCookieSpec(option: string, spec: CookieSpec): void {
  // Options come from JavaScript as well, and a pattern takes a number for its digits.
  const given: unknown = spec.name
  if (typeof given !== 'string' || !COOKIE_NAME.test(given)) {
    throw new ConfigError(option, `is no cookie name: ${describe(given)}`)
  }
  const domain: unknown = spec.domain
  if (domain !== undefined && !(typeof domain === 'string' && DOMAIN.test(domain))) {
    throw new ConfigError('cookies.domain', `is no domain name: ${describe(domain)}`)
  }
  const name = spec.name.toLowerCase()
  // RFC 6265bis §4.1.3.2: __Host- requires Secure, Path=/ and no Domain.
  if (name.startsWith('__host-') && spec.domain !== undefined) {
    throw new ConfigError(
      option,
      `starts with __Host-, which forbids a Domain, but cookies.domain is "${spec.domain}"; ` +
        'remove cookies.domain, or name the cookie with __Secure- instead and accept that ' +
        'every subdomain can plant it',
    )
  }
  // RFC 6265bis §4.1.3.1: both prefixes require Secure.
  if ((name.startsWith('__host-') || name.startsWith('__secure-')) && !spec.secure) {
    throw new ConfigError(option, 'has a prefix that requires cookies.secure')
  }
}

function describe(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : typeof value
}

/**
 * The text of a `Set-Cookie` header.
 *
 * @param maxAgeS - seconds to live; null for a cookie that ends with the browser; 0 clears it
 */
export function buildCookie(spec: CookieSpec, value: string, maxAgeS: number | null): string {
  if (value !== '' && !COOKIE_VALUE.test(value)) {
    throw new RangeError('a cookie value is base64url text and dots')
  }
  if (spec.name.length + value.length > MAX_COOKIE_BYTES) {
    throw new RangeError(`a cookie has at most ${MAX_COOKIE_BYTES} bytes`)
  }
  return [
    `${spec.name}=${value}`,
    ...(maxAgeS === null ? [] : [`Max-Age=${maxAgeS}`]),
    // Some old user agents know Expires only; clearing must reach them.
    ...(maxAgeS === 0 ? ['Expires=Thu, 01 Jan 1970 00:00:00 GMT'] : []),
    'Path=/',
    ...(spec.domain === undefined ? [] : [`Domain=${spec.domain}`]),
    'HttpOnly',
    ...(spec.secure ? ['Secure'] : []),
    `SameSite=${spec.sameSite}`,
  ].join('; ')
}

/** The `Set-Cookie` that removes the cookie: same name, path, domain and attributes. */
export function clearCookie(spec: CookieSpec): string {
  return buildCookie(spec, '', 0)
}

/**
 * All values a `Cookie` header has under one name, in the order they stand, without decoding. More
 * than one means that somebody else set a cookie of that name too (cookie tossing); a parser that
 * keeps the first would hand the choice to them.
 *
 * The name is compared byte for byte, and only SP and HTAB are trimmed: user agents that trim more
 * would let `\u00a0__Host-…` pass as the prefixed name.
 */
export function readCookie(header: string | undefined, name: string): string[] {
  const values: string[] = []
  if (header === undefined || !header.includes(name)) return values
  let start = 0
  let equals = -1
  while (start < header.length) {
    let end = header.indexOf(';', start)
    if (end === -1) end = header.length
    // Not searched again before it is reached: a header of nothing but semicolons stays linear.
    if (equals < start) equals = header.indexOf('=', start)
    if (equals === -1) break
    if (equals < end && trimmed(header, start, equals) === name) {
      values.push(trimmed(header, equals + 1, end))
    }
    start = end + 1
  }
  return values
}

/**
 * A `Cookie` header without the cookies of some names; '' when nothing is left. The opposite of
 * {@link readCookie} in one respect: what only a careless parser would take for the name goes too.
 *
 * @param names - in lower case
 */
export function withoutCookies(header: string, names: ReadonlySet<string>): string {
  const kept = header.split(';').filter((pair) => {
    const [name = ''] = pair.split('=', 1)
    return !names.has(name.trim().toLowerCase())
  })
  const left = kept.join(';')
  return trimmed(left, 0, left.length)
}

function trimmed(text: string, from: number, to: number): string {
  let start = from
  let end = to
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isBlank(unit: number): boolean {
  return unit === 0x20 || unit === 0x09
}
