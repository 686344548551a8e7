import type { ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import { afterEach, describe, expect, it } from '@jest/globals'
import express from 'express'
import request from 'supertest'
import { formatFrame, formatOpen } from '../../lib/feed-frame.ts'
import { REVOKED } from '../../lib/heard-set.ts'
import { generateSigningKey } from '../../lib/signing-keys.ts'
import type { VerifierEvent, VerifierOptions } from '../../middleware/verifier/index.ts'
import { createVerifier, remoteFeed } from '../../middleware/verifier/index.ts'
import type { KitSetup, TestKit } from '../support/kit.ts'
import { ISSUER, MINUTE, closeKits, echo, listen, openKit, pause, until } from '../support/kit.ts'
import { CREDENTIAL, askServices } from '../support/services.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

/** Machines are slow at times. */
const LONG = 10_000
const open: (() => unknown)[] = []

afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close()
  await closeKits()
})

async function openIssuer(setup: KitSetup = {}): Promise<TestKit> {
  return openKit({ ...setup, options: { services: askServices, ...setup.options } })
}

/** A way to an issuer that can break, and lead to another node afterwards. */
async function openWay(kit: TestKit): Promise<TcpProxy & { target: { port: number } }> {
  const target = { port: kit.port }
  const proxy = await startTcpProxy(target)
  open.push(() => proxy.stop())
  return Object.assign(proxy, { target })
}

/** A service that knows an issuer by its public keys and its stream. */
async function openService(
  port: number,
  clock: { now: number },
  options: Partial<VerifierOptions> = {},
  credential: string | (() => string | Promise<string>) = CREDENTIAL,
) {
  const events: VerifierEvent[] = []
  const verifier = createVerifier({
    issuer: ISSUER,
    audience: ISSUER,
    jwks: `http://127.0.0.1:${port}/auth/.well-known/jwks.json`,
    feed: remoteFeed({ url: `http://127.0.0.1:${port}/auth/revocations`, credential }),
    clock: () => clock.now,
    // Far more than a machine stalls.
    maxStaleness: '1m',
    onEvent: (event) => events.push(event),
    ...options,
  })
  open.push(async () => verifier.close())
  const app = express()
  app.get('/', verifier.requireJwt(), echo)
  const { server } = await listen(app)
  return {
    verifier,
    events,
    types: () => events.map(({ type }) => type),
    get: async (bearer: string) => request(server).get('/').set('Authorization', bearer),
    sighted: async () => until(() => verifier.health().ok, LONG),
    blind: async () => until(() => verifier.health().feed?.blind !== null, LONG),
  }
}

async function openBoth(options: Partial<VerifierOptions> = {}) {
  const kit = await openIssuer()
  const service = await openService(kit.port, kit.clock, options)
  await service.sighted()
  kit.spy.reset()
  return { kit, service }
}

type Service = Awaited<ReturnType<typeof openService>>

/** Asks until it is refused, for news takes a moment to come over: status and code. */
async function codeOf(service: Service, bearer: string): Promise<unknown[]> {
  let res = await service.get(bearer)
  for (let tries = 0; res.status === 200; tries++) {
    if (tries > 2000) throw new Error('it goes on to pass')
    await pause(2)
    res = await service.get(bearer)
  }
  return [res.status, JSON.parse(res.text).code]
}

