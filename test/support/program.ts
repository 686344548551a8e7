import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * The path of a program on this machine, from Debian's packages when it is missing and this process
 * may install it.
 *
 * @param names - what it may be called, the best first
 * @param debianPackage - the package that brings it
 * @throws {Error} whose message is the line that installs it
 */
export function findProgram(names: readonly string[], debianPackage: string): string {
  const found = lookUp(names)
  if (found !== undefined) return found
  const install = `apt-get update && apt-get install -y --no-install-recommends ${debianPackage}`
  if (process.getuid?.() === 0 && lookUp(['apt-get']) !== undefined) {
    const { status } = spawnSync('sh', ['-c', install], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
    const installed = status === 0 ? lookUp(names) : undefined
    if (installed !== undefined) return installed
  }
  throw new Error(`${names[0]} is missing; install it: sudo sh -c '${install}'`)
}

function lookUp(names: readonly string[]): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
