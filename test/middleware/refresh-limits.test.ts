import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { createKeyRing } from '../../lib/key-ring.ts'
import { formatRefreshToken, readRefreshToken } from '../../lib/refresh-token.ts'
import { expectLimited, failTimes, reportedLimits } from '../support/attempts.ts'
import type { Login, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  MINUTE,
  openKit,
  readLogin,
  SECOND,
  SECRET,
  setCookies,
  typesOf,
} from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'

afterEach(closeKits)

const MAX = 3
const LIMITED: TestOptions = { rateLimits: { refreshPerSession: { max: MAX } }, reuseGrace: '0s' }

async function openLimited(options: TestOptions = {}): Promise<TestKit> {
  return openKit({ options: { ...LIMITED, ...options } })
}

function refresh(kit: TestKit, cookie: string): request.Test {
  return request(kit.server).post('/auth/refresh').set('Cookie', cookie)
}

/** The refresh cookie of any generation of a login. */
function cookieOf(login: Login, generation: number): string {
  const ring = createKeyRing([SECRET])
  const token = readRefreshToken(ring, login.refresh)
  if (token === null) throw new Error('no refresh token')
  return `${COOKIES.refresh}=${formatRefreshToken(ring, { ...token, generation })}`
}

/** Refreshes until the session is at its limit. */
async function exhaust(kit: TestKit): Promise<Login> {
  const login = await kit.login()
  const statuses = await failTimes(MAX, (index) => refresh(kit, cookieOf(login, index)))
  expect(statuses).toEqual(Array.from({ length: MAX }, () => 200))
  return login
}

describe('a session that has used up its refreshes', () => {
  it('is refused with 429, retryable, and nothing changes', async () => {
    const kit = await openLimited()
    const login = await exhaust(kit)
    const before = await kit.stored(login.sid)
    kit.spy.reset()
    const res = await refresh(kit, cookieOf(login, MAX))
    expectLimited(res, 60)
    expect(res.body).toMatchObject({ outcome: 'retryable', error: 'temporarily_unavailable' })
    // Looked at, not touched.
    expect(kit.spy.calls).toEqual(['check'])
    expect(await kit.stored(login.sid)).toEqual(before)
    expect(await kit.generationOf(login.sid)).toBe(MAX)
  })

  it('goes on with the same token when the window has passed', async () => {
    const kit = await openLimited()
    const login = await exhaust(kit)
    await kit.tick(59 * SECOND)
    expectLimited(await refresh(kit, cookieOf(login, MAX)), 1)
    await kit.tick(1 * SECOND)
    await refresh(kit, cookieOf(login, MAX)).expect(200)
    expect(await kit.generationOf(login.sid)).toBe(MAX + 1)
  })

  it('is one of many: others of the same user and network go on, and so do its other credentials', async () => {
    const kit = await openLimited()
    const login = await exhaust(kit)
    expectLimited(await refresh(kit, cookieOf(login, MAX)), 60)
    const other = await kit.login()
    await refresh(kit, other.refreshCookie).expect(200)
    await request(kit.server).get('/session').set('Cookie', login.cookie).expect(200)
    await request(kit.server).post('/auth/logout').set('Cookie', cookieOf(login, MAX)).expect(204)
    expect(await kit.stored(login.sid)).toBeNull()
  })

  it('asks no loadUser', async () => {
    let asked = 0
    const kit = await openLimited({
      loadUser: ({ id }) => {
        asked++
        return { id }
      },
    })
    const login = await exhaust(kit)
    expectLimited(await refresh(kit, cookieOf(login, MAX)), 60)
    expect(asked).toBe(MAX)
  })

  it('says so once, with its session', async () => {
    const kit = await openLimited()
    const login = await exhaust(kit)
    expect(reportedLimits(kit)).toEqual([])
    await failTimes(20, () => refresh(kit, cookieOf(login, MAX)))
    expect(kit.events.filter(({ type }) => type === 'excess_rate_limit_exceeded')).toMatchObject([
      { cause: 'refreshPerSession', sessionId: login.sid, result: 'failure' },
    ])
    await kit.tick(MINUTE)
    await failTimes(MAX + 5, () => refresh(kit, cookieOf(login, MAX)))
    expect(reportedLimits(kit).length).toBeLessThanOrEqual(2)
  })

  it('hands the wait to onError as well', async () => {
    const kit = await openLimited({
      onError: (error, _req, res) => {
        res.status('status' in error ? error.status : 500).json({ code: error.code })
      },
    })
    const login = await exhaust(kit)
    const res = await refresh(kit, cookieOf(login, MAX))
    expect([res.status, res.headers['retry-after']]).toEqual([429, '60'])
  })
})

