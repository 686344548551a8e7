import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { createSecretCheck } from '../../lib/service-secrets.ts'
import { runCli } from '../../middleware/cli/run.ts'
import { query } from '../support/postgres-commands.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { DAY, HOUR, listed, LIFETIMES, newUser, open, readOn } from '../stores/contract/support.ts'
import { newSchema } from '../stores/postgres/open.ts'
import { contentsOf, useServer } from '../stores/postgres/server.ts'

const PROGRAM = fileURLToPath(new URL('../../middleware/cli/latchkey.ts', import.meta.url))
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

async function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  let [out, err] = ['', '']
  const code = await runCli(args, {
    env,
    print: (text) => (out += text),
    complain: (text) => (err += text),
  })
  return { code, out, err }
}

/** With the shared server as the app's database. */
async function runOn(schema: string, command: string, ...args: string[]): Promise<Ended> {
  return run([command, '--schema', schema, ...args], { DATABASE_URL: sharedPostgresUrl() })
}

describe('npx latchkey', () => {
  it.each([['--help'], ['-h'], ['help']])('lists its commands: %s', async (arg) => {
    const { code, out, err } = await run([arg])
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/^ {2}migrate +\S/m)
    expect(out).toMatch(/^ {2}prune +\S/m)
    expect(out).toMatch(/^ {2}service-secret +\S/m)
  })

  it('draws a secret that serviceSecrets takes by its hash', async () => {
    const { code, out, err } = await run(['service-secret'])
    expect([code, err]).toEqual([0, ''])
    const [, secret = '', hash = ''] = /^secret (\S+)\nhash {3}(\S+)\n$/.exec(out) ?? []
    expect(createSecretCheck({ orders: hash })('orders', secret)).toMatchObject({ id: 'orders' })
    expect(await run(['service-secret', '--name=x'])).toMatchObject({ code: 2 })
  })

  it.each(['migrate', 'prune'])('explains %s, with every option', async (command) => {
    const { code, out, err } = await run([command, '--print', '--help'])
    expect([code, err]).toEqual([0, ''])
    expect(out).toContain(`npx latchkey ${command}`)
    for (const option of ['--url', '--schema', '--table-prefix']) expect(out).toContain(option)
  })

  it.each([
    [[]],
    [['migrat']],
    [['toString']],
    [['migrate']],
    [['migrate', '--schema']],
    [['migrate', '--ulr=sesame']],
    [['migrate', '--print=sesame']],
    [['migrate', '--print', '--grant-to', '']],
    [['migrate', '--print', '--schema', 'sesame"; drop schema public; --']],
    [['migrate', '--print', '--table-prefix', 'Sesame']],
    [['migrate', 'postgres://user:sesame@localhost/db']],
    [['postgres://user:sesame@localhost/db']],
    [['migrate', '--url', 'mysql://user:sesame@localhost/db']],
    [['migrate', '--url', 'postgres://user:ses#ame@localhost/db']],
    [['migrate', '--url', 'postgres://user:12/sesame@localhost/db']],
    [['migrate', '--url', 'postgres://user:100%sesame@localhost/db']],
    [['migrate', '--url', 'postgres://user:12#sesame@localhost/db']],
    [['prune', '--print']],
    [['prune', '--url', 'postgres://localhost/db', '--feed-retention', '7']],
    [['prune', '--url', 'postgres://localhost/db', '--feed-retention', '1m']],
  ])('is misused with %j, and says so in one line', async (args) => {
    const { code, out, err } = await run(args)
    expect([code, out]).toEqual([2, ''])
    expect(err).toMatch(/^latchkey: [^\n]{5,160}\n$/)
    expect(err).not.toMatch(/sesame/)
  })

  it.each([
    ['postgres://user:sesame@127.0.0.1:1/db', 'ECONNREFUSED'],
    ['postgres://user:sesame@localhost:1/db', 'ECONNREFUSED'],
    ['postgres://user@127.0.0.1:1/db?password=sesame', 'ECONNREFUSED'],
  ])('fails with %s in one line, without the password', async (url, says) => {
    const { code, out, err } = await run(['migrate'], { DATABASE_URL: url })
    expect([code, out]).toEqual([1, ''])
    expect(err).toMatch(/^latchkey: [^\n]+\n$/)
    expect(err).toContain(says)
    expect(err).not.toContain('sesame')
  })

  it('fails with a wrong password without showing it', async () => {
    const url = Object.assign(new URL(sharedPostgresUrl()), { password: 'ses%2Fame' })
    for (const command of ['migrate', 'prune']) {
      const { code, err } = await run([command, '--url', url.href])
      expect([code, err.split('\n')]).toEqual([1, [expect.stringMatching(/^latchkey: /), '']])
      expect(err).not.toMatch(/ses(?:%2F|\/)ame/)
    }
  })

  it('shows no password that an error quotes', async () => {
    // The server quotes what the URL says beside the password.
    const url = Object.assign(new URL(sharedPostgresUrl()), { pathname: '/none' })
    url.pathname = `/x${url.password}x`
    const { code, err } = await run(['migrate', '--url', url.href])
    expect([code, err]).toEqual([1, 'latchkey: database "x***x" does not exist\n'])
  })

  describe('as a program', () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'latchkey-cli-'))
    afterAll(() => rmSync(elsewhere, { recursive: true }))

    it('takes the command line, and ends with the code', () => {
      const program = (...args: string[]) =>
        spawnSync(process.execPath, ['--import', import.meta.resolve('tsx'), PROGRAM, ...args], {
          cwd: elsewhere,
          env: { PATH: process.env['PATH'], TSX_TSCONFIG_PATH: join(ROOT, 'tsconfig.json') },
          encoding: 'utf8',
          timeout: 100_000,
        })
      const printed = program('migrate', '--print')
      expect([printed.status, printed.stderr]).toEqual([0, ''])
      expect(printed.stdout).toContain('create table')
      const refused = program('migrate')
      expect([refused.status, refused.stdout]).toEqual([2, ''])
      expect(refused.stderr).toMatch(/^latchkey: .*DATABASE_URL/)
    })
  })
})

