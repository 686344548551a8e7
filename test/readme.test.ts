import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { findProgram } from './support/program.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const APP = block('ts')
const TRANSCRIPT = readTranscript(block('console'))

/** The first fenced block of a language. */
function block(language: string): string {
  const start = README.indexOf(`\`\`\`${language}\n`) + language.length + 4
  return README.slice(start, README.indexOf('\n```', start))
}

/** Commands and the output that stands below each. */
function readTranscript(text: string): [command: string, output: string][] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((step) => {
      const [command = '', ...output] = step.trimEnd().split('\n')
      return [command, output.join('\n')]
    })
}

/** `…` in the transcript stands for what differs from run to run. */
function asPattern(output: string): RegExp {
  const parts = output.split('…').map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (typeof address !== 'object' || address === null) throw new Error('no port')
  return address.port
}

describe("the README's first screen", () => {
  const work = mkdtempSync(join(tmpdir(), 'latchkey-readme-'))
  let port = 0
  let app: ReturnType<typeof spawn>

  beforeAll(async () => {
    findProgram(['curl'], 'curl')
    port = await freePort()
    const code = `${APP.replaceAll('3000', String(port))}\nawait latchkey.ready(); console.log('up')`
    app = spawn(process.execPath, ['--input-type=module', '--eval', code], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    if (app.stdout !== null) await once(app.stdout, 'data')
  }, 60_000)

  afterAll(async () => {
    const ended = once(app, 'exit')
    app.kill()
    await ended
    rmSync(work, { recursive: true })
  })

  it('shows an app and a transcript', () => {
    expect(APP).toContain('createLatchkey')
    expect(TRANSCRIPT.length).toBeGreaterThan(5)
  })

  it('shows the transcript that this app really produces', () => {
    const mark = '--- next ---'
    const script = TRANSCRIPT.map(([command]) => `${command}\necho; echo '${mark}'`).join('\n')
    const { stdout, status } = spawnSync('bash', ['-c', script.replaceAll('3000', String(port))], {
      cwd: work,
      encoding: 'utf8',
    })
    expect(status).toBe(0)
    const outputs = stdout.split(`${mark}\n`).map((output) => output.trim())
    for (const [index, [, output]] of TRANSCRIPT.entries()) {
      expect(outputs[index]).toMatch(asPattern(output))
    }
  })

  it('names exactly two commands to set up with', () => {
    expect(README.match(/^ {4}npm .*$/gm)).toEqual([
      '    npm ci && npm start',
      '    npm ci && npm test',
    ])
  })
})
