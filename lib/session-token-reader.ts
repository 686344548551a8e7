import { hash } from 'node:crypto'
import type { KeyRing } from './key-ring.ts'
import { hashSeed } from './session-id.ts'
import { readSessionToken, SESSION_TOKEN_LENGTH } from './session-token.ts'

/** A session token whose MAC has been checked, as the store can be asked about it. */
export interface PresentedSession {
  readonly sid: string
  /** What the store keeps of the token's seed. */
  readonly seedHash: string
}

/** Reads session tokens; null for what is none of this kit's. */
export type SessionTokenReader = (text: string) => PresentedSession | null

/** How many tokens are remembered at most; about 300 bytes each. */
const MAX_TOKENS = 10_000

/**
 * Makes a reader that remembers which tokens it has found good: a browser sends the same one with
 * every request, and its MAC costs more than all else a guard does. Secrets do not change while a kit
 * lives, so what was good once is good; whether its session is, others say. Only what verified is
 * remembered, by its hash: neither a token nor a seed stays in memory.
 *
 * Two maps take turns, so that a hit reorders nothing.
 */
export function createSessionTokenReader(
  ring: KeyRing,
  maxTokens: number = MAX_TOKENS,
): SessionTokenReader {
  let young = new Map<string, PresentedSession>()
  let old = new Map<string, PresentedSession>()

  function remember(key: string, token: PresentedSession): PresentedSession {
    if (young.size >= maxTokens / 2) {
      old = young
      young = new Map()
    }
    young.set(key, token)
    return token
  }

  return (text) => {
    // Before anything that costs time in proportion to the length.
    if (text.length !== SESSION_TOKEN_LENGTH) return null
    const key = hash('sha256', text, 'base64url')
    const known = young.get(key)
    if (known !== undefined) return known
    const aged = old.get(key)
    if (aged !== undefined) return remember(key, aged)
    const token = readSessionToken(ring, text)
    if (token === null) return null
    // A part of the text would keep all of it in memory.
    const sid = Buffer.from(token.sid, 'latin1').toString('latin1')
    return remember(key, Object.freeze({ sid, seedHash: hashSeed(token.seed) }))
  }
}
