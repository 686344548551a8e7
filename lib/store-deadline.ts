import { StoreUnavailable } from './errors.ts'
import type { Store } from './store.ts'

/**
 * The store with a deadline on every call. A call that fails in any way, or takes longer, rejects
 * with one {@link StoreUnavailable}; its late result is dropped and its late failure swallowed.
 * Passed on as they are: `feed.read`, which waits on purpose and is bounded by its caller, and
 * `prune` and `close`, which no request waits for.
 *
 * @param store - the app's store
 * @param deadlineMs - how long a call may take
 */
export function withDeadline(store: Store, deadlineMs: number): Store {
  const bounded =
    <Input extends unknown[], Output>(
      operation: string,
      call: (...input: Input) => Promise<Output>,
    ) =>
    (...input: Input): Promise<Output> =>
      new Promise<Output>((resolve, reject) => {
        const fail = (cause: unknown) => {
          clearTimeout(timer)
          reject(
            cause instanceof StoreUnavailable ? cause : new StoreUnavailable(operation, { cause }),
          )
        }
        const timer = setTimeout(() => fail(new Error(`late: ${deadlineMs} ms`)), deadlineMs)
        const succeed = (output: Output) => {
          clearTimeout(timer)
          resolve(output)
        }
        try {
          call(...input).then(succeed, fail)
        } catch (error) {
          fail(error)
        }
      })

  return {
    create: bounded('create', (input) => store.create(input)),
    replace: bounded('replace', (input) => store.replace(input)),
    check: bounded('check', (input) => store.check(input)),
    rotate: bounded('rotate', (input) => store.rotate(input)),
    update: bounded('update', (input) => store.update(input)),
    revoke: bounded('revoke', (input) => store.revoke(input)),
    revokeUser: bounded('revokeUser', (input) => store.revokeUser(input)),
    list: bounded('list', (input) => store.list(input)),
    deny: bounded('deny', (input) => store.deny(input)),
    isDenied: bounded('isDenied', (input) => store.isDenied(input)),
    limit: {
      take: bounded('limit.take', (key, cost, windowMs) => store.limit.take(key, cost, windowMs)),
    },
    audit: {
      withChange: store.audit.withChange,
      append: bounded('audit.append', (events) => store.audit.append(events)),
      query: bounded('audit.query', (query) => store.audit.query(query)),
    },
    keys: {
      load: bounded('keys.load', () => store.keys.load()),
      save: bounded('keys.save', (expected, document) => store.keys.save(expected, document)),
    },
    feed: {
      retentionMs: store.feed.retentionMs,
      read: async (input) => store.feed.read(input),
    },
    prune: async () => store.prune(),
    inspect: bounded('inspect', () => store.inspect()),
    close: async () => store.close(),
  }
}
