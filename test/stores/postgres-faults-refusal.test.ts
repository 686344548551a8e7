import { randomBytes } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { grantScript } from '../../stores/postgres/migrate.ts'
import type { Names } from '../../stores/postgres/names.ts'
import { createNames } from '../../stores/postgres/names.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { closeKits, COOKIES, PASSWORD } from '../support/kit.ts'
import { query } from '../support/postgres-commands.ts'
import type { PostgresServer } from '../support/postgres-server.ts'
import { startPostgres } from '../support/postgres-server.ts'
import { until } from '../support/redis-commands.ts'
import {
  check,
  HOUR,
  login,
  newSession,
  newUser,
  NO_GRACE,
  open,
  refresh,
  replacement,
} from './contract/support.ts'
import type { Node, NodeSetup } from './postgres/node.ts'
import { closeNodes, migrated, openNode, terminate } from './postgres/node.ts'
import type { Tokens } from './redis/node.ts'
import { generationOf, OUTAGE } from './redis/node.ts'

const ROLE = 'app'

let server: PostgresServer
let names: Names
/** As a role that is no superuser, and owns nothing. */
let url: string

beforeAll(async () => {
  server = await startPostgres()
  const schema = await migrated(server.url)
  names = createNames(schema, 'latchkey_')
  const password = randomBytes(12).toString('hex')
  await query(server, `create role ${ROLE} login password '${password}'`)
  await query(server, grantScript(names, ROLE))
  url = Object.assign(new URL(server.url), { username: ROLE, password }).href
})

afterEach(async () => {
  await closeNodes()
  await closeKits()
})

afterAll(async () => {
  await server.cleanUp()
})

/** A node that is late for no other reason than the fault. */
async function openHere(setup: Partial<NodeSetup> = {}): Promise<Node> {
  return openNode({
    url,
    schema: names.schema,
    ...setup,
    pool: { connectionTimeoutMillis: 10_000, ...setup.pool },
    store: { operationTimeout: '9s', ...setup.store },
    options: { storeDeadline: '10s', maxStaleness: '2s', ...setup.options },
  })
}

/** All that is stored of sessions and users, and what is in the feed. */
async function stored(): Promise<unknown> {
  const { session, userMark, denied, counter, feed, signingKeys } = names
  const tables = [session, userMark, denied, counter, feed, signingKeys]
  const rows = tables.map(async (table) =>
    query(server, `select t::text from ${table} t order by 1`),
  )
  return Promise.all(rows)
}

/** Nobody gets in, nobody is thrown out: login, refresh and logout are 503 and change nothing. */
async function expectNothingIssued(node: Node, tokens: Tokens): Promise<void> {
  const before = await stored()
  const credentials = { username: 'bob', password: PASSWORD }
  const answers = await Promise.all([
    node.post('/auth/login', credentials),
    node.refresh(tokens.refresh),
    node.post('/auth/refresh', {}, { cookie: `${COOKIES.refresh}=${tokens.refresh}` }),
    node.logout(tokens),
  ])
  for (const answer of answers) {
    expect(answer).toMatchObject({ ...OUTAGE, tokens: { access: '', refresh: '', session: '' } })
    expect(answer.retryAfter).toBeGreaterThanOrEqual(1)
  }
  expect(await stored()).toEqual(before)
}

/** As if nothing had been: the token is good, and was never used. */
async function expectWell(node: Node, tokens: Tokens): Promise<void> {
  await node.recovered()
  const answer = await node.refreshed(tokens.refresh)
  expect(answer.status).toBe(200)
  expect(generationOf(answer.tokens.refresh)).toBe(1)
  const ended = await until('it is ended', async () => {
    const { status } = await node.logout(answer.tokens)
    return status !== 503 && status
  })
  expect(ended).toBe(204)
  await node.sighted()
  expect(node.typesOf()).not.toContain('authn_token_reuse')
}

