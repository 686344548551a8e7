import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import type { ConfigError } from '../../lib/errors.ts'
import type { CoreOptions, Settings } from '../../lib/options.ts'
import { oneOf } from '../../lib/option-values.ts'
import { DEFAULTS, parseOptions } from '../../lib/options.ts'
import type { JsonObject } from '../../lib/session.ts'

type Options = CoreOptions<JsonObject, unknown>

const ISSUER = 'https://app.example'
const SECOND = 1000
const MINUTE = 60 * SECOND
const DAY = 1440 * MINUTE

/** What an app that is not checked by types writes. */
function parse(fields: object = {}, production = false): Settings {
  return parseOptions({ issuer: ISSUER, ...fields }, production)
}

function refusal(fields: object, production = false): Partial<ConfigError> {
  try {
    parse(fields, production)
    return { message: 'accepted' }
  } catch (err) {
    return err as ConfigError
  }
}

function refused(option: string) {
  return { code: 'invalid_option', option }
}

const ALL: readonly (keyof Options)[] = [
  'audience',
  'secrets',
  'store',
  'signingKeys',
  'authenticate',
  'loadUser',
  'authorizeAdmin',
  'services',
  'audiences',
  'accessTokenTtl',
  'idleTimeout',
  'absoluteTimeout',
  'reuseGrace',
  'lostResponseWindow',
  'onReuse',
  'clockSkew',
  'maxSessions',
  'deviceBinding',
  'delivery',
  'accessToken',
  'cookies',
  'allowedOrigins',
  'csrf',
  'cors',
  'clearSiteData',
  'credentials',
  'rateLimits',
  'nearCache',
  'storeDeadline',
  'onStoreFailure',
  'maxStaleness',
  'clock',
  'onEvent',
]

const COMPLETE = {
  issuer: ISSUER,
  audience: [ISSUER],
  audiences: new Map(),
  accessTokenTtlMs: 15 * MINUTE,
  lifetimes: { idleTimeoutMs: 7 * DAY, absoluteTimeoutMs: 30 * DAY },
  rotation: { reuseGraceMs: 10 * SECOND, lostResponseWindowMs: 0 },
  onReuse: 'session',
  clockSkewMs: 30 * SECOND,
  limit: { max: 100, onLimit: 'evict' },
  accessToken: 'body',
  cookies: {
    session: {
      name: '__Host-latchkey-session',
      secure: true,
      sameSite: 'Lax',
      domain: undefined,
    },
    refresh: {
      name: '__Host-latchkey-refresh',
      secure: true,
      sameSite: 'Strict',
      domain: undefined,
    },
    access: {
      name: '__Host-latchkey-access',
      secure: true,
      sameSite: 'Strict',
      domain: undefined,
    },
  },
  origins: { allowed: new Set([ISSUER]), requireOrigin: false, secure: true },
  corsOrigins: null,
  clearSiteData: null,
  credentials: null,
  rateLimits: {
    account: null,
    limits: {
      loginPerAccountAndNetwork: { max: 20, windowMs: 15 * MINUTE },
      loginPerAccount: { max: 100, windowMs: 60 * MINUTE },
      loginPerNetwork: { max: 100, windowMs: 15 * MINUTE },
      stepUpPerSession: { max: 20, windowMs: 15 * MINUTE },
      stepUpPerAccount: { max: 100, windowMs: 60 * MINUTE },
      refreshPerSession: { max: 120, windowMs: MINUTE },
      badTokensPerNetwork: { max: 300, windowMs: MINUTE },
    },
  },
  nearCacheSessions: 0,
  storeDeadlineMs: 250,
  onStoreFailure: 'accept-signature',
  maxStalenessMs: 5 * SECOND,
  strict: false,
  clock: Date.now,
}

