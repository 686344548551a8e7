import { expect, it } from '@jest/globals'
import { createKeyRing } from '../../../lib/key-ring.ts'
import { formatRefreshToken } from '../../../lib/refresh-token.ts'
import { formatSessionToken } from '../../../lib/session-token.ts'
import { ALIVE, DEAD, PASSWORDS, seedOf } from './target.ts'
import type { Fields, Target } from './target.ts'

/** A text whose UTF-8 bytes are on the wire. */
function utf8(text: string): string {
  return Buffer.from(text).toString('latin1')
}

/** A secret that is not the example's. */
const foreign = createKeyRing(['f0reign-'.repeat(5)])

/** Planted, doubled and fixed credentials. */
export function describeCredentials(target: Target): void {
  async function session(...headers: Fields): Promise<string> {
    return (await target.send('GET', '/api/session', { headers })).code
  }

  it('A20 takes no cookie for another whose name looks alike', async () => {
    const { session: token } = await target.login('alice')
    const spoofs = [
      `\u00a0latchkey-session=${token}`,
      `\u00a0__Host-latchkey-session=${token}`,
      `${utf8('\u2000')}latchkey-session=${token}`,
      `${utf8('\u2000')}__Host-latchkey-session=${token}`,
      `=latchkey-session=${token}`,
      `=__Host-latchkey-session=${token}`,
      `__Host-latchkey-session=${token}`,
      `__host-latchkey-session=${token}`,
      `LATCHKEY-SESSION=${token}`,
      `latchkey-session[]=${token}`,
      `latchkey%2dsession=${token}`,
      `$Version=1; latchkey-session="${token}"`,
      `$Version="1; x=latchkey-session=${token}; $Path=/"`,
      `latchkey-session="${token}"`,
      `latchkey-session=j:"${token}"`,
      `latchkey-session, latchkey-session=${token}`,
    ]
    const codes = await Promise.all(spoofs.map(async (text) => session(['Cookie', text])))
    for (const code of codes) expect(code).toMatch(/^401/)
    expect(await session(['Cookie', `latchkey-session=${token}`])).toBe('200')
  })

  it('A21 lets of duplicate cookies the one that verifies count, and none of two that do', async () => {
    const [mine, other] = [await target.login('alice'), await target.login('alice')]
    const good = `latchkey-session=${mine.session}`
    const bad = `latchkey-session=${formatSessionToken(foreign, { sid: mine.sid, seed: seedOf(mine.refresh) })}`
    const second = `latchkey-session=${other.session}`
    for (const [first, next] of [
      [good, bad],
      [bad, good],
    ] as const) {
      expect(await session(['Cookie', `${first}; ${next}`])).toBe('200')
      expect(await session(['Cookie', first], ['Cookie', next])).toBe('200')
    }
    for (const [first, next] of [
      [good, second],
      [second, good],
    ] as const) {
      expect(await session(['Cookie', `${first}; ${next}`])).toBe('400 credentials_ambiguous')
      expect(await session(['Cookie', first], ['Cookie', next])).toBe('400 credentials_ambiguous')
    }
    const both = `latchkey-refresh=${mine.refresh}; latchkey-refresh=${other.refresh}`
    const refused = await target.send('POST', '/auth/refresh', { headers: [['Cookie', both]] })
    expect(refused.code).toBe('400 credentials_ambiguous')
    const planted = `latchkey-refresh=lkr_planted; latchkey-refresh=${mine.refresh}`
    const passed = await target.send('POST', '/auth/refresh', { headers: [['Cookie', planted]] })
    expect(target.generationOf(target.readTokens(passed).refresh)).toBe(1)
  })

  it('A22 refuses a jar that overflows, and cookies of another app', async () => {
    const { sid, refresh, session: token } = await target.login('alice')
    const fixed = formatSessionToken(foreign, { sid, seed: seedOf(refresh) })
    const jar = Array.from({ length: 150 }, (_, index) => `junk${index}=${'x'.repeat(40)}`)
    expect(await session(['Cookie', `latchkey-session=${fixed}`])).toMatch(/^401/)
    expect(await session(['Cookie', [...jar, `latchkey-session=${fixed}`].join('; ')])).toMatch(
      /^401/,
    )
    expect(await session(['Cookie', 'connect.sid=s%3Aabc.def; session=eyJhIjoxfQ=='])).toMatch(
      /^401/,
    )
    const many = Array.from({ length: 5 }, (_, index) => `latchkey-session=lks_${index}`)
    expect(await session(['Cookie', [...many, `latchkey-session=${token}`].join('; ')])).toBe(
      '400 credentials_ambiguous',
    )
    const flood = `${'x'.repeat(17_000)}=1; latchkey-session=${token}`
    expect(await session(['Cookie', flood])).toBe('431')
  })

  it('A23 gives a login a new session, and ends the one that was planted', async () => {
    const planted = await target.login('bob')
    const victim = await target.login('alice', [planted.cookie])
    expect(victim.sid).not.toBe(planted.sid)
    expect(await target.statuses(planted)).toEqual(DEAD)
    const seed = 'A'.repeat(43)
    const invented = formatSessionToken(foreign, { sid: 'I'.repeat(24), seed })
    const again = await target.login('alice', [['Cookie', `latchkey-session=${invented}`]])
    expect(again.sid).not.toBe('I'.repeat(24))
    expect(await session(['Cookie', `latchkey-session=${invented}`])).toMatch(/^401/)
    expect(await target.statuses(victim)).toEqual(ALIVE)
    // Fixed within one user, too: what the victim had in the browser before is over.
    const next = await target.login('alice', [again.cookie])
    expect(await target.statuses(again)).toEqual(DEAD)
    expect(await target.statuses(next)).toEqual(ALIVE)
  })

  it('A40 refuses old, forged and foreign generations', async () => {
    const first = await target.login('alice')
    const second = target.readTokens(await target.refresh(first.refresh))
    const seed = seedOf(second.refresh)
    const [, sid = ''] = second.refresh.split('.')
    const renumbered = second.refresh.replace(`.${sid}.1.`, `.${sid}.6.`)
    expect((await target.refresh(renumbered)).code).toBe('401 refresh_invalid')
    for (const token of [
      formatRefreshToken(foreign, { sid, generation: 6, seed }),
      // Even who has the secret: without the seed, or too far ahead.
      formatRefreshToken(target.ring, { sid, generation: 6, seed: 'A'.repeat(43) }),
      formatRefreshToken(target.ring, { sid, generation: 1 + 17, seed }),
      formatRefreshToken(target.ring, { sid, generation: 2 ** 31 - 1, seed }),
    ]) {
      expect((await target.refresh(token)).code).toBe('401 refresh_invalid')
    }
    const third = target.readTokens(await target.refresh(second.refresh))
    expect(target.generationOf(third.refresh)).toBe(2)
    // Two behind is reuse, within the grace as well.
    expect((await target.refresh(first.refresh)).code).toBe('401 refresh_reused')
    expect(await target.statuses(third)).toEqual(DEAD)
    expect((await target.refresh(third.refresh)).status).toBe(401)
  })

  it('A47 gives a thief in lockstep the same successor, and sees whoever falls two behind', async () => {
    const victim = await target.login('alice')
    const [one, two] = await Promise.all([
      target.refresh(victim.refresh),
      target.refresh(victim.refresh),
    ])
    const [mine, stolen] = [target.readTokens(one), target.readTokens(two)]
    expect(stolen.refresh).toBe(mine.refresh)
    const ahead = target.readTokens(await target.refresh(stolen.refresh))
    expect(target.readTokens(await target.refresh(mine.refresh)).refresh).toBe(ahead.refresh)
    const further = target.readTokens(await target.refresh(ahead.refresh))
    expect((await target.refresh(mine.refresh)).code).toBe('401 refresh_reused')
    expect(await target.statuses(further)).toEqual(DEAD)
  })

  it('A37 answers 401 to short and odd credentials, never 500', async () => {
    const { session: token, refresh } = await target.login('alice')
    const texts = ['', ' ', 'a', '.', '....', 'lks_', 'lkr_', token.slice(0, -1), `${token}A`]
    texts.push(
      token.slice(0, -22),
      token.toUpperCase(),
      `${token}\u00ff`,
      utf8(`${token}\u{1f600}`),
    )
    texts.push(refresh, '\u00e4'.repeat(22), '%00', '[object Object]', 'null', `${token},${token}`)
    const answers = await Promise.all(
      texts.flatMap((text) => [
        session(['Authorization', `Session ${text}`]),
        session(['Cookie', `latchkey-session=${text}`]),
        target
          .send('GET', '/api/hybrid', { headers: [['Authorization', `Bearer ${text}`]] })
          .then(({ code }) => code),
        target.refresh(text).then(({ code }) => code),
      ]),
    )
    // The right refresh token was among them, once in its place.
    expect(answers.filter((code) => code === '200')).toHaveLength(1)
    for (const code of answers) expect(code).toMatch(/^(?:401 \w+|200)$/)
    for (const scheme of ['Bearer', 'Session', 'Basic YTpi', 'Digest', ',', '""', 'bearer\tx']) {
      expect(await session(['Authorization', scheme])).toMatch(/^401/)
    }
  })

  it('A32 believes no header that names a user', async () => {
    const { cookie } = await target.login('alice')
    const names = ['X-User-Id', 'x_user_id', 'X-Forwarded-User', 'X-Remote-User', 'Remote-User']
    names.push('X-Auth-Request-User', 'X-Roles', 'X-User-Roles', 'X-Original-URL', 'X-Rewrite-URL')
    const identity = names.map((name) => [name, 'root'] as const)
    expect(await session(...identity)).toBe('401 credentials_missing')
    const who = await target.send('GET', '/api/session', { headers: [cookie, ...identity] })
    expect(JSON.parse(who.text)).toMatchObject({ user_id: 'alice' })
    const admin = await target.send('GET', '/api/admin', { headers: [cookie, ...identity] })
    expect(admin.status).toBe(403)
    const body = { username: 'alice', password: 'wrong' }
    const named = { ...body, user_id: 'root', roles: ['admin'] }
    const login = async (sent: object) =>
      (await target.send('POST', '/auth/login', { headers: identity, body: sent })).status
    expect([await login(body), await login(named)]).toEqual([401, 400])
    expect(PASSWORDS).toHaveProperty('root')
  })
}
