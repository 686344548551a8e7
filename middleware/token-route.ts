import type { Request, Response } from 'express'
import { AuthError, InternalError } from '../lib/errors.ts'
import type { ExchangeSubject } from '../lib/exchange-token.ts'
import { createExchange } from '../lib/exchange-token.ts'
import { PARTIAL_LEVEL } from '../lib/guard-policy.ts'
import { refuseHeard } from '../lib/heard.ts'
import { createTokenReader } from '../lib/issued-tokens.ts'
import type { Service } from '../lib/service.ts'
import { isScope } from '../lib/service.ts'
import { issueServiceToken } from '../lib/service-tokens.ts'
import type { TokenAnswer } from '../lib/token-answer.ts'
import type { Context } from './context.ts'
import { requestFacts } from './context.ts'
import { noStore } from './deliver.ts'
import type { Form } from './form.ts'
import { readForm, requireParameter } from './form.ts'
import { createHybridGuard } from './hybrid-guard.ts'
import { isInPerson } from './in-person.ts'
import type { RouteHandler } from './route.ts'
import { authenticateService, presentsService } from './services.ts'

const CLIENT_CREDENTIALS = 'client_credentials'
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
// RFC 8693 §3
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const JWT = 'urn:ietf:params:oauth:token-type:jwt'
/** RFC 8693 §3 has no name for a session token. */
const SESSION_TOKEN = 'urn:latchkey:token-type:session'

/**
 * Makes `POST /token` (RFC 6749 §3.2): `client_credentials` for services, and `token-exchange`
 * (RFC 8693) for services, of the `subject_token` they hold, and for a user's own client, of the
 * credential that came with the request.
 */
export function createTokenRoute<Claims extends object>(context: Context<Claims>): RouteHandler {
  const { core, checks } = context
  const readToken = createTokenReader(core)
  const exchange = createExchange(core)
  const checked = createHybridGuard(context)({ sensitive: true, check: isInPerson })

  async function readSubject(form: Form): Promise<ExchangeSubject> {
    const text = requireParameter(form, 'subject_token')
    const type = requireParameter(form, 'subject_token_type')
    const issued = await readToken(text)
    const subject = await orNoSubject(subjectOf(issued, type))
    if (subject !== null && subject.session.attributes.level !== PARTIAL_LEVEL) return subject
    throw noSubject(undefined)
  }

  async function subjectOf(
    issued: Awaited<ReturnType<typeof readToken>>,
    type: string,
  ): Promise<ExchangeSubject | null> {
    if (issued?.kind === 'session' && type === SESSION_TOKEN) {
      return { session: await checks.checkSessionToken(issued.token), claims: null }
    }
    if (issued?.kind !== 'access' || (type !== ACCESS_TOKEN && type !== JWT)) return null
    const { claims } = issued
    // A service's own token speaks for nobody.
    if (claims.sid === null) return null
    refuseHeard(core.follower, claims)
    return { session: await checks.checkClaims(claims), claims }
  }

  /** The credential that came along, judged by a guard; null when the guard has answered already. */
  async function presentedSubject(req: Request, res: Response): Promise<ExchangeSubject | null> {
    const passed = await new Promise<boolean>((resolve, reject) => {
      Promise.resolve(checked(req, res, () => resolve(true))).then(() => resolve(false), reject)
    })
    const { checked: known, access, auth } = context.memo(req)
    if (!passed) return null
    if (known === undefined || auth === undefined) throw new InternalError('the guard left nobody')
    if (auth.kind === 'session') return { session: known.session, claims: null }
    const claims = access?.claims
    if (claims === undefined || claims.sid === null)
      throw new InternalError('the guard left no token')
    return { session: known.session, claims }
  }

  async function exchanged(
    req: Request,
    res: Response,
    form: Form,
    presented: Service | null,
  ): Promise<void> {
    refuseForeign(form)
    const audience = readAudience(form)
    if (audience === null) throw new AuthError('invalid_request', 'audience is missing')
    const scope = readScope(form)
    // What somebody else's token is exchanged for is for services to ask, however they are known.
    const isForService = presented === null && form['subject_token'] !== undefined
    const service = isForService ? await authenticateService(context, req) : presented
    const subject = service === null ? await presentedSubject(req, res) : await readSubject(form)
    if (subject === null) return
    const made = exchange(subject, { audience, scope, service })
    const token = await (service === null ? made : orNoSubject(made))
    const { user, sid } = subject.session
    core.events.security('authn_token_created', {
      user,
      sessionId: sid,
      request: requestFacts(req),
      result: 'success',
      cause: 'token_exchange',
      detail: { audience, jti: token.jti, ...(service === null ? {} : { service: service.id }) },
    })
    answerToken(res, token, { issued_token_type: ACCESS_TOKEN })
  }

  async function granted(req: Request, res: Response, form: Form, service: Service): Promise<void> {
    const audience = readAudience(form)
    const token = await issueServiceToken(core, service, { audience, scope: readScope(form) })
    core.events.security('authn_token_created', {
      request: requestFacts(req),
      result: 'success',
      cause: CLIENT_CREDENTIALS,
      detail: {
        service: service.id,
        jti: token.jti,
        ...(audience === null ? {} : { audience }),
      },
    })
    answerToken(res, token, {})
  }

  return async function token(req, res) {
    const form = await readForm(req, res)
    const service = presentsService(req) ? await authenticateService(context, req) : null
    switch (requireParameter(form, 'grant_type')) {
      case CLIENT_CREDENTIALS:
        await granted(req, res, form, service ?? (await authenticateService(context, req)))
        break
      case TOKEN_EXCHANGE:
        await exchanged(req, res, form, service)
        break
      default:
        throw new AuthError('unsupported_grant_type', 'this grant_type is not served here')
    }
  }
}

/** What this exchange does not do is refused rather than left undone. */
function refuseForeign(form: Form): void {
  const { requested_token_type: wanted = ACCESS_TOKEN, actor_token: actor } = form
  if (wanted !== ACCESS_TOKEN && wanted !== JWT) {
    throw new AuthError('invalid_request', 'requested_token_type must be that of access tokens')
  }
  if (actor !== undefined) {
    throw new AuthError('invalid_request', 'actor_token: who acts is the service that asks')
  }
}

/** RFC 8693 §2.1, RFC 8707 §2: a name or a URI, and one of them. */
function readAudience({ audience, resource }: Form): string | null {
  if (audience !== undefined && resource !== undefined && audience !== resource) {
    throw new AuthError('invalid_target', 'a token is for one audience')
  }
  return audience ?? resource ?? null
}

function readScope({ scope }: Form): readonly string[] | null {
  if (scope === undefined) return null
  const words = [...new Set(scope.split(' '))]
  if (!isScope(words)) throw new AuthError('invalid_scope', 'the scope is malformed')
  return words
}

/** To a service it is all the same why somebody else's token is over. */
async function orNoSubject<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work
  } catch (error) {
    if (error instanceof AuthError && error.status === 401) throw noSubject(error)
    throw error
  }
}

/** RFC 8693 §2.2.2: `invalid_request`, whatever is wrong with it. */
function noSubject(cause: unknown): AuthError {
  return new AuthError('subject_token_invalid', 'the subject_token is not good', { cause })
}

function answerToken(
  res: Response,
  { token, expiresInS, scope }: TokenAnswer,
  extra: Readonly<Record<string, string>>,
): void {
  noStore(res).json({
    access_token: token,
    ...extra,
    token_type: 'Bearer',
    expires_in: expiresInS,
    ...(scope.length === 0 ? {} : { scope: scope.join(' ') }),
  })
}
