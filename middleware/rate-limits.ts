import type { Request } from 'express'
import type { Auth } from '../lib/auth.ts'
import type { ErrorCode } from '../lib/errors.ts'
import { AuthError } from '../lib/errors.ts'
import type { Attempt } from '../lib/login-limits.ts'
import { accountsOf, beginLogin, beginStepUp } from '../lib/login-limits.ts'
import { networkOf } from '../lib/network.ts'
import { rateLimited } from '../lib/rate-limit.ts'
import type { JsonObject } from '../lib/session.ts'
import type { Context } from './context.ts'
import { hookFailure, requestFacts } from './context.ts'

/**
 * Counts a login before the app sees its credentials.
 *
 * @throws {AuthError} `rate_limited` (429)
 */
export async function countLogin<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  credentials: JsonObject,
): Promise<Attempt> {
  return beginLogin(context.core.limits, {
    accounts: readAccounts(context, credentials),
    network: networkOf(req.ip),
    about: { request: requestFacts(req) },
  })
}

/**
 * Counts a step-up before the app sees its credentials.
 *
 * @throws {AuthError} `rate_limited` (429)
 */
export async function countStepUp<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  { tenant, userId, sessionId }: Auth<Claims>,
): Promise<Attempt> {
  const user = { tenant, id: userId }
  return beginStepUp(context.core.limits, {
    sid: sessionId,
    user,
    network: networkOf(req.ip),
    about: { user, sessionId, request: requestFacts(req) },
  })
}

const BAD_TOKEN: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'token_invalid',
  'refresh_invalid',
  'invalid_client',
])

/**
 * Counts a request that was refused because its token, or its service, is none of ours. One that is right but over, or
 * older than a change, is an honest client's; and good tokens never come here.
 *
 * @returns what to answer: the refusal, or `rate_limited` (429) when there were too many
 */
export async function countBadToken<Claims extends object>(
  { core }: Context<Claims>,
  req: Request,
  refusal: unknown,
): Promise<unknown> {
  const limit = core.limits.badTokensPerNetwork
  if (limit === null || !(refusal instanceof AuthError) || !BAD_TOKEN.has(refusal.code)) {
    return refusal
  }
  const state = await limit.take([networkOf(req.ip)], { request: requestFacts(req) })
  return state.over ? rateLimited(state.resetsInMs) : refusal
}

/** What names the account in credentials, by the app's word or by the usual names. */
function readAccounts<Claims extends object>(
  context: Context<Claims>,
  credentials: JsonObject,
): readonly string[] {
  const { account } = context.core.settings.rateLimits
  if (account === null) return accountsOf(credentials)
  let named: unknown
  try {
    named = account(credentials)
  } catch (error) {
    throw hookFailure(context, 'rateLimits.account', error)
  }
  if (named === undefined) return []
  if (typeof named === 'string') return [named]
  const problem = new TypeError('must return text or undefined')
  throw hookFailure(context, 'rateLimits.account', problem)
}
