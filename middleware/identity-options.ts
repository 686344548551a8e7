import type { Auth, RegisteredClaims } from '../lib/auth.ts'
import { ConfigError } from '../lib/errors.ts'
import type { IdentityValue } from '../lib/identity-header.ts'
import { headerKey, parseHeaderName } from '../lib/identity-header.ts'
import { rejectUnknownOptions } from '../lib/unknown-options.ts'

/** What is taken from a request before it goes on. */
export interface StripOptions {
  /**
   * Further headers that a client must not be able to set, beside those that are set here and the
   * usual ones (`x-user-id`, `x-forwarded-user`, `remote-user` …). Any case, with `_` or `.` for `-`.
   *
   * @defaultValue none
   */
  readonly strip?: readonly string[] | undefined
  /**
   * Leaves the client's `Authorization` and latchkey's cookies in the request. The service behind could
   * then act as the client everywhere.
   *
   * @deprecated only for a service behind that checks these credentials itself
   * @defaultValue false
   */
  readonly dangerouslyKeepCredentials?: boolean | undefined
}

/** Says who is asking by a JWT that lives for a minute. */
export interface IdentityTokenOptions extends StripOptions {
  /** `aud` of the token: the service behind, never one of this kit's own audiences. */
  readonly audience: string
  /**
   * The header that carries it. In `authorization` it follows `Bearer`, elsewhere it stands alone.
   *
   * @defaultValue `'authorization'`
   */
  readonly header?: string | undefined
  readonly headers?: undefined
}

/** Says who is asking in plain headers, for a network that nobody else can send from. */
export interface IdentityHeadersOptions<
  Claims extends object = RegisteredClaims,
> extends StripOptions {
  /** What each header says; undefined or null leaves it out. Values are percent-encoded where needed. */
  readonly headers: Readonly<Record<string, (auth: Auth<Claims>) => IdentityValue>>
  readonly audience?: undefined
  readonly header?: undefined
}

/** How a gateway says who is asking: a token for `audience`, or plain `headers`. */
export type IdentityOptions<Claims extends object = RegisteredClaims> =
  | IdentityTokenOptions
  | IdentityHeadersOptions<Claims>

/** Identity options, checked and complete. */
export interface ParsedIdentityOptions<Claims extends object> {
  /** Null for plain headers. */
  readonly token: { readonly audience: string; readonly header: string } | null
  readonly headers: readonly (readonly [
    name: string,
    read: (auth: Auth<Claims>) => IdentityValue,
  ])[]
  /** Names of headers that clients cannot set, as `headerKey` spells them. */
  readonly stripped: ReadonlySet<string>
  readonly keepCredentials: boolean
}

/** What other gateways call the user: a service behind may believe these from habit. */
const USUAL = [
  'x-user',
  'x-user-id',
  'x-user-name',
  'x-user-email',
  'x-user-roles',
  'x-forwarded-user',
  'x-forwarded-email',
  'x-forwarded-groups',
  'x-forwarded-preferred-username',
  'x-forwarded-access-token',
  'x-auth-request-user',
  'x-auth-request-email',
  'x-auth-request-groups',
  'x-auth-request-preferred-username',
  'x-auth-request-access-token',
  'x-authenticated-user',
  'x-remote-user',
  'remote-user',
  'remote-email',
  'remote-groups',
  'remote-name',
]

const CREDENTIALS = ['authorization', 'proxy-authorization']

const KNOWN = ['audience', 'header', 'headers', 'strip', 'dangerouslyKeepCredentials']
const MAX_HEADERS = 20

/**
 * Checks identity options once.
 *
 * @param option - the factory's name, for the error
 * @param options - what the app wrote
 * @param own - the audiences of the kit itself
 * @param alsoKnown - options that the factory reads itself
 * @throws {ConfigError} `invalid_option`
 */
export function parseIdentityOptions<Claims extends object>(
  option: string,
  options: IdentityOptions<Claims>,
  own: readonly string[],
  alsoKnown: readonly string[] = [],
): ParsedIdentityOptions<Claims> {
  const given: unknown = options
  if (typeof given !== 'object' || given === null) {
    throw new ConfigError(option, 'takes an object with audience or headers')
  }
  rejectUnknownOptions(option, options, [...KNOWN, ...alsoKnown])
  const { audience, headers, header, strip = [], dangerouslyKeepCredentials = false } = options
  if ((audience === undefined) === (headers === undefined)) {
    throw new ConfigError(option, 'needs audience, or headers, and not both')
  }
  if (typeof dangerouslyKeepCredentials !== 'boolean') {
    throw new ConfigError(`${option}.dangerouslyKeepCredentials`, 'must be true or false')
  }
  if (!Array.isArray(strip)) {
    throw new ConfigError(`${option}.strip`, "must be a list of header names, such as ['x-role']")
  }
  const token =
    audience === undefined
      ? null
      : {
          audience: parseAudience(`${option}.audience`, audience, own),
          header: parseHeaderName(`${option}.header`, header ?? 'authorization'),
        }
  const set = headers === undefined ? [] : parseHeaders(`${option}.headers`, headers)
  return {
    token,
    headers: set,
    stripped: new Set(
      [
        ...USUAL,
        ...(dangerouslyKeepCredentials ? [] : CREDENTIALS),
        ...strip.map((name) => parseHeaderName(`${option}.strip`, name)),
        ...(token === null ? [] : [token.header]),
        ...set.map(([name]) => name),
      ].map(headerKey),
    ),
    keepCredentials: dangerouslyKeepCredentials,
  }
}

function parseAudience(option: string, audience: unknown, own: readonly string[]): string {
  if (typeof audience !== 'string' || audience === '') {
    throw new ConfigError(option, 'must be a text, such as the URL of the service behind')
  }
  // The service behind could send it back to us and be the user.
  if (own.includes(audience)) throw new ConfigError(option, 'must not be an audience of this kit')
  return audience
}

function parseHeaders<Claims extends object>(
  option: string,
  headers: IdentityHeadersOptions<Claims>['headers'],
): ParsedIdentityOptions<Claims>['headers'] {
  const given: unknown = headers
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new ConfigError(
      option,
      "must be an object, such as { 'x-user-id': (auth) => auth.userId }",
    )
  }
  const entries = Object.entries(headers).map(([name, read]) => {
    const reader: unknown = read
    if (typeof reader !== 'function')
      throw new ConfigError(`${option}.${name}`, 'must be a function')
    return [parseHeaderName(`${option}.${name}`, name), read] as const
  })
  if (entries.length === 0 || entries.length > MAX_HEADERS) {
    throw new ConfigError(option, `must have 1 to ${MAX_HEADERS} headers`)
  }
  if (new Set(entries.map(([name]) => name)).size < entries.length) {
    throw new ConfigError(option, 'has a header twice')
  }
  return entries
}
