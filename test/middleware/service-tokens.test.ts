import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { forge, halves } from '../support/forge.ts'
import type { KitSetup, TestKit } from '../support/kit.ts'
import {
  closeKits,
  echo,
  ISSUER,
  MINUTE,
  NOW,
  openKit,
  SIGNING_KEY,
  spyOn,
  until,
} from '../support/kit.ts'
import { until as eventually } from '../support/redis-commands.ts'
import { drawSessionId } from '../../lib/session-id.ts'
import { memoryStore } from '../../middleware/index.ts'

afterEach(closeKits)

/** A service's own token, as the kit would sign it. */
function serviceToken(changes: Readonly<Record<string, unknown>> = {}): string {
  const claims = {
    iss: ISSUER,
    aud: ISSUER,
    sub: 'orders',
    client_id: 'orders',
    exp: NOW / 1000 + 300,
    iat: NOW / 1000,
    jti: drawSessionId({ tenant: '', id: 'orders' }),
    scope: 'orders:read',
    ...changes,
  }
  const header = { alg: 'ES256', typ: 'at+jwt', kid: SIGNING_KEY.kid }
  return forge(header, claims, halves(SIGNING_KEY).privateKey)
}

/** One that the store knows to be denied. */
async function denied({ spy }: TestKit): Promise<string> {
  const jti = drawSessionId({ tenant: '', id: 'orders' })
  await spy.raw.deny({ sid: jti, jti, expiresAt: NOW + 5 * MINUTE })
  return serviceToken({ jti })
}

const OPEN: NonNullable<KitSetup['routes']> = (app, latchkey) => {
  app.all('/machine', latchkey.requireJwt({ services: true }), (req, res) => {
    res.json({ ...req.auth })
  })
  app.all('/machine/hybrid', latchkey.hybridGuard({ services: true, sample: 0 }), echo)
  app.all(
    '/machine/sensitive',
    latchkey.hybridGuard({ services: true, sensitive: true }),
    (req, res) => {
      res.json({ ...req.auth })
    },
  )
  app.all('/machine/level', latchkey.hybridGuard({ services: true, level: 'mfa' }), echo)
  app.all('/machine/fresh', latchkey.hybridGuard({ services: true, maxAuthAge: '5m' }), echo)
  app.all('/machine/role', latchkey.requireJwt({ services: true, roles: ['admin'] }), echo)
  app.all('/machine/scope', latchkey.requireJwt({ services: true, scope: ['orders:read'] }), echo)
  app.all('/machine/other', latchkey.requireJwt({ services: true, scope: ['orders:write'] }), echo)
  app.all(
    '/forwarded',
    latchkey.requireJwt({ services: true }),
    latchkey.forwardIdentity({ audience: 'https://orders.example' }),
    echo,
  )
  app.all('/optional', latchkey.requireJwt({ optional: true }), echo)
}

async function open(setup: KitSetup = {}): Promise<TestKit> {
  return openKit({ routes: OPEN, ...setup })
}

function get(kit: TestKit, path: string, token: string): request.Test {
  return request(kit.server).get(path).set('Authorization', `Bearer ${token}`)
}

