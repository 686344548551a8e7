import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { generateSigningKey, memoryStore } from 'latchkey'
import type { SigningKeyInput, Store } from 'latchkey'
import { redisStore } from 'latchkey/stores/redis'
import type { Config } from './config.ts'

/** A store, and what proves the tokens of everybody who uses it. */
export interface OpenedStore {
  readonly store: Store
  readonly secrets?: string[]
  readonly signingKey?: SigningKeyInput
  close(): Promise<void>
}

/** Opens what the environment names. */
export async function openStore(config: Config): Promise<OpenedStore> {
  if (config.redisUrl === undefined) {
    const store = memoryStore()
    return { ...given(config), store, close: () => store.close() }
  }
  const client = new Redis(config.redisUrl)
  // Requests say what is wrong with Redis; without a listener its errors would end the process.
  client.on('error', () => undefined)
  const store = redisStore({ client, prefix: 'latchkey-example' })
  return {
    ...(await shared(store)),
    ...given(config),
    store,
    async close() {
      await store.close()
      client.disconnect()
    },
  }
}

function given({ secrets, signingKey }: Config) {
  return { ...(secrets && { secrets }), ...(signingKey && { signingKey }) }
}

/**
 * Secret and signing key that all processes on one store share: whoever comes first draws them. For
 * a demo only: in production they come from where the database does not.
 */
async function shared(store: Store): Promise<{ secrets: string[]; signingKey: SigningKeyInput }> {
  for (;;) {
    const found = await store.keys.load()
    if (found !== null) {
      const keys: { secrets: string[]; signingKey: SigningKeyInput } = JSON.parse(found.document)
      return keys
    }
    const drawn = {
      secrets: [randomBytes(32).toString('base64url')],
      signingKey: generateSigningKey(),
    }
    if (await store.keys.save(0, JSON.stringify(drawn))) return drawn
  }
}
