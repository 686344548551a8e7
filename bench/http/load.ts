import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { findProgram } from '../../test/support/program.ts'

const SCRIPT = fileURLToPath(new URL('load.lua', import.meta.url))

/** What came of sending as fast as answers came. */
export interface Load {
  readonly requests: number
  readonly perSecond: number
  /** Answers that were no 2xx, and requests without one. */
  readonly failed: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
}

/**
 * Loads a server with `wrk`: a quarter of a core sends what the busiest of these servers answers, so
 * that the load is never what is measured. A client in Node takes as long a request as the server.
 *
 * @param credentialsFile - a header line for each session; they take turns
 */
export async function load(
  port: number,
  credentialsFile: string,
  options: { readonly connections: number; readonly seconds: number; readonly path?: string },
): Promise<Load> {
  const { connections, seconds, path = '/' } = options
  const wrk = findProgram(['wrk'], 'wrk')
  const args = [
    '-t1',
    `-c${connections}`,
    `-d${seconds}s`,
    '-s',
    SCRIPT,
    `http://127.0.0.1:${port}${path}`,
  ]
  const { stdout } = await promisify(execFile)(wrk, [...args, '--', credentialsFile])
  const result = /^RESULT (.+)$/m.exec(stdout)?.[1]
  if (result === undefined) throw new Error(`wrk said: ${stdout}`)
  const { micros, ...rest }: Omit<Load, 'perSecond'> & { readonly micros: number } =
    JSON.parse(result)
  return { ...rest, perSecond: (rest.requests * 1_000_000) / micros }
}
