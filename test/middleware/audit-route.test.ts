import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { AuditEventJson } from '../../middleware/index.ts'
import type { Login, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  MINUTE,
  NOW,
  openKit,
  PASSWORD,
  SECOND,
  sendMethod,
  setCookies,
  typesOf,
} from '../support/kit.ts'

afterEach(closeKits)

interface Trail {
  readonly events: AuditEventJson[]
  readonly next_cursor: string | null
}

const AT = new Date(NOW).toISOString()

/** A kit on which an admin is logged in, and whose trail is written as soon as the clock moves. */
async function openTrail(
  options: TestOptions = {},
): Promise<{ kit: TestKit; root: Login; read: (query?: string) => request.Test }> {
  const kit = await openKit({ options })
  const root = await kit.login('root')
  const read = (query = '') =>
    request(kit.server).get(`/auth/audit${query}`).set('Authorization', root.bearer)
  return { kit, root, read }
}

/** Waits until the trail holds this many events of a type. */
async function written(kit: TestKit, type: string, count: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const { items } = await kit.latchkey.audit.query({ type, limit: 100 })
    if (items.length >= count) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error(`the trail has not ${count} of ${type}`)
}

function trailOf(res: request.Response): Trail {
  return res.body as Trail
}

describe('GET /audit', () => {
  it('answers the events, newest first, in snake case with ISO 8601 times', async () => {
    const { kit, root, read } = await openTrail()
    await request(kit.server)
      .post('/auth/login')
      .set('User-Agent', 'a browser')
      .send({ username: 'alice', password: PASSWORD })
    await request(kit.server).post('/auth/login').send({ username: 'alice', password: 'x' })
    await written(kit, 'authn_login_fail', 1)
    const res = await read().expect(200)
    expect(res.headers).toMatchObject({
      'cache-control': 'no-store',
      'content-type': 'application/json; charset=utf-8',
    })
    expect(setCookies(res)).toEqual([])
    const { events, next_cursor: next } = trailOf(res)
    expect(next).toBeNull()
    expect(events.map(({ type }) => type)).toEqual([
      'authn_login_fail',
      'authn_login_success',
      'session_created',
      'authn_login_success',
      'session_created',
    ])
    expect(events[1]).toEqual({
      type: 'authn_login_success',
      at: AT,
      result: 'success',
      user_id: 'alice',
      tenant: '',
      actor_id: null,
      actor_tenant: null,
      session_id: expect.stringMatching(/^[\w-]{24}$/),
      ip: expect.stringContaining('127.0.0.1'),
      user_agent: 'a browser',
      cause: null,
      detail: null,
    })
    expect(events[0]).toMatchObject({ result: 'failure', user_id: null, session_id: null })
    expect(events.at(-1)).toMatchObject({ user_id: 'root', session_id: root.sid })
    expect(res.text).not.toMatch(/lk[rs]_|[a-z][A-Z][a-z]+":/)
  })

  it('is an event itself, which says what was asked for', async () => {
    const { kit, root, read } = await openTrail()
    await written(kit, 'session_created', 1)
    kit.events.length = 0
    const to = '2026-06-02T00:00:00Z'
    await read(
      `?user_id=alice&session_id=${root.sid}&type=session_created&from=${AT}&to=${to}`,
    ).expect(200)
    expect(kit.events).toMatchObject([
      {
        type: 'authz_admin',
        result: 'success',
        actor: { id: 'root' },
        user: { id: 'alice', tenant: '' },
        sessionId: root.sid,
        cause: 'audit_read',
        detail: { events: 0, type: 'session_created', from: AT, to: '2026-06-02T00:00:00.000Z' },
      },
    ])
    await written(kit, 'authz_admin', 1)
    const { events } = trailOf(await read('?type=authz_admin').expect(200))
    expect(events).toMatchObject([{ actor_id: 'root', actor_tenant: '', user_id: 'alice' }])
  })

  it('filters by every member, and by all of them together', async () => {
    const { kit, root, read } = await openTrail()
    kit.users.set('alice-t', { id: 'alice', tenant: 't' })
    const alice = await kit.login()
    await kit.tick(MINUTE)
    await kit.login('alice-t')
    await kit.login()
    await written(kit, 'authn_login_success', 4)
    const found = async (query: string) => {
      const { events } = trailOf(await read(`?type=session_created&${query}`).expect(200))
      return events.map(({ user_id: id, tenant, at }) => `${id}/${tenant} ${at.slice(14, 16)}`)
    }
    expect(await found('')).toEqual(['alice/ 01', 'alice/t 01', 'alice/ 00', 'root/ 00'])
    expect(await found('user_id=alice')).toEqual(['alice/ 01', 'alice/ 00'])
    expect(await found('user_id=alice&tenant=t')).toEqual(['alice/t 01'])
    expect(await found('user_id=nobody')).toEqual([])
    expect(await found(`session_id=${alice.sid}`)).toEqual(['alice/ 00'])
    expect(await found(`session_id=${root.sid}&user_id=alice`)).toEqual([])
    // `from` counts, `to` does not.
    expect(await found('from=2026-06-01T00:01:00Z')).toEqual(['alice/ 01', 'alice/t 01'])
    expect(await found('to=2026-06-01T00:01:00Z')).toEqual(['alice/ 00', 'root/ 00'])
    expect(await found('from=2026-06-01T02:01:00%2B02:00&user_id=alice')).toEqual(['alice/ 01'])
    expect(await found('from=2026-06-01T00:01:00Z&to=2026-06-01T00:01:00.001Z')).toHaveLength(2)
    expect(await found('from=2026-06-02T00:00:00Z&to=2026-06-01T00:00:00Z')).toEqual([])
  })

  it('is paged, and what comes in meanwhile shifts nothing', async () => {
    const { kit, read } = await openTrail()
    for (let count = 0; count < 6; count++) await kit.login()
    await written(kit, 'session_created', 7)
    const pages: string[][] = []
    let cursor = ''
    for (let page = 0; page < 3; page++) {
      const res = await read(`?type=session_created&limit=3${cursor}`).expect(200)
      const { events, next_cursor: next } = trailOf(res)
      pages.push(events.map(({ session_id: sid }) => sid ?? ''))
      cursor = `&cursor=${encodeURIComponent(next ?? '')}`
      expect(next === null).toBe(page === 2)
      await kit.login()
    }
    expect(pages.map(({ length }) => length)).toEqual([3, 3, 1])
    expect(new Set(pages.flat()).size).toBe(7)
  })

  it.each([
    'limit=0',
    'limit=101',
    'limit=1e1',
    'limit=1&limit=2',
    'cursor=a&cursor=b',
    `cursor=${'x'.repeat(513)}`,
    'user_id=',
    'user_id=a&user_id=b',
    'user_id[$ne]=a',
    'user_id=%00',
    'tenant=t',
    'session_id=x',
    `session_id=${'a'.repeat(25)}`,
    `session_id=${'a'.repeat(24)}&session_id=${'b'.repeat(24)}`,
    'type=',
    'type=Session_Created',
    `type=${'a'.repeat(65)}`,
    'type=a&type=b',
    'from=',
    'from=0',
    'from=1780272000000',
    'from=2026-06-01',
    'from=2026-06-01T00:00:00',
    'from=2026-06-01T00:00:00+02:00', // an unescaped plus is a blank
    'from=2026-02-30T00:00:00Z',
    'from=2026-13-01T00:00:00Z',
    'from=2026-06-01T24:00:00Z',
    'from=2026-06-01t00:00:00z',
    'to=tomorrow',
    'to=2026-06-01T00:00:00Z&to=2026-06-02T00:00:00Z',
    'since=2026-06-01T00:00:00Z',
    'userId=alice',
    'actor_id=root',
    '__proto__=x',
    'constructor=x',
  ])('refuses ?%s, and asks the store for nothing', async (query) => {
    const { kit, read } = await openTrail()
    kit.events.length = 0
    const res = await read(`?${query}`)
    expect(res.status).toBe(400)
    expect(res.body).toMatchObject({
      code: query === 'user_id=' || query === 'user_id=%00' ? 'user_invalid' : 'invalid_request',
    })
    expect(kit.events).toEqual([])
  })

  it.each(['x', '', '0', '-1', '../../etc', "' OR 1=1", '9'.repeat(50)])(
    'answers an empty last page to the cursor %j that no page gave out',
    async (cursor) => {
      const { read } = await openTrail()
      const res = await read(`?cursor=${encodeURIComponent(cursor)}`).expect(200)
      expect(res.body).toEqual({ events: [], next_cursor: null })
    },
  )

  it.each([
    ['is absent', undefined],
    ['says no', () => false],
    ['says 1', () => 1],
    ['says it is an admin', () => 'yes'],
    ['promises false', async () => false],
  ])('is for nobody when authorizeAdmin %s', async (_, authorizeAdmin) => {
    const { kit, read } = await openTrail({ authorizeAdmin: authorizeAdmin as never })
    const res = await read().expect(403)
    expect(res.body).toMatchObject({ code: 'forbidden' })
    expect(res.text).not.toContain('session_created')
    expect(typesOf(kit).at(-1)).toBe('authz_fail')
  })

  it('asks who may with the session as the store has it, not as the token says', async () => {
    const { kit, root, read } = await openTrail()
    await kit.spy.raw.update({
      sid: root.sid,
      ver: 0,
      attributes: { roles: [], scope: [], level: null, amr: [], claims: {} },
    })
    expect((await read()).status).toBe(401)
    const res = await request(kit.server).get('/auth/audit').set('Cookie', root.cookie)
    expect(res.body).toMatchObject({ code: 'forbidden' })
  })

  it('wants a login of the last five minutes, by RFC 9470', async () => {
    const { kit, read } = await openTrail()
    await kit.tick(5 * MINUTE)
    await read().expect(200)
    await kit.tick(SECOND)
    const res = await read().expect(401)
    expect(res.body).toMatchObject({ code: 'step_up_required' })
    expect(res.headers['www-authenticate']).toContain('max_age="300"')
  })

  it('wants credentials, and takes GET and HEAD only', async () => {
    const { kit, root } = await openTrail()
    await request(kit.server)
      .get('/auth/audit')
      .expect(401, /credentials_missing/)
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
      const res = await sendMethod(kit, method, '/auth/audit').set('Authorization', root.bearer)
      expect(res.status).toBe(405)
      expect(res.headers['allow']).toBe('GET, HEAD')
    }
  })

  it('is 503 when the store fails, and then nothing was read', async () => {
    const { kit, read } = await openTrail()
    kit.spy.faults.set('audit.query', 'rejects')
    kit.events.length = 0
    const res = await read().expect(503)
    expect(res.body).toMatchObject({ code: 'store_unavailable' })
    expect(typesOf(kit)).toEqual(['store_failure'])
  })
})
