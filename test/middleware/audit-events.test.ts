import { afterEach, describe, expect, it } from '@jest/globals'
import type { Express } from 'express'
import request from 'supertest'
import { createKeyRing } from '../../lib/key-ring.ts'
import { formatRefreshToken, readRefreshToken } from '../../lib/refresh-token.ts'
import type { Latchkey, LatchkeyEvent } from '../../middleware/index.ts'
import type { Login, TestClaims, TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, COOKIES, MINUTE, openKit, PASSWORD, pause, SECRET } from '../support/kit.ts'

afterEach(async () => {
  meanwhile = undefined
  await closeKits()
})

type Headers = Record<string, string>

const AGENT = 'an\tagent'
const FORGED = { 'Sec-Fetch-Site': 'cross-site' }
const UNKNOWN = 'A'.repeat(24)

/** Only `onEvent` sees these: the trail has everything else. */
const OPERATIONAL = /^(?:session_renewed|session_replayed|store_failure|hook_failure)$/

/** What every case starts with: three logins, and the events of getting there forgotten. */
interface Scene {
  readonly kit: TestKit
  readonly alice: Login
  readonly bob: Login
  readonly root: Login
  readonly post: (path: string, headers: Headers, body?: object) => Promise<request.Response>
  readonly get: (path: string, headers: Headers) => Promise<request.Response>
  readonly del: (path: string, headers: Headers) => Promise<request.Response>
}

interface Case {
  readonly options?: TestOptions
  /** Before the events are counted. */
  readonly before?: ((scene: Scene) => Promise<unknown>) | undefined
  readonly act: (scene: Scene) => Promise<unknown>
  /** One line an event: `+` or `-`, type, cause, subject, `by` actor, `of` session. */
  readonly events: readonly string[]
}

function routes(app: Express, kit: Latchkey<TestClaims>): void {
  const { requireSession: guard, signIn, signOut } = kit
  const ok = (_req: unknown, res: { json: (body: object) => void }) => res.json({})
  app.post(
    '/in',
    (req, res, next) => void signIn(req, res, { id: 'alice' }).then(() => ok(req, res), next),
  )
  app.post('/out', (req, res, next) => void signOut(req, res).then(() => ok(req, res), next))
  app.all('/level', guard({ level: 'mfa' }), ok)
  app.all('/age', guard({ maxAuthAge: '5m' }), ok)
  app.all('/scope', guard({ scope: ['write'] }), ok)
  app.all('/roles', guard({ roles: ['admin'] }), ok)
  app.all('/check', guard({ check: () => false }), ok)
  app.all('/broken', guard({ check: fail }), ok)
}

function fail(): never {
  throw new Error('broken hook')
}

async function openScene(options: TestOptions = {}): Promise<Scene> {
  const kit = await openKit({ options, routes })
  const agent = request(kit.server)
  const own = { headers: { 'User-Agent': AGENT } }
  return {
    kit,
    alice: await kit.login('alice', own),
    bob: await kit.login('bob', own),
    root: await kit.login('root', own),
    post: async (path, headers, body) => {
      const sent = agent.post(path).set({ 'User-Agent': AGENT, ...headers })
      return body === undefined ? sent : sent.send(body)
    },
    get: async (path, headers) => agent.get(path).set({ 'User-Agent': AGENT, ...headers }),
    del: async (path, headers) => agent.delete(path).set({ 'User-Agent': AGENT, ...headers }),
  }
}

/** An event in a line. Sessions have the names of their logins; one that is not theirs is `new`. */
function line({ alice, bob, root }: Scene, event: LatchkeyEvent): string {
  const names = new Map([
    [alice.sid, "alice's"],
    [bob.sid, "bob's"],
    [root.sid, "root's"],
    [UNKNOWN, 'unknown'],
  ])
  const { type, result, cause, user, actor, sessionId } = event
  return [
    result === 'success' ? '+' : '-',
    type,
    ...(cause === undefined ? [] : [cause]),
    ...(user === undefined ? [] : [user.id]),
    ...(actor === undefined ? [] : [`by ${actor.id}`]),
    ...(sessionId === undefined ? [] : [`of ${names.get(sessionId) ?? 'new'}`]),
  ].join(' ')
}

