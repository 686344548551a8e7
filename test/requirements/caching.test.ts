import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import { closeKits, openKit } from '../support/kit.ts'

afterEach(closeKits)

const PATHS = ['/session', '/jwt', '/hybrid', '/sensitive', '/auth/session', '/auth/sessions']

describe('what depends on credentials is no-store', () => {
  it.each(PATHS)('%s: as an answer, a refusal, to HEAD and as 304', async (path) => {
    const kit = await openKit()
    const { bearer, session } = await kit.login()
    const credential = { Authorization: path === '/session' ? `Session ${session}` : bearer }
    const agent = request(kit.server)
    const full = await agent.get(path).set(credential).expect(200)
    const etag = full.headers['etag'] ?? ''
    expect(etag).not.toBe('')
    const answers = [
      full,
      await agent.head(path).set(credential).expect(200),
      await agent
        .get(path)
        .set({ ...credential, 'If-None-Match': etag })
        .expect(304),
      await agent.get(path).expect(401),
      await agent.head(path).expect(401),
      await agent
        .get(path)
        .set({ Authorization: 'Bearer junk', 'If-None-Match': etag })
        .expect(401),
    ]
    for (const { headers } of answers) expect(headers['cache-control']).toBe('no-store')
  })
})
