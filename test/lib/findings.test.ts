import { describe, expect, it } from '@jest/globals'
import { findEnvironment, finding, refuseErrors, storeFinding } from '../../lib/findings.ts'

describe('NODE_ENV', () => {
  it.each([undefined, '', 'prod', 'Production', 'staging'])(
    'of %p is found when the issuer is public',
    (environment) => {
      expect(findEnvironment('https://app.example', environment)).toMatchObject([
        { code: 'node_env', severity: 'warning' },
      ])
    },
  )

  it.each(['production', 'development', 'test'])('of %s is a choice', (environment) => {
    expect(findEnvironment('https://app.example', environment)).toEqual([])
  })

  it.each([
    'http://localhost:3000',
    'https://localhost',
    'https://127.0.0.1:8443',
    'https://[::1]',
    'https://app.localhost',
    'https://app.test',
    'https://laptop.local',
  ])('does not matter on %s', (issuer) => {
    expect(findEnvironment(issuer, undefined)).toEqual([])
  })
})

describe('refuseErrors', () => {
  it('lists what is an error, and leaves warnings alone', () => {
    const found = [
      finding('node_env', 'a warning'),
      finding('weak_secret', 'the first'),
      storeFinding({ code: 'redis_eviction', message: 'the second' }),
    ]
    expect(() => refuseErrors(found)).toThrow(
      expect.objectContaining({
        code: 'invalid_option',
        option: 'strict',
        message: expect.stringMatching(/weak_secret: the first; redis_eviction: the second$/),
      }),
    )
    expect(() => refuseErrors(found.slice(0, 1))).not.toThrow()
  })
})
