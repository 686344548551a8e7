import type { Request } from 'express'
import { readCookie } from '../lib/cookies.ts'
import { AuthError } from '../lib/errors.ts'
import type { MaybePromise } from '../lib/options.ts'
import type { SessionRecord } from '../lib/session.ts'
import type { PresentedSession } from '../lib/session-token-reader.ts'
import { verifyOrNull } from './access-cookie.ts'
import type { Context, Memo } from './context.ts'
import type { Presented } from './credentials.ts'
import { ambiguous, oneSessionToken } from './credentials.ts'

/**
 * The session of a session token, from the store or from what an earlier guard asked it during this
 * request.
 *
 * @param near - whether the near cache may answer. What it says is not remembered for later guards:
 *   it is weaker than what they may ask for
 */
export function checkPresentedSession<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  presented: Presented,
  memo: Memo,
  near: boolean,
): MaybePromise<FoundSession> {
  const [text = ''] = presented.texts
  if (presented.texts.length === 1 && memo.checked?.text === text) {
    // The store was asked already, but the feed may have brought news since.
    context.checks.refuseRevoked(memo.checked.session.sid)
    return { session: memo.checked.session, cached: false }
  }
  const token = oneSessionToken(context, presented.texts)
  if (token === null) throw new AuthError('token_invalid', 'the session token is not good')
  if (presented.transport === 'cookie' && context.core.settings.accessToken === 'cookie') {
    return refuseForeignAccess(context, req, token.sid).then(async () =>
      findSession(context, token, presented, memo, near),
    )
  }
  return findSession(context, token, presented, memo, near)
}

/** A session, and whether the near cache knew it: the store was not asked then. */
export interface FoundSession {
  readonly session: SessionRecord
  readonly cached: boolean
}

function findSession<Claims extends object>(
  { checks }: Context<Claims>,
  token: PresentedSession,
  presented: Presented,
  memo: Memo,
  near: boolean,
): MaybePromise<FoundSession> {
  const known = near ? checks.nearSession(token) : undefined
  if (known !== undefined) return { session: known, cached: true }
  const asked = near ? checks.fetchSession(token) : checks.checkSessionToken(token)
  return asked.then((session) => {
    memo.checked = { text: onlyText(presented), session }
    return { session, cached: false }
  })
}

/** An access cookie of another session next to the session cookie: nobody can say who is asking. */
async function refuseForeignAccess<Claims extends object>(
  { core }: Context<Claims>,
  req: Request,
  sid: string,
): Promise<void> {
  for (const text of readCookie(req.headers.cookie, core.settings.cookies.access.name)) {
    const claims = core.verifier.remembered(text) ?? (await verifyOrNull(core.verifier, text))
    if (claims !== null && claims.sid !== sid) throw ambiguous()
  }
}

/** Of duplicate cookies only one was good: the others' texts must not stand for it. */
function onlyText({ texts }: Presented): string | null {
  return texts.length === 1 ? (texts[0] ?? null) : null
}
