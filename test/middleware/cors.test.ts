import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, ISSUER, openKit, PASSWORD, sendRaw } from '../support/kit.ts'

afterEach(closeKits)

const SPA = 'https://spa.example'
const OPTIONS: TestOptions = {
  allowedOrigins: [SPA, 'https://other.example'],
  cors: { origins: [SPA] },
}

async function openListed(options: TestOptions = {}): Promise<TestKit> {
  return openKit({ options: { ...OPTIONS, ...options } })
}

/** What of CORS is in an answer. */
function corsOf(res: request.Response): Record<string, string> {
  const headers = Object.entries(res.headers as Record<string, string>)
  return Object.fromEntries(headers.filter(([name]) => name.startsWith('access-control-')))
}

const READABLE = {
  'access-control-allow-origin': SPA,
  'access-control-allow-credentials': 'true',
  'access-control-expose-headers': 'Retry-After,WWW-Authenticate',
}

const ROUTES = [
  ['POST', '/auth/login'],
  ['POST', '/auth/refresh'],
  ['POST', '/auth/logout'],
  ['POST', '/auth/logout-all'],
  ['POST', '/auth/step-up'],
  ['GET', '/auth/session'],
  ['GET', '/auth/sessions'],
  ['DELETE', '/auth/sessions'],
  ['DELETE', '/auth/sessions/x'],
] as const

function send(kit: TestKit, method: string, path: string): request.Test {
  const agent = request(kit.server)
  return agent[method.toLowerCase() as 'post'].bind(agent)(path)
}

describe('a listed origin', () => {
  it.each(ROUTES)('may read the answer of %s %s, a refusal as well', async (method, path) => {
    const kit = await openListed()
    const res = await send(kit, method, path).set({ Origin: SPA, 'Sec-Fetch-Site': 'cross-site' })
    expect(corsOf(res)).toEqual(READABLE)
    expect(res.headers['vary']).toContain('Origin')
  })

  it.each(ROUTES)('has its preflight of %s %s answered', async (method, path) => {
    const kit = await openListed()
    const res = await send(kit, 'OPTIONS', path).set({
      Origin: SPA,
      'Access-Control-Request-Method': method,
      'Access-Control-Request-Headers': 'content-type,x-other',
    })
    expect(res.status).toBe(204)
    expect(corsOf(res)).toEqual({
      ...READABLE,
      'access-control-allow-methods': 'GET,POST,DELETE',
      'access-control-allow-headers': 'Authorization,Content-Type,Idempotency-Key',
      'access-control-max-age': '600',
    })
    expect(res.headers['vary']).toContain('Origin')
  })

  it('logs in, refreshes and logs out with cookies', async () => {
    const kit = await openListed()
    const headers = { Origin: SPA, 'Sec-Fetch-Site': 'same-site' }
    const login = await kit.login('alice', { headers })
    expect(corsOf(login.res)).toEqual(READABLE)
    const res = await request(kit.server)
      .post('/auth/refresh')
      .set({ ...headers, Cookie: login.refreshCookie })
      .expect(200)
    expect(corsOf(res)).toEqual(READABLE)
    await request(kit.server)
      .post('/auth/logout')
      .set({ ...headers, Cookie: login.cookie })
      .expect(204)
  })

  it('can read that it is to wait', async () => {
    const kit = await openListed({ rateLimits: { loginPerNetwork: { max: 1 } } })
    const tries = () => request(kit.server).post('/auth/login').set('Origin', SPA).send({})
    await tries().expect(401)
    const res = await tries().expect(429)
    expect(corsOf(res)).toEqual(READABLE)
    expect(res.headers['retry-after']).toBe('900')
  })
})

const STRANGERS = [
  'null',
  'https://evil.example',
  'https://spa.example.evil.example',
  'https://evilspa.example',
  'https://spa.exampl',
  'https://sub.spa.example',
  'http://spa.example',
  'https://spa.example:443',
  'https://spa.example:8443',
  'https://spa.example/',
  'https://SPA.example',
  'https://spa.example, https://spa.example',
  'https://spa.example@evil.example',
  'https://spa.example%00.evil.example',
  'https://spa_example',
  ' ',
  '*',
  // It may use the cookies, but nobody said that it may read.
  'https://other.example',
  ISSUER,
]

