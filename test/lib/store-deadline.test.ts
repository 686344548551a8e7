import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals'
import { StoreUnavailable } from '../../lib/errors.ts'
import { withDeadline } from '../../lib/store-deadline.ts'
import type { Store } from '../../lib/store.ts'
import { memoryStore } from '../../stores/memory.ts'

const DEADLINE = 250

type Operation = (...input: unknown[]) => Promise<unknown>

/** Operations that are passed on without a deadline: one waits on purpose, two take their time. */
const UNBOUNDED = new Set(['feed.read', 'prune', 'close'])

/** Every operation of a store by its path. Taken from a store, so that a new one cannot be forgotten. */
function operationsOf(store: object): Map<string, Operation> {
  const found = new Map<string, Operation>()
  for (const [name, member] of Object.entries(store) as [string, unknown][]) {
    if (typeof member === 'function') found.set(name, member as Operation)
    if (typeof member !== 'object' || member === null) continue
    for (const [inner, call] of operationsOf(member)) found.set(`${name}.${inner}`, call)
  }
  return found
}

/** A store whose every operation does the same. */
function storeOf(act: (path: string, input: unknown[]) => unknown): Store {
  const build = (shape: object, path: string): object =>
    Object.fromEntries(
      (Object.entries(shape) as [string, unknown][]).map(([name, member]) => {
        if (typeof member === 'object' && member !== null) {
          return [name, build(member, `${path}${name}.`)]
        }
        const isOperation = typeof member === 'function'
        return [name, isOperation ? (...input: unknown[]) => act(path + name, input) : member]
      }),
    )
  return build(memoryStore(), '') as Store
}

const PATHS = [...operationsOf(memoryStore()).keys()]
const BOUNDED = PATHS.filter((path) => !UNBOUNDED.has(path))

function operation(store: Store, path: string): Operation {
  const found = operationsOf(store).get(path)
  if (found === undefined) throw new Error(`no operation ${path}`)
  return found
}

/** Every member of a store by its path, operations and others. */
function membersOf(store: object, path = ''): string[] {
  return (Object.entries(store) as [string, unknown][]).flatMap(([name, member]) =>
    typeof member === 'object' && member !== null
      ? membersOf(member, `${path}${name}.`)
      : `${path}${name}`,
  )
}

async function failure(promise: Promise<unknown>): Promise<StoreUnavailable> {
  return promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => error as StoreUnavailable,
  )
}

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance'] })
})

afterEach(async () => {
  expect(jest.getTimerCount()).toBe(0)
  jest.useRealTimers()
  // A rejection that nobody handles fails the test it comes up in.
  await new Promise(setImmediate)
})

describe('a store with a deadline', () => {
  it('has every operation of the contract, and no other', () => {
    const paths = [...operationsOf(withDeadline(memoryStore(), DEADLINE)).keys()]
    expect(paths.toSorted()).toEqual(PATHS.toSorted())
    expect(BOUNDED.length).toBeGreaterThanOrEqual(15)
  })

  it('has everything else of the store as it is', () => {
    const store = memoryStore({ feedRetention: '90m' })
    const bounded = withDeadline(store, DEADLINE)
    expect(bounded.feed.retentionMs).toBe(90 * 60_000)
    expect(JSON.stringify(bounded)).toBe(JSON.stringify(store))
    expect(membersOf(bounded).toSorted()).toEqual(membersOf(store).toSorted())
  })

  it('works as the store does', async () => {
    const store = withDeadline(memoryStore(), DEADLINE)
    expect(await store.revoke({ sid: 'a'.repeat(24) })).toEqual({ outcome: 'gone' })
    expect(await store.limit.take('a', 2, 1000)).toMatchObject({ used: 2 })
    expect(await store.keys.save(0, 'text')).toBe(true)
    expect(await store.keys.load()).toEqual({ version: 1, document: 'text' })
    expect(await store.prune()).toBe(0)
    await store.close()
    await expect(store.keys.load()).rejects.toMatchObject({ code: 'store_unavailable' })
  })
})

