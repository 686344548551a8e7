import { expect, it } from '@jest/globals'
import { forge, halves, partsOf } from '../../support/forge.ts'
import { sendRaw } from '../../support/kit.ts'
import { ALIVE, PASSWORDS } from './target.ts'
import type { Answer, Target } from './target.ts'

const EVENTS_SETTLE_MS = 60_000

function decode(segment: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(segment, 'base64url').toString()) as Record<string, unknown>
}

/** What of an answer an attacker may compare: all but the time. */
function visible({ status, headers, text }: Answer): unknown {
  return [status, { ...headers, date: '' }, text]
}

/** Texts that mean something to whoever reads them carelessly. */
const INJECTIONS = [
  "' OR '1'='1",
  "alice'--",
  "alice'; drop table latchkey_example_session; --",
  '$1',
  String.raw`\'; select pg_sleep(10); --`,
  'alice" or ""="',
  'latchkey-example:*',
  '{alice}',
  '*',
  'alice:session',
  'alice}:{bob',
  '*3\r\n$8\r\nFLUSHALL\r\n',
  "alice'..redis.call('flushdb')..'",
]

/** What bodies, queries and header lines can carry. */
export function describeInput(target: Target): void {
  /** Without a password: that is refused, and hashes nothing. */
  async function tryLogin(username: unknown, password: unknown = ''): Promise<Answer> {
    return target.send('POST', '/auth/login', { body: { username, password } })
  }

  it('A31 is not polluted by a body or a query', async () => {
    const { bearer, cookie } = await target.login('bob')
    const right = `"username":"bob","password":"${PASSWORDS.bob}"`
    for (const body of [
      `{"__proto__":{"admin":true,"roles":["admin"]},${right}}`,
      `{"a":{"__proto__":{"roles":["admin"]}},${right}}`,
      `{"\\u005f_proto__":{"roles":["admin"]},${right}}`,
    ]) {
      expect((await target.send('POST', '/auth/login', { body })).code).toBe('400 invalid_request')
    }
    const body = `{"constructor":{"prototype":{"roles":["admin"]}},"roles":["admin"],${right}}`
    expect((await target.send('POST', '/auth/login', { body })).code).toBe('400 invalid_request')
    const amount = '{"__proto__":{"amount":5},"constructor":{"prototype":{"amount":5}}}'
    await target.send('POST', '/api/transfer', { headers: [bearer], body: amount })
    for (const query of [
      '__proto__[roles]=admin',
      'constructor[prototype][roles]=admin',
      '__proto__=1',
    ]) {
      const { code } = await target.send('GET', `/auth/sessions?${query}`, { headers: [cookie] })
      expect(code).toBe('400 invalid_request')
    }
    expect((await target.send('GET', '/api/admin', { headers: [bearer] })).status).toBe(403)
    expect((await target.send('GET', '/api/admin')).status).toBe(401)
  })

  it('refuses logins that no form of its own sends, and changes nothing (OWASP ASVS 5.0 2.2.1)', async () => {
    const right = { username: 'bob', password: PASSWORDS.bob }
    for (const odd of [
      { roles: ['admin'] },
      { toString: 'x' },
      { username: ['bob'] },
      { username: null },
      { password: { $ne: '' } },
      { password: 7 },
      // Never cut: the first bytes are right.
      { password: PASSWORDS.bob.padEnd(1025) },
      { password: '\u00e9'.repeat(513) },
    ]) {
      const answer = await target.send('POST', '/auth/login', { body: { ...right, ...odd } })
      expect(answer.code).toBe('400 invalid_request')
      expect(answer.headers['set-cookie']).toBeUndefined()
    }
    for (const body of ['[]', '[{"username":"bob"}]', '"bob"', 'null', '7']) {
      expect((await target.send('POST', '/auth/login', { body })).code).toBe('400 invalid_request')
    }
  })

  it('A34 A35 injects nothing into statements or keys', async () => {
    const alice = await target.login('alice')
    const root = await target.login('root')
    const as = { headers: [root.bearer] }
    for (const text of INJECTIONS) {
      expect((await tryLogin(text)).code).toBe('401 invalid_credentials')
      expect((await tryLogin('alice', text)).status).toBe(401)
      const asked = encodeURIComponent(text)
      const handle = await target.send('DELETE', `/auth/sessions/${asked}`, as)
      expect(handle.code).toBe('404 not_found')
      const [list, audit, paged, ended] = await Promise.all([
        target.send('GET', `/auth/sessions?user_id=${asked}`, as),
        target.send('GET', `/auth/audit?user_id=${asked}&tenant=${asked}`, as),
        target.send('GET', `/auth/sessions?cursor=${asked}`, as),
        target.send('DELETE', `/auth/sessions?user_id=${asked}`, as),
      ])
      // A control character is in no id.
      const isId = !/\p{Cc}/u.test(text)
      expect([list.status, audit.status, ended.status]).toEqual(
        isId ? [200, 200, 200] : [400, 400, 400],
      )
      if (isId) {
        expect(JSON.parse(list.text)).toMatchObject({ sessions: [] })
        expect(JSON.parse(audit.text)).toMatchObject({ events: [] })
        expect(JSON.parse(ended.text)).toEqual({ revoked: 0 })
      }
      expect(paged.status).toBe(200)
      for (const name of ['type', 'session_id', 'from', 'to', 'limit']) {
        expect((await target.send('GET', `/auth/audit?${name}=${asked}`, as)).status).toBe(400)
      }
    }
    expect(await target.statuses(alice)).toEqual(ALIVE)
    expect((await target.refresh(alice.refresh)).status).toBe(200)
  })

  it('A36 keeps names apart that look alike, and refuses what is no text', async () => {
    const root = await target.login('root')
    const as = { headers: [root.bearer] }
    for (const name of [
      '\uff52\uff4f\uff4f\uff54',
      'ROOT',
      'root\u0301',
      'r\u043e\u043et',
      'root ',
      'root\u200b',
    ]) {
      expect((await tryLogin(name, PASSWORDS.root)).code).toBe('401 invalid_credentials')
      const { text } = await target.send(
        'GET',
        `/auth/sessions?user_id=${encodeURIComponent(name)}`,
        as,
      )
      expect(JSON.parse(text)).toMatchObject({ sessions: [] })
    }
    for (const query of [
      'user_id=root%00',
      'user_id=%0d%0aroot',
      `user_id=${'r'.repeat(300)}`,
      'user_id=',
      'user_id=a&user_id=root',
      'user_id[]=root',
    ]) {
      expect((await target.send('GET', `/auth/sessions?${query}`, as)).code).toMatch(
        /^400 (?:invalid_request|user_invalid)$/,
      )
    }
    // What is ill-formed becomes replacement characters on the way, and never somebody's name.
    for (const bytes of ['%ed%a0%80', '%c0%af', 'root%ff', '%fe']) {
      const { status, text } = await target.send('GET', `/auth/sessions?user_id=${bytes}`, as)
      expect([200, 400]).toContain(status)
      expect(text).not.toContain(root.sid)
    }
    const lone = String.raw`{"username":"\ud800root","password":"x"}`
    expect((await target.send('POST', '/auth/login', { body: lone })).status).toBe(401)
    for (const path of [
      '/auth/sessions/%c3',
      '/auth/sessions/%00',
      '/auth/%2e%2e/api/admin',
      '/AUTH/session',
      '/auth/session/',
    ]) {
      expect([404, 405]).toContain((await target.send('DELETE', path, as)).status)
    }
  })

  it('A38 answers alike for who exists and who does not', async () => {
    const [known, unknown] = [await tryLogin('bob', 'wrong'), await tryLogin('mallory', 'wrong')]
    expect(visible(unknown)).toEqual(visible(known))
    const bob = await target.login('bob')
    const as = { headers: [bob.bearer] }
    const listed = await Promise.all(
      ['root', 'mallory', 'bob'].map(async (name) =>
        target.send('GET', `/auth/sessions?user_id=${name}`, as),
      ),
    )
    expect(listed[0]?.status).toBe(403)
    for (const answer of listed) expect(visible(answer)).toEqual(visible(listed[0] as Answer))
  })

  it("A38 answers for somebody else's session, to the byte, what it answers for an unknown one", async () => {
    const [bob, root] = [await target.login('bob'), await target.login('root')]
    const as = { headers: [bob.bearer] }
    const handles = [root.sid, `${root.sid.slice(0, -1)}${root.sid.endsWith('A') ? 'B' : 'A'}`, 'x']
    const ended = await Promise.all(
      handles.map(async (sid) => target.send('DELETE', `/auth/sessions/${sid}`, as)),
    )
    expect(ended[0]?.code).toBe('404 not_found')
    for (const answer of ended) expect(visible(answer)).toEqual(visible(ended[0] as Answer))
    expect(await target.statuses(root)).toEqual(ALIVE)
  })

  it('A38 takes as long for an unknown user as for a wrong password', async () => {
    // The fastest of some tries, which no busy machine can make faster than the work is, given enough of them.
    const best = { bob: Infinity, mallory: Infinity }
    const areAlike = () => best.mallory > best.bob / 3 && best.mallory < best.bob * 3
    // Fewer than the limit of failed logins lets through: a refusal by that takes no time.
    for (let tries = 0; tries < 5 || (tries < 16 && !areAlike()); tries++) {
      for (const name of ['bob', 'mallory'] as const) {
        const began = performance.now()
        await tryLogin(name, 'wrong')
        best[name] = Math.min(best[name], performance.now() - began)
      }
    }
    expect(best.mallory).toBeGreaterThan(best.bob / 3)
    expect(best.mallory).toBeLessThan(best.bob * 3)
  })

  it('A42 keeps the audit trail to one line an event, and short', async () => {
    const agent = Buffer.from('ua\u2028\u0085\u202e<script>').toString('latin1')
    const username = 'x\r\nlogin success root\u001b[31m\u2028\u0000'
    const body = { username, password: '' }
    const headers = [['User-Agent', `${agent}${'z'.repeat(4000)}`]] as const
    expect((await target.send('POST', '/auth/login', { headers, body })).status).toBe(401)
    const huge = { username: 'x'.repeat(1_000_000), password: 'y' }
    expect((await target.send('POST', '/auth/login', { body: huge })).status).toBe(413)
    const raw = await sendRaw(target.port, 'GET /api/session', ['User-Agent: \u001b[2Jx'])
    expect(raw.status).toBe(400)

    const root = await target.login('root')
    const end = Date.now() + EVENTS_SETTLE_MS
    let events: { user_agent: string | null }[] = []
    while (events.length === 0 && Date.now() < end) {
      const as = { headers: [root.bearer] }
      const { text } = await target.send('GET', '/auth/audit?type=authn_login_fail', as)
      // No lines, no colours, no directions: whoever prints this sees what was.
      expect(text).not.toMatch(/[\p{Cc}\u2028\u2029]|\\u00[01]|\\[rn]/u)
      events = (JSON.parse(text) as { events: typeof events }).events.filter(({ user_agent: ua }) =>
        ua?.startsWith('ua'),
      )
    }
    expect(events).not.toEqual([])
    for (const { user_agent: ua } of events) expect(ua?.length).toBeLessThanOrEqual(256)
  })

  it('A46 takes the time from nobody', async () => {
    const { access, cookie, bearer } = await target.login('alice')
    const [header, payload] = partsOf(access).slice(0, 2).map(decode)
    const { privateKey } = halves(target.signingKey)
    const now = Math.floor(Date.now() / 1000)
    const bent = [
      { exp: now - 3600 },
      { exp: now + 10 * 365 * 86_400 },
      { exp: 9e15 },
      { exp: -1 },
      { exp: `${now + 60}` },
      { nbf: now + 3600 },
      { iat: now + 3600, exp: now + 4000 },
      { iat: 0 },
    ]
    for (const claims of bent) {
      const token = forge(header, { ...payload, ...claims }, privateKey)
      const as = { headers: [['Authorization', `Bearer ${token}`]] as const }
      expect((await target.send('GET', '/api/jwt', as)).status).toBe(401)
      expect((await target.send('POST', '/api/transfer', as)).status).toBe(401)
    }
    const control = forge(header, payload, privateKey)
    const good = { headers: [['Authorization', `Bearer ${control}`]] as const }
    expect((await target.send('GET', '/api/jwt', good)).status).toBe(200)
    const dates = ['Date', 'X-Time', 'If-Modified-Since', 'X-Request-Start'].map(
      (name) => [name, 'Thu, 01 Jan 2099 00:00:00 GMT'] as const,
    )
    for (const credential of [cookie, bearer]) {
      const path = credential === cookie ? '/api/session' : '/api/jwt'
      const { status } = await target.send('GET', path, { headers: [credential, ...dates] })
      expect(status).toBe(200)
    }
    const root = await target.login('root')
    for (const from of [
      '1e400',
      '-1',
      'NaN',
      '+275761-01-01T00:00:00Z',
      'now()',
      '2026-02-30T25:00:00Z',
    ]) {
      const path = `/auth/audit?from=${encodeURIComponent(from)}`
      expect((await target.send('GET', path, { headers: [root.bearer] })).status).toBe(400)
    }
  })

  it('smuggles no request and no credential past the parser', async () => {
    const [alice, root] = [await target.login('alice'), await target.login('root')]
    const auth = `Authorization: ${alice.bearer[1]}`
    const other = `Authorization: ${root.bearer[1]}`
    const hidden = 'GET /api/admin HTTP/1.1\r\nHost: x\r\n\r\n'
    const cases: (readonly [headers: readonly string[], body?: string])[] = [
      [[auth, other]],
      [[other, auth.replace('Authorization', 'AUTHORIZATION')]],
      [['X-A: 1', ` ${auth}`.replace('Authorization', '\tAuthorization'), other, auth]],
      [[auth, 'Transfer-Encoding: chunked', 'Content-Length: 5'], `0\r\n\r\n${hidden}`],
      [[auth, 'Content-Length: 5', 'Content-Length: 6'], hidden],
      [[auth, 'Transfer-Encoding: xchunked'], `0\r\n\r\n${hidden}`],
      [[auth, 'Transfer-Encoding: chunked, identity'], `0\r\n\r\n${hidden}`],
      [[auth, 'Content-Length: +5'], hidden],
      [[auth.replace(':', ' :')]],
      [[`${auth}\nX-A: 1`]],
      [[`${auth}\rX-A: 1`]],
      [[`${auth}\u0000`]],
    ]
    for (const [headers, body] of cases) {
      const answer = await sendRaw(target.port, 'GET /api/jwt', headers, body)
      expect(answer.status).toBe(400)
      expect(`${answer.head}${answer.body}`.match(/HTTP\/1\.1/g)).toHaveLength(1)
    }
    const fold = await sendRaw(target.port, 'GET /api/jwt', [
      'Authorization: Bearer',
      ` ${alice.access}`,
    ])
    expect(fold.status).toBe(400)
  })
}
