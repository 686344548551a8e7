import { afterEach, describe, expect, it } from '@jest/globals'
import { RemoteKeys } from '../../lib/remote-keys.ts'
import type { PublicJwk } from '../../lib/signing-keys.ts'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import type { JwksServer } from '../support/jwks-server.ts'
import { startJwksServer } from '../support/jwks-server.ts'
import { pause, until } from '../support/kit.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

function published(): PublicJwk {
  const [key] = parseSigningKeys([generateSigningKey()]).jwks.keys
  if (key === undefined) throw new Error('no key')
  return key
}

const first = published()
const second = published()
const unavailable = { code: 'keys_unavailable', status: 503, headers: { 'Retry-After': '1' } }

const open = new Set<{ close(): unknown }>()

afterEach(async () => {
  await Promise.all([...open].map(async (one) => one.close()))
  open.clear()
})

/** Keys of a server of their own, with a clock the test sets. */
async function openKeys(
  setup: { readonly keys?: readonly object[]; readonly headers?: Record<string, string> } = {},
) {
  const server = await startJwksServer()
  open.add(server)
  server.publish(setup.keys ?? [first], setup.headers)
  const at = { now: Date.UTC(2026, 5, 1) }
  const failures: unknown[] = []
  const ignored: string[] = []
  const gone = { times: 0 }
  const keys = new RemoteKeys({
    url: new URL(server.url),
    maxStaleMs: 24 * HOUR,
    clock: () => at.now,
    onFailure: (error) => failures.push(error),
    onIgnored: (flaws) => ignored.push(...flaws),
    onGone: () => gone.times++,
  })
  open.add(keys)
  /** Waits until a background refresh has ended, by what it brought. */
  async function settled(asked: number): Promise<void> {
    await until(() => server.asked() >= asked)
    await keys.seek().catch(() => {})
  }
  return { server, keys, at, failures, ignored, gone, settled }
}

function garbage(server: JwksServer, body: string): void {
  server.answer = (_req, res) => res.writeHead(200).end(body)
}

/** What an issuer may answer that is no key set. */
const BAD_ANSWERS: [string, (server: JwksServer) => void][] = [
  ['is down', (server) => (server.answer = (req) => req.socket.destroy())],
  ['answers 500', (server) => (server.answer = (_req, res) => res.writeHead(500).end())],
  [
    'answers 404 with a key set',
    (server) => {
      server.answer = (_req, res) => res.writeHead(404).end(JSON.stringify({ keys: [second] }))
    },
  ],
  [
    'redirects',
    (server) => {
      server.answer = (req, res) =>
        req.url === '/elsewhere'
          ? res.writeHead(200).end(JSON.stringify({ keys: [second] }))
          : res.writeHead(302, { Location: '/elsewhere' }).end()
    },
  ],
  ['answers HTML', (server) => garbage(server, '<html>')],
  ['answers a list', (server) => garbage(server, JSON.stringify([second]))],
  [
    'answers no UTF-8',
    (server) => {
      server.answer = (_req, res) => res.writeHead(200).end(Buffer.from([0x7b, 0xff, 0x7d]))
    },
  ],
  [
    'answers 64 KiB and a byte',
    (server) => garbage(server, JSON.stringify({ keys: [second] }).padEnd(64 * 1024 + 1)),
  ],
  [
    'answers without end',
    (server) => {
      server.answer = (_req, res) => {
        const more = (): void => {
          while (!res.destroyed && res.write(' '.repeat(16_384)));
          if (!res.destroyed) res.once('drain', more)
        }
        more()
      }
    },
  ],
  [
    'answers more than 100 keys',
    (server) =>
      server.publish(Array.from({ length: 101 }, (_, at) => ({ ...second, kid: `k${at}` }))),
  ],
  [
    'answers two keys of one kid',
    (server) => server.publish([second, { ...first, kid: second.kid }]),
  ],
  ['answers private keys', (server) => server.publish([second, generateSigningKey()])],
  ['answers no key of use', (server) => server.publish([{ ...second, use: 'enc' }])],
]

