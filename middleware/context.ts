import type { Request } from 'express'
import type { SessionChecks } from '../lib/check-session.ts'
import type { Core } from '../lib/core.ts'
import { InternalError } from '../lib/errors.ts'
import type { RequestFacts } from '../lib/events.ts'
import type { CoreOptions, Delivery } from '../lib/options.ts'
import type { AccessClaims } from '../lib/access-token-claims.ts'
import type { ServiceAuthenticator } from '../lib/service.ts'
import type { SessionRecord } from '../lib/session.ts'
import type { ErrorHandler } from './answer.ts'
import type { CookieWatch } from './doctor-cookies.ts'
import type { AuthPath } from './metadata.ts'
import type { AuthMemo } from './request-auth.ts'

/** Everything `createLatchkey` takes. */
export interface LatchkeyOptions<Claims extends object> extends CoreOptions<Claims, Request> {
  /**
   * Answers refusals and failures itself. The error carries `status`, `code` and `headers`.
   *
   * @defaultValue problem+json (RFC 9457)
   */
  readonly onError?: ErrorHandler | undefined
}

/**
 * What guards found out about one request, with how well they know it. A later guard takes from it
 * only what is as strong as what it would find out itself.
 */
export interface Memo extends AuthMemo {
  /** The access token whose signature and claims were verified. */
  access?: { readonly text: string; readonly claims: AccessClaims }
  /**
   * The credential the store vouched for during this request, and the session it belongs to. The
   * text is null when it stood among duplicates.
   */
  checked?: { readonly text: string | null; readonly session: SessionRecord }
  /** Whether a guard let the request pass, as somebody or as nobody. */
  guarded?: boolean
  /** What a proxy asks about, when this request is only its question. */
  original?: { readonly method: string }
  /** The device cookie that the login of this request sets. */
  device?: string
}

/** What the Express layer of one kit works with. */
export interface Context<Claims extends object> {
  readonly core: Core
  readonly checks: SessionChecks
  readonly options: LatchkeyOptions<Claims>
  /** Where `metadataRoute` says that `authRoutes` is. */
  readonly authPath: AuthPath
  /** What authenticates services, in the order they are asked; empty when the app has none. */
  readonly services: readonly ServiceAuthenticator<Request>[]
  /** Failures of hooks that `onEvent` has heard of. */
  readonly reported: WeakSet<InternalError>
  /** Whether a session on another device is worth an event again, by session id. */
  readonly isDeviceNews: (sid: string) => boolean
  /** The same for the use of a session that is over. */
  readonly isEndedNews: (sid: string) => boolean
  /** The request's memo, made when there is none. */
  readonly memo: (req: Request) => Memo
  /** Finds out whether cookies come back. */
  readonly cookieWatch: CookieWatch
}

/** Shows nothing of a memo to who prints what it hangs on. */
class Kept {
  readonly #memo: Memo = {}

  get memo(): Memo {
    return this.#memo
  }
}

/**
 * Makes the accessor for memos that only this kit sees. They hang on the raw headers, which are as much the
 * request's own: each request that Express has seen has a hidden class of its own, and whatever is
 * added to it makes another one, with a copy of all that it has. A test's request may have no headers.
 */
export function createMemo(): (req: { readonly rawHeaders?: readonly string[] }) => Memo {
  const key = Symbol('latchkey')
  return (req) => {
    const holder: object & { [key]?: Kept } = req.rawHeaders ?? req
    return (holder[key] ??= new Kept()).memo
  }
}

/** Who is asking, for the audit trail. `req.ip` honours the app's `trust proxy`. */
export function requestFacts(req: Request): RequestFacts {
  return { ip: req.ip, userAgent: req.headers['user-agent'] }
}

/** How credentials reach this client. */
export function readDelivery<Claims extends object>(
  context: Context<Claims>,
  req: Request,
): Delivery {
  const delivery = context.options.delivery ?? 'cookie'
  if (typeof delivery !== 'function') return delivery
  try {
    return delivery(req) === 'body' ? 'body' : 'cookie'
  } catch (error) {
    throw hookFailure(context, 'delivery', error)
  }
}

/** A hook of the app threw: reported with its cause, answered without. */
export function hookFailure<Claims extends object>(
  context: Context<Claims>,
  hook: string,
  cause: unknown,
): InternalError {
  context.core.events.operational('hook_failure', { result: 'failure', cause: hook, error: cause })
  const error = new InternalError(`${hook} failed`, { cause })
  context.reported.add(error)
  return error
}
