import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { postgresStore } from '../../stores/postgres.ts'
import { closeKits } from '../support/kit.ts'
import { query } from '../support/postgres-commands.ts'
import type { PostgresServer } from '../support/postgres-server.ts'
import { startPostgres } from '../support/postgres-server.ts'
import type { PostgresStandby } from '../support/postgres-standby.ts'
import { startStandby } from '../support/postgres-standby.ts'
import { until } from '../support/redis-commands.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { hash, HOUR, login, newSession, newUser, POLICY, replacement } from './contract/support.ts'
import type { HttpClient, Node, NodeSetup } from './postgres/node.ts'
import { closeNodes, migrated, openNode, poolOf } from './postgres/node.ts'
import { stormAt } from './postgres/storm.ts'
import type { Tokens } from './redis/node.ts'
import { generationOf, OUTAGE } from './redis/node.ts'
import { widest } from './redis/storm.ts'

/** No call is late for want of a processor. */
const OPTIONS = { storeDeadline: '5s', maxStaleness: '1s' } as const
const POOL = { connectionTimeoutMillis: 10_000 } as const

let primary: PostgresServer
let standby: PostgresStandby
let isFollowed = false
let schema: string
/** Where the address leads to that the nodes know. */
const target = { port: 0 }
let address: TcpProxy

beforeAll(async () => {
  primary = await startPostgres()
  schema = await migrated(primary.url)
  target.port = primary.port
  address = await startTcpProxy(target)
})

afterEach(async () => {
  await closeNodes()
  await closeKits()
})

afterAll(async () => {
  address.stop()
  if (isFollowed) await standby.cleanUp()
  await primary.cleanUp()
})

async function openHere(setup: Partial<NodeSetup> = {}): Promise<Node> {
  const options = { ...OPTIONS, ...setup.options }
  const store = { operationTimeout: '4s', ...setup.store } as const
  return openNode({ url: primary.url, schema, via: address, pool: POOL, ...setup, options, store })
}

/** The address leads elsewhere from here on; who is connected is cut off, or stays where he is. */
function leadTo({ port }: { readonly port: number }, cuts: boolean = true): void {
  target.port = port
  if (cuts) address.cutAll()
}

/** A standby of the primary, unless there is one. */
async function follow(options: { readonly synchronous?: boolean } = {}): Promise<void> {
  if (isFollowed) return
  standby = await startStandby(primary, options)
  isFollowed = true
}

/** The standby is the primary from here on. */
async function takeOver(): Promise<void> {
  await standby.promote()
  isFollowed = false
  const old = primary
  primary = standby
  await old.cleanUp()
}

/** From here on the standby gets nothing more. */
async function cutReplication(): Promise<void> {
  await standby.waitForReplay()
  await query(standby, `alter system set primary_conninfo = ''`)
  await query(standby, 'select pg_reload_conf()')
  await until('nobody replicates', async () => {
    const senders = await query(primary, 'select from pg_stat_replication')
    const receivers = await query(standby, 'select from pg_stat_wal_receiver')
    return senders.length === 0 && receivers.length === 0
  })
}

/** Refreshes several times, one after the other. */
async function refreshOften(node: HttpClient, tokens: Tokens, times: number): Promise<Tokens> {
  let last = tokens
  for (let n = 0; n < times; n++) last = (await node.refreshed(last.refresh)).tokens
  return last
}

async function expectOutage(node: HttpClient, tokens: Tokens): Promise<void> {
  const answers = await Promise.all([
    node.refresh(tokens.refresh),
    node.getSession(tokens),
    node.get('/sensitive', tokens),
    node.logout(tokens),
  ])
  for (const answer of answers) {
    expect(answer).toMatchObject(OUTAGE)
    expect(answer.retryAfter).toBeGreaterThanOrEqual(1)
  }
}

