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
    async (...input: Input): Promise<Output> =>
      new Promise<Output>((resolve, reject) => {
        const fail = (cause: unknown) => {
          clearTimeout(timer)
          reject(
            cause instanceof StoreUnavailable ? cause : new StoreUnavailable(operation, { cause }),
          )
        }
        const timer = setTimeout(() => fail(new Error(`late: ${deadlineMs} ms`)), deadlineMs)
        call(...input).then((output) => {
          clearTimeout(timer)
          resolve(output)
        }, fail)
      })

  return {
    create: bounded('create', async (input) => store.create(input)),
    replace: bounded('replace', async (input) => store.replace(input)),
    check: bounded('check', async (input) => store.check(input)),
    rotate: bounded('rotate', async (input) => store.rotate(input)),
    update: bounded('update', async (input) => store.update(input)),
    revoke: bounded('revoke', async (input) => store.revoke(input)),
    revokeUser: bounded('revokeUser', async (input) => store.revokeUser(input)),
    list: bounded('list', async (input) => store.list(input)),
    deny: bounded('deny', async (input) => store.deny(input)),
    isDenied: bounded('isDenied', async (input) => store.isDenied(input)),
    limit: {
      take: bounded('limit.take', async (key, cost, windowMs) =>
        store.limit.take(key, cost, windowMs),
      ),
    },
    audit: {
      withChange: store.audit.withChange,
      append: bounded('audit.append', async (events) => store.audit.append(events)),
      query: bounded('audit.query', async (query) => store.audit.query(query)),
    },
    keys: {
      load: bounded('keys.load', async () => store.keys.load()),
      save: bounded('keys.save', async (expected, document) => store.keys.save(expected, document)),
    },
    feed: {
      retentionMs: store.feed.retentionMs,
      read: async (input) => store.feed.read(input),
    },
    prune: async () => store.prune(),
    inspect: bounded('inspect', async () => store.inspect()),
    close: async () => store.close(),
  }
}
