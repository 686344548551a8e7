import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals'
import type { Events, LatchkeyEvent } from '../../lib/events.ts'
import { capText, createEvents } from '../../lib/events.ts'
import type { AuditEvent } from '../../lib/store.ts'

const MAX_BUFFERED = 1000
const MAX_BATCH = 100
const FLUSH_AFTER = 100
const NOW = Date.UTC(2026, 5, 1)

/** A reporter with all that leaves it. */
class Party {
  readonly seen: LatchkeyEvent[] = []
  readonly written: AuditEvent[] = []
  readonly batches: number[] = []
  append: (batch: readonly AuditEvent[]) => Promise<void> = async () => {}
  readonly events: Events

  constructor(onEvent?: (event: LatchkeyEvent) => void, writtenWithChange = false) {
    this.events = createEvents({
      onEvent: onEvent ?? ((event) => this.seen.push(event)),
      append: async (batch) => {
        const copy = [...batch]
        this.batches.push(copy.length)
        await this.append(copy)
        this.written.push(...copy)
      },
      writtenWithChange,
      clock: () => NOW,
    })
  }

  /** Reports numbered events. */
  report(from: number, to: number): void {
    for (let number = from; number < to; number++) {
      this.events.security('session_created', { result: 'success', detail: { number } })
    }
  }

  get numbers(): unknown[] {
    return this.written.map(({ detail }) => detail?.['number'])
  }

  get types(): string[] {
    return this.seen.map(({ type }) => type)
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, at) => from + at)
}

/** What would have been printed: message, name and code of each process warning. */
const warnings: unknown[][] = []

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance'] })
  jest.spyOn(process, 'emitWarning').mockImplementation((...warning: unknown[]) => {
    warnings.push(warning)
  })
})

afterEach(async () => {
  jest.useRealTimers()
  jest.restoreAllMocks()
  warnings.length = 0
  // A rejection that nobody handles fails the test it comes up in.
  await settle()
})

async function settle(): Promise<void> {
  await new Promise(setImmediate)
}

describe('a security event', () => {
  it('goes to onEvent at once and to the audit trail in the next batch', async () => {
    const party = new Party()
    const user = { tenant: '', id: 'alice' }
    party.events.security('authn_login_fail', {
      user,
      result: 'failure',
      cause: 'invalid_credentials',
      request: { ip: '192.0.2.1', userAgent: 'browser' },
    })
    const event = {
      type: 'authn_login_fail',
      at: NOW,
      user,
      result: 'failure',
      cause: 'invalid_credentials',
      ip: '192.0.2.1',
      userAgent: 'browser',
    }
    expect(party.seen).toEqual([event])
    expect(party.written).toEqual([])
    await jest.advanceTimersByTimeAsync(FLUSH_AFTER)
    expect(party.written).toEqual([event])
    expect(jest.getTimerCount()).toBe(0)
  })

  it.each([undefined, {}, { ip: undefined, userAgent: undefined }])(
    'has no field for what is not known of the request: %j',
    (request) => {
      const party = new Party()
      party.events.security('session_created', { result: 'success', request })
      expect(Object.keys(party.seen[0] ?? {}).toSorted()).toEqual(['at', 'result', 'type'])
    },
  )

  it('has bounded text of the request', () => {
    const party = new Party()
    const request = { ip: '\u0000'.repeat(5000), userAgent: 'a\r\nb'.repeat(5000) }
    party.events.security('session_created', { result: 'success', request })
    const [event] = party.seen
    expect(event?.ip).toHaveLength(256)
    expect(event?.userAgent).toHaveLength(256)
    expect(JSON.stringify(event)).not.toMatch(/\\[rnu]/)
  })

  it('is written in order, in batches of at most a hundred', async () => {
    const party = new Party()
    party.report(0, 250)
    await party.events.flush()
    expect(party.batches).toEqual([MAX_BATCH, MAX_BATCH, 50])
    expect(party.numbers).toEqual(range(0, 250))
  })

  it('is written once, however many flushes there are', async () => {
    const party = new Party()
    party.report(0, 3)
    await Promise.all([party.events.flush(), party.events.flush(), party.events.flush()])
    await jest.advanceTimersByTimeAsync(FLUSH_AFTER)
    await party.events.flush()
    expect(party.numbers).toEqual([0, 1, 2])
    expect(party.batches).toEqual([3])
  })

  it('that comes while others are written is written after them', async () => {
    const party = new Party()
    const release: (() => void)[] = []
    party.append = async () => new Promise((resolve) => release.push(resolve))
    party.report(0, 2)
    const flushed = party.events.flush()
    party.report(2, 4)
    release[0]?.()
    await settle()
    expect(party.batches).toEqual([2, 2])
    release[1]?.()
    await flushed
    expect(party.numbers).toEqual([0, 1, 2, 3])
  })

  it('leaves no timer and writes nothing when there is none', async () => {
    const party = new Party()
    await party.events.flush()
    expect(party.batches).toEqual([])
    expect(jest.getTimerCount()).toBe(0)
  })

  it('leaves no timer that keeps the process alive', () => {
    jest.useRealTimers()
    const timers = () =>
      process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    const before = timers()
    new Party().report(0, 1)
    expect(timers()).toBe(before)
  })
})

