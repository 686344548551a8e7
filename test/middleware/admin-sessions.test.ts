import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { Login, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  HOUR,
  MINUTE,
  openKit,
  readLogin,
  SECOND,
  spyOn,
  typesOf,
  until,
} from '../support/kit.ts'
import { memoryStore } from '../../middleware/index.ts'

afterEach(closeKits)

const UNKNOWN = 'A'.repeat(24)

async function openWith(options: TestOptions = {}): Promise<TestKit> {
  return openKit({ options })
}

function send(kit: TestKit, method: 'get' | 'delete', path: string, login: Login): request.Test {
  return request(kit.server)[method](`/auth${path}`).set('Authorization', login.bearer)
}

/** An answer without what tells only when it was made. */
function bytesOf(res: request.Response): unknown {
  const { date: _, ...headers } = res.headers
  return { status: res.status, headers, text: res.text }
}

describe("somebody else's session", () => {
  it('is to who is no admin what an unknown one is, to the byte, the store call and the event', async () => {
    const kit = await openWith()
    const [alice, bob] = [await kit.login(), await kit.login('bob')]
    const seen: unknown[] = []
    for (const id of [bob.sid, UNKNOWN, `${bob.sid.slice(0, 2)}${'A'.repeat(22)}`]) {
      kit.spy.reset()
      kit.events.length = 0
      kit.spy.inputs.length = 0
      const res = await send(kit, 'delete', `/sessions/${id}`, alice).expect(404)
      seen.push({
        ...(bytesOf(res) as object),
        calls: [...kit.spy.calls],
        // What the store is asked differs in the id only.
        inputs: kit.spy.inputs
          .filter((input) => !input.includes('audit.'))
          .map((text) => text.replaceAll(id, 'id')),
        events: kit.events.map((event) => ({ ...event, at: 0 })),
      })
    }
    expect(seen[1]).toEqual(seen[0])
    expect(seen[2]).toEqual(seen[0])
    expect(seen[0]).toMatchObject({ calls: ['check', 'revoke'] })
    expect(await kit.stored(bob.sid)).not.toBeNull()
  })

  it('stays the same to an admin whose login is old, who learns nothing either', async () => {
    const kit = await openWith()
    const [root, bob] = [await kit.login('root'), await kit.login('bob')]
    await kit.tick(6 * MINUTE)
    const answers = await Promise.all(
      [bob.sid, UNKNOWN].map(async (id) => send(kit, 'delete', `/sessions/${id}`, root)),
    )
    expect(bytesOf(answers[1]!)).toEqual(bytesOf(answers[0]!))
    expect(answers[0]?.status).toBe(401)
  })
})

describe('GET /sessions?user_id=', () => {
  it('lists a user’s sessions for an admin, of that tenant only, paged', async () => {
    const kit = await openWith()
    kit.users.set('alice-t', { id: 'alice', tenant: 't' })
    const root = await kit.login('root')
    const logins: Login[] = []
    for (let count = 0; count < 3; count++) {
      logins.push(await kit.login())
      kit.clock.now += SECOND
    }
    const tenant = await kit.login('alice-t')
    await kit.tick(0)
    const list = async (query: string) => {
      const { body } = await send(kit, 'get', `/sessions?${query}`, root).expect(200)
      return body as { sessions: { id: string; current: boolean }[]; next_cursor: string | null }
    }
    const first = await list('user_id=alice&limit=2')
    expect(first.next_cursor).not.toBeNull()
    const cursor = encodeURIComponent(first.next_cursor ?? '')
    const second = await list(`user_id=alice&limit=2&cursor=${cursor}`)
    const all = [...first.sessions, ...second.sessions]
    expect(all.map(({ id }) => id)).toEqual(logins.map(({ sid }) => sid).toReversed())
    expect(all.map(({ current }) => current)).toEqual([false, false, false])
    expect((await list('user_id=alice&tenant=t')).sessions).toMatchObject([{ id: tenant.sid }])
    expect(await list('user_id=nobody')).toEqual({ sessions: [], next_cursor: null })
    expect((await list('user_id=root')).sessions).toMatchObject([{ id: root.sid, current: true }])
  })

  it('is 403 for anybody else, whoever is named: the same bytes, and no list is read', async () => {
    const kit = await openWith()
    const [alice] = [await kit.login(), await kit.login('bob')]
    kit.spy.reset()
    const answers: request.Response[] = []
    for (const id of ['bob', 'alice', 'nobody']) {
      answers.push(await send(kit, 'get', `/sessions?user_id=${id}`, alice).expect(403))
    }
    for (const res of answers) expect(bytesOf(res)).toEqual(bytesOf(answers[0]!))
    expect(answers[0]?.body).toMatchObject({ code: 'forbidden' })
    expect(kit.spy.calls).toEqual(['check', 'check', 'check'])
    // As for ending them.
    const ending = await send(kit, 'delete', '/sessions?user_id=bob', alice).expect(403)
    expect(ending.text).toBe(answers[0]?.text)
  })

  it('is 401 step_up_required for an admin whose login is older than five minutes', async () => {
    const kit = await openWith()
    const root = await kit.login('root')
    await kit.tick(5 * MINUTE)
    await send(kit, 'get', '/sessions?user_id=bob', root).expect(200)
    await kit.tick(1)
    const res = await send(kit, 'get', '/sessions?user_id=bob', root).expect(401)
    expect(res.headers['www-authenticate']).toContain('max_age="300"')
    await send(kit, 'get', '/sessions', root).expect(200)
  })

  it.each([
    'user_id=',
    'user_id=a&user_id=b',
    'user_id[$ne]=a',
    'user_id=%00',
    `user_id=${'a'.repeat(256)}`,
    'user_id=a&tenant=%07',
    'user_id=a&tenant=b&tenant=c',
    'tenant=t',
    'userId=a',
  ])('refuses ?%s', async (query) => {
    const kit = await openWith()
    const res = await send(kit, 'get', `/sessions?${query}`, await kit.login('root'))
    expect(res.status).toBe(400)
  })

  it.each([
    ['is absent', undefined, 403],
    ['returns 1', () => 1, 403],
    [
      'throws',
      () => {
        throw new Error('private detail')
      },
      500,
    ],
  ])('is denied when authorizeAdmin %s', async (_, authorizeAdmin, status) => {
    const kit = await openWith({ authorizeAdmin: authorizeAdmin as never })
    await kit.login()
    const res = await send(kit, 'get', '/sessions?user_id=alice', await kit.login('root'))
    expect(res.status).toBe(status)
    expect(res.text).not.toMatch(/private|alice/)
  })
})