/** Rejects with what all of them were refused by. */
async function together(...calls: Promise<unknown>[]): Promise<never> {
  const codes = (await Promise.allSettled(calls)).map((one) =>
    one.status === 'rejected' ? one.reason.code : one.value,
  )
  throw Object.assign(new Error('refused'), { code: [...new Set(codes)].join() })
}

describe('an address that leads to a standby', () => {
  beforeAll(async () => follow())

  afterEach(async () => {
    leadTo(primary)
    await standby.resumeReplay()
  })

  it.each(['session', 'user'] as const)(
    'is an outage, whatever the standby still has or does not have yet (onReuse: %s)',
    async (onReuse) => {
      const node = await openHere({ options: { onReuse } })
      const [old, revoked] = [await node.login('old'), await node.login('revoked')]
      await standby.waitForReplay()
      await standby.pauseReplay()
      // Of this the standby knows nothing: one is gone, one is new, one has gone on.
      await node.latchkey.sessions.revoke(revoked.sid)
      const fresh = await node.login('fresh')
      const ahead = await refreshOften(node, old, 2)
      await node.quiet()

      leadTo(standby)
      for (const tokens of [fresh, ahead, old]) await expectOutage(node, tokens)
      for (const answer of [await node.refresh(revoked.refresh), await node.getSession(revoked)]) {
        expect(answer).toMatchObject({ status: 401, code: 'session_revoked' })
      }
      const credentials = { username: 'fresh', password: 'correct-horse-battery-staple' }
      expect(await node.post('/auth/login', credentials)).toMatchObject(OUTAGE)
      expect(await node.blind()).toBe('stale')
      // Who has heard nothing of the revocation does not let it pass, either.
      const late = await openHere({
        options: { onReuse, onStoreFailure: 'deny' },
        // Else the standby's refusal to LISTEN would be enough.
        store: { listen: false },
        sighted: false,
      })
      for (const tokens of [revoked, fresh]) {
        await expectOutage(late, tokens)
        expect(await late.get('/jwt', tokens)).toMatchObject(OUTAGE)
      }
      expect(late.latchkey.health().feed.blind).toBe('starting')

      leadTo(primary)
      await Promise.all([node, late].map(async (one) => one.sighted()))
      expect(await late.getSession(revoked)).toMatchObject({ status: 401 })
      expect(generationOf((await late.refreshed(fresh.refresh)).tokens.refresh)).toBe(1)
      expect(generationOf((await node.refreshed(ahead.refresh)).tokens.refresh)).toBe(3)
      for (const one of [node, late]) expect(one.typesOf()).not.toContain('authn_token_reuse')
    },
  )

  it('decides nothing, also where it would have nothing to write', async () => {
    const to = (port: number) => {
      const pool = poolOf({ url: primary.url, schema, via: { port }, pool: POOL })
      const store = postgresStore({ pool, schema, operationTimeout: '10s', pruneInterval: false })
      return Object.assign(store, { pool })
    }
    const [real, late] = [to(primary.port), to(standby.port)]
    const limit = { max: 1, onLimit: 'refuse' } as const
    const known = login(newSession(newUser()), { limit })
    await real.create(known)
    const { sid, seedHash, user } = known.session
    const revoked = newUser()
    await real.revokeUser({ user: revoked })
    await standby.waitForReplay()
    const gone = newSession(newUser())
    const asked = { sid: gone.sid, seedHash: gone.seedHash, generation: 0, attemptHash: hash() }
    const rotation = { ...asked, bindingHash: null, policy: POLICY, idleTimeoutMs: HOUR }
    const decisions: Record<string, () => Promise<unknown>> = {
      'create again': async () => late.create(known),
      'create at the limit': async () => late.create(login(newSession(user), { limit })),
      'create too late': async () =>
        late.create(login(newSession(revoked), { loginAgeMs: 5 * HOUR })),
      replace: async () => late.replace(replacement(gone, newSession(gone.user))),
      'check what is there': async () => late.check({ sid, seedHash, idleTimeoutMs: HOUR }),
      'check what is not': async () => late.check({ sid: gone.sid, seedHash, idleTimeoutMs: HOUR }),
      'look at what is there': async () => late.check({ sid, peek: true, idleTimeoutMs: HOUR }),
      'check many at once': async () => {
        const input = { sid, seedHash, peek: true, idleTimeoutMs: HOUR }
        return together(late.check(input), late.check({ ...input, sid: gone.sid }))
      },
      'check many at once that are not': async () => {
        const input = { sid: gone.sid, idleTimeoutMs: HOUR }
        return together(late.check(input), late.check(input))
      },
      'revoke many at once that are not': async () =>
        together(late.revoke({ sid: gone.sid }), late.revoke({ sid: gone.sid })),
      'rotate what is not': async () => late.rotate({ ...rotation, onReuse: 'session' }),
      'rotate what is not, of a user': async () => late.rotate({ ...rotation, onReuse: 'user' }),
      'revoke what is not': async () => late.revoke({ sid: gone.sid }),
      'revoke a user who has none': async () => late.revokeUser({ user: gone.user }),
      'update what is not': async () => late.update({ sid: gone.sid, dataVer: 0, data: {} }),
    }
    const outcomes: Record<string, unknown> = {}
    for (const [name, decide] of Object.entries(decisions)) {
      outcomes[name] = await decide().catch(({ code }: { readonly code?: string }) => code)
    }
    await Promise.all([real, late].map(async (store) => store.close()))
    await Promise.all([real, late].map(async ({ pool }) => pool.end()))
    const refused = Object.keys(decisions).map((name) => [name, '25006'])
    expect(outcomes).toEqual(Object.fromEntries(refused))
  })

  it.each([true, false])(
    'is left when it leads to the primary again, though nobody was cut off (listen: %s)',
    async (listen) => {
      const node = await openHere({ store: { listen } })
      const tokens = await node.login()
      await node.quiet()
      leadTo(standby)
      await Promise.all(Array.from({ length: 20 }, async () => expectOutage(node, tokens)))
      expect(await node.blind()).toBe('stale')
      leadTo(primary, false)
      // Who is never idle keeps all of his connections.
      const answer = await node.refreshed(tokens.refresh)
      expect(generationOf(answer.tokens.refresh)).toBe(1)
      await node.sighted()
    },
  )
})

