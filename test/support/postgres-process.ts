import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { postgresPrograms } from './postgres-program.ts'

const POLL_MS = 10

// PostgreSQL is a family: the server starts a process for every connection, and each leaves the process group.
const FAMILY = `
children() {
  if [ -r /proc/self/stat ]; then cat /proc/[0-9]*/stat | awk -v of="$1" '$4 == of { print $1 }'
  else ps -A -o pid= -o ppid= | awk -v of="$1" '$2 == of { print $1 }'
  fi
}
# Signal $1 for server $2 and its children. It is stopped first; the second time is for those it was starting.
signal() {
  kill -STOP "$2"
  kill "-$1" $(children "$2")
  kill "-$1" $(children "$2")
  kill "-$1" "$2"
}
`

// Runs "$@" until it ends. Descriptor 3 is a pipe whose other end only the starting process holds, so that
// end of file there means that it is gone, however it died: then the server goes too, with its memory.
const GUARDED = `${FAMILY}
folder=$1; shift
"$@" </dev/null 2>>"$folder/postgres.log" 3<&- & server=$!
exec >/dev/null 2>&1
{
  read -r _; trap '' TERM
  lock=$folder/data/postmaster.pid
  for pid in "$server" $(sed -n 1p "$lock"); do signal KILL "$pid"; done
  set -- $(sed -n 7p "$lock"); sleep 0.2; ipcrm -m "$2"; rm -f "$lock"
} <&3 & guard=$!
wait "$server"; status=$?
kill "$guard"; wait "$guard"
rm -f "$folder/guarded"
exit "$status"`

// The same for folders, named line by line; each when no server writes there any more.
const SWEEPER = `
while read -r folder; do set -- "$@" "$folder"; done
for folder; do
  for try in 1 2 3 4 5 6 7 8 9 10; do [ -e "$folder/guarded" ] && sleep 0.5; done
  rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }
done`

/** One run of a server. */
export interface PostgresProcess {
  /** Of the server itself, which starts one more for every connection. */
  readonly pid: number
  /** Whether it has not ended; true while it is paused. */
  readonly running: boolean
  /** Waits until all of its processes have ended. */
  end(this: void): Promise<void>
}

/**
 * Serves `folder/data` as `folder/postgresql.conf` says and waits until it answers, which takes as long as
 * its recovery. The server never outlives this process, nor does it keep this process alive.
 *
 * @throws {Error} with the server's log when it does not come up
 */
export async function launchPostgres(folder: string): Promise<PostgresProcess> {
  const { command, startMs } = postgresPrograms()
  const lock = join(folder, 'data', 'postmaster.pid')
  const settings = ['-D', join(folder, 'data'), '-c', `config_file=${folder}/postgresql.conf`]
  // Of a server that died together with its guard, as when the machine went down.
  const { text: stale } = readLock(lock)
  const logged = logOf(folder)
  const run = runGuarded(folder, [...command('postgres', folder), ...settings])
  const ended = run.ended.then(() => unlock(lock))
  const deadline = Date.now() + startMs
  for (;;) {
    const { text, pid, status } = readLock(lock)
    if (run.running && text !== stale && (status === 'ready' || status === 'standby')) {
      run.hold(false)
      return {
        pid,
        get running() {
          return run.running
        },
        async end() {
          run.hold(true)
          await ended
        },
      }
    }
    if (!run.running || Date.now() > deadline) {
      run.abandon()
      await ended
      throw new Error(`postgres did not start:\n${logOf(folder).slice(logged.length)}`)
    }
    await sleep(POLL_MS)
  }
}

/**
 * Runs a program to its end.
 *
 * @throws {Error} with its log when it fails
 */
export async function runToEnd(
  folder: string,
  command: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<void> {
  const logged = logOf(folder)
  const status = await runGuarded(folder, command, variables).ended
  if (status === 0) return
  throw new Error(`${command.join(' ')} failed:\n${logOf(folder).slice(logged.length)}`)
}

interface Guarded {
  readonly running: boolean
  /** Its exit code, when all processes that it started have ended too. */
  readonly ended: Promise<number | null>
  /** Ends it as the end of this process would. */
  abandon(): void
  /** Whether it keeps this process alive; at first it does. */
  hold(holds: boolean): void
}

function runGuarded(
  folder: string,
  command: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Guarded {
  writeFileSync(join(folder, 'guarded'), '')
  const child = spawn('sh', ['-c', GUARDED, 'postgres-guard', folder, ...command], {
    cwd: folder,
    // Its own process group: Ctrl-C reaches it by way of the pipe, after the tests.
    detached: true,
    env: { ...neutralVariables(), ...variables },
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
    ...postgresPrograms().runAs,
  })
  const [stdout, guard] = [child.stdout, child.stdio[3]] as [Socket, Socket]
  let running = true
  const exit = once(child, 'exit').then(([code]: unknown[]) => {
    running = false
    return code as number | null
  })
  // All processes of the server hold this pipe: it closes with the last of them.
  const closed = once(stdout.resume(), 'close')
  const ended = Promise.all([exit, closed]).then(([code]) => {
    guard.destroy()
    return code
  })
  return {
    get running() {
      return running
    },
    ended,
    abandon() {
      guard.destroy()
    },
    hold(holds) {
      for (const handle of [child, stdout, guard]) {
        if (holds) handle.ref()
        else handle.unref()
      }
    },
  }
}

/** Without what libpq and the server would take from the environment; messages in English. */
function neutralVariables(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(PG|LC_|LANG)/.test(name))
  return { ...Object.fromEntries(kept), LC_ALL: 'C' }
}

/** Sends a signal to a server and all of its processes. */
export function signalFamily(pid: number, signal: 'STOP' | 'CONT' | 'KILL'): void {
  const script = `${FAMILY}\nsignal "$@"`
  spawnSync('sh', ['-c', script, 'signal', signal, String(pid)], {
    stdio: 'ignore',
    timeout: 30_000,
  })
}

/** What `postmaster.pid` says. */
interface Lock {
  readonly text: string
  readonly pid: number
  readonly sharedMemory: string | undefined
  readonly status: string | undefined
}

function readLock(path: string): Lock {
  const text = readIfThere(path)
  const lines = text.split('\n')
  const [, sharedMemory] = lines[6]?.trim().split(/\s+/) ?? []
  return { text, pid: Number(lines[0]), sharedMemory, status: lines[7]?.trim() }
}

/** Takes away what a server leaves that was killed; the next one would do it, but there may be none. */
function unlock(path: string): void {
  const { sharedMemory } = readLock(path)
  if (sharedMemory !== undefined) spawnSync('ipcrm', ['-m', sharedMemory], { stdio: 'ignore' })
  rmSync(path, { force: true })
}

/** What the server, and what prepared it, had to say. */
export function logOf(folder: string): string {
  return readIfThere(join(folder, 'postgres.log'))
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Gives a file or folder to the account that runs the server. */
export function handOver(path: string): void {
  const { fileOwner } = postgresPrograms()
  if (fileOwner !== undefined) chownSync(path, fileOwner.uid, fileOwner.gid)
}

/** A new folder that does not outlive this process, however that ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-postgres-'))
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
  return /Address already in use/.test(String(error))
}