describe('what the app does by itself', () => {
  it('revokeUser with a reason ends all but one, and the trail says why', async () => {
    const kit = await openWith()
    const [here, there] = [await kit.login(), await kit.login()]
    const revoked = await kit.latchkey.sessions.revokeUser('alice', {
      reason: 'password_changed',
      except: here.sid,
    })
    expect(revoked).toBe(1)
    await request(kit.server).get('/jwt').set('Authorization', here.bearer).expect(200)
    await request(kit.server).get('/jwt').set('Authorization', there.bearer).expect(401)
    await kit.latchkey.close()
    const { items } = await kit.latchkey.audit.query({ type: 'authn_token_revoked', limit: 10 })
    expect(items).toMatchObject([
      {
        user: { id: 'alice' },
        sessionId: here.sid,
        cause: 'password_changed',
        detail: { revoked: 1 },
      },
    ])
  })

  it('gives a reason that stays on one line, however it came about', async () => {
    const kit = await openWith()
    const { sid } = await kit.login()
    const reason = `x\r\n{"type":"authn_login_success"}\u2028${'y'.repeat(1000)}`
    await kit.latchkey.sessions.revoke(sid, { reason })
    const { cause = '' } = kit.events.find(({ type }) => type === 'session_revoked') ?? {}
    expect(cause).toMatch(/^x\ufffd\ufffd\{/)
    expect(cause).toHaveLength(256)
    expect(cause).not.toMatch(/[\p{Cc}\u2028]/u)
  })

  it('update with other roles makes that session’s JWTs stale on every node, at once and after', async () => {
    const clock = { now: Date.UTC(2026, 5, 1) }
    const spy = spyOn(memoryStore({ clock: () => clock.now }))
    const [one, two] = [await openKit({ spy, clock }), await openKit({ spy, clock })]
    one.users.set('alice', { id: 'alice', roles: ['editor'] })
    const [login, other] = [await one.login(), await one.login()]
    const codeAt = async (kit: TestKit, { bearer }: Login) => {
      const res = await request(kit.server).get('/jwt').set('Authorization', bearer)
      return (res.body as { code?: string }).code ?? res.status
    }
    expect([await codeAt(one, login), await codeAt(two, login)]).toEqual([200, 200])
    await two.latchkey.sessions.update(login.sid, { roles: [] })
    expect(await codeAt(two, login)).toBe('token_stale')
    // The feed brings it; no store is asked for the token.
    await until(() => one.latchkey.health().feed.heard > 0)
    one.spy.reset()
    expect(await codeAt(one, login)).toBe('token_stale')
    expect(one.spy.calls).toEqual([])
    expect([await codeAt(one, other), await codeAt(two, other)]).toEqual([200, 200])
    // A node that starts now hears of it too.
    const three = await openKit({ spy, clock })
    expect(await codeAt(three, login)).toBe('token_stale')
    // A refresh heals it, and the role is gone.
    const res = await request(one.server)
      .post('/auth/refresh')
      .set('Cookie', login.cookie)
      .expect(200)
    const renewed = readLogin(res)
    for (const kit of [one, two, three]) expect(await codeAt(kit, renewed)).toBe(200)
    expect(await one.stored(login.sid)).toMatchObject({ roles: [], ver: 1 })
    expect(typesOf(two)).toContain('session_updated')
  })

  it('update that changes nothing, or data only, makes no token stale', async () => {
    const kit = await openWith()
    const { sid, bearer } = await kit.login('root')
    await kit.latchkey.sessions.update(sid, { roles: ['admin'] })
    await kit.latchkey.sessions.update(sid, { data: { theme: 'dark' } })
    await kit.tick(MINUTE)
    await request(kit.server).get('/jwt').set('Authorization', bearer).expect(200)
    await kit.tick(HOUR)
  })
})
