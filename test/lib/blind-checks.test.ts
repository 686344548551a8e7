import { describe, expect, it } from '@jest/globals'
import { BlindChecks } from '../../lib/blind-checks.ts'
import { AuthError, StoreUnavailable } from '../../lib/errors.ts'

const HOLD = 1000
const MAX_IN_FLIGHT = 64
const MAX_HELD = 10_000
const FAILURES = 5
const OPEN = 1000

interface Call {
  readonly key: string
  readonly answer: (value: string) => void
  readonly fail: (error: unknown) => void
}

/** Checks on a clock of their own, and a store that answers when the test says so. */
class Party {
  now = 1000
  readonly checks = new BlindChecks<string>(() => this.now)
  readonly calls: Call[] = []

  async ask(key = 'a'): Promise<string> {
    return this.checks.ask(
      key,
      async () =>
        new Promise((answer, fail) => {
          this.calls.push({ key, answer, fail })
        }),
    )
  }

  /** Asks and gets this answer, or this error, at once. */
  async askAndGet(result: string | Error, key = 'a'): Promise<unknown> {
    const asked = outcome(this.ask(key))
    const call = this.calls.at(-1)
    if (typeof result === 'string') call?.answer(result)
    else call?.fail(result)
    return asked
  }

  async failTimes(times: number): Promise<void> {
    for (let failure = 0; failure < times; failure++) await this.askAndGet(down())
  }
}

function down(): StoreUnavailable {
  return new StoreUnavailable('check', { cause: new Error('down') })
}

async function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => error)
}

const UNAVAILABLE = { code: 'store_unavailable' }

describe('equal questions', () => {
  it('share one call while it is under way, and its answer', async () => {
    const party = new Party()
    const asked = Array.from({ length: 100 }, async () => party.ask())
    expect(party.calls).toHaveLength(1)
    party.calls[0]?.answer('yes')
    expect(new Set(await Promise.all(asked))).toEqual(new Set(['yes']))
  })

  it('share its failure', async () => {
    const party = new Party()
    const asked = Array.from({ length: 10 }, async () => outcome(party.ask()))
    party.calls[0]?.fail(down())
    for (const error of await Promise.all(asked)) expect(error).toMatchObject(UNAVAILABLE)
    expect(party.calls).toHaveLength(1)
  })

  it.each([0, 1, 500, 999])('get the same answer %i ms later', async (later) => {
    for (const start of [0, 1, 300, 999]) {
      const party = new Party()
      await party.askAndGet('warm up', 'other')
      party.now += start
      await party.askAndGet('yes')
      party.now += later
      await expect(party.ask()).resolves.toBe('yes')
      expect(party.calls.filter(({ key }) => key === 'a')).toHaveLength(1)
    }
  })

  it('ask anew after a second, counted from when the call was sent', async () => {
    const party = new Party()
    const first = party.ask()
    party.now += 600
    party.calls[0]?.answer('old')
    await first
    party.now += HOLD - 600
    await expect(party.askAndGet('new')).resolves.toBe('new')
    expect(party.calls).toHaveLength(2)
  })

  it('get a refusal held like any other answer', async () => {
    const party = new Party()
    const refusal = new AuthError('session_ended', 'over')
    await expect(party.askAndGet(refusal)).resolves.toBe(refusal)
    await expect(outcome(party.ask())).resolves.toBe(refusal)
    expect(party.calls).toHaveLength(1)
  })

  it('ask anew right after a failure, also when the maps took turns meanwhile', async () => {
    const party = new Party()
    await party.askAndGet(down())
    await expect(party.askAndGet('yes')).resolves.toBe('yes')

    const turned = new Party()
    await turned.askAndGet('warm up', 'other')
    turned.now += 900
    const slow = outcome(turned.ask())
    turned.now += 200
    await turned.askAndGet('turn', 'another')
    turned.calls[1]?.fail(down())
    await slow
    await expect(turned.askAndGet('yes')).resolves.toBe('yes')
  })

  it('keep sharing the newer call when an older one fails', async () => {
    const party = new Party()
    const older = outcome(party.ask())
    party.now += HOLD
    const newer = party.ask()
    party.calls[0]?.fail(down())
    await older
    const shared = party.ask()
    expect(party.calls).toHaveLength(2)
    party.calls[1]?.answer('yes')
    await expect(Promise.all([newer, shared])).resolves.toEqual(['yes', 'yes'])
  })

  it('ask anew after clear, and a call from before it brings nothing back', async () => {
    const party = new Party()
    await party.askAndGet('old')
    party.checks.clear()
    const early = party.ask()
    party.checks.clear()
    const late = party.ask()
    expect(party.calls).toHaveLength(3)
    party.calls[1]?.answer('early')
    party.calls[2]?.answer('late')
    await expect(Promise.all([early, late])).resolves.toEqual(['early', 'late'])
    await expect(party.ask()).resolves.toBe('late')
  })
})