describe('the defaults', () => {
  it('are these, and safe', () => {
    expect(parse()).toEqual(COMPLETE)
    expect(parse({}, true)).toEqual(COMPLETE)
  })

  it('hold for options that are undefined, one by one and all together', () => {
    for (const name of ALL) expect(parse({ [name]: undefined })).toEqual(COMPLETE)
    expect(parse(Object.fromEntries(ALL.map((name) => [name, undefined])))).toEqual(COMPLETE)
  })

  it('hold inside of groups that are empty, undefined inside, or without a prototype', () => {
    const groups = { maxSessions: ['perUser', 'onLimit'], csrf: ['requireOrigin'] }
    const cookies = ['secure', 'sameSite', 'names', 'domain']
    for (const [group, names] of Object.entries({ ...groups, cookies })) {
      const undefineds = Object.fromEntries(names.map((name) => [name, undefined]))
      const bare: object = Object.assign(Object.create(null) as object, undefineds)
      for (const value of [{}, undefineds, bare]) {
        expect(parse({ [group]: value })).toEqual(COMPLETE)
      }
    }
    const names = { session: undefined, refresh: undefined, access: undefined }
    expect(parse({ cookies: { names } })).toEqual(COMPLETE)
  })

  it('hold for options without a prototype', () => {
    const bare = Object.assign(Object.create(null) as object, { issuer: ISSUER }) as Options
    expect(parseOptions(bare, false)).toEqual(COMPLETE)
  })

  it('are written as an app would write them', () => {
    expect(parse(pick('accessTokenTtl', 'idleTimeout', 'absoluteTimeout'))).toEqual(COMPLETE)
    expect(parse(pick('reuseGrace', 'lostResponseWindow', 'onReuse', 'clockSkew'))).toEqual(
      COMPLETE,
    )
    expect(parse(pick('accessToken', 'storeDeadline', 'onStoreFailure', 'maxStaleness'))).toEqual(
      COMPLETE,
    )
  })
})

function pick(...names: (keyof typeof DEFAULTS)[]): object {
  return Object.fromEntries(names.map((name) => [name, DEFAULTS[name]]))
}

describe('an unknown option', () => {
  it.each<[string, object, string, string | null]>([
    ['accessTokenTTL', { accessTokenTTL: '1m' }, 'accessTokenTTL', null],
    ['idleTimeOut', { idleTimeOut: '1d' }, 'idleTimeOut', 'idleTimeout'],
    ['maxSession', { maxSession: {} }, 'maxSession', 'maxSessions'],
    ['cookie', { cookie: {} }, 'cookie', 'cookies'],
    ['secret', { secret: ['x'] }, 'secret', 'secrets'],
    ['sore', { sore: undefined }, 'sore', 'store'],
    ['maxSessions.perUsers', { maxSessions: { perUsers: 1 } }, 'maxSessions.perUsers', 'perUser'],
    ['maxSessions.onlimit', { maxSessions: { onlimit: 'x' } }, 'maxSessions.onlimit', 'onLimit'],
    ['cookies.samesite', { cookies: { samesite: 'lax' } }, 'cookies.samesite', 'sameSite'],
    ['cookies.domian', { cookies: { domian: 'x' } }, 'cookies.domian', 'domain'],
    [
      'cookies.names.sesion',
      { cookies: { names: { sesion: 'a' } } },
      'cookies.names.sesion',
      'session',
    ],
    [
      'csrf.requireorigin',
      { csrf: { requireorigin: true } },
      'csrf.requireorigin',
      'requireOrigin',
    ],
    ['quite another', { telemetry: true }, 'telemetry', null],
  ])('is refused, with what was meant if that is near: %s', (_, fields, option, suggestion) => {
    const error = refusal(fields)
    expect(error).toMatchObject(refused(option))
    if (suggestion !== null) expect(error.message).toContain(JSON.stringify(suggestion)) // oxlint-disable-line jest/no-conditional-expect
  })

  it('may be one of the framework layer', () => {
    const options = { issuer: ISSUER, onError: () => {} } as Options
    expect(parseOptions(options, false, ['onError'])).toEqual(COMPLETE)
    expect(refusal({ onError: () => {} })).toMatchObject(refused('onError'))
  })
})

