import type { Request } from 'express'
import type { Service } from '../../middleware/index.ts'

/** The `Authorization` header by which {@link askServices} knows the service `billing`. */
export const CREDENTIAL = `Basic ${Buffer.from('billing:a-secret-of-the-service').toString('base64')}`

/** Knows one service, by one header. */
export function askServices(req: Request): Service | null {
  return req.headers.authorization === CREDENTIAL ? { id: 'billing' } : null
}
