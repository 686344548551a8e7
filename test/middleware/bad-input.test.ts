/* oxlint-disable jest/expect-expect -- expectRefused asserts */
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, it } from '@jest/globals'
import express from 'express'
import request from 'supertest'
import type { Login, TestKit } from '../support/kit.ts'
import { closeKits, openKit, PASSWORD, sendRaw } from '../support/kit.ts'

afterEach(closeKits)

/** The routes that read a body. */
const PATHS = ['/auth/login', '/auth/refresh', '/auth/logout', '/auth/step-up'] as const

const JSON_TYPE = 'Content-Type: application/json'
const SENT = JSON.stringify({ username: 'alice', password: PASSWORD })

interface Answer {
  readonly status: number
  readonly head: string
  readonly body: string
}

/** Sends a body with the credentials of a login to each route that reads one. */
async function sendAll(
  kit: TestKit,
  login: Login,
  headers: readonly string[],
  body: string,
): Promise<Answer[]> {
  return Promise.all(
    PATHS.map(async (path) =>
      sendRaw(kit.port, `POST ${path}`, [`Cookie: ${login.cookie}`, ...headers], body),
    ),
  )
}

/** A problem without a stack and without a cookie, and a session that is as it was. */
async function expectRefused(
  kit: TestKit,
  login: Login,
  answers: readonly Answer[],
  ...expected: readonly number[]
): Promise<void> {
  for (const { status, head, body } of answers) {
    expect(expected).toContain(status)
    expect(head).toMatch(/content-type: application\/problem\+json/i)
    expect(head).toMatch(/cache-control: no-store/i)
    expect(head).not.toMatch(/set-cookie/i)
    expect(body).not.toMatch(/node_modules|\.ts|\.js|\\n|Error:/)
    expect(JSON.parse(body)).toMatchObject({ type: 'about:blank', status })
  }
  expect(await kit.generationOf(login.sid)).toBe(0)
  await request(kit.server).get('/session').set('Cookie', login.cookie).expect(200)
  await request(kit.server).get('/jwt').set('Authorization', login.bearer).expect(200)
  expect((await kit.latchkey.sessions.list('alice')).items).toHaveLength(1)
}

function sized(body: string, headers: readonly string[] = [JSON_TYPE]): readonly string[] {
  return [...headers, `Content-Length: ${Buffer.byteLength(body, 'latin1')}`]
}

