import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import express from 'express'
import helmet from 'helmet'
import { createAccessTokenVerifier } from '../../lib/access-token-verifier.ts'
import { parseSigningKeys } from '../../lib/signing-keys.ts'
import type { HybridGuardOptions } from '../../middleware/index.ts'
import type { Login, TestClaims, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  ISSUER,
  listen,
  MINUTE,
  NOW,
  openKit,
  sendRaw,
  SIGNING_KEY,
} from '../support/kit.ts'
import type { Nginx } from '../support/nginx.ts'
import { startNginx } from '../support/nginx.ts'
import type { EchoService } from '../support/proxies.ts'
import { startEcho, valuesOf } from '../support/proxies.ts'

const AUDIENCE = 'https://orders.internal'
const PAGE = readFileSync(fileURLToPath(new URL('../../docs/gateway.md', import.meta.url)), 'utf8')

/** The nginx.conf of the page, with the ports of this test. */
function readConfig(ports: Readonly<Record<string, number>>): string {
  const [, config = ''] = /^```nginx\n([^]*?)^```$/m.exec(PAGE) ?? []
  return config.replaceAll(/\b(?:8080|3000|3001|4000)\b/g, (port) => `${ports[port]}`)
}

const verifier = createAccessTokenVerifier({
  issuer: ISSUER,
  audience: [AUDIENCE],
  keys: parseSigningKeys([SIGNING_KEY]),
  maxLifetimeMs: MINUTE,
  clockSkewMs: 0,
  clock: () => NOW,
})

