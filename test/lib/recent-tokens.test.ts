import { describe, expect, it } from '@jest/globals'
import type { IssuedAccessToken } from '../../lib/access-token-issuer.ts'
import { RecentTokens } from '../../lib/recent-tokens.ts'

const TTL = 60_000

function open(maxTokens = 100) {
  const clock = { now: 1_000_000 }
  let made = 0
  const tokens = new RecentTokens({ ttlMs: TTL, maxTokens, clock: () => clock.now })
  const issue = (lifeMs = TTL): IssuedAccessToken => ({
    token: `token-${++made}`,
    jti: 'x',
    expiresAt: clock.now + lifeMs,
    expiresInS: lifeMs / 1000,
  })
  return {
    clock,
    tokens,
    get: async (key: string, lifeMs?: number) => tokens.get(key, async () => issue(lifeMs)),
    made: () => made,
    issue,
  }
}

describe('RecentTokens', () => {
  it('gives a token again until half of its life is over', async () => {
    const { clock, get } = open()
    const first = await get('a')
    clock.now += TTL / 2 - 1
    expect(await get('a')).toBe(first)
    clock.now += 1
    expect(await get('a')).not.toBe(first)
  })

  it('goes by the life a token really has', async () => {
    const { clock, get } = open()
    const first = await get('a', 10_000)
    clock.now += 4999
    expect(await get('a')).toBe(first)
    clock.now += 1
    expect(await get('a')).not.toBe(first)
  })

  it('tells keys apart', async () => {
    const { get } = open()
    expect(await get('a')).not.toBe(await get('b'))
  })

  it('gives no token of a time to come', async () => {
    const { clock, get } = open()
    const first = await get('a')
    clock.now -= 1
    expect(await get('a')).not.toBe(first)
  })

  it('signs once for requests that come together', async () => {
    const { tokens, issue, made } = open()
    let release = (): void => {}
    const signing = new Promise<void>((resolve) => {
      release = resolve
    })
    const make = async () => {
      await signing
      return issue()
    }
    const all = Array.from({ length: 50 }, async () => tokens.get('a', make))
    release()
    expect(new Set(await Promise.all(all)).size).toBe(1)
    expect(made()).toBe(1)
  })

  it('fails together too, and tries again the next time', async () => {
    const { tokens, get } = open()
    const fail = async () => Promise.reject(new Error('no signature'))
    const results = await Promise.allSettled([tokens.get('a', fail), tokens.get('a', fail)])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(tokens.size).toBe(0)
    expect(await get('a')).toBe('token-1')
  })

  it('holds no more than it may', async () => {
    const { tokens, get } = open(100)
    for (let key = 0; key < 1000; key++) await get(`${key}`)
    expect(tokens.size).toBeLessThanOrEqual(100)
    expect(tokens.size).toBeGreaterThanOrEqual(50)
  })

  it('lets go of what is over', async () => {
    const { tokens, clock, get } = open(1000)
    for (let key = 0; key < 100; key++) await get(`${key}`)
    clock.now += TTL / 2
    await get('a')
    clock.now += TTL / 2
    await get('b')
    expect(tokens.size).toBe(2)
  })
})