describe('a failover', () => {
  let nodes: [Node, Node]

  beforeEach(async () => {
    await follow()
    nodes = [await openHere(), await openHere()]
  })

  it('that loses writes logs out nobody whose session survived, and heals what was revoked', async () => {
    const [one, two] = nodes
    const untouched = await one.login('untouched')
    const rotated = await one.login('rotated')
    const revoked = await one.login('revoked')
    const secondRevoked = await one.login('revoked')
    const other = await one.login('other')
    await one.latchkey.sessions.update(other.sid, { roles: ['reader'] })
    await one.quiet()

    await cutReplication()
    const ahead = await refreshOften(one, rotated, 3)
    expect(generationOf(ahead.refresh)).toBe(3)
    const late = await one.login('late')
    expect(await one.latchkey.sessions.revokeUser('revoked')).toBe(2)
    await until('the other has heard', async () => {
      return (await two.get('/jwt', revoked)).code === 'session_revoked'
    })
    await primary.kill()
    leadTo(standby)
    // It is no primary yet: what it has lost it must not say.
    for (const tokens of [late, ahead, untouched]) await expectOutage(one, tokens)
    await takeOver()
    await Promise.all(nodes.map(async (node) => node.recovered()))

    // Nobody asks for them: who was not there and remembers nothing finds them ended before long.
    const fresh = await openHere()
    await until('the revocations are made again', async () => {
      const sids = [revoked.sid, secondRevoked.sid]
      const found = await Promise.all(sids.map(async (sid) => fresh.latchkey.sessions.find(sid)))
      return found.every((session) => session === null)
    })
    await until('it has heard', async () => (await fresh.get('/jwt', revoked)).status === 401)
    for (const node of nodes) {
      for (const tokens of [revoked, secondRevoked]) {
        expect(await node.get('/jwt', tokens)).toMatchObject({ status: 401 })
        expect(await node.getSession(tokens)).toMatchObject({ status: 401 })
      }
    }

    expect(await two.getSession(untouched)).toMatchObject({ status: 200 })
    expect(await two.refreshed(untouched.refresh)).toMatchObject({ status: 200 })
    const recovered = await two.refreshed(ahead.refresh)
    expect(generationOf(recovered.tokens.refresh)).toBe(4)
    expect(two.typesOf()).toContain('authn_token_recovered')
    expect(await one.refreshed(recovered.tokens.refresh)).toMatchObject({ status: 200 })
    expect(await one.refreshed(late.refresh)).toMatchObject({
      status: 401,
      code: 'session_ended',
      outcome: 'terminal',
    })
    expect(nodes.flatMap((node) => node.typesOf())).not.toContain('authn_token_reuse')
    await Promise.all(nodes.map(async (node) => node.sighted()))
  })

  it('under load is an outage and no more', async () => {
    const [one, two] = nodes
    // More than 16 generations that were lost are not recovered: nobody is to get as far as that.
    const storm = await stormAt(nodes, 16, 100)
    await until('all were refreshed', async () =>
      storm.clients.every(({ successors }) => successors.size > 0),
    )
    // Nor is a session recovered that the standby has not heard of.
    await standby.waitForReplay()
    await primary.kill()
    leadTo(standby)
    await sleep(300)
    await takeOver()
    await Promise.all(nodes.map(async (node) => node.recovered()))
    await sleep(200)
    await storm.stop()

    expect(storm.outages).toBeGreaterThan(0)
    for (const answer of storm.answers) expect([200, 503]).toContain(answer.status)
    expect(widest(storm.clients)).toBe(1)
    for (const { tokens } of storm.clients) {
      expect(await one.refreshed(tokens.refresh)).toMatchObject({ status: 200 })
    }
    await Promise.all(nodes.map(async (node) => node.sighted()))
    const doomed = await one.login('doomed')
    await one.latchkey.sessions.revoke(doomed.sid)
    await until('the other has heard', async () => (await two.get('/jwt', doomed)).status === 401)
    expect(nodes.flatMap((node) => node.typesOf())).not.toContain('authn_token_reuse')
  })
})