describe('a thief is no better off for the limit', () => {
  it.each([0, 1, MAX - 1])(
    'the replay of generation %d ends the family although the session is over its limit',
    async (generation) => {
      const kit = await openLimited()
      const login = await exhaust(kit)
      expectLimited(await refresh(kit, cookieOf(login, MAX)), 60)
      const res = await refresh(kit, cookieOf(login, generation))
      expect(res.body).toMatchObject({ status: 401, code: 'refresh_reused', outcome: 'terminal' })
      expect(setCookies(res)).toEqual([])
      expect(await kit.stored(login.sid)).toBeNull()
      expect(typesOf(kit)).toContain('authn_token_reuse')
      const after = await refresh(kit, cookieOf(login, MAX))
      expect(after.body).toMatchObject({ code: 'session_revoked', outcome: 'terminal' })
    },
  )

  it('the replay is found also while loadUser fails: over the limit nobody is looked up', async () => {
    let isDown = false
    const kit = await openLimited({
      loadUser: ({ id }) => {
        if (isDown) throw new Error('the user database is down')
        return { id }
      },
    })
    const login = await exhaust(kit)
    isDown = true
    const res = await refresh(kit, cookieOf(login, 0))
    expect(res.body).toMatchObject({ status: 401, code: 'refresh_reused' })
    expect(await kit.stored(login.sid)).toBeNull()
  })

  it('a replay that would be forgiven stays forgiven, and waits like everybody', async () => {
    const kit = await openLimited({ reuseGrace: '10s' })
    const login = await exhaust(kit)
    expectLimited(await refresh(kit, cookieOf(login, MAX - 1)), 60)
    expect(await kit.generationOf(login.sid)).toBe(MAX)
    expect(await kit.stored(login.sid)).not.toBeNull()
  })

  it('ends all of the user’s sessions with onReuse: user', async () => {
    const kit = await openLimited({ onReuse: 'user' })
    const other = await kit.login()
    const login = await exhaust(kit)
    await refresh(kit, cookieOf(login, 0)).expect(401)
    expect(await kit.stored(other.sid)).toBeNull()
  })

  it('tokens that are none of the session’s use up nothing of its limit', async () => {
    const kit = await openLimited()
    const login = await kit.login()
    const forged = `${login.refreshCookie.slice(0, -1)}${login.refreshCookie.endsWith('A') ? 'B' : 'A'}`
    const statuses = await failTimes(MAX * 3, () => refresh(kit, forged))
    expect(new Set(statuses)).toEqual(new Set([401]))
    expect((await refresh(kit, login.refreshCookie)).status).toBe(200)
  })

  it('a session that is over says so, however often it is asked', async () => {
    const kit = await openLimited()
    const login = await kit.login()
    await kit.spy.raw.revoke({ sid: login.sid })
    const codes = await Promise.all(
      Array.from({ length: MAX * 3 }, async () => {
        const res = await refresh(kit, login.refreshCookie)
        return (res.body as { code: string }).code
      }),
    )
    expect(codes).not.toContain('rate_limited')
  })
})

describe('what it costs', () => {
  it('a refresh one more store call, which it does not wait for', async () => {
    const kit = await openKit({ options: { storeDeadline: '10s' } })
    const login = await kit.login()
    kit.spy.faults.set('limit.take', 'hangs')
    const before = kit.spy.inputs.length
    const began = loopTime()
    await refresh(kit, login.refreshCookie).expect(200)
    expect(loopTime() - began).toBeLessThan(5000)
    const names = kit.spy.inputs.slice(before).map((input) => (JSON.parse(input) as unknown[])[0])
    expect(names.filter((name) => name !== 'audit.append')).toEqual(['limit.take', 'rotate'])
  })

  it('each other node lets one more through before it knows, and no more', async () => {
    const one = await openLimited()
    const two = await openKit({ options: LIMITED, spy: one.spy, clock: one.clock })
    const login = await exhaust(one)
    const statuses = await failTimes(3, (index) => refresh(two, cookieOf(login, MAX + index)))
    expect(statuses).toEqual([200, 429, 429])
    expectLimited(await refresh(one, cookieOf(login, MAX + 1)), 60)
    expect([...reportedLimits(one), ...reportedLimits(two)]).toEqual(['refreshPerSession'])
  })

  it('nothing with refreshPerSession: false', async () => {
    const kit = await openKit({ options: { rateLimits: { refreshPerSession: false } } })
    let login = await kit.login()
    for (let index = 0; index < 130; index++) {
      login = readLogin(await refresh(kit, login.refreshCookie).expect(200))
    }
    expect(await kit.generationOf(login.sid)).toBe(130)
  })

  it('120 tabs that are restored at once are people', async () => {
    const kit = await openKit()
    const login = await kit.login()
    const statuses = await Promise.all(
      Array.from({ length: 120 }, async () =>
        refresh(kit, login.refreshCookie).then(({ status }) => status),
      ),
    )
    expect(new Set(statuses)).toEqual(new Set([200]))
    const renewed = readLogin(await kit.login().then(({ res }) => res))
    await refresh(kit, renewed.refreshCookie).expect(200)
  })
})