describe('npx latchkey migrate', () => {
  const server = useServer()
  const role = newSchema()
  const app = () => ({ url: sharedPostgresUrl() })

  beforeAll(() => query(app(), `create role "${role}"`))
  afterEach(() => query(app(), `drop owned by "${role}"`))
  afterAll(() => query(app(), `drop role "${role}"`))

  function mayRead(schema: string) {
    return query(
      app(),
      `select has_table_privilege('${role}', '${schema}.mine_session', 'select') as may`,
    )
  }

  it('brings the schema to its version, and says what it did', async () => {
    const schema = server.schema()
    const first = await runOn(schema, 'migrate')
    expect(first).toMatchObject({ code: 0, err: '', out: expect.stringContaining('version 2') })
    const contents = await contentsOf(server.pool, schema)
    const second = await runOn(schema, 'migrate')
    expect(second).toMatchObject({ code: 0, out: expect.stringContaining('nothing to do') })
    expect(await contentsOf(server.pool, schema)).toEqual(contents)
  })

  it('grants a role what an app needs, also when the schema is up to date', async () => {
    const schema = server.schema()
    const prefix = ['--table-prefix', 'mine_']
    await runOn(schema, 'migrate', ...prefix)
    expect(await mayRead(schema)).toEqual([{ may: false }])
    expect(await runOn(schema, 'migrate', ...prefix, '--grant-to', role)).toMatchObject({ code: 0 })
    expect(await mayRead(schema)).toEqual([{ may: true }])
  })

  it('changes nothing when there is no such role', async () => {
    const schema = server.schema()
    const { code, err } = await runOn(schema, 'migrate', '--grant-to', 'nobody"; --')
    expect([code, err]).toEqual([1, 'latchkey: role "nobody"; --" does not exist\n'])
    expect(await contentsOf(server.pool, schema)).toEqual([])
  })

  it('refuses a newer schema', async () => {
    const schema = server.schema()
    await runOn(schema, 'migrate')
    await query(app(), `insert into "${schema}".latchkey_migration values (99, 'later')`)
    const { code, err } = await runOn(schema, 'migrate')
    expect(code).toBe(1)
    expect(err).toContain('version 99')
  })

  it('prints SQL that does the same by hand, without a database', async () => {
    const schema = server.schema()
    const args = ['--schema', schema, '--table-prefix', 'mine_', '--grant-to', role]
    const { code, out } = await run(['migrate', '--print', ...args])
    expect(code).toBe(0)
    await server.pool.query(out)
    const store = server.store(schema, { tablePrefix: 'mine_' })
    expect(await store.migrate()).toEqual({ from: 2, to: 2 })
    await store.close()
    expect(await mayRead(schema)).toEqual([{ may: true }])
  })
})

describe('npx latchkey prune', () => {
  const server = useServer()

  /** A schema with sessions that are over, and a feed and a trail of several ages. */
  async function aged() {
    const schema = server.schema()
    let now = Date.now() - 400 * DAY
    const store = server.store(schema, { clock: () => now })
    await store.migrate()
    const user = newUser()
    for (const days of [400, 100, 3, 1]) {
      now = Date.now() - days * DAY
      const session = await open(store, user)
      await store.revoke({ sid: session.sid })
      await store.audit.append([{ type: 'x', at: now, result: 'success', user }])
    }
    now = Date.now() - LIFETIMES.absoluteTimeoutMs - HOUR
    for (let index = 0; index < 3; index++) await open(store, user)
    now = Date.now()
    await open(store, user)
    return {
      schema,
      left: async () => {
        const sessions = await query(app(), `select 1 from "${schema}".latchkey_session`)
        const { entries } = await readOn(store, null)
        const { items } = await store.audit.query({ user, limit: 10 })
        const live = await listed(store, user)
        return [sessions.length, live.length, entries.length, items.length]
      },
      close: async () => store.close(),
    }
  }

  const app = () => ({ url: sharedPostgresUrl() })

  it('removes sessions that are over, and of the rest what no app can need', async () => {
    const { schema, left, close } = await aged()
    expect(await left()).toEqual([4, 1, 4, 4])
    const { code, out, err } = await runOn(schema, 'prune')
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/\b3\n$/)
    expect(await left()).toEqual([1, 1, 2, 4])
    await close()
  })

  it('removes what it is told to', async () => {
    const { schema, left, close } = await aged()
    const feed = ['--feed-retention', '2d']
    expect(await runOn(schema, 'prune', ...feed, '--audit-retention', '90d')).toMatchObject({
      code: 0,
    })
    expect(await left()).toEqual([1, 1, 1, 2])
    await close()
  })

  it('fails where there is no schema', async () => {
    const { code, err } = await runOn(server.schema(), 'prune')
    expect(code).toBe(1)
    expect(err).toMatch(/^latchkey: .*does not exist\n$/)
  })
})
