import type { AccessClaims } from './access-token-claims.ts'
import type { JsonObject } from './session.ts'

/** A verified token. */
export interface RememberedToken<Claims extends object = JsonObject> {
  /** The key that verified it. */
  readonly kid: string
  readonly claims: AccessClaims<Claims>
}

/** Remembers verified tokens by their text, in bounded memory. */
export interface TokenCache<Claims extends object = JsonObject> {
  get(token: string): RememberedToken<Claims> | undefined
  /** Remembers a token that has been verified. What was refused is never remembered. */
  set(token: string, kid: string, claims: AccessClaims<Claims>): void
  clear(): void
}

/** How much memory remembered tokens may take. */
export const DEFAULT_CACHE_BYTES: number = 8 * 1024 * 1024

interface Entry<Claims extends object> extends RememberedToken<Claims> {
  readonly token: string
}

/**
 * A cache of two generations: what is asked for moves to the young one, and when that is half of
 * the bytes it becomes the old one and the old one is dropped. A hit thus never reorders anything,
 * and nothing that is in use is lost.
 *
 * @param maxBytes - estimate of the memory it may take; 0 remembers nothing
 */
export function createTokenCache<Claims extends object = JsonObject>(
  maxBytes: number = DEFAULT_CACHE_BYTES,
): TokenCache<Claims> {
  let young = new Map<number, Entry<Claims>>()
  let old = new Map<number, Entry<Claims>>()
  let youngBytes = 0

  function remember(key: number, entry: Entry<Claims>): void {
    const bytes = entryBytes(entry.token)
    if (bytes > maxBytes / 2) return
    if (youngBytes + bytes > maxBytes / 2) {
      old = young
      young = new Map()
      youngBytes = 0
    }
    if (!young.has(key)) youngBytes += bytes
    young.set(key, entry)
  }

  return {
    get(token) {
      const key = keyOf(token)
      const entry = young.get(key)
      if (entry?.token === token) return entry
      const aged = old.get(key)
      if (aged?.token !== token) return undefined
      remember(key, aged)
      return aged
    },
    set(token, kid, claims) {
      remember(keyOf(token), { token: detach(token), kid, claims })
    },
    clear() {
      young = new Map()
      old = new Map()
      youngBytes = 0
    },
  }
}

/**
 * What a token is looked up by: 30 bits of its signature, from characters before the last, which may have
 * four values only. To hash all of the text costs more than everything else a hit does, and that all of it
 * is the same is compared anyway.
 *
 * @param token - in an app without types anything, and then it is no token
 */
function keyOf(token: unknown): number {
  if (typeof token !== 'string') return -1
  const end = token.length
  return (
    (token.charCodeAt(end - 2) & 63) |
    ((token.charCodeAt(end - 3) & 63) << 6) |
    ((token.charCodeAt(end - 4) & 63) << 12) |
    ((token.charCodeAt(end - 5) & 63) << 18) |
    ((token.charCodeAt(end - 6) & 63) << 24)
  )
}

/** What an entry takes in memory: the text, and the claims parsed from it with their objects. */
function entryBytes(token: string): number {
  return 2 * token.length + 700
}

/**
 * The same text in memory of its own. A slice of a request header keeps the whole header alive,
 * which may be twenty times as long as the token.
 */
function detach(text: string): string {
  return ` ${text}`.slice(1)
}
