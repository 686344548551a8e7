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
  /** Functions. One that took something else in an older schema has that schema's successor in its name. */
  readonly openSession: string
  readonly writeActivity: string
  readonly revokeUser: string
  readonly rotate: string
  /** What nodes of schema version 1 call. */
  readonly version1: {
    readonly openSession: string
    readonly revokeUser: string
    readonly rotateOrRevokeUser: string
    readonly tellFeed: string
  }
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
  const digest = (purpose: string) =>
    createHash('sha256').update(`latchkey ${schema}.${prefix} ${purpose}`).digest()
  const lock = (purpose: string) => digest(purpose).readBigInt64BE().toString()
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
    openSession: name('open_session_2'),
    writeActivity: name('write_activity'),
    revokeUser: name('revoke_user_2'),
    rotate: name('rotate_2'),
    version1: {
      openSession: name('open_session'),
      revokeUser: name('revoke_user'),
      rotateOrRevokeUser: name('rotate_or_revoke_user'),
      tellFeed: name('tell_feed'),
    },
    // Schema and prefix may be longer together than the name of a channel.
    channel: `"latchkey_feed_${digest('feed').toString('hex', 0, 8)}"`,
    userLock: lock('user'),
    migrationLock: lock('migration'),
    pruneLock: lock('prune'),
  }
}
