/* oxlint-disable jest/expect-expect -- the expect of supertest asserts */
import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { createKeyRing } from '../../lib/key-ring.ts'
import { formatRefreshToken, readRefreshToken } from '../../lib/refresh-token.ts'
import type { OnDeviceChange } from '../../middleware/index.ts'
import type { KitSetup, Login, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  cookiesOf,
  COOKIES,
  guarded,
  MINUTE,
  openKit,
  PASSWORD,
  readLogin,
  SECRET,
  setCookies,
  typesOf,
} from '../support/kit.ts'

afterEach(closeKits)

type Headers = Record<string, string>

const DEVICE = '__Host-latchkey-device'
const OTHER = `${DEVICE}=${'o'.repeat(43)}`
const ALL: readonly OnDeviceChange[] = ['off', 'observe', 'step-up', 'revoke']
const REFUSING = ['step-up', 'revoke'] as const

async function openWith(
  onChange: OnDeviceChange,
  options: TestOptions = {},
  setup: KitSetup = {},
): Promise<TestKit> {
  return openKit({ ...setup, options: { deviceBinding: { onChange }, ...options } })
}

/** The device cookie an answer sets, as a browser sends it. */
function deviceOf({ res }: Login): string {
  return `${DEVICE}=${cookiesOf(res).get(DEVICE)}`
}

function cookies(...parts: string[]): Headers {
  return { Cookie: parts.join('; ') }
}

function refresh(kit: TestKit, headers: Headers, body?: object): request.Test {
  const sent = request(kit.server).post('/auth/refresh').set(headers)
  return body === undefined ? sent : sent.send(body)
}

function stepUp(kit: TestKit, headers: Headers): request.Test {
  const body = { username: 'alice', password: PASSWORD }
  return request(kit.server).post('/auth/step-up').set(headers).send(body)
}

/** The refresh cookie of any generation, as its holder once had it. */
function refreshOf(login: Login, generation: number): string {
  const ring = createKeyRing([SECRET])
  const token = readRefreshToken(ring, login.refresh)
  if (token === null) throw new Error('no refresh token')
  return `${COOKIES.refresh}=${formatRefreshToken(ring, { ...token, generation })}`
}

/** Security and device events since the kit's list was emptied. */
function changes(kit: TestKit) {
  return kit.events.filter(({ type }) => /^session_(?:device_changed|revoked)$/.test(type))
}

