import type { Core } from './core.ts'
import { AuthError } from './errors.ts'
import { formatRefreshToken } from './refresh-token.ts'
import type { SessionRecord } from './session.ts'
import { formatSessionToken } from './session-token.ts'

/** Every credential of one login, as of now. */
export interface Credentials {
  readonly session: SessionRecord
  readonly sessionToken: string
  readonly refreshToken: string
  readonly accessToken: string
  /** Until the access token ends, in whole seconds. */
  readonly expiresInS: number
}

/**
 * Makes a session's credentials. They are derived, so making them twice makes the same session and
 * refresh token; they carry the newest secret's `kid`, which is how secrets rotate.
 *
 * @param seed - the session's seed, from a token or just drawn
 * @throws {AuthError} `session_revoked` when the session was ended meanwhile
 */
export async function mint(core: Core, session: SessionRecord, seed: string): Promise<Credentials> {
  const { sid, generation } = session
  const { token, expiresInS } = await core.issuer.issue(session)
  // Who acknowledged the end of the session while this was signed has promised that nothing follows.
  if (core.follower.isRevoked(sid)) {
    throw new AuthError('session_revoked', 'the session was ended', { endedSession: sid })
  }
  return {
    session,
    sessionToken: formatSessionToken(core.ring, { sid, seed }),
    refreshToken: formatRefreshToken(core.ring, { sid, generation, seed }),
    accessToken: token,
    expiresInS,
  }
}