function chunked(body: string): string {
  const chunks = body.match(/[\s\S]{1,60000}/g) ?? []
  const framed = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`)
  return `${framed.join('')}0\r\n\r\n`
}

describe('a body that is no JSON object', () => {
  it.each([
    ['cut off', '{"username":"alice"'],
    ['not JSON', 'username=alice'],
    ['with a trailing comma', '{"username":"alice",}'],
    ['with single quotes', "{'username':'alice'}"],
    ['two objects', '{}{}'],
    ['an array', '[{"username":"alice"}]'],
    ['a text', '"alice"'],
    ['a number', '7'],
    ['true', 'true'],
    ['null', 'null'],
    ['blank', '   '],
    ['NUL', '\u0000'],
    ['a comment', '{}//'],
    ['NaN', '{"a":NaN}'],
    ['10,000 arrays deep, cut off', '['.repeat(10_000)],
    ['__proto__ at the top', '{"__proto__":{"admin":true},"username":"alice"}'],
    ['__proto__ inside', '{"username":{"a":[{"__proto__":{"admin":true}}]}}'],
    ['__proto__ as null', '{"__proto__":null}'],
    ['__proto__ escaped', '{"\\u005f_proto__":{"admin":true}}'],
  ])('is 400: %s', async (_, body) => {
    const kit = await openKit()
    const login = await kit.login()
    await expectRefused(kit, login, await sendAll(kit, login, sized(body), body), 400)
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })

  it('is refused when the bytes are no UTF-8 or begin with a byte order mark, or is read as text', async () => {
    const kit = await openKit()
    const login = await kit.login()
    for (const body of ['\u00ff\u00fe{}', '{"\u00c3\u0028":1']) {
      await expectRefused(kit, login, await sendAll(kit, login, sized(body), body), 400)
    }
  })

  it('may be 10,000 levels deep without harm', async () => {
    const kit = await openKit()
    const login = await kit.login()
    const body = `{"username":${'['.repeat(7000)}${']'.repeat(7000)},"password":"x"}`
    const [answer, refresh, logout] = await sendAll(kit, login, sized(body), body)
    expect([answer?.status, refresh?.status, logout?.status]).toEqual([401, 400, 400])
    await request(kit.server).get('/session').set('Cookie', login.cookie).expect(200)
  })
})

describe('a body of another type', () => {
  it.each([
    ['text/plain', 'text/plain'],
    ['a form', 'application/x-www-form-urlencoded'],
    ['multipart', 'multipart/form-data; boundary=x'],
    ['text/plain with JSON behind', 'text/plain;application/json'],
    ['text/plain, application/json', 'text/plain, application/json'],
    ['JSON behind a parameter', 'text/plain; a=application/json'],
    ['a +json type', 'application/problem+json'],
    ['text/json', 'text/json'],
    ['application/json5', 'application/json5'],
    ['application/*', 'application/*'],
    ['*/*', '*/*'],
    ['an unknown charset', 'application/json; charset=x'],
    ['latin1', 'application/json; charset=iso-8859-1'],
    ['nonsense', ';;;'],
    ['nothing', ''],
  ])('is 415: %s (OWASP ASVS 5.0 3.5.2)', async (_, type) => {
    const kit = await openKit()
    const login = await kit.login()
    const headers = sized(SENT, [`Content-Type: ${type}`])
    await expectRefused(kit, login, await sendAll(kit, login, headers, SENT), 415)
    expect((await sendAll(kit, login, headers, SENT))[0]?.head).not.toMatch(/200 OK/)
  })

  it('is 415 without a Content-Type, and when it is named twice the first counts', async () => {
    const kit = await openKit()
    const login = await kit.login()
    await expectRefused(kit, login, await sendAll(kit, login, sized(SENT, []), SENT), 415)
    const twice = sized(SENT, ['Content-Type: text/plain', JSON_TYPE])
    await expectRefused(kit, login, await sendAll(kit, login, twice, SENT), 400, 415)
  })

  it.each(['gzip', 'deflate', 'br', 'zstd', 'x', 'gzip, gzip'])(
    'is 415 when it is compressed: %s',
    async (encoding) => {
      const kit = await openKit()
      const login = await kit.login()
      const bomb = gzipSync(Buffer.alloc(1_000_000, ' ')).toString('latin1')
      const headers = sized(bomb, [JSON_TYPE, `Content-Encoding: ${encoding}`])
      await expectRefused(kit, login, await sendAll(kit, login, headers, bomb), 415)
    },
  )

  it('may name UTF-8, in any case', async () => {
    const kit = await openKit()
    for (const type of ['application/json;charset=UTF-8', 'APPLICATION/JSON ; charset="utf-8"']) {
      await request(kit.server).post('/auth/login').set('Content-Type', type).send(SENT).expect(200)
    }
    expect((await kit.latchkey.sessions.list('alice')).items).toHaveLength(2)
  })
})

describe('a body of 1 MB', () => {
  const big = JSON.stringify({ username: 'alice', password: PASSWORD, pad: 'x'.repeat(1_000_000) })

  it('is 413 by its length, before it is read', async () => {
    const kit = await openKit()
    const login = await kit.login()
    // Only the head is sent: whoever waits for the body would wait for ever.
    await expectRefused(kit, login, await sendAll(kit, login, sized(big), ''), 413)
    await expectRefused(kit, login, await sendAll(kit, login, sized(big), big), 413)
  })

  it('is 413 when it comes in chunks', async () => {
    const kit = await openKit()
    const login = await kit.login()
    const headers = [JSON_TYPE, 'Transfer-Encoding: chunked']
    await expectRefused(kit, login, await sendAll(kit, login, headers, chunked(big)), 413)
  })

  it('is 413 from 16 KiB on, and not a byte before', async () => {
    const kit = await openKit()
    const login = await kit.login()
    const fill = (bytes: number) => `{"x":"${'x'.repeat(bytes - 8)}"}`
    const most = fill(16 * 1024)
    const over = fill(16 * 1024 + 1)
    const answers = await sendAll(kit, login, sized(most), most)
    expect(answers.map(({ status }) => status)).toEqual([401, 400, 400, 401])
    await expectRefused(kit, login, await sendAll(kit, login, sized(over), over), 413)
  })
})

describe('framing', () => {
  it('a length and chunks together never reach a route', async () => {
    const kit = await openKit()
    const login = await kit.login()
    const answers = await sendAll(
      kit,
      login,
      [JSON_TYPE, 'Content-Length: 4', 'Transfer-Encoding: chunked'],
      chunked(SENT),
    )
    for (const { status, head } of answers) {
      expect(status).toBe(400)
      expect(head).not.toMatch(/set-cookie/i)
    }
    expect(await kit.generationOf(login.sid)).toBe(0)
  })

  it('an empty chunked body is an empty object', async () => {
    const kit = await openKit()
    const { status } = await sendRaw(
      kit.port,
      'POST /auth/login',
      [JSON_TYPE, 'Transfer-Encoding: chunked'],
      '0\r\n\r\n',
    )
    expect(status).toBe(401)
  })

  it('a client that goes away in the middle of a body does no harm', async () => {
    const kit = await openKit()
    const login = await kit.login()
    const gone = fetch(`http://127.0.0.1:${kit.port}/auth/logout`, {
      method: 'POST',
      headers: { Cookie: login.cookie, 'Content-Type': 'application/json' },
      body: new ReadableStream({
        start(controller) {
          controller.enqueue(Buffer.from('{"refresh_'))
          setTimeout(() => controller.error(new Error('gone')), 20)
        },
      }),
      duplex: 'half',
    } as RequestInit)
    await expect(gone).rejects.toThrow()
    await request(kit.server).get('/session').set('Cookie', login.cookie).expect(200)
  })
})

