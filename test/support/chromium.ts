import { chromium } from 'playwright-core'
import type { Browser } from 'playwright-core'
import { findProgram } from './program.ts'

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
  const { CHROMIUM_PATH: named } = process.env
  return chromium.launch({
    executablePath: named === undefined || named === '' ? findProgram(NAMES, 'chromium') : named,
    args: FLAGS,
    // Chromium's sandbox refuses to start as root.
    chromiumSandbox: process.getuid?.() !== 0,
  })
}
