import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { Client } from 'pg'
import { createNames } from '../../stores/postgres/names.ts'
import { createNotifier } from '../../stores/postgres/notifier.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import {
  check,
  hash,
  login,
  MINUTE,
  newSession,
  newUser,
  open,
  random,
  refresh,
  replacement,
} from './contract/support.ts'
import { useDatabase } from './postgres/open.ts'

const database = useDatabase(sharedPostgresUrl)
const names = createNames(database.schema, 'latchkey_')

let listening: Client
let told = 0
let store: PostgresStore

beforeAll(async () => {
  listening = new Client({ connectionString: sharedPostgresUrl() })
  await listening.connect()
  listening.on('notification', () => {
    told += 1
  })
  await listening.query(`listen ${names.channel}`)
  store = database.store()
})

afterAll(async () => {
  await store.close()
  await listening.end()
})

/** What adds something to the feed. */
const changes: Readonly<Record<string, (at: PostgresStore) => Promise<unknown>>> = {
  async 'a login that evicts'(at) {
    const user = newUser()
    await open(at, user)
    const limit = { max: 1, onLimit: 'evict' } as const
    return at.create(login(newSession(user), { limit }))
  },
  async 'a login that replaces'(at) {
    const session = await open(at)
    return at.replace(replacement(session, newSession(session.user)))
  },
  async reuse(at) {
    const session = await open(at)
    await at.rotate(refresh(session))
    const policy = { reuseGraceMs: 0, lostResponseWindowMs: 0 }
    expect(await at.rotate(refresh(session, { policy }))).toMatchObject({ outcome: 'reused' })
  },
  async 'changed attributes'(at) {
    const { sid, attributes } = await open(at)
    return at.update({ sid, ver: 0, attributes })
  },
  revoke: async (at) => at.revoke({ sid: (await open(at)).sid }),
  async 'many that are revoked at once'(at) {
    const sessions = [await open(at), await open(at)]
    return Promise.all(sessions.map(async ({ sid }) => at.revoke({ sid })))
  },
  revokeUser: async (at) => at.revokeUser({ user: (await open(at)).user }),
  async 'a denied token'(at) {
    const { sid } = await open(at)
    return at.deny({ sid, jti: random(16), expiresAt: Date.now() + MINUTE })
  },
  async 'a document of keys'(at) {
    const version = (await at.keys.load())?.version ?? 0
    expect(await at.keys.save(version, random())).toBe(true)
  },
}

async function silence(): Promise<void> {
  for (let before = -1; before !== told;) {
    before = told
    await sleep(50)
  }
}

describe('who follows the feed is notified', () => {
  it.each(Object.keys(changes))('of %s', async (name) => {
    await silence()
    const before = told
    await changes[name]?.(store)
    await until('it is told', async () => told > before)
    expect(told).toBeGreaterThan(before)
  })

  it.each(Object.keys(changes))(
    'of %s in a transaction of the app’s, at its commit',
    async (name) => {
      for (const end of ['rollback', 'commit']) {
        await silence()
        const before = told
        const client = await database.pool.connect()
        try {
          await client.query('begin')
          await changes[name]?.(database.store({ pool: client }))
          await sleep(50)
          expect(told).toBe(before)
          await client.query(end)
        } finally {
          client.release()
        }
        if (end === 'commit') await until('it is told', async () => told > before)
      }
      await silence()
    },
  )

  it('of nothing that adds nothing', async () => {
    const session = await open(store)
    await silence()
    const before = told
    const { sid, user } = session
    await check(store, sid)
    await store.rotate(refresh(session))
    await store.revoke({ sid, seedHash: hash() })
    const forged = [hash(), hash()].map(async (seedHash) => store.revoke({ sid, seedHash }))
    await Promise.all(forged)
    await store.revokeUser({ user, except: sid })
    await store.update({ sid, ver: 7, attributes: session.attributes })
    await store.deny({ sid, jti: random(16), expiresAt: 1 })
    await store.keys.save(1234, 'no')
    await sleep(100)
    expect(told).toBe(before)
  })
})

describe('a notification', () => {
  it('is one at a time, once for all that came meanwhile, and none after the end', async () => {
    const asked: (() => void)[] = []
    const notifier = createNotifier(
      { run: async () => new Promise((resolve) => asked.push(() => resolve([]))) },
      names,
    )
    for (let n = 0; n < 1000; n++) notifier.tell()
    await sleep(50)
    expect(asked).toHaveLength(1)
    asked[0]?.()
    await until('the rest is told', async () => asked.length === 2)
    asked[1]?.()
    await sleep(50)
    expect(asked).toHaveLength(2)
    notifier.tell()
    notifier.tell()
    notifier.close()
    asked[2]?.()
    await sleep(50)
    expect(asked).toHaveLength(3)
  })

  it('that fails is nobody’s failure, and the next is tried', async () => {
    let asked = 0
    const notifier = createNotifier(
      {
        run: async () => {
          asked += 1
          throw new Error('no connection')
        },
      },
      names,
    )
    notifier.tell()
    await sleep(50)
    notifier.tell()
    await until('it is tried again', async () => asked === 2)
    notifier.close()
    expect(asked).toBe(2)
  })
})
