import { describe, expect, it } from '@jest/globals'
import { parseClearSiteData } from '../../lib/clear-site-data.ts'
import { parseCors } from '../../lib/cors-options.ts'
import { ConfigError } from '../../lib/errors.ts'
import { parseRateLimits, RATE_LIMIT_DEFAULTS } from '../../lib/rate-limit-options.ts'

function refusal(parse: () => unknown): { option: string; message: string } | null {
  try {
    parse()
    return null
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return { option: error.option, message: error.message }
  }
}

describe('rateLimits', () => {
  it('keeps to 100 failures of an account, as NIST SP 800-63B says', () => {
    expect(RATE_LIMIT_DEFAULTS.loginPerAccount.max).toBeLessThanOrEqual(100)
  })

  it('changes what is named and leaves the rest', () => {
    const { limits } = parseRateLimits({
      loginPerAccount: { max: 7 },
      refreshPerSession: { window: '10s' },
      badTokensPerNetwork: false,
      loginPerNetwork: undefined,
    })
    expect(limits).toEqual({
      ...parseRateLimits({}).limits,
      loginPerAccount: { max: 7, windowMs: 3_600_000 },
      refreshPerSession: { max: 120, windowMs: 10_000 },
      badTokensPerNetwork: null,
    })
  })

  it('has none of them when it is false', () => {
    expect(Object.values(parseRateLimits(false).limits)).toEqual(
      Array.from({ length: 7 }, () => null),
    )
  })

  it.each([
    [true, 'rateLimits'],
    [null, 'rateLimits'],
    [[], 'rateLimits'],
    [5, 'rateLimits'],
    [{ loginPerAcount: {} }, 'rateLimits.loginPerAcount'],
    [{ account: 'username' }, 'rateLimits.account'],
    [{ loginPerAccount: true }, 'rateLimits.loginPerAccount'],
    [{ loginPerAccount: 5 }, 'rateLimits.loginPerAccount'],
    [{ loginPerAccount: null }, 'rateLimits.loginPerAccount'],
    [{ loginPerAccount: { points: 5 } }, 'rateLimits.loginPerAccount.points'],
    [{ loginPerAccount: { max: 0 } }, 'rateLimits.loginPerAccount.max'],
    [{ loginPerAccount: { max: 1.5 } }, 'rateLimits.loginPerAccount.max'],
    [{ loginPerAccount: { max: Infinity } }, 'rateLimits.loginPerAccount.max'],
    [{ loginPerAccount: { max: '5' } }, 'rateLimits.loginPerAccount.max'],
    [{ loginPerAccount: { max: 1_000_001 } }, 'rateLimits.loginPerAccount.max'],
    [{ loginPerAccount: { window: 60 } }, 'rateLimits.loginPerAccount.window'],
    [{ loginPerAccount: { window: '999ms' } }, 'rateLimits.loginPerAccount.window'],
    [{ loginPerAccount: { window: '31d' } }, 'rateLimits.loginPerAccount.window'],
  ])('of %j is refused, by the name of what is wrong', (options, option) => {
    expect(refusal(() => parseRateLimits(options))).toMatchObject({ option })
  })
})

describe('cors', () => {
  const allowed = new Set(['https://app.example', 'https://spa.example'])

  it('is off unless asked for', () => {
    expect(parseCors(undefined, allowed)).toBeNull()
  })

  it('takes origins that may use the cookies', () => {
    expect(parseCors({ origins: ['https://spa.example'] }, allowed)).toEqual(
      new Set(['https://spa.example']),
    )
  })

  it.each([
    [true, 'cors'],
    [null, 'cors'],
    [['https://spa.example'], 'cors'],
    [{}, 'cors.origins'],
    [{ origins: [] }, 'cors.origins'],
    [{ origins: '*' }, 'cors.origins'],
    [{ origins: ['https://spa.example'], credentials: true }, 'cors.credentials'],
    [{ origins: ['*'] }, 'cors.origins[0]'],
    [{ origins: ['null'] }, 'cors.origins[0]'],
    [{ origins: [/spa/] }, 'cors.origins[0]'],
    [{ origins: ['https://spa.example', 'https://other.example'] }, 'cors.origins[1]'],
    [{ origins: ['https://spa.example/'] }, 'cors.origins[0]'],
    [{ origins: ['http://spa.example'] }, 'cors.origins[0]'],
    [{ origins: ['https://SPA.example'] }, 'cors.origins[0]'],
  ])('of %j is refused, by the name of what is wrong', (cors, option) => {
    expect(refusal(() => parseCors(cors, allowed))).toMatchObject({ option })
  })

  it('names the list that an origin is missing from', () => {
    const found = refusal(() => parseCors({ origins: ['https://other.example'] }, allowed))
    expect(found?.message).toContain('allowedOrigins')
  })
})

describe('clearSiteData', () => {
  it.each([
    [undefined, null],
    [false, null],
    [true, '"cache", "storage"'],
    [['storage'], '"storage"'],
    [['cache', 'cookies', 'cache'], '"cache", "cookies"'],
    [['*'], '"*"'],
  ])('of %j is the header %j', (option, header) => {
    expect(parseClearSiteData(option)).toBe(header)
  })

  it.each([null, [], 'cache', ['Cache'], ['"cache"'], ['cache\r\nX: y'], [1], {}])(
    'of %j is refused',
    (option) => {
      expect(refusal(() => parseClearSiteData(option))).toMatchObject({ option: 'clearSiteData' })
    },
  )
})
