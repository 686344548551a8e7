import type { UserRef } from '../../lib/user.ts'
import { userHash } from '../../lib/user.ts'

const SHARD_LENGTH = 2
const USER_NAME_LENGTH = 22

/**
 * The names of all keys. What belongs to a user stands under the tag of their shard, `{ab}`, and so
 * in one Cluster slot; a session id begins with the shard, so it alone leads there. Names from
 * outside are in keys as hashes only.
 */
export interface Keys {
  /** What the keys of a session's shard start with; scripts put the rest behind it. */
  baseOf(sid: string): string
  sessionOf(sid: string): string
  /** Where the denial of a token of the session stands. */
  deniedOf(sid: string, jti: string): string
  baseOfUser(user: UserRef): string
  /** The user's name in keys. */
  nameOf(user: UserRef): string
  readonly feed: string
  readonly audit: string
  /** The signing keys; in the slot of the feed, which hears of every change. */
  readonly signing: string
  limitOf(name: string): string
}

/** Makes the names. */
export function createKeys(prefix: string, hash: (text: string) => string): Keys {
  const baseOf = (sid: string) => `${prefix}:{${sid.slice(0, SHARD_LENGTH)}}`
  const nameOf = (user: UserRef) =>
    userHash(user)
      .toString('base64url')
      .slice(SHARD_LENGTH, SHARD_LENGTH + USER_NAME_LENGTH)
  return {
    baseOf,
    sessionOf: (sid) => baseOf(sid) + sid.slice(SHARD_LENGTH),
    deniedOf: (sid, jti) => `${baseOf(sid)}d${sid.slice(SHARD_LENGTH)}${jti}`,
    baseOfUser: (user) => baseOf(userHash(user).toString('base64url', 0, 3).slice(0, SHARD_LENGTH)),
    nameOf,
    feed: `${prefix}:{feed}`,
    audit: `${prefix}:{audit}`,
    signing: `${prefix}:{feed}k`,
    limitOf(name) {
      const hashed = hash(name)
      return `${prefix}:{l${hashed.slice(0, SHARD_LENGTH)}}${hashed}`
    },
  }
}