describe('the issuer', () => {
  it.each([
    'https://app.example',
    'https://app.example/',
    'https://app.example:8443/auth/v1',
    'https://xn--mnchen-3ya.example',
    'http://localhost',
    'http://localhost:3000',
    'http://127.0.0.1:3000',
    'http://127.255.255.254',
    'http://[::1]:3000',
    'https://192.0.2.1',
  ])('may be %s, and stands in tokens as it is written', (issuer) => {
    expect(parse({ issuer })).toMatchObject({ issuer, audience: [issuer] })
    expect([...parse({ issuer }).origins.allowed]).toEqual([new URL(issuer).origin])
  })

  it.each<[unknown]>([
    [undefined],
    [null],
    [''],
    ['app.example'],
    ['//app.example'],
    ['/auth'],
    ['http://app.example'],
    ['http://localhost.evil.example'],
    ['http://127.0.0.1.evil.example'],
    ['http://128.0.0.1'],
    ['http://0.0.0.0'],
    ['http://192.168.0.1:3000'],
    ['ftp://app.example'],
    ['file:///etc'],
    ['urn:app:example'],
    ['https://app.example?tenant=1'],
    ['https://app.example?'],
    ['https://app.example#top'],
    ['https://app.example#'],
    ['https://user@app.example'],
    ['https://user:pass@app.example'],
    [' https://app.example'],
    ['https://app.example\n'],
    ['https://app.example\0'],
    ['https://app.example/a b'],
    ['https://app.\texample'],
    [new URL('https://app.example')],
    [['https://app.example']],
    [42],
  ])('may not be %j', (issuer) => {
    expect(refusal({ issuer })).toMatchObject(refused('issuer'))
  })
})

describe('the audience', () => {
  it.each<[unknown, string[]]>([
    ['https://api.example', ['https://api.example']],
    [['a'], ['a']],
    [
      ['a', 'b'],
      ['a', 'b'],
    ],
  ])('of %j is %j', (audience, expected) => {
    expect(parse({ audience }).audience).toEqual(expected)
  })

  it.each<[unknown]>([
    [''],
    [[]],
    [['']],
    [['a', '']],
    [[1]],
    [42],
    [{ a: 1 }],
    [['a', undefined]],
  ])('may not be %j', (audience) => {
    expect(refusal({ audience })).toMatchObject(refused('audience'))
  })
})

describe('a duration', () => {
  const long = { absoluteTimeout: '400d' }

  it.each<[name: string, least: string, most: string, below: string, above: string, rest?: object]>(
    [
      ['accessTokenTtl', '10s', '1d', '9999ms', '86400001ms'],
      ['idleTimeout', '10s', '400d', '9999ms', '400.001d', long],
      ['absoluteTimeout', '1m', '400d', '59999ms', '400.001d', { idleTimeout: '10s' }],
      ['reuseGrace', '0s', '60s', '-1s', '60001ms'],
      ['lostResponseWindow', '0ms', '24h', '-1ms', '86400001ms'],
      ['clockSkew', '0s', '60s', '-1s', '60001ms'],
      ['storeDeadline', '10ms', '10s', '9ms', '10001ms'],
      ['maxStaleness', '1s', '5m', '999ms', '300001ms'],
    ],
  )('%s is %s to %s', (name, least, most, below, above, rest = {}) => {
    for (const value of [least, most]) {
      expect(refusal({ ...rest, [name]: value })).toEqual({ message: 'accepted' })
    }
    for (const value of [below, above]) {
      expect(refusal({ ...rest, [name]: value })).toMatchObject(refused(name))
    }
  })

  it.each<[unknown]>([
    [15],
    ['15'],
    ['15 m'],
    [' 15m'],
    ['15m '],
    ['15M'],
    ['15min'],
    ['m'],
    [''],
    ['1e3s'],
    ['0x10s'],
    ['Infinitys'],
    ['.5s'],
    ['5.s'],
    ['1_000s'],
    ['1y'],
    ['15m\n'],
    [Number.NaN],
    [true],
    [['15m']],
    [{ minutes: 15 }],
  ])('may not be %j', (value) => {
    expect(refusal({ accessTokenTtl: value })).toMatchObject(refused('accessTokenTtl'))
  })

  it('has no idle end after the absolute one', () => {
    const equal = { idleTimeout: '1h', absoluteTimeout: '1h' }
    expect(parse(equal).lifetimes).toEqual({
      idleTimeoutMs: 60 * MINUTE,
      absoluteTimeoutMs: 60 * MINUTE,
    })
    const longer = { idleTimeout: '3600001ms', absoluteTimeout: '1h' }
    expect(refusal(longer)).toMatchObject(refused('idleTimeout'))
    // The default of the one may be too long for the other.
    expect(refusal({ absoluteTimeout: '1d' })).toMatchObject(refused('idleTimeout'))
  })
})