describe('the device cookie', () => {
  it.each(ALL)('is set at a login that brings none, for 400 days (%s)', async (onChange) => {
    const kit = await openWith(onChange)
    const { res } = await kit.login()
    expect(setCookies(res)).toHaveLength(3)
    expect(setCookies(res)[2]).toMatch(
      new RegExp(
        `^${DEVICE}=[\\w-]{43}; Max-Age=34560000; Path=/; HttpOnly; Secure; SameSite=Lax$`,
      ),
    )
    expect(res.text).not.toContain(cookiesOf(res).get(DEVICE))
  })

  it('is kept by later logins, also of others, and of step-up and signIn: one browser, one device', async () => {
    const kit = await openWith(
      'observe',
      {},
      {
        routes: (app, { signIn }) =>
          app.post('/own', (req, res, next) => {
            signIn(req, res, { id: 'alice' }).then(() => void res.json({}), next)
          }),
      },
    )
    const login = await kit.login()
    const device = deviceOf(login)
    const again = await kit.login('bob', { headers: cookies(device) })
    const stepped = await stepUp(kit, cookies(device, login.cookie)).expect(200)
    const own = await request(kit.server).post('/own').set(cookies(device)).expect(200)
    for (const res of [again.res, stepped, own]) {
      expect(setCookies(res).at(-1)).toMatch(`${device}; Max-Age=34560000; `)
    }
  })

  it('is drawn for each browser, and anew in the place of what is none of ours', async () => {
    const kit = await openWith('observe')
    const junk = ['', 'x', 'o'.repeat(42), 'o'.repeat(44), `${'o'.repeat(42)}.`, '"'.repeat(43)]
    const logins = [await kit.login()]
    for (const value of junk) {
      logins.push(await kit.login('alice', { headers: cookies(`${DEVICE}=${value}`) }))
    }
    expect(new Set(logins.map(deviceOf)).size).toBe(junk.length + 1)
  })

  it('is neither set by a refresh nor removed by a logout', async () => {
    const kit = await openWith('revoke')
    const login = await kit.login()
    const device = deviceOf(login)
    const renewed = await refresh(kit, cookies(device, login.refreshCookie)).expect(200)
    expect([...cookiesOf(renewed).keys()]).toEqual([COOKIES.session, COOKIES.refresh])
    const headers = cookies(device, login.cookie)
    const out = await request(kit.server).post('/auth/logout').set(headers).expect(204)
    expect([...cookiesOf(out).keys()]).toEqual([COOKIES.session, COOKIES.refresh])
  })

  it('proves nobody: alone it is no credential', async () => {
    const kit = await openWith('observe')
    const headers = cookies(deviceOf(await kit.login()))
    for (const path of ['/session', '/jwt', '/hybrid', '/auth/session']) {
      const res = await request(kit.server).get(path).set(headers).expect(401)
      expect(res.body).toMatchObject({ code: 'credentials_missing' })
    }
    await refresh(kit, headers).expect(401, /credentials_missing/)
  })

  it('reaches the store as a hash that differs from session to session', async () => {
    const kit = await openWith('observe')
    const [one] = [await kit.login()]
    const device = deviceOf(one)
    const two = await kit.login('alice', { headers: cookies(device) })
    await refresh(kit, cookies(device, one.refreshCookie)).expect(200)
    const value = device.slice(DEVICE.length + 1)
    expect(kit.spy.inputs.filter((input) => input.includes(value))).toEqual([])
    expect(JSON.stringify(kit.events)).not.toContain(value)
    const hashes = await Promise.all(
      [one, two].map(async ({ sid }) => {
        const found = await kit.spy.raw.check({ sid, peek: true, idleTimeoutMs: MINUTE })
        return found.outcome === 'alive' ? found.session.bindingHash : null
      }),
    )
    expect(new Set([...hashes, null]).size).toBe(3)
  })

  it('has a name of the app’s choice, no prefix on plain http, and the domain of the others', async () => {
    const named = await openWith('observe', { cookies: { names: { device: '__Secure-dev' } } })
    expect(setCookies((await named.login()).res)[2]).toMatch(/^__Secure-dev=/)
    const plain = await openWith('observe', { issuer: 'http://localhost:3000' })
    expect(setCookies((await plain.login()).res)[2]).toMatch(/^latchkey-device=[^;]+; Max.*Lax$/)
    const names = { session: 's', refresh: 'r', access: 'a', device: 'd' }
    const wide = await openWith('observe', { cookies: { domain: 'app.example', names } })
    expect(setCookies((await wide.login()).res)[2]).toMatch(/^d=.*; Domain=app.example; /)
  })

  it('does not exist with a function of the app’s, in either form', async () => {
    const read = () => 'one'
    for (const deviceBinding of [read, { read, onChange: 'revoke' as const }]) {
      const kit = await openKit({ options: { deviceBinding } })
      expect(setCookies((await kit.login()).res)).toHaveLength(2)
    }
  })
})

describe('a client without cookies', () => {
  it.each(ALL)('stays unbound and is never locked out (%s)', async (onChange) => {
    const kit = await openWith(onChange, { delivery: 'body' })
    // Also when some cookie comes along at one request and not at the next.
    const login = await kit.login('alice', { headers: cookies(OTHER) })
    expect(setCookies(login.res)).toEqual([])
    const Authorization = `Session ${login.session}`
    for (const headers of [{}, cookies(OTHER), {}]) {
      const all = { ...headers, Authorization }
      await request(kit.server).get('/session').set(all).expect(200)
      await request(kit.server).get('/auth/session').set(all).expect(200)
    }
    let { refresh: token } = login
    for (const headers of [{}, cookies(OTHER), {}]) {
      const res = await refresh(kit, headers, { refresh_token: token }).expect(200)
      token = readLogin(res).refresh
    }
    expect(changes(kit)).toEqual([])
  })

  it('is not one who brings a bound browser’s refresh token in the body', async () => {
    const kit = await openWith('revoke')
    const login = await kit.login()
    await refresh(kit, {}, { refresh_token: login.refresh }).expect(401, /session_revoked/)
    expect(await kit.stored(login.sid)).toBeNull()
  })

  it('and sessions.open stay unbound', async () => {
    const kit = await openWith('revoke')
    const opened = await kit.latchkey.sessions.open({ id: 'alice' })
    const headers = { Authorization: `Session ${opened.sessionToken}`, ...cookies(OTHER) }
    await request(kit.server).get('/session').set(headers).expect(200)
  })
})

