import { afterEach, describe, expect, it } from '@jest/globals'
import { decodeProtectedHeader } from 'jose'
import request from 'supertest'
import { atPace } from '../../lib/managed-keys-options.ts'
import type { KeysDocument, Store } from '../../lib/store.ts'
import { managedKeys, memoryStore } from '../../middleware/index.ts'
import { forge, halves } from '../support/forge.ts'
import type { StoreSpy, TestKit, TestOptions } from '../support/kit.ts'
import {
  closeKits,
  HOUR,
  MINUTE,
  NOW,
  openKit,
  SECRET,
  SIGNING_KEY,
  spyOn,
  typesOf,
  until,
} from '../support/kit.ts'
import { loopTime } from '../support/loop-time.ts'

const OTHER_SECRET = 'q7Wm2ZxC9vB4nL6kJ8hG1fD3sA5pO0iU2yT4rE6wQ8M'
const DAY = 24 * HOUR
const LEAD = 17 * MINUTE

/** The times of production, but for the poll, which is quick. */
const signingKeys = atPace({
  rotateEveryMs: 30 * DAY,
  publishAheadMs: DAY,
  pace: { knownAfterMs: 16 * MINUTE, pollMs: 20, cooldownMs: 30_000 },
})
/** Hears of the keys by the feed, or not at all. */
const unpolled = atPace({ ...signingKeys, pace: { ...signingKeys.pace, pollMs: HOUR } })

afterEach(closeKits)

async function open(
  options: TestOptions = {},
  rest: { spy?: StoreSpy; clock?: { now: number } } = {},
): Promise<TestKit> {
  // A login waits for the first key no longer than this, and the machine may be slow to draw it.
  return openKit({ options: { signingKeys, storeDeadline: '10s', ...options }, ...rest })
}

/** Another node beside a kit, with its own faults. */
async function beside(kit: TestKit, options: TestOptions = {}): Promise<TestKit> {
  return open(options, { spy: spyOn(kit.spy.raw), clock: kit.clock })
}

async function jwt(kit: TestKit, bearer: string): Promise<number> {
  return (await request(kit.server).get('/jwt').set('Authorization', bearer)).status
}

function kidOf({ access }: { readonly access: string }): string {
  return decodeProtectedHeader(access).kid ?? ''
}

function kidsOf(kit: TestKit): string[] {
  return kit.latchkey.keys.jwks.keys.map(({ kid }) => kid)
}

function states(kit: TestKit): string[] {
  return kit.latchkey.keys.list().map(({ state }) => state)
}

async function documentOf(kit: TestKit): Promise<KeysDocument> {
  return (await kit.spy.raw.keys.load())!
}

