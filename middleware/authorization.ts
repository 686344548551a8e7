import type { IncomingMessage } from 'node:http'
import { AuthError } from '../lib/errors.ts'

const SCHEME = /^[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*$/

/**
 * The `Authorization` header, its scheme in lower case (RFC 9110 §11.1).
 *
 * @throws {AuthError} `credentials_ambiguous` when it stands twice: Node keeps the first silently
 */
export function readAuthorization(
  req: Pick<IncomingMessage, 'headers' | 'rawHeaders'>,
): { readonly scheme: string; readonly text: string } | null {
  const { authorization } = req.headers
  if (authorization === undefined) return null
  if (countAuthorization(req.rawHeaders) > 1) {
    throw new AuthError('credentials_ambiguous', 'more than one Authorization header')
  }
  // By hand: an expression would look at every character of a long token.
  const end = authorization.indexOf(' ')
  const scheme = authorization.slice(0, Math.max(0, end))
  let start = end
  while (authorization[start] === ' ') start++
  const text = authorization.slice(start)
  if (!SCHEME.test(scheme) || !/^\S/.test(text)) return NOTHING
  return { scheme: scheme.toLowerCase(), text }
}

const NOTHING = { scheme: '', text: '' }

function countAuthorization(rawHeaders: readonly string[]): number {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]
    if (name?.length === 13 && name.toLowerCase() === 'authorization') count++
  }
  return count
}
