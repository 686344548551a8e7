// A part of revocation-delay.ts: one app process.
import express from 'express'
import { Cluster, Redis } from 'ioredis'
import type { SigningKeyInput } from '../middleware/index.ts'
import { createLatchkey } from '../middleware/index.ts'
import { redisStore } from '../stores/redis.ts'
import { serveParent } from './support/children.ts'
import { listen } from './support/listen.ts'
import { forEachOf } from './support/sessions.ts'

/** What a node is told at its start. */
export interface NodeSettings {
  readonly nodes: { host: string; port: number }[]
  readonly cluster: boolean
  readonly signingKey: SigningKeyInput
}

/** What a node can be asked for. */
export type Question =
  | { readonly ask: 'port' }
  /** Opens sessions: ids and access tokens. */
  | { readonly ask: 'open'; readonly count: number }
  /** Which commands it has sent to Redis since it was asked last, by name. */
  | { readonly ask: 'commands' }

const settings: NodeSettings = JSON.parse(process.argv[2] ?? '')

// Every command of every connection passes here, in a pipeline or not.
const sent = new Map<string, number>()
// oxlint-disable-next-line typescript/unbound-method -- called on what it was called on
const { sendCommand } = Redis.prototype
Redis.prototype.sendCommand = function count(command, ...rest) {
  sent.set(command.name, (sent.get(command.name) ?? 0) + 1)
  return sendCommand.call(this, command, ...rest)
}

const store = redisStore({
  client: settings.cluster ? new Cluster(settings.nodes) : new Redis({ ...settings.nodes[0] }),
})
const latchkey = createLatchkey({
  issuer: 'https://app.example',
  secrets: ['a-bench-secret-of-more-than-thirty-two-bytes'],
  signingKeys: [settings.signingKey],
  store,
})
const app = express()
app.get('/jwt', latchkey.requireJwt(), (_req, res) => void res.json({}))
app.post('/revoke/:sid', (req, res, next) => {
  latchkey.sessions.revoke(req.params.sid).then((ended) => res.json({ ended }), next)
})
const { port } = await listen(app)
await latchkey.ready()

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