describe('managed keys', () => {
  it('are made by the first node, and shown without their private part', async () => {
    const kit = await open()
    const login = await kit.login()
    const res = await request(kit.server).get('/auth/.well-known/jwks.json')
    expect(res.headers['cache-control']).toBe('public, max-age=300')
    expect(JSON.parse(res.text)).toEqual({
      keys: [
        {
          kty: 'EC',
          crv: 'P-256',
          x: expect.any(String),
          y: expect.any(String),
          kid: kidOf(login),
          alg: 'ES256',
          use: 'sig',
        },
      ],
    })
    expect(kit.latchkey.keys.list()).toEqual([
      { kid: kidOf(login), alg: 'ES256', state: 'active', publishedAt: NOW, activeAt: NOW },
    ])
    expect(kit.events).toContainEqual(
      expect.objectContaining({ type: 'signing_key_rotated', cause: 'first' }),
    )
    await until(() => kit.latchkey.health().ok)
    expect((await documentOf(kit)).document).not.toContain(kidOf(login))
  })

  it('are one and the same on nodes that start together', async () => {
    const kit = await open()
    const others = await Promise.all([1, 2, 3].map(async () => beside(kit)))
    for (const one of [kit, ...others]) {
      const login = await one.login()
      for (const other of [kit, ...others]) expect(await jwt(other, login.bearer)).toBe(200)
    }
    expect(kidsOf(kit)).toHaveLength(1)
  })

  it.each(['EdDSA', 'PS256'] as const)(
    'may be of another algorithm: %s',
    async (alg) => {
      const kit = await open({ signingKeys: managedKeys({ alg }) })
      const login = await kit.login()
      expect(decodeProtectedHeader(login.access).alg).toBe(alg)
      expect(await jwt(kit, login.bearer)).toBe(200)
    },
    30_000,
  )

  it('are made once a rotation is due, sign when they are known, and go when they are over', async () => {
    const kit = await open()
    const other = await beside(kit)
    const first = await kit.login()
    kit.clock.now += 29 * DAY
    await until(() => kidsOf(kit).length === 2 && kidsOf(other).length === 2)
    expect(states(other)).toEqual(['active', 'next'])
    expect(kidOf(await kit.login())).toBe(kidOf(first))
    kit.clock.now += DAY - 1
    await kit.sighted()
    const last = await kit.login()
    expect(kidOf(last)).toBe(kidOf(first))
    await kit.tick(1)
    await other.sighted()
    expect(states(kit)).toEqual(['retiring', 'active'])
    const next = await other.login()
    expect(kidOf(next)).toBe(kidsOf(kit)[1])
    for (const node of [kit, other]) {
      expect(await jwt(node, last.bearer)).toBe(200)
      expect(await jwt(node, next.bearer)).toBe(200)
    }
    await kit.tick(15 * MINUTE)
    expect(kidsOf(kit)).toHaveLength(2)
    await kit.tick(5 * MINUTE)
    await until(() => kidsOf(kit).length === 1 && kidsOf(other).length === 1)
    expect(kidsOf(other)).toEqual([kidOf(next)])
    expect(
      typesOf(kit)
        .concat(typesOf(other))
        .filter((type) => type === 'signing_key_rotated'),
    ).toHaveLength(2)
  })

  it('rotate when they are told to, once, after every verifier has had the time to know', async () => {
    const kit = await open()
    const login = await kit.login()
    const [one, two] = await Promise.all([kit.latchkey.keys.rotate(), kit.latchkey.keys.rotate()])
    expect(one).toEqual({
      kid: expect.any(String),
      alg: 'ES256',
      state: 'next',
      publishedAt: NOW,
      activeAt: NOW + LEAD,
    })
    expect(two).toEqual(one)
    await kit.tick(LEAD - 1)
    expect(kidOf(await kit.login())).toBe(kidOf(login))
    await kit.tick(1)
    expect(kidOf(await kit.login())).toBe(one.kid)
    expect(kit.events).toContainEqual(
      expect.objectContaining({
        type: 'signing_key_rotated',
        cause: 'requested',
        detail: { kid: one.kid, alg: 'ES256', active_at: new Date(NOW + LEAD).toISOString() },
      }),
    )
  })
})

describe('a retired key', () => {
  it('is gone at once on every node, and so are its tokens; another one signs', async () => {
    const kit = await open({ signingKeys: unpolled })
    const other = await beside(kit, { signingKeys: unpolled })
    const login = await kit.login()
    // Remembered as verified.
    for (const node of [kit, other]) expect(await jwt(node, login.bearer)).toBe(200)
    expect(await kit.latchkey.keys.retire(kidOf(login))).toBe(true)
    expect(await jwt(kit, login.bearer)).toBe(401)
    await until(() => !kidsOf(other).includes(kidOf(login)))
    expect(await jwt(other, login.bearer)).toBe(401)
    const fresh = await other.login()
    expect(kidOf(fresh)).not.toBe(kidOf(login))
    for (const node of [kit, other]) {
      expect(kidsOf(node)).toEqual([kidOf(fresh)])
      expect(await jwt(node, fresh.bearer)).toBe(200)
    }
    expect(kit.events).toContainEqual(
      expect.objectContaining({ type: 'signing_key_retired', detail: { kid: kidOf(login) } }),
    )
    // The session lives: its refresh token buys a token of the new key.
    const res = await request(kit.server).post('/auth/refresh').set('Cookie', login.cookie)
    expect(res.status).toBe(200)
  })

  it('is followed by the next one, which was published for it', async () => {
    const kit = await open()
    const login = await kit.login()
    const { kid } = await kit.latchkey.keys.rotate()
    await kit.latchkey.keys.retire(kidOf(login))
    expect(kidOf(await kit.login())).toBe(kid)
    expect(kidsOf(kit)).toEqual([kid])
  })

  it('may be retired again, and another name is none', async () => {
    const kit = await open()
    const { access } = await kit.login()
    const kid = decodeProtectedHeader(access).kid ?? ''
    expect(await kit.latchkey.keys.retire('no-such-key')).toBe(false)
    expect(await kit.latchkey.keys.retire(kid)).toBe(true)
    const { version } = await documentOf(kit)
    expect(await kit.latchkey.keys.retire(kid)).toBe(true)
    expect((await documentOf(kit)).version).toBe(version)
    expect(typesOf(kit).filter((type) => type === 'signing_key_retired')).toHaveLength(1)
  })

  it('is not acknowledged when the store has not taken it', async () => {
    const kit = await open({ signingKeys: unpolled })
    const login = await kit.login()
    kit.spy.faults.set('keys.save', 'rejects')
    await expect(kit.latchkey.keys.retire(kidOf(login))).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    kit.spy.faults.clear()
    expect(await kit.latchkey.keys.retire(kidOf(login))).toBe(true)
    expect(await jwt(kit, login.bearer)).toBe(401)
  })
})