describe('a failover to a standby that every commit waits for', () => {
  beforeEach(async () => follow({ synchronous: true }))

  it('brings no acknowledged revocation back', async () => {
    const node = await openHere()
    const logins = Array.from({ length: 24 }, async (_, n) => node.login(`user-${n}`))
    const sessions = await Promise.all(logins)
    // While it does not answer, nothing is acknowledged.
    const [first, ...others] = sessions
    standby.pause()
    expect(await node.logout(first as Tokens)).toMatchObject(OUTAGE)
    standby.resume()
    await node.recovered()

    const acknowledged: string[] = []
    const revoking = others.map(async ({ sid }, n) => {
      await sleep(8 * n)
      await node.latchkey.sessions.revoke(sid).then(
        () => acknowledged.push(sid),
        () => undefined,
      )
    })
    await until('some are acknowledged', async () => acknowledged.length >= 6)
    await primary.kill()
    await Promise.all(revoking)
    leadTo(standby)
    await takeOver()
    await closeNodes()
    // It remembers nothing: it is the server that does.
    const fresh = await openHere()
    for (const sid of acknowledged) expect(await fresh.latchkey.sessions.find(sid)).toBeNull()
    const heard = sessions.filter(({ sid }) => acknowledged.includes(sid))
    for (const tokens of heard) {
      expect(await fresh.get('/jwt', tokens)).toMatchObject({ code: 'session_revoked' })
    }
  })
})
