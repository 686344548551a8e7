/* oxlint-disable jest/expect-expect -- expectRefused asserts */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Agent, request } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import type { Login, TestKit } from '../support/kit.ts'
import { closeKits, COOKIES, openKit } from '../support/kit.ts'

/** Requests of one run, all under way at the same time. */
const BATCH = 50
/** Of each of the three: more than 10,000 requests altogether. */
const RUNS = 68
const STALL_MS = 50
const STALL_TRIES = 5

interface Sent {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

describe('requests of all kinds, made by chance', () => {
  const agent = new Agent({ keepAlive: true, maxSockets: BATCH, scheduling: 'fifo' })
  let kit: TestKit
  let login: Login

  beforeAll(async () => {
    const cors = { origins: ['https://spa.example'] }
    const options = { rateLimits: false, cors, allowedOrigins: cors.origins } as const
    kit = await openKit({ options })
    login = await kit.login()
  })
  afterAll(async () => {
    agent.destroy()
    await closeKits()
  })

  async function send({
    method,
    path,
    headers,
    body,
  }: Sent): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const size = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) }
      const options = { host: '127.0.0.1', port: kit.port, method, path, agent }
      const req = request({ ...options, headers: { ...headers, ...size } }, (res) => {
        let text = ''
        res.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        res.on('error', reject).on('end', () => resolve({ status: res.statusCode ?? 0, text }))
      })
      req.on('error', reject).end(body)
    })
  }

  /**
   * The longest that this process kept the event loop busy meanwhile, in milliseconds: what stood still for
   * others' sake took no time of the processor.
   */
  async function stallOf(work: () => Promise<unknown>): Promise<number> {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    const before = process.cpuUsage()
    delay.enable()
    await work()
    delay.disable()
    const { user, system } = process.cpuUsage(before)
    return Math.min(delay.max / 1e6, (user + system) / 1e3)
  }

  /** Nothing that was sent is let in or makes the server fail; the loop never stands still for it. */
  async function expectRefused(batch: readonly Sent[]): Promise<void> {
    const stall = async (sent: readonly Sent[]) => stallOf(async () => refuse(sent))
    if ((await stall(batch)) <= STALL_MS) return
    // Together they are much work, and a busy machine stalls anything once: what stalls by itself does so
    // alone, and at every try.
    for (const one of batch) {
      let best = Infinity
      for (let tries = 0; tries < STALL_TRIES && best > STALL_MS; tries++) {
        best = Math.min(best, await stall([one]))
      }
      expect([one, best <= STALL_MS]).toEqual([one, true])
    }
  }

  async function refuse(batch: readonly Sent[]): Promise<void> {
    const answers = await Promise.all(batch.map(send))
    for (const { status, text } of answers) {
      expect(status).toBeGreaterThanOrEqual(400)
      expect(status).toBeLessThan(500)
      expect(text).not.toMatch(/"passed":true|lk[sr]_/)
    }
  }

  /** A good token, bent: cut, grown, or one character replaced by another. */
  function bentOf(good: string): fc.Arbitrary<string> {
    const at = fc.nat({ max: good.length - 1 })
    const wire = fc.stringMatching(/^[\x20-\x7e\x80-\xff]{1,8}$/)
    return fc
      .oneof(
        at.map((end) => good.slice(0, end)),
        fc
          .tuple(at, wire)
          .map(([index, text]) => good.slice(0, index) + text + good.slice(index + 1)),
        fc.tuple(at, at).map(([from, to]) => good.slice(from) + good.slice(0, to)),
        wire,
        wire.map((text) => text.repeat(200)),
      )
      .filter((text) => !text.includes(good))
  }

  const guards = ['/session', '/jwt', '/hybrid', '/sensitive', '/auth/session', '/auth/sessions']
  const guard = fc.constantFrom(...guards)

  async function check(sent: fc.Arbitrary<Sent>): Promise<void> {
    const batch = fc.array(sent, { minLength: BATCH, maxLength: BATCH })
    await fc.assert(fc.asyncProperty(batch, expectRefused), { numRuns: RUNS, endOnFailure: true })
    expect({}).not.toHaveProperty('admin')
  }

  it('never pass by cookies, never fail, never stall', async () => {
    const name = fc.constantFrom(COOKIES.session, COOKIES.access, COOKIES.refresh, '$Version', '')
    const value = fc.oneof(bentOf(login.session), bentOf(login.access), bentOf(login.refresh))
    const joint = fc.constantFrom('; ', ';', ',', ' ;\t', '&')
    const cookie = fc
      .tuple(fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 6 }), joint)
      .map(([pairs, by]) => pairs.map((pair) => pair.join('=')).join(by))
    await check(
      fc
        .record({ cookie, path: fc.oneof(guard, fc.constant('/auth/refresh')) })
        .map(({ cookie: sent, path }) => ({
          method: path === '/auth/refresh' ? 'POST' : 'GET',
          path,
          headers: { Cookie: sent },
        })),
    )
  })

  it('never pass by an Authorization header, never fail, never stall', async () => {
    const scheme = fc.constantFrom(
      'Bearer ',
      'Session ',
      'bearer  ',
      'Basic ',
      '',
      'Bearer,',
      'Bearer\t',
    )
    const token = fc.oneof(bentOf(login.access), bentOf(login.session), bentOf(login.refresh))
    await check(
      // A good cookie beside it does not help.
      fc.tuple(scheme, token, guard).map(([kind, text, path]) => ({
        method: 'GET',
        path,
        headers: { Authorization: kind + text, Cookie: login.cookie },
      })),
    )
  })

  it('never pass by a body, never fail, never stall', async () => {
    const member = fc.constantFrom(
      'username',
      'password',
      'refresh_token',
      '__proto__',
      'constructor',
    )
    const json = fc
      .dictionary(member, fc.oneof(fc.jsonValue(), bentOf(login.refresh)))
      .map((body) => JSON.stringify(body))
    const text = fc.oneof(
      json,
      fc.json(),
      fc.string({ unit: 'binary', minLength: 1 }),
      bentOf('{"username":"alice","password":"x"}'),
    )
    const type = fc.constantFrom(
      'application/json',
      'application/json; charset=utf-8',
      'text/plain',
      'x',
    )
    const path = fc.constantFrom(
      '/auth/login',
      '/auth/refresh',
      '/auth/step-up',
      '/auth/logout-all',
      '/session',
    )
    await check(
      fc.tuple(text, type, path).map(([body, contentType, to]) => ({
        method: 'POST',
        path: to,
        headers: { 'Content-Type': contentType },
        body,
      })),
    )
    // What was there before is as it was.
    expect(await kit.generationOf(login.sid)).toBe(0)
  })

  it.each<[string, (size: number) => Pick<Sent, 'headers' | 'body'>]>([
    ['semicolons', (size) => ({ headers: { Cookie: ';'.repeat(size) } })],
    ['equals signs', (size) => ({ headers: { Cookie: '='.repeat(size) } })],
    ['blanks', (size) => ({ headers: { Cookie: `${COOKIES.session}${' '.repeat(size)}=x` } })],
    ['names', (size) => ({ headers: { Cookie: `${COOKIES.session};`.repeat(size / 24) } })],
    ['cookies', (size) => ({ headers: { Cookie: `${COOKIES.session}=x;`.repeat(size / 26) } })],
    ['dots', (size) => ({ headers: { Authorization: `Bearer ${'.'.repeat(size)}` } })],
    [
      'blanks of a scheme',
      (size) => ({ headers: { Authorization: `Bearer ${' '.repeat(size)}x` } }),
    ],
    ['letters', (size) => ({ headers: { Authorization: 'A'.repeat(size) } })],
    ['arrays', (size) => ({ headers: {}, body: '['.repeat(size) })],
    ['members', (size) => ({ headers: {}, body: `{${'"a":{'.repeat(size / 6)}` })],
    ['digits', (size) => ({ headers: {}, body: `{"username":${'9'.repeat(size)}}` })],
    [
      'escapes',
      (size) => ({ headers: {}, body: `{"username":"${String.raw`\u0000`.repeat(size / 7)}"}` }),
    ],
    [
      'compatibility forms',
      (size) => ({ headers: {}, body: `{"username":"${'\ufdfa'.repeat(size / 3.1)}"}` }),
    ],
  ])('do not stall by as many %s as a request may have', async (_, make) => {
    const { headers, body } = make(15_000)
    const one = { path: body === undefined ? '/hybrid' : '/auth/login', method: 'POST' }
    const type = body === undefined ? {} : { 'Content-Type': 'application/json' }
    await expectRefused(
      Array.from({ length: 4 }, () => ({
        ...one,
        headers: { ...headers, ...type },
        body: body ?? '',
      })),
    )
  })
})

afterAll(closeKits)

describe('a kit with csrf.requireOrigin', () => {
  it('A26 refuses requests by cookie that say nothing of their origin', async () => {
    const strict = await openKit({ options: { csrf: { requireOrigin: true } } })
    const own = { Origin: 'https://app.example' }
    const { refreshCookie } = await strict.login('alice', { headers: own })
    const ask = async (headers: Record<string, string>) =>
      fetch(`http://127.0.0.1:${strict.port}/auth/refresh`, {
        method: 'POST',
        headers: { Cookie: refreshCookie, ...headers },
      })
    // Node's fetch says `Sec-Fetch-Mode`, and nothing of an origin.
    expect((await ask({})).status).toBe(403)
    expect((await ask(own)).status).toBe(200)
  })
})