describe('a service that has only the public key', () => {
  it('refuses the token of a session that was revoked', async () => {
    const { kit, service } = await openBoth()
    const [alice, bob] = [await kit.login('alice'), await kit.login('bob')]
    expect((await service.get(alice.bearer)).status).toBe(200)
    await kit.latchkey.sessions.revoke(alice.sid)
    expect(await codeOf(service, alice.bearer)).toEqual([401, 'session_revoked'])
    expect((await service.get(bob.bearer)).status).toBe(200)
  })

  it('refuses all of a user who logged out everywhere', async () => {
    const { kit, service } = await openBoth()
    const logins = await Promise.all(Array.from({ length: 5 }, async () => kit.login('alice')))
    await request(kit.server)
      .post('/auth/logout-all')
      .set('Authorization', logins[0]?.bearer ?? '')
    for (const { bearer } of logins)
      expect(await codeOf(service, bearer)).toEqual([401, 'session_revoked'])
  })

  it('calls a token stale when what it says has changed', async () => {
    const { kit, service } = await openBoth()
    const login = await kit.login('root')
    await kit.latchkey.sessions.update(login.sid, { roles: [] })
    expect(await codeOf(service, login.bearer)).toEqual([401, 'token_stale'])
  })

  it('refuses a token that was denied by itself, and not its session', async () => {
    const { kit, service } = await openBoth()
    const login = await kit.login()
    const claims = await service.verifier.verify(login.access)
    const { session, accessToken } = await kit.latchkey.sessions.open({ id: 'bob' })
    await kit.spy.store.deny({
      sid: login.sid,
      jti: claims.jti,
      expiresAt: kit.clock.now + 15 * MINUTE,
    })
    expect(await codeOf(service, login.bearer)).toEqual([401, 'token_revoked'])
    expect(session.userId).toBe('bob')
    expect((await service.get(`Bearer ${accessToken}`)).status).toBe(200)
  })

  it('refuses what was revoked before it began to listen', async () => {
    const kit = await openIssuer()
    const login = await kit.login()
    await kit.latchkey.sessions.revoke(login.sid)
    const service = await openService(kit.port, kit.clock)
    await service.verifier.ready()
    expect(service.verifier.health()).toMatchObject({ ok: true, feed: { blind: null, heard: 1 } })
    expect(await codeOf(service, login.bearer)).toEqual([401, 'session_revoked'])
  })

  it('costs the issuer no store call, neither to listen nor to verify', async () => {
    const { kit, service } = await openBoth()
    const login = await kit.login()
    kit.spy.reset()
    for (let n = 0; n < 5; n++) expect((await service.get(login.bearer)).status).toBe(200)
    expect(kit.spy.calls).toEqual([])
  })

  it('asks for the keys anew when it hears of them', async () => {
    const { kit, service } = await openBoth()
    let asked = 0
    kit.server.prependListener('request', ({ url }: { url?: string }) => {
      if (url?.endsWith('jwks.json') === true) asked++
    })
    await kit.spy.raw.keys.save(0, '{}')
    await until(() => asked > 0, LONG)
    expect(service.verifier.health().ok).toBe(true)
  })
})

