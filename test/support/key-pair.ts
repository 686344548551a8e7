import type { KeyObject } from 'node:crypto'
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'

/** What decides about a key, besides its type. */
export interface KeyPairOptions {
  readonly namedCurve?: string
  readonly modulusLength?: number
  readonly publicExponent?: number
}

/**
 * Draws a pair of keys that may be exported: the generator's own may stand the process still, see
 * `lib/signing-keys.ts`.
 */
export function drawKeyPair(
  type: 'ec' | 'rsa' | 'rsa-pss' | 'x25519' | 'ed448',
  options: KeyPairOptions = {},
): { readonly privateKey: KeyObject; readonly publicKey: KeyObject } {
  const encodings = {
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  } as const
  // One call for all types: which options belong to which is for Node to say.
  const drawn: unknown = generateKeyPairSync(type as 'ec', {
    ...(options as { namedCurve: string }),
    ...encodings,
  })
  const privateKey = createPrivateKey((drawn as { privateKey: string }).privateKey)
  return { privateKey, publicKey: createPublicKey(privateKey) }
}
