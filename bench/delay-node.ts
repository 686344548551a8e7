// A part of delay.ts: one app process.
import { randomBytes } from 'node:crypto'
import express from 'express'
import { Cluster, Redis } from 'ioredis'
import { Pool } from 'pg'
import type { SigningKeyInput, Store } from '../middleware/index.ts'
import { createLatchkey } from '../middleware/index.ts'
import { postgresStore } from '../stores/postgres.ts'
import { redisStore } from '../stores/redis.ts'
import { serveParent } from './support/children.ts'
import { listen } from './support/listen.ts'
import { SERVICE_CREDENTIAL } from './support/services.ts'
import { forEachOf } from './support/sessions.ts'

/** What a node is told at its start. */
export interface NodeSettings {
  readonly server:
    | { readonly nodes: { host: string; port: number }[]; readonly cluster: boolean }
    | { readonly postgres: string }
  readonly signingKey: SigningKeyInput
}

/** What a node can be asked for. */
export type Question =
  | { readonly ask: 'port' }
  /** Opens sessions: ids and access tokens. */
  | { readonly ask: 'open'; readonly count: number }
  /** When it has heard of each revocation, by session id, on the clock of {@link now}. */
  | { readonly ask: 'heard' }

const settings: NodeSettings = JSON.parse(process.argv[2] ?? '')

const heard = new Map<string, number>()
const store = listening(openStore())
const latchkey = createLatchkey({
  issuer: 'https://app.example',
  secrets: [randomBytes(32)],
  signingKeys: [settings.signingKey],
  store,
  services: (req) => (req.headers.authorization === SERVICE_CREDENTIAL ? { id: 'bench' } : null),
  storeDeadline: '2s',
})
const app = express()
app.use('/auth', latchkey.authRoutes())
app.get('/jwt', latchkey.requireJwt(), (_req, res) => void res.json({}))
app.post('/revoke/:sid', (req, res, next) => {
  const sentAt = now()
  latchkey.sessions.revoke(req.params.sid).then(() => res.json({ sentAt }), next)
})
const { port } = await listen(app)
await latchkey.ready()

function openStore(): Store {
  const { server } = settings
  if ('postgres' in server) {
    const pool = new Pool({ connectionString: server.postgres, connectionTimeoutMillis: 2000 })
    // A machine that is busy with other things is to be seen in the figures, not to end the bench.
    return postgresStore({ pool, operationTimeout: '2s' })
  }
  return redisStore({
    client: server.cluster ? new Cluster(server.nodes) : new Redis({ ...server.nodes[0] }),
  })
}

/** A clock that all processes of this machine share, milliseconds. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1_000_000
}

/** The store, with a note of when each entry of its feed was there for the kit to take. */
function listening(real: Store): Store {
  const read: Store['feed']['read'] = async (input) => {
    const page = await real.feed.read(input)
    for (const { sid } of page.entries) if (!heard.has(sid)) heard.set(sid, now())
    return page
  }
  return Object.create(real, { feed: { value: { ...real.feed, read } } })
}

serveParent(async (asked: Question) => {
  switch (asked.ask) {
    case 'port':
      return port
    case 'open': {
      const opened: { sid: string; accessToken: string }[] = []
      const names = Array.from({ length: asked.count }, (_, n) => `user${n}`)
      await forEachOf(names, 16, async (id) => {
        const { session, accessToken } = await latchkey.sessions.open({ id })
        opened.push({ sid: session.id, accessToken })
      })
      return opened
    }
    case 'heard':
      return [...heard]
  }
})
