import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from '@jest/globals'
import { until } from '../../support/redis-commands.ts'
import { ALIVE, DEAD, PASSWORDS, STORE_DEADLINE_MS } from './target.ts'
import type { Answer, LoggedIn, Target } from './target.ts'

const PARALLEL = 100
const ROUNDS = 8
const MANY = 50

/** What only goes wrong when it happens at the same time. */
export function describeRaces(target: Target): void {
  /** What a refresh that raced an end may answer. */
  function expectRaced(answers: readonly Answer[]): LoggedIn[] {
    // A store that is slow on a busy machine says so.
    const raced =
      /^(?:200|401 (?:session_ended|session_revoked|refresh_invalid)|503 store_unavailable)$/
    for (const { code } of answers) expect(code).toMatch(raced)
    return answers.filter(({ status }) => status === 200).map((answer) => target.readTokens(answer))
  }

  it('A39 gives a hundred parallel refreshes one successor', async () => {
    const login = await target.login('alice')
    const answers = await Promise.all(
      Array.from({ length: PARALLEL }, async () => target.refresh(login.refresh)),
    )
    // A store that is slow on a busy machine says so; nobody gets a branch for it.
    for (const { code } of answers) expect(code).toMatch(/^(?:200|503 store_unavailable)$/)
    // And may have said so to all of them.
    answers.push(
      await until('it refreshes', async () => {
        const answer = await target.refresh(login.refresh)
        return answer.status === 200 && answer
      }),
    )
    const got = answers.filter(({ status }) => status === 200)
    const tokens = new Set(got.map((answer) => target.readTokens(answer).refresh))
    expect([...tokens].map((token) => target.generationOf(token))).toEqual([1])
    const [successor = ''] = tokens
    expect((await target.refresh(successor)).status).toBe(200)
  })

  it('A41 leaves nothing alive of a session that was logged out while it refreshed', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const login = await target.login('alice')
      const refreshing: Promise<Answer>[] = []
      let last = login.refresh
      for (let before = 0; before < round % 4; before++) refreshing.push(target.refresh(last))
      await sleep(round % 3)
      const logout = target.send('POST', '/auth/logout', { headers: [login.cookie] })
      for (let after = 0; after < 3; after++) refreshing.push(target.refresh(last))
      expect((await logout).status).toBe(204)
      // Acknowledged: from here on nothing works, also what is still under way.
      expect(await target.statuses(login)).toEqual(DEAD)
      for (const won of expectRaced(await Promise.all(refreshing))) {
        expect(await target.statuses(won)).toEqual(DEAD)
        last = won.refresh
      }
      expect((await target.refresh(last)).status).toBe(401)
    }
  })

  it('A41 leaves nothing alive of a user who was logged out everywhere meanwhile', async () => {
    for (let round = 0; round < ROUNDS / 2; round++) {
      const [here, there] = await Promise.all([target.login('bob'), target.login('bob')])
      const refreshing = [target.refresh(there.refresh), target.refresh(here.refresh)]
      await sleep(round)
      const all = target.send('POST', '/auth/logout-all', { headers: [there.bearer] })
      refreshing.push(target.refresh(there.refresh), target.refresh(here.refresh))
      expect((await all).status).toBe(200)
      expect(await target.statuses(here)).toEqual(DEAD)
      expect(await target.statuses(there)).toEqual(DEAD)
      for (const won of expectRaced(await Promise.all(refreshing))) {
        expect(await target.statuses(won)).toEqual(DEAD)
      }
    }
    expect(await target.statuses(await target.login('bob'))).toEqual(ALIVE)
  })

  it('A41 ends fifty sessions of a user at once, whatever they are doing', async () => {
    const logins: LoggedIn[] = []
    while (logins.length < MANY) {
      const batch = Array.from({ length: MANY / 10 }, async () => target.login('bob'))
      logins.push(...(await Promise.all(batch)))
    }
    const [first] = logins
    if (first === undefined) throw new Error('nobody logged in')
    const refreshing = logins.slice(1, 11).map(async ({ refresh }) => target.refresh(refresh))
    const all = await target.send('POST', '/auth/logout-all', { headers: [first.bearer] })
    expect(all.status).toBe(200)
    // Others may be left of before.
    expect((JSON.parse(all.text) as { revoked: number }).revoked).toBeGreaterThanOrEqual(MANY)
    const won = expectRaced(await Promise.all(refreshing))
    const statuses = await Promise.all([...logins, ...won].map(async (one) => target.statuses(one)))
    expect(new Set(statuses.flat())).toEqual(new Set([401]))
    const again = await Promise.all(logins.map(async ({ refresh }) => target.refresh(refresh)))
    expect(new Set(again.map(({ status }) => status))).toEqual(new Set([401]))
  })

  it('A41 opens no session for a login that began before the end, its password proved after it', async () => {
    const bob = await target.login('bob')
    const late = await beginLogin()
    // For as long as its call may be on its way to the store: one that takes longer is 503.
    await sleep(STORE_DEADLINE_MS)
    const all = await target.send('POST', '/auth/logout-all', { headers: [bob.bearer] })
    expect(all.status).toBe(200)
    const refused = await late()
    expect(refused).toMatch(/^HTTP\/1\.1 (?:401|503) /)
    expect(refused).toMatch(/"code":"(?:stale_login|store_unavailable)"/)
    expect(refused).not.toMatch(/set-cookie/i)
    expect(await target.statuses(await target.login('bob'))).toEqual(ALIVE)
  })

  /** Waits until the server handles a login of bob's; what is returned sends the body of it. */
  async function beginLogin(): Promise<() => Promise<string>> {
    const body = JSON.stringify({ username: 'bob', password: PASSWORDS.bob })
    const socket = connect(target.port, '127.0.0.1')
    let received = ''
    const ended = new Promise<string>((resolve, reject) => {
      socket.once('error', reject).once('close', () => resolve(received))
    })
    const begun = new Promise<void>((resolve) => {
      socket.setEncoding('latin1').on('data', (text: string) => {
        received += text
        if (received.startsWith('HTTP/1.1 100')) resolve()
      })
    })
    const head = ['POST /auth/login HTTP/1.1', `Host: localhost:${target.port}`]
    head.push('Content-Type: application/json', `Content-Length: ${body.length}`)
    head.push('Expect: 100-continue', 'Connection: close', '', '')
    socket.write(head.join('\r\n'))
    await begun
    received = ''
    return async () => {
      socket.write(body)
      return ended
    }
  }
}