/** Every operation that writes. */
function changesOf(
  store: PostgresStore,
  session: Awaited<ReturnType<typeof open>>,
): Record<string, () => Promise<unknown>> {
  const { sid, user } = session
  return {
    create: async () => store.create(login(newSession(user))),
    'create that evicts': async () =>
      store.create(login(newSession(user), { limit: { max: 1, onLimit: 'evict' } })),
    replace: async () => store.replace(replacement(session, newSession(user))),
    rotate: async () => store.rotate(refresh({ ...session, generation: 1 })),
    'rotate that finds theft': async () =>
      store.rotate(refresh(session, { policy: NO_GRACE, onReuse: 'session' })),
    'rotate that finds theft and ends all': async () =>
      store.rotate(refresh(session, { policy: NO_GRACE, onReuse: 'user' })),
    'check that confirms': async () => store.check({ sid, generation: 1, idleTimeoutMs: HOUR }),
    revoke: async () => store.revoke({ sid }),
    revokeUser: async () => store.revokeUser({ user }),
    'revokeUser of nobody': async () => store.revokeUser({ user: newUser() }),
    'update of attributes': async () =>
      store.update({ sid, ver: 0, attributes: session.attributes }),
    'update of data': async () => store.update({ sid, dataVer: 0, data: { much: 'x' } }),
    deny: async () => store.deny({ sid, jti: 'j', expiresAt: Date.now() + HOUR }),
    'limit.take': async () => store.limit.take('login', 1, HOUR),
    'keys.save': async () => store.keys.save(0, 'document'),
  }
}

describe('a server that takes no writes', () => {
  afterEach(async () => {
    await setReadOnly('off')
  })

  async function setReadOnly(value: 'on' | 'off'): Promise<void> {
    await query(server, `alter system set default_transaction_read_only = ${value}`)
    await query(server, 'select pg_reload_conf()')
    await until('it is set', async () => {
      const sql = `show default_transaction_read_only`
      const [row] = await query<{ default_transaction_read_only: string }>(server, sql)
      return row?.default_transaction_read_only === value
    })
  }

  it('is named, refuses every change as a whole, and is well when it takes them again', async () => {
    const node = await openHere()
    const { store } = node
    const session = await open(store)
    await store.rotate(refresh(session))
    await setReadOnly('on')
    const findings = await store.inspect()
    expect(findings.map(({ code }) => code)).toContain('postgres_read_only')
    const before = await stored()
    for (const [name, change] of Object.entries(changesOf(store, session))) {
      const code = await change().then(
        () => `${name} went through`,
        (error: { readonly code?: string }) => error.code,
      )
      expect(code).toBe('25006')
    }
    expect(await stored()).toEqual(before)
    await setReadOnly('off')
    await node.recovered()
    expect((await store.rotate(refresh({ ...session, generation: 1 }))).outcome).toBe('rotated')
  })

  it('is 503 for who logs in, refreshes or logs out; the node sees', async () => {
    const node = await openHere()
    const tokens = await node.login()
    await node.quiet()
    await setReadOnly('on')
    const setAt = performance.now()
    await expectNothingIssued(node, tokens)
    const { feed } = await node.hasReadSince(setAt)
    expect(feed.blind).toBeNull()
    await setReadOnly('off')
    await expectWell(node, tokens)
  })
})

describe('a server without room', () => {
  // What a full disk says is said by a trigger: a real one would need a mount, and to be root.
  async function fill(): Promise<void> {
    await query(
      server,
      `create function "${names.schema}".full() returns trigger language plpgsql as $$
       begin raise exception 'could not extend file: No space left' using errcode = 'disk_full'; end $$`,
    )
    for (const table of [names.session, names.feed]) {
      await query(
        server,
        `create trigger no_room before insert or update on ${table}
         for each row execute function "${names.schema}".full()`,
      )
    }
  }

  async function free(): Promise<void> {
    await query(server, `drop function if exists "${names.schema}".full() cascade`)
  }

  afterEach(free)

  it('is 503 for who logs in, refreshes or logs out; who is in stays in', async () => {
    const node = await openHere()
    const session = await open(node.store)
    const tokens = await node.login()
    // What is due is written: later there is nothing left to write.
    expect(await node.get('/sensitive', tokens)).toMatchObject({ status: 200 })
    await node.quiet()
    await fill()
    await expectNothingIssued(node, tokens)
    for (const change of [
      node.store.create(login(newSession(newUser()))),
      node.store.rotate(refresh(session)),
      node.store.revokeUser({ user: session.user }),
    ]) {
      await expect(change).rejects.toMatchObject({ code: '53100' })
    }
    expect(await node.getSession(tokens)).toMatchObject({ status: 200 })
    await free()
    expect((await node.store.revokeUser({ user: session.user })).revoked).toEqual([session.sid])
    await expectWell(node, tokens)
  })
})

