import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import {
  attempt,
  expectLimited,
  failTimes,
  goodAttempt,
  openBehindProxy,
  reportedLimits,
} from '../support/attempts.ts'
import type { TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, HOUR, MINUTE, openKit, PASSWORD, readLogin, typesOf } from '../support/kit.ts'

afterEach(closeKits)

const HERE = '192.0.2.1'
const QUARTER_S = 15 * 60

/** One of many IPv4 networks. */
function elsewhere(index: number): string {
  return `198.51.${Math.floor(index / 250)}.${(index % 250) + 1}`
}

async function openPair(max: number, more: TestOptions['rateLimits'] = {}): Promise<TestKit> {
  return openBehindProxy({ rateLimits: { loginPerAccountAndNetwork: { max }, ...more } })
}

describe('failed logins of one account from one network', () => {
  it('are refused after as many as the limit says, also with the right password', async () => {
    const kit = await openPair(3)
    expect(await failTimes(3, () => attempt(kit, HERE))).toEqual([401, 401, 401])
    kit.spy.reset()
    expectLimited(await attempt(kit, HERE), QUARTER_S)
    expectLimited(await goodAttempt(kit, HERE), QUARTER_S)
    expect(kit.spy.calls).toEqual([])
    expect(await kit.latchkey.sessions.list({ id: 'alice' })).toMatchObject({ items: [] })
    // Neither others here, nor she elsewhere.
    await goodAttempt(kit, HERE, 'bob').expect(200)
    await goodAttempt(kit, elsewhere(1)).expect(200)
  })

  it('do not reach authenticate any more', async () => {
    let asked = 0
    const kit = await openBehindProxy({
      rateLimits: { loginPerAccountAndNetwork: { max: 2 } },
      authenticate: () => {
        asked++
        return null
      },
    })
    await failTimes(10, () => attempt(kit, HERE))
    expect(asked).toBe(2)
  })

  it('are forgotten when the window has passed since the first one', async () => {
    const kit = await openPair(2)
    await attempt(kit, HERE)
    await kit.tick(10 * MINUTE)
    await attempt(kit, HERE)
    expectLimited(await attempt(kit, HERE), 5 * 60)
    await kit.tick(5 * MINUTE - 1)
    expectLimited(await attempt(kit, HERE), 1)
    await kit.tick(1)
    expect((await goodAttempt(kit, HERE)).status).toBe(200)
  })

  it('count failures only', async () => {
    const kit = await openPair(2)
    expect(await failTimes(6, () => goodAttempt(kit, HERE))).toEqual(Array(6).fill(200))
    await attempt(kit, HERE).expect(401)
    await goodAttempt(kit, HERE).expect(200)
    await attempt(kit, HERE).expect(401)
    expectLimited(await attempt(kit, HERE), QUARTER_S)
  })

  it('count no request that never was a login', async () => {
    const kit = await openPair(1)
    const send = () => request(kit.server).post('/auth/login').set('X-Forwarded-For', HERE)
    await send().type('form').send('username=alice').expect(415)
    await send().type('json').send('{"username":').expect(400)
    await send()
      .set({ Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' })
      .send({ username: 'alice' })
      .expect(403)
    expect((await goodAttempt(kit, HERE)).status).toBe(200)
  })

  it('count what authenticate throws: it may be its way to say no', async () => {
    const kit = await openBehindProxy({
      rateLimits: { loginPerAccountAndNetwork: { max: 2 } },
      authenticate: () => {
        throw new Error('wrong password')
      },
    })
    expect(await failTimes(3, () => attempt(kit, HERE))).toEqual([500, 500, 429])
  })

  it('lets no more than the limit through when 50 come at once', async () => {
    let asked = 0
    const kit = await openBehindProxy({
      rateLimits: { loginPerAccountAndNetwork: { max: 5 } },
      authenticate: async () => {
        asked++
        await new Promise((resolve) => setImmediate(resolve))
        return null
      },
    })
    const answers = await Promise.all(
      Array.from({ length: 50 }, async () => attempt(kit, HERE).then(({ status }) => status)),
    )
    expect(asked).toBe(5)
    expect(answers.filter((status) => status === 401)).toHaveLength(5)
    expect(answers.filter((status) => status === 429)).toHaveLength(45)
  })
})

describe('a limit is not evaded', () => {
  it('by X-Forwarded-For, when no proxy is trusted', async () => {
    const kit = await openKit({
      options: { rateLimits: { loginPerAccountAndNetwork: { max: 3 } } },
    })
    const statuses = await failTimes(5, (index) => attempt(kit, elsewhere(index)))
    expect(statuses).toEqual([401, 401, 401, 429, 429])
  })

  it('by what a client writes in front of what its proxy adds, or by other such headers', async () => {
    const kit = await openPair(3)
    const statuses = await failTimes(5, (index) =>
      attempt(kit, `${elsewhere(index)}, ${HERE}`).set({
        Forwarded: `for=${elsewhere(index)}`,
        'X-Real-IP': elsewhere(index),
        'CF-Connecting-IP': elsewhere(index),
      }),
    )
    expect(statuses).toEqual([401, 401, 401, 429, 429])
  })

  it('by other addresses of one IPv6 /64, while the next /64 is another network', async () => {
    const kit = await openPair(3)
    const addresses = [
      '2001:db8:1:2::1',
      '2001:DB8:1:2:ffff:ffff:ffff:ffff',
      '2001:0db8:0001:0002:0000:0000:0000:0003',
      '2001:db8:1:2:a::',
      '2001:db8:1:2:0:0:192.0.2.1',
    ]
    const statuses = await failTimes(5, (index) => attempt(kit, addresses[index] ?? ''))
    expect(statuses).toEqual([401, 401, 401, 429, 429])
    await attempt(kit, '2001:db8:1:3::1').expect(401)
  })

  it('by spelling an IPv4 address as an IPv6 one', async () => {
    const kit = await openPair(3)
    const addresses = [
      HERE,
      `::ffff:${HERE}`,
      '::ffff:c000:201',
      '0:0:0:0:0:FFFF:C000:0201',
      `${HERE}:4711`,
    ]
    const statuses = await failTimes(5, (index) => attempt(kit, addresses[index] ?? ''))
    expect(statuses).toEqual([401, 401, 401, 429, 429])
  })

  it('by junk in the place of an address', async () => {
    const kit = await openPair(3)
    const statuses = await failTimes(5, (index) => attempt(kit, `junk-${index}`))
    expect(statuses).toEqual([401, 401, 401, 429, 429])
  })

  it.each([
    ['case', ['alice', 'ALICE', 'Alice', 'aLICE']],
    ['blanks', ['alice', ' alice', 'alice\t', '\u00a0alice ']],
    ['compatibility forms', ['alice', 'ａｌｉｃｅ', 'ⓐlice', 'ALICE']],
  ])('by %s in the name of the account', async (_, names) => {
    const kit = await openPair(3)
    const statuses = await failTimes(4, (index) => attempt(kit, HERE, { username: names[index] }))
    expect(statuses).toEqual([401, 401, 401, 429])
  })

  it('by a further member that changes each time', async () => {
    const kit = await openPair(3)
    const statuses = await failTimes(5, (index) =>
      attempt(kit, HERE, { username: `decoy-${index}`, email: 'alice@app.example', user: 'x' }),
    )
    expect(statuses).toEqual([401, 401, 401, 429, 429])
  })

  it('by logging in to an account of one’s own in between', async () => {
    const kit = await openBehindProxy({ rateLimits: { loginPerNetwork: { max: 4 } } })
    const statuses: number[] = []
    for (let index = 0; index < 6; index++) {
      statuses.push((await attempt(kit, HERE, { username: `victim-${index}` })).status)
      statuses.push((await goodAttempt(kit, HERE, 'bob')).status)
    }
    expect(statuses).toEqual([401, 200, 401, 200, 401, 200, 401, 429, 429, 429, 429, 429])
  })
})

describe('failed logins of one account', () => {
  const rateLimits = { loginPerAccountAndNetwork: { max: 2 }, loginPerAccount: { max: 6 } }

  it('are limited across networks, for an hour', async () => {
    const kit = await openBehindProxy({ rateLimits })
    const statuses = await failTimes(8, (index) => attempt(kit, elsewhere(index)))
    expect(statuses).toEqual([401, 401, 401, 401, 401, 401, 429, 429])
    expectLimited(await goodAttempt(kit, elsewhere(100)), 3600)
    await goodAttempt(kit, elsewhere(100), 'bob').expect(200)
    await kit.tick(HOUR)
    await goodAttempt(kit, elsewhere(100)).expect(200)
  })

  it('do not lock its owner out where they logged in before', async () => {
    const kit = await openBehindProxy({ rateLimits })
    await goodAttempt(kit, HERE).expect(200)
    await kit.tick(20 * 24 * HOUR)
    await failTimes(20, (index) => attempt(kit, elsewhere(index)))
    expectLimited(await goodAttempt(kit, elsewhere(100)), 3600)
    await goodAttempt(kit, HERE).expect(200)
    // But who shares that network does not get to guess without end.
    const statuses = await failTimes(4, () => attempt(kit, HERE))
    expect(statuses).toEqual([401, 401, 429, 429])
  })

  it('are not used up by attempts that are refused for their network', async () => {
    const kit = await openBehindProxy({ rateLimits })
    await Promise.all(Array.from({ length: 100 }, async () => attempt(kit, HERE).then(() => {})))
    await goodAttempt(kit, elsewhere(1)).expect(200)
    expect(await failTimes(4, (index) => attempt(kit, elsewhere(index)))).toEqual(
      Array(4).fill(401),
    )
  })

  it('are counted for all nodes together', async () => {
    const one = await openBehindProxy({ rateLimits })
    const two = await openBehindProxy({ rateLimits }, { spy: one.spy, clock: one.clock })
    const statuses = await failTimes(8, (index) =>
      attempt(index % 2 === 0 ? one : two, elsewhere(index)),
    )
    expect(statuses).toEqual([401, 401, 401, 401, 401, 401, 429, 429])
    expect([...reportedLimits(one), ...reportedLimits(two)]).toEqual(['loginPerAccount'])
  })

  it('are those of the account that the app names', async () => {
    const kit = await openBehindProxy({
      rateLimits: {
        account: ({ login }) => (typeof login === 'string' ? login : undefined),
        loginPerAccountAndNetwork: { max: 2 },
      },
    })
    const statuses = await failTimes(3, (index) =>
      attempt(kit, HERE, { username: `decoy-${index}`, login: 'Alice' }),
    )
    expect(statuses).toEqual([401, 401, 429])
    // Without a name the network is what is left to count by.
    expect(await failTimes(5, () => attempt(kit, HERE))).toEqual(Array(5).fill(401))
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('app')
      },
    ],
    ['returns no text', () => 5 as unknown as string],
  ])('answers 500 when the app’s account %s', async (_, account) => {
    const kit = await openBehindProxy({ rateLimits: { account } })
    const res = await goodAttempt(kit, HERE)
    expect(res.body).toMatchObject({ status: 500, code: 'internal_error' })
    expect(kit.events).toContainEqual(
      expect.objectContaining({ type: 'hook_failure', cause: 'rateLimits.account' }),
    )
  })
})