describe('methods', () => {
  it.each([
    ['GET with a body', 'GET', []],
    ['HEAD with a body', 'HEAD', []],
    ['an override header', 'GET', ['X-HTTP-Method-Override: POST']],
    ['another override header', 'GET', ['X-Method-Override: POST', 'X-HTTP-Method: POST']],
  ] as const)('are not overridden: %s is 405', async (_, method, headers) => {
    const kit = await openKit()
    const login = await kit.login()
    for (const path of [...PATHS, '/auth/logout-all']) {
      const answer = await sendRaw(
        kit.port,
        `${method} ${path}?_method=POST`,
        [...sized(SENT), ...headers, `Cookie: ${login.cookie}`, `Authorization: ${login.bearer}`],
        SENT,
      )
      expect(answer.status).toBe(405)
      expect(answer.head).not.toMatch(/set-cookie/i)
    }
    expect(await kit.generationOf(login.sid)).toBe(0)
    await request(kit.server).get('/session').set('Cookie', login.cookie).expect(200)
  })

  it('a GET with a body is still a GET', async () => {
    const kit = await openKit()
    const login = await kit.login()
    const { status } = await sendRaw(
      kit.port,
      'GET /auth/session',
      [
        ...sized('{"__proto__":1}'),
        `Authorization: ${login.bearer}`,
        'X-HTTP-Method-Override: DELETE',
      ],
      '{"__proto__":1}',
    )
    expect(status).toBe(200)
  })
})

describe('an app that parses bodies itself', () => {
  it.each([
    ['express.json()', () => express.json()],
    ['express.json() for every type', () => express.json({ type: () => true, strict: false })],
    ['express.json() with inflation', () => express.json({ inflate: true, limit: '5mb' })],
  ])('%s: what it parsed is taken, and judged the same', async (_, parser) => {
    const kit = await openKit({ before: (app) => app.use(parser()) })
    const login = await kit.login()
    for (const body of ['[]', '{"__proto__":{"admin":true}}', '{"a":{"__proto__":1}}']) {
      await expectRefused(kit, login, await sendAll(kit, login, sized(body), body), 400)
    }
    const over = `{"x":"${'x'.repeat(20_000)}"}`
    await expectRefused(kit, login, await sendAll(kit, login, sized(over), over), 413)
    const plain = sized(SENT, ['Content-Type: text/plain'])
    await expectRefused(kit, login, await sendAll(kit, login, plain, SENT), 415)
    await request(kit.server)
      .post('/auth/refresh')
      .send({ refresh_token: login.refresh })
      .expect(200)
  })

  it('express.urlencoded() and express.text() make no credentials', async () => {
    const kit = await openKit({
      before: (app) => app.use(express.urlencoded(), express.text({ type: () => true })),
    })
    const login = await kit.login().catch(() => null)
    // express.text() in front has made a text of the JSON.
    expect(login).toBeNull()
    const res = await request(kit.server)
      .post('/auth/login')
      .type('form')
      .send(`username=alice&password=${PASSWORD}`)
    expect(res.status).toBe(415)
  })

  it.each(['/auth/login', '/auth/refresh', '/auth/logout'])(
    'express.raw() leaves bytes, which are no JSON object: %s',
    async (path) => {
      const kit = await openKit({
        before: (app) => app.use(express.raw({ type: () => true })),
        options: { authenticate: () => ({ id: 'alice' }) },
      })
      const res = await request(kit.server).post(path).send({ username: 'alice' })
      expect([res.status, res.body.detail]).toEqual([400, 'the body must be a JSON object'])
    },
  )

  it('one that read the stream and left nothing: 400, not a hanging request', async () => {
    const kit = await openKit({
      before: (app) =>
        app.use((req, _res, next) => {
          req.resume().once('end', () => setImmediate(next))
        }),
    })
    const res = await request(kit.server).post('/auth/login').send({ username: 'alice' })
    expect(res.status).toBe(400)
  })
})
