import { afterEach, describe, expect, it, jest } from '@jest/globals'
import request from 'supertest'
import type { Finding, LatchkeyOptions } from '../../middleware/index.ts'
import { createLatchkey, memoryStore } from '../../middleware/index.ts'
import type { TestKit } from '../support/kit.ts'
import {
  closeKits,
  COOKIES,
  HOUR,
  ISSUER,
  MINUTE,
  openKit,
  SECRET,
  SIGNING_KEY,
  spyOn,
  until,
} from '../support/kit.ts'

const ENV = process.env['NODE_ENV']
const WEAK = 'a-test-secret-of-more-than-thirty-two-bytes'

afterEach(async () => {
  process.env['NODE_ENV'] = ENV
  jest.restoreAllMocks()
  await closeKits()
})

function codesOf(findings: readonly Finding[]): string[] {
  return findings.map(({ code }) => code)
}

async function codes(kit: TestKit): Promise<string[]> {
  return codesOf(await kit.latchkey.doctor())
}

/** The codes of the warnings that `onEvent` saw. */
function warned(kit: TestKit): (string | undefined)[] {
  return kit.events.filter(({ type }) => type === 'warning').map(({ cause }) => cause)
}

describe('doctor()', () => {
  it('has nothing to say of a kit that is well', async () => {
    const kit = await openKit()
    const { cookie, bearer } = await kit.login('alice', { headers: { Host: 'localhost' } })
    await request(kit.server).get('/session').set('Cookie', cookie).expect(200)
    await request(kit.server).get('/jwt').set('Authorization', bearer).expect(200)
    await request(kit.server).get('/session').expect(401)
    expect(await codes(kit)).toEqual([])
    expect(warned(kit)).toEqual([])
  })

  it('names what was said at start, each with a sentence and how bad it is', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    Reflect.deleteProperty(process.env, 'NODE_ENV')
    const kit = createLatchkey({ issuer: ISSUER, secrets: [WEAK, `${WEAK}-2`] })
    const found = await kit.doctor()
    await kit.close()
    expect(found.map(({ code, severity }) => [code, severity])).toEqual([
      ['development_signingKeys', 'warning'],
      ['development_store', 'warning'],
      ['weak_secret', 'error'],
      ['secret_reused', 'error'],
      ['node_env', 'warning'],
    ])
    expect(warn.mock.calls.map((call) => (call as unknown[])[2])).toEqual(codesOf(found))
    for (const { message } of found) {
      expect(message.length).toBeGreaterThan(20)
      expect(message).not.toContain(WEAK)
    }
  })

  it('names plain http, once however many logins, and what is wrong with access tokens', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const kit = await openKit()
    kit.users.set('carol', { id: 'carol', claims: { sub: 'x', much: 'x'.repeat(1100) } as never })
    for (const name of ['alice', 'carol']) {
      await kit.login(name, { headers: { Host: 'app.example' } })
    }
    expect(await codes(kit)).toEqual(['plain_http', 'reserved_claim', 'large_access_token'])
    expect(warn).toHaveBeenCalledTimes(3)
  })

  it('asks the store each time, within the deadline, and takes its silence for a finding', async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const found = [{ code: 'server_odd', message: 'the server is odd; make it even' }]
    const raw = memoryStore()
    const spy = spyOn({ ...raw, inspect: async () => Promise.resolve(found) })
    const kit = await openKit({ spy, options: { clock: Date.now, storeDeadline: '50ms' } })
    expect(await kit.latchkey.doctor()).toEqual([{ ...found[0], severity: 'error' }])
    found.splice(0)
    expect(await codes(kit)).toEqual([])
    for (const fault of ['rejects', 'throws', 'hangs'] as const) {
      spy.faults.set('inspect', fault)
      expect(await codes(kit)).toEqual(['store_unavailable'])
    }
    spy.faults.clear()
    expect(await codes(kit)).toEqual([])
  })

  it('survives a store that answers nonsense, and a kit that was closed', async () => {
    const raw = memoryStore()
    const inspect = (async () => Promise.resolve(null)) as unknown as typeof raw.inspect
    const options = { issuer: ISSUER, secrets: [SECRET], signingKeys: [SIGNING_KEY] }
    const kit = createLatchkey({ ...options, store: { ...raw, inspect } })
    expect(codesOf(await kit.doctor())).toEqual(['store_unavailable'])
    await kit.close()
    await raw.close()
    expect(codesOf(await kit.doctor())).toEqual(['store_unavailable'])
  })
})

