import type { Request } from 'express'
import { AuthError } from '../lib/errors.ts'

const DEFAULT_PAGE = 50
const MAX_PAGE = 100
const MAX_CURSOR = 512

/** Which page of a list a query asks for. */
export interface Paging {
  readonly limit: number
  readonly cursor?: string
}

/**
 * `limit` (1 to 100, 50 when absent) and `cursor` of a query.
 *
 * @throws {AuthError} `invalid_request` (400)
 */
export function readPaging(req: Request): Paging {
  const { limit = String(DEFAULT_PAGE), cursor } = req.query
  const count = typeof limit === 'string' && /^\d{1,3}$/.test(limit) ? Number(limit) : 0
  if (count < 1 || count > MAX_PAGE) {
    throw new AuthError('invalid_request', `limit is a whole number from 1 to ${MAX_PAGE}`)
  }
  if (cursor !== undefined && (typeof cursor !== 'string' || cursor.length > MAX_CURSOR)) {
    throw new AuthError('invalid_request', 'cursor is the next_cursor of the page before')
  }
  return { limit: count, ...(cursor === undefined ? {} : { cursor }) }
}