describe('a node whose keys are not there', () => {
  it('answers 503, and never 401, until they are', async () => {
    const kit = await open()
    const { bearer } = await kit.login()
    const spy = spyOn(kit.spy.raw)
    spy.faults.set('keys.load', 'rejects')
    const late = await open({}, { spy, clock: kit.clock })
    const login = () =>
      request(late.server).post('/auth/login').send({ username: 'alice', password: 'x' })
    expect(await jwt(late, bearer)).toBe(503)
    const jwks = await request(late.server).get('/auth/.well-known/jwks.json')
    expect([jwks.status, jwks.headers['cache-control']]).toEqual([503, 'no-store'])
    expect(() => late.latchkey.keys.jwks).toThrow(/keys\.load/)
    await expect(late.login()).rejects.toThrow('login: 503')
    expect((await login()).status).toBe(401)
    // Nothing was opened for who could not be given a token.
    expect((await kit.latchkey.sessions.list({ id: 'alice' })).items).toHaveLength(1)
    spy.faults.clear()
    await late.latchkey.ready()
    expect(await jwt(late, bearer)).toBe(200)
    expect(kidOf(await late.login())).toBe(kidsOf(kit)[0])
  })

  it('waits for a store that hangs no longer than the deadline', async () => {
    const spy = spyOn(memoryStore({ clock: () => NOW }))
    spy.faults.set('keys.load', 'hangs')
    const kit = await open({ storeDeadline: '50ms' }, { spy })
    const before = loopTime()
    await expect(kit.login()).rejects.toThrow('login: 503')
    expect(loopTime() - before).toBeLessThan(5000)
  })

  it('signs and verifies with what it has when the store fails later', async () => {
    const kit = await open()
    const { bearer } = await kit.login()
    kit.spy.faults.set('keys.load', 'rejects').set('keys.save', 'rejects')
    await until(() => kit.events.some(({ cause }) => cause === 'keys'))
    expect(await jwt(kit, bearer)).toBe(200)
    expect(await jwt(kit, (await kit.login()).bearer)).toBe(200)
    expect((await request(kit.server).get('/auth/.well-known/jwks.json')).status).toBe(200)
  })
})

