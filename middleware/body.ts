import type { Request, RequestHandler, Response } from 'express'
import express from 'express'
import { AuthError } from '../lib/errors.ts'
import type { JsonObject, JsonValue } from '../lib/session.ts'

/** The most a body may have. */
export const MAX_BODY_BYTES: number = 16 * 1024

/** RFC 8259 §8.1. The parser would decode what others overlook, such as UTF-7. */
export const OTHER_CHARSET: RegExp = /;\s*charset\s*=(?!\s*"?utf-8"?\s*(?:;|$))/i

const parseJson = express.json({
  limit: MAX_BODY_BYTES,
  type: 'application/json',
  inflate: false,
})

/**
 * The JSON object in a request's body, parsed here or by a parser the app put in front. A request
 * without a body has an empty one.
 *
 * @throws {AuthError} `unsupported_media_type` (415) for anything but `application/json`,
 *   `body_too_large` (413) over 16 KiB, `invalid_request` (400) for what is no JSON object or has a
 *   `__proto__` member
 */
export async function readJsonBody(req: Request, res: Response): Promise<JsonObject> {
  if (!hasBody(req)) return {}
  // Without this a form from another origin could be read as JSON (OWASP ASVS 5.0 3.5.2).
  if (req.is('application/json') !== 'application/json') {
    throw new AuthError('unsupported_media_type', 'the body must be application/json', {
      headers: { Accept: 'application/json' },
    })
  }
  if (OTHER_CHARSET.test(req.headers['content-type'] ?? '')) throw notUtf8()
  if (Number(req.headers['content-length'] ?? 0) > MAX_BODY_BYTES) throw tooLarge()
  await parsed(parseJson, req, res)
  const body: unknown = req.body
  if (!isPlainObject(body)) {
    throw new AuthError('invalid_request', 'the body must be a JSON object')
  }
  return body
}

/** Runs a body parser. */
export async function parsed(parse: RequestHandler, req: Request, res: Response): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    void parse(req, res, (error?: unknown) => {
      if (error === undefined) resolve()
      else reject(bodyError(error))
    })
  })
}

/** Whether a request has a body. */
export function hasBody(req: Request): boolean {
  return (
    req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0
  )
}

function bodyError(error: unknown): AuthError {
  const status = typeof error === 'object' && error !== null && 'status' in error && error.status
  if (status === 413) return tooLarge()
  if (status === 415) return notUtf8()
  // No cause: the parser's error quotes the body, and there may be a password or a token in it.
  return new AuthError('invalid_request', 'the body is not well-formed')
}

function notUtf8(): AuthError {
  return new AuthError('unsupported_media_type', 'the body must be plain UTF-8')
}

/** What a body that is too large is answered. */
export function tooLarge(): AuthError {
  return new AuthError('body_too_large', `the body has at most ${MAX_BODY_BYTES} bytes`)
}

function isPlainObject(value: unknown): value is JsonObject {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    // A parser that the app put in front may leave the bytes.
    !ArrayBuffer.isView(value) &&
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it came out of JSON.parse
    !hasProtoMember(value as JsonValue)
  )
}

/** An own `__proto__` member pollutes the prototype of whatever copies it carelessly. */
function hasProtoMember(root: JsonValue): boolean {
  const pending: JsonValue[] = [root]
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (typeof value !== 'object' || value === null) continue
    if (Object.hasOwn(value, '__proto__')) return true
    for (const inner of Object.values(value)) pending.push(inner)
  }
  return false
}

/**
 * Refuses members that mean nothing here: a misspelt one would be ignored silently.
 *
 * @throws {AuthError} `invalid_request` (400)
 */
export function refuseUnknownMembers(
  members: Readonly<Record<string, unknown>>,
  known: readonly string[],
): void {
  const stranger = Object.keys(members).find((name) => !known.includes(name))
  if (stranger !== undefined) {
    throw new AuthError('invalid_request', 'the request has a member that means nothing here')
  }
}