describe.each(STRANGERS)('Origin: %s', (origin) => {
  it('hears nothing of CORS, and what it hears is not for others’ caches', async () => {
    const kit = await openListed()
    const login = await kit.login()
    for (const [method, path] of ROUTES) {
      const res = await send(kit, method, path).set({ Origin: origin, Cookie: login.cookie })
      expect(corsOf(res)).toEqual({})
      expect(res.headers['vary']).toContain('Origin')
    }
  })

  it('has no preflight answered', async () => {
    const kit = await openListed()
    const res = await send(kit, 'OPTIONS', '/auth/login').set({
      Origin: origin,
      'Access-Control-Request-Method': 'POST',
    })
    expect(corsOf(res)).toEqual({})
    expect(res.headers['vary']).toContain('Origin')
    expect(res.headers['allow']).toBe('POST, OPTIONS')
  })
})

describe('a request', () => {
  it('without an origin says nothing of CORS, but that the answer depends on it', async () => {
    const kit = await openListed()
    const { res } = await kit.login()
    expect(corsOf(res)).toEqual({})
    expect(res.headers['vary']).toContain('Origin')
  })

  it('with two origins is a stranger’s', async () => {
    const kit = await openListed()
    const { head } = await sendRaw(kit.port, 'OPTIONS /auth/login', [
      `Origin: ${SPA}`,
      'Origin: https://evil.example',
      'Access-Control-Request-Method: POST',
    ])
    expect(head).not.toMatch(/access-control-allow-origin: https:\/\/evil/i)
  })

  it('of a stranger changes nothing by cookie, CORS or not', async () => {
    const kit = await openListed()
    const login = await kit.login()
    const headers = { Origin: 'null', 'Sec-Fetch-Site': 'cross-site' }
    const attack = request(kit.server).post('/auth/login').set(headers)
    await attack.send({ username: 'bob', password: PASSWORD }).expect(403)
    await request(kit.server)
      .post('/auth/refresh')
      .set({ ...headers, Cookie: login.refreshCookie })
      .expect(403)
    expect(await kit.generationOf(login.sid)).toBe(0)
  })
})

describe('the public keys', () => {
  it.each([SPA, 'https://evil.example', 'null'])(
    'are for %s, without credentials',
    async (origin) => {
      const kit = await openListed()
      const res = await send(kit, 'GET', '/auth/.well-known/jwks.json').set('Origin', origin)
      expect(corsOf(res)).toEqual({ 'access-control-allow-origin': '*' })
      const preflight = await send(kit, 'OPTIONS', '/auth/.well-known/jwks.json').set(
        'Origin',
        origin,
      )
      expect(preflight.headers).not.toHaveProperty('access-control-allow-credentials')
      expect(preflight.headers['access-control-allow-methods']).toBe('GET,HEAD')
    },
  )
})

describe('without the option', () => {
  it.each([...ROUTES, ['GET', '/auth/.well-known/jwks.json'] as const])(
    '%s %s says nothing of CORS',
    async (method, path) => {
      const kit = await openKit({ options: { allowedOrigins: [SPA] } })
      for (const verb of [method, 'OPTIONS']) {
        const res = await send(kit, verb, path).set({
          Origin: SPA,
          'Access-Control-Request-Method': method,
        })
        expect(corsOf(res)).toEqual({})
        expect(res.headers['vary'] ?? '').not.toContain('Origin')
      }
    },
  )
})

describe('at start', () => {
  it.each([
    [{ origins: ['https://unlisted.example'] }, 'cors.origins[0]'],
    [{ origins: ['*'] }, 'cors.origins[0]'],
    [{ origins: ['null'] }, 'cors.origins[0]'],
    [true, 'cors'],
  ])('cors: %j is refused', async (cors, option) => {
    const options = { allowedOrigins: [SPA], cors } as unknown as TestOptions
    await expect(openKit({ options })).rejects.toMatchObject({ code: 'invalid_option', option })
  })
})