describe('the first token', () => {
  it('waits for the keys, and so do all that come with it, for one request', async () => {
    const { keys, server } = await openKeys()
    expect(server.asked()).toBe(0)
    expect(keys.find(first.kid)).toBeUndefined()
    expect(keys.status()).toEqual({ count: 0, ageMs: null, failing: false })
    await Promise.all(Array.from({ length: 50 }, async () => keys.seek()))
    expect(keys.find(first.kid)).toMatchObject({ kid: first.kid, alg: 'ES256' })
    expect(server.asked()).toBe(1)
    expect(keys.status()).toEqual({ count: 1, ageMs: 0, failing: false })
  })

  it.each(BAD_ANSWERS)(
    'gets 503 while the issuer %s, and its keys when that is over',
    async (_what, misbehave) => {
      const { keys, server, at, failures } = await openKeys()
      misbehave(server)
      await expect(keys.seek()).rejects.toMatchObject(unavailable)
      expect(failures).toHaveLength(1)
      expect(keys.status()).toMatchObject({ count: 0, failing: true })
      server.publish([first])
      at.now += 1000
      await keys.seek()
      expect(keys.find(first.kid)).toBeDefined()
      expect(keys.find(second.kid)).toBeUndefined()
      expect(keys.status()).toMatchObject({ count: 1, failing: false })
    },
  )

  it('gets 503 at once while the last failure is less than a second old', async () => {
    const { keys, server, at } = await openKeys()
    server.answer = (req) => req.socket.destroy()
    await expect(keys.seek()).rejects.toMatchObject(unavailable)
    at.now += 999
    await expect(keys.seek()).rejects.toMatchObject(unavailable)
    expect(server.asked()).toBe(1)
  })

  it('gets 503 when the answer takes longer than 5 seconds', async () => {
    const { keys, server } = await openKeys()
    server.answer = () => {}
    await expect(keys.seek()).rejects.toMatchObject(unavailable)
    server.answer = (_req, res) => void res.writeHead(200).write('{"keys":[')
    expect(server.asked()).toBe(1)
  }, 60_000)
})

describe('a set that is fresh', () => {
  it('serves for ten minutes without a request', async () => {
    const { keys, server, at } = await openKeys()
    await keys.seek()
    at.now += 10 * MINUTE - 1
    expect(keys.find(first.kid)).toBeDefined()
    await pause(20)
    expect(server.asked()).toBe(1)
  })

  it.each([
    ['max-age=300', {}, 300],
    ['public, max-age=300', {}, 300],
    ['max-age=300', { Age: '100' }, 200],
    ['max-age=86400', {}, 600],
    ['max-age=1', {}, 30],
    ['max-age=300', { Age: '4000' }, 30],
    ['no-store', {}, 30],
    ['max-age=300, no-cache', {}, 30],
    ['s-maxage=5', {}, 600],
    ['max-age=abc', {}, 600],
  ])('is over by "Cache-Control: %s" %j after %i seconds', async (control, more, seconds) => {
    const { keys, server, at } = await openKeys({ headers: { 'Cache-Control': control, ...more } })
    await keys.seek()
    at.now += seconds * 1000 - 1
    keys.find(first.kid)
    await pause(20)
    expect(server.asked()).toBe(1)
    at.now += 1
    expect(keys.find(first.kid)).toBeDefined()
    await until(() => server.asked() === 2)
  })
})

describe('a set that is over', () => {
  it('serves at once, while one request gets the next', async () => {
    const { keys, server, at, settled, gone } = await openKeys()
    await keys.seek()
    server.publish([second])
    at.now += 10 * MINUTE
    const found = Array.from({ length: 50 }, () => keys.find(first.kid))
    expect(found).not.toContain(undefined)
    await settled(2)
    expect(keys.find(first.kid)).toBeUndefined()
    expect(keys.find(second.kid)).toBeDefined()
    expect(gone.times).toBe(1)
    expect([server.asked(), server.mostAtOnce()]).toEqual([2, 1])
  })

  it('serves nobody who comes more than a minute later, before it was asked for again', async () => {
    const { keys, server, at } = await openKeys()
    await keys.seek()
    server.publish([second])
    at.now += 11 * MINUTE + 1
    expect(keys.find(first.kid)).toBeUndefined()
    await keys.seek()
    expect(keys.find(first.kid)).toBeUndefined()
    expect(keys.find(second.kid)).toBeDefined()
  })

  it('is over too when the clock was set back', async () => {
    const { keys, server, at } = await openKeys()
    await keys.seek()
    at.now -= 1
    expect(keys.find(first.kid)).toBeDefined()
    await until(() => server.asked() === 2)
  })

  it.each(BAD_ANSWERS)('goes on for a day while the issuer %s', async (_what, misbehave) => {
    const { keys, server, at, settled } = await openKeys()
    await keys.seek()
    misbehave(server)
    at.now += 10 * MINUTE
    expect(keys.find(first.kid)).toBeDefined()
    await settled(2)
    expect(keys.status()).toMatchObject({ count: 1, failing: true })
    at.now += 24 * HOUR - 10 * MINUTE
    await keys.seek()
    expect(keys.find(first.kid)).toBeDefined()
    at.now += 30_000
    await expect(keys.seek()).rejects.toMatchObject(unavailable)
    expect(keys.find(first.kid)).toBeUndefined()
    expect(keys.status()).toMatchObject({ count: 0, failing: true })
  })

  it('is asked for every 30 seconds while the issuer is down', async () => {
    const { keys, server, at, settled } = await openKeys()
    await keys.seek()
    server.answer = (req) => req.socket.destroy()
    at.now += 10 * MINUTE
    keys.find(first.kid)
    await settled(2)
    at.now += 29_999
    expect(keys.find(first.kid)).toBeDefined()
    await pause(20)
    expect(server.asked()).toBe(2)
    at.now += 1
    expect(keys.find(first.kid)).toBeDefined()
    await until(() => server.asked() === 3)
  })
})

