import { STATUS_CODES } from 'node:http'
import type { NextFunction, Request, Response } from 'express'
import { fieldOf } from './fields.ts'

/** Answers in the form of the kit's own failures (RFC 9457). */
export function sendProblem(res: Response, status: number, detail?: string): void {
  const title = STATUS_CODES[status] ?? 'Error'
  res
    .status(status)
    .type('application/problem+json')
    .json({ type: 'about:blank', title, status, ...(detail !== undefined && { detail }) })
}

/** The end of the routes. */
export function answerNotFound(_req: Request, res: Response): void {
  sendProblem(res, 404)
}

/** The end of what went wrong. An error says its status and headers, and no more than that. */
export function answerError(err: unknown, _req: Request, res: Response, next: NextFunction): void {
  if (res.headersSent) {
    // Express cuts the connection: half an answer must not look like a whole one.
    next(err)
    return
  }
  const { status, headers } = factsOf(err)
  // To the one who runs the server only.
  if (status >= 500) console.error(err)
  res.set(headers)
  sendProblem(res, status)
}

/** The kit's errors, and those of Express's body parsers, carry `status` and some `headers`. */
function factsOf(err: unknown): { status: number; headers: Record<string, string> } {
  const status = fieldOf(err, 'status')
  if (typeof status !== 'number' || !(status >= 400 && status <= 599)) {
    return { status: 500, headers: {} }
  }
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(fieldOf(err, 'headers') ?? {})) {
    if (typeof value === 'string') headers[name] = value
  }
  return { status, headers }
}