describe('different questions', () => {
  it('have calls of their own', async () => {
    const party = new Party()
    await expect(party.askAndGet('1', 'a')).resolves.toBe('1')
    await expect(party.askAndGet('2', 'b')).resolves.toBe('2')
    await expect(party.askAndGet('3', '__proto__')).resolves.toBe('3')
    await expect(party.ask('a')).resolves.toBe('1')
  })

  it('have at most 64 calls under way; the next is refused, unless it can share one', async () => {
    const party = new Party()
    const asked = Array.from({ length: MAX_IN_FLIGHT }, async (_, at) => party.ask(`${at}`))
    await expect(outcome(party.ask('one more'))).resolves.toMatchObject(UNAVAILABLE)
    expect(party.calls).toHaveLength(MAX_IN_FLIGHT)
    const shared = party.ask('0')
    for (const call of party.calls) call.answer('yes')
    await Promise.all([...asked, shared])
    await expect(party.askAndGet('room again', 'one more')).resolves.toBe('room again')
  })

  it('refused for load are not counted as failures', async () => {
    const party = new Party()
    const asked = Array.from({ length: MAX_IN_FLIGHT }, async (_, at) => party.ask(`${at}`))
    for (let refused = 0; refused < 100; refused++) await outcome(party.ask(`more ${refused}`))
    for (const call of party.calls) call.answer('yes')
    await Promise.all(asked)
    await expect(party.askAndGet('yes', 'next')).resolves.toBe('yes')
  })

  it('are held in bounded number, and there is room again a second later', async () => {
    const party = new Party()
    for (let at = 0; at < MAX_HELD; at++) await party.askAndGet('yes', `${at}`)
    await expect(outcome(party.ask('one more'))).resolves.toMatchObject(UNAVAILABLE)
    await expect(party.ask('0')).resolves.toBe('yes')
    party.now += HOLD
    await expect(party.askAndGet('yes', 'one more')).resolves.toBe('yes')
  })
})

describe('the breaker', () => {
  it('stays closed after four failures in a row', async () => {
    const party = new Party()
    await party.failTimes(FAILURES - 1)
    await expect(party.askAndGet('yes')).resolves.toBe('yes')
    await party.failTimes(FAILURES - 1)
    await expect(party.askAndGet('yes', 'b')).resolves.toBe('yes')
  })

  it('opens after five: the store is left alone for a second', async () => {
    const party = new Party()
    await party.failTimes(FAILURES)
    for (const later of [0, 500, OPEN - 1 - 500]) {
      party.now += later
      await expect(outcome(party.ask())).resolves.toMatchObject(UNAVAILABLE)
      await expect(outcome(party.ask('other'))).resolves.toMatchObject(UNAVAILABLE)
    }
    expect(party.calls).toHaveLength(FAILURES)
  })

  it('lets one call through after it, and the others wait for what that one finds', async () => {
    const party = new Party()
    await party.failTimes(FAILURES)
    party.now += OPEN
    const probe = party.ask('probe')
    for (const key of ['b', 'c', 'd']) {
      await expect(outcome(party.ask(key))).resolves.toMatchObject(UNAVAILABLE)
    }
    expect(party.calls).toHaveLength(FAILURES + 1)
    party.calls.at(-1)?.answer('back')
    await expect(probe).resolves.toBe('back')
    const after = ['b', 'c'].map(async (key) => party.ask(key))
    expect(party.calls).toHaveLength(FAILURES + 3)
    for (const call of party.calls) call.answer('yes')
    await Promise.all(after)
  })

  it('opens again when that one call fails', async () => {
    const party = new Party()
    await party.failTimes(FAILURES)
    party.now += OPEN
    await party.failTimes(1)
    party.now += OPEN - 1
    await expect(outcome(party.ask())).resolves.toMatchObject(UNAVAILABLE)
    expect(party.calls).toHaveLength(FAILURES + 1)
    party.now += 1
    await expect(party.askAndGet('yes')).resolves.toBe('yes')
  })

  it('counts failures in a row only: an answer starts the count anew', async () => {
    const party = new Party()
    for (let round = 0; round < 5; round++) {
      await party.failTimes(FAILURES - 1)
      await expect(party.askAndGet('yes', `${round}`)).resolves.toBe('yes')
    }
  })

  it.each(['session_ended', 'session_revoked', 'token_stale', 'token_invalid'] as const)(
    'does not count the refusal %s: who repeats a dead token must not open it',
    async (code) => {
      const party = new Party()
      for (let token = 0; token < 100; token++) {
        await party.askAndGet(new AuthError(code, 'refused'), `${token}`)
      }
      await expect(party.askAndGet('yes', 'honest')).resolves.toBe('yes')
    },
  )

  it('still gives the answers that are held', async () => {
    const party = new Party()
    await party.askAndGet('yes', 'held')
    await party.failTimes(FAILURES)
    await expect(party.ask('held')).resolves.toBe('yes')
  })

  it('never blocks for ever: calls that all fail at once leave no call counted', async () => {
    const party = new Party()
    for (let round = 0; round < 3; round++) {
      const asked = Array.from({ length: MAX_IN_FLIGHT }, async (_, at) =>
        outcome(party.ask(`${at}`)),
      )
      for (const call of party.calls.splice(0)) call.fail(down())
      await Promise.all(asked)
      party.now += OPEN
    }
    await expect(party.askAndGet('yes')).resolves.toBe('yes')
  })
})
