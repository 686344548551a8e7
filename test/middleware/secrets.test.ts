import { inspect } from 'node:util'
import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { createKeyRing } from '../../lib/key-ring.ts'
import { readSessionToken } from '../../lib/session-token.ts'
import type { AnyLatchkeyError } from '../../middleware/index.ts'
import type { Login, TestKit } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  ISSUER,
  openKit,
  PASSWORD,
  pause,
  readLogin,
  SECRET,
  sendRaw,
  SIGNING_KEY,
} from '../support/kit.ts'

afterEach(closeKits)

const PIECE = 12
const DEVICE = 'canary-device-fingerprint-0123456789'
const ATTEMPT = 'canary-attempt-id-0123456789'
const WRONG_PASSWORD = 'canary-wrong-password-0123456789'

/** Collects what must not leak, and finds it again in whatever text. */
class Canary {
  readonly #pieces = new Map<string, string>()
  readonly #public = new Set<string>()

  /** A secret that may stand nowhere, not even a piece of it. */
  add(name: string, secret: string): void {
    for (const piece of piecesOf(secret)) this.#pieces.set(piece, name)
  }

  /** A text that may be shown although it stands inside of secrets. */
  allow(text: string): void {
    for (const piece of piecesOf(text)) this.#public.add(piece)
  }

  /** The credentials of a login; its session id is public. */
  addLogin(login: Login): void {
    this.allow(login.sid)
    this.add('session token', login.session)
    this.add('refresh token', login.refresh)
    this.add('access token', login.access)
    const token = readSessionToken(createKeyRing([SECRET]), login.session)
    this.add('seed', token?.seed ?? '')
  }

