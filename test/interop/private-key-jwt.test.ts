import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import * as oauth from 'oauth4webapi'
import { generateSigningKey, privateKeyJwt } from '../../middleware/index.ts'
import { halves } from '../support/forge.ts'
import type { TestKit } from '../support/kit.ts'
import { closeKits, ISSUER, openKit } from '../support/kit.ts'

const STOCK = 'https://stock.example'
const CLOCK = {
  get now() {
    return Date.now()
  },
}

afterEach(closeKits)

const jwk = generateSigningKey()
const client: oauth.Client = { client_id: 'orders' }

async function importKey(key: typeof jwk): Promise<oauth.CryptoKey> {
  const ec = { name: 'ECDSA', namedCurve: 'P-256' }
  const pkcs8 = halves(key).privateKey.export({ format: 'der', type: 'pkcs8' })
  return crypto.subtle.importKey('pkcs8', pkcs8, ec, false, ['sign'])
}

describe('oauth4webapi and services that sign', () => {
  let kit: TestKit
  let as: oauth.AuthorizationServer

  /** The issuer is https; the test has it on loopback. */
  const options = {
    [oauth.customFetch]: async (url: string, init: object) =>
      fetch(url.replace(ISSUER, `http://127.0.0.1:${kit.port}`), init),
  }

  beforeEach(async () => {
    const { d: _private, use: _use, ...published } = jwk
    kit = await openKit({
      clock: CLOCK,
      options: {
        services: privateKeyJwt({ orders: { jwks: { keys: [published] }, scope: ['stock:read'] } }),
        audiences: [STOCK],
      },
      routes: (app, latchkey) => app.use(latchkey.metadataRoute({ authPath: '/auth' })),
    })
    const issuer = new URL(ISSUER)
    const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...options })
    as = await oauth.processDiscoveryResponse(issuer, found)
  })

  async function credentials(auth: oauth.ClientAuth) {
    const asked = { audience: STOCK, scope: 'stock:read' }
    const res = await oauth.clientCredentialsGrantRequest(as, client, auth, asked, options)
    return oauth.processClientCredentialsResponse(as, client, res)
  }

  async function refusal(auth: oauth.ClientAuth): Promise<unknown[]> {
    const error: unknown = await credentials(auth).catch((thrown: unknown) => thrown)
    if (!(error instanceof oauth.WWWAuthenticateChallengeError)) return ['not refused', error]
    // The library leaves the body unread.
    const body = (await error.response.json()) as { error: string }
    return [error.status, body.error]
  }

  it('finds private_key_jwt in the metadata, and is known by its assertions (RFC 7523)', async () => {
    expect(as.token_endpoint_auth_methods_supported).toEqual(['private_key_jwt'])
    const auth = oauth.PrivateKeyJwt({ key: await importKey(jwk), kid: jwk.kid })
    const { access_token: token } = await credentials(auth)
    const res = await oauth.introspectionRequest(as, client, auth, token, options)
    expect(await oauth.processIntrospectionResponse(as, client, res)).toMatchObject({
      active: true,
      sub: 'orders',
      client_id: 'orders',
      scope: 'stock:read',
    })
    const revoked = await oauth.revocationRequest(as, client, auth, token, options)
    await expect(oauth.processRevocationResponse(revoked)).resolves.toBeUndefined()
  })

  it('is refused with a key of somebody else, and with an assertion for somebody else', async () => {
    const key = await importKey(jwk)
    const wrong = [
      oauth.PrivateKeyJwt({ key: await importKey(generateSigningKey()), kid: jwk.kid }),
      oauth.PrivateKeyJwt(
        { key, kid: jwk.kid },
        {
          [oauth.modifyAssertion]: (_header, payload) => (payload['aud'] = 'https://else.example'),
        },
      ),
    ]
    for (const auth of wrong) expect(await refusal(auth)).toEqual([401, 'invalid_client'])
  })

  it('is refused with an assertion that was used before', async () => {
    const key = await importKey(jwk)
    const replayed = oauth.PrivateKeyJwt(
      { key, kid: jwk.kid },
      { [oauth.modifyAssertion]: (_header, payload) => (payload['jti'] = 'the-same-again') },
    )
    await expect(credentials(replayed)).resolves.toMatchObject({ scope: 'stock:read' })
    expect(await refusal(replayed)).toEqual([401, 'invalid_client'])
  })
})
