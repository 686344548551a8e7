// A part of delay.ts: a service that has neither the store nor its secrets.
import express from 'express'
import { createVerifier, remoteFeed } from '../middleware/verifier/index.ts'
import { serveParent } from './support/children.ts'
import { listen } from './support/listen.ts'
import { SERVICE_CREDENTIAL } from './support/services.ts'

const issuer = `http://127.0.0.1:${process.argv[2] ?? ''}/auth`
const verifier = createVerifier({
  issuer: 'https://app.example',
  audience: 'https://app.example',
  jwks: `${issuer}/.well-known/jwks.json`,
  feed: remoteFeed({ url: `${issuer}/revocations`, credential: SERVICE_CREDENTIAL }),
})
const app = express()
app.get('/jwt', verifier.requireJwt(), (_req, res) => void res.json({}))
const { port } = await listen(app)
await verifier.ready()

// It has a port, and opens no sessions.
serveParent(async () => port)
