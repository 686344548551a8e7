import { afterEach, describe, expect, it } from '@jest/globals'
import express from 'express'
import request from 'supertest'
import { createLatchkey, serviceSecrets } from '../../middleware/index.ts'
import type { KitSetup, TestKit } from '../support/kit.ts'
import { closeKits, ISSUER, openKit, sendRaw } from '../support/kit.ts'
import { openServices, ORDERS, ORDERS_API } from '../support/token-services.ts'

afterEach(closeKits)

const PATH = '/.well-known/oauth-authorization-server'
const MOUNTED: NonNullable<KitSetup['routes']> = (app, latchkey) => {
  app.use(latchkey.metadataRoute({ authPath: '/auth' }))
  app.use((_req, res) => void res.status(404).send('the app'))
}

async function codes({ latchkey }: TestKit): Promise<readonly string[]> {
  return (await latchkey.doctor()).map(({ code }) => code)
}

describe('metadataRoute', () => {
  it('names what there is, where it is (RFC 8414 §2)', async () => {
    const kit = await openServices({ routes: MOUNTED })
    const res = await request(kit.server).get(PATH)
    expect(res.status).toBe(200)
    expect(res.headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'public, max-age=300',
    })
    const methods = ['client_secret_basic', 'client_secret_post']
    expect(res.body).toEqual({
      issuer: ISSUER,
      jwks_uri: `${ISSUER}/auth/.well-known/jwks.json`,
      response_types_supported: [],
      grant_types_supported: [
        'client_credentials',
        'urn:ietf:params:oauth:grant-type:token-exchange',
      ],
      token_endpoint: `${ISSUER}/auth/token`,
      token_endpoint_auth_methods_supported: methods,
      introspection_endpoint: `${ISSUER}/auth/introspect`,
      introspection_endpoint_auth_methods_supported: methods,
      revocation_endpoint: `${ISSUER}/auth/revoke`,
      revocation_endpoint_auth_methods_supported: methods,
    })
  })

  it('names nothing that is not there', async () => {
    const kit = await openKit({ routes: MOUNTED })
    const { body } = await request(kit.server).get(PATH)
    expect(Object.keys(body as object)).toEqual([
      'issuer',
      'jwks_uri',
      'response_types_supported',
      'grant_types_supported',
    ])
    const exchanging = await openKit({ routes: MOUNTED, options: { audiences: [ORDERS_API] } })
    const { body: more } = await request(exchanging.server).get(PATH)
    expect(more).toMatchObject({ token_endpoint: `${ISSUER}/auth/token` })
    expect(more).not.toHaveProperty('introspection_endpoint')
  })

  it('does not guess how an authenticator of the app works', async () => {
    const kit = await openServices({
      routes: MOUNTED,
      options: { services: [serviceSecrets({ orders: ORDERS.hash }), () => null] },
    })
    const { body } = await request(kit.server).get(PATH)
    expect(body).not.toHaveProperty('token_endpoint_auth_methods_supported')
  })

  it.each([
    ['https://app.example/tenant/one', `${PATH}/tenant/one`],
    ['https://app.example/', PATH],
  ])('stands between host and path of the issuer %s (RFC 8414 §3.1)', async (issuer, path) => {
    const kit = await openKit({ routes: MOUNTED, options: { issuer } })
    const { body } = await request(kit.server).get(path)
    expect(body).toMatchObject({ issuer, jwks_uri: `${ISSUER}/auth/.well-known/jwks.json` })
  })

  it('takes GET and HEAD, and passes on what is another path', async () => {
    const kit = await openKit({ routes: MOUNTED })
    expect(await request(kit.server).head(PATH)).toMatchObject({ status: 200 })
    const post = await request(kit.server).post(PATH)
    expect([post.status, post.headers['allow']]).toEqual([405, 'GET, HEAD'])
    for (const other of [`${PATH}/`, `${PATH}/x`, PATH.toUpperCase(), '/']) {
      expect(await request(kit.server).get(other)).toMatchObject({ status: 404, text: 'the app' })
    }
  })

  it('is a finding where it is mounted below the root', async () => {
    const kit = await openKit({
      routes: (app, latchkey) => {
        app.use('/auth2', latchkey.metadataRoute({ authPath: '/auth' }))
      },
    })
    expect(await request(kit.server).get(`/auth2${PATH}`)).toMatchObject({ status: 404 })
    expect(await codes(kit)).toContain('metadata_path')
  })

  it('is a finding where authRoutes is reached under another path', async () => {
    const kit = await openKit({
      routes: (app, latchkey) => {
        app.use(latchkey.metadataRoute({ authPath: '/account' }))
      },
    })
    expect(await codes(kit)).not.toContain('metadata_path')
    await kit.login()
    expect(await codes(kit)).toContain('metadata_path')
  })

  it('is none where a proxy takes off the front of the path', async () => {
    const kit = await openKit({
      routes: (app, latchkey) => {
        app.use(latchkey.metadataRoute({ authPath: '/v1/auth' }))
      },
    })
    await kit.login()
    expect(await codes(kit)).not.toContain('metadata_path')
  })

  it('is none because of what a client makes of a path', async () => {
    const kit = await openKit({ routes: MOUNTED })
    const absolute = await sendRaw(kit.port, `GET http://app.example${PATH}`)
    expect(absolute.status).toBe(404)
    expect(await request(kit.server).get('/AUTH/session')).toMatchObject({ status: 401 })
    expect(await codes(kit)).not.toContain('metadata_path')
  })

  it.each([
    [undefined],
    [{}],
    [{ authPath: 'auth' }],
    [{ authPath: '/auth/' }],
    [{ authPath: '/../auth' }],
    [{ authPath: '//evil.example' }],
    [{ authPath: '/auth?x' }],
    [{ authPath: '/auth', path: '/x' }],
  ])('refuses %j', async (options) => {
    const { latchkey } = await openKit()
    expect(() => latchkey.metadataRoute(options as never)).toThrow(
      expect.objectContaining({ code: 'invalid_option' }),
    )
  })

  it('is a factory', async () => {
    const latchkey = createLatchkey({ issuer: ISSUER })
    expect(() => express().use(latchkey.metadataRoute as never)).toThrow(/metadataRoute\(\)/)
    await latchkey.close()
  })
})
