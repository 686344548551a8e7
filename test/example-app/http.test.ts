import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { runExample, startExample } from '../support/example-process.ts'
import type { ExampleProcess } from '../support/example-process.ts'

const PASSWORDS = { alice: 'wonderland-7', bob: 'builder-7', root: 'admin-only-7' } as const

interface Login {
  readonly bearer: Record<string, string>
  readonly cookie: Record<string, string>
  readonly sessionId: string
}

describe('the JSON routes of the example', () => {
  let example: ExampleProcess

  beforeAll(async () => {
    example = await startExample()
  })
  afterAll(() => example.stop())

  function ask(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(example.url + path, { redirect: 'manual', ...init })
  }

  function post(path: string, body: unknown, headers: Record<string, string> = {}) {
    return ask(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
  }

  async function logIn(username: keyof typeof PASSWORDS): Promise<Login> {
    const res = await post('/auth/login', { username, password: PASSWORDS[username] })
    const { access_token: token, session } = await res.json()
    const cookies = res.headers.getSetCookie().map((cookie) => cookie.split(';')[0])
    return {
      bearer: { Authorization: `Bearer ${token}` },
      cookie: { Cookie: cookies.join('; ') },
      sessionId: session.id,
    }
  }

  it('logs in with cookies that are named and limited for plain http', async () => {
    const res = await post('/auth/login', { username: 'alice', password: PASSWORDS.alice })
    expect(res.status).toBe(200)
    expect(await res.json()).toMatchObject({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: expect.any(Number),
      session: { user_id: 'alice', level: 'password', current: true },
    })
    const cookies = res.headers.getSetCookie()
    expect(cookies).toEqual([
      expect.stringMatching(/^latchkey-session=lks_.*; HttpOnly.*; SameSite=Lax/),
      expect.stringMatching(/^latchkey-refresh=lkr_.*; HttpOnly.*; SameSite=Strict/),
    ])
  })

  it('is named after the place where it listens, so that clients discover it there', async () => {
    const metadata = await ask('/.well-known/oauth-authorization-server')
    expect(await metadata.json()).toMatchObject({
      issuer: example.url,
      jwks_uri: `${example.url}/auth/.well-known/jwks.json`,
    })
  })

  it('answers a wrong password and an unknown user alike', async () => {
    const answers = await Promise.all(
      ['alice', 'mallory'].map(async (username) => {
        const res = await post('/auth/login', { username, password: 'wrong' })
        return { status: res.status, body: await res.json() }
      }),
    )
    expect(answers[0]).toMatchObject({ status: 401, body: { code: 'invalid_credentials' } })
    expect(answers[1]).toEqual(answers[0])
  })

  it('lets anyone read the public route', async () => {
    expect((await ask('/api/public')).status).toBe(200)
  })

  it.each(['/api/session', '/api/jwt', '/api/hybrid', '/api/admin'])(
    'answers 401 to %s without credentials',
    async (path) => {
      const res = await ask(path)
      expect(res.status).toBe(401)
      expect(res.headers.get('content-type')).toMatch('application/problem+json')
      expect(res.headers.get('www-authenticate')).not.toBeNull()
      expect(await res.json()).toMatchObject({ status: 401, code: 'credentials_missing' })
    },
  )

  it('says of each guard who was let in and how', async () => {
    const { bearer, cookie, sessionId } = await logIn('alice')
    const who = { user_id: 'alice', session_id: sessionId }
    const [session, jwt, hybrid] = await Promise.all([
      ask('/api/session', { headers: cookie }),
      ask('/api/jwt', { headers: bearer }),
      ask('/api/hybrid', { headers: bearer }),
    ])
    expect(await session.json()).toEqual({ ...who, kind: 'session', checked: expect.any(Boolean) })
    expect(await jwt.json()).toEqual({ ...who, kind: 'jwt', checked: false })
    expect(await hybrid.json()).toEqual({ ...who, kind: 'jwt', checked: expect.any(Boolean) })
    expect(jwt.headers.get('cache-control')).toBe('no-store')
  })

  it('transfers after a fresh login, and asks the store', async () => {
    const { bearer } = await logIn('alice')
    const res = await post('/api/transfer', { to: 'bob', amount: 25 }, bearer)
    expect(res.status).toBe(200)
    expect(await res.json()).toMatchObject({
      user_id: 'alice',
      checked: true,
      transfer: { to: 'bob', amount: 25 },
    })
  })

  it('transfers a coin when there is no body', async () => {
    const { bearer } = await logIn('alice')
    const res = await ask('/api/transfer', { method: 'POST', headers: bearer })
    expect(await res.json()).toMatchObject({ transfer: { amount: 1 } })
  })

  it.each([
    { to: 'bob', amount: -25 },
    { to: 'bob', amount: 1.5 },
    { to: 'bob', amount: '25' },
    { to: '', amount: 25 },
    { to: ['bob'], amount: 25 },
  ])('answers 400 to the transfer %j', async (body) => {
    const { bearer } = await logIn('bob')
    expect((await post('/api/transfer', body, bearer)).status).toBe(400)
  })

  it('refuses a transfer by cookie from another origin', async () => {
    const { cookie } = await logIn('alice')
    const res = await post('/api/transfer', {}, { ...cookie, Origin: 'https://evil.example' })
    expect(res.status).toBe(403)
  })

  it('lets the admin in, and answers 403 to others', async () => {
    const [root, bob] = await Promise.all([logIn('root'), logIn('bob')])
    expect((await ask('/api/admin', { headers: root.bearer })).status).toBe(200)
    expect((await ask('/api/admin', { headers: bob.bearer })).status).toBe(403)
  })

  it('refuses every credential of a session that was logged out elsewhere', async () => {
    const [here, there] = [await logIn('bob'), await logIn('bob')]
    const res = await ask('/auth/logout-all', { method: 'POST', headers: here.bearer })
    expect(res.status).toBe(200)
    const answers = await Promise.all([
      ask('/api/session', { headers: there.cookie }),
      ask('/api/jwt', { headers: there.bearer }),
      ask('/api/hybrid', { headers: there.bearer }),
    ])
    expect(answers.map(({ status }) => status)).toEqual([401, 401, 401])
  })

  it('shows the login form to a cookie whose session has ended', async () => {
    const { cookie } = await logIn('bob')
    expect(await (await ask('/', { headers: cookie })).text()).toContain('Your devices')
    await ask('/auth/logout', { method: 'POST', headers: cookie })
    const res = await ask('/', { headers: cookie })
    expect(res.status).toBe(200)
    expect(await res.text()).toContain('<form id="login"')
  })

  it('shows the login form to a cookie that nobody signed', async () => {
    const res = await ask('/', { headers: { Cookie: 'latchkey-session=lks_nonsense' } })
    expect(res.status).toBe(200)
    expect(await res.text()).toContain('<form id="login"')
  })

  it('is healthy', async () => {
    const res = await ask('/healthz')
    expect(res.status).toBe(200)
    expect(res.headers.get('content-type')).toMatch('application/json')
  })

  it('answers 404 and what is wrong with a body as problem documents', async () => {
    const { bearer } = await logIn('alice')
    const headers = { ...bearer, 'Content-Type': 'application/json' }
    const answers = await Promise.all([
      ask('/api/nothing'),
      ask('/api/transfer', { method: 'POST', headers, body: '{' }),
      ask('/api/transfer', { method: 'POST', headers, body: JSON.stringify('x'.repeat(2000)) }),
      ask('/assets/%c3'),
    ])
    expect(answers.map(({ status }) => status)).toEqual([404, 400, 413, 404])
    for (const res of answers) {
      expect(res.headers.get('content-type')).toMatch('application/problem+json')
      const body = await res.text()
      expect(body).not.toMatch(/node_modules|\bat /)
    }
  })

  it('sends a strict policy, and neither HSTS nor upgrades on plain http', async () => {
    const { headers } = await ask('/')
    expect(headers.get('content-security-policy')).toBe(
      "default-src 'none';script-src 'self';style-src 'self';img-src 'self';connect-src 'self';" +
        "form-action 'self';frame-ancestors 'none';base-uri 'none'",
    )
    expect(headers.get('strict-transport-security')).toBeNull()
    expect(headers.get('x-powered-by')).toBeNull()
    expect(headers.get('cache-control')).toBe('no-store')
  })

  it.each([
    ['dark', '/transfer', 'dark', '/transfer'],
    ['"><script>', '//evil.example', 'auto', '/'],
    ['light', 'https://evil.example', 'light', '/'],
  ])('remembers the theme %s and goes back to %s', async (theme, page, kept, target) => {
    const res = await ask('/theme', { method: 'POST', body: new URLSearchParams({ theme, page }) })
    expect(res.status).toBe(303)
    expect(res.headers.get('location')).toBe(target)
    const [cookie = ''] = res.headers.getSetCookie()
    expect(cookie).toMatch(`theme=${kept};`)
    const shown = await ask('/', { headers: { Cookie: cookie.split(';')[0] ?? '' } })
    expect(await shown.text()).toContain(`data-theme="${kept}"`)
  })
})

describe('the process of the example', () => {
  it('prints one line, stops on SIGTERM and closes the kit', async () => {
    const example = await startExample()
    const { code, stdout, stderr } = await example.stop()
    expect(stdout).toBe(`latchkey example on ${example.url}\n`)
    expect(stderr).not.toMatch(/error/i)
    expect(code).toBe(0)
  })

  it.each([
    [{ STORE: 'mysql' }, 'STORE must be memory, redis or postgres'],
    [{ STORE: 'redis', REDIS_URL: 'localhost' }, 'REDIS_URL must begin with redis://'],
    [{ STORE: 'postgres', DATABASE_URL: 'sesame' }, 'DATABASE_URL must begin with postgres://'],
    [{ PORT: '80 80' }, 'PORT must be'],
    [{ TRANSFER_MAX_AUTH_AGE: '5' }, 'TRANSFER_MAX_AUTH_AGE must be'],
    [{ STORE_DEADLINE: '5' }, 'STORE_DEADLINE must be'],
    [{ LATCHKEY_SERVICES: 'orders' }, 'LATCHKEY_SERVICES must be'],
    [{ LATCHKEY_SIGNING_KEY: '{"d":"sesame"' }, 'LATCHKEY_SIGNING_KEY must be'],
    [{ LATCHKEY_SECRETS: 'sesame' }, 'secrets'],
  ])('does not start with %j, and says why without the value', async (env, message) => {
    const { code, stderr } = await runExample(env)
    expect(code).toBe(1)
    expect(stderr).toContain(`latchkey example: `)
    expect(stderr).toContain(message)
    expect(stderr).not.toContain('sesame')
  })
})
