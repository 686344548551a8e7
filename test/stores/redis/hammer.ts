// One process of a hammer: its clients present refresh tokens all at once, round by round, each when
// the parent says so. Run with `fork`.

import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import type { RotationPolicy } from '../../../lib/rotation.ts'
import { redisStore } from '../../../stores/redis.ts'

/** What the parent tells first, and again before other families. */
export interface HammerSetup {
  readonly url: string
  readonly prefix: string
  /** Client `n` refreshes family `n` modulo their number. */
  readonly families: readonly {
    readonly sid: string
    readonly seedHash: string
    readonly bindingHash: string | null
  }[]
  readonly clients: number
  readonly policy: RotationPolicy
  readonly idleTimeoutMs: number
}

/** What came of one round: what each client got, in their order. */
export interface HammerRound {
  readonly outcomes: readonly string[]
  /** The generation each got, -1 for none. */
  readonly generations: readonly number[]
}

let close = async () => {}
let round: (generation: number) => Promise<HammerRound>

async function prepare(setup: HammerSetup): Promise<void> {
  await close()
  const { url, prefix, families, clients, policy, idleTimeoutMs } = setup
  const client = new Redis(url)
  const store = redisStore({ client, prefix })
  close = async () => {
    await store.close()
    client.disconnect()
  }
  round = async (generation) => {
    const results = await Promise.all(
      Array.from({ length: clients }, async (_, n) => {
        const family = families[n % families.length]
        if (family === undefined) throw new Error('there is no family')
        return store.rotate({
          ...family,
          generation,
          attemptHash: randomBytes(32).toString('base64url'),
          policy,
          idleTimeoutMs,
          onReuse: 'session',
        })
      }),
    )
    return {
      outcomes: results.map(({ outcome }) => outcome),
      generations: results.map((result) =>
        result.outcome === 'rotated' || result.outcome === 'replayed'
          ? result.session.generation
          : -1,
      ),
    }
  }
}

process.on('message', (message: HammerSetup | number) => {
  if (typeof message !== 'number') {
    void prepare(message).then(() => process.send?.('prepared'))
    return
  }
  void round(message).then((result) => process.send?.(result))
})

// Never outlives whoever started it.
process.on('disconnect', () => process.exit())
