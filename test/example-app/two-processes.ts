import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import type { ExampleProcess } from '../support/example-process.ts'
import { startExample } from '../support/example-process.ts'
import { until } from '../support/redis-commands.ts'

/** A server for this test alone, and how the example is told of it. */
export interface StartedServer {
  readonly env: Record<string, string>
  /** Freezes it: connections stay open, and nothing is answered. */
  pause(): void
  resume(): void
  cleanUp(): Promise<void>
}

const JSON_BODY = { 'content-type': 'application/json' }

/** Two processes of the example behind which there is one server, and so one set of sessions. */
export function describeTwoProcesses(name: string, start: () => Promise<StartedServer>): void {
  describe(`two processes of the example on one ${name}`, () => {
    let server: StartedServer
    let a: ExampleProcess
    let b: ExampleProcess

    beforeAll(async () => {
      server = await start()
      const { env } = server
      // At once: both find that there are no keys yet, and must end up with the same.
      ;[a, b] = await Promise.all([startExample(env), startExample(env)])
    })

    afterAll(async () => {
      await Promise.all([a.stop(), b.stop()])
      await server.cleanUp()
    })

    /** Asks again while the store is late, as it may be on a busy machine. */
    async function answer(url: string, init: RequestInit): Promise<Response> {
      return until('the store answers', async () => {
        const res = await fetch(url, init)
        if (res.status !== 503) return res
        await res.arrayBuffer()
        return undefined
      })
    }

    async function login(): Promise<{ cookie: string; bearer: { authorization: string } }> {
      const res = await answer(`${a.url}/auth/login`, {
        method: 'POST',
        headers: JSON_BODY,
        body: JSON.stringify({ username: 'alice', password: 'wonderland-7' }),
      })
      expect(res.status).toBe(200)
      const { access_token: token } = (await res.json()) as { access_token: string }
      return {
        cookie: res.headers
          .getSetCookie()
          .map((line) => line.split(';')[0])
          .join('; '),
        bearer: { authorization: `Bearer ${token}` },
      }
    }

    async function statusOn(
      { url }: ExampleProcess,
      path: string,
      headers: Record<string, string>,
      method = 'GET',
    ): Promise<number> {
      return (await answer(url + path, { method, headers })).status
    }

    it('take each other\u2019s tokens and sessions', async () => {
      const { cookie, bearer } = await login()
      expect(await statusOn(b, '/api/session', { cookie })).toBe(200)
      expect(await statusOn(b, '/api/jwt', bearer)).toBe(200)
      expect(await statusOn(b, '/auth/refresh', { cookie }, 'POST')).toBe(200)
    })

    it('refuse on one what was ended on the other, by signature and feed alone', async () => {
      const { cookie, bearer } = await login()
      expect(await statusOn(b, '/api/session', { cookie })).toBe(200)
      expect(await statusOn(b, '/api/jwt', bearer)).toBe(200)
      expect(await statusOn(a, '/auth/logout', { cookie }, 'POST')).toBe(204)
      const refused = async () => (await statusOn(b, '/api/jwt', bearer)) === 401
      await until('the other has heard', refused)
      expect(await statusOn(b, '/api/session', { cookie })).toBe(401)
    })

    it(`answer 503 while ${name} is away, and are back when it is`, async () => {
      const { cookie } = await login()
      server.pause()
      const res = await fetch(`${b.url}/auth/refresh`, { method: 'POST', headers: { cookie } })
      expect([res.status, res.headers.get('retry-after')]).toEqual([503, '1'])
      expect(res.headers.getSetCookie()).toEqual([])
      server.resume()
      expect(await statusOn(b, '/auth/refresh', { cookie }, 'POST')).toBe(200)
    })
  })
}