describe('the same device', () => {
  it.each(ALL)('passes everywhere, and costs no event (%s)', async (onChange) => {
    const kit = await openWith(onChange)
    const login = await kit.login()
    const device = deviceOf(login)
    const headers = cookies(login.cookie, device)
    for (const path of ['/session', '/hybrid', '/auth/session', '/auth/sessions']) {
      await request(kit.server).get(path).set(headers).expect(200)
    }
    const bearer = { Authorization: login.bearer, ...cookies(device) }
    await request(kit.server).get('/sensitive').set(bearer).expect(200)
    await refresh(kit, cookies(device, login.refreshCookie)).expect(200)
    await refresh(kit, cookies(device, login.refreshCookie)).expect(200) // a replay in grace
    await stepUp(kit, headers).expect(200)
    expect(typesOf(kit)).not.toContain('session_device_changed')
  })

  it('counts when a stranger planted a second cookie, in whatever order', async () => {
    const kit = await openWith('revoke')
    const login = await kit.login()
    const device = deviceOf(login)
    for (const pair of [
      [OTHER, device],
      [device, OTHER],
    ]) {
      await request(kit.server)
        .get('/session')
        .set(cookies(login.cookie, ...pair))
        .expect(200)
      await refresh(kit, cookies(login.refreshCookie, ...pair)).expect(200)
    }
    expect(changes(kit)).toEqual([])
  })

  it('is a refresh of one store call where a change is not refused, and of two where it is', async () => {
    for (const onChange of ALL) {
      const kit = await openWith(onChange)
      const login = await kit.login()
      kit.spy.reset()
      await refresh(kit, cookies(deviceOf(login), login.refreshCookie)).expect(200)
      expect(kit.spy.calls).toEqual(
        onChange === 'off' || onChange === 'observe' ? ['rotate'] : ['check', 'rotate'],
      )
    }
  })
})

/** Without the cookie, with another one, and with one that is none of ours. */
const CHANGED: readonly (readonly [string, readonly string[]])[] = [
  ['without a cookie', []],
  ['with another cookie', [OTHER]],
  ['with a broken cookie', [`${DEVICE}=x`]],
]

/** Every guard that has the session at hand, and how it is asked. */
const GUARDS: readonly (readonly [string, string, (login: Login) => Headers])[] = [
  ['requireSession', '/session', ({ session }) => ({ Authorization: `Session ${session}` })],
  ['requireSession by cookie', '/session', ({ sessionCookie }) => cookies(sessionCookie)],
  ['hybridGuard by cookie', '/hybrid', ({ sessionCookie }) => cookies(sessionCookie)],
  ['hybridGuard, sensitive', '/sensitive', ({ bearer }) => ({ Authorization: bearer })],
  ['hybridGuard with a level', '/guarded', ({ bearer }) => ({ Authorization: bearer })],
  ['a route', '/auth/sessions', ({ bearer }) => ({ Authorization: bearer })],
]

const LEVEL: KitSetup = {
  routes: (app, { hybridGuard }) => guarded(hybridGuard({ maxAuthAge: '1h', sample: 0 }))(app),
}

/** A request's own headers, with further cookies. */
function withCookies(headers: Headers, more: readonly string[]): Headers {
  const { Cookie, ...rest } = headers
  const all = [...(Cookie === undefined ? [] : [Cookie]), ...more]
  return all.length === 0 ? rest : { ...rest, Cookie: all.join('; ') }
}