describe("a service's own token", () => {
  it.each(['/jwt', '/hybrid', '/sensitive', '/optional', '/auth/session', '/auth/sessions'])(
    'is 403 at %s: it never passes as a user',
    async (path) => {
      const kit = await open()
      const res = await get(kit, path, serviceToken())
      expect([res.status, res.body]).toEqual([403, expect.objectContaining({ code: 'forbidden' })])
      expect(kit.events.at(-1)).toMatchObject({
        type: 'authz_fail',
        cause: 'forbidden',
        detail: { service: 'orders' },
      })
      expect(kit.events.at(-1)).not.toHaveProperty('user')
    },
  )

  it('is no user also when a user has its name', async () => {
    const kit = await open()
    await kit.login()
    await get(kit, '/sensitive', serviceToken({ sub: 'alice', client_id: 'alice' })).expect(403)
    const { body } = await get(kit, '/machine', serviceToken({ sub: 'alice', client_id: 'alice' }))
    expect(body).toMatchObject({ kind: 'service', userId: '', sessionId: '', service: 'alice' })
  })

  it('passes where the guard takes services, without the store', async () => {
    const kit = await open()
    const { body } = await get(kit, '/machine', serviceToken()).expect(200)
    expect(body).toEqual({
      kind: 'service',
      service: 'orders',
      userId: '',
      sessionId: '',
      tenant: '',
      roles: [],
      scope: ['orders:read'],
      level: null,
      authTime: 0,
      claims: {},
      checked: false,
    })
    await get(kit, '/machine/hybrid', serviceToken()).expect(200)
    await get(kit, '/machine/scope', serviceToken()).expect(200)
    expect(kit.spy.calls).toEqual([])
    const sensitive = await get(kit, '/machine/sensitive', serviceToken()).expect(200)
    expect(sensitive.body).toMatchObject({ checked: true })
    expect(kit.spy.calls).toEqual(['isDenied'])
  })

  it('is not passed on by a gateway, which speaks of users', async () => {
    const kit = await open()
    expect(await get(kit, '/forwarded', serviceToken())).toMatchObject({ status: 403 })
  })

  it.each([
    ['/machine/level', 'forbidden'],
    ['/machine/fresh', 'forbidden'],
    ['/machine/role', 'forbidden'],
    ['/machine/other', 'insufficient_scope'],
  ])('has no level, no login and no role, and only its scope: %s', async (path, code) => {
    const kit = await open()
    const res = await get(kit, path, serviceToken())
    expect([res.status, res.body]).toEqual([403, expect.objectContaining({ code })])
  })

  it('is no session token, and ends nothing as a logout', async () => {
    const kit = await open()
    await request(kit.server)
      .get('/session')
      .set('Authorization', `Session ${serviceToken()}`)
      .expect(401)
    await request(kit.server)
      .post('/auth/logout')
      .set('Authorization', `Bearer ${serviceToken()}`)
      .expect(204)
    expect(kit.spy.calls).toEqual([])
  })

  it('is refused on every node within a read of the feed once it is denied', async () => {
    const spy = spyOn(memoryStore({ clock: () => NOW }))
    const [here, there] = [await open({ spy }), await open({ spy })]
    const jti = drawSessionId({ tenant: '', id: 'orders' })
    const token = serviceToken({ jti })
    await get(there, '/machine', token).expect(200)
    await spy.raw.deny({ sid: jti, jti, expiresAt: NOW + 5 * MINUTE })
    for (const kit of [here, there]) {
      await eventually('it is heard', async () => {
        const { status } = await get(kit, '/machine', token)
        return status === 401
      })
      const res = await get(kit, '/machine', token)
      expect(res.body).toMatchObject({ code: 'token_revoked' })
      await get(kit, '/machine', serviceToken()).expect(200)
    }
  })

  it('is asked for in the store while the node is blind, and at a sensitive guard always', async () => {
    const kit = await open({ feed: 'deaf' })
    const token = await denied(kit)
    await get(kit, '/machine', token).expect(200)
    await get(kit, '/machine/hybrid', token).expect(200)
    await get(kit, '/machine/sensitive', token).expect(401, /token_revoked/)
    kit.spy.feed = 'fails'
    kit.clock.now += MINUTE
    await until(() => !kit.latchkey.health().ok)
    // Each with a token of its own, so that none hears what another has asked.
    for (const path of ['/machine', '/machine/hybrid']) {
      await get(kit, path, await denied(kit)).expect(401, /token_revoked/)
      await get(kit, path, serviceToken()).expect(200)
    }
    kit.spy.faults.set('isDenied', 'rejects')
    expect(await get(kit, '/machine/sensitive', serviceToken())).toMatchObject({ status: 503 })
  })
})

describe('an access token of a user that was denied', () => {
  it('is refused by requireJwt as soon as the feed says so; the session lives on', async () => {
    const kit = await open()
    const { access, sid, refreshCookie, bearer } = await kit.login()
    const { jti, exp } = JSON.parse(
      Buffer.from(access.split('.')[1] ?? '', 'base64url').toString(),
    ) as { jti: string; exp: number }
    await request(kit.server).get('/jwt').set('Authorization', bearer).expect(200)
    await kit.spy.raw.deny({ sid, jti, expiresAt: exp * 1000 })
    await eventually('it is heard', async () => {
      const { status } = await get(kit, '/jwt', access)
      return status === 401
    })
    await get(kit, '/jwt', access).expect(401, /token_revoked/)
    const fresh = await request(kit.server).post('/auth/refresh').set('Cookie', refreshCookie)
    await get(kit, '/jwt', (fresh.body as { access_token: string }).access_token).expect(200)
    expect(await kit.stored(sid)).not.toBeNull()
  })
})
