import { describe, expect, it } from '@jest/globals'
import type { OriginFacts, OriginPolicy } from '../../lib/cross-origin.ts'
import { isOwnOrigin } from '../../lib/cross-origin.ts'

const OWN = 'https://app.example'
const FRIEND = 'https://admin.app.example'
const HOST = 'app.example'

const UNSAFE = [
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'CONNECT',
  'TRACE',
  'QUERY',
  'post',
  'get',
] as const
const SITES = ['same-origin', 'none', 'same-site', 'cross-site'] as const

function passes(facts: Partial<OriginFacts>, policy: Partial<OriginPolicy> = {}): boolean {
  return isOwnOrigin(
    { method: 'POST', secFetchSite: undefined, origin: undefined, host: HOST, ...facts },
    { allowed: new Set([OWN, FRIEND]), requireOrigin: false, secure: true, ...policy },
  )
}

describe('a safe method', () => {
  it.each(['GET', 'HEAD', 'OPTIONS'])('passes wherever it comes from: %s', (method) => {
    for (const secFetchSite of [undefined, ...SITES]) {
      for (const origin of [undefined, OWN, 'https://evil.example', 'null']) {
        expect(passes({ method, secFetchSite, origin }, { requireOrigin: true })).toBe(true)
      }
    }
  })
})

describe.each(UNSAFE)('the method %s', (method) => {
  /** Who sends what, and whether it may act. The row says what fetch metadata the browser sends. */
  const MATRIX: [
    site: OriginFacts['secFetchSite'],
    origin: string | undefined,
    expected: boolean,
  ][] = [
    ['same-origin', undefined, true],
    ['same-origin', OWN, true],
    ['same-origin', FRIEND, true],
    // A page behind a name we were not told of, talking to itself.
    ['same-origin', 'https://other.example', true],
    ['same-origin', 'null', true],
    ['none', undefined, true],
    ['none', OWN, true],
    ['none', 'null', true],
    ['same-site', undefined, false],
    ['same-site', OWN, true],
    ['same-site', FRIEND, true],
    ['same-site', 'https://evil.app.example', false],
    ['same-site', 'null', false],
    ['cross-site', undefined, false],
    ['cross-site', OWN, true],
    ['cross-site', FRIEND, true],
    ['cross-site', 'https://evil.example', false],
    ['cross-site', 'null', false],
    [undefined, OWN, true],
    [undefined, FRIEND, true],
    [undefined, 'https://evil.example', false],
    [undefined, 'null', false],
  ]

  it.each(MATRIX)('with Sec-Fetch-Site %s and Origin %s passes: %s', (site, origin, expected) => {
    for (const requireOrigin of [false, true]) {
      expect(passes({ method, secFetchSite: site, origin }, { requireOrigin })).toBe(expected)
    }
  })

  it('with neither header passes unless an origin is required', () => {
    expect(passes({ method })).toBe(true)
    expect(passes({ method }, { requireOrigin: true })).toBe(false)
  })
})

describe('Sec-Fetch-Site', () => {
  it.each([
    '',
    'Same-Origin',
    'SAME-ORIGIN',
    'same-origin ',
    'same-origin, cross-site',
    'cross-site, same-origin',
    'none, none',
    'same-origin;x',
    'true',
    'same_origin',
    '*',
  ])('of %j is not trusted', (secFetchSite) => {
    expect(passes({ secFetchSite })).toBe(false)
    expect(passes({ secFetchSite, origin: 'https://evil.example' })).toBe(false)
  })

  it('decides over an Origin that only the Host knows', () => {
    const unlisted = { origin: 'https://other.example', host: 'other.example' }
    expect(passes(unlisted)).toBe(true)
    expect(passes({ ...unlisted, secFetchSite: 'cross-site' })).toBe(false)
    expect(passes({ ...unlisted, secFetchSite: 'same-site' })).toBe(false)
  })
})

