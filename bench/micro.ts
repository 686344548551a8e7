// What the parts of a guard cost, each beside the least it could cost.
import { createHmac, createSecretKey, hash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { compactVerify, SignJWT } from 'jose'
import { Bench } from 'tinybench'
import { createAccessTokenIssuer } from '../lib/access-token-issuer.ts'
import { createAccessTokenVerifier } from '../lib/access-token-verifier.ts'
import { readCookie } from '../lib/cookies.ts'
import { decideAccess } from '../lib/guard-policy.ts'
import { createKeyRing } from '../lib/key-ring.ts'
import { openRecord } from '../lib/session.ts'
import { drawSeed, drawSessionId } from '../lib/session-id.ts'
import { createSessionTokenReader } from '../lib/session-token-reader.ts'
import { formatSessionToken, readSessionToken } from '../lib/session-token.ts'
import { generateSigningKey, parseSigningKeys } from '../lib/signing-keys.ts'
import { createLatchkey } from '../middleware/index.ts'
import { memoryStore } from '../stores/memory.ts'
import { formatTable } from './support/report.ts'
import { newSession } from './support/sessions.ts'
import { drawKeyPair } from '../test/support/key-pair.ts'

/** One line: what latchkey does, and its floor. */
export interface MicroRow {
  readonly name: string
  /** Microseconds, median. */
  readonly micros: number
  readonly floor: string
  readonly floorMicros: number
}

type Call = () => unknown

interface Subject {
  readonly name: string
  readonly call: Call
  readonly floor: string
  readonly floorCall: Call
  /** How many calls are one sample: the clock is too coarse for one. */
  readonly batch: number
}

const MINUTE = 60_000
const policy = {
  issuer: 'https://app.example',
  audience: ['https://app.example'],
  clockSkewMs: 30_000,
  maxLifetimeMs: 15 * MINUTE,
}

/** `requireJwt()` in a loop, and the least that a guard could do instead. */
async function guardSubject(): Promise<Subject> {
  const kit = createLatchkey({
    issuer: policy.issuer,
    secrets: [randomBytes(32)],
    signingKeys: [generateSigningKey()],
    store: memoryStore(),
  })
  await kit.ready()
  const { accessToken } = await kit.sessions.open({ id: 'alice' })
  const header = Buffer.from(`Bearer ${accessToken}`)
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- all that a guard looks at
  const res = { headersSent: false, setHeader() {} } as never
  let passed = 0
  const next = () => void passed++
  const request = () => {
    const authorization = header.toString('latin1')
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as above
    return { headers: { authorization }, rawHeaders: ['Authorization', authorization] } as never
  }
  const guard = kit.requireJwt()
  const known = new Map([[String(header), { sub: 'alice' }]])
  const byHand = (req: IncomingMessage, answer: ServerResponse) => {
    const auth = known.get(req.headers.authorization ?? '')
    if (auth === undefined) return
    answer.setHeader('Cache-Control', 'no-store')
    Object.assign(req, { auth })
    next()
  }
  return {
    name: '`requireJwt()`, token seen before',
    call: () => guard(request(), res, next),
    floor: 'a Map of tokens by hand',
    floorCall: () => byHand(request(), res),
    batch: 200,
  }
}

async function subjects(): Promise<Subject[]> {
  const keys = parseSigningKeys([generateSigningKey()])
  const issuer = createAccessTokenIssuer({
    ...policy,
    keys,
    ttlMs: 15 * MINUTE,
    clock: Date.now,
    onWarning() {},
  })
  const { session: login, lifetimes } = newSession('alice')
  const session = openRecord(login, lifetimes, Date.now())
  const { token } = await issuer.issue(session)
  const remembering = createAccessTokenVerifier({ ...policy, keys, clock: Date.now })
  const cold = createAccessTokenVerifier({ ...policy, keys, clock: Date.now, cacheBytes: 0 })
  await remembering.verify(token)
  const known = keys.find(JSON.parse(atob(token.split('.')[0] ?? '')).kid)
  if (known === undefined) throw new Error('the key is missing')
  const { key, alg } = known
  const { privateKey } = drawKeyPair('ec', { namedCurve: 'P-256' })

  const ring = createKeyRing([randomBytes(32)])
  const sid = drawSessionId(session.user)
  const opaque = formatSessionToken(ring, { sid, seed: drawSeed() })
  const read = createSessionTokenReader(ring)
  // Every request brings a text of its own, whose hash no Map knows yet.
  const fresh = (bytes: Buffer) => bytes.toString('latin1')
  const [tokenBytes, opaqueBytes] = [Buffer.from(token), Buffer.from(opaque)]
  const plain = new Map([[token, 1]])
  const secret = createSecretKey(randomBytes(32))
  const cookies = `theme=dark; __Host-latchkey-session=${opaque}; _ga=GA1.1.1234567890.1700000000`
  const needs = { roles: ['admin'], scope: ['read'], levels: null, maxAuthAgeMs: null }
  const subject = { roles: ['user', 'admin'], scope: ['read', 'write'], level: null, authTime: 0 }
  return [
    {
      name: 'session token, first time: parse and MAC',
      call: () => readSessionToken(ring, opaque),
      floor: 'node:crypto HMAC-SHA-256',
      floorCall: () => createHmac('sha256', secret).update(opaque).digest(),
      batch: 100,
    },
    {
      name: 'session token, seen before',
      call: () => read(fresh(opaqueBytes)),
      floor: 'node:crypto SHA-256',
      floorCall: () => hash('sha256', fresh(opaqueBytes), 'base64url'),
      batch: 200,
    },
    {
      name: 'access token, first time, ES256',
      call: async () => cold.verify(token),
      floor: 'jose compactVerify',
      floorCall: async () => compactVerify(token, key, { algorithms: [alg] }),
      batch: 5,
    },
    {
      name: 'access token, seen before',
      call: () => remembering.remembered(fresh(tokenBytes)),
      floor: 'Map lookup',
      floorCall: () => plain.get(fresh(tokenBytes)),
      batch: 200,
    },
    {
      name: 'issue an access token, ES256',
      call: async () => issuer.issue(session),
      floor: 'jose SignJWT',
      floorCall: async () =>
        new SignJWT({ sub: 'alice', sid }).setProtectedHeader({ alg: 'ES256' }).sign(privateKey),
      batch: 5,
    },
    await guardSubject(),
    {
      name: 'policy: a role and a scope',
      call: () => decideAccess(subject, needs, Date.now()),
      floor: 'Date.now()',
      floorCall: () => Date.now(),
      batch: 500,
    },
    {
      name: 'reading our cookie among three',
      call: () => readCookie(cookies, '__Host-latchkey-session'),
      floor: 'indexOf',
      floorCall: () => cookies.indexOf('__Host-latchkey-session'),
      batch: 500,
    },
  ]
}

/** Measures all of them, each for so long. */
export async function measureMicro(ms: number): Promise<MicroRow[]> {
  const rows: MicroRow[] = []
  for (const { name, call, floor, floorCall, batch } of await subjects()) {
    const bench = new Bench({ time: ms, warmupTime: ms / 5 })
    for (const [title, one] of [
      ['own', call],
      ['floor', floorCall],
    ] as const) {
      // Whether a call gives a promise is known after the first.
      const isAsync = one() instanceof Promise
      bench.add(
        title,
        isAsync
          ? async () => {
              for (let n = 0; n < batch; n++) await one()
            }
          : () => {
              for (let n = 0; n < batch; n++) one()
            },
        { async: isAsync },
      )
    }
    await bench.run()
    const [micros = NaN, floorMicros = NaN] = bench.tasks.map(({ result }) =>
      'latency' in result ? (result.latency.p50 * 1000) / batch : NaN,
    )
    rows.push({ name, micros, floor, floorMicros })
  }
  return rows
}

/** The rows as a table. */
export function formatMicro(rows: readonly MicroRow[]): string {
  return formatTable([
    ['', 'µs', 'floor', 'µs', 'ratio'],
    ...rows.map(({ name, micros, floor, floorMicros }) => [
      name,
      micros.toFixed(2),
      floor,
      floorMicros.toFixed(2),
      (micros / floorMicros).toFixed(2),
    ]),
  ])
}