describe.each(GUARDS)('another device at %s', (_, path, headersOf) => {
  function get(kit: TestKit, login: Login, more: readonly string[]): request.Test {
    return request(kit.server)
      .get(path)
      .set(withCookies(headersOf(login), more))
  }

  it.each(['off', 'observe'] as const)('passes with %s', async (onChange) => {
    const kit = await openWith(onChange, {}, LEVEL)
    const login = await kit.login()
    for (const [, more] of CHANGED) await get(kit, login, more).expect(200)
    // One event for many requests: else whoever holds a credential could flood the trail.
    expect(changes(kit)).toMatchObject(
      onChange === 'off'
        ? []
        : [
            {
              type: 'session_device_changed',
              user: { id: 'alice' },
              sessionId: login.sid,
              result: 'success',
              cause: 'observed',
            },
          ],
    )
  })

  it.each(CHANGED)("%s is 401 step_up_required with 'step-up'", async (__, more) => {
    const kit = await openWith('step-up', {}, LEVEL)
    const login = await kit.login()
    const res = await get(kit, login, more).expect(401)
    expect(res.body).toMatchObject({ code: 'step_up_required' })
    expect(res.headers['www-authenticate']).toMatch(
      /error="insufficient_user_authentication".*, max_age="0"$/,
    )
    expect(setCookies(res)).toEqual([])
    expect(changes(kit)).toMatchObject([
      { type: 'session_device_changed', result: 'failure', cause: 'step_up_required' },
    ])
    // The owner's browser goes on.
    await get(kit, login, [deviceOf(login)]).expect(200)
  })

  it.each(CHANGED)("%s ends the session with 'revoke'", async (__, more) => {
    const kit = await openWith('revoke', {}, LEVEL)
    const [login, other] = [await kit.login(), await kit.login()]
    const res = await get(kit, login, more).expect(401)
    expect(res.body).toMatchObject({ code: 'session_revoked' })
    expect(changes(kit)).toMatchObject([
      {
        type: 'session_revoked',
        user: { id: 'alice' },
        sessionId: login.sid,
        cause: 'device_changed',
      },
    ])
    await get(kit, login, [deviceOf(login)]).expect(401, /session_revoked/)
    await get(kit, other, [deviceOf(other)]).expect(200)
  })

  it("with 'revoke' is 503 when the end cannot be stored, and never a pass", async () => {
    const kit = await openWith('revoke', {}, LEVEL)
    const login = await kit.login()
    kit.spy.faults.set('revoke', 'rejects')
    await get(kit, login, []).expect(503)
    kit.spy.faults.clear()
    await get(kit, login, []).expect(401)
  })
})

