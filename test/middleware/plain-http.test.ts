import { afterEach, describe, expect, it } from '@jest/globals'
import express from 'express'
import request from 'supertest'
import type { Latchkey, LatchkeyEvent } from '../../middleware/index.ts'
import { createLatchkey, memoryStore } from '../../middleware/index.ts'

let latchkey: Latchkey

afterEach(async () => latchkey.close())

/** How often a login that sets Secure cookies warns of plain http. */
async function warnings(host: string, headers: Record<string, string> = {}): Promise<number> {
  const events: LatchkeyEvent[] = []
  latchkey = createLatchkey({
    issuer: 'https://app.example',
    store: memoryStore(),
    authenticate: () => ({ id: 'alice' }),
    onEvent: (event) => events.push(event),
  })
  const app = express()
  app.set('trust proxy', 'loopback')
  app.use('/auth', latchkey.authRoutes())
  await request(app)
    .post('/auth/login')
    .set({ Host: host, ...headers })
    .send({})
    .expect(200)
  return events.filter(({ type, cause }) => type === 'warning' && cause === 'plain_http').length
}

describe('a Secure cookie', () => {
  it('over what looks like plain http warns of the proxy', async () => {
    expect(await warnings('app.example')).toBe(1)
  })

  it('over https says nothing, also behind a trusted proxy', async () => {
    expect(await warnings('app.example', { 'X-Forwarded-Proto': 'https' })).toBe(0)
  })

  it.each(['localhost:3000', '127.0.0.1', '[::1]:3000'])(
    'on %s says nothing: browsers take it there',
    async (host) => {
      expect(await warnings(host)).toBe(0)
    },
  )
})