describe.each(BOUNDED)('%s', (path) => {
  it('passes on all it was given, and the answer', async () => {
    const input = [Symbol('first'), Symbol('second'), Symbol('third')]
    const answer = Symbol('answer')
    const seen: unknown[] = []
    const store = withDeadline(
      storeOf(async (called, given) => {
        seen.push(called, ...given)
        return answer
      }),
      DEADLINE,
    )
    expect(await operation(store, path)(...input)).toBe(answer)
    const arity = seen.length - 1
    expect(seen).toEqual([path, ...input.slice(0, arity)])
    expect(arity).toBe(operation(memoryStore(), path).length)
  })

  it('is unavailable when it is late, and not a millisecond sooner', async () => {
    const store = withDeadline(
      storeOf(async () => new Promise(() => {})),
      DEADLINE,
    )
    let failed = false
    const late = failure(operation(store, path)()).finally(() => (failed = true))
    await jest.advanceTimersByTimeAsync(DEADLINE - 1)
    expect(failed).toBe(false)
    await jest.advanceTimersByTimeAsync(1)
    expect(await late).toMatchObject({ code: 'store_unavailable', status: 503 })
    expect((await late).message).toContain(`"${path}"`)
  })

  it('swallows a late failure and drops a late answer', async () => {
    for (const settle of ['resolve', 'reject'] as const) {
      const settlers: (() => void)[] = []
      const store = withDeadline(
        storeOf(
          async () =>
            new Promise((resolve, reject) => {
              settlers.push(() => (settle === 'resolve' ? resolve(1) : reject(new Error('late'))))
            }),
        ),
        DEADLINE,
      )
      const late = failure(operation(store, path)())
      await jest.advanceTimersByTimeAsync(DEADLINE)
      for (const settleNow of settlers) settleNow()
      expect((await late).code).toBe('store_unavailable')
    }
  })

  it('is unavailable when it fails, with the cause kept', async () => {
    const cause = new Error('ECONNREFUSED')
    const store = withDeadline(
      storeOf(async () => {
        throw cause
      }),
      DEADLINE,
    )
    const error = await failure(operation(store, path)())
    expect(error).toMatchObject({ code: 'store_unavailable', cause })
  })

  it('is unavailable when it throws at once, or throws no error at all', async () => {
    for (const thrown of [new TypeError('at once'), 'text', undefined, null]) {
      const store = withDeadline(
        storeOf(() => {
          throw thrown // oxlint-disable-line only-throw-error
        }),
        DEADLINE,
      )
      const error = await failure(operation(store, path)())
      expect(error).toMatchObject({ code: 'store_unavailable' })
      expect(error.cause).toBe(thrown)
    }
  })

  it('passes on what is unavailable already as it is', async () => {
    const error = new StoreUnavailable('revocation_unconfirmed')
    const store = withDeadline(
      storeOf(async () => {
        throw error
      }),
      DEADLINE,
    )
    expect(await failure(operation(store, path)())).toBe(error)
  })

  it('leaves no timer behind', async () => {
    const done = withDeadline(
      storeOf(async () => 1),
      DEADLINE,
    )
    await operation(done, path)()
    expect(jest.getTimerCount()).toBe(0)
    const failing = withDeadline(
      storeOf(async () => {
        throw new Error('down')
      }),
      DEADLINE,
    )
    await failure(operation(failing, path)())
    expect(jest.getTimerCount()).toBe(0)
  })
})

describe.each([...UNBOUNDED])('%s', (path) => {
  it('is passed on as it is: input, answer, failure, and its time', async () => {
    const cause = new Error('as it is')
    let result: unknown = 'answer'
    const seen: unknown[] = []
    const store = withDeadline(
      storeOf(async (called, given) => {
        seen.push(called, ...given)
        await new Promise((resolve) => setTimeout(resolve, 10 * DEADLINE))
        if (result === cause) throw cause
        return result
      }),
      DEADLINE,
    )
    const answered = operation(store, path)('input')
    await jest.advanceTimersByTimeAsync(10 * DEADLINE)
    expect(await answered).toBe('answer')
    expect(seen).toEqual(path === 'feed.read' ? [path, 'input'] : [path])

    result = cause
    const failed = failure(operation(store, path)('input'))
    await jest.advanceTimersByTimeAsync(10 * DEADLINE)
    expect(await failed).toBe(cause)
  })
})
