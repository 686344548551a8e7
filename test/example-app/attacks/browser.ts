import { expect, it } from '@jest/globals'
import { ALIVE, PASSWORDS } from './target.ts'
import type { Fields, Target } from './target.ts'

const LOGIN = { username: 'alice', password: PASSWORDS.alice }

/** What a page of another origin makes a browser send. */
const STRANGERS: readonly Fields[] = [
  [['Origin', 'https://evil.example']],
  [['Origin', 'null']],
  [['Sec-Fetch-Site', 'cross-site']],
  [['Sec-Fetch-Site', 'same-site']],
  [
    ['Origin', 'http://sibling.localhost:3000'],
    ['Sec-Fetch-Site', 'same-site'],
  ],
  [
    ['Origin', 'https://evil.example'],
    ['Sec-Fetch-Site', 'cross-site'],
    ['Sec-Fetch-Mode', 'no-cors'],
  ],
]

/** What other pages make a browser do. */
export function describeBrowser(target: Target): void {
  it('A24 logs nobody in for a page of another origin', async () => {
    for (const headers of STRANGERS) {
      const answer = await target.send('POST', '/auth/login', { headers, body: LOGIN })
      expect(answer.code).toBe('403 cross_origin')
      expect(answer.headers['set-cookie']).toBeUndefined()
    }
  })

  it('A25 neither refreshes nor logs out for one, from another site or a sibling', async () => {
    const login = await target.login('alice')
    for (const stranger of STRANGERS) {
      for (const path of ['/auth/refresh', '/auth/logout', '/auth/logout-all', '/api/transfer']) {
        const answer = await target.send('POST', path, { headers: [login.cookie, ...stranger] })
        // A guard that takes no cookie at all has nothing to say of origins.
        expect(answer.code).toMatch(/^(?:403 cross_origin|401 credentials_missing)$/)
        expect(answer.headers['set-cookie']).toBeUndefined()
      }
      const headers = [login.cookie, ...stranger]
      expect((await target.send('DELETE', `/auth/sessions/${login.sid}`, { headers })).status).toBe(
        403,
      )
    }
    expect(await target.statuses(login)).toEqual(ALIVE)
    const next = target.readTokens(await target.refresh(login.refresh))
    expect(target.generationOf(next.refresh)).toBe(1)
  })

  it('A26 lets requests pass that say nothing of their origin, as documented', async () => {
    const login = await target.login('alice')
    expect((await target.refresh(login.refresh)).status).toBe(200)
    // What is there counts: an empty header is no missing one.
    const empty = [login.cookie, ['Origin', '']] as const
    expect((await target.send('POST', '/auth/logout', { headers: empty })).status).toBe(403)
    expect((await target.send('POST', '/auth/logout', { headers: [login.cookie] })).status).toBe(
      204,
    )
  })

  it('A27 reads no body of another type', async () => {
    const { cookie, refresh } = await target.login('alice')
    const types = [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
    ]
    types.push(
      'text/plain; application/json',
      'text/plain, application/json',
      'application/csp-report',
    )
    types.push('application/json+x', 'application/vnd.api+json', 'text/json', 'application/jsonp')
    types.push('', 'application/json; charset=utf-7')
    for (const type of types) {
      const headers = [['Content-Type', type]] as const
      const login = await target.send('POST', '/auth/login', { headers, body: LOGIN })
      expect(login.code).toBe('415 unsupported_media_type')
      expect(login.headers['set-cookie']).toBeUndefined()
      const body = { refresh_token: refresh }
      const other = await target.send('POST', '/auth/refresh', { headers, body })
      expect(other.code).toBe('415 unsupported_media_type')
    }
    const zipped = [['Content-Encoding', 'gzip']] as const
    expect(
      (await target.send('POST', '/auth/login', { headers: zipped, body: LOGIN })).status,
    ).toBe(415)
    expect((await target.send('GET', '/api/session', { headers: [cookie] })).status).toBe(200)
  })

  it('A28 changes nothing by a safe method, whatever it claims to be', async () => {
    const login = await target.login('alice')
    const claims: Fields = [
      ['X-HTTP-Method-Override', 'POST'],
      ['X-HTTP-Method', 'POST'],
      ['X-Method-Override', 'POST'],
    ]
    for (const path of ['/auth/logout', '/auth/logout-all', '/auth/refresh', '/auth/login']) {
      for (const suffix of ['', '?_method=POST', '?_method=DELETE']) {
        for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'TRACE']) {
          const headers = [login.cookie, ...claims]
          expect((await target.send(method, path + suffix, { headers })).status).toBe(405)
        }
      }
      expect((await target.send('OPTIONS', path, { headers: [login.cookie] })).status).toBe(204)
    }
    const override = [login.cookie, ['X-HTTP-Method-Override', 'DELETE']] as const
    for (const path of [
      '/auth/sessions?_method=DELETE',
      `/auth/sessions/${login.sid}?_method=DELETE`,
    ]) {
      const { status } = await target.send('GET', path, { headers: override })
      expect([400, 405]).toContain(status)
    }
    expect(await target.statuses(login)).toEqual(ALIVE)
    const next = target.readTokens(await target.refresh(login.refresh))
    expect(target.generationOf(next.refresh)).toBe(1)
  })

  it('A29 lets no page of another origin read an answer', async () => {
    const { cookie, bearer } = await target.login('alice')
    const { port } = target
    const origins = ['null', 'https://evil.example', `http://localhost:${port}.evil.example`]
    origins.push(`http://evil-localhost:${port}`, `https://localhost:${port}`, 'http://localhost')
    origins.push(`http://localhost:${port}`, 'http://localhost:3000.evil.example', 'file://', '*')
    for (const origin of origins) {
      const headers = [['Origin', origin], cookie, bearer] as const
      const preflight = [
        ['Origin', origin],
        ['Access-Control-Request-Method', 'DELETE'],
        ['Access-Control-Request-Headers', 'authorization'],
      ] as const
      const answers = await Promise.all([
        target.send('GET', '/auth/session', { headers: headers.slice(0, 2) }),
        target.send('GET', '/api/session', { headers: headers.slice(0, 2) }),
        target.send('GET', '/api/jwt', { headers: [headers[0], bearer] }),
        target.send('OPTIONS', '/auth/sessions', { headers: preflight }),
        target.send('OPTIONS', '/auth/login', { headers: preflight }),
        target.send('OPTIONS', '/api/transfer', { headers: preflight }),
      ])
      for (const answer of answers) {
        const cors = Object.keys(answer.headers).filter((name) =>
          name.startsWith('access-control-'),
        )
        expect(cors).toEqual([])
      }
    }
  })

  it('A30 answers nothing that could be framed, embedded, sniffed or kept', async () => {
    const { cookie, bearer } = await target.login('alice')
    for (const path of ['/auth/session', '/auth/sessions', '/api/session', '/api/nothing', '/']) {
      for (const credential of [cookie, ['X-None', '1'] as const]) {
        const { headers, text } = await target.send('GET', path, { headers: [credential] })
        expect(headers).toMatchObject({
          'x-content-type-options': 'nosniff',
          'cross-origin-resource-policy': 'same-origin',
          'content-security-policy': expect.stringContaining("frame-ancestors 'none'"),
          'x-frame-options': expect.stringMatching(/^(?:DENY|SAMEORIGIN)$/i),
        })
        expect(headers['content-type']).toMatch(/^(?:application\/(?:problem\+)?json|text\/html)/)
        // No array, and nothing that runs as a script.
        expect(text).toMatch(/^(?:\{|<!doctype html>)/i)
        expect(text).not.toContain(bearer[1].slice(7))
        if (path !== '/api/nothing') expect(headers['cache-control']).toBe('no-store')
      }
    }
  })

  it('A44 redirects nobody to another site: only the theme redirects, to a page of its own', async () => {
    const pages = ['//evil.example', 'https://evil.example', '/\\evil.example', '\\\\evil.example']
    pages.push(
      '/%2fevil.example',
      '/\tevil',
      '/a\r\nLocation: //evil.example',
      'javascript:alert(1)',
    )
    for (const page of pages) {
      const body = new URLSearchParams({ theme: 'dark', page }).toString()
      const headers = [['Content-Type', 'application/x-www-form-urlencoded']] as const
      const answer = await target.send('POST', '/theme', { headers, body })
      expect([answer.status, answer.headers.location]).toEqual([303, '/'])
      const asked = encodeURIComponent(page)
      const query = `returnTo=${asked}&return_to=${asked}&next=${asked}&redirect=${asked}&url=${asked}`
      for (const [method, path] of [
        ['POST', `/auth/login?${query}`],
        ['POST', `/auth/logout?${query}`],
        ['GET', `/?${query}`],
        ['GET', `/auth/logout?${query}`],
      ] as const) {
        expect((await target.send(method, path)).headers.location).toBeUndefined()
      }
    }
    for (const path of [
      '//evil.example',
      '/assets',
      '/assets//evil.example/..',
      '/assets/%2e%2e//evil.example/',
      '//evil.example/%2e%2e',
    ]) {
      const { headers } = await target.send('GET', path)
      expect(new URL(headers.location ?? '/', target.url).origin).toBe(target.url)
      expect(headers.location ?? '/').toMatch(/^\/(?![/\\])/)
    }
  })
}
