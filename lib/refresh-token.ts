import type { KeyRing } from './key-ring.ts'
import { MAX_GENERATION } from './rotation.ts'

/** What a refresh token says once its MAC has been checked. */
export interface RefreshToken {
  readonly sid: string
  readonly generation: number
  readonly seed: string
}

const REFRESH_TOKEN =
  /^lkr_([\w-]{6})\.([\w-]{24})\.(0|[1-9]\d{0,9})\.([\w-]{42}[AEIMQUYcgkosw048])\.([\w-]{22})$/

/**
 * `lkr_<kid>.<sid>.<generation>.<seed>.<mac>`. The token of any generation is derived from the
 * session's seed, never drawn: whoever asks twice for a successor gets the same one.
 */
export function formatRefreshToken(ring: KeyRing, token: RefreshToken): string {
  const text = `lkr_${ring.activeKid}.${token.sid}.${token.generation}.${token.seed}`
  return `${text}.${ring.sign('refresh-token', text)}`
}

/**
 * Reads a refresh token and checks its MAC, before any store is asked.
 *
 * @returns null when it is not a token of this ring
 */
export function readRefreshToken(ring: KeyRing, text: string): RefreshToken | null {
  const match = REFRESH_TOKEN.exec(text)
  if (match === null) return null
  const [, kid = '', sid = '', digits = '', seed = '', mac = ''] = match
  const generation = Number(digits)
  if (generation > MAX_GENERATION) return null
  const signed = text.slice(0, -(mac.length + 1))
  return ring.verify('refresh-token', kid, signed, mac) ? { sid, generation, seed } : null
}
