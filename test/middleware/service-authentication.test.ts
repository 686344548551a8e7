import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import express from 'express'
import { AuthError, serviceSecrets, StoreUnavailable } from '../../middleware/index.ts'
import { failTimes, openBehindProxy, reportedLimits } from '../support/attempts.ts'
import type { TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, sendRaw } from '../support/kit.ts'
import { AS_ORDERS, basic, openServices, ORDERS, postForm } from '../support/token-services.ts'

afterEach(closeKits)

const INACTIVE = '{"active":false}'

async function ask(
  kit: TestKit,
  authorization: string | null,
  form: Record<string, string> = {},
): Promise<request.Response> {
  return postForm(kit, '/auth/introspect', { token: 'x', ...form }, authorization)
}

function encoded(pair: string): string {
  return `Basic ${Buffer.from(pair).toString('base64')}`
}

describe('serviceSecrets', () => {
  it('takes client_secret_basic, form-encoded before it is joined (RFC 6749 §2.3.1)', async () => {
    const id = 'über: 100 %+1'
    const services = serviceSecrets({ [id]: ORDERS.hash })
    const kit = await openServices({ options: { services } })
    expect(await ask(kit, basic(id, ORDERS.secret))).toMatchObject({ text: INACTIVE })
    const plus = `${encodeURIComponent(id).replaceAll('%20', '+')}:${ORDERS.secret}`
    expect(await ask(kit, encoded(plus))).toMatchObject({ text: INACTIVE })
    expect(await ask(kit, encoded(`${id}:${ORDERS.secret}`))).toMatchObject({ status: 401 })
  })

  it('takes client_secret_post', async () => {
    const kit = await openServices()
    const form = { client_id: 'orders', client_secret: ORDERS.secret }
    expect(await ask(kit, null, form)).toMatchObject({ text: INACTIVE })
    expect(await ask(kit, null, { ...form, client_id: 'nobody' })).toMatchObject({ status: 401 })
    expect(await ask(kit, null, { client_secret: ORDERS.secret })).toMatchObject({ status: 401 })
  })

  it('reads a form that a parser of the app read before', async () => {
    const kit = await openServices({ before: (app) => app.use(express.urlencoded()) })
    const form = { client_id: 'orders', client_secret: ORDERS.secret }
    expect(await ask(kit, null, form)).toMatchObject({ text: INACTIVE })
    const nested = await request(kit.server)
      .post('/auth/introspect')
      .set('Authorization', AS_ORDERS)
      .type('form')
      .send('token[x]=1')
    expect(nested.status).toBe(400)
  })

  it.each([
    ['no colon', encoded('orders')],
    ['a broken encoding', encoded('orders:%zz')],
    ['no base64', 'Basic orders:secret'],
    ['base64url', `Basic ${Buffer.from('orders:???>>>').toString('base64url')}`],
    ['an empty pair', encoded(':')],
    ['another scheme', `Digest ${ORDERS.secret}`],
    ['the wrong secret', basic('orders', `${ORDERS.secret}x`)],
    ['an unknown name', basic('nobody', ORDERS.secret)],
    ['nothing', null],
  ])('knows nobody by %s, and says no more', async (_, authorization) => {
    const kit = await openServices()
    const res = await ask(kit, authorization)
    expect([res.status, res.body]).toEqual([
      401,
      {
        type: 'about:blank',
        title: 'Unauthorized',
        status: 401,
        code: 'invalid_client',
        detail: 'the service did not prove who it is',
        error: 'invalid_client',
        error_description: 'the service did not prove who it is',
      },
    ])
    expect(res.headers['www-authenticate']).toBe('Basic realm="services", charset="UTF-8"')
    expect(kit.events.at(-1)).toMatchObject({
      type: 'authn_login_fail',
      result: 'failure',
      cause: 'invalid_client',
    })
    expect(JSON.stringify(kit.events)).not.toContain(ORDERS.secret)
  })

  it('takes one way to authenticate and no two (RFC 6749 §2.3)', async () => {
    const kit = await openServices()
    const form = { client_id: 'orders', client_secret: ORDERS.secret }
    const res = await ask(kit, AS_ORDERS, form)
    expect([res.status, res.body]).toEqual([
      400,
      expect.objectContaining({ error: 'invalid_request' }),
    ])
    const raw = await sendRaw(
      kit.port,
      'POST /auth/introspect',
      [
        `Authorization: ${AS_ORDERS}`,
        `Authorization: ${AS_ORDERS}`,
        'Content-Type: application/x-www-form-urlencoded',
        'Content-Length: 7',
      ],
      'token=x',
    )
    expect(raw.status).toBe(400)
  })

  it('holds the name in the form against the one that was proved', async () => {
    const kit = await openServices()
    expect(await ask(kit, AS_ORDERS, { client_id: 'orders' })).toMatchObject({ text: INACTIVE })
    expect(await ask(kit, AS_ORDERS, { client_id: 'billing' })).toMatchObject({ status: 401 })
  })
})