describe('a service that cannot hear', () => {
  it('is blind before it has heard all, and says so', async () => {
    const kit = await openIssuer()
    const way = await openWay(kit)
    way.refuse()
    const service = await openService(way.port, kit.clock)
    expect(service.verifier.health()).toMatchObject({ ok: false, feed: { blind: 'starting' } })
    await until(() => service.types().includes('feed_failure'), LONG)
    await way.restore()
    await service.sighted()
    expect(service.types()).toContain('feed_sighted')
  }, 60_000)

  it.each([
    ['refuses connections', (way: TcpProxy) => [way.refuse(), way.cutAll()]],
    ['says nothing any more, and closes nothing', (way: TcpProxy) => [way.halfOpen()]],
  ])(
    'is blind within maxStaleness of the issuer that %s, and its keys go on',
    async (_what, fail) => {
      const kit = await openIssuer()
      const way = await openWay(kit)
      const service = await openService(way.port, kit.clock, { maxStaleness: '2s' })
      await service.sighted()
      const login = await kit.login()
      expect((await service.get(login.bearer)).status).toBe(200)
      fail(way)
      await service.blind()
      expect(service.verifier.health()).toMatchObject({
        ok: false,
        keys: { count: 1 },
        feed: { blind: 'stale' },
      })
      await until(() => service.types().includes('feed_blind'), LONG)
      expect(service.events.find(({ type }) => type === 'feed_blind')?.cause).toBe('stale')
      expect((await service.get(login.bearer)).status).toBe(200)
      await way.restore()
      await service.sighted()
    },
    60_000,
  )

  it.each(['the verifier', 'the guard'])(
    'denies while it is blind when %s says so',
    async (who) => {
      const kit = await openIssuer()
      const way = await openWay(kit)
      const policy = { onStoreFailure: 'deny' } as const
      const service = await openService(way.port, kit.clock, who === 'the verifier' ? policy : {})
      const app = express()
      app.get('/', service.verifier.requireJwt(who === 'the guard' ? policy : {}), echo)
      const { server } = await listen(app)
      await service.sighted()
      const { bearer } = await kit.login()
      const get = async () => request(server).get('/').set('Authorization', bearer)
      expect((await get()).status).toBe(200)
      way.refuse()
      way.cutAll()
      kit.clock.now += 2 * MINUTE
      await service.blind()
      const res = await get()
      expect([res.status, JSON.parse(res.text).code]).toEqual([503, 'feed_unavailable'])
      expect(res.headers['retry-after']).toBe('1')
      // What is known to be void stays void.
      await way.restore()
      await service.sighted()
      expect((await get()).status).toBe(200)
    },
    60_000,
  )

  it('remembers while it is blind what it heard before', async () => {
    const kit = await openIssuer()
    const way = await openWay(kit)
    const service = await openService(way.port, kit.clock)
    await service.sighted()
    const login = await kit.login()
    await kit.latchkey.sessions.revoke(login.sid)
    expect(await codeOf(service, login.bearer)).toEqual([401, 'session_revoked'])
    way.refuse()
    way.cutAll()
    kit.clock.now += 2 * MINUTE
    await service.blind()
    expect(await codeOf(service, login.bearer)).toEqual([401, 'session_revoked'])
  }, 60_000)

  it('is blind when its issuer is, though the connection lives', async () => {
    const kit = await openIssuer({ options: { maxStaleness: '1s' } })
    const service = await openService(kit.port, kit.clock, { maxStaleness: '2s' })
    await service.sighted()
    kit.spy.feed = 'hangs'
    await service.blind()
    expect(service.verifier.health().feed?.blind).toBe('stale')
    kit.spy.feed = 'live'
    await service.sighted()
  }, 60_000)

  it('is blind when its clock is not the issuer’s', async () => {
    const kit = await openIssuer()
    const service = await openService(kit.port, { now: kit.clock.now + 31_000 })
    await until(() => service.verifier.health().feed?.blind === 'clock', LONG)
    expect(service.verifier.health().feed?.clock_offset_ms).toBe(-31_000)
  }, 60_000)

  it('is sent to another node by one that loses sight, and misses nothing', async () => {
    const a = await openIssuer()
    const b = await openIssuer({ spy: a.spy, clock: a.clock })
    const way = await openWay(a)
    const service = await openService(way.port, a.clock, { maxStaleness: '2s' })
    await service.sighted()
    const [first, second] = [await a.login('alice'), await a.login('bob')]
    way.refuse()
    way.cutAll()
    // While it is away, on the node it knows and on the one it does not.
    await a.latchkey.sessions.revoke(first.sid)
    await b.latchkey.sessions.revoke(second.sid)
    await service.blind()
    await a.latchkey.close()
    way.target.port = b.port
    await way.restore()
    await service.sighted()
    expect(await codeOf(service, first.bearer)).toEqual([401, 'session_revoked'])
    expect(await codeOf(service, second.bearer)).toEqual([401, 'session_revoked'])
  }, 60_000)

  it('resumes where it broke, and is told no more than it may have missed', async () => {
    const kit = await openIssuer()
    const old = await kit.login()
    await kit.latchkey.sessions.revoke(old.sid)
    await kit.tick(10 * MINUTE)
    const seen: (string | undefined)[] = []
    kit.server.prependListener(
      'request',
      (req: { url?: string; headers: Record<string, string> }) => {
        if (req.url === '/auth/revocations') seen.push(req.headers['last-event-id'])
      },
    )
    const way = await openWay(kit)
    const service = await openService(way.port, kit.clock)
    await service.sighted()
    expect(service.verifier.health().feed?.heard).toBe(1)
    way.cutAll()
    await until(() => seen.length === 2, LONG)
    expect(seen).toEqual([undefined, expect.stringMatching(/^\d{13}$/)])
    expect(Math.abs(Number(seen[1]) - kit.clock.now)).toBeLessThan(10 * MINUTE)
  }, 60_000)
})

