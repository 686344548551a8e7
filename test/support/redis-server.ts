import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import {
  freePort,
  isPortTaken,
  launchRedis,
  temporaryFolder,
  type Launch,
  type RedisProcess,
} from './redis-process.ts'

const STOP_MS = 3000
const PORT_ATTEMPTS = 5

/** Where the single-server suites find their server: set by whoever runs the tests, else by Jest's globalSetup. */
const SHARED_URL = 'LATCHKEY_TEST_REDIS_URL'
/** Why globalSetup could not start one; only the tests that ask for it fail. */
const SHARED_MISSING = 'LATCHKEY_TEST_REDIS_MISSING'

/** Options of {@link startRedis}. */
export interface RedisOptions {
  /** Data folder, kept by `cleanUp`. @defaultValue a temporary one, removed by `cleanUp` */
  readonly dir?: string
  /** @defaultValue a free one */
  readonly port?: number
  /** Lines of redis.conf. @defaultValue no snapshots, no append-only file */
  readonly config?: Readonly<Record<string, string>>
  /** The primary this one copies. */
  readonly replicaOf?: { readonly port: number }
}

/** A Redis of our own, on 127.0.0.1 only. */
export interface RedisServer {
  readonly port: number
  readonly url: string
  /** Process id; a new one after `restart`. */
  readonly pid: number
  readonly dir: string
  /** Whether it can answer: neither ended nor paused. */
  readonly running: boolean
  /** Ends it without a chance to write anything, unless the signal gives one, and waits. */
  kill(signal?: 'SIGKILL' | 'SIGTERM'): Promise<void>
  /** Ends it in good order (the append-only file is flushed) and waits. */
  stop(): Promise<void>
  /** Freezes it: connections stay open, and new ones are accepted by the system, but nothing is answered. */
  pause(): void
  resume(): void
  /** Starts it again on the same port with the same data, after `stop` when it still runs. */
  restart(): Promise<void>
  /** Kills it and removes its data. */
  cleanUp(): Promise<void>
}

/** Starts a `redis-server` that ends with this process at the latest. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const { config = {}, replicaOf } = options
  const settings: Record<string, string> = {
    save: '',
    appendonly: 'no',
    // Else a replica waits five seconds for others to come.
    'repl-diskless-sync-delay': '0',
    ...(replicaOf && { replicaof: `127.0.0.1 ${replicaOf.port}` }),
    ...config,
  }
  const lines = Object.entries(settings).map(([key, value]) => `${key} ${value || '""'}`)
  return startConfigured({ ...options, lines, sentinel: false })
}

/** Starts a sentinel with these lines of configuration, which it then rewrites. @internal */
export async function startSentinel(lines: readonly string[]): Promise<RedisServer> {
  return startConfigured({ lines, sentinel: true })
}

interface Configured extends Pick<RedisOptions, 'dir' | 'port'> {
  readonly lines: readonly string[]
  readonly sentinel: boolean
}

async function startConfigured(options: Configured): Promise<RedisServer> {
  const { lines, sentinel } = options
  const disposable = options.dir === undefined
  const dir = options.dir ?? temporaryFolder()
  const launch = { folder: dir, sentinel }
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await freePort())
    const own = [`port ${port}`, 'bind 127.0.0.1', `dir ${dir}`, `pidfile ${dir}/redis.pid`]
    writeFileSync(join(dir, 'redis.conf'), [...own, ...lines, ''].join('\n'))
    try {
      const first = await launchRedis(launch)
      return serve({ port, launch, disposable, first })
    } catch (error) {
      const again = isPortTaken(error) && options.port === undefined && attempt < PORT_ATTEMPTS
      if (again) continue
      if (disposable) rmSync(dir, { recursive: true, force: true })
      throw error
    }
  }
}

interface Served {
  readonly port: number
  readonly launch: Launch
  /** Whether the data goes with the server. */
  readonly disposable: boolean
  readonly first: RedisProcess
}

function serve({ port, launch, disposable, first }: Served): RedisServer {
  let run = first
  let paused = false
  const signal = (name: NodeJS.Signals) => {
    if (!run.running) return
    try {
      process.kill(run.pid, name)
    } catch {
      // It has just ended, and we are about to hear of it.
    }
  }
  const resume = () => {
    paused = false
    signal('SIGCONT')
  }
  const end = async (name: NodeJS.Signals) => {
    const { ended } = run
    signal(name)
    resume()
    const impatience = setTimeout(() => signal('SIGKILL'), STOP_MS)
    await ended
    clearTimeout(impatience)
  }
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    get pid() {
      return run.pid
    },
    dir: launch.folder,
    get running() {
      return run.running && !paused
    },
    async kill(name = 'SIGKILL') {
      await end(name)
    },
    async stop() {
      await end('SIGTERM')
    },
    pause() {
      paused = true
      signal('SIGSTOP')
    },
    resume,
    async restart() {
      await end('SIGTERM')
      run = await launchRedis(launch)
    },
    async cleanUp() {
      await end('SIGKILL')
      if (disposable) rmSync(launch.folder, { recursive: true, force: true })
    },
  }
}

/**
 * The one server that all single-server suites share: they keep apart by key prefix.
 *
 * @throws {Error} why there is none
 */
export function sharedRedisUrl(): string {
  const url = process.env[SHARED_URL]
  if (url !== undefined) return url
  throw new Error(process.env[SHARED_MISSING] ?? 'the shared Redis was not started')
}

/** Starts the shared server, unless the environment names one; gives what stops it. */
export async function startSharedRedis(): Promise<() => Promise<void>> {
  if (process.env[SHARED_URL] !== undefined) return async () => {}
  try {
    const config = { appendonly: 'yes', 'maxmemory-policy': 'noeviction' }
    const server = await startRedis({ config })
    process.env[SHARED_URL] = server.url
    return async () => {
      delete process.env[SHARED_URL]
      await server.cleanUp()
    }
  } catch (error) {
    process.env[SHARED_MISSING] = String(error)
    return async () => {}
  }
}
