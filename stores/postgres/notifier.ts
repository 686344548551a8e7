import type { Listener } from './listener.ts'
import type { Names } from './names.ts'
import { statement } from './runner.ts'

/** Wakes who follows the feed. */
export interface Notifier {
  /** There is something new, committed. Returns at once and never fails. */
  tell(): void
  close(): void
}

/** Followers rest for longer than this after news. */
const PAUSE_MS = 10

/**
 * Notifies after the change has been committed, on the connection that follows the feed. In the change's
 * own transaction NOTIFY would hold a lock of the whole database until the change is on the disk, and
 * revocations would commit one at a time. The read is the truth: when nobody is told, everybody looks
 * all the same.
 *
 * One notification at a time and one a {@link PAUSE_MS}, whatever there is to tell of.
 */
export function createNotifier(listener: Pick<Listener, 'run'>, names: Names): Notifier {
  // Worth no wait for the disk: nothing is lost with it.
  const notify = statement(
    'notify',
    `select set_config('synchronous_commit', 'off', true), pg_notify('${names.channel.slice(1, -1)}', '')`,
  )
  const never = new AbortController().signal
  let isTelling = false
  let isNew = false
  let timer: NodeJS.Timeout | undefined
  let isClosed = false

  function tell(): void {
    isNew = true
    if (isTelling || isClosed) return
    isTelling = true
    isNew = false
    listener
      .run(notify, [], never)
      .catch(() => undefined)
      .finally(() => {
        timer = setTimeout(() => {
          isTelling = false
          if (isNew) tell()
        }, PAUSE_MS).unref()
        if (isClosed) clearTimeout(timer)
      })
  }

  return {
    tell,
    close() {
      isClosed = true
      clearTimeout(timer)
    },
  }
}
