import express from 'express'
import { Cluster, Redis } from 'ioredis'
import { createLatchkey, memoryStore } from 'latchkey'
import { postgresStore } from 'latchkey/stores/postgres'
import { createVerifier, remoteFeed } from 'latchkey/verifier'
import { redisStore } from 'latchkey/stores/redis'
import { Client, Pool } from 'pg'
import type { PoolClient } from 'pg'

declare module 'latchkey' {
  interface Register {
    claims: { readonly plan: 'free' | 'pro' }
  }
}

const latchkey = createLatchkey({ issuer: 'https://app.example', store: memoryStore() })
const app = express()
app.get('/teams/:team', latchkey.requireJwt(), (req, res) => {
  const team: string = req.params.team
  const plan: 'free' | 'pro' | undefined = req.auth?.claims.plan
  // @ts-expect-error -- registered claims are closed
  const wrong: 'gold' | undefined = req.auth?.claims.plan
  res.json({ team, plan, wrong, same: latchkey.getAuth(req).claims.plan === plan })
})

const verifier = createVerifier({
  issuer: 'https://app.example',
  audience: 'https://billing.example',
  jwks: 'https://app.example/auth/.well-known/jwks.json',
  feed: remoteFeed({ url: 'https://app.example/auth/revocations', credential: 'Basic eDp5' }),
})
app.get('/invoices/:invoice', verifier.requireJwt({ scope: ['invoices:read'] }), (req, res) => {
  const invoice: string = req.params.invoice
  const plan: 'free' | 'pro' = verifier.getAuth(req).claims.plan
  res.json({ invoice, plan, same: plan === req.auth?.claims.plan })
})

export const stores = [
  redisStore({ client: new Redis({ lazyConnect: true }) }),
  redisStore({ client: new Cluster([], { lazyConnect: true }), waitReplicas: 1 }),
  postgresStore({ pool: new Pool({ connectionTimeoutMillis: 2000 }), schema: 'auth' }),
  postgresStore({ pool: new Client() }),
]
export const within = (client: PoolClient) => postgresStore({ pool: client })
