import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals'
import request from 'supertest'
import type { Login, TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, ISSUER, MINUTE, openKit } from '../support/kit.ts'

beforeEach(() => {
  jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
})

afterEach(async () => {
  jest.restoreAllMocks()
  await closeKits()
})

type Headers = Record<string, string>

/** A browser that reached us over https, or whose proxy says so. */
const BROWSER: Headers = {
  Host: 'app.example',
  'X-Forwarded-Proto': 'https',
  Origin: ISSUER,
  'Sec-Fetch-Site': 'same-origin',
  'Sec-Fetch-Mode': 'cors',
  'User-Agent': 'Mozilla/5.0',
}
/** The same over plain http: browsers send no Sec-Fetch headers then. */
const PLAIN: Headers = {
  Host: 'app.example',
  'X-Forwarded-Proto': 'https',
  Origin: ISSUER,
  'User-Agent': 'Mozilla/5.0',
}
const CURL: Headers = { Host: 'app.example', 'X-Forwarded-Proto': 'https', 'User-Agent': 'curl/8' }

async function open(options: TestOptions = {}): Promise<TestKit> {
  return openKit({
    options: { rateLimits: false, ...options },
    before: (app) => app.set('trust proxy', 'loopback'),
  })
}

/** The logins of some people, one each. */
async function logins(kit: TestKit, headers: Headers, count = 5): Promise<Login[]> {
  const made: Login[] = []
  for (let at = 0; at < count; at++) {
    kit.users.set(`user-${at}`, { id: `user-${at}` })
    made.push(await kit.login(`user-${at}`, { headers }))
  }
  return made
}

async function get(kit: TestKit, path: string, headers: Headers): Promise<number> {
  return (await request(kit.server).get(path).set(headers)).status
}

async function found(kit: TestKit): Promise<string[]> {
  const events = kit.events.filter(({ type }) => type === 'warning').map(({ cause }) => cause)
  const codes = (await kit.latchkey.doctor()).map(({ code }) => code)
  expect(events).toEqual(codes)
  return codes
}

describe('cookies that browsers do not return are found', () => {
  it.each(['/jwt', '/hybrid'])('when pages call %s with the token alone', async (path) => {
    const kit = await open()
    const made = await logins(kit, BROWSER, 3)
    for (const { bearer } of made) {
      expect(await found(kit)).toEqual([])
      expect(await get(kit, path, { ...BROWSER, Authorization: bearer })).toBe(200)
    }
    expect(await found(kit)).toEqual(['cookie_not_returned'])
  })

  it.each([
    ['over https', BROWSER],
    ['over plain http', PLAIN],
  ])('when somebody logs in again and again, %s', async (_name, headers) => {
    const kit = await open()
    for (let time = 0; time < 3; time++) await kit.login('alice', { headers })
    expect(await found(kit)).toEqual([])
    await kit.login('alice', { headers })
    await kit.login('alice', { headers })
    expect(await found(kit)).toEqual(['cookie_not_returned'])
  })
})

describe('no false alarm is raised', () => {
  it('by browsers whose cookies come back', async () => {
    const kit = await open()
    const [first, ...others] = await logins(kit, BROWSER)
    await get(kit, '/session', { ...BROWSER, Cookie: first?.cookie ?? '' })
    for (const { bearer } of others) await get(kit, '/jwt', { ...BROWSER, Authorization: bearer })
    for (let time = 0; time < 9; time++) await kit.login('alice', { headers: BROWSER })
    expect(await found(kit)).toEqual([])
  })

  it('by browsers whose cookies come along with the token, or with a refresh, or the next login', async () => {
    for (const send of [
      async (kit: TestKit, { bearer, cookie }: Login) =>
        get(kit, '/jwt', { ...BROWSER, Authorization: bearer, Cookie: cookie }),
      async (kit: TestKit, { cookie }: Login) =>
        request(kit.server)
          .post('/auth/refresh')
          .set({ ...BROWSER, Cookie: cookie }),
      async (kit: TestKit, { cookie }: Login) =>
        kit.login('user-0', { headers: { ...BROWSER, Cookie: cookie } }),
    ]) {
      const kit = await open()
      const [first] = await logins(kit, BROWSER, 1)
      if (first === undefined) throw new Error('no login')
      await send(kit, first)
      for (let time = 0; time < 9; time++) await kit.login('alice', { headers: BROWSER })
      expect(await found(kit)).toEqual([])
    }
  })

  it('by clients that are no browsers and keep no cookies', async () => {
    const kit = await open()
    for (const { bearer, session } of await logins(kit, CURL)) {
      await get(kit, '/jwt', { ...CURL, Authorization: bearer })
      await get(kit, '/session', { ...CURL, Authorization: `Session ${session}` })
    }
    for (let time = 0; time < 9; time++) await kit.login('alice', { headers: CURL })
    expect(await found(kit)).toEqual([])
  })

  it('by clients that get their tokens in the body', async () => {
    const kit = await open({ delivery: 'body' })
    for (const { bearer } of await logins(kit, BROWSER)) {
      await get(kit, '/jwt', { ...BROWSER, Authorization: bearer })
    }
    for (let time = 0; time < 9; time++) await kit.login('alice', { headers: BROWSER })
    expect(await found(kit)).toEqual([])
  })

  it('by a node that serves nothing but logins, however many', async () => {
    const kit = await open()
    await logins(kit, BROWSER, 40)
    await get(kit, '/session', BROWSER)
    await get(kit, '/auth/session', BROWSER)
    expect(await found(kit)).toEqual([])
  })

  it('by pages of another origin, which may leave cookies out', async () => {
    const kit = await open()
    for (const { bearer } of await logins(kit, BROWSER)) {
      await get(kit, '/jwt', { ...BROWSER, 'Sec-Fetch-Site': 'same-site', Authorization: bearer })
    }
    expect(await found(kit)).toEqual([])
  })

  it('by users of other clients, or who come again later', async () => {
    const kit = await open()
    for (let time = 0; time < 6; time++) {
      await kit.login('alice', { headers: { ...BROWSER, 'User-Agent': `Mozilla/5.0 (${time})` } })
      await kit.login('bob', { headers: { ...BROWSER, 'X-Forwarded-For': `192.0.2.${time}` } })
      await kit.login('root', { headers: BROWSER })
      await kit.tick(3 * MINUTE)
    }
    expect(await found(kit)).toEqual([])
  })
})