describe('another device', () => {
  it.each(REFUSING)('is refused from the near cache too, without a store call (%s)', async (on) => {
    const kit = await openWith(on, { nearCache: true })
    const login = await kit.login()
    const headers = cookies(login.cookie, deviceOf(login))
    await request(kit.server).get('/session').set(headers).expect(200)
    kit.spy.reset()
    await request(kit.server).get('/session').set(headers).expect(200)
    await request(kit.server).get('/session').set(cookies(login.cookie)).expect(401)
    expect(kit.spy.calls).toEqual(on === 'revoke' ? ['revoke'] : [])
  })

  it('is told to step up before it is told what it may not do, and before bindDevice', async () => {
    const kit = await openWith(
      'step-up',
      {},
      {
        routes: (app, { requireSession }) =>
          guarded(requireSession({ roles: ['x'], bindDevice: true }))(app),
      },
    )
    const login = await kit.login()
    const get = (headers: Headers) => request(kit.server).get('/guarded').set(headers)
    await get(cookies(login.cookie)).expect(401, /step_up_required/)
    await get(cookies(login.cookie, deviceOf(login))).expect(403)
    expect(typesOf(kit).filter((type) => type === 'authz_fail')).toHaveLength(1)
  })

  it('is still device_mismatch at bindDevice where a change is only observed', async () => {
    const kit = await openWith(
      'observe',
      {},
      { routes: (app, { requireSession }) => guarded(requireSession({ bindDevice: true }))(app) },
    )
    const login = await kit.login()
    const get = (headers: Headers) => request(kit.server).get('/guarded').set(headers)
    await get(cookies(login.cookie, deviceOf(login))).expect(200)
    await get(cookies(login.cookie, OTHER)).expect(401, /device_mismatch/)
  })

  it.each(REFUSING)('is nobody at an optional guard (%s)', async (onChange) => {
    const kit = await openWith(
      onChange,
      {},
      { routes: (app, { requireSession }) => guarded(requireSession({ optional: true }))(app) },
    )
    const login = await kit.login()
    const res = await request(kit.server).get('/guarded').set(cookies(login.cookie)).expect(200)
    expect(res.body).toEqual({ passed: true, auth: null })
  })

  it('gets in by logging in there: step-up binds the new device and leaves the old session to nobody', async () => {
    const kit = await openWith('step-up')
    const login = await kit.login()
    const wrong = { username: 'alice', password: 'wrong' }
    await request(kit.server)
      .post('/auth/step-up')
      .set(cookies(login.cookie))
      .send(wrong)
      .expect(401, /invalid_credentials/)
    const fresh = readLogin(await stepUp(kit, cookies(login.cookie)).expect(200))
    expect(deviceOf(fresh)).not.toBe(deviceOf(login))
    const get = (headers: Headers) => request(kit.server).get('/session').set(headers)
    await get(cookies(fresh.cookie, deviceOf(fresh))).expect(200)
    await get(cookies(fresh.cookie, deviceOf(login))).expect(401)
    await get(cookies(login.cookie, deviceOf(login))).expect(401, /session_revoked/)
  })

  it("does not even get to step up with 'revoke'", async () => {
    const kit = await openWith('revoke')
    const login = await kit.login()
    await stepUp(kit, cookies(login.cookie)).expect(401, /session_revoked/)
    expect(await kit.stored(login.sid)).toBeNull()
  })

  it('may always log out', async () => {
    for (const onChange of ALL) {
      const kit = await openWith(onChange)
      const login = await kit.login()
      await request(kit.server).post('/auth/logout').set(cookies(login.cookie)).expect(204)
      expect(await kit.stored(login.sid)).toBeNull()
    }
  })

  it('is not looked for where no session is at hand', async () => {
    const kit = await openWith('revoke')
    const login = await kit.login()
    for (const path of ['/jwt', '/hybrid']) {
      await request(kit.server).get(path).set('Authorization', login.bearer).expect(200)
    }
    expect(changes(kit)).toEqual([])
  })
})

