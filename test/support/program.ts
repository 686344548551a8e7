import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

const INSTALL_MS = 300_000
const LOCK = join(tmpdir(), 'latchkey-install.lock')

/** How {@link findProgram} searches. */
export interface ProgramSearch {
  /** Where else it may be, after the folders of PATH. @defaultValue nowhere */
  readonly folders?: () => readonly string[]
  /** Shell command without quotes that precedes the installation. @defaultValue none */
  readonly prepare?: string
  /** Whether a program of that name is the one that is meant. @defaultValue every one is */
  readonly isRight?: (path: string) => boolean
}

/**
 * The path of a program on this machine, from Debian's packages when it is missing and this process
 * may install it.
 *
 * @param names - what it may be called, the best first
 * @param debianPackage - the package that brings it
 * @throws {Error} whose message is the line that installs it
 */
export function findProgram(
  names: readonly string[],
  debianPackage: string,
  search: ProgramSearch = {},
): string {
  const { folders = () => [], prepare, isRight } = search
  const found = lookUp(names, folders(), isRight)
  if (found !== undefined) return found
  const install = [
    ...(prepare === undefined ? [] : [prepare]),
    'apt-get update',
    `apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends ${debianPackage}`,
  ].join(' && ')
  if (process.getuid?.() === 0 && lookUp(['apt-get']) !== undefined) {
    // One at a time: apt takes nobody else's turn, and each worker of Jest may miss a program.
    const { status } = spawnSync('flock', [LOCK, 'sh', '-c', install], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      timeout: INSTALL_MS,
      killSignal: 'SIGKILL',
    })
    const installed = status === 0 ? lookUp(names, folders(), isRight) : undefined
    if (installed !== undefined) return installed
  }
  throw new Error(`${names[0]} is missing; install it: sudo sh -c '${install}'`)
}

function lookUp(
  names: readonly string[],
  others: readonly string[] = [],
  isRight: (path: string) => boolean = () => true,
): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...others]
  const paths = names.flatMap((name) => folders.map((folder) => join(folder, name)))
  return paths.find((path) => isExecutable(path) && isRight(path))
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
