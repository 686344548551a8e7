import { expect } from '@jest/globals'
import request from 'supertest'
import type { KitSetup, TestKit, TestOptions } from './kit.ts'
import { openKit, PASSWORD, setCookies } from './kit.ts'

/** A kit behind a proxy it trusts: the last address in `X-Forwarded-For` is the client's. */
export async function openBehindProxy(
  options: TestOptions = {},
  setup: KitSetup = {},
): Promise<TestKit> {
  return openKit({ ...setup, options, before: (app) => void app.set('trust proxy', 1) })
}

/** A try to log in from an address. */
export function attempt(
  kit: TestKit,
  from: string,
  credentials: object = {},
  path = '/auth/login',
): request.Test {
  return request(kit.server)
    .post(path)
    .set('X-Forwarded-For', from)
    .send({ username: 'alice', password: 'wrong', ...credentials })
}

/** A try with the right password. */
export function goodAttempt(kit: TestKit, from: string, username = 'alice'): request.Test {
  return attempt(kit, from, { username, password: PASSWORD })
}

/** Fails that often, one after the other, and says with which statuses. */
export async function failTimes(
  times: number,
  send: (index: number) => PromiseLike<request.Response>,
): Promise<number[]> {
  const statuses: number[] = []
  for (let index = 0; index < times; index++) statuses.push((await send(index)).status)
  return statuses
}

/** What every refusal by a limit looks like. */
export function expectLimited(res: request.Response, resetsInS: number): void {
  expect(res.body).toMatchObject({ status: 429, code: 'rate_limited', title: 'Too Many Requests' })
  expect(res.status).toBe(429)
  expect(res.headers['content-type']).toBe('application/problem+json; charset=utf-8')
  expect(res.headers['cache-control']).toBe('no-store')
  expect(res.headers['retry-after']).toBe(String(resetsInS))
  expect(res.headers).not.toHaveProperty('www-authenticate')
  expect(setCookies(res)).toEqual([])
}

/** The limits that were reported as exceeded, oldest first. */
export function reportedLimits(kit: TestKit): (string | undefined)[] {
  return kit.events
    .filter(({ type }) => type === 'excess_rate_limit_exceeded')
    .map(({ cause }) => cause)
}
