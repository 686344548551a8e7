import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { TestKit } from '../support/kit.ts'
import { closeKits, echo, ISSUER, NOW } from '../support/kit.ts'
import {
  AS_BILLING,
  issued,
  openServices,
  ORDERS_API,
  postForm,
  STOCK_API,
} from '../support/token-services.ts'

afterEach(closeKits)

function ask(
  kit: TestKit,
  form: Record<string, string> = {},
  authorization?: string | null,
): request.Test {
  const whole = { grant_type: 'client_credentials', ...form }
  return postForm(kit, '/auth/token', whole, authorization)
}

describe('client credentials', () => {
  it("make a service's own token: the service, its scope, and no session", async () => {
    const kit = await openServices()
    const res = await ask(kit)
    expect(res.headers).toMatchObject({ 'cache-control': 'no-store' })
    const { token, claims } = issued(res)
    expect(res.body).toEqual({
      access_token: token,
      token_type: 'Bearer',
      expires_in: 300,
      scope: 'stock:read stock:write',
    })
    expect(claims).toEqual({
      iss: ISSUER,
      aud: ISSUER,
      sub: 'orders',
      client_id: 'orders',
      iat: NOW / 1000,
      exp: NOW / 1000 + 300,
      jti: expect.stringMatching(/^[\w-]{24}$/),
      scope: 'stock:read stock:write',
    })
    expect(kit.events.at(-1)).toMatchObject({
      type: 'authn_token_created',
      cause: 'client_credentials',
      detail: { service: 'orders', jti: claims['jti'] },
    })
    expect(kit.spy.calls).toEqual([])
  })

  it('make no two of the same jti', async () => {
    const kit = await openServices()
    const all = await Promise.all(Array.from({ length: 20 }, async () => issued(await ask(kit))))
    expect(new Set(all.map(({ claims }) => claims['jti'])).size).toBe(20)
  })

  it.each([
    [{ scope: 'stock:read' }, { scope: 'stock:read' }],
    [{ audience: STOCK_API }, { scope: 'stock:read', expires_in: 60 }],
    [{ resource: ORDERS_API }, { scope: 'stock:read stock:write' }],
    [{ audience: ISSUER }, { scope: 'stock:read stock:write' }],
  ])('grant what is asked for, and no more: %j', async (form, granted) => {
    const kit = await openServices()
    expect((await ask(kit, form)).body).toMatchObject(granted)
  })

  it.each([
    [{ scope: 'admin' }, 'invalid_scope'],
    [{ scope: 'stock:read admin' }, 'invalid_scope'],
    [{ audience: STOCK_API, scope: 'stock:write' }, 'invalid_scope'],
    [{ audience: 'https://evil.example' }, 'invalid_target'],
    [{ audience: `${ISSUER}/` }, 'invalid_target'],
    [{ audience: ORDERS_API, resource: STOCK_API }, 'invalid_target'],
  ])('refuse more: %j', async (form, error) => {
    const kit = await openServices()
    expect(await ask(kit, form)).toMatchObject({ status: 400, body: { error } })
  })

  it('give a service without scope a token without, for the audiences it may have', async () => {
    const kit = await openServices()
    const res = await ask(kit, { audience: STOCK_API }, AS_BILLING)
    expect(res.body).not.toHaveProperty('scope')
    expect(issued(res).claims).not.toHaveProperty('scope')
    for (const form of [{ audience: ORDERS_API }, { audience: ISSUER }, {}]) {
      expect(await ask(kit, form, AS_BILLING)).toMatchObject({
        status: 400,
        body: { error: 'invalid_target' },
      })
    }
  })

  it('are of a service that proved who it is', async () => {
    const kit = await openServices()
    const { bearer } = await kit.login()
    for (const authorization of [null, bearer, 'Basic b3JkZXJzOng=']) {
      expect(await ask(kit, {}, authorization)).toMatchObject({
        status: 401,
        body: { error: 'invalid_client' },
      })
    }
  })

  it('make tokens that are refused everywhere once they are revoked', async () => {
    const kit = await openServices({
      routes: (app, latchkey) => {
        app.get('/machine', latchkey.requireJwt({ services: true }), echo)
      },
    })
    const { token } = issued(await ask(kit))
    const status = async (path: string) =>
      (await request(kit.server).get(path).set('Authorization', `Bearer ${token}`)).status
    expect([await status('/machine'), await status('/jwt')]).toEqual([200, 403])
    await postForm(kit, '/auth/revoke', { token }).expect(200)
    expect(await status('/machine')).toBe(401)
  })
})
