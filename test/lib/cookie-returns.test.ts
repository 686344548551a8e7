import { expect, it } from '@jest/globals'
import { CookieReturns } from '../../lib/cookie-returns.ts'

const MINUTE = 60_000

/** The login of one of some people, each with a client of their own. */
function login(sid: string, who: string = sid, at = 0) {
  return { sid, who, at }
}

it('three clients that come back with the token of their login alone are enough', () => {
  const returns = new CookieReturns()
  expect(returns.waiting).toBe(false)
  const found = ['a', 'b', 'c'].map((sid) => [
    returns.login(login(sid)),
    returns.withoutCookie(sid),
    returns.withoutCookie(sid),
  ])
  expect(found).toEqual([
    [false, false, false],
    [false, false, false],
    [false, true, false],
  ])
  expect(returns.watching).toBe(false)
})

it('one client that logs in again and again is enough', () => {
  const returns = new CookieReturns()
  const found = [0, 1, 2, 3, 4].map((at) => returns.login(login(`s${at}`, 'alice', at * MINUTE)))
  expect(found).toEqual([false, false, false, true, false])
})

it('somebody who logs in hours later was not thrown out', () => {
  const returns = new CookieReturns()
  const found = [0, 2, 4, 6, 8, 10].map((at) =>
    returns.login(login(`s${at}`, 'alice', at * MINUTE)),
  )
  expect(found).not.toContain(true)
})

it('one client that calls again and again loses its cookie once', () => {
  const returns = new CookieReturns()
  returns.login(login('a'))
  expect(Array.from({ length: 20 }, () => returns.withoutCookie('a'))).not.toContain(true)
})

it('tokens of unknown logins prove nothing, and neither do logins alone', () => {
  const returns = new CookieReturns()
  const logins = Array.from({ length: 100 }, (_, index) => returns.login(login(`s${index}`)))
  expect(logins).not.toContain(true)
  expect(['x', 'y', 'z', 's0', 's1'].map((sid) => returns.withoutCookie(sid))).not.toContain(true)
})

it('a cookie that came ends it for good', () => {
  const returns = new CookieReturns()
  for (const sid of ['a', 'b']) {
    returns.login(login(sid))
    returns.withoutCookie(sid)
  }
  returns.seen()
  expect(returns.watching).toBe(false)
  expect([returns.login(login('c')), returns.withoutCookie('c'), returns.waiting]).toEqual([
    false,
    false,
    false,
  ])
})