describe('a choice', () => {
  it.each<[string, string[]]>([
    ['onReuse', ['session', 'user']],
    ['accessToken', ['body', 'cookie']],
    ['onStoreFailure', ['accept-signature', 'deny']],
  ])('%s is one of %j', (name, choices) => {
    for (const value of choices) expect(parse({ [name]: value })).toHaveProperty(name, value)
    for (const value of ['', 'Session', 'users', true, 1, choices, '__proto__', 'toString']) {
      expect(refusal({ [name]: value })).toMatchObject(refused(name))
    }
  })

  it('names the choices', () => {
    expect(() => oneOf('name', 'c', ['a', 'b'])).toThrow("'a' or 'b'")
    expect(oneOf('name', 'b', ['a', 'b'])).toBe('b')
  })
})

describe('maxSessions', () => {
  it.each([1, 2, 1000])('may be %i', (perUser) => {
    expect(parse({ maxSessions: { perUser } }).limit).toEqual({ max: perUser, onLimit: 'evict' })
  })

  it.each([0, -1, 1001, 1.5, Number.NaN, Infinity, '5', 1n, true])('may not be %p', (perUser) => {
    expect(refusal({ maxSessions: { perUser } })).toMatchObject(refused('maxSessions.perUser'))
  })

  it.each(['evict', 'refuse'])('may %s', (onLimit) => {
    expect(parse({ maxSessions: { onLimit } }).limit).toEqual({ max: 100, onLimit })
  })

  it.each(['', 'EVICT', 'drop', true])('may not %p', (onLimit) => {
    expect(refusal({ maxSessions: { onLimit } })).toMatchObject(refused('maxSessions.onLimit'))
  })
})

describe('nearCache', () => {
  it.each<[unknown, number]>([
    [undefined, 0],
    [false, 0],
    [true, 10_000],
    [{}, 10_000],
    [{ maxSessions: undefined }, 10_000],
    [{ maxSessions: 1 }, 1],
    [{ maxSessions: 1_000_000 }, 1_000_000],
  ])('of %j holds %i sessions', (nearCache, sessions) => {
    expect(parse({ nearCache }).nearCacheSessions).toBe(sessions)
  })

  it.each([0, -1, 1_000_001, 1.5, Number.NaN, Infinity, '5', true])(
    'may not hold %p sessions',
    (maxSessions) => {
      expect(refusal({ nearCache: { maxSessions } })).toMatchObject(
        refused('nearCache.maxSessions'),
      )
    },
  )

  it.each([5, 'true', 0, ''])('may not be %p', (nearCache) => {
    expect(refusal({ nearCache })).toMatchObject(refused('nearCache'))
  })

  it('has no other option', () => {
    expect(refusal({ nearCache: { maxSession: 5 } })).toMatchObject(refused('nearCache.maxSession'))
  })
})

describe('a group of options', () => {
  it.each(['maxSessions', 'cookies', 'csrf'])('may not be anything but an object: %s', (name) => {
    for (const value of [5, 'text', true, [], [1], () => {}]) {
      expect(refusal({ [name]: value })).toMatchObject({ code: 'invalid_option' })
    }
  })

  it.each([5, 'text', true, null, []].map((value) => [value]))(
    'cookies.names may not be %p',
    (names) => {
      expect(refusal({ cookies: { names } })).toMatchObject({ code: 'invalid_option' })
    },
  )
})

