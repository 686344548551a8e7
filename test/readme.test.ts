import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { newSchema } from './stores/postgres/open.ts'
import { query } from './support/postgres-commands.ts'
import { sharedPostgresUrl } from './support/postgres-server.ts'
import { findProgram } from './support/program.ts'
import { freePort } from './support/redis-process.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const APP = block('js')
const TRANSCRIPT = readTranscript(block('console'))

/** The first fenced block of a language, on the whole page or after a heading. */
function block(language: string, after = ''): string {
  const start = README.indexOf(`\`\`\`${language}\n`, README.indexOf(after)) + language.length + 4
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

/** Code whose calls are not late for want of a processor. */
function patient(code: string): string {
  return code
    .replace('connectionTimeoutMillis: 2000', 'connectionTimeoutMillis: 10_000')
    .replace('postgresStore({ pool', `postgresStore({ operationTimeout: '9s', pool`)
    .replace('createLatchkey({', `createLatchkey({ storeDeadline: '10s',`)
}

/** `…` in the transcript stands for what differs from run to run. */
function asPattern(output: string): RegExp {
  const parts = output.split('…').map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`)
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
  })

  afterAll(() => {
    app.kill('SIGKILL')
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
      timeout: 100_000,
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

describe("the README's Postgres", () => {
  const work = mkdtempSync(join(tmpdir(), 'latchkey-readme-'))
  const name = newSchema()
  const shared = { url: '' }
  let env: NodeJS.ProcessEnv

  beforeAll(async () => {
    shared.url = sharedPostgresUrl()
    await query(shared, `create database "${name}"`)
    await query(shared, `create role "${name}"`)
    const url = Object.assign(new URL(shared.url), { pathname: name })
    env = { PATH: process.env['PATH'], DATABASE_URL: url.href }
  })

  afterAll(async () => {
    await query(shared, `drop database "${name}" with (force)`)
    await query(shared, `drop role "${name}"`)
    rmSync(work, { recursive: true })
  })

  it('shows commands that do what they say', async () => {
    const commands = block('sh', '\n## Postgres\n')
      .replaceAll('npx latchkey', `'${process.execPath}' '${ROOT}/dist/middleware/cli/latchkey.js'`)
      .replace('--grant-to app', `--grant-to ${name}`)
    const { stdout, stderr, status } = spawnSync('sh', ['-ec', commands], {
      cwd: work,
      env,
      encoding: 'utf8',
      timeout: 100_000,
    })
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
    expect(stdout.split('\n')).toHaveLength(3)
    expect(readFileSync(join(work, 'tables.sql'), 'utf8')).toContain('create table')
    const url = env['DATABASE_URL'] ?? ''
    const may = `select has_table_privilege('${name}', 'latchkey_session', 'update') as may`
    expect(await query({ url }, may)).toEqual([{ may: true }])
  })

  it('shows code that ends sessions with a password change, or neither', () => {
    const code = `
      import { createLatchkey, generateSigningKey } from 'latchkey'
      const issuer = 'http://localhost:3000'
      const [secrets, signingKeys] = [['0123456789'.repeat(4)], [generateSigningKey()]]
      ${patient(block('ts', '\n## Postgres\n'))}
      ${block('js', 'Sessions can end in one transaction')}
      await pool.query('create table account (id text, hash text check (hash <> $$bad$$))')
      await pool.query("insert into account values ('alice', 'old')")
      const { session } = await latchkey.sessions.open({ id: 'alice' })
      const seen = []
      const look = async () => {
        const { rows } = await pool.query('select hash from account')
        seen.push([rows[0].hash, (await store.list({ user: { tenant: '', id: 'alice' }, limit: 9 })).items.length])
      }
      await look()
      await changePassword('alice', 'bad').catch(() => seen.push('failed'))
      await look()
      await changePassword('alice', 'new')
      await look()
      console.log(JSON.stringify(seen))
      await latchkey.close()
      await store.close()
      await pool.end()`
    const { stdout, status } = spawnSync(
      process.execPath,
      ['--input-type=module', '--eval', code],
      { cwd: ROOT, env, encoding: 'utf8', timeout: 100_000 },
    )
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toEqual([['old', 1], 'failed', ['old', 1], ['new', 0]])
  })
})