describe('who asks for accounts', () => {
  it('hears the same of one that exists and of one that does not, before and at the limit', async () => {
    const kit = await openPair(3)
    const answers = async (username: string) => {
      const seen: unknown[] = []
      for (let index = 0; index < 5; index++) {
        const { status, headers, text } = await attempt(kit, HERE, { username })
        const { date, ...rest } = headers as Record<string, string>
        seen.push([status, rest, text, typeof date])
      }
      return seen
    }
    const known = await answers('alice')
    expect(await answers('nobody-of-that-name')).toEqual(known)
  })

  it('costs the store the same for either', async () => {
    const kit = await openPair(1)
    const costs = async (username: string) => {
      const before = kit.spy.inputs.length
      await failTimes(3, () => attempt(kit, HERE, { username }))
      const taken = kit.spy.inputs.slice(before).filter((input) => input.startsWith('["limit.'))
      return taken.map((input) => (JSON.parse(input) as unknown[]).slice(2))
    }
    const known = await costs('alice')
    expect(known.length).toBeGreaterThan(5)
    expect(await costs('nobody-of-that-name')).toEqual(known)
  })
})

describe('failed logins from one network', () => {
  it('are limited whatever the account', async () => {
    const kit = await openBehindProxy({ rateLimits: { loginPerNetwork: { max: 5 } } })
    const statuses = await failTimes(7, (index) =>
      attempt(kit, HERE, { username: `user-${index}` }),
    )
    expect(statuses).toEqual([401, 401, 401, 401, 401, 429, 429])
    expectLimited(await goodAttempt(kit, HERE), QUARTER_S)
    await goodAttempt(kit, elsewhere(1)).expect(200)
  })

  it('are limited also where nothing names an account', async () => {
    const kit = await openBehindProxy({ rateLimits: { loginPerNetwork: { max: 2 } } })
    const odd = [{ username: ['alice'] }, { username: '' }, { username: { $ne: null } }]
    const statuses = await failTimes(3, (index) => attempt(kit, HERE, odd[index]))
    expect(statuses).toEqual([401, 401, 429])
  })
})

