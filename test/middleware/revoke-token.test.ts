import { afterEach, describe, expect, it } from '@jest/globals'
import { decodeJwt } from 'jose'
import request from 'supertest'
import { memoryStore } from '../../middleware/index.ts'
import type { TestKit } from '../support/kit.ts'
import { closeKits, NOW, spyOn, typesOf } from '../support/kit.ts'
import { until as eventually } from '../support/redis-commands.ts'
import {
  AS_BILLING,
  exchange,
  issued,
  machineToken,
  openServices,
  postForm,
} from '../support/token-services.ts'

afterEach(closeKits)

function revoke(kit: TestKit, token: string, authorization?: string | null): request.Test {
  return postForm(kit, '/auth/revoke', { token }, authorization)
}

async function statusOf(kit: TestKit, path: string, authorization: string): Promise<number> {
  return (await request(kit.server).get(path).set('Authorization', authorization)).status
}

describe('POST /revoke', () => {
  it('of an access token refuses that token, here at once, and leaves its session alone', async () => {
    const kit = await openServices()
    const { access, bearer, session, refreshCookie, sid } = await kit.login()
    const res = await revoke(kit, access)
    expect([res.status, res.text]).toEqual([200, ''])
    expect(res.headers).toMatchObject({ 'cache-control': 'no-store' })
    for (const path of ['/jwt', '/hybrid', '/sensitive']) {
      const refused = await request(kit.server).get(path).set('Authorization', bearer)
      expect([refused.status, refused.body]).toEqual([
        401,
        expect.objectContaining({ code: 'token_revoked' }),
      ])
    }
    expect(await statusOf(kit, '/session', `Session ${session}`)).toBe(200)
    const fresh = await request(kit.server).post('/auth/refresh').set('Cookie', refreshCookie)
    const { access_token: next } = fresh.body as { access_token: string }
    expect(await statusOf(kit, '/jwt', `Bearer ${next}`)).toBe(200)
    const { jti } = decodeJwt(access)
    expect(kit.events.find(({ type }) => type === 'authn_token_revoked')).toMatchObject({
      user: { id: 'alice', tenant: '' },
      sessionId: sid,
      cause: 'revoked_by_service',
      detail: { service: 'orders', jti },
    })
  })

  it('of an access token leaves it no good for a logout either: it may be in other hands', async () => {
    const kit = await openServices()
    const { access, bearer, sid } = await kit.login()
    await revoke(kit, access).expect(200)
    await request(kit.server).post('/auth/logout').set('Authorization', bearer).expect(204)
    expect(await kit.stored(sid)).not.toBeNull()
  })

  it('is heard on another node by the feed', async () => {
    const spy = spyOn(memoryStore({ clock: () => NOW }))
    const [here, there] = [await openServices({ spy }), await openServices({ spy })]
    const { access, bearer } = await here.login()
    expect(await statusOf(there, '/jwt', bearer)).toBe(200)
    await revoke(here, access).expect(200)
    await eventually('it is heard', async () => (await statusOf(there, '/jwt', bearer)) === 401)
    expect(await statusOf(there, '/jwt', bearer)).toBe(401)
  })

  it('holds for as long as a guard would take the token, clock skew included', async () => {
    const kit = await openServices()
    const { access, sid } = await kit.login()
    await revoke(kit, access).expect(200)
    const { jti = '', exp = 0 } = decodeJwt(access)
    const denied = async () => kit.spy.raw.isDenied({ sid, jti })
    kit.clock.now = exp * 1000 + 29_999
    expect(await denied()).toBe(true)
    kit.clock.now = exp * 1000 + 30_000
    expect(await denied()).toBe(false)
  })

  it.each(['session', 'refresh'] as const)('of a %s token ends the session', async (kind) => {
    const kit = await openServices()
    const login = await kit.login()
    await revoke(kit, login[kind]).expect(200)
    expect(await kit.stored(login.sid)).toBeNull()
    expect(await statusOf(kit, '/jwt', login.bearer)).toBe(401)
    expect(kit.events.find(({ type }) => type === 'session_revoked')).toMatchObject({
      cause: 'revoked_by_service',
      detail: { service: 'orders' },
    })
  })

  it('is 200 for what is none of ours, or over, and changes nothing', async () => {
    const kit = await openServices()
    const { access, session, sid } = await kit.login()
    kit.spy.reset()
    for (const token of ['x', sid, `${access}x`, `${session}x`, 'a'.repeat(9000)]) {
      const res = await revoke(kit, token)
      expect([res.status, res.text]).toEqual([200, ''])
    }
    expect(kit.spy.calls).toEqual([])
    await kit.latchkey.sessions.revoke(sid)
    await revoke(kit, session).expect(200)
    await revoke(kit, session).expect(200)
    expect(typesOf(kit)).not.toContain('authn_token_revoked')
  })

  it('leaves alone what another service asked for', async () => {
    const kit = await openServices()
    const machine = await machineToken(kit)
    const { access } = await kit.login()
    const { token } = issued(await exchange(kit, { subject_token: access }))
    for (const foreign of [machine, token]) {
      const res = await revoke(kit, foreign, AS_BILLING)
      expect([res.status, res.body]).toEqual([
        400,
        expect.objectContaining({ error: 'unauthorized_client' }),
      ])
      const { body } = await postForm(kit, '/auth/introspect', { token: foreign })
      expect(body).toMatchObject({ active: true })
      await revoke(kit, foreign).expect(200)
    }
    // What came from the login is whoever's it was shown to.
    await revoke(kit, access, AS_BILLING).expect(200)
  })

  it('knows the service before it looks at the token', async () => {
    const kit = await openServices()
    const { access, session, bearer } = await kit.login()
    kit.spy.reset()
    for (const token of [access, session, 'x']) {
      expect(await revoke(kit, token, null)).toMatchObject({ status: 401 })
    }
    expect(kit.spy.calls).toEqual([])
    expect(await statusOf(kit, '/jwt', bearer)).toBe(200)
  })

  it.each([
    ['access', 'deny'],
    ['session', 'revoke'],
    ['refresh', 'revoke'],
  ] as const)('of a %s token is 503 when the store does not take it', async (kind, operation) => {
    const kit = await openServices()
    const login = await kit.login()
    kit.spy.faults.set(operation, 'rejects')
    const res = await revoke(kit, login[kind])
    expect(res.status).toBe(503)
    expect(res.headers).toMatchObject({ 'retry-after': '1' })
    kit.spy.faults.clear()
    expect(await statusOf(kit, '/jwt', login.bearer)).toBe(200)
    await revoke(kit, login[kind]).expect(200)
    expect(await statusOf(kit, '/jwt', login.bearer)).toBe(401)
  })
})
