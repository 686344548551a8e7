import express from 'express'
import type { Express } from 'express'
import { createProxyMiddleware } from 'http-proxy-middleware'
import { createLatchkey } from 'latchkey'
import { answerError, answerNotFound } from '../errors.ts'
import { securityHeaders } from '../security-headers.ts'
import type { Users } from '../users.ts'
import { ORDERS } from './names.ts'

/** What the gateway is made of. */
export interface GatewayParts {
  readonly issuer: string
  readonly users: Users
  /** Where the service behind listens. */
  readonly ordersUrl: string
}

/** The gateway, and how to end it once its server has. */
export interface Gateway {
  readonly app: Express
  close(): Promise<void>
}

/** The only door: it logs users in, and tells the service behind who is asking. */
export function createGateway({ issuer, users, ordersUrl }: GatewayParts): Gateway {
  const latchkey = createLatchkey({
    issuer,
    authenticate: (credentials) => users.authenticate(credentials),
    loadUser: ({ id }) => users.load(id),
    // Plain http on this machine only.
    cookies: { secure: false },
  })

  const app = express()
  app.use(securityHeaders())
  app.use('/auth', latchkey.authRoutes())
  app.use(
    '/orders',
    latchkey.hybridGuard(),
    latchkey.forwardIdentity({ audience: ORDERS }),
    createProxyMiddleware({ target: ordersUrl }),
  )
  app.use(answerNotFound)
  app.use(answerError)
  return { app, close: () => latchkey.close() }
}