describe('cookies', () => {
  const HTTP = { issuer: 'http://localhost:3000' }

  function names(settings: Settings): string[] {
    return Object.values(settings.cookies).map(({ name }) => name)
  }

  it.each<[string, object, boolean, boolean]>([
    ['https', {}, false, true],
    ['https in production', {}, true, true],
    ['https, switched off', { cookies: { secure: false } }, false, false],
    ['http', HTTP, false, false],
    ['http, switched on', { ...HTTP, cookies: { secure: true } }, false, true],
    ['http in production', HTTP, true, true],
  ])('need https as the issuer does: %s', (_, fields, production, secure) => {
    const settings = parse(fields, production)
    expect(Object.values(settings.cookies).map((cookie) => cookie.secure)).toEqual(
      Array(3).fill(secure),
    )
    expect(names(settings)).toEqual(
      ['session', 'refresh', 'access'].map((role) => `${secure ? '__Host-' : ''}latchkey-${role}`),
    )
    expect(settings.origins.secure).toBe(secure)
  })

  it.each([{}, HTTP])('without https are refused in production: %j', (issuer) => {
    const fields = { ...issuer, cookies: { secure: false } }
    expect(refusal(fields, true)).toMatchObject(refused('cookies.secure'))
  })

  it.each(['yes', 1, 0, null, 'false'])('may not be secure: %p', (secure) => {
    expect(refusal({ cookies: { secure } })).toMatchObject(refused('cookies.secure'))
  })

  it('are strict but for the session cookie, which may be strict too', () => {
    const sites = (fields: object) =>
      Object.values(parse(fields).cookies).map(({ sameSite }) => sameSite)
    expect(sites({ cookies: { sameSite: 'lax' } })).toEqual(['Lax', 'Strict', 'Strict'])
    expect(sites({ cookies: { sameSite: 'strict' } })).toEqual(['Strict', 'Strict', 'Strict'])
  })

  it.each(['none', 'Lax', '', true])('may not be sameSite %p', (sameSite) => {
    expect(refusal({ cookies: { sameSite } })).toMatchObject(refused('cookies.sameSite'))
  })

  it('have the names the app gives them, and the default for the rest', () => {
    const settings = parse({ cookies: { names: { session: '__Host-s', access: 'a' } } })
    expect(names(settings)).toEqual(['__Host-s', '__Host-latchkey-refresh', 'a'])
  })

  it.each<[string, object]>([
    ['cookies.names.session', { session: 'a b' }],
    ['cookies.names.refresh', { refresh: '' }],
    ['cookies.names.access', { access: 'é' }],
    ['cookies.names.session', { session: 5 }],
    ['cookies.names.session', { session: ['a'] }],
    ['cookies.names.session', { session: {} }],
  ])('may not be named so: %s %j', (option, given) => {
    expect(refusal({ cookies: { names: given } })).toMatchObject(refused(option))
  })

  it.each([
    { session: 'a', refresh: 'a' },
    { session: 'a', access: 'a' },
    { refresh: '__Host-latchkey-session' },
    { session: 'a', refresh: 'a', access: 'a' },
  ])('have three names: %j', (given) => {
    expect(refusal({ cookies: { names: given } })).toMatchObject(refused('cookies.names'))
  })

  it('with a prefix need https (RFC 6265bis §4.1.3)', () => {
    for (const session of ['__Host-s', '__host-s', '__Secure-s', '__SECURE-s']) {
      const cookies = { secure: false, names: { session } }
      expect(refusal({ cookies })).toMatchObject(refused('cookies.names.session'))
    }
  })

  it('of a domain need names without __Host-', () => {
    const domain = 'app.example'
    expect(refusal({ cookies: { domain } })).toMatchObject(refused('cookies.names.session'))
    const given = { session: '__Secure-s', refresh: '__Secure-r', access: 'a' }
    const { cookies } = parse({ cookies: { domain, names: given } })
    expect(Object.values(cookies).map((cookie) => cookie.domain)).toEqual(Array(3).fill(domain))
  })

  it.each(['', 'localhost', '.app.example', 'a b.example', null, 5, 'app.example;'])(
    'may not be for the domain %p',
    (domain) => {
      const given = { session: 's', refresh: 'r', access: 'a' }
      expect(refusal({ cookies: { domain, names: given } })).toMatchObject(
        refused('cookies.domain'),
      )
    },
  )
})

