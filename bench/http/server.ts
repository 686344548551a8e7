// A part of http.ts: one contender in a process of its own.
import type { ErrorRequestHandler } from 'express'
import express from 'express'
import { serveParent } from '../support/children.ts'
import { listen } from '../support/listen.ts'
import type { Credential, Servers } from './contender.ts'
import { isContenderName, prepare } from './contenders.ts'

/** What a process is told at its start. */
export interface ServerSettings {
  readonly contender: string
  readonly servers: Servers
  readonly sessions: number
}

/** What it can be asked. */
export type ServerQuestion = 'facts' | 'cpu' | 'revokeLast'

/** Where it listens and what opens it. */
export interface ServerFacts {
  readonly port: number
  readonly good: readonly Credential[]
  readonly tampered: readonly Credential[]
  readonly revokes: boolean
}

const settings: ServerSettings = JSON.parse(process.argv[2] ?? '')
if (!isContenderName(settings.contender)) throw new Error(`no contender ${settings.contender}`)
const contender = await prepare(settings.contender, settings.servers, settings.sessions)

const refuse: ErrorRequestHandler = (error: unknown, _req, res, _next) => {
  const status = typeof error === 'object' && error !== null && 'status' in error && error.status
  res.sendStatus(typeof status === 'number' ? status : 500)
}

const app = express()
app.get('/', ...contender.handlers, (_req, res) => void res.json({ ok: true }))
app.use(refuse)
const { port } = await listen(app, contender.ownPrototypes)

serveParent<ServerQuestion>(async (question) => {
  switch (question) {
    case 'facts': {
      const { good, tampered, revokeLast } = contender
      return { port, good, tampered, revokes: revokeLast !== undefined } satisfies ServerFacts
    }
    case 'cpu': {
      const { user, system } = process.cpuUsage()
      return user + system
    }
    case 'revokeLast':
      return (await contender.revokeLast?.()) !== undefined
  }
})
