import { ConfigError } from './errors.ts'

/** What happens to a plain access token while neither the feed nor the store can be asked. */
export type OnStoreFailure = 'accept-signature' | 'deny'

/** The values of `onStoreFailure`. */
export const ON_STORE_FAILURE: readonly OnStoreFailure[] = ['accept-signature', 'deny']

/**
 * A value that must be one of a few.
 *
 * @throws {ConfigError} `invalid_option` naming the choices
 */
export function oneOf<Value extends string>(
  name: string,
  value: unknown,
  allowed: readonly Value[],
): Value {
  const found = allowed.find((candidate) => candidate === value)
  if (found === undefined) {
    throw new ConfigError(name, `must be ${allowed.map((text) => `'${text}'`).join(' or ')}`)
  }
  return found
}

/**
 * An issuer: its URL stands in tokens as it is written.
 *
 * @throws {ConfigError} `invalid_option`
 */
export function parseIssuer(issuer: unknown): URL {
  const url = parseUrl('issuer', issuer, 'https://app.example')
  // RFC 8414 §2: no query and no fragment, not even an empty one.
  if (/[?#]/.test(String(issuer))) {
    throw new ConfigError('issuer', 'must have no query, fragment or credentials')
  }
  return url
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

/**
 * An absolute URL of https, or of http on loopback, without credentials.
 *
 * @param example - what it may look like, for the error
 * @throws {ConfigError} `invalid_option`
 */
export function parseUrl(option: string, text: unknown, example: string): URL {
  // URL trims blanks: what is used would not be what is written.
  if (typeof text !== 'string' || /[\s\p{Cc}]/u.test(text) || !URL.canParse(text)) {
    throw new ConfigError(option, `must be an absolute URL, such as '${example}'`)
  }
  const url = new URL(text)
  const isLoopback = url.protocol === 'http:' && LOOPBACK.test(url.hostname)
  if (url.protocol !== 'https:' && !isLoopback) {
    throw new ConfigError(option, 'must be https; http is for loopback only')
  }
  if (url.username !== '' || url.password !== '') {
    throw new ConfigError(option, 'must have no query, fragment or credentials')
  }
  return url
}

/**
 * For whom access tokens are: one or several.
 *
 * @throws {ConfigError} `invalid_option`
 */
export function parseAudience(audience: unknown): readonly string[] {
  const list: unknown = typeof audience === 'string' ? [audience] : audience
  if (!Array.isArray(list) || list.length === 0 || !list.every(isText)) {
    throw new ConfigError('audience', 'must be a text or a list of texts')
  }
  return [...list]
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
