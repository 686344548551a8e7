import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from '@jest/globals'
import { until } from '../../support/redis-commands.ts'
import { DEAD, seedOf } from './target.ts'
import type { Fields, Target } from './target.ts'

/** The example's grace, and a little more. */
const AFTER_GRACE_MS = 10_200
/** More than one network may send in a window, in batches. */
const GARBAGE = 310
const BATCH = 62

/** What tires the server, and what is left behind at the end: the last that happens to a target. */
export function describeLimits(target: Target): void {
  /** Waits until the events so far are in the trail: they are written in their order, a moment later. */
  async function isWritten(name: string): Promise<void> {
    if (target.store === 'memory') return
    const mark = `mark-${name}`
    const headers = [
      ['Origin', 'https://evil.example'],
      ['User-Agent', mark],
    ] as const
    expect((await target.send('POST', '/auth/login', { headers, body: {} })).status).toBe(403)
    await until('it is written', async () =>
      (await target.dump()).some((line) => line.includes(mark)),
    )
  }

  it('A40 sees the predecessor of a token after its grace', async () => {
    const { login, at } = target.aged
    await sleep(Math.max(0, at + AFTER_GRACE_MS - Date.now()))
    expect((await target.refresh(login.refresh)).code).toBe('401 refresh_reused')
    expect(await target.statuses(login)).toEqual(DEAD)
  })

  it('A33 counts one network, whatever it says of itself', async () => {
    const names = [
      'X-Forwarded-For',
      'Forwarded',
      'X-Real-IP',
      'True-Client-IP',
      'CF-Connecting-IP',
    ]
    const from = (index: number): Fields =>
      names.map((name) => [name, `${name === 'Forwarded' ? 'for=' : ''}203.0.113.${index}`])
    const spellings = ['carol', 'CAROL', ' carol ', '\uff43arol']
    const statuses: number[] = []
    for (let index = 0; index < 24; index++) {
      const body = { username: spellings[index % 4], password: '' }
      const answer = await target.send('POST', '/auth/login', { headers: from(index), body })
      statuses.push(answer.status)
      if (answer.status === 429) expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
    }
    expect(statuses).toEqual([...Array(20).fill(401), ...Array(4).fill(429)])
  })

  it('A45 lets garbage neither reach the store nor fill it', async () => {
    const login = await target.login('alice')
    const as = { headers: [login.bearer] }
    await isWritten('before')
    const before = (await target.dump()).length
    const statuses = new Set<number>()
    // Where the window of what came before ends meanwhile, there are as many again in the next one.
    for (let index = 0; index < 2 * GARBAGE && !statuses.has(429); index += BATCH) {
      const answers = await Promise.all(
        Array.from({ length: BATCH }, async (_, at) => {
          const sid = `g${index + at}`.padEnd(24, 'x')
          return target.refresh(login.refresh.replace(login.sid, sid))
        }),
      )
      for (const { status } of answers) statuses.add(status)
    }
    expect(statuses).toEqual(new Set([401, 429]))
    await isWritten('after')
    // The refusal of so many is one event.
    expect((await target.dump()).length).toBeLessThan(before + 10)
    for (const query of ['limit=101', 'limit=0', 'limit=1e2', `cursor=${'c'.repeat(513)}`]) {
      expect((await target.send('GET', `/auth/sessions?${query}`, as)).status).toBe(400)
    }
    // Good tokens are not asked about.
    expect((await target.refresh(login.refresh)).status).toBe(200)
  })

  it('A43 leaves no secret in what it prints, refuses, audits or stores', async () => {
    const root = await target.login('root')
    const { text: audit } = await target.send('GET', '/auth/audit?limit=100', {
      headers: [root.bearer],
    })
    const end = await target.stop()
    const stored = await target.dump()
    // What is searched is what is kept: the session is there, by the part of its id that all stores have.
    const kept = stored.some((line) => line.includes(root.sid.slice(2)))
    expect(kept).toBe(target.store !== 'memory')
    const places = {
      stdout: end?.stdout ?? '',
      stderr: end?.stderr ?? '',
      refusals: target.refusals.join('\n'),
      audit,
      stored: stored.join('\n'),
    }
    expect(target.canaries.size).toBeGreaterThan(100)
    for (const [place, content] of Object.entries(places)) {
      const found = [...target.canaries].filter((canary) =>
        formsOf(canary).some((form) => content.includes(form)),
      )
      expect([place, found.length]).toEqual([place, 0])
    }
    expect(places.stdout).toMatch(/^latchkey example on http:\/\/localhost:\d+\n$/)
    expect(places.stderr).not.toMatch(/error|login success/i)
    expect(places.stderr).not.toContain('\u001b')
    expect(end?.code).toBe(0)
    expect(seedOf(root.refresh)).toHaveLength(43)
  })
}

/** A secret in the forms in which a store or a log might have it. */
function formsOf(secret: string): string[] {
  const forms = [secret]
  if (/^[\w-]{43}$/.test(secret)) {
    const bytes = Buffer.from(secret, 'base64url')
    forms.push(bytes.toString('hex'), bytes.toString('latin1'), bytes.toString('base64'))
  }
  // The signature, without which the rest is a public name.
  const last = secret.split('.').at(-1) ?? ''
  return last.length > 20 ? [...forms, last] : forms
}
