import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, openKit, setCookies } from '../support/kit.ts'

afterEach(closeKits)

const EXPECTED = '"cache", "storage"'

async function openClearing(options: TestOptions = { clearSiteData: true }): Promise<TestKit> {
  return openKit({
    options,
    routes: (app, { signOut }) => {
      app.post('/bye', (req, res, next) => {
        signOut(req, res).then(() => res.sendStatus(204), next)
      })
    },
  })
}

const LOGOUTS = ['/auth/logout', '/auth/logout-all', '/bye']

describe('Clear-Site-Data', () => {
  it.each(LOGOUTS)('comes with POST %s, beside the cleared cookies', async (path) => {
    const kit = await openClearing()
    const { cookie } = await kit.login()
    const res = await request(kit.server).post(path).set('Cookie', cookie)
    expect(res.headers['clear-site-data']).toBe(EXPECTED)
    expect(setCookies(res)).toHaveLength(2)
  })

  it('is what the app lists', async () => {
    const kit = await openClearing({ clearSiteData: ['storage', 'executionContexts'] })
    const res = await request(kit.server).post('/auth/logout')
    expect(res.headers['clear-site-data']).toBe('"storage", "executionContexts"')
  })

  it('comes with nothing else', async () => {
    const kit = await openClearing()
    const login = await kit.login()
    const other = await kit.login()
    const answers = [
      login.res,
      await request(kit.server).post('/auth/refresh').set('Cookie', login.refreshCookie),
      await request(kit.server).get('/auth/session').set('Cookie', login.cookie),
      await request(kit.server).delete(`/auth/sessions/${other.sid}`).set('Cookie', login.cookie),
      await request(kit.server).get('/session').set('Cookie', 'x=y'),
    ]
    for (const res of answers) expect(res.headers).not.toHaveProperty('clear-site-data')
  })

  it('is not for a page of another origin to ask for', async () => {
    const kit = await openClearing()
    const stranger = { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' }
    const res = await request(kit.server).post('/auth/logout').set(stranger)
    expect(res.headers).not.toHaveProperty('clear-site-data')
    expect(setCookies(res)).toEqual([])
  })

  it('does not come when the store did not acknowledge the end', async () => {
    const kit = await openClearing()
    const { cookie } = await kit.login()
    kit.spy.faults.set('revoke', 'rejects')
    const res = await request(kit.server).post('/auth/logout').set('Cookie', cookie).expect(503)
    expect(res.headers).not.toHaveProperty('clear-site-data')
  })

  it.each(LOGOUTS)('is off by default: POST %s', async (path) => {
    const kit = await openClearing({})
    const { cookie } = await kit.login()
    const res = await request(kit.server).post(path).set('Cookie', cookie)
    expect(setCookies(res)).toHaveLength(2)
    expect(res.headers).not.toHaveProperty('clear-site-data')
  })
})
