import { fileURLToPath } from 'node:url'
import express from 'express'
import type { Express } from 'express'
import { createLatchkey, serviceSecrets } from 'latchkey'
import { apiRoutes } from './api.ts'
import type { Config } from './config.ts'
import { issuerOf } from './config.ts'
import { answerError, answerNotFound } from './errors.ts'
import { pageRoutes } from './pages/index.ts'
import { securityHeaders } from './security-headers.ts'
import type { OpenedStore } from './store.ts'
import type { Users } from './users.ts'

/** What the app is made of. */
export interface AppParts {
  readonly config: Config
  /** Where it listens. */
  readonly port: number
  readonly opened: OpenedStore
  readonly users: Users
}

/** The app, and how to end it once its server has. */
export interface ExampleApp {
  readonly app: Express
  /** Resolves once it has its keys and knows of every revocation. */
  ready(): Promise<void>
  close(): Promise<void>
}

/** Puts the example together. */
export function createApp({ config, port, opened, users }: AppParts): ExampleApp {
  const latchkey = createLatchkey({
    issuer: issuerOf(config, port),
    store: opened.store,
    // Nothing else is in a login, so nothing else is let in.
    credentials: ['username', 'password'],
    authenticate: (credentials) => users.authenticate(credentials),
    // Asked at every refresh: a role given or taken is in the next access token.
    loadUser: ({ id }) => users.load(id),
    authorizeAdmin: ({ roles }) => roles.includes('admin'),
    // Plain http on this machine only. Leave it out, and cookies are Secure and __Host- ones.
    cookies: { secure: false },
    ...(config.storeDeadline && { storeDeadline: config.storeDeadline }),
    ...(config.services && { services: serviceSecrets(config.services) }),
    ...(config.audiences && { audiences: config.audiences }),
    ...(opened.secrets && { secrets: opened.secrets }),
    ...(opened.signingKeys && { signingKeys: opened.signingKeys }),
  })

  const app = express()
  app.use(securityHeaders())
  app.get('/healthz', (_req, res) => {
    const health = latchkey.health()
    res.status(health.ok ? 200 : 503).json(health)
  })
  app.use('/auth', latchkey.authRoutes())
  app.use(latchkey.metadataRoute({ authPath: '/auth' }))
  app.use('/api', apiRoutes(latchkey, config))
  app.use('/assets', express.static(fileURLToPath(new URL('./public', import.meta.url))))
  app.use(pageRoutes(latchkey))
  app.use(answerNotFound)
  app.use(answerError)
  return {
    app,
    ready: async () => latchkey.ready(),
    async close() {
      await latchkey.close()
      // Who opened a store closes it, and after the kit: the kit writes what it has buffered.
      await opened.close()
    },
  }
}