describe('a store that does not take events', () => {
  it('gets them again with the next one, in order, and nothing rejects', async () => {
    const party = new Party()
    party.append = async () => {
      throw new Error('down')
    }
    party.report(0, 3)
    await jest.advanceTimersByTimeAsync(FLUSH_AFTER)
    expect(party.seen.at(-1)).toMatchObject({
      type: 'store_failure',
      result: 'failure',
      cause: 'audit',
      error: { message: 'down' },
    })
    party.append = async () => {}
    party.report(3, 4)
    await jest.advanceTimersByTimeAsync(FLUSH_AFTER)
    expect(party.numbers).toEqual([0, 1, 2, 3])
    expect(party.events.dropped).toBe(0)
  })

  it('gets them again with a flush', async () => {
    const party = new Party()
    party.append = async () => {
      throw new Error('down')
    }
    party.report(0, 3)
    await party.events.flush()
    party.append = async () => {}
    await party.events.flush()
    expect(party.numbers).toEqual([0, 1, 2])
  })

  it('that fails in the middle keeps what was written and sends the rest again', async () => {
    const party = new Party()
    let calls = 0
    party.append = async () => {
      if (++calls === 2) throw new Error('down')
    }
    party.report(0, 250)
    await party.events.flush()
    expect(party.numbers).toEqual(range(0, 100))
    await party.events.flush()
    expect(party.numbers).toEqual(range(0, 250))
  })

  it('does not make the buffer grow: the oldest go, are counted, and are reported', async () => {
    const party = new Party()
    party.append = async () => {
      throw new Error('down')
    }
    party.report(0, MAX_BUFFERED)
    expect(party.events.dropped).toBe(0)
    party.report(MAX_BUFFERED, MAX_BUFFERED + 7)
    await party.events.flush()
    expect(party.events.dropped).toBe(7)
    const reports = party.seen.filter(({ type }) => type === 'audit_dropped')
    expect(reports.map(({ detail }) => detail?.['dropped'])).toEqual(range(1, 8))
    party.append = async () => {}
    await party.events.flush()
    expect(party.numbers).toEqual(range(7, MAX_BUFFERED + 7))
  })

  it('loses none when the buffer overflows while a write is under way that succeeds', async () => {
    const party = new Party()
    const release: (() => void)[] = []
    party.append = async () => new Promise((resolve) => release.push(resolve))
    party.report(0, MAX_BUFFERED)
    const flushed = party.events.flush()
    party.report(MAX_BUFFERED, MAX_BUFFERED + MAX_BATCH)
    party.append = async () => {}
    release[0]?.()
    await flushed
    expect(party.numbers).toEqual(range(0, MAX_BUFFERED + MAX_BATCH))
  })

  it('writes none twice when the buffer overflows while a write is under way that fails', async () => {
    const party = new Party()
    const refuse: ((error: Error) => void)[] = []
    party.append = async () => new Promise((_, reject) => refuse.push(reject))
    party.report(0, MAX_BUFFERED)
    const flushed = party.events.flush()
    party.report(MAX_BUFFERED, MAX_BUFFERED + 10)
    party.append = async () => {}
    refuse[0]?.(new Error('down'))
    await flushed
    await party.events.flush()
    expect(party.numbers).toEqual(range(10, MAX_BUFFERED + 10))
    expect(party.events.dropped).toBe(10)
  })
})

describe('an operational event', () => {
  it('goes to onEvent only', async () => {
    const party = new Party()
    const error = new Error('down')
    party.events.operational('hook_failure', { result: 'failure', cause: 'loadUser', error })
    party.events.operational('session_renewed', { result: 'success' })
    await party.events.flush()
    expect(party.seen).toEqual([
      { type: 'hook_failure', at: NOW, result: 'failure', cause: 'loadUser', error },
      { type: 'session_renewed', at: NOW, result: 'success' },
    ])
    expect(party.batches).toEqual([])
  })

  it('says when the node lost its sight, why, and when it has it back', () => {
    const party = new Party()
    party.events.sight('stale')
    party.events.sight(null)
    expect(party.seen).toEqual([
      { type: 'feed_blind', at: NOW, result: 'failure', cause: 'stale' },
      { type: 'feed_sighted', at: NOW, result: 'success' },
    ])
  })
})

