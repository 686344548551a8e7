import { afterEach, describe, expect, it } from '@jest/globals'
import request from 'supertest'
import type { JsonObject } from '../../lib/session.ts'
import type { TestKit, TestOptions } from '../support/kit.ts'
import { closeKits, openKit, PASSWORD } from '../support/kit.ts'

afterEach(closeKits)

const RIGHT = { username: 'alice', password: PASSWORD }
const CLOSED: TestOptions = { credentials: ['username', 'password', 'code'] }

/** A kit, and what reached `authenticate`. */
async function open(options: TestOptions): Promise<{ kit: TestKit; seen: JsonObject[] }> {
  const seen: JsonObject[] = []
  const kit = await openKit({
    options: {
      ...options,
      authenticate(credentials) {
        seen.push(credentials)
        return credentials['password'] === PASSWORD ? { id: 'alice' } : null
      },
    },
  })
  return { kit, seen }
}

async function login(kit: TestKit, body: object): Promise<string> {
  const { status, body: answer } = await request(kit.server).post('/auth/login').send(body)
  return `${status} ${(answer as { code?: string }).code ?? ''}`.trim()
}

describe('with credentials, a login', () => {
  it('has the members that are named, or some of them', async () => {
    const { kit, seen } = await open(CLOSED)
    expect(await login(kit, { ...RIGHT, code: '123456' })).toBe('200')
    expect(await login(kit, RIGHT)).toBe('200')
    expect(await login(kit, { ...RIGHT, username: 'é'.repeat(512) })).toBe('200')
    expect(seen).toHaveLength(3)
  })

  it.each<[string, JsonObject]>([
    ['another member', { ...RIGHT, roles: ['admin'] }],
    ['a member of the prototype', { ...RIGHT, toString: 'x' }],
    ['a list', { ...RIGHT, password: [PASSWORD] }],
    ['an object', { ...RIGHT, username: { $ne: '' } }],
    ['a number', { ...RIGHT, code: 123456 }],
    ['null', { ...RIGHT, code: null }],
    ['a text of 1025 bytes', { ...RIGHT, username: `a${'é'.repeat(512)}` }],
    ['a password of 1025 bytes', { ...RIGHT, password: PASSWORD.padEnd(1025) }],
  ])('with %s is 400, unseen and uncounted', async (_, body) => {
    const { kit, seen } = await open({ ...CLOSED, rateLimits: { loginPerNetwork: { max: 1 } } })
    for (let tries = 0; tries < 3; tries++) {
      expect(await login(kit, body)).toBe('400 invalid_request')
    }
    expect(seen).toEqual([])
    expect(await login(kit, RIGHT)).toBe('200')
  })

  it('is held to the same when it is a step-up', async () => {
    const { kit, seen } = await open(CLOSED)
    const { cookie } = await kit.login('alice')
    seen.length = 0
    const stepUp = async (body: object) =>
      (await request(kit.server).post('/auth/step-up').set('Cookie', cookie).send(body)).status
    expect(await stepUp({ ...RIGHT, roles: ['admin'] })).toBe(400)
    expect(seen).toEqual([])
    expect(await stepUp(RIGHT)).toBe(200)
  })
})

describe('without credentials, a login', () => {
  it('has what the app likes, a long token too', async () => {
    const { kit, seen } = await open({})
    const body = { password: PASSWORD, id_token: 'x'.repeat(5000), response: { type: ['a'] } }
    expect(await login(kit, body)).toBe('200')
    expect(seen).toEqual([body])
  })

  it('has no password of more than 1024 bytes, which is never cut', async () => {
    const { kit, seen } = await open({})
    expect(await login(kit, { ...RIGHT, password: 'é'.repeat(512) })).toBe(
      '401 invalid_credentials',
    )
    expect(await login(kit, { ...RIGHT, password: `${'é'.repeat(512)}a` })).toBe(
      '400 invalid_request',
    )
    expect(seen.map(({ password }) => password)).toEqual(['é'.repeat(512)])
  })
})

it.each<[string, unknown]>([
  ['no list', 'username'],
  ['an empty list', []],
  ['a list of other than names', ['username', 7]],
  ['an empty name', ['']],
])('credentials that are %s are refused at start', async (_, credentials) => {
  await expect(open({ credentials } as TestOptions)).rejects.toMatchObject({
    code: 'invalid_option',
  })
})
