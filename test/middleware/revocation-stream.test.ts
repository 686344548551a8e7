import { connect } from 'node:net'
import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { REVOKED } from '../../lib/heard-set.ts'
import type { KitSetup, TestKit } from '../support/kit.ts'
import { MINUTE, closeKits, openKit, sendRaw, until } from '../support/kit.ts'
import { hangUpAll, listenTo } from '../support/revocation-stream.ts'
import { CREDENTIAL, askServices } from '../support/services.ts'

afterEach(async () => {
  hangUpAll()
  await closeKits()
})

async function openIssuer(setup: KitSetup = {}): Promise<TestKit> {
  return openKit({ ...setup, options: { services: askServices, ...setup.options } })
}

describe('GET /revocations', () => {
  it('is not there without services', async () => {
    const kit = await openKit()
    const res = await request(kit.server).get('/auth/revocations').set('Authorization', CREDENTIAL)
    expect(res.status).toBe(404)
  })

  it.each([
    ['nobody', undefined],
    ['who has another secret', 'Basic eDp5'],
  ])('answers 401 invalid_client to %s, before anything is streamed', async (_who, credential) => {
    const kit = await openIssuer()
    const asked = request(kit.server).get('/auth/revocations')
    const res = await (credential === undefined ? asked : asked.set('Authorization', credential))
    expect([res.status, JSON.parse(res.text).code]).toEqual([401, 'invalid_client'])
    expect(res.headers['www-authenticate']).toMatch(/^Basic realm=/)
  })

  it('answers 401 to a user, whoever it is', async () => {
    const kit = await openIssuer()
    const root = await kit.login('root')
    const res = await request(kit.server).get('/auth/revocations').set('Authorization', root.bearer)
    expect([res.status, JSON.parse(res.text).code]).toEqual([401, 'invalid_client'])
  })

  it('answers 405 to other methods, and HEAD with headers alone', async () => {
    const kit = await openIssuer()
    const post = await request(kit.server)
      .post('/auth/revocations')
      .set('Authorization', CREDENTIAL)
    expect(post.status).toBe(405)
    expect(post.headers['allow']).toBe('GET, HEAD')
    const { status, head, body } = await sendRaw(kit.port, 'HEAD /auth/revocations', [
      `Authorization: ${CREDENTIAL}`,
    ])
    expect([status, body]).toEqual([200, ''])
    expect(head).toMatch(/content-type: text\/event-stream/i)
  })

  it('is neither kept nor held back on its way', async () => {
    const kit = await openIssuer()
    const { response } = await listenTo(kit)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    expect(response.headers.get('cache-control')).toBe('no-store, no-transform')
    expect(response.headers.get('x-accel-buffering')).toBe('no')
    expect(response.headers.get('set-cookie')).toBeNull()
  })

  it('tells all that is retained, then what comes: revocations, changes, keys, denied tokens', async () => {
    const kit = await openIssuer()
    const [first, second] = [await kit.login('alice'), await kit.login('bob')]
    await kit.latchkey.sessions.revoke(first.sid)
    const ear = await listenTo(kit)
    await until(() => ear.sids().includes(first.sid))
    await kit.latchkey.sessions.update(second.sid, { roles: ['x'] })
    await kit.spy.raw.deny({ sid: second.sid, jti: 'a-jti', expiresAt: kit.clock.now + MINUTE })
    await kit.spy.raw.keys.save(0, '{}')
    await kit.latchkey.sessions.revoke(second.sid)
    await until(() => ear.entries().some(({ sid, ver }) => sid === second.sid && ver === REVOKED))
    await until(() => ear.sids().includes('keys'))
    expect(ear.entries()).toEqual(
      expect.arrayContaining([
        { sid: first.sid, ver: REVOKED },
        { sid: second.sid, ver: 1 },
        { sid: 'a-jti', ver: REVOKED },
        { sid: 'keys', ver: 1 },
        { sid: second.sid, ver: REVOKED },
      ]),
    )
  })

  it('tells nothing but ids and versions', async () => {
    const kit = await openIssuer()
    const login = await kit.login()
    const ear = await listenTo(kit)
    await kit.latchkey.sessions.revoke(login.sid)
    await until(() => ear.sids().length > 0)
    for (const frame of ear.frames()) {
      expect(Object.keys(frame).toSorted()).toEqual(['asOf', 'entries', 'more', 'now'])
    }
    expect(JSON.stringify(ear.frames())).not.toMatch(/alice|lks_|lkr_/)
  })

  it('beats about every second while nothing happens', async () => {
    const kit = await openIssuer()
    const ear = await listenTo(kit)
    await until(() => ear.frames().length >= 3, 10_000)
    expect(ear.entries()).toEqual([])
    const known = ear.frames().map(({ asOf }) => asOf)
    expect(known).toEqual(known.toSorted((a, b) => a - b))
    expect(new Set(known).size).toBe(known.length)
  }, 60_000)

  it('is resumed where it broke, on another node too', async () => {
    const a = await openIssuer()
    const b = await openIssuer({ spy: a.spy, clock: a.clock })
    const logins = await Promise.all(['alice', 'bob', 'root'].map(async (name) => a.login(name)))
    const [first, second, third] = logins.map(({ sid }) => sid)
    const ear = await listenTo(a)
    await a.latchkey.sessions.revoke(first ?? '')
    await until(() => ear.sids().includes(first ?? ''))
    ear.hangUp()
    await a.latchkey.sessions.revoke(second ?? '')
    await b.latchkey.sessions.revoke(third ?? '')
    const back = await listenTo(b, { lastId: ear.lastId() })
    await until(() => back.sids().includes(second ?? '') && back.sids().includes(third ?? ''))
    expect(back.frames().at(0)?.more).toBe(false)
  })

  it('answers 503 while its node is blind, and ends when the node goes blind', async () => {
    const kit = await openIssuer()
    const ear = await listenTo(kit)
    await until(() => ear.frames().length > 0)
    kit.spy.feed = 'hangs'
    // A read that was sent before may complete after it.
    kit.clock.now += 6000
    await until(() => !kit.latchkey.health().ok)
    const res = await request(kit.server).get('/auth/revocations').set('Authorization', CREDENTIAL)
    expect([res.status, JSON.parse(res.text).code]).toEqual([503, 'feed_unavailable'])
    expect(res.headers['retry-after']).toBe('1')
    await until(() => ear.state.over)
  }, 60_000)

  it('asks the store for nothing, however many listen', async () => {
    const kit = await openIssuer()
    kit.spy.reset()
    const ears = await Promise.all(Array.from({ length: 20 }, async () => listenTo(kit)))
    await until(() => ears.every((ear) => ear.frames().length > 0))
    expect(kit.spy.calls).toEqual([])
  })

  it('ends with the kit, so that the server can close', async () => {
    const kit = await openIssuer()
    const ear = await listenTo(kit)
    await until(() => ear.frames().length > 0)
    await kit.latchkey.close()
    await until(() => ear.state.over)
    const res = await request(kit.server).get('/auth/revocations').set('Authorization', CREDENTIAL)
    expect(res.status).toBe(503)
  })

  it('cuts who does not listen, and tells the others', async () => {
    const kit = await openIssuer()
    const socket = connect(kit.port, '127.0.0.1')
    const lines = ['GET /auth/revocations HTTP/1.1', 'Host: x', `Authorization: ${CREDENTIAL}`]
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    let closed = false
    socket.once('close', () => (closed = true))
    socket.on('error', () => {})
    try {
      await new Promise((resolve) => socket.once('readable', resolve))
      socket.pause()
      const ear = await listenTo(kit)
      await until(() => ear.frames().length > 0)
      const { store } = kit.spy
      // More than the buffers of two kernels hold, and then a MiB.
      const serverSide = async () =>
        new Promise<number>((resolve, reject) =>
          kit.server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
        )
      const before = await serverSide()
      let told = 0
      for (let round = 0; round < 200 && (await serverSide()) === before; round++) {
        for (let n = 0; n < 2000; n++) {
          const jti = `jti-${told++}`.padEnd(60, 'x')
          await store.deny({ sid: jti, jti, expiresAt: kit.clock.now + MINUTE })
        }
        const wanted = told
        await until(() => ear.entries().length >= wanted, 10_000)
      }
      expect(await serverSide()).toBe(before - 1)
      expect(ear.state.over).toBe(false)
      socket.resume()
      await until(() => closed)
    } finally {
      socket.destroy()
    }
  }, 120_000)
})
