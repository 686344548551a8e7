import { beforeAll, describe, expect, it } from '@jest/globals'
import { openUsers } from '../../example-app/users.ts'
import type { Users } from '../../example-app/users.ts'

describe('the users of the example', () => {
  let users: Users

  beforeAll(async () => {
    users = await openUsers()
  })

  /** The processor time of one try. */
  async function costOf(username: string): Promise<number> {
    const before = process.cpuUsage()
    await users.authenticate({ username, password: 'wrong' })
    const { user, system } = process.cpuUsage(before)
    return user + system
  }

  it.each([
    ['alice', 'wonderland-7', []],
    ['bob', 'builder-7', []],
    ['root', 'admin-only-7', ['admin']],
  ])('knows %s by the password', async (username, password, roles) => {
    await expect(users.authenticate({ username, password })).resolves.toMatchObject({
      id: username,
      roles,
    })
  })

  it.each([
    ['a wrong password', { username: 'alice', password: 'wonderland-8' }],
    ["somebody else's password", { username: 'alice', password: 'builder-7' }],
    ['an unknown user', { username: 'mallory', password: 'wonderland-7' }],
    ['a name of the prototype', { username: '__proto__', password: 'wonderland-7' }],
    ['no password', { username: 'alice' }],
    ['a password that is no text', { username: 'alice', password: ['wonderland-7'] }],
    ['no credentials', undefined],
    ['null', null],
    ['an empty password', { username: 'alice', password: '' }],
  ])('refuses %s', async (_what, credentials) => {
    await expect(users.authenticate(credentials)).resolves.toBeNull()
  })

  it('takes as long for an unknown user as for a wrong password', async () => {
    let [known, unknown] = [Infinity, Infinity]
    const areAlike = () => unknown > known / 2 && unknown < known * 2
    // The cheapest of many, in turns: a busy machine makes a try dearer and never cheaper.
    for (let tries = 0; tries < 5 || (tries < 50 && !areAlike()); tries++) {
      known = Math.min(known, await costOf('alice'))
      unknown = Math.min(unknown, await costOf('mallory'))
    }
    expect(unknown).toBeGreaterThan(known / 2)
    expect(unknown).toBeLessThan(known * 2)
  })

  it('leaves the event loop free while it hashes', async () => {
    const loop = { turns: 0 }
    const timer = setInterval(() => loop.turns++, 1)
    // A machine that stalls may hash to the end before the loop has a turn, but not every time.
    for (let tries = 0; tries < 20 && loop.turns === 0; tries++) {
      await users.authenticate({ username: 'alice', password: 'wrong' })
    }
    clearInterval(timer)
    expect(loop.turns).toBeGreaterThan(0)
  })

  it('loads whom it knows, and nobody else', () => {
    expect(users.load('root')).toMatchObject({ id: 'root', roles: ['admin'] })
    expect(users.load('mallory')).toBeNull()
  })
})
