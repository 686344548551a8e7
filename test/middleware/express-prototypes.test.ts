import { createServer, IncomingMessage, ServerResponse } from 'node:http'
import { inspect } from 'node:util'
import { afterAll, describe, expect, it } from '@jest/globals'
import type { Request } from 'express'
import request from 'supertest'
import { closeKits, openKit, PASSWORD, readLogin, serve } from '../support/kit.ts'

afterAll(closeKits)

describe('what Express does to requests', () => {
  it('is spared them by a server that makes them so, and guards are the same', async () => {
    const kit = await openKit({ before: (app) => app.set('trust proxy', true) })
    const { app, latchkey } = kit
    class AppRequest extends IncomingMessage {}
    class AppResponse extends ServerResponse {}
    app.request = Object.setPrototypeOf(AppRequest.prototype, app.request)
    app.response = Object.setPrototypeOf(AppResponse.prototype, app.response)
    app.get('/request', (req, res) => {
      const isMade = Object.getPrototypeOf(req) === AppRequest.prototype
      res.json({ isMade, ip: req.ip, auth: req.auth ?? null })
    })
    const server = createServer({ IncomingMessage: AppRequest, ServerResponse: AppResponse }, app)
    await serve(server)

    const { body } = await request(server).get('/request').set('X-Forwarded-For', '192.0.2.1')
    expect(body).toEqual({ isMade: true, ip: '192.0.2.1', auth: null })
    const login = readLogin(
      await request(server).post('/auth/login').send({ username: 'alice', password: PASSWORD }),
    )
    const statuses = async () =>
      Promise.all(
        [
          request(server).get('/session').set('Cookie', login.sessionCookie),
          request(server).get('/jwt').set('Authorization', login.bearer),
          request(server).get('/sensitive').set('Authorization', login.bearer),
        ].map(async (sent) => (await sent).status),
      )
    expect(await statuses()).toEqual([200, 200, 200])
    await latchkey.sessions.revoke(login.sid)
    expect(await statuses()).toEqual([401, 401, 401])
  })

  it('is made no dearer: guards add req.auth, and nothing else', async () => {
    const seen: PropertyKey[][] = []
    let printed = ''
    const keep = (req: Request) =>
      void seen.push(Reflect.ownKeys(req).filter((key) => key !== 'next'))
    const kit = await openKit({
      routes: (app, { requireJwt, hybridGuard }) => {
        app.get(
          '/twice',
          (req, _res, next) => {
            keep(req)
            next()
          },
          requireJwt(),
          hybridGuard({ sensitive: true }),
          (req, res) => {
            keep(req)
            printed = inspect(req.rawHeaders, { depth: null })
            res.json({})
          },
        )
      },
    })
    const { bearer, sid } = await kit.login()
    await request(kit.server).get('/twice').set('Authorization', bearer).expect(200)
    const [before = [], after = []] = seen
    expect(after.filter((key) => !before.includes(key))).toEqual(['auth'])
    // Nor is what they know in the log of who prints the headers.
    expect(printed).toContain(bearer)
    expect(printed).not.toContain(sid)
  })
})
