import type { Request, Response } from 'express'
import express from 'express'
import { AuthError } from '../lib/errors.ts'
import { hasBody, MAX_BODY_BYTES, OTHER_CHARSET, parsed, tooLarge } from './body.ts'

const FORM = 'application/x-www-form-urlencoded'

const parseForm = express.urlencoded({
  extended: false,
  limit: MAX_BODY_BYTES,
  parameterLimit: 100,
  type: FORM,
  inflate: false,
})

/** The parameters of a form, each once. Looking up a name finds its own parameter or nothing. */
export type Form = Readonly<Partial<Record<string, string>>>

/**
 * The form in a request's body (RFC 6749 §3.2), parsed here or by a parser the app put in front; it
 * stands in `req.body` afterwards. A parameter without a value counts as left out.
 *
 * @throws {AuthError} `unsupported_media_type` (415) for anything but a form, `body_too_large` (413) over
 *   16 KiB, `invalid_request` (400) for a parameter that stands there twice
 */
export async function readForm(req: Request, res: Response): Promise<Form> {
  if (hasBody(req)) {
    if (req.is(FORM) !== FORM || OTHER_CHARSET.test(req.headers['content-type'] ?? '')) {
      throw new AuthError('unsupported_media_type', `the body must be ${FORM}, in UTF-8`, {
        headers: { Accept: FORM },
      })
    }
    if (Number(req.headers['content-length'] ?? 0) > MAX_BODY_BYTES) throw tooLarge()
    await parsed(parseForm, req, res)
  }
  const body: unknown = req.body ?? {}
  const form: Partial<Record<string, string>> = Object.create(null)
  for (const [name, value] of Object.entries(
    typeof body === 'object' && body !== null ? body : {},
  )) {
    if (typeof value !== 'string') {
      throw new AuthError('invalid_request', 'a parameter stands there twice')
    }
    if (value !== '') form[name] = value
  }
  req.body = form
  return form
}

/**
 * A parameter that must be there.
 *
 * @throws {AuthError} `invalid_request` (400)
 */
export function requireParameter(form: Form, name: string): string {
  const value = form[name]
  if (value === undefined) throw new AuthError('invalid_request', `${name} is missing`)
  return value
}
