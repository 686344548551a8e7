// A part of revocation-delay.ts: one app process.
import express from 'express'
import { Cluster, Redis } from 'ioredis'
import { Client, Pool } from 'pg'
import type { SigningKeyInput, Store } from '../middleware/index.ts'
import { createLatchkey } from '../middleware/index.ts'
import { postgresStore } from '../stores/postgres.ts'
import { redisStore } from '../stores/redis.ts'
import { CREDENTIAL } from './revocation-delay-node-services.ts'
import { serveParent } from './support/children.ts'
import { listen } from './support/listen.ts'
import { forEachOf } from './support/sessions.ts'

/** What a node is told at its start. */
export interface NodeSettings {
  readonly server:
    | { readonly nodes: { host: string; port: number }[]; readonly cluster: boolean }
    | { readonly postgres: string; readonly listen: boolean }
  readonly signingKey: SigningKeyInput
}

/** What a node can be asked for. */
export type Question =
  | { readonly ask: 'port' }
  /** Opens sessions: ids and access tokens. */
  | { readonly ask: 'open'; readonly count: number }
  /** Which commands or statements it has sent to the store since it was asked last, by name. */
  | { readonly ask: 'commands' }

const settings: NodeSettings = JSON.parse(process.argv[2] ?? '')

// Every command of every connection passes here, in a pipeline or not.
const sent = new Map<string, number>()
const count = (name: string) => sent.set(name, (sent.get(name) ?? 0) + 1)
// oxlint-disable-next-line typescript/unbound-method -- called on what it was called on
const { sendCommand } = Redis.prototype
Redis.prototype.sendCommand = function counted(command, ...rest) {
  count(command.name)
  return sendCommand.call(this, command, ...rest)
}
// Statements of the pool and of the store's own connection alike.
// oxlint-disable-next-line typescript/unbound-method -- called on what it was called on
const { query } = Client.prototype
Object.assign(Client.prototype, {
  query(this: Client, ...asked: [{ readonly name?: string }]): unknown {
    count(asked[0].name?.replace(/^latchkey_(.+)_[0-9a-f]+$/, '$1') ?? 'others')
    return Reflect.apply(query, this, asked)
  },
})

const store = openStore()
const latchkey = createLatchkey({
  issuer: 'https://app.example',
  secrets: ['a-bench-secret-of-more-than-thirty-two-bytes'],
  signingKeys: [settings.signingKey],
  store,
  services: (req) => (req.headers.authorization === CREDENTIAL ? { id: 'bench' } : null),
  storeDeadline: '2s',
})
const app = express()
app.use('/auth', latchkey.authRoutes())
app.get('/jwt', latchkey.requireJwt(), (_req, res) => void res.json({}))
app.post('/revoke/:sid', (req, res, next) => {
  latchkey.sessions.revoke(req.params.sid).then((ended) => res.json({ ended }), next)
})
const { port } = await listen(app)
await latchkey.ready()

function openStore(): Store {
  const { server } = settings
  if ('postgres' in server) {
    const pool = new Pool({ connectionString: server.postgres, connectionTimeoutMillis: 2000 })
    // A machine that is busy with other things is to be seen in the figures, not to end the bench.
    return postgresStore({ pool, listen: server.listen, operationTimeout: '2s' })
  }
  return redisStore({
    client: server.cluster ? new Cluster(server.nodes) : new Redis({ ...server.nodes[0] }),
  })
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
    case 'commands': {
      const counts = Object.fromEntries(sent)
      sent.clear()
      return counts
    }
  }
})
