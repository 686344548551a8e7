import { spawnSync } from 'node:child_process'
import { rmSync, symlinkSync } from 'node:fs'
import { basename, join } from 'node:path'

import { findProgram } from './program.ts'

const IMAGE = 'redis:7-alpine'

/** A command line that runs a Redis in the foreground, and how long its first line may take. */
export interface RedisProgram {
  readonly command: readonly string[]
  readonly startMs: number
}

/**
 * The command that serves `folder`: a `redis-server` of this machine, else one in a container.
 *
 * @throws {Error} whose message is the line that installs it
 */
export function redisProgram(folder: string): RedisProgram {
  found ??= find()
  if (found === 'docker') return { command: container(folder), startMs: 120_000 }
  return { command: [serverAt(found, folder)], startMs: 60_000 }
}

let found: string | undefined

function find(): string {
  try {
    // Debian's redis-server package would start a server of the system's. The program itself is in
    // redis-tools, which starts nothing: it is one binary, and a server unless its name ends in check-rdb.
    return findProgram(['redis-server', 'redis-check-rdb'], 'redis-tools')
  } catch (error) {
    if (spawnSync('docker', ['info'], { stdio: 'ignore', timeout: 30_000 }).status === 0)
      return 'docker'
    throw error
  }
}

function serverAt(program: string, folder: string): string {
  if (basename(program) === 'redis-server') return program
  const link = join(folder, 'redis-server')
  rmSync(link, { force: true })
  symlinkSync(program, link)
  return link
}

/** Sharing network, processes and user, it is signalled and reached as a local one would be. */
function container(folder: string): string[] {
  const shared = ['--network', 'host', '--pid', 'host', '--volume', `${folder}:${folder}`]
  const user = `${process.getuid?.()}:${process.getgid?.()}`
  const entry = ['--user', user, '--workdir', folder, '--entrypoint', 'redis-server']
  return ['docker', 'run', '--rm', ...shared, ...entry, IMAGE]
}