const credentials = (username: string, password = PASSWORD) => ({ username, password })
const cookie = ({ cookie: Cookie }: Login): Headers => ({ Cookie })
const bearer = ({ bearer: Authorization }: Login): Headers => ({ Authorization })
/** With an end that no signature or MAC has by chance. */
const spoiled = (token: string): string => token.slice(0, -22) + 'A'.repeat(22)

/** The refresh cookie of a login at another generation, or with another seed under a good MAC. */
function refreshCookie(login: Login, changes: { generation?: number; seed?: string }): Headers {
  const ring = createKeyRing([SECRET])
  const token = readRefreshToken(ring, login.refresh)
  if (token === null) throw new Error('no refresh token')
  return { Cookie: `${COOKIES.refresh}=${formatRefreshToken(ring, { ...token, ...changes })}` }
}

const login: Case['act'] = async ({ post }) => post('/auth/login', {}, credentials('alice'))
const refresh: Case['act'] = async ({ post, alice }) => post('/auth/refresh', cookie(alice))
const late: NonNullable<Case['before']> = async ({ kit }) => kit.tick(6 * MINUTE)
const down =
  (operation: string): NonNullable<Case['before']> =>
  async ({ kit }) =>
    kit.spy.faults.set(operation, 'rejects')

/** What happens while credentials are being checked. */
let meanwhile: (() => Promise<unknown>) | undefined

const SLOW: TestOptions = {
  authenticate: async () => {
    if (meanwhile !== undefined) await pause(5)
    await meanwhile?.()
    return { id: 'alice' }
  },
}

const LOGIN: Record<string, Case> = {
  'that succeeds': {
    act: login,
    events: ['+ session_created alice of new', '+ authn_login_success alice of new'],
  },
  'over a session of the same user': {
    act: async ({ post, alice }) => post('/auth/login', cookie(alice), credentials('alice')),
    events: [
      "+ session_revoked replaced alice of alice's",
      '+ session_created alice of new',
      '+ authn_login_success alice of new',
    ],
  },
  'over a session of another user': {
    act: async ({ post, alice }) => post('/auth/login', cookie(alice), credentials('bob')),
    events: [
      '+ session_created bob of new',
      '+ authn_login_success bob of new',
      "+ session_revoked replaced alice of alice's",
    ],
  },
  'with a wrong password': {
    act: async ({ post }) => post('/auth/login', {}, credentials('alice', 'wrong')),
    events: ['- authn_login_fail invalid_credentials'],
  },
  'that was tried too often': {
    options: { rateLimits: { loginPerAccountAndNetwork: { max: 1 } } },
    act: async ({ post }) => {
      for (let tries = 0; tries < 3; tries++) {
        await post('/auth/login', {}, credentials('alice', 'wrong'))
      }
    },
    // The limit is reported once in its window.
    events: [
      '- authn_login_fail invalid_credentials',
      '- excess_rate_limit_exceeded loginPerAccountAndNetwork',
    ],
  },
  'from another origin': {
    act: async ({ post }) => post('/auth/login', FORGED, credentials('alice')),
    events: ['- malicious_csrf cross_origin'],
  },
  'that evicts': {
    options: { maxSessions: { perUser: 1 } },
    act: login,
    events: [
      "+ session_limit_evicted limit alice of alice's",
      '+ session_created alice of new',
      '+ authn_login_success alice of new',
    ],
  },
  'that is one too many': {
    options: { maxSessions: { perUser: 1, onLimit: 'refuse' } },
    act: login,
    events: ['- excess_sessions_exceeded session_limit alice'],
  },
  'that was overtaken by a revocation': {
    options: SLOW,
    before: async ({ kit }) => {
      meanwhile = async () => kit.latchkey.sessions.revokeUser('alice')
    },
    act: login,
    events: ['+ authn_token_revoked app alice', '- authn_login_fail stale_login alice'],
  },
  'that is malformed': {
    act: async ({ post }) => post('/auth/login', {}, []),
    events: [],
  },
  'while the store fails': {
    before: down('create'),
    act: login,
    events: ['- store_failure request'],
  },
  'by signIn': {
    act: async ({ post }) => post('/in', {}),
    events: ['+ session_created alice of new', '+ authn_login_success sign_in alice of new'],
  },
  'by sessions.open': {
    act: async ({ kit }) => kit.latchkey.sessions.open({ id: 'alice' }, { ip: '192.0.2.1' }),
    events: ['+ session_created alice of new'],
  },
}

