import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { SessionGuardOptions } from '../../middleware/index.ts'
import type { TestClaims, TestKit } from '../support/kit.ts'
import { closeKits, COOKIES, echo, openKit } from '../support/kit.ts'

afterEach(closeKits)

async function optionalKit(guard: SessionGuardOptions<TestClaims> = {}): Promise<TestKit> {
  return openKit({
    routes: (app, { requireSession }) => {
      app.get('/public', requireSession({ ...guard, optional: true }), (req, res) => {
        if (req.auth === undefined) res.json({ nobody: true })
        else echo(req, res)
      })
    },
  })
}

describe('a page for everybody', () => {
  it('takes a half logged in session for nobody', async () => {
    const kit = await optionalKit()
    kit.users.set('half', { id: 'half', level: 'partial' })
    const { sessionCookie } = await kit.login('half')
    const res = await request(kit.server).get('/public').set('Cookie', sessionCookie).expect(200)
    expect(res.body).toEqual({ nobody: true })
    expect(res.headers['cache-control']).toBeUndefined()
  })

  it.each<SessionGuardOptions<TestClaims>>([{ level: 'mfa' }, { maxAuthAge: '0s' }])(
    'that asks for more says so to who is somebody: %j',
    async (guard) => {
      const kit = await optionalKit(guard)
      const { sessionCookie } = await kit.login()
      await kit.tick(1)
      const res = await request(kit.server).get('/public').set('Cookie', sessionCookie).expect(401)
      expect(res.body).toMatchObject({ code: 'step_up_required' })
    },
  )
})

describe('a session cookie next to the access cookie of another session', () => {
  it('is 400 for requireSession; one that does not verify does not count', async () => {
    const kit = await openKit({ options: { accessToken: 'cookie' } })
    const alice = await kit.login('alice')
    const bob = await kit.login('bob')
    const withAccess = (access: string) =>
      request(kit.server)
        .get('/session')
        .set('Cookie', `${alice.sessionCookie}; ${COOKIES.access}=${access}`)
    await withAccess(alice.access).expect(200)
    await withAccess(`${bob.access}x`).expect(200)
    const res = await withAccess(bob.access).expect(400)
    expect(res.body).toMatchObject({ code: 'credentials_ambiguous' })
  })
})

describe('a refresh that may be tried again', () => {
  it('says when', async () => {
    const kit = await openKit()
    const { cookie } = await kit.login()
    const refresh = () => request(kit.server).post('/auth/refresh').set('Cookie', cookie)
    const foreign = await refresh().set('Origin', 'https://evil.example').expect(403)
    expect(foreign.headers['retry-after']).toBe('1')
    expect(foreign.body).toMatchObject({ outcome: 'retryable' })
    const none = await request(kit.server).post('/auth/refresh').expect(401)
    expect(none.headers['retry-after']).toBeUndefined()
    expect(none.body).toMatchObject({ outcome: 'terminal' })
  })
})
