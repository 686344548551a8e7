import { afterEach, beforeEach, expect, it, jest } from '@jest/globals'
import request from 'supertest'
import type { TestKit } from '../support/kit.ts'
import { closeKits, openKit } from '../support/kit.ts'

beforeEach(() => {
  jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
})

afterEach(async () => {
  jest.restoreAllMocks()
  await closeKits()
})

/** A kit behind a proxy on this machine. */
async function open(trustProxy: unknown): Promise<TestKit> {
  return openKit({ before: (app) => app.set('trust proxy', trustProxy) })
}

/** Requests of as many clients, each through the proxy. */
async function visits(kit: TestKit, count: number, header = 'X-Forwarded-For'): Promise<void> {
  for (let client = 1; client <= count; client++) {
    await request(kit.server).get('/auth/session').set(header, `192.0.2.${client}`)
  }
}

async function found(kit: TestKit): Promise<string[]> {
  return (await kit.latchkey.doctor()).map(({ code }) => code)
}

it('a proxy that the app does not trust is found, once, at requests of its clients', async () => {
  const kit = await open(false)
  await visits(kit, 19)
  expect(await found(kit)).toEqual([])
  await visits(kit, 60)
  expect(await found(kit)).toEqual(['proxy_address'])
  const warnings = kit.events.filter(({ type }) => type === 'warning')
  expect(warnings).toEqual([expect.objectContaining({ cause: 'proxy_address' })])
  expect(JSON.stringify(warnings)).not.toContain('192.0.2.')
})

it.each(['loopback', 1, true])('one that it trusts (%j) is none', async (trustProxy) => {
  const kit = await open(trustProxy)
  await visits(kit, 40)
  expect(await found(kit)).toEqual([])
})

it('clients without a proxy are none', async () => {
  const kit = await open(false)
  await visits(kit, 40, 'X-Other')
  expect(await found(kit)).toEqual([])
})