describe('the nginx.conf of docs/gateway.md', () => {
  let service: EchoService
  let nginx: Nginx | undefined
  let port = 0

  beforeAll(async () => {
    service = await startEcho()
  }, 30_000)

  beforeEach(async () => {
    service.received.length = 0
  })

  afterEach(async () => {
    await nginx?.stop()
    nginx = undefined
    await closeKits()
  })

  afterAll(async () => service.close())

  async function open(
    guard: HybridGuardOptions<TestClaims> = { sample: 0 },
    options: TestOptions = {},
    elsewhere: Readonly<Record<string, number>> = {},
  ): Promise<TestKit> {
    const kit = await openKit({ options })
    const gate = express()
    gate.set('trust proxy', 'loopback')
    // As apps do: the token is not all that is in the answer’s head.
    gate.use(helmet())
    gate.all(
      '/check',
      kit.latchkey.authRequest({ guard: kit.latchkey.hybridGuard(guard), audience: AUDIENCE }),
    )
    const gatePort = (await listen(gate)).port
    const servicePort = Number(new URL(service.url).port)
    const ports = { 3000: kit.port, 3001: gatePort, 4000: servicePort }
    nginx = await startNginx((own) => readConfig({ ...ports, ...elsewhere, 8080: own }))
    port = nginx.port
    return kit
  }

  async function get(headers: readonly string[]) {
    return sendRaw(port, 'GET /orders/1?full=yes', headers)
  }

  async function post(headers: readonly string[], body = 'three apples') {
    const framing = [`Content-Length: ${Buffer.byteLength(body)}`, 'Content-Type: text/plain']
    return sendRaw(port, 'POST /orders/1', [...headers, ...framing], body)
  }

  function bearer(login: Login): string {
    return `Authorization: ${login.bearer}`
  }

  /** Whom the service was told of, by the token it got. */
  async function identities(): Promise<string[]> {
    return Promise.all(
      service.received.map(async (received) => {
        const [authorization = '', ...others] = valuesOf(received, 'authorization')
        expect(others).toEqual([])
        return (await verifier.verify(authorization.replace('Bearer ', ''))).sub
      }),
    )
  }

  it('tells the service who is asking, and passes on the rest', async () => {
    const kit = await open()
    const { status } = await post([bearer(await kit.login()), 'X-Other: stays'])
    expect(status).toBe(200)
    const [received] = service.received
    expect(received).toMatchObject({ method: 'POST', url: '/orders/1', body: 'three apples' })
    expect(valuesOf(received, 'x-other')).toEqual(['stays'])
    expect(await identities()).toEqual(['alice'])
  })

  it('tells of each user by themselves', async () => {
    const kit = await open()
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    for (const login of [alice, bob, alice]) await get([`Cookie: ${login.cookie}`])
    expect(await identities()).toEqual(['alice', 'bob', 'alice'])
  })

  it('lets no client say who is asking, nor its credentials through', async () => {
    const kit = await open()
    const login = await kit.login()
    const { status } = await get([
      bearer(login),
      `Cookie: a=1; ${login.cookie}`,
      'X-User-Id: root',
      'X-USER-ID: root',
      'x_user_id: root',
      'x.user.id: root',
      'X-Forwarded-User: root',
      'Remote-User: root',
      'X-Original-Method: POST',
      'Connection: authorization',
    ])
    expect(status).toBe(200)
    expect(JSON.stringify(service.received)).not.toContain('root')
    expect(JSON.stringify(service.received)).not.toContain(login.access)
    expect(valuesOf(service.received[0], 'cookie')).toEqual([])
    expect(await identities()).toEqual(['alice'])
  })

  it('puts nothing in the place of a spoofed identity when nobody is asking', async () => {
    await open({ sample: 0, optional: true })
    const spoofed = ['X-User-Id: root', 'x_user_id: root']
    const { status } = await get(spoofed)
    expect(status).toBe(200)
    expect(valuesOf(service.received[0], 'authorization', 'cookie')).toEqual([])
    expect(JSON.stringify(service.received)).not.toContain('root')
  })

  it('asks for credentials when none came (RFC 6750 §3)', async () => {
    await open()
    const { status, head, body } = await get([])
    expect(status).toBe(401)
    expect(head.match(/^www-authenticate: .*$/gim)).toEqual(['WWW-Authenticate: Bearer'])
    expect(JSON.parse(body)).toEqual({
      type: 'about:blank',
      status: 401,
      code: 'credentials_missing',
    })
    expect(head).toMatch(/^content-type: application\/problem\+json$/im)
    expect(head).toMatch(/^cache-control: no-store$/im)
    expect(service.received).toEqual([])
  })

  it('refuses a session at the next request after it was ended', async () => {
    const kit = await open()
    const login = await kit.login()
    expect((await get([bearer(login)])).status).toBe(200)
    await kit.latchkey.sessions.revoke(login.sid)
    const { status, head, body } = await get([bearer(login)])
    expect(status).toBe(401)
    expect(head.match(/^www-authenticate: /gim)).toHaveLength(1)
    expect(head).toMatch(/^www-authenticate: Bearer error="invalid_token"/im)
    expect(JSON.parse(body)).toMatchObject({ code: 'session_revoked' })
    expect(service.received).toHaveLength(1)
  })

  it.each([
    [403, ['Sec-Fetch-Site: cross-site', 'Origin: https://evil.example']],
    [403, ['Sec-Fetch-Site: same-site', 'Origin: https://blog.app.example']],
    [403, ['Origin: https://evil.example', 'X-Original-Method: GET']],
    [403, ['Origin: null', 'X-HTTP-Method-Override: GET']],
    [200, ['Sec-Fetch-Site: same-origin', 'Origin: https://app.example']],
    [200, ['Origin: https://app.example']],
  ])('answers %i to a post with the cookie from a page: %j', async (expected, headers) => {
    const kit = await open()
    const { sessionCookie } = await kit.login()
    const { status, body } = await post([`Cookie: ${sessionCookie}`, ...headers])
    expect(status).toBe(expected)
    expect(service.received).toHaveLength(expected === 200 ? 1 : 0)
    if (expected === 403) expect(JSON.parse(body)).toMatchObject({ code: 'cross_origin' })
  })

  it('lets a page of another origin read, as a browser may', async () => {
    const kit = await open()
    const { sessionCookie } = await kit.login()
    const { status } = await get([`Cookie: ${sessionCookie}`, 'Sec-Fetch-Site: cross-site'])
    expect(status).toBe(200)
  })

  it('is 503 with Retry-After while the store is down', async () => {
    const kit = await open({ sensitive: true })
    const login = await kit.login()
    kit.spy.faults.set('check', 'rejects')
    const { status, head, body } = await get([bearer(login)])
    expect(status).toBe(503)
    expect(head).toMatch(/^retry-after: 1$/im)
    expect(JSON.parse(body)).toMatchObject({ status: 503, code: 'store_unavailable' })
    expect(service.received).toEqual([])
    kit.spy.faults.clear()
    expect((await get([bearer(login)])).status).toBe(200)
  })

  it('is 503 with Retry-After while the app is down', async () => {
    // Where nobody ever listens: a port that is given up may be somebody else's the next moment.
    const kit = await open({ sample: 0 }, {}, { 3001: 1 })
    const login = await kit.login()
    const { status, head } = await get([bearer(login)])
    expect(status).toBe(503)
    expect(head).toMatch(/^retry-after: 1$/im)
    expect(service.received).toEqual([])
  })

  it.each<[number, string, HybridGuardOptions<TestClaims>, TestOptions]>([
    [403, 'forbidden', { sample: 0, roles: ['admin'] }, {}],
    [401, 'step_up_required', { level: 'high' }, {}],
    [
      500,
      'internal_error',
      {
        sample: 0,
        check: () => {
          throw new Error('hook')
        },
      },
      {},
    ],
  ])('passes on %i %s', async (expected, code, guard, options) => {
    const kit = await open(guard, options)
    const { status, body } = await get([bearer(await kit.login())])
    expect(status).toBe(expected)
    expect(JSON.parse(body)).toMatchObject({ status: expected, code })
    expect(service.received).toEqual([])
  })

  it('passes on 400 for two credentials, and 429 with Retry-After for too many bad ones', async () => {
    const rateLimits = { badTokensPerNetwork: { max: 1, window: '1m' } } as const
    const kit = await open({ sample: 0 }, { rateLimits })
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    const two = `Cookie: ${COOKIES.session}=${alice.session}; ${COOKIES.session}=${bob.session}`
    const ambiguous = await get([two])
    expect(ambiguous.status).toBe(400)
    expect(JSON.parse(ambiguous.body)).toMatchObject({ code: 'credentials_ambiguous' })
    expect((await get(['Authorization: Bearer junk'])).status).toBe(401)
    const limited = await get(['Authorization: Bearer junk'])
    expect(limited.status).toBe(429)
    expect(limited.head).toMatch(/^retry-after: \d+$/im)
    // The address is the client’s, not the proxy’s.
    expect(kit.events.findLast(({ type }) => type === 'excess_rate_limit_exceeded')?.ip).toBe(
      '127.0.0.1',
    )
  })

  it('carries the longest token', async () => {
    const claims = { long: 'x'.repeat(2200) }
    const kit = await open({ sample: 0 }, { authenticate: () => ({ id: 'alice', claims }) })
    const login = await kit.login()
    expect(login.access.length).toBeGreaterThan(3200)
    expect((await get([bearer(login)])).status).toBe(200)
    expect(await identities()).toEqual(['alice'])
  })

  it('answers nobody’s questions but its own', async () => {
    const kit = await open()
    const login = await kit.login()
    const { status, head } = await sendRaw(port, 'GET /_check', [bearer(login)])
    expect(status).toBe(404)
    expect(head).not.toMatch(/^authorization:/im)
  })

  it('passes a login through to the app', async () => {
    await open()
    const body = JSON.stringify({ username: 'alice', password: 'correct-horse-battery-staple' })
    const headers = ['Content-Type: application/json', `Content-Length: ${body.length}`]
    const { status, head } = await sendRaw(port, 'POST /auth/login', headers, body)
    expect(status).toBe(200)
    expect(head).toContain(`${COOKIES.session}=`)
  })
})
