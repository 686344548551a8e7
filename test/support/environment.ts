import { setTimeout as sleep } from 'node:timers/promises'

import { TestEnvironment } from 'jest-environment-node'

/** What a file ended may take that long to end; a stalled machine needs some of it. */
const GRACE_MS = 10_000
/** Far more than any file takes, and far less than a run may. */
const FILE_LIMIT_MS = 600_000
const POLL_MS = 20

type Given = ConstructorParameters<typeof TestEnvironment>

/**
 * Jest's environment for Node, in which a test file fails when it leaves something running (a client, a
 * server, a timer, a process), since that would keep Jest from ending; and in which none runs for ever.
 */
export default class Environment extends TestEnvironment {
  readonly #path: string
  readonly #limit: NodeJS.Timeout
  #before = countsOf([])

  constructor(...given: Given) {
    super(...given)
    this.#path = given[1].testPath
    // What `ps` shows: of a run that had to be ended, which file it was.
    process.title = `jest ${this.#path}`
    // Keeps the process from ending in silence, too, where all that is waited for never comes.
    this.#limit = setTimeout(() => void this.#giveUp(), FILE_LIMIT_MS)
  }

  override async setup(): Promise<void> {
    await super.setup()
    this.#before = countsOf(process.getActiveResourcesInfo())
  }

  async handleTestEvent(
    { name }: { readonly name: string },
    state: { readonly unhandledErrors: unknown[] },
  ): Promise<void> {
    if (name !== 'run_finish') return
    const left = await this.#leftRunning()
    if (left.length === 0) return
    // Not an `Error` of its own: where this line stands says nothing.
    state.unhandledErrors.push(`left running: ${left.join(', ')}`)
  }

  override async teardown(): Promise<void> {
    clearTimeout(this.#limit)
    await super.teardown()
  }

  /** What keeps this process alive now and did not before. */
  async #leftRunning(): Promise<string[]> {
    for (const end = performance.now() + GRACE_MS; ;) {
      const now = countsOf(process.getActiveResourcesInfo())
      const left = [...now].filter(([type, count]) => count > (this.#before.get(type) ?? 0))
      if (left.length === 0 || performance.now() > end) return left.map(([type]) => type)
      await sleep(POLL_MS)
    }
  }

  /** No test of it does: they have limits of their own. An import or a clean-up that never ends may. */
  async #giveUp(): Promise<void> {
    const left = process.getActiveResourcesInfo().join(', ')
    console.error(`${this.#path} has not ended in ${FILE_LIMIT_MS / 1000} s; running: ${left}`)
    // Jest passes on what its worker said, given a moment.
    await sleep(500)
    process.kill(process.pid, 'SIGKILL')
  }
}

function countsOf(types: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const type of types) counts.set(type, (counts.get(type) ?? 0) + 1)
  return counts
}
