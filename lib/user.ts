import { createHash } from 'node:crypto'
import { AuthError } from './errors.ts'
import { isIdentifier } from './identifier.ts'

/** A user is always this pair, byte-exact; `tenant` is `''` in an app without tenants. */
export interface UserRef {
  readonly tenant: string
  readonly id: string
}

/**
 * Reads a user's name at the border.
 *
 * @param user - a bare id, or the pair
 * @throws {AuthError} `user_invalid` (400) when a part is not an identifier
 */
export function parseUserRef(
  user: string | { readonly id: string; readonly tenant?: string | undefined },
): UserRef {
  const { id, tenant = '' } = typeof user === 'string' ? { id: user, tenant: '' } : user
  if (!isIdentifier(id) || !(tenant === '' || isIdentifier(tenant))) {
    throw new AuthError(
      'user_invalid',
      'a user id or tenant is a text of 1 to 255 well-formed characters, none of them control characters',
    )
  }
  return { tenant, id }
}

/** Whether two names are the same user. */
export function isSameUser(a: UserRef, b: UserRef): boolean {
  return a.id === b.id && a.tenant === b.tenant
}

/**
 * The user's name in keys: SHA-256 of the length-prefixed pair. Never a joined string, so that no
 * choice of characters lets one user's key name another's.
 */
export function userHash(user: UserRef): Buffer {
  const hash = createHash('sha256')
  for (const part of [user.tenant, user.id]) {
    const bytes = Buffer.from(part, 'utf8')
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    hash.update(length).update(bytes)
  }
  return hash.digest()
}

/**
 * The first 12 bits of the user's hash as two base64url characters. A session id starts with them,
 * so that a session id alone says in which Redis Cluster slot its user's keys live.
 */
export function userShard(user: UserRef): string {
  return userHash(user).toString('base64url', 0, 3).slice(0, 2)
}