const REFRESH: Record<string, Case> = {
  'that rotates': { act: refresh, events: ["+ session_renewed rotated alice of alice's"] },
  'that is repeated': {
    before: refresh,
    act: refresh,
    events: ["+ session_replayed grace alice of alice's"],
  },
  'that is ahead of the store': {
    act: async ({ post, alice }) => post('/auth/refresh', refreshCookie(alice, { generation: 3 })),
    events: [
      "+ authn_token_recovered alice of alice's",
      "+ session_renewed recovered alice of alice's",
    ],
  },
  'that is too far ahead': {
    act: async ({ post, alice }) => post('/auth/refresh', refreshCookie(alice, { generation: 99 })),
    events: ["- malicious_token ahead of alice's"],
  },
  'with another seed under a good MAC': {
    act: async ({ post, alice }) =>
      post('/auth/refresh', refreshCookie(alice, { seed: Buffer.alloc(32).toString('base64url') })),
    events: ["- malicious_token seed of alice's"],
  },
  'with a used token': {
    before: async (scene) => {
      await refresh(scene)
      await scene.post('/auth/refresh', refreshCookie(scene.alice, { generation: 1 }))
    },
    act: refresh,
    events: ["- authn_token_reuse reused alice of alice's"],
  },
  'with junk': {
    act: async ({ post }) => post('/auth/refresh', { Cookie: `${COOKIES.refresh}=junk` }),
    events: [],
  },
  'of a session that is over': {
    before: async ({ kit, alice }) => kit.latchkey.sessions.revoke(alice.sid),
    act: refresh,
    events: ["- session_use_after_expire session_revoked of alice's"],
  },
  'from another origin': {
    act: async ({ post, alice }) => post('/auth/refresh', { ...FORGED, ...cookie(alice) }),
    events: ['- malicious_csrf cross_origin'],
  },
  'by two cookies that verify': {
    act: async ({ post, alice, bob }) =>
      post('/auth/refresh', { Cookie: `${alice.cookie}; ${bob.cookie}` }),
    events: ['- malicious_cookie credentials_ambiguous'],
  },
  'while the store fails': {
    before: down('rotate'),
    act: refresh,
    events: ['- store_failure request'],
  },
  'with news of the user': {
    options: { loadUser: () => ({ id: 'alice', roles: ['new'] }) },
    act: refresh,
    events: [
      "+ session_renewed rotated alice of alice's",
      "+ session_updated load_user alice of alice's",
    ],
  },
  'of a user who is gone': {
    options: { loadUser: () => null },
    act: refresh,
    events: ["+ session_revoked user_gone alice of alice's"],
  },
  'while the user cannot be looked up': {
    options: { loadUser: fail },
    act: refresh,
    events: ["- hook_failure loadUser alice of alice's"],
  },
  'on another device, by a function': {
    options: { deviceBinding: (req) => req.get('X-Device') },
    act: async ({ post, alice }) => post('/auth/refresh', { ...cookie(alice), 'X-Device': 'x' }),
    events: [
      "+ session_device_changed alice of alice's",
      "+ session_renewed rotated alice of alice's",
    ],
  },
  "on another device with 'off'": {
    options: { deviceBinding: { onChange: 'off' } },
    act: refresh,
    events: ["+ session_renewed rotated alice of alice's"],
  },
  "on another device with 'observe'": {
    options: { deviceBinding: { onChange: 'observe' } },
    act: refresh,
    events: [
      "+ session_device_changed alice of alice's",
      "+ session_renewed rotated alice of alice's",
    ],
  },
  "on another device with 'step-up'": {
    options: { deviceBinding: { onChange: 'step-up' } },
    act: refresh,
    events: ["- session_device_changed step_up_required alice of alice's"],
  },
  "on another device with 'revoke'": {
    options: { deviceBinding: { onChange: 'revoke' } },
    act: refresh,
    events: ["+ session_revoked device_changed alice of alice's"],
  },
}

