import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { expectLimited, failTimes, openBehindProxy, reportedLimits } from '../support/attempts.ts'
import type { TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, COOKIES, MINUTE, openKit } from '../support/kit.ts'

afterEach(closeKits)

const MAX = 4
const HERE = '192.0.2.1'

async function openLimited(options: TestOptions = {}): Promise<TestKit> {
  return openBehindProxy({ rateLimits: { badTokensPerNetwork: { max: MAX } }, ...options })
}

/** The same token with another MAC or signature. */
function forge(token: string): string {
  const at = token.length - 10
  return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1)
}

type Send = (
  kit: TestKit,
  from: string,
  spoil: (token: string) => string,
) => Promise<request.Response>

const PATHS: readonly (readonly [string, Send])[] = [
  [
    'an access token at requireJwt',
    async (kit, from, spoil) => {
      const { access } = await kit.login()
      return get(kit, '/jwt', from).set('Authorization', `Bearer ${spoil(access)}`)
    },
  ],
  [
    'an access token at hybridGuard',
    async (kit, from, spoil) => {
      const { access } = await kit.login()
      return get(kit, '/sensitive', from).set('Authorization', `Bearer ${spoil(access)}`)
    },
  ],
  [
    'a session token by header',
    async (kit, from, spoil) => {
      const { session } = await kit.login()
      return get(kit, '/session', from).set('Authorization', `Session ${spoil(session)}`)
    },
  ],
  [
    'a session token by cookie',
    async (kit, from, spoil) => {
      const { session } = await kit.login()
      return get(kit, '/session', from).set('Cookie', `${COOKIES.session}=${spoil(session)}`)
    },
  ],
  [
    'a refresh token',
    async (kit, from, spoil) => {
      const { refresh } = await kit.login()
      return request(kit.server)
        .post('/auth/refresh')
        .set({ 'X-Forwarded-For': from, Cookie: `${COOKIES.refresh}=${spoil(refresh)}` })
    },
  ],
]

function get(kit: TestKit, path: string, from: string): request.Test {
  return request(kit.server).get(path).set('X-Forwarded-For', from)
}

describe.each(PATHS)('%s that is forged', (_, send) => {
  it('is 401, then 429, for its network alone, until the window ends', async () => {
    const kit = await openLimited()
    const forged = async (from: string) => send(kit, from, forge)
    expect(await failTimes(MAX, () => forged(HERE))).toEqual(Array.from({ length: MAX }, () => 401))
    expectLimited(await forged(HERE), 60)
    expect(await forged('192.0.2.2')).toMatchObject({ status: 401 })
    await kit.tick(MINUTE)
    expect(await forged(HERE)).toMatchObject({ status: 401 })
    expect(reportedLimits(kit)).toEqual(['badTokensPerNetwork'])
  })

  it('does nothing to a good one from the same network', async () => {
    const kit = await openLimited()
    await failTimes(MAX * 3, async () => send(kit, HERE, forge))
    expect(await send(kit, HERE, (token) => token)).toMatchObject({ status: 200 })
  })

  it('costs no store call, before and beyond the limit', async () => {
    const kit = await openLimited()
    const login = await kit.login()
    const before = kit.spy.inputs.length
    await failTimes(MAX * 3, () =>
      get(kit, '/session', HERE).set('Authorization', `Session ${forge(login.session)}`),
    )
    const inputs = kit.spy.inputs.slice(before)
    expect(inputs.filter((input) => !input.startsWith('["audit.append"'))).toEqual([])
  })
})

describe('guards', () => {
  it('ask nothing of the limiter for a good token', async () => {
    const kit = await openKit()
    const { bearer, sessionCookie } = await kit.login()
    const before = kit.spy.inputs.length
    for (const path of ['/jwt', '/hybrid', '/sensitive']) {
      await request(kit.server).get(path).set('Authorization', bearer).expect(200)
    }
    await request(kit.server).get('/session').set('Cookie', sessionCookie).expect(200)
    const inputs = kit.spy.inputs.slice(before)
    expect(inputs.filter((input) => input.startsWith('["limit.'))).toEqual([])
  })

  it('do not count honest clients whose token is over or whose session ended', async () => {
    const kit = await openLimited({ accessTokenTtl: '10s' })
    const { bearer, sessionCookie, sid } = await kit.login()
    await kit.tick(MINUTE)
    const expired = await failTimes(MAX * 3, () =>
      get(kit, '/jwt', HERE).set('Authorization', bearer),
    )
    expect(new Set(expired)).toEqual(new Set([401]))
    await kit.latchkey.sessions.revoke(sid)
    const ended = await failTimes(MAX * 3, () =>
      get(kit, '/session', HERE).set('Cookie', sessionCookie),
    )
    expect(new Set(ended)).toEqual(new Set([401]))
    expect(reportedLimits(kit)).toEqual([])
  })

  it('let nobody in for it: optional ones still take a bad cookie for none', async () => {
    const kit = await openBehindProxy(
      { rateLimits: { badTokensPerNetwork: { max: 1 } } },
      {
        routes: (app, { requireSession }) => {
          app.get('/optional', requireSession({ optional: true }), (req, res) => {
            res.json({ nobody: req.auth === undefined })
          })
        },
      },
    )
    for (let index = 0; index < 5; index++) {
      const res = await get(kit, '/optional', HERE).set('Cookie', `${COOKIES.session}=junk`)
      expect([res.status, res.body]).toEqual([200, { nobody: true }])
    }
  })

  it('are left as they are with badTokensPerNetwork: false', async () => {
    const kit = await openLimited({ rateLimits: { badTokensPerNetwork: false } })
    const statuses = await failTimes(400, () =>
      get(kit, '/jwt', HERE).set('Authorization', 'Bearer x'),
    )
    expect(new Set(statuses)).toEqual(new Set([401]))
  })
})
