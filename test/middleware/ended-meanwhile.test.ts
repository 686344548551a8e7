import { createPrivateKey, createPublicKey, sign as signBytes } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { Store } from '../../lib/store.ts'
import type { Login, TestKit } from '../support/kit.ts'
import {
  closeKits,
  openKit,
  PASSWORD,
  readLogin,
  setCookies,
  SIGNING_KEY,
  spyOn,
  until,
} from '../support/kit.ts'
import type { MakePlace, Place } from '../support/places.ts'
import { inMemory, onPostgres, onRedis } from '../support/places.ts'

/** What happens between two moments of a request. */
type Interlude = () => Promise<unknown>

/** Names the moments of a request, and lets something happen in one of them. */
class Moments {
  seen: string[] = []
  #at: string | null = null
  #interlude: Interlude = async () => undefined

  /** Lets it happen once, at this moment. */
  arm(at: string, interlude: Interlude): void {
    this.#at = at
    this.#interlude = interlude
  }

  /** Names what comes next, from here on. */
  begin(): void {
    this.seen = []
  }

  get happened(): boolean {
    return this.#at === null
  }

  async pass(moment: string): Promise<void> {
    this.seen.push(moment)
    if (this.#at !== moment) return
    this.#at = null
    await this.#interlude()
  }

  /** A store whose calls are moments: before the store is asked, and before its answer is heard. */
  watch(store: Store): Store {
    const watched: Partial<Record<keyof Store, unknown>> = { ...store }
    for (const name of [
      'create',
      'replace',
      'check',
      'rotate',
      'update',
      'revoke',
      'revokeUser',
    ] as const) {
      const call = store[name] as (input: unknown) => Promise<unknown>
      watched[name] = async (input: unknown) => {
        await this.pass(`before ${name}`)
        const output = await call.call(store, input)
        await this.pass(`after ${name}`)
        return output
      }
    }
    watched.limit = {
      take: async (...input: Parameters<Store['limit']['take']>) => {
        await this.pass('before limit')
        const output = await store.limit.take(...input)
        await this.pass('after limit')
        return output
      },
    }
    return watched as Store
  }
}

const privateKey = createPrivateKey({ key: { ...SIGNING_KEY } as JsonWebKey, format: 'jwk' })

/** A key whose signature is a moment, too. */
function watchedKey(moments: Moments) {
  return {
    alg: 'ES256',
    publicKey: createPublicKey(privateKey).export({ format: 'pem', type: 'spki' }).toString(),
    async sign(data: Uint8Array) {
      await moments.pass('before sign')
      const signature = signBytes('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
      await moments.pass('after sign')
      return signature
    },
  } as const
}

const places: Place[] = []

afterEach(async () => {
  await closeKits()
  for (const place of places.splice(0)) await place.close()
})
afterAll(closeKits)

interface Nodes {
  readonly moments: Moments
  /** Where the request is handled that something happens to. */
  readonly here: TestKit
  readonly there: TestKit
}

/** What makes a refresh take more steps. */
const REFRESHES = {
  plain: {},
  'with loadUser': {
    // Other claims each time: what it says is written.
    loadUser: ({ id }: { readonly id: string }) => ({ id, claims: { at: String(Math.random()) } }),
  },
} as const

async function openNodes(
  make: MakePlace,
  options: object,
  moments: Moments = new Moments(),
): Promise<Nodes> {
  const place = make()
  places.push(place)
  const open = async (store: Store, more: object) =>
    openKit({
      spy: spyOn(store),
      options: {
        clock: Date.now,
        storeDeadline: '10s',
        maxStaleness: '1m',
        signingKeys: [watchedKey(moments)],
        rateLimits: false,
        ...more,
      },
    })
  const here = await open(moments.watch(await place.open()), options)
  return { moments, here, there: await open(await place.open(), {}) }
}

/** Ways to end a session, by somebody who is told when it is done. */
const ENDS: Readonly<Record<string, (node: TestKit, login: Login) => Promise<unknown>>> = {
  async 'a logout'({ server }, { cookie }) {
    await request(server).post('/auth/logout').set('Cookie', cookie).expect(204)
  },
  // By cookie: what the update of a refresh has made stale logs nobody out.
  async 'a logout everywhere'({ server }, { sessionCookie }) {
    await request(server).post('/auth/logout-all').set('Cookie', sessionCookie).expect(200)
  },
  'a revocation by the app': async ({ latchkey }, { sid }) => latchkey.sessions.revoke(sid),
}

async function refresh({ server }: TestKit, { refreshCookie }: Login): Promise<request.Response> {
  return request(server).post('/auth/refresh').set('Cookie', refreshCookie)
}

/** What the guards of a node say to a login. */
async function statuses({ server }: TestKit, login: Login): Promise<number[]> {
  const answers = await Promise.all([
    request(server).get('/jwt').set('Authorization', login.bearer),
    request(server).get('/session').set('Cookie', login.sessionCookie),
    request(server).get('/sensitive').set('Authorization', login.bearer),
  ])
  return answers.map(({ status }) => status)
}

const DEAD = [401, 401, 401]
const MAX_WAIT_MS = 30_000

/** Nothing that a login or a refresh ever gave is good for anything, anywhere. */
async function expectDead({ here, there }: Nodes, ...logins: readonly Login[]): Promise<void> {
  const [{ sid } = { sid: '' }] = logins
  // What a node did not do itself it hears of.
  for (const { latchkey } of [here, there]) {
    await until(() => latchkey.health().ok)
    expect(await latchkey.sessions.find(sid)).toBeNull()
  }
  for (const login of logins) {
    for (const node of [here, there]) {
      // Heard of within milliseconds; a store or a machine that stalls may take its time.
      const late = performance.now() + MAX_WAIT_MS
      let last: number[] = []
      while (String(last) !== String(DEAD) && performance.now() < late) {
        last = await statuses(node, login)
      }
      expect(last).toEqual(DEAD)
      expect((await refresh(node, login)).status).toBe(401)
    }
  }
}

/** Every moment of a request, told apart where there are several of a name. */
async function momentsOf(moments: Moments, act: () => Promise<unknown>): Promise<string[]> {
  moments.begin()
  await act()
  return [...new Set(moments.seen)]
}

/** What an answer gives away. */
function credentialsIn(answer: request.Response): unknown[] {
  const cookies = setCookies(answer).filter((line) => /=lk[rs]_/.test(line))
  return [...cookies, ...[answer.body.access_token ?? []].flat()]
}

describe.each([
  ['memory', inMemory],
  ['Redis', onRedis],
  ['Postgres', onPostgres],
] as const)('a session on %s that is ended while it refreshes', (_, make) => {
  describe.each(Object.entries(REFRESHES))('(%s)', (name, options) => {
    it('by the same node, gives nothing after the end was acknowledged, at whatever step', async () => {
      const nodes = await openNodes(make, options)
      const { moments, here } = nodes
      const steps = await momentsOf(moments, async () => refresh(here, await here.login()))
      expect(steps).toEqual(expect.arrayContaining(['before rotate', 'after rotate', 'after sign']))
      expect(steps.includes('after update')).toBe(name === 'with loadUser')
      for (const [kind, end] of Object.entries(ENDS)) {
        for (const step of steps.filter((one) => !one.endsWith('create'))) {
          const login = await here.login()
          moments.arm(step, async () => end(here, login))
          const answer = await refresh(here, login)
          expect([kind, step, moments.happened]).toEqual([kind, step, true])
          // A signature that has to wait for the end may be too late for its deadline.
          const late = step === 'before sign' && answer.status === 503
          expect([kind, step, answer.status]).toEqual([kind, step, late ? 503 : 401])
          expect(credentialsIn(answer)).toEqual([])
          await expectDead(nodes, login)
        }
      }
    })

    it('by another node, leaves nothing that is good, at whatever step', async () => {
      const nodes = await openNodes(make, options)
      const { moments, here, there } = nodes
      const first = await here.login()
      const steps = await momentsOf(moments, async () => refresh(here, first))
      const lastAsked = steps.findLastIndex((one) => /^before (?:check|rotate|update)$/.test(one))
      expect(lastAsked).toBeGreaterThanOrEqual(0)
      for (const [kind, end] of Object.entries(ENDS)) {
        for (const step of steps) {
          const login = await here.login()
          moments.arm(step, async () => end(there, login))
          const answer = await refresh(here, login)
          expect([kind, step, moments.happened]).toEqual([kind, step, true])
          // What this node has not heard of yet it may answer, but only with what is dead.
          expect([200, 401, 503]).toContain(answer.status)
          const isAskedAfter = steps.indexOf(step) <= lastAsked
          if (isAskedAfter) expect([kind, step, answer.status]).toEqual([kind, step, 401])
          const issued = answer.status === 200 ? [readLogin(answer)] : []
          await expectDead(nodes, login, ...issued)
        }
      }
    })
  })

  it('is over when the end was acknowledged, at whatever step of it the session refreshed', async () => {
    const nodes = await openNodes(make, {})
    const { moments, here, there } = nodes
    for (const [kind, end] of Object.entries(ENDS)) {
      const first = await here.login()
      const steps = await momentsOf(moments, async () => end(here, first))
      for (const step of steps) {
        const login = await here.login()
        const issued: Login[] = []
        moments.arm(step, async () => {
          const answer = await refresh(there, login)
          if (answer.status === 200) issued.push(readLogin(answer))
        })
        await end(here, login)
        expect([kind, step, moments.happened]).toEqual([kind, step, true])
        if (step.startsWith('before revoke')) expect([kind, issued.length]).toEqual([kind, 1])
        await expectDead(nodes, login, ...issued)
      }
    }
  })

  it('is not opened by a login during which all of the user was ended', async () => {
    const moments = new Moments()
    const authenticate = async () => {
      await moments.pass('authenticate')
      return { id: 'alice' }
    }
    const { here } = await openNodes(make, { authenticate }, moments)
    const login = async () =>
      request(here.server).post('/auth/login').send({ username: 'alice', password: PASSWORD })
    const steps = await momentsOf(moments, login)
    expect(steps.filter((one) => one !== 'authenticate').toSorted()).toEqual([
      'after create',
      'after sign',
      'before create',
      'before sign',
    ])
    // How old a login is counts from when it is sent to the store, and so up to then.
    for (const step of steps.filter((one) => one !== 'before create')) {
      const other = await here.login()
      moments.arm(step, async () => ENDS['a logout everywhere']?.(here, other))
      const answer = await login()
      expect([step, moments.happened]).toEqual([step, true])
      expect(credentialsIn(answer)).toEqual([])
      expect([401, 503]).toContain(answer.status)
      const { items } = await here.latchkey.sessions.list('alice')
      expect(items).toEqual([])
    }
  })

  it('is not opened by a login that had begun long before all of the user was ended', async () => {
    const moments = new Moments()
    const authenticate = async () => {
      await moments.pass('authenticate')
      return { id: 'alice' }
    }
    const { here, there } = await openNodes(make, { authenticate, storeDeadline: '1s' }, moments)
    const other = await there.login()
    moments.arm('authenticate', async () => {
      // For as long as a call may be on its way to the store: one that takes longer is 503.
      await sleep(1000)
      await ENDS['a logout everywhere']?.(there, other)
    })
    const answer = await request(here.server)
      .post('/auth/login')
      .send({ username: 'alice', password: PASSWORD })
    expect(moments.happened).toBe(true)
    expect(credentialsIn(answer)).toEqual([])
    expect([401, 503]).toContain(answer.status)
    expect((await there.latchkey.sessions.list('alice')).items).toEqual([])
  })

  it('of somebody else is replaced by a login during which all of the new user was ended', async () => {
    const nodes = await openNodes(make, {})
    const { moments, here } = nodes
    const login = async ({ cookie }: Login) =>
      request(here.server)
        .post('/auth/login')
        .set('Cookie', cookie)
        .send({ username: 'alice', password: PASSWORD })
    const first = await here.login('bob')
    const steps = await momentsOf(moments, async () => login(first))
    const replaced = steps.indexOf('after replace')
    expect(replaced).toBeGreaterThan(0)
    expect(steps).toEqual(expect.arrayContaining(['after revoke', 'after sign']))
    // How old a login is counts from when it is sent to the store, and so up to then.
    for (const step of steps.slice(replaced)) {
      const [foreign, other] = [await here.login('bob'), await here.login()]
      moments.arm(step, async () => ENDS['a logout everywhere']?.(here, other))
      const answer = await login(foreign)
      expect([step, moments.happened]).toEqual([step, true])
      expect([step, credentialsIn(answer)]).toEqual([step, []])
      expect([401, 503]).toContain(answer.status)
      expect((await here.latchkey.sessions.list('alice')).items).toEqual([])
    }
  })

  it('is not continued by a step-up during which it, or all of the user, was ended', async () => {
    const moments = new Moments()
    const authenticate = async () => {
      await moments.pass('authenticate')
      return { id: 'alice' }
    }
    const { here, there } = await openNodes(make, { authenticate }, moments)
    const stepUp = async ({ sessionCookie }: Login) =>
      request(here.server)
        .post('/auth/step-up')
        .set('Cookie', sessionCookie)
        .send({ username: 'alice', password: PASSWORD })
    const first = await here.login()
    const steps = await momentsOf(moments, async () => stepUp(first))
    const replaced = steps.indexOf('after replace')
    expect(steps.slice(0, replaced)).toEqual(
      expect.arrayContaining(['before check', 'authenticate', 'before replace']),
    )
    expect(steps.slice(replaced)).toEqual(['after replace', 'before sign', 'after sign'])
    for (const [kind, end] of Object.entries(ENDS)) {
      // By what is good until then: from the replacement on, a login beside the one that is replaced.
      const mayEnd = kind === 'a logout everywhere' ? steps : steps.slice(0, replaced)
      for (const step of mayEnd) {
        for (const node of step.startsWith('before replace') ? [here, there] : [here]) {
          const [login, other] = [await here.login(), await here.login()]
          moments.arm(step, async () => end(node, kind === 'a logout everywhere' ? other : login))
          const answer = await stepUp(login)
          expect([kind, step, moments.happened]).toEqual([kind, step, true])
          expect([kind, step, credentialsIn(answer)]).toEqual([kind, step, []])
          const late = step === 'before sign' && answer.status === 503
          expect([kind, step, answer.status]).toEqual([kind, step, late ? 503 : 401])
          expect(await here.latchkey.sessions.find(login.sid)).toBeNull()
          await here.latchkey.sessions.revokeUser('alice')
        }
      }
    }
  })
})
