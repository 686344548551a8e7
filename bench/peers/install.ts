import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const FOLDER = fileURLToPath(new URL('.', import.meta.url))

/** Installs the peers as their lock file says, unless that was done before. */
export function installPeers(): void {
  const changedAt = (file: string) => statSync(FOLDER + file, { throwIfNoEntry: false })?.mtimeMs
  const installedAt = changedAt('node_modules/.package-lock.json') ?? 0
  if (installedAt >= (changedAt('package-lock.json') ?? 0)) return
  // better-auth would bring the frameworks and databases it can work with.
  const flags = ['--legacy-peer-deps', '--ignore-scripts', '--no-audit', '--no-fund', '--silent']
  execFileSync('npm', ['ci', ...flags], { cwd: FOLDER, stdio: 'inherit' })
}
