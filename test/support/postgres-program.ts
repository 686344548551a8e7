import { spawnSync } from 'node:child_process'
import { readdirSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'

import { findProgram } from './program.ts'

const IMAGE = 'postgres:17-alpine'
const DEBIAN = '/usr/lib/postgresql'
// Else Debian's package would start a server of the system's.
const NO_SYSTEM_SERVER =
  'mkdir -p /etc/postgresql-common/createcluster.d && ' +
  'echo create_main_cluster = false >/etc/postgresql-common/createcluster.d/no-main.conf'

/** Who runs it: PostgreSQL refuses to be root. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/** The programs of one PostgreSQL version. */
export interface PostgresPrograms {
  /** The command line that runs one of them in the foreground, in `folder`. */
  command(this: void, name: 'initdb' | 'pg_basebackup' | 'postgres', folder: string): string[]
  /** Whose the files have to be; undefined when they are this process's anyhow. */
  readonly fileOwner: Account | undefined
  /** Who has to start the commands; undefined for this process's own account. */
  readonly runAs: Account | undefined
  /** How long a command may take to get under way. */
  readonly startMs: number
}

/**
 * PostgreSQL of this machine, else one in a container.
 *
 * @throws {Error} whose message is the line that installs it
 */
export function postgresPrograms(): PostgresPrograms {
  found ??= find()
  return found
}

let found: PostgresPrograms | undefined

function find(): PostgresPrograms {
  const fileOwner = process.getuid?.() === 0 ? nobody() : undefined
  try {
    const search = { folders: debianFolders, prepare: NO_SYSTEM_SERVER }
    // Where the link leads, the other programs of the same version are.
    const bin = dirname(realpathSync(findProgram(['postgres'], 'postgresql', search)))
    const command = (name: string) => [join(bin, name)]
    return { command, fileOwner, runAs: fileOwner, startMs: 60_000 }
  } catch (error) {
    if (spawnSync('docker', ['info'], { stdio: 'ignore', timeout: 30_000 }).status !== 0)
      throw error
    const user = fileOwner ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
    const command = (name: string, folder: string) => container(name, folder, user)
    return { command, fileOwner, runAs: undefined, startMs: 180_000 }
  }
}

/** The newest version first. */
function debianFolders(): string[] {
  try {
    const versions = readdirSync(DEBIAN).map(Number).filter(Number.isFinite)
    return versions.toSorted((a, b) => b - a).map((version) => join(DEBIAN, `${version}`, 'bin'))
  } catch {
    return []
  }
}

function nobody(): Account {
  const [uid, gid] = ['-u', '-g'].map((flag) =>
    Number.parseInt(spawnSync('id', [flag, 'nobody'], { encoding: 'utf8' }).stdout, 10),
  ) as [number, number]
  return { uid, gid }
}

/** Sharing network, processes, memory and users, it is signalled and reached as a local one would be. */
function container(name: string, folder: string, { uid, gid }: Account): string[] {
  const shared = ['--network', 'host', '--pid', 'host', '--ipc', 'host']
  const volumes = ['--volume', `${folder}:${folder}`, '--volume', '/etc/passwd:/etc/passwd:ro']
  const entry = ['--user', `${uid}:${gid}`, '--workdir', folder, '--entrypoint', name]
  const variables = ['--env', 'PGPASSWORD', '--env', 'LC_ALL']
  return ['docker', 'run', '--rm', ...shared, ...volumes, ...variables, ...entry, IMAGE]
}
