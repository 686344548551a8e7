import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'

import { redisProgram } from './redis-program.ts'

const READY = /Ready to accept connections|Sentinel ID is/
const LOG_LENGTH = 8000

// Runs "$@" until it ends. Descriptor 3 is a pipe whose other end only the starting process holds, so that
// end of file there means that it is gone, however it died: then the server goes too.
const GUARDED = `
folder=$1; shift
"$@" </dev/null 2>&1 3<&- & server=$!
exec >/dev/null 2>&1
{ read -r _; kill -9 "$server" $(cat "$folder/redis.pid"); } <&3 & guard=$!
wait "$server"
kill "$guard"
exit 0`

// The same for folders, named line by line; a moment later, when no dying server writes any more.
const SWEEPER = `
while read -r folder; do set -- "$@" "$folder"; done
sleep 0.5
rm -rf "$@"`

/** One run of a server. */
export interface RedisProcess {
  readonly pid: number
  /** Whether it has not ended; true while it is paused. */
  readonly running: boolean
  /** Settles when it has ended and was reaped. */
  readonly ended: Promise<void>
}

/** What {@link launchRedis} runs. */
export interface Launch {
  /** Holds `redis.conf` and gets `redis.pid`. */
  readonly folder: string
  readonly sentinel: boolean
}

/**
 * Runs `folder/redis.conf` and waits until it listens. The server never outlives this process, nor does
 * it keep this process alive.
 *
 * @throws {Error} with the server's log when it does not come up
 */
export async function launchRedis(launch: Launch): Promise<RedisProcess> {
  const { folder, sentinel } = launch
  const { command, startMs } = redisProgram(folder)
  rmSync(join(folder, 'redis.pid'), { force: true })
  const args = [...command, join(folder, 'redis.conf'), ...(sentinel ? ['--sentinel'] : [])]
  const guarded = ['-c', GUARDED, 'redis-guard', folder, ...args]
  const child = spawn('sh', guarded, {
    cwd: folder,
    // Its own process group: Ctrl-C reaches it by way of the pipe, after the tests.
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  })
  let running = true
  const ended = once(child, 'exit').then(() => {
    running = false
  })
  const pipes = [child.stdout, child.stdio[3]] as [Socket, Socket]
  try {
    await readyLine(pipes[0], startMs)
  } catch (error) {
    // Closing the pipe is what stops the server, whether or not it has told its process id by now.
    pipes[1].destroy()
    await ended
    throw error
  }
  const pid = Number(readFileSync(join(folder, 'redis.pid'), 'utf8'))
  child.unref()
  for (const pipe of pipes) pipe.unref()
  return {
    pid,
    get running() {
      return running
    },
    ended: ended.finally(() => pipes[1].destroy()),
  }
}

async function readyLine(stdout: Readable, startMs: number): Promise<void> {
  const late = AbortSignal.timeout(startMs)
  let log = ''
  await new Promise<void>((resolve, reject) => {
    const fail = () => reject(new Error(`redis-server did not start:\n${log}`))
    late.addEventListener('abort', fail)
    stdout.once('close', fail)
    // Listens on for good: a pipe nobody reads would block the server.
    stdout.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-LOG_LENGTH)
      if (READY.test(log)) resolve()
    })
  })
}

/** A new folder that does not outlive this process, however that ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-redis-'))
  sweeper ??= startSweeper()
  sweeper.write(`${folder}\n`)
  return folder
}

let sweeper: Socket | undefined

function startSweeper(): Socket {
  const stdio = ['pipe', 'ignore', 'ignore'] as const
  const child = spawn('sh', ['-c', SWEEPER], { detached: true, stdio: [...stdio] })
  const pipe = child.stdin as Socket
  child.unref()
  pipe.unref()
  return pipe
}

/** Whether a server did not start because somebody else has its port. */
export function isPortTaken(error: unknown): boolean {
  return /Address already in use|Failed listening/.test(String(error))
}

/**
 * A port nobody listens on, nor on the one 10000 above (a cluster node's bus), and that is given out once.
 * Both lie below the range that systems give to outgoing connections, and each worker of Jest has ports
 * of its own: a server that is down loses its port to nobody.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + SHARE * shareOf(process.env['JEST_WORKER_ID']) + randomInt(SHARE)
    if (given.has(port)) continue
    given.add(port)
    if ((await isFree(port)) && (await isFree(port + 10_000))) return port
  }
}

const FIRST_PORT = 11_000
const SHARES = 5
const SHARE = 10_000 / SHARES

const given = new Set<number>()

/** The first is that of the process which starts the workers; theirs are numbered from 1. */
function shareOf(worker = '0'): number {
  return Number(worker) % SHARES
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  const listening = new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true))
  })
  const free = await listening
  if (free) await new Promise((resolve) => server.close(resolve))
  return free
}