describe('a statement timeout of the app', () => {
  async function hurry(): Promise<void> {
    await query(server, `drop function if exists "${names.schema}".slow() cascade`)
  }

  afterEach(hurry)

  it('is 503 and undoes what was begun; the connection is good for the next', async () => {
    const node = await openHere({ pool: { statement_timeout: 400, idleTimeoutMillis: 0 } })
    const tokens = await node.login()
    await node.quiet()
    // A server that is slow: every statement that changes something takes a while.
    await query(
      server,
      `create function "${names.schema}".slow() returns trigger language plpgsql as $$
       begin perform pg_sleep(2); return null; end $$`,
    )
    await query(
      server,
      `create trigger slow after insert or update or delete on ${names.session}
       for each statement execute function "${names.schema}".slow()`,
    )
    const removed: unknown[] = []
    node.pool.on('remove', (client) => removed.push(client))
    const session = newSession(newUser())
    await expect(node.store.create(login(session))).rejects.toMatchObject({ code: '57014' })
    await expectNothingIssued(node, tokens)
    await hurry()
    expect(removed).toEqual([])
    expect(await until('it answers', async () => check(node.store, session.sid))).toBe('gone')
    await expectWell(node, tokens)
  })
})

describe('a server that takes no more connections', () => {
  afterEach(async () => {
    await query(server, `alter role ${ROLE} connection limit -1`)
  })

  it('is 503 for everybody, the node is blind in time, and all is well when there is room', async () => {
    const node = await openHere({ options: { maxStaleness: '1s' } })
    const tokens = await node.login()
    await node.quiet()
    await query(server, `alter role ${ROLE} connection limit 0`)
    await terminate(server, node.name)
    await until('the pool has noticed', async () => node.pool.totalCount === 0)
    await expectNothingIssued(node, tokens)
    await expect(node.store.list({ user: newUser(), limit: 1 })).rejects.toMatchObject({
      code: '53300',
    })
    expect(await node.blind()).toBe('stale')
    expect(await node.getSession(tokens)).toMatchObject(OUTAGE)
    await query(server, `alter role ${ROLE} connection limit -1`)
    await expectWell(node, tokens)
  })
})

describe('a node whose clock is a minute ahead', () => {
  it('is blind and asks the store; sessions are no matter of clocks', async () => {
    // Nobody is blind for another reason than that.
    const maxStaleness = '60s'
    const one = await openHere({ options: { maxStaleness } })
    const two = await openHere({
      options: { maxStaleness, clock: () => Date.now() + 60_000 },
      sighted: false,
    })
    await two.latchkey.ready()
    expect(await two.blind()).toBe('clock')
    expect(one.latchkey.health().ok).toBe(true)
    const tokens = await one.login()
    await Promise.all([one.quiet(), two.quiet()])

    // The blind one asks for what the other takes on its signature.
    for (const node of [one, two]) {
      expect(await node.get('/jwt', tokens)).toMatchObject({ status: 200 })
    }
    expect([one.checks, two.checks]).toEqual([0, 1])

    // What it issues is from the future to the other, whose client refreshes and goes on.
    const ahead = await two.refreshed(tokens.refresh)
    expect(ahead.status).toBe(200)
    expect(await two.get('/jwt', ahead.tokens)).toMatchObject({ status: 200 })
    expect(await one.get('/jwt', ahead.tokens)).toMatchObject({
      status: 401,
      code: 'token_invalid',
      cookies: [],
    })
    const back = await one.refreshed(ahead.tokens.refresh)
    expect(back.status).toBe(200)
    expect(generationOf(back.tokens.refresh)).toBe(2)
    expect(await one.get('/jwt', back.tokens)).toMatchObject({ status: 200 })

    // Deadlines are the store's: both say the same of the same session.
    for (const node of [one, two]) {
      expect(await node.getSession(tokens)).toMatchObject({ status: 200 })
    }
    const [seen, seenAhead] = await Promise.all(
      [one, two].map(async (node) => node.latchkey.sessions.find(tokens.sid)),
    )
    expect(seenAhead).toEqual(seen)
    const fresh = await two.login('bob')
    const opened = await one.latchkey.sessions.find(fresh.sid)
    expect(Math.abs((opened?.createdAt ?? 0) - Date.now())).toBeLessThan(10_000)

    // A revocation is heard by a blind node, too.
    await one.latchkey.sessions.revoke(tokens.sid)
    await until('it has heard', async () => (await two.get('/jwt', back.tokens)).status === 401)
    expect([...one.typesOf(), ...two.typesOf()]).not.toContain('authn_token_reuse')
  })
})
