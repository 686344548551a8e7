import type { Request } from 'express'
import type { Auth } from '../lib/auth.ts'
import { InternalError } from '../lib/errors.ts'

/** Where the guards of one kit or verifier remember whom they let pass. */
export interface AuthMemo {
  /** What the last guard let pass. */
  auth?: Auth<object>
}

/** Puts `req.auth` in place, for the app and for `getAuth`. */
export function setAuth<Claims extends object>(
  memo: AuthMemo,
  req: Request,
  auth: Auth<Claims>,
): void {
  memo.auth = auth
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the app registered its claims
  req.auth = auth as unknown as NonNullable<Request['auth']>
}

/**
 * Takes `req.auth` away again: who passes an optional guard as nobody is nobody, also when a weaker
 * guard before it knew somebody.
 */
export function clearAuth(memo: AuthMemo, req: Request): void {
  // Another kit's guard may have written it last, and then it is not ours to take.
  if (memo.auth !== undefined && req.auth === memo.auth) delete req.auth
  delete memo.auth
}

/**
 * Who is asking, after a guard.
 *
 * @throws {InternalError} when no guard of this kit let the request pass
 */
export function readAuth<Claims extends object>({ auth }: AuthMemo): Auth<Claims> {
  if (auth === undefined) {
    throw new InternalError('getAuth: no guard of this kit let this request pass')
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- only this kit writes its memo
  return auth as Auth<Claims>
}
