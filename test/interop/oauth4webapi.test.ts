import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import * as oauth from 'oauth4webapi'
import request from 'supertest'
import { generateServiceSecret } from '../../middleware/index.ts'
import type { ExampleProcess } from '../support/example-process.ts'
import { startExample } from '../support/example-process.ts'
import { freePort } from '../support/redis-process.ts'

const AUDIENCE = 'https://stock.example'
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'

const { secret, hash } = generateServiceSecret()
const client: oauth.Client = { client_id: 'orders' }
const basic = oauth.ClientSecretBasic(secret)
/** The example is on loopback. */
const insecure = { [oauth.allowInsecureRequests]: true } as const

describe('oauth4webapi and the example app', () => {
  let example: ExampleProcess
  let issuer = ''
  let as: oauth.AuthorizationServer

  beforeAll(async () => {
    const port = await freePort()
    issuer = `http://localhost:${port}`
    example = await startExample({
      PORT: `${port}`,
      ISSUER: issuer,
      LATCHKEY_SERVICES: `orders:${hash}`,
      LATCHKEY_AUDIENCES: AUDIENCE,
    })
    as = await discover()
  })

  afterAll(async () => {
    const { code } = await example.stop()
    expect(code).toBe(0)
  })

  /** RFC 8414. */
  async function discover(): Promise<oauth.AuthorizationServer> {
    const url = new URL(issuer)
    const response = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...insecure })
    return oauth.processDiscoveryResponse(url, response)
  }

  async function login(): Promise<{ token: string; sid: string }> {
    const alice = { username: 'alice', password: 'wonderland-7' }
    const res = await request(issuer).post('/auth/login').send(alice)
    const body = res.body as { access_token: string; session: { id: string } }
    return { token: body.access_token, sid: body.session.id }
  }

  async function introspect(token: string, auth = basic) {
    const response = await oauth.introspectionRequest(as, client, auth, token, insecure)
    return oauth.processIntrospectionResponse(as, client, response)
  }

  async function credentials(parameters: Record<string, string>, auth = basic) {
    const response = await oauth.clientCredentialsGrantRequest(
      as,
      client,
      auth,
      parameters,
      insecure,
    )
    return oauth.processClientCredentialsResponse(as, client, response)
  }

  async function exchange(token: string, parameters: Record<string, string> = {}) {
    const asked = {
      subject_token: token,
      subject_token_type: ACCESS_TOKEN,
      audience: AUDIENCE,
      ...parameters,
    }
    const response = await oauth.genericTokenEndpointRequest(
      as,
      client,
      basic,
      EXCHANGE,
      asked,
      insecure,
    )
    return oauth.processGenericTokenEndpointResponse(as, client, response)
  }

  /** What the library's resource server makes of a token. */
  async function validate(token: string, audience: string) {
    const asked = new Request(`${issuer}/`, { headers: { authorization: `Bearer ${token}` } })
    return oauth.validateJwtAccessToken(as, asked, audience, insecure)
  }

  it('introspects a token of a login (RFC 7662)', async () => {
    const { token, sid } = await login()
    expect(await introspect(token)).toMatchObject({
      active: true,
      iss: issuer,
      sub: 'alice',
      sid,
      token_use: 'access_token',
    })
    expect(await introspect(`${token}x`)).toEqual({ active: false })
  })

  it('authenticates by the form too, and is refused with another secret (RFC 6749 §2.3.1)', async () => {
    const { token } = await login()
    const post = oauth.ClientSecretPost(secret)
    expect(await introspect(token, post)).toMatchObject({ active: true })
    for (const wrong of [oauth.ClientSecretBasic, oauth.ClientSecretPost]) {
      const refused: unknown = await introspect(token, wrong(generateServiceSecret().secret)).catch(
        (error: unknown) => error,
      )
      expect(refused).toMatchObject({ status: 401, response: expect.any(Response) })
      // The library leaves the body unread, and with it a connection open.
      await (refused as oauth.WWWAuthenticateChallengeError).response.body?.cancel()
    }
  })

  it('revokes a token (RFC 7009)', async () => {
    const { token } = await login()
    const response = await oauth.revocationRequest(as, client, basic, token, insecure)
    await expect(oauth.processRevocationResponse(response)).resolves.toBeUndefined()
    expect(await introspect(token)).toEqual({ active: false })
    const res = await request(issuer).get('/api/jwt').set('Authorization', `Bearer ${token}`)
    expect([res.status, res.body]).toEqual([401, expect.objectContaining({ status: 401 })])
  })

  it('has client credentials granted (RFC 6749 §4.4), and validates the token (RFC 9068)', async () => {
    const answer = await credentials({ audience: AUDIENCE, scope: 'profile:read' })
    expect(answer).toMatchObject({ token_type: 'bearer', scope: 'profile:read' })
    expect(answer.expires_in).toBeGreaterThan(0)
    expect(await validate(answer.access_token, AUDIENCE)).toMatchObject({
      sub: 'orders',
      client_id: 'orders',
      scope: 'profile:read',
    })
    await expect(validate(answer.access_token, issuer)).rejects.toBeInstanceOf(Error)
  })

  it('hears in the words of OAuth what is not granted', async () => {
    await expect(credentials({ scope: 'stock:burn' })).rejects.toMatchObject({
      error: 'invalid_scope',
      status: 400,
    })
    await expect(credentials({ audience: 'https://else.example' })).rejects.toMatchObject({
      error: 'invalid_target',
      status: 400,
    })
    await expect(exchange('no.such.token')).rejects.toMatchObject({
      error: 'invalid_request',
      status: 400,
    })
  })

  it('exchanges a token (RFC 8693), and validates what comes out', async () => {
    const { token, sid } = await login()
    const answer = await exchange(token)
    expect(answer).toMatchObject({ token_type: 'bearer', issued_token_type: ACCESS_TOKEN })
    expect(await validate(answer.access_token, AUDIENCE)).toMatchObject({
      sub: 'alice',
      sid,
      client_id: 'orders',
      act: { sub: 'orders' },
    })
    expect(await introspect(answer.access_token)).toMatchObject({ active: true, sub: 'alice' })
  })

  it('finds no client_id in the token of a login, and so does not take it (RFC 9068 §2.2)', async () => {
    const { token } = await login()
    await expect(validate(token, issuer)).rejects.toThrow(/client_id/)
  })
})