describe('a service that is not let in', () => {
  it('stays blind, says why, and does not hammer the issuer', async () => {
    const kit = await openIssuer()
    let asked = 0
    kit.server.prependListener('request', ({ url }: { url?: string }) => {
      if (url === '/auth/revocations') asked++
    })
    const service = await openService(kit.port, kit.clock, {}, 'Basic d3Jvbmc6d3Jvbmc=')
    await until(() => service.types().includes('feed_failure'), LONG)
    const failure = service.events.find(({ type }) => type === 'feed_failure')
    expect(String(failure?.error)).toContain('401')
    expect(
      JSON.stringify(service.events.map(({ error, ...rest }) => [rest, String(error)])),
    ).not.toContain('d3Jvbmc')
    await pause(1500)
    expect(asked).toBe(1)
    expect(service.verifier.health().feed?.blind).toBe('starting')
  }, 60_000)

  it('asks its credential anew at each connection', async () => {
    const kit = await openIssuer()
    const way = await openWay(kit)
    let asked = 0
    const service = await openService(way.port, kit.clock, {}, async () => {
      asked++
      return CREDENTIAL
    })
    await service.sighted()
    expect(asked).toBe(1)
    way.cutAll()
    await until(() => asked === 2, LONG)
    await service.sighted()
    expect(service.types()).toContain('feed_failure')
  }, 60_000)

  it('never shows a credential that cannot be sent', async () => {
    const kit = await openIssuer()
    const service = await openService(kit.port, kit.clock, {}, () => 'Basic s3cr3t\r\nX: y')
    await until(() => service.types().includes('feed_failure'), LONG)
    const [failure] = service.events
    expect(failure?.error).toMatchObject({ code: 'invalid_option' })
    expect(inspect(failure)).not.toContain('s3cr3t')
  })

  it.each([
    ['no credential', { url: 'https://app.example/auth/revocations' }],
    ['a credential of two lines', { url: 'https://app.example/', credential: 'Basic a\nb' }],
    ['an empty credential', { url: 'https://app.example/', credential: '' }],
    ['http', { url: 'http://app.example/auth/revocations', credential: CREDENTIAL }],
    ['a password in the URL', { url: 'https://a:b@app.example/', credential: CREDENTIAL }],
    ['another option', { url: 'https://app.example/', credential: CREDENTIAL, retry: 1 }],
    ['nothing', undefined],
  ])('is refused at start with %s', (_what, options) => {
    expect(() => remoteFeed(options as never)).toThrow(
      expect.objectContaining({ code: 'invalid_option' }),
    )
  })
})