const LOGOUT: Record<string, Case> = {
  'of one session': {
    act: async ({ post, alice }) => post('/auth/logout', cookie(alice)),
    events: ["+ session_logout logout alice of alice's"],
  },
  'of two sessions': {
    act: async ({ post, alice, bob }) => post('/auth/logout', { ...cookie(alice), ...bearer(bob) }),
    events: ["+ session_logout logout bob of bob's", "+ session_logout logout alice of alice's"],
  },
  'of none': { act: async ({ post }) => post('/auth/logout', {}), events: [] },
  'from another origin': {
    act: async ({ post, alice }) => post('/auth/logout', { ...FORGED, ...cookie(alice) }),
    events: ['- malicious_csrf cross_origin'],
  },
  'while the store fails': {
    before: down('revoke'),
    act: async ({ post, alice }) => post('/auth/logout', cookie(alice)),
    events: ['- store_failure request'],
  },
  'by signOut': {
    act: async ({ post, alice }) => post('/out', cookie(alice)),
    events: ["+ session_logout logout alice of alice's"],
  },
  'of all': {
    act: async ({ post, alice }) => post('/auth/logout-all', bearer(alice)),
    events: ['+ authn_token_revoked logout_all alice'],
  },
}

/** Everything that proves a session, one after the other, twice. */
const presentAll: Case['act'] = async ({ get, post, alice }) => {
  for (let time = 0; time < 2; time++) {
    await get('/auth/session', bearer(alice))
    await get('/level', cookie(alice))
    await post('/auth/refresh', cookie(alice))
  }
}

const OVER: Record<string, Case> = {
  'was logged out is reported once when it is used': {
    before: async ({ post, alice }) => post('/auth/logout', cookie(alice)),
    act: presentAll,
    events: ["- session_use_after_expire session_revoked of alice's"],
  },
  'ran out is reported once when it is used': {
    options: { idleTimeout: '1m' },
    before: async ({ kit }) => kit.tick(2 * MINUTE),
    act: async ({ post, alice }) => {
      await post('/auth/refresh', cookie(alice))
      await post('/auth/refresh', cookie(alice))
    },
    events: ["- session_expired session_ended of alice's"],
  },
  'is one of two is reported for each': {
    before: async ({ kit }) => {
      await kit.latchkey.sessions.revokeUser('alice')
      await kit.latchkey.sessions.revokeUser('bob')
    },
    act: async ({ get, alice, bob }) => {
      await get('/level', cookie(alice))
      await get('/level', cookie(bob))
    },
    events: [
      "- session_use_after_expire session_revoked of alice's",
      "- session_use_after_expire session_revoked of bob's",
    ],
  },
  'is named by a token that is not good is not reported': {
    before: async ({ post, alice }) => post('/auth/logout', cookie(alice)),
    act: async ({ get, alice }) => {
      await get('/auth/session', { Authorization: `Bearer ${spoiled(alice.access)}` })
      await get('/level', { Cookie: `${COOKIES.session}=${spoiled(alice.session)}` })
    },
    events: [],
  },
}

const OWN: Record<string, Case> = {
  'one looks at': {
    act: async ({ get, alice }) => {
      await get('/auth/session', bearer(alice))
      await get('/auth/sessions', bearer(alice))
    },
    events: [],
  },
  'one ends': {
    act: async ({ del, alice }) => del(`/auth/sessions/${alice.sid}`, bearer(alice)),
    events: ["+ session_revoked ended_by_user alice of alice's"],
  },
  'one ends but for this one': {
    act: async ({ del, alice }) => del('/auth/sessions', bearer(alice)),
    events: ["+ authn_token_revoked ended_by_user alice of alice's"],
  },
  'one steps up': {
    act: async ({ post, alice }) => post('/auth/step-up', cookie(alice), credentials('alice')),
    events: [
      "+ session_revoked replaced alice of alice's",
      '+ session_created alice of new',
      '+ authn_step_up_success alice of new',
    ],
  },
  'one steps up with a wrong password': {
    act: async ({ post, alice }) =>
      post('/auth/step-up', cookie(alice), credentials('alice', 'wrong')),
    events: ["- authn_step_up_fail invalid_credentials alice of alice's"],
  },
  'one steps up as somebody else': {
    act: async ({ post, alice }) => post('/auth/step-up', cookie(alice), credentials('bob')),
    events: ["- authn_step_up_fail invalid_credentials alice of alice's"],
  },
  'one steps up from, and that ended meanwhile': {
    options: SLOW,
    before: async ({ kit, alice }) => {
      meanwhile = async () => kit.latchkey.sessions.revoke(alice.sid)
    },
    act: async ({ post, alice }) => post('/auth/step-up', cookie(alice), credentials('alice')),
    events: [
      "+ session_revoked app alice of alice's",
      "- authn_step_up_fail gone alice of alice's",
    ],
  },
}