describe('a refresh on another device', () => {
  it.each(['off', 'observe'] as const)('is answered with %s', async (onChange) => {
    const kit = await openWith(onChange)
    const login = await kit.login()
    await refresh(kit, cookies(login.refreshCookie, OTHER)).expect(200)
    expect(changes(kit)).toMatchObject(
      onChange === 'off' ? [] : [{ type: 'session_device_changed', sessionId: login.sid }],
    )
  })

  it.each(CHANGED)("%s is 401 step_up_required, retryable, with 'step-up'", async (_, more) => {
    const kit = await openWith('step-up', { loadUser: () => ({ id: 'alice' }) })
    const login = await kit.login()
    kit.spy.reset()
    const res = await refresh(kit, cookies(login.refreshCookie, ...more)).expect(401)
    expect(res.body).toMatchObject({ code: 'step_up_required', outcome: 'retryable' })
    expect(res.headers['www-authenticate']).toContain('max_age="0"')
    expect(setCookies(res)).toEqual([])
    // Nothing was rotated: the owner's token is as good as it was.
    expect(kit.spy.calls).toEqual(['check'])
    await refresh(kit, cookies(login.refreshCookie, deviceOf(login))).expect(200)
    expect(changes(kit)).toHaveLength(1)
  })

  it.each(CHANGED)("%s is 401 session_revoked, terminal, with 'revoke'", async (_, more) => {
    const kit = await openWith('revoke')
    const login = await kit.login()
    const res = await refresh(kit, cookies(login.refreshCookie, ...more)).expect(401)
    expect(res.body).toMatchObject({ code: 'session_revoked', outcome: 'terminal' })
    expect(setCookies(res)).toEqual([])
    expect(await kit.stored(login.sid)).toBeNull()
    await request(kit.server).get('/jwt').set('Authorization', login.bearer).expect(401)
    expect(changes(kit)).toMatchObject([{ type: 'session_revoked', cause: 'device_changed' }])
  })

  it.each(ALL)('with a used token is still reuse: nothing hides a theft (%s)', async (onChange) => {
    const kit = await openWith(onChange, { onReuse: 'user' })
    const [login, other] = [await kit.login(), await kit.login()]
    const device = deviceOf(login)
    await refresh(kit, cookies(device, refreshOf(login, 0))).expect(200)
    // Within grace, but not on the device that rotated.
    const res = await refresh(kit, cookies(OTHER, refreshOf(login, 0))).expect(401)
    expect(res.body).toMatchObject({ code: 'refresh_reused', outcome: 'terminal' })
    for (const { sid } of [login, other]) expect(await kit.stored(sid)).toBeNull()
    expect(typesOf(kit)).toContain('authn_token_reuse')
  })

  it.each(REFUSING)('is not answered for knowing the attempt id either (%s)', async (onChange) => {
    const kit = await openWith(onChange)
    const login = await kit.login()
    const attempt = { 'Idempotency-Key': 'attempt-number-0001' }
    const send = (device: string) =>
      refresh(kit, { ...attempt, ...cookies(login.refreshCookie, device) })
    await send(deviceOf(login)).expect(200)
    const res = await send(OTHER).expect(401)
    expect(res.text).not.toContain('access_token')
    expect(typesOf(kit)).not.toContain('session_replayed')
    expect((await kit.stored(login.sid)) === null).toBe(onChange === 'revoke')
    expect(await kit.generationOf(login.sid)).toBe(onChange === 'revoke' ? null : 1)
  })

  it.each(REFUSING)('with a token far ahead is still malicious_token (%s)', async (onChange) => {
    const kit = await openWith(onChange)
    const login = await kit.login()
    await refresh(kit, cookies(refreshOf(login, 17))).expect(401, /refresh_invalid/)
    expect(typesOf(kit)).toContain('malicious_token')
    await refresh(kit, cookies(refreshOf(login, 16))).expect(401)
    expect(await kit.generationOf(login.sid)).toBe(onChange === 'revoke' ? null : 0)
  })
})

describe('deviceBinding of the app’s own', () => {
  const read = (req: { get: (name: string) => string | undefined }) => req.get('X-Device')

  it('as a function is as it always was: seen at a refresh, asked for by bindDevice', async () => {
    const kit = await openKit({ options: { deviceBinding: read } })
    const login = await kit.login('alice', { headers: { 'X-Device': 'one' } })
    await request(kit.server).get('/session').set(cookies(login.cookie)).expect(200)
    expect(changes(kit)).toEqual([])
    await refresh(kit, cookies(login.refreshCookie)).expect(200)
    expect(changes(kit)).toMatchObject([{ type: 'session_device_changed', result: 'success' }])
  })

  it.each(REFUSING)('in an object is judged like the cookie, also by body (%s)', async (on) => {
    const kit = await openKit({
      options: { delivery: 'body', deviceBinding: { read, onChange: on } },
    })
    const login = await kit.login('alice', { headers: { 'X-Device': 'one' } })
    const send = (device: string) =>
      refresh(kit, { 'X-Device': device }, { refresh_token: login.refresh })
    await send('one').expect(200)
    const Authorization = `Session ${login.session}`
    await request(kit.server)
      .get('/session')
      .set({ Authorization, 'X-Device': 'two' })
      .expect(401, on === 'revoke' ? /session_revoked/ : /step_up_required/)
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('private detail')
      },
    ],
    ['returns a number', () => 7],
  ])('that %s is 500 and never a pass', async (_, hook) => {
    let broken = false
    const deviceBinding = {
      read: (() => (broken ? hook() : 'one')) as () => string,
      onChange: 'step-up' as const,
    }
    const kit = await openKit({ options: { deviceBinding } })
    const login = await kit.login()
    broken = true
    const res = await request(kit.server).get('/session').set(cookies(login.cookie)).expect(500)
    expect(res.text).not.toContain('private')
    await refresh(kit, cookies(login.refreshCookie)).expect(500)
    expect(await kit.generationOf(login.sid)).toBe(0)
  })
})