describe('a store whose clock is off', () => {
  /** A kit whose store lives at another time. */
  async function openOff(offsetMs: number) {
    let offset = offsetMs
    const clock = { now: Date.now() }
    const spy = spyOn(memoryStore({ clock: () => clock.now + offset }))
    const kit = await openKit({ clock, spy, options: { clockSkew: '60s' } })
    return { kit, turn: (ms: number) => void (offset = ms) }
  }

  it('is said at the first reads, and again when it comes back', async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const { kit, turn } = await openOff(-20_000)
    expect(warned(kit)).toEqual(['clock_offset'])
    expect(await codes(kit)).toEqual(['clock_offset'])
    turn(0)
    await until(() => kit.latchkey.health().feed.clock_offset_ms === 0)
    expect(await codes(kit)).toEqual([])
    turn(6000)
    await until(() => warned(kit).length === 2)
    expect(await codes(kit)).toEqual(['clock_offset'])
  })

  it('within five seconds says nothing, nor when both clocks jump', async () => {
    const { kit } = await openOff(4900)
    for (const ms of [HOUR, -HOUR, 10 * MINUTE]) await kit.tick(ms)
    expect(warned(kit)).toEqual([])
    expect(await codes(kit)).toEqual([])
  })
})

describe('strict', () => {
  const good: LatchkeyOptions<Record<string, string>> = {
    issuer: ISSUER,
    secrets: [SECRET],
    signingKeys: [SIGNING_KEY],
    strict: true,
  }

  it.each([
    ['a weak secret', [WEAK], 'weak_secret: secrets[0]'],
    ['a secret that is used twice', [SECRET, Buffer.from(SECRET, 'base64')], 'secret_reused: '],
  ])('does not start with %s', (_name, secrets, hint) => {
    expect(() => createLatchkey({ ...good, store: memoryStore(), secrets })).toThrow(
      expect.objectContaining({
        code: 'invalid_option',
        option: 'strict',
        message: expect.stringContaining(hint),
      }),
    )
  })

  it('starts without, and with what is a warning only', async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    process.env['NODE_ENV'] = 'staging'
    const kit = createLatchkey({ ...good, store: memoryStore() })
    await kit.ready()
    expect(codesOf(await kit.doctor())).toEqual(['node_env'])
    await kit.close()
  })

  it('is not ready on an unsafe store, until it is mended', async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const found = [{ code: 'server_odd', message: 'the server is odd; make it even' }]
    const store = { ...memoryStore(), inspect: async () => Promise.resolve(found) }
    const kit = createLatchkey({ ...good, store })
    const refused = { option: 'strict', message: expect.stringContaining('server_odd: ') }
    await expect(kit.ready()).rejects.toMatchObject(refused)
    found.splice(0)
    await kit.ready()
    await kit.close()
    const lenient = createLatchkey({ ...good, strict: false, store })
    await lenient.ready()
    await lenient.close()
  })

  it('says of a store that never loads its feed what is wrong with it', async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const found = [{ code: 'server_empty', message: 'the server has no schema; make one' }]
    const spy = spyOn({ ...memoryStore(), inspect: async () => Promise.resolve(found) })
    spy.feed = 'fails'
    const kit = createLatchkey({ ...good, store: spy.store })
    await expect(kit.ready()).rejects.toMatchObject({ option: 'strict' })
    await kit.close()
  })

  it('waits for a store that comes up later, and then asks it', async () => {
    const spy = spyOn(memoryStore())
    spy.feed = 'fails'
    spy.faults.set('inspect', 'rejects')
    const kit = createLatchkey({ ...good, store: spy.store })
    const ready = kit.ready()
    await until(() => spy.calls.filter((name) => name === 'inspect').length >= 2)
    spy.faults.clear()
    spy.feed = 'live'
    await ready
    expect(spy.calls.filter((name) => name === 'inspect')).toHaveLength(3)
    spy.faults.set('inspect', 'rejects')
    await expect(kit.ready()).rejects.toMatchObject({
      message: expect.stringContaining('store_unavailable: '),
    })
    await kit.close()
  })
})

describe('a cookie with a double', () => {
  it('is found, once, and the request is answered as ever', async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const kit = await openKit()
    const { sessionCookie } = await kit.login('alice', { headers: { Host: 'localhost' } })
    const planted = `${COOKIES.session}=lks_planted; ${sessionCookie}`
    for (let time = 0; time < 3; time++) {
      await request(kit.server).get('/session').set('Cookie', planted).expect(200)
    }
    expect(warned(kit)).toEqual(['cookie_shadowed'])
    const [found] = await kit.latchkey.doctor()
    expect(found).toMatchObject({ code: 'cookie_shadowed', severity: 'warning' })
    expect(found?.message).toContain(COOKIES.session)
    expect(found?.message).not.toContain('planted')
  })

  it('of the same value is none', async () => {
    const kit = await openKit()
    const { sessionCookie } = await kit.login('alice', { headers: { Host: 'localhost' } })
    const twice = `${sessionCookie}; ${sessionCookie}`
    await request(kit.server).get('/session').set('Cookie', twice).expect(200)
    expect(await codes(kit)).toEqual([])
  })
})