const ADMIN: Record<string, Case> = {
  'is no admin and tries to end a session': {
    act: async ({ del, alice, bob }) => del(`/auth/sessions/${bob.sid}`, bearer(alice)),
    events: ["- authz_fail not_found alice of alice's"],
  },
  'is no admin and tries an id that does not exist': {
    act: async ({ del, alice }) => del(`/auth/sessions/${UNKNOWN}`, bearer(alice)),
    events: ["- authz_fail not_found alice of alice's"],
  },
  'is no admin and tries the other routes': {
    act: async ({ del, get, alice }) => {
      await del('/auth/sessions?user_id=bob', bearer(alice))
      await get('/auth/sessions?user_id=bob', bearer(alice))
      await get('/auth/audit', bearer(alice))
    },
    events: Array.from({ length: 3 }, () => "- authz_fail forbidden alice of alice's"),
  },
  'is an admin with an old login': {
    before: late,
    act: async ({ del, get, root, bob }) => {
      await del(`/auth/sessions/${bob.sid}`, bearer(root))
      await del('/auth/sessions?user_id=bob', bearer(root))
      await get('/auth/sessions?user_id=bob', bearer(root))
      await get('/auth/audit', bearer(root))
    },
    events: Array.from({ length: 4 }, () => "- authz_fail step_up_required root of root's"),
  },
  'is an admin and ends a session': {
    act: async ({ del, root, bob }) => del(`/auth/sessions/${bob.sid}`, bearer(root)),
    events: [
      "+ session_revoked ended_by_admin bob by root of bob's",
      "+ authz_admin session_ended by root of bob's",
    ],
  },
  'is an admin and tries an id that does not exist': {
    act: async ({ del, root }) => del(`/auth/sessions/${UNKNOWN}`, bearer(root)),
    events: [],
  },
  'is an admin and ends all of a user': {
    act: async ({ del, root }) => del('/auth/sessions?user_id=bob', bearer(root)),
    events: [
      '+ authn_token_revoked ended_by_admin bob by root',
      '+ authz_admin user_ended bob by root',
    ],
  },
  'is an admin and lists sessions': {
    act: async ({ get, root }) => get('/auth/sessions?user_id=bob', bearer(root)),
    events: ['+ authz_admin sessions_listed bob by root'],
  },
  'is an admin and reads the trail': {
    act: async ({ get, root, bob }) => {
      await get('/auth/audit', bearer(root))
      await get(`/auth/audit?user_id=bob&session_id=${bob.sid}`, bearer(root))
    },
    events: ['+ authz_admin audit_read by root', "+ authz_admin audit_read bob by root of bob's"],
  },
  'cannot be told to be an admin': {
    options: { authorizeAdmin: fail },
    act: async ({ get, root }) => get('/auth/audit', bearer(root)),
    events: ['- hook_failure authorizeAdmin'],
  },
}

/** What a guard refuses for, by path. */
const REFUSED: readonly (readonly [path: string, cause: string])[] = [
  ['/level', 'step_up_required'],
  ['/scope', 'insufficient_scope'],
  ['/roles', 'forbidden'],
  ['/check', 'forbidden'],
]

const GUARDS: Record<string, Case> = {
  'nobody comes to, or somebody with junk': {
    act: async ({ get }) => {
      await get('/session', {})
      await get('/session', { Cookie: `${COOKIES.session}=junk` })
      await get('/jwt', { Authorization: 'Bearer junk' })
    },
    events: [],
  },
  'lets pass': { act: async ({ get, alice }) => get('/session', cookie(alice)), events: [] },
  'refuses for its policy': {
    act: async ({ get, alice }) => {
      for (const [path] of REFUSED) await get(path, cookie(alice))
    },
    events: REFUSED.map(([, cause]) => `- authz_fail ${cause} alice of alice's`),
  },
  'refuses for an old login': {
    before: late,
    act: async ({ get, alice }) => get('/age', cookie(alice)),
    events: ["- authz_fail step_up_required alice of alice's"],
  },
  'refuses from another origin': {
    act: async ({ post, alice }) => post('/session', { ...FORGED, ...cookie(alice) }),
    events: ['- malicious_csrf cross_origin'],
  },
  'refuses for two sessions at once': {
    act: async ({ get, alice, bob }) =>
      get('/session', { Cookie: `${alice.cookie}; ${bob.cookie}` }),
    events: ['- malicious_cookie credentials_ambiguous'],
  },
  'cannot decide for a broken hook': {
    act: async ({ get, alice }) => get('/broken', cookie(alice)),
    events: ['- hook_failure check'],
  },
  'cannot decide without its store': {
    before: down('check'),
    act: async ({ get, alice }) => get('/session', cookie(alice)),
    events: ['- store_failure request'],
  },
}

