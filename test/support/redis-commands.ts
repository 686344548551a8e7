import { setTimeout as sleep } from 'node:timers/promises'

import { Redis } from 'ioredis'

const ANSWER_MS = 10_000
const POLL_MS = 40

/** Sends one command on a connection of its own. @throws when the server is down, frozen, or refuses */
export async function ask(
  { port }: { readonly port: number },
  ...[command, ...args]: [string, ...(string | number)[]]
): Promise<unknown> {
  const redis = new Redis({
    host: '127.0.0.1',
    port,
    protocol: 2,
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    disableClientInfo: true,
    connectTimeout: ANSWER_MS,
    commandTimeout: ANSWER_MS,
  })
  // Whatever happens to the connection is told by the command.
  redis.on('error', () => {})
  try {
    return await redis.call(command, ...args)
  } finally {
    redis.disconnect()
  }
}

/** The `name:value` lines of INFO or CLUSTER INFO. */
export async function askFields(
  server: { readonly port: number },
  ...command: [string, ...string[]]
): Promise<Record<string, string>> {
  const text = String(await ask(server, ...command))
  return Object.fromEntries(text.split('\r\n').map((line) => line.split(':', 2)))
}

/**
 * Asks again until the answer is neither false nor undefined; a server that does not answer counts as
 * not yet.
 *
 * @throws {Error} naming `what`, caused by the last failure, after `timeoutMs`
 */
export async function until<Result>(
  what: string,
  probe: () => Promise<Result | false | undefined>,
  timeoutMs = 60_000,
): Promise<Result> {
  const deadline = Date.now() + timeoutMs
  let cause: unknown
  while (Date.now() < deadline) {
    try {
      const result = await probe()
      if (result !== false && result !== undefined) return result
    } catch (error) {
      cause = error
    }
    await sleep(POLL_MS)
  }
  throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause })
}

/**
 * Waits until a replica has all that was written. WAIT tells less: it speaks of the writes of its own
 * connection, and one that has just come gets them a second late.
 */
export async function replicated(
  primary: { readonly port: number },
  replica: { readonly port: number },
): Promise<void> {
  await until('all is replicated', async () => {
    const [mine, its] = await Promise.all(
      [primary, replica].map(async (server) => askFields(server, 'INFO', 'replication')),
    )
    return mine?.['master_repl_offset'] === its?.['slave_repl_offset']
  })
}

/** Every outcome is awaited before the first failure is thrown: nothing starts behind a cleanup's back. */
export async function allDone<Result>(tasks: readonly Promise<Result>[]): Promise<Result[]> {
  await Promise.allSettled(tasks)
  return Promise.all(tasks)
}