describe('a key that a node does not know', () => {
  it('is looked up: a token of it passes although the feed brings no news', async () => {
    const kit = await open({ signingKeys: unpolled })
    const deaf = await beside(kit, { signingKeys: unpolled })
    deaf.spy.feed = 'deaf'
    const { access } = await kit.login()
    await kit.latchkey.keys.retire(decodeProtectedHeader(access).kid ?? '')
    const fresh = await kit.login()
    expect(await jwt(deaf, fresh.bearer)).toBe(200)
  })

  it('costs one store call, however many tokens name one', async () => {
    const kit = await open({ signingKeys: unpolled })
    await kit.login()
    // The feed tells the node of its own key, too.
    await until(() => kit.latchkey.health().feed.heard === 1)
    kit.spy.reset()
    const { privateKey } = halves(SIGNING_KEY)
    const tokens = Array.from({ length: 50 }, (_, index) =>
      forge({ alg: 'ES256', typ: 'at+jwt', kid: `forged-${index}` }, { sub: 'a' }, privateKey),
    )
    const answers = await Promise.all(tokens.map(async (token) => jwt(kit, `Bearer ${token}`)))
    expect(new Set(answers)).toEqual(new Set([401]))
    expect(kit.spy.calls).toEqual(['keys.load'])
  })

  it('is no reason for a 401 while nobody can say whether there is one', async () => {
    const kit = await open({ signingKeys: unpolled })
    const { bearer } = await kit.login()
    kit.spy.faults.set('keys.load', 'rejects')
    const { privateKey } = halves(SIGNING_KEY)
    const header = { alg: 'ES256', typ: 'at+jwt', kid: 'forged' }
    const stranger = `Bearer ${forge(header, { sub: 'a' }, privateKey)}`
    expect(await jwt(kit, stranger)).toBe(503)
    expect(await jwt(kit, stranger)).toBe(503)
    expect(await jwt(kit, bearer)).toBe(200)
  })
})

describe('the keys document', () => {
  async function startOn(document: string, options: TestOptions = {}): Promise<TestKit> {
    const raw = memoryStore({ clock: () => NOW })
    await raw.keys.save(0, document)
    return open(options, { spy: spyOn(raw) })
  }

  async function madeBy(options: TestOptions): Promise<KeysDocument> {
    const kit = await open(options)
    await kit.latchkey.ready()
    return documentOf(kit)
  }

  async function failure(kit: TestKit): Promise<unknown> {
    const thrown: unknown = await kit.latchkey.ready().catch((error: unknown) => error)
    const login: unknown = await kit.login().catch((error: unknown) => error)
    const findings = await kit.latchkey.doctor()
    return {
      ready: thrown,
      login: String(login),
      finding: findings.find(({ code }) => code === 'signing_keys_unreadable')?.severity,
      document: await documentOf(kit),
    }
  }

  function unreadable(kept: string): unknown {
    return {
      ready: expect.objectContaining({ code: 'invalid_option', option: 'signingKeys' }),
      login: expect.stringContaining('login: 503'),
      finding: 'error',
      document: { version: 1, document: kept },
    }
  }

  it.each([
    ['other', 'something else altogether'],
    ['JSON', '{"signingKey":{}}'],
    ['empty', ''],
    ['a form of the future', 'lkk2.aaaaaa.AAAA'],
  ])('that is of something else is an error, and stays: %s', async (_, text) => {
    expect(await failure(await startOn(text))).toEqual(unreadable(text))
  })

  it('of a secret that is not there is an error, and stays', async () => {
    const { document: text } = await madeBy({ secrets: [OTHER_SECRET] })
    expect(await failure(await startOn(text))).toEqual(unreadable(text))
    const kit = await startOn(text, { secrets: [SECRET, OTHER_SECRET] })
    await kit.login()
  })

  it('that was tampered with is an error, in any byte', async () => {
    const { document: text } = await madeBy({})
    for (const at of [11, 12, 30, Math.floor(text.length / 2), text.length - 3]) {
      const other = text[at] === 'A' ? 'B' : 'A'
      const tampered = text.slice(0, at) + other + text.slice(at + 1)
      expect(await failure(await startOn(tampered))).toEqual(unreadable(tampered))
      await closeKits()
    }
    expect(await jwt(await startOn(text), 'Bearer x.y.z')).toBe(401)
  })

  it('of an earlier version does not open as a later one, with a key that was retired since', async () => {
    const kit = await open({ signingKeys: unpolled })
    const login = await kit.login()
    const before = await documentOf(kit)
    await kit.latchkey.keys.retire(kidOf(login))
    const { version } = await documentOf(kit)
    await kit.spy.raw.keys.save(version, before.document)
    await until(() => kit.events.some(({ cause }) => cause === 'keys'))
    expect(await jwt(kit, login.bearer)).toBe(401)
    expect(kidsOf(kit)).not.toContain(kidOf(login))
  })

  it('is sealed anew when the secrets rotate, and no token is refused for it', async () => {
    const old = await open({ secrets: [OTHER_SECRET] })
    const login = await old.login()
    const both = await beside(old, { secrets: [SECRET, OTHER_SECRET] })
    expect(await jwt(both, login.bearer)).toBe(200)
    expect((await documentOf(old)).version).toBe(2)
    const late = await beside(old, { secrets: [SECRET] })
    expect(await jwt(late, login.bearer)).toBe(200)
    expect(kidsOf(late)).toEqual([kidOf(login)])
    // The nodes do not take turns at sealing.
    await old.tick(1)
    await both.tick(1)
    expect((await documentOf(old)).version).toBe(2)
  })
})