describe('an Origin, where there is no fetch metadata', () => {
  it.each([
    ['null', 'null'],
    ['nothing', ''],
    ['a sibling', 'https://evil.app.example'],
    ['a lookalike that ends with our name', 'https://evilapp.example'],
    ['a lookalike that starts with our name', 'https://app.example.evil.example'],
    ['a parent', 'https://example'],
    ['our name as a user', 'https://app.example@evil.example'],
    ['our name as a path', 'https://evil.example/app.example'],
    ['our name as a fragment', 'https://evil.example/#https://app.example'],
    ['a backslash', 'https://evil.example\\@app.example.evil.example'],
    ['another port', 'https://app.example:8443'],
    ['a name with a trailing dot', 'https://app.example.'],
    ['a homograph', 'https://аpp.example'],
    ['a scheme of no host', 'data:app.example'],
    ['a file', 'file:///app.example'],
    ['two, ours first', `${OWN}, https://evil.example`],
    ['two, ours last', `https://evil.example, ${OWN}`],
    ['two without a blank, ours first', `${OWN},https://evil.example`],
    ['two without a blank, ours last', `https://evil.example,${OWN}`],
    ['the same twice', `${OWN}, ${OWN}`],
    ['two with a blank only', `${OWN} https://evil.example`],
    ['a bare host', HOST],
    ['no scheme', `//${HOST}`],
    ['a wildcard', '*'],
    ['the http twin of our https', 'http://app.example'],
    ['the http twin on the port of https', 'http://app.example:443'],
    ['an extension', 'chrome-extension://app.example'],
    ['a websocket', 'ws://app.example'],
  ])('of %s is refused', (_, origin) => {
    expect(passes({ origin })).toBe(false)
    expect(passes({ origin }, { requireOrigin: true })).toBe(false)
  })

  it.each([undefined, '', 'null', 'evil.example', 'app.example.evil.example'])(
    'of null is refused whatever the Host says: %s',
    (host) => {
      expect(passes({ origin: 'null', host })).toBe(false)
      expect(passes({ origin: '', host })).toBe(false)
    },
  )

  it.each<[string, string, string]>([
    ['the Host', 'https://other.example', 'other.example'],
    ['the Host in capitals', 'https://other.example', 'Other.EXAMPLE'],
    ['the Host with its port', 'https://other.example:8443', 'other.example:8443'],
    ['the Host of an IPv6 address', 'https://[::1]:8443', '[::1]:8443'],
  ])('passes when it is %s', (_, origin, host) => {
    expect(passes({ origin, host })).toBe(true)
  })

  it.each<[string, string, string | undefined]>([
    ['no Host', 'https://other.example', undefined],
    ['another Host', 'https://other.example', 'other.example.evil.example'],
    ['a Host of another port', 'https://other.example', 'other.example:8443'],
    ['a Host without the port', 'https://other.example:8443', 'other.example'],
    ['the http twin of the Host', 'http://other.example', 'other.example'],
  ])('is refused with %s', (_, origin, host) => {
    expect(passes({ origin, host })).toBe(false)
  })

  it('of plain http passes by its Host where the cookies need no https', () => {
    const policy = { allowed: new Set(['http://localhost:3000']), secure: false }
    expect(passes({ origin: 'http://127.0.0.1:3000', host: '127.0.0.1:3000' }, policy)).toBe(true)
    expect(passes({ origin: 'http://127.0.0.1:3001', host: '127.0.0.1:3000' }, policy)).toBe(false)
    expect(passes({ origin: 'http://localhost:3000', host: 'localhost:3000' }, policy)).toBe(true)
  })

  it('is compared as it is spelled: a browser sends it in lower case', () => {
    const host = 'elsewhere.example'
    expect(passes({ origin: 'https://APP.example', host })).toBe(false)
    expect(passes({ origin: `${OWN}/`, host })).toBe(false)
    expect(passes({ origin: `${OWN}:443`, host })).toBe(false)
  })
})
