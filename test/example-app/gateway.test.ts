import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { cookiesOf } from '../support/kit.ts'
import type { ExampleProcess } from '../support/example-process.ts'
import { startExample } from '../support/example-process.ts'
import { freePort } from '../support/redis-process.ts'

const MAX_TRIES = 5

interface Login {
  readonly sid: string
  readonly bearer: string
  readonly cookie: string
}

describe('the example of a gateway', () => {
  let example: ExampleProcess
  let ordersUrl = ''

  beforeAll(async () => {
    for (let tries = 1; ; tries++) {
      const port = await freePort()
      ordersUrl = `http://127.0.0.1:${port}`
      try {
        example = await startExample({ ORDERS_PORT: `${port}` }, 'example-app/gateway/server.ts')
        return
      } catch (error) {
        // Somebody else was quicker.
        if (tries === MAX_TRIES || !String(error).includes('EADDRINUSE')) throw error
      }
    }
  }, 120_000)

  afterAll(async () => {
    const { code, stderr } = await example.stop()
    // The kit says that this is a development set-up.
    expect(stderr.replaceAll(/^.*(?:LatchkeyWarning|--trace-warnings).*$/gm, '').trim()).toBe('')
    expect(code).toBe(0)
  }, 30_000)

  async function login(username: string, password: string): Promise<Login> {
    const res = await request(example.url).post('/auth/login').send({ username, password })
    const { access_token: token, session } = res.body as {
      access_token: string
      session: { id: string }
    }
    const cookie = [...cookiesOf(res)].map(([name, value]) => `${name}=${value}`).join('; ')
    return { sid: session.id, bearer: `Bearer ${token}`, cookie }
  }

  const ordersOf = (headers: Record<string, string>, url = `${example.url}/orders`) =>
    request(url)
      .get(url === ordersUrl ? '/' : '')
      .set(headers)

  it('tells the service who is asking, by either credential', async () => {
    const alice = await login('alice', 'wonderland-7')
    const bob = await login('bob', 'builder-7')
    for (const [{ sid, bearer, cookie }, user] of [
      [alice, 'alice'],
      [bob, 'bob'],
    ] as const) {
      const expected = { orders_of: user, session_id: sid }
      expect((await ordersOf({ authorization: bearer })).body).toEqual(expected)
      expect((await ordersOf({ cookie })).body).toEqual(expected)
    }
  }, 30_000)

  it('lets nobody in who says so', async () => {
    const spoofed = { 'x-user-id': 'root', x_user_id: 'root', 'x-forwarded-user': 'root' }
    expect((await ordersOf(spoofed)).status).toBe(401)
    const { bearer } = await login('alice', 'wonderland-7')
    const res = await ordersOf({ ...spoofed, authorization: bearer })
    expect(res.body).toMatchObject({ orders_of: 'alice' })
  }, 30_000)

  it('has a service that believes nobody but the gateway', async () => {
    const { bearer, cookie } = await login('alice', 'wonderland-7')
    for (const headers of [{}, { 'x-user-id': 'root' }, { cookie }, { authorization: bearer }]) {
      const res = await ordersOf(headers, ordersUrl)
      expect([headers, res.status]).toEqual([headers, 401])
    }
  }, 30_000)

  it('refuses a session at the next request after its logout', async () => {
    const { bearer, cookie } = await login('alice', 'wonderland-7')
    expect((await ordersOf({ authorization: bearer })).status).toBe(200)
    await request(example.url).post('/auth/logout').set('Cookie', cookie).expect(204)
    expect((await ordersOf({ authorization: bearer })).status).toBe(401)
    expect((await ordersOf({ cookie })).status).toBe(401)
  }, 30_000)
})
