import type { Request } from 'express'
import type { AccessClaims } from '../lib/access-token-claims.ts'
import { AuthError } from '../lib/errors.ts'
import type { MaybePromise } from '../lib/options.ts'
import type { SessionRecord } from '../lib/session.ts'
import type { Context, Memo } from './context.ts'
import type { Presented } from './credentials.ts'
import { ambiguous, cookieTexts, oneSessionToken } from './credentials.ts'

/** An access token that was found good, by signature and feed. */
export interface VerifiedAccess {
  readonly text: string
  readonly claims: AccessClaims
}

/** The claims of the presented access token, by signature and feed. */
export function verifyPresentedAccess<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  presented: Presented,
  memo: Memo,
): MaybePromise<VerifiedAccess> {
  const { texts } = presented
  const [text = ''] = texts
  const known = texts.length === 1 ? context.checks.rememberedClaims(text) : undefined
  if (known !== undefined)
    return acceptAccess(context, req, presented, memo, { text, claims: known })
  return oneAccessToken(context, texts).then((access) =>
    acceptAccess(context, req, presented, memo, access),
  )
}

/**
 * Keeps a good token for the guards that come after.
 *
 * @throws {AuthError} `credentials_ambiguous` in a cookie beside the cookie of another session
 */
function acceptAccess<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  presented: Presented,
  memo: Memo,
  access: VerifiedAccess,
): VerifiedAccess {
  const { texts, transport } = presented
  // Chosen by an earlier guard of this request.
  if (texts.length === 1 && memo.access?.text === access.text) return memo.access
  const { sid } = access.claims
  if (transport === 'header' && sid !== null) context.cookieWatch.bearer(req, sid)
  if (transport === 'cookie') {
    const session = oneSessionToken(context, cookieTexts(context, req, 'session'))
    if (session !== null && session.sid !== sid) throw ambiguous()
  }
  memo.access = access
  return access
}

/**
 * The session of a verified access token, when an earlier guard asked the store for it during this
 * request: what is known better is not forgotten again. Null when none did.
 */
export function checkedBefore({ checked }: Memo, text: string): SessionRecord | null {
  return checked?.text === text ? checked.session : null
}

/** Of duplicate cookies the one that verifies counts; two that verify and differ are nobody's. */
async function oneAccessToken<Claims extends object>(
  context: Context<Claims>,
  texts: readonly string[],
): Promise<VerifiedAccess> {
  let found: VerifiedAccess | null = null
  let failure: unknown
  for (const text of texts) {
    try {
      const claims = await context.checks.verifyAccessToken(text)
      if (found !== null) throw ambiguous()
      found = { text, claims }
    } catch (error) {
      if (!(error instanceof AuthError) || error.status !== 401) throw error
      failure = error
    }
  }
  if (found === null) throw failure
  return found
}
