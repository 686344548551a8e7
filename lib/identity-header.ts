import { ConfigError } from './errors.ts'

// RFC 9110 §5.6.2: a field name is a token. No underscore and no dot: many servers take them for a dash.
const NAME = /^[a-z0-9]+(?:-[a-z0-9]+)*$/

/** Headers of the connection, of the body's framing, or of somebody else's state. */
const TAKEN: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'content-type',
  'cookie',
  'expect',
  'host',
  'keep-alive',
  'origin',
  'proxy-connection',
  'set-cookie',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

const MAX_NAME_LENGTH = 64
const MAX_VALUE_LENGTH = 4096

/** What an app may say of a user in a header; undefined and null leave the header out. */
export type IdentityValue = string | number | boolean | readonly string[] | null | undefined

/**
 * Under which name a service behind may take a header. CGI, WSGI, PHP and some proxies make `X-User-Id`,
 * `x_user_id` and `X.User.Id` one variable, so whatever is no letter and no digit counts as a dash.
 */
export function headerKey(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-')
}

/**
 * Reads the name of a header that speaks of a user.
 *
 * @returns the name in lower case
 * @throws {ConfigError} `invalid_option` when it is none, or means something else already
 */
export function parseHeaderName(option: string, name: unknown): string {
  const lower = typeof name === 'string' ? name.toLowerCase() : ''
  if (!NAME.test(lower) || lower.length > MAX_NAME_LENGTH) {
    throw new ConfigError(option, "must be a header name of letters, digits and '-'")
  }
  if (TAKEN.has(lower)) throw new ConfigError(option, `cannot be ${lower}: HTTP needs that itself`)
  return lower
}

/**
 * The value of a header that speaks of a user, so that nothing in it ends the line, starts another
 * element, or is lost on the way: what is not printable ASCII, `%`, `,` and blanks at the ends are
 * percent-encoded UTF-8. `decodeURIComponent` gives back each element.
 *
 * @returns undefined when there is nothing to say
 * @throws {TypeError} when it is no text, not well-formed, or too long
 */
export function formatIdentity(value: IdentityValue): string | undefined {
  const given: unknown = value
  if (given === undefined || given === null) return undefined
  const elements: readonly unknown[] = Array.isArray(given) ? given : [given]
  const text = elements.map(formatElement).join(',')
  if (text.length <= MAX_VALUE_LENGTH) return text
  throw new TypeError(`a header value has at most ${MAX_VALUE_LENGTH} characters`)
}

function formatElement(element: unknown): string {
  const isPlain = typeof element === 'number' || typeof element === 'boolean'
  if (typeof element !== 'string' && !isPlain) throw new TypeError('a header value must be a text')
  const text = String(element)
  if (!text.isWellFormed()) throw new TypeError('a header value must be well-formed')
  return text.replaceAll(/[^\x20-\x24\x26-\x2b\x2d-\x7e]+|^ +| +$/g, encodeURIComponent)
}