describe('a kid that is not there', () => {
  it('is looked for, and at most every 30 seconds', async () => {
    const { keys, server, at } = await openKeys()
    await keys.seek()
    server.publish([first, second])
    at.now += 29_999
    await Promise.all(Array.from({ length: 50 }, async () => keys.seek()))
    expect(keys.find(second.kid)).toBeUndefined()
    expect(server.asked()).toBe(1)
    at.now += 1
    await Promise.all(Array.from({ length: 50 }, async () => keys.seek()))
    expect(keys.find(second.kid)).toBeDefined()
    expect(server.asked()).toBe(2)
  })

  it('is not there while the issuer is down, which is no failure of ours', async () => {
    const { keys, server, at } = await openKeys()
    await keys.seek()
    server.answer = (req) => req.socket.destroy()
    at.now += 30_000
    await keys.seek()
    expect(keys.find(second.kid)).toBeUndefined()
    expect(keys.find(first.kid)).toBeDefined()
  })
})

describe('a change that was heard of', () => {
  it('is asked for at once, and again a little later, for nodes learn of it one by one', async () => {
    const { keys, server } = await openKeys()
    await keys.seek()
    keys.reload()
    await until(() => server.asked() === 2)
    await until(() => keys.find(first.kid) !== undefined)
    server.publish([second])
    await until(() => keys.find(second.kid) !== undefined)
    expect(keys.find(first.kid)).toBeUndefined()
  }, 60_000)

  it('is asked for again when it came while an older answer was under way', async () => {
    const { keys, server } = await openKeys()
    let release = (): void => {}
    server.answer = (_req, res) => {
      release = () => res.writeHead(200).end(JSON.stringify({ keys: [first] }))
    }
    const seeking = keys.seek()
    await until(() => server.asked() === 1)
    keys.reload()
    server.publish([second])
    release()
    await seeking
    await until(() => keys.find(second.kid) !== undefined)
    expect(keys.find(first.kid)).toBeUndefined()
    expect(server.mostAtOnce()).toBe(1)
  })
})

describe('a new set', () => {
  it('keeps the keys that are the same', async () => {
    const { keys, server, gone } = await openKeys()
    await keys.seek()
    const key = keys.find(first.kid)
    server.publish([second, first])
    keys.reload()
    await until(() => keys.find(second.kid) !== undefined)
    expect(keys.find(first.kid)).toBe(key)
    expect(gone.times).toBe(0)
  })

  it('makes another key of the same kid known as one that is gone', async () => {
    const { keys, server, gone } = await openKeys()
    await keys.seek()
    const key = keys.find(first.kid)
    server.publish([{ ...second, kid: first.kid }])
    keys.reload()
    await until(() => gone.times === 1)
    expect(keys.find(first.kid)).not.toBe(key)
  })

  it('tells once of keys that are of no use', async () => {
    const { keys, server, at, ignored, settled } = await openKeys({
      keys: [first, { ...second, use: 'enc' }, { ...second, kid: 'off', y: second.x }],
    })
    await keys.seek()
    expect(ignored).toHaveLength(2)
    at.now += 10 * MINUTE
    keys.find(first.kid)
    await settled(2)
    expect(ignored).toHaveLength(2)
    server.publish([first, { ...second, alg: 'none' }])
    at.now += 10 * MINUTE
    keys.find(first.kid)
    await settled(3)
    expect(ignored).toHaveLength(3)
  })

  it('with a point off its curve as its only key is none', async () => {
    const { keys } = await openKeys({ keys: [{ ...second, y: second.x }] })
    await expect(keys.seek()).rejects.toMatchObject(unavailable)
  })
})

describe('keys that are closed', () => {
  it('give up what is under way, and ask no more', async () => {
    const { keys, server } = await openKeys()
    server.answer = () => {}
    const seeking = keys.seek()
    await until(() => server.asked() === 1)
    keys.close()
    await expect(seeking).rejects.toMatchObject(unavailable)
    keys.reload()
    await pause(20)
    expect(server.asked()).toBe(1)
    await keys.ready
  })
})