describe('a warning', () => {
  it('is a process warning once per code, and an event each time', async () => {
    const party = new Party()
    party.events.warn('large_access_token', 'first')
    party.events.warn('large_access_token', 'second')
    party.events.warn('reserved_claim', 'third')
    await settle()
    expect(warnings).toEqual([
      ['first', 'LatchkeyWarning', 'large_access_token'],
      ['third', 'LatchkeyWarning', 'reserved_claim'],
    ])
    expect(party.seen.map(({ cause, detail }) => [cause, detail?.['message']])).toEqual([
      ['large_access_token', 'first'],
      ['large_access_token', 'second'],
      ['reserved_claim', 'third'],
    ])
    expect(party.batches).toEqual([])
  })

  it('of one kit does not silence that of another', async () => {
    for (const party of [new Party(), new Party()]) party.events.warn('same', 'text')
    await settle()
    expect(warnings).toHaveLength(2)
  })
})

describe('an onEvent that fails', () => {
  it.each<[string, unknown]>([
    ['an error', new Error('sink')],
    ['text', 'sink'],
    ['nothing', undefined],
    ['null', null],
    ['a symbol', Symbol('sink')],
    ['an object that cannot be printed', Object.create(null)],
  ])(
    'by throwing %s is contained, and the audit trail is written all the same',
    async (_, thrown) => {
      const party = new Party(() => {
        throw thrown
      })
      party.report(0, 1)
      party.events.operational('session_renewed', { result: 'success' })
      party.events.sight(null)
      await party.events.flush()
      expect(party.numbers).toEqual([0])
      await settle()
      expect(warnings.map(([, , code]) => code)).toEqual(Array(3).fill('on_event_failed'))
    },
  )

  it('by rejecting is contained too', async () => {
    const sink: () => unknown = async () => {
      throw new Error('sink')
    }
    const party = new Party(sink)
    party.report(0, 1)
    await party.events.flush()
    await settle()
    expect(warnings.map(([, , code]) => code)).toEqual(['on_event_failed'])
  })

  it('does not keep a failing store from being asked again', async () => {
    const party = new Party(() => {
      throw new Error('sink')
    })
    party.append = async () => {
      throw new Error('down')
    }
    party.report(0, 1)
    await party.events.flush()
    party.append = async () => {}
    await party.events.flush()
    expect(party.numbers).toEqual([0])
  })

  it('may be absent', async () => {
    const written: AuditEvent[] = []
    const events = createEvents({
      onEvent: undefined,
      append: async (batch) => void written.push(...batch),
      writtenWithChange: false,
      clock: () => NOW,
    })
    events.security('session_created', { result: 'success' })
    await events.flush()
    expect(written).toHaveLength(1)
  })
})

describe('an event of a change', () => {
  const fields = { result: 'success', cause: 'a\nb', request: { ip: '192.0.2.1' } } as const
  const built = {
    type: 'session_revoked',
    at: NOW,
    result: 'success',
    cause: 'a\ufffdb',
    ip: '192.0.2.1',
  }

  it('is prepared without telling anybody', async () => {
    const party = new Party()
    expect(party.events.prepare('session_revoked', fields)).toEqual(built)
    await party.events.flush()
    expect([party.seen, party.written]).toEqual([[], []])
  })

  it.each([
    ['goes to onEvent and to the trail where the store does not write it', false, [built]],
    ['goes to onEvent only where the store has written it', true, []],
  ])('%s', async (_, writtenWithChange, written) => {
    const seen: LatchkeyEvent[] = []
    const party = new Party((event) => seen.push(event), writtenWithChange)
    party.events.changed([party.events.prepare('session_revoked', fields)])
    await party.events.flush()
    expect([seen, party.written]).toEqual([[built], written])
  })

  it('leaves what no change brought about to the buffer', async () => {
    const party = new Party(undefined, true)
    party.report(0, 1)
    await party.events.flush()
    expect(party.numbers).toEqual([0])
  })
})

describe('capText', () => {
  it.each([
    ['plain text', 'plain text'],
    ['', ''],
    ['öß中💥', 'öß中💥'],
    ['a\r\nb', 'a\ufffd\ufffdb'],
    ['a\u0000b\u001b[31m', 'a\ufffdb\ufffd[31m'],
    ['\u007f\u0080\u009f\u00a0', '\ufffd\ufffd\ufffd\u00a0'],
    ['a\u2028b\u2029c', 'a\ufffdb\ufffdc'],
    ['\ud800', '\ufffd'],
    ['\udc00\ud800', '\ufffd\ufffd'],
    ['x\t', 'x\ufffd'],
  ])('makes of %j the line %j', (text, line) => {
    expect(capText(text)).toBe(line)
  })

  it('keeps 256 characters of a megabyte, and cuts no character in half', () => {
    expect(capText('x'.repeat(1_000_000))).toBe('x'.repeat(256))
    expect(capText('x'.repeat(256))).toHaveLength(256)
    const cut = capText(`${'x'.repeat(255)}💥`)
    expect(cut).toBe(`${'x'.repeat(255)}\ufffd`)
    expect(cut.isWellFormed()).toBe(true)
  })
})