describe('failed step-ups', () => {
  async function open(rateLimits: TestOptions['rateLimits']) {
    const kit = await openBehindProxy({ rateLimits })
    const login = readLogin(await goodAttempt(kit, HERE))
    const stepUp = (password: string, from = HERE, cookie = login.cookie) =>
      attempt(kit, from, { password }, '/auth/step-up').set('Cookie', cookie)
    return { kit, login, stepUp }
  }

  it('are limited for each session, and no session ends', async () => {
    const { kit, login, stepUp } = await open({ stepUpPerSession: { max: 2 } })
    expect(await failTimes(2, () => stepUp('wrong'))).toEqual([401, 401])
    expectLimited(await stepUp(PASSWORD, elsewhere(1)), QUARTER_S)
    expect(await kit.stored(login.sid)).not.toBeNull()
    await request(kit.server).get('/session').set('Cookie', login.cookie).expect(200)
    const other = readLogin(await goodAttempt(kit, HERE))
    await stepUp(PASSWORD, HERE, other.cookie).expect(200)
    expect(kit.events).toContainEqual(
      expect.objectContaining({
        type: 'excess_rate_limit_exceeded',
        cause: 'stepUpPerSession',
        sessionId: login.sid,
        user: { tenant: '', id: 'alice' },
      }),
    )
  })

  it('count failures only, and another user’s credentials are one', async () => {
    const { kit, login, stepUp } = await open({ stepUpPerSession: { max: 2 } })
    await attempt(kit, HERE, { username: 'bob', password: PASSWORD }, '/auth/step-up')
      .set('Cookie', login.cookie)
      .expect(401)
    const fresh = readLogin(await stepUp(PASSWORD).expect(200))
    expect(
      await failTimes(4, () => stepUp('wrong', HERE, fresh.cookie).then((res) => res)),
    ).toEqual([401, 401, 429, 429])
  })

  it('are limited for each user, whatever strangers do at the login', async () => {
    const { kit, stepUp } = await open({
      stepUpPerAccount: { max: 3 },
      loginPerAccount: { max: 3 },
    })
    await failTimes(10, (index) => attempt(kit, elsewhere(index)))
    expect(await failTimes(3, () => stepUp('wrong'))).toEqual([401, 401, 401])
    const other = readLogin(await goodAttempt(kit, HERE))
    expectLimited(await stepUp(PASSWORD, HERE, other.cookie), 3600)
  })
})

