import type { IncomingMessage } from 'node:http'
import { AuthError } from '../lib/errors.ts'

const AUTHORIZATION = /^([A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*) +([^\s].*)$/

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
  const match = AUTHORIZATION.exec(authorization)
  const [, scheme = '', text = ''] = match ?? []
  return { scheme: scheme.toLowerCase(), text }
}

function countAuthorization(rawHeaders: readonly string[]): number {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]
    if (name?.length === 13 && name.toLowerCase() === 'authorization') count++
  }
  return count
}
