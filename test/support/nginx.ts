import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Socket } from 'node:net'
import { findProgram } from './program.ts'
import { freePort } from './redis-process.ts'

const START_MS = 30_000
const LOG_LENGTH = 8000
const MAX_TRIES = 5

// Debian's package would start a server of the system's; its own policy says no for as long as it takes.
const NO_SYSTEM_SERVER =
  '{ test -e /usr/sbin/policy-rc.d || { trap "rm /usr/sbin/policy-rc.d" EXIT; ' +
  'printf "#!/bin/sh\\nexit 101\\n" >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; }; }'

// What the programs would write to folders of the system's, if they may.
const FOLDERS = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

// Runs "$@" until it ends, or until the process that started it is gone: then descriptor 3 ends.
const GUARDED = `
"$@" </dev/null 3<&- & server=$!
exec 2>/dev/null
{ read -r _; kill -9 "$server"; } <&3 & guard=$!
wait "$server"
kill "$guard"
exit 0`

/** An nginx of this test's own. */
export interface Nginx {
  /** Where it listens, on loopback. */
  readonly port: number
  /** Ends it, and removes its folder. */
  stop(): Promise<void>
}

/**
 * Runs a configuration in a temporary folder, as one process in the foreground that does not outlive
 * this one. Nothing of the system's configuration is read.
 *
 * @param config - the whole of nginx.conf, for the port it is to listen on
 * @throws {Error} with its log when it does not come up
 */
export async function startNginx(config: (port: number) => string): Promise<Nginx> {
  const program = findProgram(['nginx'], 'nginx', {
    folders: () => ['/usr/sbin', '/usr/local/sbin'],
    prepare: NO_SYSTEM_SERVER,
  })
  for (let tries = 1; ; tries++) {
    const port = await freePort()
    try {
      return { port, stop: await launch(program, config(port)) }
    } catch (error) {
      // Somebody else was quicker.
      if (tries === MAX_TRIES || !String(error).includes('Address already in use')) throw error
    }
  }
}

async function launch(program: string, config: string): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-nginx-'))
  for (const name of FOLDERS) mkdirSync(join(folder, name))
  const temporary = FOLDERS.map((name) => `${name}_temp_path ${name};`).join(' ')
  const own = config.replace(/^http \{$/m, `http {\n  access_log off; ${temporary}`)
  writeFileSync(join(folder, 'nginx.conf'), own)
  const globals = 'daemon off; master_process off; pid nginx.pid;'
  const args = [program, '-p', folder, '-c', 'nginx.conf', '-e', 'stderr', '-g', globals]
  const child = spawn('sh', ['-c', GUARDED, 'nginx-guard', ...args], {
    cwd: folder,
    // Its own process group: Ctrl-C reaches it by way of the pipe.
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  })
  let log = ''
  const state = { running: true }
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-LOG_LENGTH)
  })
  const pipe = child.stdio[3] as Socket
  const ended = once(child, 'close').then(() => {
    state.running = false
  })
  const stop = async () => {
    pipe.destroy()
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
  const late = performance.now() + START_MS
  // Written once it listens.
  while (!existsSync(join(folder, 'nginx.pid'))) {
    if (state.running && performance.now() < late) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      continue
    }
    await stop()
    throw new Error(`nginx did not start:\n${log}`)
  }
  return stop
}
