import { describe, expect, it } from '@jest/globals'
import { MAX_ACTORS, readClaims } from '../../lib/access-token-claims.ts'
import { AUDIENCE, ISSUER, NOW, SKEW_MS, testClaims, TTL_MS } from '../support/access-tokens.ts'

const POLICY = {
  issuer: ISSUER,
  audience: AUDIENCE,
  maxLifetimeMs: TTL_MS,
  clockSkewMs: SKEW_MS,
}

/** What a service's own token says, with changes; undefined leaves a claim out. */
function serviceClaims(changes: Readonly<Record<string, unknown>> = {}): object {
  return {
    ...testClaims(),
    sub: 'orders',
    client_id: 'orders',
    sid: undefined,
    gen: undefined,
    ver: undefined,
    auth_time: undefined,
    ...changes,
  }
}

function read(claims: object): ReturnType<typeof readClaims> {
  return readClaims(JSON.stringify(claims), POLICY, NOW)
}

const refused: unknown = expect.objectContaining({ code: 'token_invalid' })

describe('claims without a session', () => {
  it('are those of a service', () => {
    expect(read(serviceClaims({ scope: 'read write' }))).toMatchObject({
      sub: 'orders',
      clientId: 'orders',
      sid: null,
      gen: null,
      ver: null,
      authTimeMs: null,
      aud: [AUDIENCE[0]],
      scope: ['read', 'write'],
      roles: [],
      level: null,
    })
  })

  it.each([
    ['no client_id', { client_id: undefined }],
    ['the client_id of another', { client_id: 'billing' }],
    ['a client_id that is no text', { client_id: 7 }],
    ['a generation', { gen: 0 }],
    ['a version', { ver: 0 }],
    ['an auth_time', { auth_time: NOW / 1000 }],
    ['a tenant', { tenant: 'acme' }],
    ['roles', { roles: ['admin'] }],
    ['an acr', { acr: 'mfa' }],
    ['an actor', { act: { sub: 'billing' } }],
    ['a null session', { sid: null }],
    ['an empty session', { sid: '' }],
  ])('are refused with %s', (_, changes) => {
    expect(() => read(serviceClaims(changes))).toThrow(refused)
  })
})

describe('claims of a session', () => {
  it.each(['gen', 'ver', 'auth_time', 'sid'])('need %s', (name) => {
    expect(() => read({ ...testClaims(), [name]: undefined })).toThrow(refused)
  })

  it('may name the service that asked, and who acts for the user', () => {
    const act = { sub: 'orders', act: { sub: 'gateway' } }
    const claims = { ...testClaims(), client_id: 'orders', act }
    expect(read(claims)).toMatchObject({ sub: 'alice', clientId: 'orders', actor: act })
    expect(read(testClaims())).toMatchObject({ clientId: null, actor: null })
  })

  it.each([
    ['a text', 'orders'],
    ['a list', [{ sub: 'orders' }]],
    ['nobody', {}],
    ['no identifier', { sub: '' }],
    ['more than a name', { sub: 'orders', admin: true }],
    ['nobody behind it', { sub: 'orders', act: null }],
    ['too many', nested(MAX_ACTORS + 1)],
  ])('refuse an actor that is %s', (_, act) => {
    expect(() => read({ ...testClaims(), act })).toThrow(refused)
  })

  it('take as many actors as may act for one another', () => {
    expect(read({ ...testClaims(), act: nested(MAX_ACTORS) })).toMatchObject({
      actor: nested(MAX_ACTORS),
    })
  })
})

function nested(depth: number): object {
  return depth === 1 ? { sub: 'service' } : { sub: 'service', act: nested(depth - 1) }
}