describe('services', () => {
  async function openWith(services: TestOptions['services']): Promise<TestKit> {
    return openServices({ options: { services } })
  }

  it('are asked in their order, and the first that knows decides', async () => {
    const asked: string[] = []
    const kit = await openWith([
      () => void asked.push('first') as never,
      async () => {
        asked.push('second')
        return { id: 'orders' }
      },
      () => {
        asked.push('third')
        return null
      },
    ])
    expect(await ask(kit, null)).toMatchObject({ text: INACTIVE })
    expect(asked).toEqual(['first', 'second'])
  })

  it.each([
    ['throws', () => Promise.reject(new Error('x'))],
    ['returns what is no service', () => ({ id: '' })],
    ['returns true', () => true as never],
  ])('that %s is 500, never a pass', async (_, services) => {
    const kit = await openWith(services)
    const res = await ask(kit, null)
    expect([res.status, res.body]).toEqual([
      500,
      expect.objectContaining({ error: 'server_error' }),
    ])
    expect(kit.events.at(-1)).toMatchObject({ type: 'hook_failure', cause: 'services' })
  })

  it('may refuse with an error of their own', async () => {
    const limited = await openWith(() => {
      throw new AuthError('rate_limited', 'later')
    })
    expect(await ask(limited, null)).toMatchObject({ status: 429 })
    const down = await openWith(() => {
      throw new StoreUnavailable('x')
    })
    expect(await ask(down, null)).toMatchObject({ status: 503 })
  })

  it('can have something used once only, on all nodes', async () => {
    const seen: unknown[] = []
    const kit = await openWith(async (_, { once, issuer, now }) => {
      seen.push(issuer, now(), await once('a', 1000), await once('b', 1000), await once('a', 1000))
      return { id: 'orders' }
    })
    await ask(kit, null)
    expect(seen).toEqual(['https://app.example', kit.clock.now, true, true, false])
    kit.spy.faults.set('limit.take', 'rejects')
    expect(await ask(kit, null)).toMatchObject({ status: 503 })
  })

  it('that fail too often from one network are 429 there, and good ones pass all the same', async () => {
    const kit = await openBehindProxy({
      services: serviceSecrets({ orders: ORDERS.hash }),
      rateLimits: { badTokensPerNetwork: { max: 4 } },
    })
    const from = (network: string, authorization: string) =>
      request(kit.server)
        .post('/auth/introspect')
        .set({ 'X-Forwarded-For': network, Authorization: authorization })
        .type('form')
        .send({ token: 'x' })
    const wrong = basic('orders', 'wrong')
    const statuses = await failTimes(4, () => from('192.0.2.1', wrong))
    expect(statuses).toEqual([401, 401, 401, 401])
    const limited = await from('192.0.2.1', wrong)
    expect([limited.status, limited.headers['retry-after']]).toEqual([429, '60'])
    expect(limited.body).toMatchObject({ code: 'rate_limited', error: 'temporarily_unavailable' })
    expect(await from('192.0.2.2', wrong)).toMatchObject({ status: 401 })
    expect(await from('192.0.2.1', AS_ORDERS)).toMatchObject({ status: 200 })
    expect(reportedLimits(kit)).toEqual(['badTokensPerNetwork'])
    expect(kit.events.filter(({ type }) => type === 'authn_login_fail')).toHaveLength(5)
  })
})
