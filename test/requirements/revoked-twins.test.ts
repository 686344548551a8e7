import { afterEach, expect, it } from '@jest/globals'
import request from 'supertest'
import { closeKits, COOKIES, openKit } from '../support/kit.ts'
import { ecdsaTwin, partsOf, withSignature } from '../support/forge.ts'

afterEach(closeKits)

it('a revoked access token does not pass in another spelling, nor as its twin (r, n − s)', async () => {
  const kit = await openKit({ options: { accessToken: 'cookie' } })
  const login = await kit.login()
  const twin = withSignature(
    login.access,
    ecdsaTwin(Buffer.from(partsOf(login.access)[2], 'base64url')),
  )
  const statuses = async (token: string) =>
    Promise.all(
      ['/jwt', '/hybrid', '/sensitive'].flatMap((path) => [
        request(kit.server).get(path).set('Authorization', `Bearer ${token}`),
        request(kit.server).get(path).set('Cookie', `${COOKIES.access}=${token}`),
      ]),
    ).then((answers) => new Set(answers.map(({ status }) => status)))

  // Both are good while the session lives, and both are then remembered as verified.
  expect(twin).not.toBe(login.access)
  expect(await statuses(login.access)).toEqual(new Set([200]))
  expect(await statuses(twin)).toEqual(new Set([200]))

  await kit.latchkey.sessions.revoke(login.sid)
  expect(await statuses(login.access)).toEqual(new Set([401]))
  expect(await statuses(twin)).toEqual(new Set([401]))
  expect(await statuses(`${login.access}==`)).toEqual(new Set([401]))
})

it('a denied access token does not pass as its twin (r, n − s) where the store is asked', async () => {
  const kit = await openKit()
  const login = await kit.login()
  const [, payload, signature] = partsOf(login.access)
  const twin = withSignature(login.access, ecdsaTwin(Buffer.from(signature, 'base64url')))
  const { jti, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as {
    jti: string
    exp: number
  }
  await kit.spy.raw.deny({ sid: login.sid, jti, expiresAt: exp * 1000 })
  for (const token of [login.access, twin]) {
    await request(kit.server).get('/sensitive').set('Authorization', `Bearer ${token}`).expect(401)
  }
})