const API: Record<string, Case> = {
  'revoke, with a reason and an actor': {
    act: async ({ kit, alice }) =>
      kit.latchkey.sessions.revoke(alice.sid, { reason: 'lost_phone', actor: 'root' }),
    events: ["+ session_revoked lost_phone alice by root of alice's"],
  },
  'revoke of what is not there': {
    act: async ({ kit }) => kit.latchkey.sessions.revoke(UNKNOWN),
    events: [],
  },
  'revokeUser, with a reason': {
    act: async ({ kit }) =>
      kit.latchkey.sessions.revokeUser('alice', { reason: 'password_changed' }),
    events: ['+ authn_token_revoked password_changed alice'],
  },
  'revokeUser, with a session that lives on': {
    act: async ({ kit, alice }) =>
      kit.latchkey.sessions.revokeUser('alice', { reason: 'password_changed', except: alice.sid }),
    events: ["+ authn_token_revoked password_changed alice of alice's"],
  },
  'update of attributes': {
    act: async ({ kit, alice }) => kit.latchkey.sessions.update(alice.sid, { roles: ['x'] }),
    events: ["+ session_updated app alice of alice's"],
  },
  'update that changes nothing, or the app’s own data only': {
    act: async ({ kit, alice }) => {
      await kit.latchkey.sessions.update(alice.sid, { roles: [] })
      await kit.latchkey.sessions.update(alice.sid, { data: { cart: 1 } })
    },
    events: [],
  },
  'find, list and audit.query': {
    act: async ({ kit, alice }) => {
      await kit.latchkey.sessions.find(alice.sid)
      await kit.latchkey.sessions.list('alice')
      await kit.latchkey.audit.query({ limit: 10 })
    },
    events: [],
  },
}

/** The app's own calls come with no request, and say nothing of one; nor do hooks of the kit. */
function knowsRequest({ type, cause, ip }: LatchkeyEvent): boolean {
  return cause !== 'app' && type !== 'hook_failure' && ip !== '192.0.2.1'
}

describe.each([
  ['a login', LOGIN],
  ['a refresh', REFRESH],
  ['a logout', LOGOUT],
  ['a session that is over and', OVER],
  ['a session of one’s own that', OWN],
  ['who', ADMIN],
  ['a guard that', GUARDS],
  ['sessions', API],
])('%s', (_, cases) => {
  it.each(Object.entries(cases))('%s', async (__, { options, before, act, events }) => {
    const scene = await openScene(options)
    const { kit } = scene
    await before?.(scene)
    await kit.latchkey.ready()
    kit.events.length = 0
    await act(scene)
    // What the kit advises the app is nothing that happened to a session.
    const seen = kit.events.filter(({ type }) => type !== 'warning')
    expect(seen.map((event) => line(scene, event))).toEqual(events)

    for (const event of seen) {
      expect(event.at).toBe(kit.clock.now)
      if (cases !== API && knowsRequest(event)) {
        expect(event).toMatchObject({ ip: expect.stringContaining('127.0.0.1') })
        expect(event.userAgent).toBe('an\ufffdagent')
      }
    }
    const { alice, bob, root } = scene
    for (const { session, refresh: token, access } of [alice, bob, root]) {
      for (const secret of [session, token, access]) {
        expect(JSON.stringify(seen)).not.toContain(secret.slice(0, 30))
      }
    }
    // What onEvent saw is what the trail has, once and in order.
    kit.spy.faults.clear()
    await kit.latchkey.close()
    const { items } = await kit.spy.raw.audit.query({ limit: 100 })
    const written = seen.filter(({ type }) => !OPERATIONAL.test(type))
    expect(items.slice(0, written.length).toReversed()).toEqual(written)
  })
})
