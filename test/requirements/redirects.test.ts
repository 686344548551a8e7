import { afterEach, expect, it } from '@jest/globals'
import request from 'supertest'
import { closeKits, openKit, PASSWORD } from '../support/kit.ts'

afterEach(closeKits)

const ELSEWHERE = [
  'https://evil.example',
  '//evil.example',
  '/\\evil.example',
  'javascript:alert(1)',
]

it.each(ELSEWHERE)('no answer leads anywhere, whatever the request says: %s', async (target) => {
  const kit = await openKit()
  const { cookie, refreshCookie } = await kit.login()
  const agent = request(kit.server)
  const query = ['returnTo', 'redirect_uri', 'next', 'url']
    .map((name) => `${name}=${encodeURIComponent(target)}`)
    .join('&')
  const from = { Referer: 'https://app.example/', 'X-Original-URL': target }
  const credentials = { username: 'alice', password: PASSWORD, returnTo: target }
  const answers = [
    await agent.post(`/auth/login?${query}`).set(from).send(credentials),
    await agent
      .post(`/auth/login?${query}`)
      .set(from)
      .send({ ...credentials, password: 'wrong' }),
    await agent
      .post(`/auth/step-up?${query}`)
      .set({ ...from, Cookie: cookie })
      .send(credentials),
    await agent.post(`/auth/refresh?${query}`).set({ ...from, Cookie: refreshCookie }),
    await agent.get(`/auth/session?${query}`).set(from),
    await agent.get(`/session?${query}`).set(from),
    await agent.get(`/auth/nothing?${query}`).set(from),
    await agent.post(`/auth/logout?${query}`).set({ ...from, Cookie: cookie }),
  ]
  for (const { status, headers } of answers) {
    expect([status < 300 || status >= 400, headers['location'], headers['refresh']]).toEqual([
      true,
      undefined,
      undefined,
    ])
  }
})