describe('a store that lost what it acknowledged', () => {
  /** A store whose document a test may set back. */
  function setBack(): { store: Store; keys: { kept: KeysDocument | null } } {
    const raw = memoryStore({ clock: () => NOW })
    const keys: { kept: KeysDocument | null } = { kept: null }
    const store: Store = {
      ...raw,
      keys: {
        load: async () => keys.kept,
        async save(expected, text) {
          if ((keys.kept?.version ?? 0) !== expected) return false
          keys.kept = { version: expected + 1, document: text }
          return true
        },
      },
    }
    return { store, keys }
  }

  it('gets the keys back from a node that knows them, and no token is refused', async () => {
    const { store, keys } = setBack()
    const kit = await open({}, { spy: spyOn(store) })
    const login = await kit.login()
    const { kid } = await kit.latchkey.keys.rotate()
    keys.kept = null
    await until(() => keys.kept !== null)
    const fresh = await open({}, { spy: spyOn(store) })
    expect(await jwt(fresh, login.bearer)).toBe(200)
    expect(kidsOf(fresh)).toEqual([kidOf(login), kid])
  })

  it('does not bring back a key that was retired', async () => {
    const { store, keys } = setBack()
    const kit = await open({}, { spy: spyOn(store) })
    const login = await kit.login()
    const before = keys.kept
    await kit.latchkey.keys.retire(kidOf(login))
    const lost = keys.kept
    keys.kept = before
    await until(() => keys.kept !== before)
    expect(keys.kept?.document).not.toBe(lost?.document)
    const fresh = await open({}, { spy: spyOn(store) })
    for (const node of [kit, fresh]) {
      expect(kidsOf(node)).not.toContain(kidOf(login))
      expect(await jwt(node, login.bearer)).toBe(401)
    }
    expect(kidsOf(fresh)).toEqual(kidsOf(kit))
  })
})

describe('keys that the app gave', () => {
  it('are listed, and rotate where they come from', async () => {
    const kit = await openKit()
    expect(kit.latchkey.keys.list()).toEqual([
      { kid: SIGNING_KEY.kid, alg: 'ES256', state: 'active', publishedAt: null, activeAt: null },
    ])
    const refused = { code: 'invalid_option', option: 'signingKeys' }
    await expect(kit.latchkey.keys.rotate()).rejects.toMatchObject(refused)
    await expect(kit.latchkey.keys.retire('x')).rejects.toMatchObject(refused)
  })
})

describe('the options of managed keys', () => {
  it.each([
    [{ rotateEvery: '1h' }],
    [{ rotateEvery: '401d' }],
    [{ rotateEvery: 30 }],
    [{ publishAhead: '19m' }],
    [{ rotateEvery: '2d', publishAhead: '25h' }],
    [{ alg: 'HS256' }],
    [{ alg: 'none' }],
    [{ rotatEvery: '2d' }],
  ])('are refused: %j', (options) => {
    expect(() => managedKeys(options as never)).toThrow(/signingKeys/)
  })

  it.each([[{}], [{ rotateEvery: '2h' }], [{ rotateEvery: undefined, alg: undefined }]] as const)(
    'are taken: %j',
    (options) => {
      const { rotateEveryMs, publishAheadMs, alg } = managedKeys(options)
      expect(publishAheadMs).toBeLessThanOrEqual(rotateEveryMs / 2)
      expect(alg).toBe('ES256')
    },
  )
})
