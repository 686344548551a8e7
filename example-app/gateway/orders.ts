import express from 'express'
import type { Express } from 'express'
import { createVerifier } from 'latchkey/verifier'
import { answerError, answerNotFound } from '../errors.ts'
import { ORDERS } from './names.ts'

/** The service, and how to end it once its server has. */
export interface OrdersService {
  readonly app: Express
  close(): Promise<void>
}

/** A service behind the gateway. It has no store and no secret: public keys say whom to believe. */
export function createOrders(issuer: string): OrdersService {
  const verifier = createVerifier({
    issuer,
    audience: ORDERS,
    jwks: `${issuer}/auth/.well-known/jwks.json`,
  })

  const app = express()
  app.get('/', verifier.requireJwt(), (req, res) => {
    // Nothing else of the request says who is asking.
    const { userId, sessionId } = verifier.getAuth(req)
    res.json({ orders_of: userId, session_id: sessionId })
  })
  app.use(answerNotFound)
  app.use(answerError)
  return { app, close: async () => verifier.close() }
}
