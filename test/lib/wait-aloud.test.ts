import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals'
import { waitAloud } from '../../lib/wait-aloud.ts'

/** An error that is its own cause. */
function circular(): Error {
  const error = new Error('a')
  error.cause = error
  return error
}

describe('a wait for what a process needs', () => {
  const said: string[] = []
  let done = () => {}
  let fail = (_error: unknown) => {}
  let work: Promise<void>

  beforeEach(() => {
    jest.useFakeTimers()
    said.length = 0
    work = new Promise((resolve, reject) => {
      done = resolve
      fail = reject
    })
  })
  afterEach(() => {
    jest.useRealTimers()
  })

  const wait = async (failure: unknown) =>
    waitAloud(
      work,
      () => failure,
      (message) => said.push(message),
    )

  it('says once that it waits, after ten seconds', async () => {
    const waiting = wait(undefined)
    jest.advanceTimersByTime(9999)
    expect(said).toEqual([])
    jest.advanceTimersByTime(100_000)
    expect(said).toEqual(['latchkey: ready() has waited for 10 s'])
    expect(jest.getTimerCount()).toBe(1)
    done()
    await waiting
    expect(jest.getTimerCount()).toBe(0)
  })

  it('ends with what it waits for, and leaves no timer', async () => {
    const waiting = wait(undefined)
    fail(new Error('unsafe'))
    await expect(waiting).rejects.toThrow('unsafe')
    expect(jest.getTimerCount()).toBe(0)
  })

  it.each([
    ['its cause', new Error('no answer', { cause: new Error('refused') }), 'no answer: refused'],
    ['a code', Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }), 'ECONNREFUSED'],
    ['causes up to a limit', circular(), 'a: a: a: a: a'],
    ['a kind', new RangeError(''), 'RangeError'],
    ['nothing of what is no error', { password: 'x' }, 'object'],
  ])('says why, by %s', async (_what, error, why) => {
    const waiting = wait(error)
    jest.advanceTimersByTime(10_000)
    expect(said).toEqual([`latchkey: ready() has waited for 10 s; the last failure: ${why}`])
    done()
    await waiting
  })
})