describe('origins', () => {
  it('are that of the issuer and those that were named', () => {
    const named = ['https://admin.app.example', 'http://localhost:5173', 'https://app.example:8443']
    const { origins } = parse({ issuer: 'https://app.example/auth', allowedOrigins: named })
    expect([...origins.allowed]).toEqual([ISSUER, ...named])
  })

  it.each<[unknown]>([
    ['https://app.example/'],
    ['https://app.example/path'],
    ['https://APP.example'],
    ['https://app.example:443'],
    ['https://*.app.example'],
    ['*'],
    ['null'],
    ['app.example'],
    ['file:///'],
    ['data:text/plain,a'],
    [''],
    [' https://app.example'],
    [null],
    [undefined],
    [/app\.example/],
    [new URL(ISSUER)],
  ])('are spelled as a browser sends them, not %p', (origin) => {
    const error = refusal({ allowedOrigins: ['https://fine.example', origin] })
    expect(error).toMatchObject({ code: 'invalid_option' })
    expect(error.option).toMatch(/^allowedOrigins(?:\[1\])?$/)
  })

  it.each<[unknown]>([['https://app.example'], [{}], [5], [new Set([ISSUER])]])(
    'are a list, not %p',
    (allowedOrigins) => {
      expect(refusal({ allowedOrigins })).toMatchObject(refused('allowedOrigins'))
    },
  )

  it('may be required', () => {
    expect(parse({ csrf: { requireOrigin: true } }).origins.requireOrigin).toBe(true)
    expect(parse({ csrf: { requireOrigin: false } }).origins.requireOrigin).toBe(false)
    for (const requireOrigin of ['true', 1, null]) {
      expect(refusal({ csrf: { requireOrigin } })).toMatchObject(refused('csrf.requireOrigin'))
    }
  })
})

describe('a function', () => {
  const FUNCTIONS = [
    'authenticate',
    'loadUser',
    'authorizeAdmin',
    'deviceBinding',
    'clock',
    'onEvent',
  ]

  it.each(FUNCTIONS)('%s may be one, and nothing else', (name) => {
    expect(refusal({ [name]: () => 0 })).toEqual({ message: 'accepted' })
    for (const value of ['text', 5, {}, null, true, []]) {
      expect(refusal({ [name]: value })).toMatchObject(refused(name))
    }
  })

  it('clock is what the settings tell the time by', () => {
    const clock = () => 42
    expect(parse({ clock }).clock).toBe(clock)
  })
})

describe("the app's object", () => {
  it('stays as it was', () => {
    const options = deepFreeze({
      issuer: ISSUER,
      audience: ['a', 'b'],
      maxSessions: { perUser: 5, onLimit: 'refuse' },
      cookies: { sameSite: 'strict', names: { session: '__Host-s' } },
      allowedOrigins: ['https://b.example'],
      csrf: { requireOrigin: true },
      accessTokenTtl: '5m',
    } as const)
    expect(parse(options)).toMatchObject({ limit: { max: 5, onLimit: 'refuse' } })
  })

  it('may change afterwards, which changes nothing', () => {
    const options = { audience: ['a'], allowedOrigins: ['https://b.example'] }
    const settings = parse(options)
    options.audience.push('evil')
    options.allowedOrigins.push('https://evil.example')
    expect(settings.audience).toEqual(['a'])
    expect(settings.origins.allowed.has('https://evil.example')).toBe(false)
  })

  it('of any shape is read or refused as a wrong option, never anything else', () => {
    const value = fc.oneof(
      fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true }),
      fc.constantFrom('1m', '0s', 'session', true, {}, [], Symbol('x'), 1n),
    )
    const group = (...names: string[]) => fc.dictionary(fc.constantFrom(...names), value)
    const nested = fc.oneof(
      value,
      group('secure', 'sameSite', 'names', 'domain'),
      group('session', 'refresh', 'access').map((names) => ({ names })),
      group('perUser', 'onLimit'),
      group('requireOrigin'),
    )
    const entry = fc.tuple(fc.constantFrom('issuer', ...ALL), nested)
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 3 }), (entries) => {
        const { code, message } = refusal(Object.fromEntries(entries))
        expect(message === 'accepted' || code === 'invalid_option').toBe(true)
      }),
      { numRuns: 500 },
    )
  })
})

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    for (const member of Object.values(value)) deepFreeze(member)
    Object.freeze(value)
  }
  return value
}
