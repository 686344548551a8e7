import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { Response } from 'supertest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PAGE = readFileSync(join(ROOT, 'docs/express-session.md'), 'utf8')
const [, MOVE = ''] = /^ *```js\n([^]*?)^ *```$/m.exec(PAGE) ?? []

/** An app that was express-session's, with what the page says in the middle. */
const APP = `
import express from 'express'
import session from 'express-session'
import { createLatchkey } from 'latchkey'
const latchkey = createLatchkey({ issuer: 'http://localhost:3000', authenticate: () => null })
const app = express()
app.use(session({ secret: 'an old secret of the app', resave: false, saveUninitialized: false }))
app.get('/old-login', (req, res) => { req.session.userId = 7; res.end() })
${MOVE}
app.use('/auth', latchkey.authRoutes())
app.get('/page', latchkey.requireSession(), (req, res) => res.json({ user: req.auth.userId }))
app.get('/wire', latchkey.requireSession({ level: 'password' }), (req, res) => res.json({}))
app.get('/open', async (req, res) => {
  const { items } = await latchkey.sessions.list('7')
  res.json({ sessions: items.length })
})
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port))
`

describe('an app of express-session', () => {
  let app: ReturnType<typeof spawn>
  let origin = ''
  const jar = new Map<string, string>()

  beforeAll(async () => {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', APP], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    app = child
    const [port] = (await once(createInterface(child.stdout), 'line')) as [string]
    origin = `http://127.0.0.1:${port}`
  })
  afterAll(async () => {
    const ended = once(app, 'close')
    app.kill()
    await ended
  })

  /** As a browser does: fetch() says of itself what its mode is. */
  async function send(path: string, mode = 'navigate'): Promise<Response> {
    const cookie = Array.from(jar, ([name, value]) => `${name}=${value}`).join('; ')
    const res = await request(origin).get(path).set('Cookie', cookie).set('Sec-Fetch-Mode', mode)
    for (const line of res.get('Set-Cookie') ?? []) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '') jar.delete(name)
      else jar.set(name, value)
    }
    return res
  }

  async function openSessions(): Promise<unknown> {
    return (await request(origin).get('/open')).body
  }

  it('moves who has an old session, once, at the next page', async () => {
    await send('/old-login')
    expect([...jar.keys()]).toEqual(['connect.sid'])
    const old = new Map(jar)

    const call = await send('/page', 'cors')
    expect([call.status, await openSessions()]).toEqual([401, { sessions: 0 }])

    const page = await send('/page?tab=1')
    expect([page.status, page.get('Location')]).toEqual([303, '/page?tab=1'])
    expect([...jar.keys()].toSorted()).toEqual(['latchkey-refresh', 'latchkey-session'])
    expect((await send('/page?tab=1')).body).toEqual({ user: '7' })
    expect(await openSessions()).toEqual({ sessions: 1 })

    // A login long ago is none for what asks by level, and the old cookie is of no use any more.
    expect((await send('/wire')).status).toBe(401)
    jar.clear()
    for (const [name, value] of old) jar.set(name, value)
    expect((await send('/page')).status).toBe(401)
    expect(await openSessions()).toEqual({ sessions: 1 })
  })
})