describe('what comes over the stream', () => {
  /** A server that streams what the test says. */
  async function openFake(
    begin: (res: ServerResponse) => void,
    options: Partial<VerifierOptions> = {},
  ) {
    let asked = 0
    const server = createServer((req, res) => {
      if (req.url !== '/auth/revocations') {
        res.end(JSON.stringify({ keys: [] }))
        return
      }
      asked++
      begin(res)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    open.push(async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    })
    const clock = { now: Date.UTC(2026, 5, 1) }
    const service = await openService((server.address() as AddressInfo).port, clock, {
      jwks: { keys: [publicKey] },
      maxStaleness: '2s',
      ...options,
    })
    return { service, clock, asked: () => asked }
  }

  const { d: _private, ...publicKey } = generateSigningKey()

  function stream(res: ServerResponse): void {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' })
  }

  const whole = (asOf: number, now: number, more = false) =>
    formatFrame({ entries: [{ sid: 'a', ver: REVOKED }], more, asOf, now }, more ? undefined : '1')

  it('makes it see once it is whole', async () => {
    const { service } = await openFake((res) => {
      stream(res)
      res.write(`${formatOpen(100)}${whole(100, Date.UTC(2026, 5, 1))}`)
    })
    await service.sighted()
    expect(service.verifier.health().feed).toMatchObject({ blind: null, heard: 1 })
  })

  it('leaves it blind while there is more to come', async () => {
    const { service } = await openFake((res) => {
      stream(res)
      res.write(`${formatOpen(100)}${whole(100, Date.UTC(2026, 5, 1), true)}`)
    })
    await until(() => service.verifier.health().feed?.heard === 1, LONG)
    expect(service.verifier.health().feed?.blind).toBe('starting')
  })

  it('leaves it blind when it is older than maxStaleness, however new it comes', async () => {
    const { service, asked } = await openFake((res) => {
      stream(res)
      // It knew everything 3 seconds before the stream began.
      res.write(`${formatOpen(10_000)}${whole(7000, Date.UTC(2026, 5, 1))}`)
    })
    await until(() => service.verifier.health().feed?.heard === 1, LONG)
    expect(service.verifier.health().feed?.blind).toBe('stale')
    expect(service.verifier.health().feed?.staleness_ms).toBeGreaterThanOrEqual(3000)
    expect(asked()).toBeGreaterThan(0)
  })

  it('never makes it see into the future: it is blind in time all the same', async () => {
    const { service, clock } = await openFake((res) => {
      stream(res)
      // Its clock has gone half a second further than ours.
      res.write(`${formatOpen(100)}${whole(600, Date.UTC(2026, 5, 1))}`)
    })
    await service.sighted()
    clock.now += 2001
    expect(service.verifier.health().feed?.blind).toBe('stale')
  })

  it.each<[string, (res: ServerResponse) => void]>([
    ['does not begin', (res) => void res.write(whole(1, 1))],
    [
      'is of another protocol',
      (res) => void res.write(`${formatOpen(1)}event: feed\ndata: {}\n\n`),
    ],
    [
      'has an event without end',
      (res) => {
        const more = (): void => {
          while (!res.destroyed && res.write('x'.repeat(16_384)));
          if (!res.destroyed) res.once('drain', more)
        }
        res.write('data: ')
        more()
      },
    ],
    ['ends', (res) => void res.end(formatOpen(1))],
    [
      'says that our steady clock stood still',
      (res) => void res.write(`${formatOpen(1)}${whole(3_600_000, Date.UTC(2026, 5, 1))}`),
    ],
    [
      'knows everything for ever',
      (res) =>
        void res.write(
          `${formatOpen(1)}${whole(7, Date.UTC(2026, 5, 1)).replace('"as_of":7', '"as_of":1e999')}`,
        ),
    ],
  ])(
    'is given up and made anew when it %s',
    async (_what, go) => {
      const { service, asked } = await openFake((res) => {
        stream(res)
        go(res)
      })
      await until(() => asked() >= 2, LONG)
      expect(service.types()).toContain('feed_failure')
      expect(service.verifier.health().feed).toMatchObject({ blind: 'starting', heard: 0 })
    },
    60_000,
  )

  it.each<[string, (res: ServerResponse) => void]>([
    ['a redirect', (res) => void res.writeHead(302, { Location: '/auth/revocations' }).end()],
    ['another type', (res) => void res.writeHead(200, { 'Content-Type': 'text/html' }).end('x')],
    ['404', (res) => void res.writeHead(404).end()],
    ['429 for a while', (res) => void res.writeHead(429, { 'Retry-After': '30' }).end()],
  ])(
    'is left alone for a while after %s',
    async (_what, begin) => {
      const { service, asked } = await openFake(begin, { maxStaleness: '1m' })
      await until(() => service.types().includes('feed_failure'), LONG)
      await pause(500)
      expect(asked()).toBe(1)
    },
    60_000,
  )
})

it('is quiet after close', async () => {
  const { kit, service } = await openBoth()
  await service.verifier.close()
  await until(() => kit.latchkey.health().ok)
  const login = await kit.login()
  await kit.latchkey.sessions.revoke(login.sid)
  await pause(50)
  expect(service.verifier.health().feed?.heard).toBe(0)
})