describe('the defaults', () => {
  it('let 20 failures of an account pass, and 100 of a network, by themselves', async () => {
    const kit = await openBehindProxy()
    expect(await failTimes(20, () => attempt(kit, HERE))).toEqual(Array(20).fill(401))
    expectLimited(await attempt(kit, HERE), QUARTER_S)
    expect(
      await failTimes(80, (index) => attempt(kit, HERE, { username: `user-${index}` })),
    ).toEqual(Array(80).fill(401))
    expectLimited(await goodAttempt(kit, HERE, 'bob'), QUARTER_S)
    expect(reportedLimits(kit)).toEqual(['loginPerAccountAndNetwork', 'loginPerNetwork'])
  })

  it('are off with rateLimits: false', async () => {
    const kit = await openBehindProxy({ rateLimits: false })
    await goodAttempt(kit, HERE).expect(200)
    expect(await failTimes(130, () => attempt(kit, HERE))).toEqual(Array(130).fill(401))
    expect(kit.spy.inputs.filter((input) => input.startsWith('["limit.'))).toEqual([])
  })
})

describe('what is said of it', () => {
  it('is one event a key and window, without what was typed', async () => {
    const kit = await openPair(2)
    await failTimes(30, () => attempt(kit, HERE, { username: 'typed-here' }))
    await kit.tick(15 * MINUTE)
    await failTimes(30, () => attempt(kit, HERE, { username: 'typed-here' }))
    const events = kit.events.filter(({ type }) => type === 'excess_rate_limit_exceeded')
    expect(events).toHaveLength(2)
    expect(events[0]).toEqual({
      type: 'excess_rate_limit_exceeded',
      at: expect.any(Number),
      result: 'failure',
      cause: 'loginPerAccountAndNetwork',
      ip: HERE,
      detail: { max: 2, window_s: 900 },
    })
    expect(typesOf(kit).filter((type) => type === 'authn_login_fail')).toHaveLength(4)
    expect(JSON.stringify([kit.events, kit.spy.inputs])).not.toContain('typed-here')
  })

  it('is in the audit trail', async () => {
    const kit = await openPair(1)
    await failTimes(3, () => attempt(kit, HERE))
    await kit.latchkey.close()
    const { items } = await kit.spy.raw.audit.query({
      type: 'excess_rate_limit_exceeded',
      limit: 10,
    })
    expect(items).toMatchObject([{ cause: 'loginPerAccountAndNetwork', ip: HERE }])
  })
})
