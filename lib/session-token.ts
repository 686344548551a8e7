import type { KeyRing } from './key-ring.ts'

/** How long every session token is, in characters. */
export const SESSION_TOKEN_LENGTH = 102

/** What a session token says once its MAC has been checked. */
export interface SessionToken {
  readonly sid: string
  readonly seed: string
}

// The seed's last character carries two unused bits: only the canonical spelling is a token.
const SESSION_TOKEN = /^lks_([\w-]{6})\.([\w-]{24})\.([\w-]{42}[AEIMQUYcgkosw048])\.([\w-]{22})$/

/** `lks_<kid>.<sid>.<seed>.<mac>`. The prefix lets secret scanners find leaks. */
export function formatSessionToken(ring: KeyRing, token: SessionToken): string {
  const text = `lks_${ring.activeKid}.${token.sid}.${token.seed}`
  return `${text}.${ring.sign('session-token', text)}`
}

/**
 * Reads a session token and checks its MAC. A forged, truncated or mistyped token ends here, before
 * any store is asked.
 *
 * @returns null when it is not a token of this ring
 */
export function readSessionToken(ring: KeyRing, text: string): SessionToken | null {
  const match = SESSION_TOKEN.exec(text)
  if (match === null) return null
  const [, kid = '', sid = '', seed = '', mac = ''] = match
  const signed = text.slice(0, -(mac.length + 1))
  return ring.verify('session-token', kid, signed, mac) ? { sid, seed } : null
}
