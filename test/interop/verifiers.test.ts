import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { Algorithm } from '../../middleware/index.ts'
import { generateSigningKey } from '../../middleware/index.ts'
import type { TestKit } from '../support/kit.ts'
import { closeKits, HOUR, ISSUER, openKit } from '../support/kit.ts'
import { findProgram } from '../support/program.ts'

const AUDIENCE = 'https://orders.internal'
const AUDIENCES = [ISSUER, AUDIENCE]
const SERVICE = fileURLToPath(new URL('foreign-service.mjs', import.meta.url))
const SCRIPT = fileURLToPath(new URL('verify.py', import.meta.url))
const START_MS = 120_000

/** Foreign code looks at the real clock. */
const CLOCK = {
  get now() {
    return Date.now()
  },
}

/** What a foreign verifier is asked, and what it says: the claims, or null when it refuses. */
interface Question {
  readonly token: string
  readonly audience: string
}
type Verdict = Readonly<Record<string, unknown>> | null
type Verifier = (issuer: Issuer, questions: readonly Question[]) => Promise<Verdict[]>

interface Issuer {
  readonly alg: Algorithm
  /** Where the public keys are. */
  readonly jwks: string
}

/** Asks one of the routes of the foreign service. */
function byService(route: string): Verifier {
  return async (issuer, questions) => {
    const asked = JSON.stringify({ ...issuer, issuer: ISSUER, audiences: AUDIENCES })
    const child = spawn(process.execPath, [SERVICE, asked], {
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: START_MS,
    })
    const ended = once(child, 'exit')
    try {
      const line = once(child.stdout, 'data').then(String)
      const said = await Promise.race([line, ended.then(() => 'it ended')])
      const [port] = /^\d+$/m.exec(said) ?? []
      if (port === undefined) throw new Error('the foreign service did not start')
      const verdicts: Verdict[] = []
      for (const { token, audience } of questions) {
        const res = await request(`http://127.0.0.1:${port}`)
          .get(`/${route}/${AUDIENCES.indexOf(audience)}`)
          .set('Authorization', `Bearer ${token}`)
        if (res.status !== 200 && res.status !== 401) throw new Error(res.text)
        verdicts.push(res.status === 200 ? (res.body as Verdict) : null)
      }
      return verdicts
    } finally {
      child.kill('SIGKILL')
      await ended
    }
  }
}

const byPython: Verifier = async ({ alg, jwks }, questions) => {
  const child = spawn(findPython(), [SCRIPT], {
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: START_MS,
  })
  child.stdin.end(JSON.stringify({ jwks, issuer: ISSUER, algorithm: alg, tokens: questions }))
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  await once(child, 'close')
  const verdicts = JSON.parse(text) as (Record<string, unknown> | string)[]
  return verdicts.map((verdict) => (typeof verdict === 'string' ? null : verdict))
}

/** A Python that has PyJWT: another one may stand before Debian's in PATH. */
function findPython(): string {
  return findProgram(['python3'], 'python3-jwt python3-cryptography', {
    folders: () => ['/usr/bin'],
    isRight: (path) => {
      const args = ['-c', 'import jwt, cryptography']
      return spawnSync(path, args, { stdio: 'ignore', timeout: START_MS }).status === 0
    },
  })
}

/** The same token with other claims, and its signature. */
function withClaims(token: string, claims: Record<string, unknown>): string {
  const [header = '', payload = '', signature = ''] = token.split('.')
  const members = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object
  const changed = Buffer.from(JSON.stringify({ ...members, ...claims })).toString('base64url')
  return `${header}.${changed}.${signature}`
}

function jwksOf(kit: TestKit): string {
  return `http://127.0.0.1:${kit.port}/auth/.well-known/jwks.json`
}

const BEARER = byService('express-oauth2-jwt-bearer')
const EXPRESS_JWT = byService('express-jwt')
const CASES: [string, Algorithm, Verifier][] = [
  ['express-oauth2-jwt-bearer', 'ES256', BEARER],
  ['express-oauth2-jwt-bearer', 'RS256', BEARER],
  ['express-oauth2-jwt-bearer', 'EdDSA', BEARER],
  ['express-jwt with jwks-rsa', 'ES256', EXPRESS_JWT],
  ['express-jwt with jwks-rsa', 'RS256', EXPRESS_JWT],
  ['PyJWT', 'ES256', byPython],
  ['PyJWT', 'RS256', byPython],
  ['PyJWT', 'EdDSA', byPython],
]

