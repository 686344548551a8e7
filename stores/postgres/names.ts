import { createHash } from 'node:crypto'

/** What the store's tables and functions are called in SQL, quoted and with their schema. */
export interface Names {
  readonly schema: string
  readonly prefix: string
  readonly migration: string
  readonly meta: string
  readonly session: string
  readonly userMark: string
  readonly denied: string
  readonly counter: string
  readonly signingKeys: string
  readonly audit: string
  readonly feed: string
  /** Functions. */
  readonly openSession: string
  readonly revokeUser: string
  readonly rotateOrRevokeUser: string
  readonly tellFeed: string
  /** The channel of NOTIFY. */
  readonly channel: string
  /** Advisory locks: of a user (as a seed), of migrations, of pruning. 63-bit integers as text. */
  readonly userLock: string
  readonly migrationLock: string
  readonly pruneLock: string
}

/** @param schema - checked, as is the prefix */
export function createNames(schema: string, prefix: string): Names {
  const name = (suffix: string) => `"${schema}"."${prefix}${suffix}"`
  const lock = (purpose: string) =>
    createHash('sha256')
      .update(`latchkey ${schema}.${prefix} ${purpose}`)
      .digest()
      .readBigInt64BE()
      .toString()
  return {
    schema,
    prefix,
    migration: name('migration'),
    meta: name('meta'),
    session: name('session'),
    userMark: name('user_mark'),
    denied: name('denied'),
    counter: name('counter'),
    signingKeys: name('signing_keys'),
    audit: name('audit'),
    feed: name('feed'),
    openSession: name('open_session'),
    revokeUser: name('revoke_user'),
    rotateOrRevokeUser: name('rotate_or_revoke_user'),
    tellFeed: name('tell_feed'),
    channel: `"${schema}.${prefix}feed"`,
    userLock: lock('user'),
    migrationLock: lock('migration'),
    pruneLock: lock('prune'),
  }
}