  /** The names of the secrets of which a piece stands in the text. */
  findIn(text: string): string[] {
    const found = new Set<string>()
    for (const piece of piecesOf(text)) {
      const name = this.#pieces.get(piece)
      if (name !== undefined && !this.#public.has(piece)) found.add(`${name}: ${piece}`)
    }
    return [...found]
  }
}

function piecesOf(text: string): string[] {
  return Array.from({ length: Math.max(0, text.length - PIECE + 1) }, (_, at) =>
    text.slice(at, at + PIECE),
  )
}

function deeply(value: unknown): string {
  return inspect(value, {
    depth: 20,
    showHidden: true,
    maxArrayLength: null,
    maxStringLength: null,
    breakLength: Infinity,
  })
}

/** Everything that leaves the kit but for the answers that are meant to carry credentials. */
interface Sinks {
  readonly errors: AnyLatchkeyError[]
  readonly warnings: Error[]
  readonly problems: string[]
}

async function runEverything(
  ownHandler: boolean,
): Promise<{ kit: TestKit; canary: Canary; sinks: Sinks; texts: () => Promise<string[]> }> {
  const canary = new Canary()
  const sinks: Sinks = { errors: [], warnings: [], problems: [] }
  const onWarning = (warning: Error) => void sinks.warnings.push(warning)
  process.on('warning', onWarning)
  let broken: 'authenticate' | 'loadUser' | 'check' | null = null
  const fail = (hook: typeof broken): void => {
    if (broken === hook) throw new Error(`${hook} is broken`)
  }
  const kit = await openKit({
    options: {
      accessToken: 'body',
      storeDeadline: '60ms',
      maxSessions: { perUser: 2 },
      deviceBinding: () => DEVICE,
      delivery: (req) => (req.get('X-Delivery') === 'body' ? 'body' : 'cookie'),
      loadUser: ({ id }, session) => {
        fail('loadUser')
        return id === 'gone' ? null : { id, roles: [`role-${session.ver}`] }
      },
      ...(ownHandler
        ? {
            onError: (error, _req, res) => {
              sinks.errors.push(error)
              res.status('status' in error ? error.status : 500).json({ code: error.code })
            },
          }
        : {}),
    },
    routes: (app, { hybridGuard }) => {
      app.all(
        '/own',
        hybridGuard({
          bindDevice: true,
          check: () => {
            fail('check')
            return true
          },
        }),
        (_req, res) => void res.json({}),
      )
    },
  })
  canary.add('password', PASSWORD)
  canary.add('wrong password', WRONG_PASSWORD)
  canary.add('secret', SECRET)
  canary.add('signing key', String(SIGNING_KEY['d']))
  canary.add('device', DEVICE)
  canary.add('attempt', ATTEMPT)

  const agent = request(kit.server)
  const note = async (sent: PromiseLike<request.Response>): Promise<request.Response> => {
    const res = await sent
    if (res.status >= 400) sinks.problems.push(`${inspect(res.headers)} ${res.text}`)
    return res
  }
  const raw = async (line: string, headers: string[], body = ''): Promise<void> => {
    const answer = await sendRaw(kit.port, line, headers, body)
    sinks.problems.push(answer.head, answer.body)
  }
  const login = async (username: string, headers = {}): Promise<Login> => {
    const one = await kit.login(username, { headers })
    canary.addLogin(one)
    return one
  }
  const renew = async (cookie: string): Promise<Login | null> => {
    const res = await note(
      agent.post('/auth/refresh').set({ Cookie: cookie, 'Idempotency-Key': ATTEMPT }),
    )
    if (res.status !== 200) return null
    const one = readLogin(res)
    canary.addLogin(one)
    return one
  }

  // The header of a JWT is the same for all of them, and its kid is public.
  const first = await login('alice')
  canary.allow(first.access.split('.')[0] ?? '')
  canary.allow(Buffer.from(first.access.split('.')[0] ?? '', 'base64url').toString())
  kit.users.set('gone', { id: 'gone' })
  kit.users.set('claims', { id: 'claims', claims: { sub: 'x', plan: 'pro' } as never })

  // What goes well.
  const replaced = await login('alice', { Cookie: first.cookie })
  const renewed = await renew(replaced.cookie)
  const second = await renew(renewed?.cookie ?? '')
  const body = await login('bob', { 'X-Delivery': 'body' })
  await note(agent.post('/auth/refresh').send({ refresh_token: body.refresh }))
  await note(agent.get('/auth/sessions').set('Authorization', second?.bearer ?? ''))
  await note(agent.get('/auth/session').set('Cookie', second?.cookie ?? ''))
  await login('claims')
  const steppedFrom = await login('root')
  const stepped = await note(
    agent
      .post('/auth/step-up')
      .set('Authorization', steppedFrom.bearer)
      .send({ username: 'root', password: PASSWORD }),
  )
  canary.addLogin(readLogin(stepped))
  for (let index = 0; index < 3; index++) await login('bob')
  await kit.latchkey.sessions.update(second?.sid ?? '', { data: { note: 'x' }, roles: ['y'] })

  // What is refused.
  const login3 = await login('alice')
  const { session, refresh, access, cookie, bearer } = login3
  await note(agent.post('/auth/login').send({ username: 'alice', password: WRONG_PASSWORD }))
  for (const path of ['/session', '/jwt', '/hybrid', '/sensitive', '/auth/session', '/own']) {
    for (const text of [session, refresh, access, `${session}x`, `${access}x`, `x${refresh}`]) {
      await note(agent.get(path).set('Authorization', `Bearer ${text}`))
      await note(agent.get(path).set('Authorization', `Session ${text}`))
      await note(agent.get(path).set('Authorization', `Basic ${text}`))
      await note(agent.get(path).set('Cookie', `${COOKIES.session}=${text}`))
    }
    await note(agent.post(path).set({ Cookie: cookie, 'Sec-Fetch-Site': 'cross-site' }))
    await raw(`GET ${path}`, [`Authorization: ${bearer}`, `Authorization: Session ${session}`])
    await raw(`GET ${path}`, [
      `Cookie: ${first.sessionCookie}; ${body.sessionCookie}`,
      `Cookie: ${COOKIES.session}=${session}`,
    ])
  }
  for (const text of [
    `{"refresh_token":"${refresh}"`,
    `{"refresh_token":"${refresh}"}x`,
    `{"refresh_token":${refresh}}`,
    refresh,
    `"${refresh}"`,
    `["${refresh}"]`,
    `{"${refresh}":1}`,
    `{"refresh_token":["${refresh}"]}`,
    `{"__proto__":"${refresh}"}`,
    `{"username":"alice","password":"${PASSWORD}`,
    `{"username":"alice","password":${PASSWORD}}`,
  ]) {
    for (const path of ['/auth/refresh', '/auth/login', '/auth/logout', '/auth/step-up']) {
      await note(agent.post(path).set('Cookie', cookie).type('json').send(text))
      await note(agent.post(path).type('text/plain').send(text))
      await raw(
        `POST ${path}`,
        ['Content-Type: application/json', `Content-Length: ${text.length}`],
        text,
      )
    }
  }
  await note(
    agent.get(`/auth/sessions?cursor=${session}&limit=${refresh}`).set({ Authorization: bearer }),
  )
  await note(agent.delete(`/auth/sessions/${session}`).set({ Authorization: bearer }))
  await note(agent.delete(`/auth/sessions?user_id=${refresh}`).set({ Authorization: bearer }))
  await note(agent.get(`/auth/${session}/%zz`))
  await note(agent.post('/auth/refresh').set({ Cookie: cookie, 'Idempotency-Key': `${ATTEMPT} !` }))
  await note(agent.post('/auth/refresh').set('Cookie', replaced.cookie))

  // What fails.
  for (broken of ['authenticate', 'loadUser', 'check'] as const) {
    await note(agent.get('/own').set('Authorization', bearer))
    await note(agent.post('/auth/refresh').set('Cookie', cookie))
  }
  broken = null
  for (const operation of [
    'create',
    'replace',
    'check',
    'rotate',
    'update',
    'revoke',
    'revokeUser',
    'list',
  ]) {
    for (const fault of ['throws', 'hangs'] as const) {
      kit.spy.faults.set(operation, fault)
      await Promise.all([
        note(agent.get('/session').set('Cookie', cookie)),
        note(agent.get('/own').set('Authorization', bearer)),
        note(agent.post('/auth/refresh').set('Cookie', cookie)),
        note(agent.post('/auth/logout').set('Cookie', body.cookie)),
        note(agent.get('/auth/sessions').set('Authorization', bearer)),
        operation === 'create'
          ? note(agent.post('/auth/login').send({ username: 'alice', password: PASSWORD }))
          : null,
      ])
      kit.spy.faults.clear()
    }
  }
  kit.users.set('alice', 'not an object' as never)
  await note(agent.post('/auth/login').send({ username: 'alice', password: PASSWORD }))
  const gone = await login('gone')
  await note(agent.post('/auth/refresh').set('Cookie', gone.cookie))
  await note(agent.post('/auth/logout').set('Cookie', cookie))
  await note(agent.post('/auth/logout-all').set('Authorization', second?.bearer ?? ''))
  await pause(130)
  process.off('warning', onWarning)

  const texts = async (): Promise<string[]> => {
    const trail: unknown[] = []
    let cursor: string | undefined
    do {
      const page = await kit.latchkey.audit.query({
        limit: 100,
        ...(cursor === undefined ? {} : { cursor }),
      })
      trail.push(...page.items)
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
    expect(trail.length).toBeGreaterThan(20)
    return [
      ...kit.events.flatMap((event) => [deeply(event), JSON.stringify(event)]),
      ...sinks.errors.map(deeply),
      ...sinks.warnings.map(deeply),
      ...trail.map((event) => JSON.stringify(event)),
      ...sinks.problems,
      deeply(kit.latchkey.health()),
      deeply(kit.latchkey.keys.jwks),
    ]
  }
  return { kit, canary, sinks, texts }
}

describe('no token, secret or password', () => {
  it.each([
    ['problem+json', false],
    ['onError', true],
  ])(
    'nor twelve characters of one is in an event, error, warning, audit line or answer, or reaches the store (%s)',
    async (_, ownHandler) => {
      const { kit, canary, sinks, texts } = await runEverything(ownHandler)
      const found = [...(await texts()), ...kit.spy.inputs].flatMap((text) =>
        canary.findIn(text).map((leak) => ({ leak, text: text.slice(0, 300) })),
      )
      expect(found).toEqual([])
      expect(sinks.problems.length).toBeGreaterThan(200)
      expect(kit.events.length).toBeGreaterThan(50)
      expect(kit.spy.inputs.length).toBeGreaterThan(100)
      if (ownHandler) expect(sinks.errors.length).toBeGreaterThan(200)
    },
  )

  it('would be found if it were there', async () => {
    const kit = await openKit()
    const login = await kit.login()
    const canary = new Canary()
    canary.addLogin(login)
    for (const text of [login.session, login.refresh, login.access]) {
      expect(canary.findIn(`... ${text.slice(-15, -2)} ...`)).not.toEqual([])
    }
    expect(canary.findIn(`session ${login.sid} of ${ISSUER}`)).toEqual([])
  })
})

describe('what a request says of itself', () => {
  it('is one capped line in every event: no log injection (OWASP ASVS 5.0 16.4.1)', async () => {
    const kit = await openKit()
    const evil = `\u0085{"type":"authn_login_success"}\u001b[31m\u0009${'x'.repeat(2000)}`
    const { sid } = await kit.login('alice', {
      headers: {
        'User-Agent': Buffer.from(evil, 'utf8')
          .toString('latin1')
          .replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, ''),
      },
    })
    await kit.latchkey.close()
    for (const event of kit.events) {
      const { userAgent = '' } = event
      expect(userAgent.length).toBeLessThanOrEqual(256)
      expect(userAgent).not.toMatch(/[\p{Cc}\u2028\u2029]/u)
    }
    expect((await kit.stored(sid))?.device.label?.length).toBe(256)
  })
})