/** Three keys an algorithm: RSA keys take long to draw. */
const drawn = new Map<Algorithm, ReturnType<typeof generateSigningKey>[]>()
function keysFor(alg: Algorithm) {
  const keys = drawn.get(alg) ?? [1, 2, 3].map(() => generateSigningKey(alg))
  drawn.set(alg, keys)
  return keys as [(typeof keys)[0] & {}, (typeof keys)[0] & {}, (typeof keys)[0] & {}]
}

describe.each(CASES)('%s with keys by URL, %s', (_name, alg, verify) => {
  const verdicts = new Map<string, Verdict>()

  beforeAll(async () => {
    const [current, previous, unknown] = keysFor(alg)
    const kit = await openKit({
      options: { signingKeys: [current, previous] },
      clock: CLOCK,
      routes: (app, latchkey) =>
        app.use(
          '/orders',
          latchkey.requireJwt(),
          latchkey.forwardIdentity({ audience: AUDIENCE }),
          (req, res) => void res.send(req.headers.authorization?.replace('Bearer ', '')),
        ),
    })
    const loginBy = async (key: typeof current, clock = CLOCK) =>
      (await (await openKit({ options: { signingKeys: [key] }, clock })).login()).access
    const { access, bearer } = await kit.login()
    const { text: forwarded } = await request(kit.server)
      .get('/orders')
      .set('Authorization', bearer)
    const questions: Readonly<Record<string, Question>> = {
      good: { token: access, audience: ISSUER },
      previous: { token: await loginBy(previous), audience: ISSUER },
      forwarded: { token: forwarded, audience: AUDIENCE },
      misdirected: { token: forwarded, audience: ISSUER },
      changed: { token: withClaims(access, { sub: 'root' }), audience: ISSUER },
      elsewhere: { token: access, audience: AUDIENCE },
      over: { token: await loginBy(current, { now: Date.now() - HOUR }), audience: ISSUER },
      unknown: { token: await loginBy(unknown), audience: ISSUER },
    }
    const said = await verify({ alg, jwks: jwksOf(kit) }, Object.values(questions))
    for (const [index, name] of Object.keys(questions).entries()) {
      verdicts.set(name, said[index] ?? null)
    }
    expect(said).toHaveLength(8)
  }, 2 * START_MS)
  afterAll(closeKits)

  it('verifies an access token, of the key that signs and of the one before', () => {
    const expected = { iss: ISSUER, sub: 'alice', aud: ISSUER, sid: expect.any(String) }
    expect(verdicts.get('good')).toMatchObject(expected)
    expect(verdicts.get('previous')).toMatchObject(expected)
  })

  it('verifies what a gateway forwards, for its audience only', () => {
    expect(verdicts.get('forwarded')).toMatchObject({ sub: 'alice', aud: AUDIENCE })
    expect(verdicts.get('misdirected')).toBeNull()
  })

  it('refuses what was changed', () => {
    expect(verdicts.get('changed')).toBeNull()
  })

  it('refuses a token for somebody else, one that is over, and one of an unknown key', () => {
    expect(verdicts.get('elsewhere')).toBeNull()
    expect(verdicts.get('over')).toBeNull()
    expect(verdicts.get('unknown')).toBeNull()
  })
})

describe('express-oauth2-jwt-bearer when it is strict', () => {
  afterAll(closeKits)

  it(
    'wants client_id (RFC 9068 §2.2), which the tokens of a login do not have',
    async () => {
      const kit = await openKit({ clock: CLOCK })
      const issuer = { alg: 'ES256', jwks: jwksOf(kit) } as const
      const question = { token: (await kit.login()).access, audience: ISSUER }
      expect(await byService('strict')(issuer, [question])).toEqual([null])
      expect(await BEARER(issuer, [question])).toMatchObject([{ sub: 'alice' }])
    },
    2 * START_MS,
  )
})
