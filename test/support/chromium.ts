import { execFileSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium } from 'playwright-core'
import type { Browser } from 'playwright-core'

const INSTALL = 'apt-get update && apt-get install -y --no-install-recommends chromium'
const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
const FLAGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** Starts this machine's Chromium; as root it installs Debian's first when there is none. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: findChromium() ?? installChromium(),
    args: FLAGS,
    // Chromium's sandbox refuses to start as root.
    chromiumSandbox: !isRoot(),
  })
}

function findChromium(): string | undefined {
  const { CHROMIUM_PATH: named, PATH: path = '' } = process.env
  if (named !== undefined && named !== '') return named
  const folders = ['/usr/bin', ...path.split(delimiter)]
  return folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find(isExecutable)
}

function installChromium(): string {
  if (isRoot() && isExecutable('/usr/bin/apt-get')) {
    // The output goes to stderr: stdout is the test runner's.
    execFileSync('sh', ['-c', INSTALL], { stdio: ['ignore', 2, 2], timeout: 240_000 })
  }
  const found = findChromium()
  if (found === undefined) {
    throw new Error(`no Chromium here; set CHROMIUM_PATH or run: sudo sh -c '${INSTALL}'`)
  }
  return found
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}
