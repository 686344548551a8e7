// A part of memory.ts: the heap that something takes, in a process that has nothing else.
import { randomBytes } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createAccessTokenIssuer } from '../lib/access-token-issuer.ts'
import { createAccessTokenVerifier } from '../lib/access-token-verifier.ts'
import { HeardSet, REVOKED } from '../lib/heard-set.ts'
import { createKeyRing } from '../lib/key-ring.ts'
import { NearCache } from '../lib/near-cache.ts'
import { drawSeed } from '../lib/session-id.ts'
import { openRecord } from '../lib/session.ts'
import { createSessionTokenReader } from '../lib/session-token-reader.ts'
import { formatSessionToken } from '../lib/session-token.ts'
import { generateSigningKey, parseSigningKeys } from '../lib/signing-keys.ts'
import { memoryStore } from '../stores/memory.ts'
import { serveParent } from './support/children.ts'
import { IDLE_TIMEOUT_MS, newSession } from './support/sessions.ts'

interface Question {
  readonly kind: keyof typeof FILL
  readonly count: number
}

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')
const heap = () => {
  for (let time = 0; time < 4; time++) collect()
  return process.memoryUsage().heapUsed
}

/** A session read from a store shares no text with any other. */
const record = (n: number) => {
  const { session, lifetimes } = newSession(`user${n}`)
  const text = JSON.stringify(openRecord(session, lifetimes, Date.now()))
  const read: ReturnType<typeof openRecord> = JSON.parse(text)
  return read
}

/** What fills so many; what it gives stays reachable. */
const FILL = {
  async store(count: number) {
    const store = memoryStore({ maxSessions: count })
    for (let n = 0; n < count; n++) await store.create(newSession(`user${n}`))
    return store
  },
  async near(count: number) {
    const feed = {
      blindness: () => null,
      isRevoked: () => false,
      oldestGoodVer: () => 0,
      clockOffsetMs: 0,
    }
    const options = { feed, maxSessions: 2 * count, idleTimeoutMs: IDLE_TIMEOUT_MS }
    const cache = new NearCache({ ...options, clock: Date.now })
    for (let n = 0; n < count; n++) await cache.fill(async () => record(n))
    return cache
  },
  async heard(count: number) {
    const heard = new HeardSet(3_600_000, count, () => performance.now())
    for (let n = 0; n < count; n++)
      heard.hear({ sid: newSession(`u${n}`).session.sid, ver: REVOKED })
    return heard
  },
  async token(count: number) {
    const keys = parseSigningKeys([generateSigningKey()])
    const times = { clock: Date.now, clockSkewMs: 30_000, maxLifetimeMs: 900_000, ttlMs: 900_000 }
    const names = { issuer: 'https://app.example', audience: ['https://app.example'] }
    const issuer = createAccessTokenIssuer({ ...names, ...times, keys, onWarning() {} })
    const verifier = createAccessTokenVerifier({ ...names, ...times, keys, cacheBytes: 2 ** 30 })
    for (let n = 0; n < count; n++) await verifier.verify((await issuer.issue(record(n))).token)
    return verifier
  },
  async 'session-token'(count: number) {
    const ring = createKeyRing([randomBytes(32)])
    const read = createSessionTokenReader(ring, 2 * count)
    for (let n = 0; n < count; n++) {
      read(formatSessionToken(ring, { sid: record(n).sid, seed: drawSeed() }))
    }
    return read
  },
}

const kept: unknown[] = []

serveParent(async ({ kind, count }: Question) => {
  const fill = FILL[kind]
  // What code and shapes take is not what is measured.
  await fill(10)
  const before = heap()
  kept.push(await fill(count))
  return heap() - before
})
