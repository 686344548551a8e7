import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import {
  attempt,
  expectLimited,
  failTimes,
  goodAttempt,
  openBehindProxy,
  reportedLimits,
} from '../support/attempts.ts'
import type { Fault } from '../support/kit.ts'
import { closeKits, MINUTE, until } from '../support/kit.ts'

afterEach(closeKits)

const HERE = '192.0.2.1'
const FAULTS: readonly Fault[] = ['throws', 'rejects', 'hangs', 'late']

describe.each(FAULTS)('while the store’s counters fail (it %s)', (fault) => {
  async function open() {
    const kit = await openBehindProxy({
      storeDeadline: '20ms',
      rateLimits: {
        loginPerAccountAndNetwork: { max: 3 },
        refreshPerSession: { max: 3 },
      },
    })
    kit.spy.lateMs = 50
    kit.spy.faults.set('limit.take', fault)
    return kit
  }

  it('logins go on, and are limited by this node', async () => {
    const kit = await open()
    await goodAttempt(kit, HERE).expect(200)
    expect(await failTimes(5, () => attempt(kit, HERE))).toEqual([401, 401, 401, 429, 429])
    expectLimited(await goodAttempt(kit, HERE), 900)
    await goodAttempt(kit, '192.0.2.2').expect(200)
    expect(kit.events).toContainEqual(
      expect.objectContaining({ type: 'store_failure', cause: 'limit' }),
    )
    expect(reportedLimits(kit)).toEqual(['loginPerAccountAndNetwork'])
  })

  it('refreshes go on, and are limited by this node', async () => {
    const kit = await open()
    let { refreshCookie } = await kit.login()
    const failures = () => kit.events.filter(({ cause }) => cause === 'limit').length
    // The login's own: three that were taken and are given back.
    await until(() => failures() === 6)
    const statuses = await failTimes(5, async (index) => {
      const before = failures()
      const res = await request(kit.server).post('/auth/refresh').set('Cookie', refreshCookie)
      const [, next] = res.get('Set-Cookie') ?? []
      if (next !== undefined) refreshCookie = next.split(';', 1)[0] ?? ''
      // A refresh does not wait for its count, which comes with the deadline here.
      if (index < 3) await until(() => failures() > before)
      return res
    })
    expect(statuses).toEqual([200, 200, 200, 429, 429])
  })

  it('counts in the store again when that answers', async () => {
    const kit = await open()
    await failTimes(5, () => attempt(kit, HERE))
    kit.spy.faults.clear()
    await kit.tick(15 * MINUTE)
    expect(await failTimes(5, () => attempt(kit, HERE))).toEqual([401, 401, 401, 429, 429])
  })
})

describe('while the whole store is away', () => {
  it('wrong passwords are still refused, and still limited', async () => {
    const kit = await openBehindProxy({
      storeDeadline: '20ms',
      rateLimits: { loginPerAccountAndNetwork: { max: 2 } },
    })
    for (const name of ['limit.take', 'create', 'replace', 'check', 'rotate']) {
      kit.spy.faults.set(name, 'rejects')
    }
    expect(await failTimes(4, () => attempt(kit, HERE))).toEqual([401, 401, 429, 429])
    const res = await goodAttempt(kit, '192.0.2.2')
    expect(res.body).toMatchObject({ status: 503, code: 'store_unavailable' })
  })
})
