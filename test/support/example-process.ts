import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const START_MS = 90_000
const STOP_MS = 8000

/** The example, as a process of its own. */
export interface ExampleProcess {
  /** `http://localhost:<port>`. */
  readonly url: string
  /** Sends SIGTERM and waits for the end. */
  stop(): Promise<ExampleEnd>
}

/** How the process ended, and all it printed. */
export interface ExampleEnd {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/**
 * Starts the example on a free port and waits for the line it prints.
 *
 * @param script - which one; the whole app by default
 */
export async function startExample(
  env: Record<string, string> = {},
  script: string = 'example-app/server.ts',
): Promise<ExampleProcess> {
  const { child, ended, seen } = launch(env, script)
  const url = await Promise.race([seen, ended.then(failed)])
  return {
    url,
    async stop() {
      child.kill('SIGTERM')
      const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
      const end = await ended
      clearTimeout(impatience)
      return end
    },
  }
}

/** Runs an example that is expected not to start. */
export async function runExample(env: Record<string, string>): Promise<ExampleEnd> {
  const { child, ended, seen } = launch(env, 'example-app/server.ts')
  const end = await Promise.race([ended, seen])
  if (typeof end !== 'string') return end
  child.kill('SIGKILL')
  throw new Error('the example started all the same')
}

function launch(env: Record<string, string>, script: string) {
  if (!existsSync(`${ROOT}/dist/middleware/index.js`)) throw new Error('first run: npm run build')
  const child = spawn(process.execPath, ['--import', 'tsx', script], {
    cwd: ROOT,
    // Nothing of this process's own environment decides how the example runs.
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 600_000,
  })
  let stdout = ''
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const seen = new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`the example did not start: ${stderr}`))
    }, START_MS)
    child.once('exit', () => clearTimeout(late))
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      const url = /http:\/\/localhost:\d+/.exec(stdout)?.[0]
      if (url === undefined) return
      clearTimeout(late)
      resolve(url)
    })
  })
  const ended = once(child, 'close').then(([code]): ExampleEnd => ({ code, stdout, stderr }))
  return { child, ended, seen }
}

function failed({ stderr }: ExampleEnd): never {
  throw new Error(`the example did not start: ${stderr}`)
}
