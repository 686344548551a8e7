import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import express from 'express'
import { Redis } from 'ioredis'
import request from 'supertest'
import type { Store } from '../../lib/store.ts'
import type { LatchkeyEvent } from '../../middleware/index.ts'
import { createLatchkey } from '../../middleware/index.ts'
import { ask, until } from '../support/redis-commands.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import { listed, login, newSession, newUser, NO_GRACE, refresh } from './contract/support.ts'
import { plainStore } from './redis/open.ts'

let primary: RedisServer
let replica: RedisServer
const closers: (() => Promise<void> | void)[] = []

beforeAll(async () => {
  primary = await startRedis()
  replica = await startRedis({ replicaOf: primary })
  await until(
    'the replica acknowledges',
    async () => Number(await ask(primary, 'WAIT', '1', '100')) > 0,
  )
})

afterEach(async () => {
  for (const close of closers.splice(0)) await close()
  replica.resume()
})

afterAll(async () => {
  await Promise.all([primary.cleanUp(), replica.cleanUp()])
})

function open(server: RedisServer, waitReplicas: number): Store {
  const client = new Redis(server.url)
  const store = plainStore(client, { waitReplicas })
  closers.push(
    () => store.close(),
    () => client.disconnect(),
  )
  return store
}

/** A replica answers in its own time, and who is refused calls again. */
async function confirmed<Result>(call: () => Promise<Result>): Promise<Result> {
  return until('a replica has it', call)
}

const UNCONFIRMED = { code: 'revocation_unconfirmed', status: 503 }

describe('waitReplicas', () => {
  it('confirms every kind of revocation that a replica has', async () => {
    const store = open(primary, 1)
    const user = newUser()
    const [first, second, third] = [newSession(user), newSession(user), newSession(user)]
    const limit = { max: 2, onLimit: 'evict' } as const
    await store.create(login(first, { limit }))
    await store.create(login(second, { limit }))
    await confirmed(async () => store.create(login(third, { limit })))
    await confirmed(async () => store.revoke({ sid: second.sid }))
    expect(await listed(store, user)).toEqual([third.sid])
    await confirmed(async () => store.revokeUser({ user }))
    expect(await listed(store, user)).toEqual([])
  })

  it('rejects what too few replicas have, and the repetition too, until they do', async () => {
    const store = open(primary, 1)
    const user = newUser()
    const created = await store.create(login(newSession(user)))
    if (created.outcome !== 'created') throw new Error('not created')
    const { sid } = created.session
    replica.pause()
    // Neither a login nor a refresh waits for anybody.
    await store.create(login(newSession(user)))
    await store.rotate(refresh(created.session))
    const reuse = refresh(created.session, { policy: NO_GRACE })
    await expect(store.rotate(reuse)).rejects.toMatchObject(UNCONFIRMED)
    await expect(store.revoke({ sid })).rejects.toMatchObject(UNCONFIRMED)
    await expect(store.revokeUser({ user })).rejects.toMatchObject(UNCONFIRMED)
    replica.resume()
    // It catches up in its own time; until then the answer stays the same.
    expect(await confirmed(async () => store.revoke({ sid }))).toEqual({ outcome: 'gone' })
  })

  it('answers 503 and keeps the cookies; this node refuses the session all the same', async () => {
    const store = open(primary, 2)
    const events: LatchkeyEvent[] = []
    const latchkey = createLatchkey({
      issuer: 'https://app.example',
      store,
      // The replicas' 150 ms, and whatever a machine that stalls adds.
      storeDeadline: '10s',
      authenticate: () => ({ id: 'alice' }),
      onEvent: (event) => events.push(event),
    })
    closers.unshift(async () => latchkey.close())
    await latchkey.ready()
    const app = express()
    app.use('/auth', latchkey.authRoutes())
    app.get('/api', latchkey.requireJwt(), (_req, res) => void res.json({}))
    const entered = await request(app).post('/auth/login').send({}).expect(200)
    const { access_token: token } = entered.body as { access_token: string }
    const cookie = (entered.get('Set-Cookie') ?? []).map((line) => line.split(';')[0]).join('; ')

    const left = await request(app).post('/auth/logout').set('Cookie', cookie).expect(503)
    expect(left.body).toMatchObject({ code: 'revocation_unconfirmed' })
    expect(left.headers).toMatchObject({ 'retry-after': '1' })
    expect(left.get('Set-Cookie')).toBeUndefined()
    await request(app).get('/api').set('Authorization', `Bearer ${token}`).expect(401)
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'session_revoked', cause: 'revocation_unconfirmed' }),
    )
  })
})

describe('inspect', () => {
  it('finds nothing wrong with a server that keeps everything', async () => {
    const server = await startRedis({ config: { appendonly: 'yes' } })
    try {
      const store = open(server, 0)
      expect(await store.inspect()).toEqual([])
      await store.close()
    } finally {
      await server.cleanUp()
    }
  })

  it('names eviction, a missing append-only file, and a replica', async () => {
    await ask(replica, 'CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
    const found = await open(replica, 0).inspect()
    await ask(replica, 'CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
    expect(found.map(({ code }) => code)).toEqual([
      'redis_eviction',
      'redis_persistence',
      'redis_replica',
    ])
  })

  it('is asked at start, and what it finds is a warning', async () => {
    const events: LatchkeyEvent[] = []
    const latchkey = createLatchkey({
      issuer: 'https://app.example',
      store: open(primary, 0),
      onEvent: (event) => events.push(event),
    })
    closers.unshift(async () => latchkey.close())
    const found = () => events.some(({ cause }) => cause === 'redis_persistence')
    await until('the warning', async () => found())
    expect(events).toContainEqual(expect.objectContaining({ type: 'warning' }))
  })
})

describe('a feed that is kept too short for the tokens', () => {
  it('is refused at start, and the error names the mend', () => {
    const store = open(primary, 0)
    expect(() =>
      createLatchkey({ issuer: 'https://app.example', store, accessTokenTtl: '1d' }),
    ).toThrow(expect.objectContaining({ code: 'invalid_option', option: 'accessTokenTtl' }))
  })
})
