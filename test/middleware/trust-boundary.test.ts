import { afterEach, describe, expect, it } from '@jest/globals'
import express from 'express'
import request from 'supertest'
import type { Verifier } from '../../middleware/verifier/index.ts'
import { createVerifier, remoteFeed } from '../../middleware/verifier/index.ts'
import type { TestKit } from '../support/kit.ts'
import { closeKits, ISSUER, listen, openKit, pause } from '../support/kit.ts'
import { PROXIES } from '../support/proxies.ts'
import { askServices, CREDENTIAL } from '../support/services.ts'

const AUDIENCE = 'https://orders.internal'
/** A machine under load may take its time; a promise that is broken takes for ever. */
const MAX_WAIT_MS = 20_000

const CLOCK = {
  get now() {
    return Date.now()
  },
}

const verifiers = new Set<Verifier>()

afterEach(async () => {
  await Promise.all([...verifiers].map(async (verifier) => verifier.close()))
  verifiers.clear()
  await closeKits()
})

/** An issuer, a gateway that shares its store, and a service behind that shares nothing. */
async function openBoundary() {
  const options = { services: askServices }
  const issuer = await openKit({ options, clock: CLOCK })
  const auth = `http://127.0.0.1:${issuer.port}/auth`
  const verifier = createVerifier({
    issuer: ISSUER,
    audience: AUDIENCE,
    jwks: `${auth}/.well-known/jwks.json`,
    feed: remoteFeed({ url: `${auth}/revocations`, credential: CREDENTIAL }),
  })
  verifiers.add(verifier)
  await verifier.ready()

  const app = express()
  // What the service was handed, for it to be presented again.
  app.get('/', verifier.requireJwt(), (req, res) => {
    const { userId, sessionId, roles } = verifier.getAuth(req)
    res.json({ userId, sessionId, roles, token: req.headers.authorization })
  })
  const service = await listen(app)

  const proxy = PROXIES['httpxy']
  if (proxy === undefined) throw new Error('there is no such proxy')
  const gateway = await openKit({
    options,
    spy: issuer.spy,
    clock: CLOCK,
    routes: (outer, latchkey) =>
      outer.use(
        '/orders',
        latchkey.hybridGuard({ sample: 0 }),
        latchkey.forwardIdentity({ audience: AUDIENCE }),
        proxy(`http://127.0.0.1:${service.port}`),
      ),
  })

  const throughGateway = async (headers: Record<string, string>) =>
    request(gateway.server).get('/orders').set(headers)
  /** What the service says of a token that it was handed before. */
  const atService = async (token: string) =>
    request(service.server).get('/').set('Authorization', token)
  return { issuer, gateway, throughGateway, atService }
}

/** Asks until it is refused: everybody hears of it by themselves, in whatever order. */
async function refusal(ask: () => Promise<request.Response>): Promise<request.Response> {
  const late = performance.now() + MAX_WAIT_MS
  for (;;) {
    const res = await ask()
    if (res.status !== 200) return res
    if (performance.now() > late) throw new Error('it goes on believing the token')
    await pause(5)
  }
}

async function handedOver(
  throughGateway: (headers: Record<string, string>) => Promise<request.Response>,
  kit: TestKit,
): Promise<{ sid: string; token: string; bearer: string }> {
  const { sid, bearer } = await kit.login()
  const res = await throughGateway({ authorization: bearer })
  expect(res.status).toBe(200)
  const { token } = res.body as { token: string }
  return { sid, token, bearer }
}

describe('issuer, gateway, and a service behind', () => {
  it('agree on who is asking, whatever the client says', async () => {
    const { issuer, throughGateway } = await openBoundary()
    const { sid, bearer, sessionCookie } = await issuer.login()
    for (const credential of [{ authorization: bearer }, { cookie: sessionCookie }]) {
      const res = await throughGateway({ ...credential, 'x-user-id': 'root', x_user: 'root' })
      expect(res.body).toMatchObject({ userId: 'alice', sessionId: sid })
    }
    expect((await throughGateway({ 'x-user-id': 'root' })).status).toBe(401)
  }, 60_000)

  it('agree that a session has ended: the service refuses what it was handed', async () => {
    const { issuer, throughGateway, atService } = await openBoundary()
    const { sid, token, bearer } = await handedOver(throughGateway, issuer)
    expect((await atService(token)).status).toBe(200)
    await issuer.latchkey.sessions.revoke(sid)
    const res = await refusal(async () => atService(token))
    expect([res.status, res.body]).toEqual([
      401,
      expect.objectContaining({ code: 'session_revoked' }),
    ])
    const refused = await refusal(async () => throughGateway({ authorization: bearer }))
    expect(refused.status).toBe(401)
  }, 60_000)

  it('agree that a role was taken away', async () => {
    const { issuer, throughGateway, atService } = await openBoundary()
    issuer.users.set('alice', { id: 'alice', roles: ['buyer'] })
    const { sid, token } = await handedOver(throughGateway, issuer)
    await issuer.latchkey.sessions.update(sid, { roles: [] })
    const res = await refusal(async () => atService(token))
    expect([res.status, res.body]).toEqual([401, expect.objectContaining({ code: 'token_stale' })])
  }, 60_000)
})
